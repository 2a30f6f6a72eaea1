//! Is a RAUC bundle what was signed?
//!
//! A squashfs, a CMS signature behind it, and the signature's length in the last eight bytes. `plain`: the signature is over
//! all before it. `verity`: it holds the manifest, which names the root of a hash tree over the squashfs; the tree lies
//! behind it. `crypt`: the manifest is for the devices alone.

use std::io::{self, Read, Seek, SeekFrom};

use muster_vocab::Timestamp;
use muster_vocab::digest::hex;
use sha2::Digest;

use super::cms::{Digests, Signature};
use super::{BadInner, Named, SIGNED_BYTES_MAX, Verdict};

const LENGTH_BYTES: u64 = 8;
/// Of RAUC's trees: SHA-256 over blocks of 4 KiB, salted in front, 128 hashes in a block.
const BLOCK: usize = 4096;
const HASHES: usize = BLOCK / 32;

pub(super) fn check(
    file: &mut (impl Read + Seek),
    ring: &[Named],
    now: Timestamp,
) -> io::Result<Result<Verdict, BadInner>> {
    let size = file.seek(SeekFrom::End(0))?;
    let Some(end) = size.checked_sub(LENGTH_BYTES) else { return Ok(Err(BadInner::Broken("it is too short"))) };
    let mut length = [0; LENGTH_BYTES as usize];
    file.seek(SeekFrom::Start(end))?;
    file.read_exact(&mut length)?;
    let length = u64::from_be_bytes(length);
    let Some(payload) = end.checked_sub(length).filter(|_| (1..=SIGNED_BYTES_MAX).contains(&length)) else {
        return Ok(Ok(Verdict::Unsigned));
    };
    let mut signature = vec![0; usize::try_from(length).unwrap_or(0)];
    file.seek(SeekFrom::Start(payload))?;
    file.read_exact(&mut signature)?;
    let signature = match Signature::read(&signature) {
        Ok(signature) => signature,
        Err(bad) => return Ok(Err(bad)),
    };
    let mut digests = Digests::default();
    let Some(manifest) = signature.content() else {
        each_block(file, payload, |block| digests.update(block))?;
        return Ok(signature.verify(&digests, ring, now).map(Verdict::Verified));
    };
    digests.update(&manifest);
    let name = match signature.verify(&digests, ring, now) {
        Ok(name) => name,
        Err(bad) => return Ok(Err(bad)),
    };
    let Some(tree) = Tree::told(&String::from_utf8_lossy(&manifest), payload) else {
        return Ok(Err(BadInner::Unreadable("its manifest names no hash tree over the bundle")));
    };
    let root = tree.root(file)?;
    Ok(if root == tree.root { Ok(Verdict::Verified(name)) } else { Err(BadInner::Changed) })
}

/// What a manifest says of its bundle (`[bundle]`, format `verity`).
struct Tree {
    root: String,
    salt: Vec<u8>,
    /// Of the squashfs, which the tree is over.
    covered: u64,
}

impl Tree {
    fn told(manifest: &str, payload: u64) -> Option<Self> {
        let lines = manifest.lines().map(str::trim).skip_while(|line| *line != "[bundle]").skip(1);
        let lines: Vec<&str> = lines.take_while(|line| !line.starts_with('[')).collect();
        let value = |key: &str| {
            let line = lines.iter().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('='));
            line.map(str::trim)
        };
        let tree_bytes: u64 = value("verity-size")?.parse().ok()?;
        let covered = payload.checked_sub(tree_bytes)?;
        let salt = value("verity-salt")?;
        let byte = |at| u8::from_str_radix(salt.get(at..at + 2)?, 16).ok();
        let salt: Option<Vec<u8>> = (0..salt.len()).step_by(2).map(byte).collect();
        let is_whole = value("format") == Some("verity") && covered > 0 && covered % BLOCK as u64 == 0;
        is_whole.then_some(Self { root: value("verity-hash")?.to_ascii_lowercase(), salt: salt?, covered })
    }

    /// Worked out from the squashfs: what the bundle's own tree says doesn't matter. Memory: one block of each level.
    fn root(&self, file: &mut (impl Read + Seek)) -> io::Result<String> {
        let mut levels: Vec<Vec<u8>> = vec![Vec::with_capacity(BLOCK)];
        each_block(file, self.covered, |block| push(&mut levels, 0, self.hash(block), &|block| self.hash(block)))?;
        // What is left on each level is filled up with zeros, up to the level that is one hash.
        let mut at = 0;
        loop {
            let is_top = at + 1 == levels.len();
            if is_top && levels[at].len() == 32 && at > 0 {
                return Ok(hex(&levels[at]));
            }
            if !levels[at].is_empty() {
                let mut block = std::mem::take(&mut levels[at]);
                block.resize(BLOCK, 0);
                let hash = self.hash(&block);
                push(&mut levels, at + 1, hash, &|block| self.hash(block));
            }
            at += 1;
        }
    }

    fn hash(&self, block: &[u8]) -> [u8; 32] {
        let mut hasher = sha2::Sha256::new();
        hasher.update(&self.salt);
        hasher.update(block);
        hasher.finalize().into()
    }
}

/// Puts a hash on a level; a full block of them becomes a hash on the next.
fn push(levels: &mut Vec<Vec<u8>>, at: usize, hash: [u8; 32], digest: &dyn Fn(&[u8]) -> [u8; 32]) {
    if levels.len() == at {
        levels.push(Vec::with_capacity(BLOCK));
    }
    levels[at].extend_from_slice(&hash);
    if levels[at].len() == HASHES * 32 {
        let block = std::mem::take(&mut levels[at]);
        push(levels, at + 1, digest(&block), digest);
    }
}

/// The first bytes of a file, block by block.
fn each_block(file: &mut (impl Read + Seek), bytes: u64, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    let (mut left, mut block) = (bytes, vec![0; BLOCK]);
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(BLOCK);
        file.read_exact(&mut block[..most])?;
        each(&block[..most]);
        left -= most as u64;
    }
    Ok(())
}
