//! Does an image's own signature verify, the one that its installer looks at?
//!
//! Clients of other makers don't see signed metadata; what keeps them from a forged image is the signature inside of it.
//! Here it is checked as the installer would: SWUpdate's `sw-description`, RAUC's bundles, Mender's artifacts, and images of
//! containers as cosign signs them. Files are read once, from front to back, with memory for their heads only.

mod cms;
pub mod keys;
mod mender;
mod oci;
mod rauc;
mod swu;
#[cfg(test)]
mod tests;

use std::io::{self, Read, Seek, SeekFrom};

use muster_vocab::Timestamp;
use muster_vocab::digest::hex;
use sha2::Digest;

use keys::Trusted;

/// Signatures and the texts they are over: a description of hundreds of images is some 100 KB.
const SIGNED_BYTES_MAX: u64 = 4 << 20;
/// Files of an archive whose description is signed: an image has a hundred layers at the most.
const ENTRIES_MAX: usize = 10_000;
const PART_BYTES: usize = 64 * 1024;
/// POSIX's header of a tar, and where it says so.
const TAR_HEAD_BYTES: usize = 512;
const TAR_MAGIC: std::ops::Range<usize> = 257..262;

/// What an image is, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An `.swu` image of SWUpdate.
    Swu,
    /// A bundle of RAUC.
    Rauc,
    /// A `.mender` artifact.
    Mender,
    /// An archive of images as OCI lays them out.
    Oci,
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
    #[error("{0} is missing in the image, and its signed description names it")]
    Missing(String),
    #[error("{0} is not known here")]
    Unsupported(&'static str),
}

/// What a file is. `None`: nothing whose signature is known here. Stands at the file's beginning afterwards.
pub fn kind(file: &mut (impl Read + Seek)) -> io::Result<Option<Kind>> {
    let mut head = Vec::with_capacity(TAR_HEAD_BYTES);
    file.seek(SeekFrom::Start(0))?;
    file.by_ref().take(TAR_HEAD_BYTES as u64).read_to_end(&mut head)?;
    let kind = match head.as_slice() {
        [b'0', b'7', b'0', b'7', b'0', b'1' | b'2', ..] => Some(Kind::Swu),
        [b'h', b's', b'q', b's', ..] => Some(Kind::Rauc),
        tar if tar.get(TAR_MAGIC) == Some(b"ustar") && tar.starts_with(b"version\0") => Some(Kind::Mender),
        tar if tar.get(TAR_MAGIC) == Some(b"ustar") && oci::is_layout(file) => Some(Kind::Oci),
        _ => None,
    };
    file.seek(SeekFrom::Start(0))?;
    Ok(kind)
}

/// SHA-256 of what is left to read, in hex.
fn digest(from: &mut impl Read) -> io::Result<String> {
    let (mut hasher, mut part) = (sha2::Sha256::new(), vec![0; PART_BYTES]);
    loop {
        match from.read(&mut part)? {
            0 => return Ok(hex(&hasher.finalize())),
            more => hasher.update(&part[..more]),
        }
    }
}

/// Checks an image. `now` is compared with certificates only.
pub fn check(file: &mut (impl Read + Seek), kind: Kind, ring: &[Named], now: Timestamp) -> io::Result<Verdict> {
    let outcome = match kind {
        Kind::Swu => swu::check(file, ring, now)?,
        Kind::Rauc => rauc::check(file, ring, now)?,
        Kind::Mender => mender::check(file, ring),
        Kind::Oci => oci::check(file, ring),
    };
    Ok(outcome.unwrap_or_else(Verdict::Refused))
}
