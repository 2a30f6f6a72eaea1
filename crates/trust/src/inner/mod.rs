//! Does an image's own signature verify, the one that its installer looks at?
//!
//! Clients of other makers don't see signed metadata; what keeps them from a forged image is the signature inside of it.
//! Here it is checked as the installer would: SWUpdate's `sw-description`, and RAUC's bundles. Files are read once, from
//! front to back, with memory for their heads only.

mod cms;
pub mod keys;
mod rauc;
mod swu;
#[cfg(test)]
mod tests;

use std::io::{self, Read, Seek, SeekFrom};

use muster_vocab::Timestamp;

use keys::Trusted;

/// Signatures and the texts they are over: a description of hundreds of images is some 100 KB.
const SIGNED_BYTES_MAX: u64 = 4 << 20;

/// What an image is, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An `.swu` image of SWUpdate.
    Swu,
    /// A bundle of RAUC.
    Rauc,
}

/// A key of the ring under its name.
pub type Named = (String, Trusted);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It has no signature of its own.
    Unsigned,
    /// By the key of this name.
    Verified(String),
    Refused(BadInner),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadInner {
    #[error("the image is broken: {0}")]
    Broken(&'static str),
    #[error("its signature can't be read: {0}")]
    Unreadable(&'static str),
    #[error("its signature is by no key of the ring")]
    UnknownKey,
    #[error("the certificate of its signer has run out, or isn't valid yet")]
    Validity,
    #[error("it was signed, and changed since")]
    Changed,
    #[error("{0} is in the image, and its signed description does not name its SHA-256")]
    NotNamed(String),
    #[error("{0} is not known here")]
    Unsupported(&'static str),
}

/// What a file is. `None`: nothing whose signature is known here. Stands at the file's beginning afterwards.
pub fn kind(file: &mut (impl Read + Seek)) -> io::Result<Option<Kind>> {
    let mut head = [0; 6];
    file.seek(SeekFrom::Start(0))?;
    let mut had = 0;
    while had < head.len() {
        match file.read(&mut head[had..])? {
            0 => break,
            more => had += more,
        }
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(match &head[..had] {
        b"070701" | b"070702" => Some(Kind::Swu),
        [b'h', b's', b'q', b's', ..] => Some(Kind::Rauc),
        _ => None,
    })
}

/// Checks an image. `now` is compared with certificates only.
pub fn check(file: &mut (impl Read + Seek), kind: Kind, ring: &[Named], now: Timestamp) -> io::Result<Verdict> {
    let outcome = match kind {
        Kind::Swu => swu::check(file, ring, now)?,
        Kind::Rauc => rauc::check(file, ring, now)?,
    };
    Ok(outcome.unwrap_or_else(Verdict::Refused))
}
