//! How does the audit log notice that somebody changed it?
//!
//! Each record's digest covers its own fields and the digest of the record before, so that an edit, a removal or a
//! reordering shows from there on. A cut-off tail shows when the newest digest was written down elsewhere.

#[cfg(feature = "people")]
pub mod checkpoint;
#[cfg(feature = "people")]
pub mod export;
#[cfg(feature = "people")]
pub mod tree;

use muster_vocab::{Sha256, Timestamp};
use sha2::Digest;

/// The digest before the first record.
pub const START: Sha256 = Sha256([0; 32]);

/// The fields a record's digest covers.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    pub sequence: u64,
    pub at: Timestamp,
    pub actor: &'a str,
    pub action: &'a str,
    pub target: &'a str,
    /// JSON, exactly as stored.
    pub detail: &'a str,
    pub previous: Sha256,
}

/// Lengths stand before texts, so that no two records share an encoding.
#[must_use]
pub fn digest(record: &Record<'_>) -> Sha256 {
    let mut hasher = sha2::Sha256::new();
    hasher.update(b"muster audit 1\n");
    hasher.update(record.sequence.to_be_bytes());
    hasher.update(record.at.0.to_be_bytes());
    for text in [record.actor, record.action, record.target, record.detail] {
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.update(record.previous.0);
    Sha256(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: Record<'static> = Record {
        sequence: 1,
        at: Timestamp(5),
        actor: "account:ann",
        action: "rollout.start",
        target: "rollout:r-1",
        detail: "{}",
        previous: START,
    };

    /// Golden: never edit; logs in the field were chained with it.
    #[test]
    fn the_digest_of_a_record_stays_what_it_is() {
        assert_eq!(
            digest(&RECORD).to_string(),
            "sha256:5051da365cc0b99344c5e5bc0006a2c3ba1e0617894bd9a42d598e753b26af1a"
        );
    }

    #[test]
    fn moving_a_character_between_fields_changes_the_digest() {
        let moved = Record { actor: "account:an", action: "nrollout.start", ..RECORD };
        assert_ne!(digest(&moved), digest(&RECORD));
    }
}
