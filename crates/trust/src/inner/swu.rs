//! Is an `.swu` image what its signed description says?
//!
//! A cpio archive (newc, also with checksums). `sw-description` stands first, its signature `sw-description.sig` next:
//! RSA over SHA-256 (PKCS #1 v1.5 or PSS), or CMS. SWUpdate takes no image of a signed archive whose SHA-256 the
//! description doesn't name, so none may be in here.

use std::io::{self, Read};

use muster_vocab::Timestamp;

use super::cms::{Digests, Signature};
use super::keys::{Algorithm, signer};
use super::{BadInner, ENTRIES_MAX, Named, SIGNED_BYTES_MAX, Verdict, digest};

const HEADER_BYTES: usize = 110;
const NAME_BYTES_MAX: u64 = 4096;
const DESCRIPTION: &str = "sw-description";
const SIGNATURE: &str = "sw-description.sig";
const END: &str = "TRAILER!!!";
const ALIGNMENT: u64 = 4;

type Checked<T> = io::Result<Result<T, BadInner>>;

struct Entry {
    name: String,
    size: u64,
}

pub(super) fn check(file: &mut impl Read, ring: &[Named], now: Timestamp) -> Checked<Verdict> {
    let mut archive = Archive { file, at: 0 };
    let description = match archive.text(DESCRIPTION, "sw-description does not stand first")? {
        Ok(description) => description,
        Err(bad) => return Ok(Err(bad)),
    };
    let next = match archive.next()? {
        Ok(Some(entry)) if entry.name == SIGNATURE => entry,
        Ok(_) => return Ok(Ok(Verdict::Unsigned)),
        Err(bad) => return Ok(Err(bad)),
    };
    let signature = match archive.body(&next)? {
        Ok(signature) => signature,
        Err(bad) => return Ok(Err(bad)),
    };
    let name = match by(&description, &signature, ring, now) {
        Ok(name) => name,
        Err(bad) => return Ok(Err(bad)),
    };
    let named = named(&String::from_utf8_lossy(&description));
    for _ in 0..ENTRIES_MAX {
        let entry = match archive.next()? {
            Ok(Some(entry)) => entry,
            Ok(None) => return Ok(Ok(Verdict::Verified(name))),
            Err(bad) => return Ok(Err(bad)),
        };
        let digest = match archive.digest(&entry)? {
            Ok(digest) => digest,
            Err(bad) => return Ok(Err(bad)),
        };
        if !named.contains(&digest) {
            return Ok(Err(BadInner::NotNamed(entry.name)));
        }
    }
    Ok(Err(BadInner::Broken("it holds too many files")))
}

fn by(description: &[u8], signature: &[u8], ring: &[Named], now: Timestamp) -> Result<String, BadInner> {
    if let Some(name) = signer(ring, &[Algorithm::RsaSha256, Algorithm::RsaPssSha256], description, signature) {
        return Ok(name.to_owned());
    }
    // What is no CMS is bytes of RSA, by a key that is not in the ring or over something else.
    let Ok(signature) = Signature::read(signature) else { return Err(BadInner::UnknownKey) };
    let mut digests = Digests::default();
    digests.update(description);
    signature.verify(&digests, ring, now)
}

/// Each SHA-256 in the description: libconfig or JSON, `sha256 = "…"` or `"sha256": "…"`.
fn named(description: &str) -> Vec<String> {
    let values = description.split("sha256").skip(1).filter_map(|rest| {
        let rest = rest.trim_start_matches(['"', ' ', '\t', '=', ':', '\n', '\r']);
        let end = rest.find(|char: char| !char.is_ascii_hexdigit())?;
        (end == 64).then(|| rest[..end].to_ascii_lowercase())
    });
    values.collect()
}

struct Archive<'f, F> {
    file: &'f mut F,
    at: u64,
}

impl<F: Read> Archive<'_, F> {
    /// The next file's head; none at the end.
    fn next(&mut self) -> Checked<Option<Entry>> {
        let mut header = [0; HEADER_BYTES];
        if !self.fill(&mut header)? {
            return Ok(Err(BadInner::Broken("it ends before its trailer")));
        }
        let field = |at: usize| {
            let digits = std::str::from_utf8(&header[6 + at * 8..14 + at * 8]).ok()?;
            digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u64::from_str_radix(digits, 16).ok()).flatten()
        };
        let is_known = matches!(&header[..6], b"070701" | b"070702");
        let (Some(size), Some(length), true) = (field(6), field(11), is_known) else {
            return Ok(Err(BadInner::Broken("a file's header in it makes no sense")));
        };
        if length == 0 || length > NAME_BYTES_MAX {
            return Ok(Err(BadInner::Broken("a file in it has no name, or one too long")));
        }
        let mut name = vec![0; usize::try_from(length).unwrap_or(0)];
        if !self.fill(&mut name)? || !self.pad()? {
            return Ok(Err(BadInner::Broken("it ends within a file's name")));
        }
        let name = String::from_utf8_lossy(name.strip_suffix(&[0]).unwrap_or(&name)).into_owned();
        Ok(Ok((name != END).then_some(Entry { name, size })))
    }

    fn text(&mut self, name: &str, otherwise: &'static str) -> Checked<Vec<u8>> {
        match self.next()? {
            Ok(Some(entry)) if entry.name == name => self.body(&entry),
            Ok(_) => Ok(Err(BadInner::Broken(otherwise))),
            Err(bad) => Ok(Err(bad)),
        }
    }

    fn body(&mut self, entry: &Entry) -> Checked<Vec<u8>> {
        if entry.size > SIGNED_BYTES_MAX {
            return Ok(Err(BadInner::Broken("its description or signature is too large")));
        }
        let mut body = vec![0; usize::try_from(entry.size).unwrap_or(0)];
        match self.fill(&mut body)? && self.pad()? {
            true => Ok(Ok(body)),
            false => Ok(Err(BadInner::Broken("it ends within a file"))),
        }
    }

    fn digest(&mut self, entry: &Entry) -> Checked<String> {
        let mut body = self.file.take(entry.size);
        let found = digest(&mut body)?;
        let is_whole = body.limit() == 0;
        self.at += entry.size;
        match is_whole && self.pad()? {
            true => Ok(Ok(found)),
            false => Ok(Err(BadInner::Broken("it ends within a file"))),
        }
    }

    fn pad(&mut self) -> io::Result<bool> {
        let mut padding = [0; ALIGNMENT as usize];
        let short = usize::try_from(self.at.next_multiple_of(ALIGNMENT) - self.at).unwrap_or(0);
        self.fill(&mut padding[..short])
    }

    /// Whether there was as much.
    fn fill(&mut self, into: &mut [u8]) -> io::Result<bool> {
        self.at += into.len() as u64;
        match self.file.read_exact(into) {
            Ok(()) => Ok(true),
            Err(failed) if failed.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(failed) => Err(failed),
        }
    }
}
