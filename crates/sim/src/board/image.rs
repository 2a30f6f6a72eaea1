//! What is in a virtual slot? Bytes that tell whether they are whole, and how the system in them behaves.

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
    pub bytes: Vec<u8>,
    pub digest: Sha256,
}

impl Image {
    /// An image whose every byte follows from its name.
    #[must_use]
    pub fn new(version: &str, nature: Nature, size: usize, seed: u64) -> Self {
        let mut chance = Chance::keyed(seed, &[crate::chance::number_of(version), size as u64]);
        let mut bytes = vec![0; size];
        for piece in bytes.chunks_mut(8) {
            piece.copy_from_slice(&chance.draw().to_le_bytes()[..piece.len()]);
        }
        let digest = Sha256(sha2::Sha256::digest(&bytes).into());
        Self { version: version.to_owned(), nature, bytes, digest }
    }

    /// Does a slot begin with exactly this image?
    #[must_use]
    pub fn is_in(&self, slot: &[u8]) -> bool {
        slot.get(..self.bytes.len()).is_some_and(|found| found == self.bytes)
    }
}
