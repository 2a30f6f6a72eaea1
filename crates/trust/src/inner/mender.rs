//! Is a Mender artifact what its signed manifest says?
//!
//! A tar (format 3) of `version`, `manifest`, `manifest.sig`, `header.tar` and `data/0000.tar` and so on, the inner ones
//! mostly compressed. The manifest has the SHA-256 of each file, of those in `data` one by one. Its signature is base64 of
//! RSA (PKCS #1 v1.5) or ECDSA P-256 (r and s) over SHA-256. What is added beside the manifest (`manifest-augment`) is
//! signed by nobody, and stands in the way.

use std::collections::BTreeMap;
use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use muster_vocab::digest::hex;
use sha2::Digest;
use tar::{Archive, Entry};

use super::keys::{Algorithm, signer};
use super::{BadInner, ENTRIES_MAX, Named, SIGNED_BYTES_MAX, Verdict, digest};

/// A root file system; whoever signed it is trusted, and may still be mistaken.
const EXPANDED_BYTES_MAX: u64 = 64 << 30;
/// What `zstd -19` wants; more takes `--ultra`.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// What `xz -9` wants to unpack, with room.
const XZ_MEMORY_KIB_MAX: u32 = 80 * 1024;

const UNREADABLE: BadInner = BadInner::Broken("it can't be read to its end as tar");

/// What is still to be found: digests in hex by name.
type Named256 = BTreeMap<String, String>;

pub(super) fn check(file: &mut impl Read, ring: &[Named]) -> Result<Verdict, BadInner> {
    let mut archive = Archive::new(file);
    let mut entries = archive.entries().map_err(|_| UNREADABLE)?;
    let mut next = || entries.next().transpose().map_err(|_| UNREADABLE)?.ok_or(UNREADABLE);
    let version = text(&mut next()?, "version")?;
    let manifest = text(&mut next()?, "manifest")?;
    let mut third = next()?;
    if name(&third)? != "manifest.sig" {
        return Ok(Verdict::Unsigned);
    }
    let signature = text(&mut third, "manifest.sig")?;
    let by = by(&manifest, &signature, ring)?;
    let mut left = named(&manifest)?;
    take(&mut left, "version".into(), &hex(&sha2::Sha256::digest(&version)))?;
    for entry in entries.take(ENTRIES_MAX) {
        let mut entry = entry.map_err(|_| UNREADABLE)?;
        let name = name(&entry)?;
        match name.strip_prefix("data/").and_then(|rest| rest.split_once(".tar")) {
            Some((number, packing)) => payload(&mut entry, number, packing, &mut left)?,
            None => take(&mut left, name, &digest(&mut entry).map_err(|_| UNREADABLE)?)?,
        }
    }
    match left.into_keys().next() {
        Some(missing) => Err(BadInner::Missing(missing)),
        None => Ok(Verdict::Verified(by)),
    }
}

fn by(manifest: &[u8], signature: &[u8], ring: &[Named]) -> Result<String, BadInner> {
    let signature = BASE64.decode(signature.trim_ascii()).map_err(|_| BadInner::Unreadable("it is no base64"))?;
    let ways = [Algorithm::RsaSha256, Algorithm::EcdsaSha256Fixed];
    signer(ring, &ways, manifest, &signature).map(str::to_owned).ok_or(BadInner::UnknownKey)
}

/// Lines of `sha256sum`.
fn named(manifest: &[u8]) -> Result<Named256, BadInner> {
    let manifest = str::from_utf8(manifest).map_err(|_| BadInner::Unreadable("its manifest is no text"))?;
    let pair = |line: &str| line.split_once("  ").map(|(digest, name)| (name.to_owned(), digest.to_ascii_lowercase()));
    let found: Option<Named256> = manifest.lines().map(pair).collect();
    found.ok_or(BadInner::Unreadable("its manifest has other lines than digests with names"))
}

/// Strikes a file out; once only.
fn take(left: &mut Named256, name: String, digest: &str) -> Result<(), BadInner> {
    match left.remove(&name) {
        Some(expected) if expected == digest => Ok(()),
        Some(_) => Err(BadInner::Changed),
        None => Err(BadInner::NotNamed(name)),
    }
}

/// Each file of one `data/NNNN.tar`.
fn payload(packed: &mut impl Read, number: &str, packing: &str, left: &mut Named256) -> Result<(), BadInner> {
    let expanded: Box<dyn Read + '_> = match packing {
        "" => Box::new(packed),
        ".gz" => Box::new(flate2::read::MultiGzDecoder::new(packed)),
        ".xz" => Box::new(lzma_rust2::XzReader::new_mem_limit(packed, true, XZ_MEMORY_KIB_MAX)),
        ".zst" => {
            let mut decoder = zstd::stream::read::Decoder::new(packed).map_err(|_| UNREADABLE)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|_| UNREADABLE)?;
            Box::new(decoder)
        }
        _ => return Err(BadInner::Unsupported("the compression of its payload")),
    };
    let mut archive = Archive::new(expanded.take(EXPANDED_BYTES_MAX));
    for entry in archive.entries().map_err(|_| UNREADABLE)?.take(ENTRIES_MAX) {
        let mut entry = entry.map_err(|_| UNREADABLE)?;
        let name = format!("data/{number}/{}", name(&entry)?);
        take(left, name, &digest(&mut entry).map_err(|_| UNREADABLE)?)?;
    }
    Ok(())
}

fn name(entry: &Entry<'_, impl Read>) -> Result<String, BadInner> {
    if !entry.header().entry_type().is_file() {
        return Err(BadInner::Broken("it holds something else than files"));
    }
    Ok(String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_owned())
}

fn text(entry: &mut Entry<'_, impl Read>, expected: &str) -> Result<Vec<u8>, BadInner> {
    if name(entry)? != expected {
        return Err(BadInner::Broken("its version and manifest do not stand first"));
    }
    let mut text = Vec::new();
    entry.take(SIGNED_BYTES_MAX + 1).read_to_end(&mut text).map_err(|_| UNREADABLE)?;
    if text.len() as u64 > SIGNED_BYTES_MAX {
        return Err(BadInner::Broken("its manifest or signature is too large"));
    }
    Ok(text)
}
