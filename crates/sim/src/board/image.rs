//! What is in a virtual slot? Bytes that tell whether they are whole, and how the system in them behaves.

use muster_delta::packed::pack::Packing;
use muster_vocab::Sha256;
use sha2::Digest;

use crate::chance::Chance;

/// How a system behaves once its slot is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    Good,
    /// Its kernel or its init fails: the machine resets at once.
    Dead,
    /// It starts, and its services don't come up.
    Sick,
    /// It starts and can't reach the server.
    Deaf,
}

/// One version of one component, as a board knows it from its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub version: String,
    pub nature: Nature,
    pub digest: Sha256,
    pub size: usize,
    /// Empty where a real server has them.
    pub bytes: Vec<u8>,
    /// Of an app: a tar archive that is unpacked.
    pub is_archive: bool,
}

impl Image {
    /// An image whose every byte follows from its name.
    #[must_use]
    pub fn new(version: &str, nature: Nature, size: usize, seed: u64) -> Self {
        let bytes = noise(version, size, seed);
        Self::of(version, nature, bytes, false)
    }

    /// One whose blocks are compressed, as those of a squashfs.
    #[must_use]
    pub fn packed(version: &str, nature: Nature, size: usize, seed: u64) -> Self {
        const BLOCK_BYTES: usize = 4096;
        // A digit for each byte, so that there is something to compress.
        let content: Vec<u8> = noise(version, size, seed).into_iter().map(|byte| b'0' + byte % 10).collect();
        let mut bytes = version.as_bytes().to_vec();
        for block in content.chunks(BLOCK_BYTES) {
            bytes.extend(Packing::Zstd(3).pack(block).expect("memory takes what is packed"));
        }
        Self::of(version, nature, bytes, false)
    }

    /// An app of a few files.
    #[must_use]
    pub fn app(version: &str, seed: u64) -> Self {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, size) in [("bin/app", 700), ("share/model.bin", 1500), ("VERSION", 0)] {
            let content = if size == 0 { version.as_bytes().to_vec() } else { noise(version, size, seed) };
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(0o755);
            archive.append_data(&mut header, name, content.as_slice()).expect("memory takes what is written");
        }
        let bytes = archive.into_inner().expect("memory takes what is written");
        Self::of(version, Nature::Good, bytes, true)
    }

    fn of(version: &str, nature: Nature, bytes: Vec<u8>, is_archive: bool) -> Self {
        let digest = Sha256(sha2::Sha256::digest(&bytes).into());
        Self { version: version.to_owned(), nature, digest, size: bytes.len(), bytes, is_archive }
    }

    /// One that a real server has; only its digest is known.
    #[must_use]
    pub fn known(version: &str, nature: Nature, digest: Sha256, size: usize) -> Self {
        Self { version: version.to_owned(), nature, digest, size, bytes: Vec::new(), is_archive: false }
    }

    /// Does a slot begin with exactly this image?
    #[must_use]
    pub fn is_in(&self, slot: &[u8]) -> bool {
        let Some(found) = slot.get(..self.size) else { return false };
        if self.bytes.is_empty() {
            sha2::Sha256::digest(found).as_slice() == self.digest.0
        } else {
            found == self.bytes
        }
    }
}

/// Most of it is the same in all versions.
fn noise(version: &str, size: usize, seed: u64) -> Vec<u8> {
    const OWN_PART: f64 = 0.1;
    let mut common = Chance::keyed(seed, &[]);
    let mut chance = Chance::keyed(seed, &[crate::chance::number_of(version), size as u64]);
    let mut bytes = vec![0; size];
    for piece in bytes.chunks_mut(8) {
        let (shared, own) = (common.draw(), chance.draw());
        let drawn = if chance.happens(OWN_PART) { own } else { shared };
        piece.copy_from_slice(&drawn.to_le_bytes()[..piece.len()]);
    }
    bytes
}
