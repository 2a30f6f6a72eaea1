//! How does the audit log notice that somebody changed it?
//!
//! Each record's digest covers its own fields and the digest of the record before, so that an edit, a removal or a
//! reordering shows from there on. A cut-off tail shows when the newest digest was written down elsewhere.

#[cfg(feature = "people")]
pub mod checkpoint;
#[cfg(feature = "people")]
pub mod export;
#[cfg(feature = "people")]
pub mod proof;
#[cfg(feature = "people")]
pub mod tree;

use muster_vocab::{Sha256, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::Digest;

/// The digest before the first record.
pub const START: Sha256 = Sha256([0; 32]);

/// The action of a record that tells of older ones that were dropped, up to the number `through` in its detail.
pub const PRUNE: &str = "audit.prune";

/// Does this record tell that the first `dropped` ones were dropped on purpose?
#[must_use]
pub fn tells_of_pruning(action: &str, detail: &str, dropped: u64) -> bool {
    #[derive(Deserialize)]
    struct Detail {
        through: u64,
    }
    action == PRUNE && serde_json::from_str::<Detail>(detail).is_ok_and(|detail| detail.through == dropped)
}

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
    /// [`Context`] as JSON, exactly as stored; empty in records that were written before there was one.
    pub context: &'a str,
    pub previous: Sha256,
}

/// By what right, in answer to what, why, and what became of the target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// What the actor showed, and the roles that made it enough: `token:7 by role:operator`.
    pub authority: String,
    /// `X-Request-Id` of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Digest of the target before the change; `None` if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Sha256>,
    /// Digest of the target after the change; `None` if there is none any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Sha256>,
}

/// Lengths stand before texts, so that no two records share an encoding.
#[must_use]
pub fn digest(record: &Record<'_>) -> Sha256 {
    let mut hasher = sha2::Sha256::new();
    let has_context = !record.context.is_empty();
    hasher.update(if has_context { b"muster audit 2\n" } else { b"muster audit 1\n" });
    hasher.update(record.sequence.to_be_bytes());
    hasher.update(record.at.0.to_be_bytes());
    for text in [record.actor, record.action, record.target, record.detail] {
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text.as_bytes());
    }
    if has_context {
        hasher.update((record.context.len() as u64).to_be_bytes());
        hasher.update(record.context.as_bytes());
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
        context: "",
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

    /// Golden: never edit; logs in the field were chained with it.
    #[test]
    fn the_digest_of_a_record_with_context_stays_what_it_is() {
        let context = Context { authority: "token:7".into(), reason: Some("smoke".into()), ..Context::default() };
        let context = serde_json::to_string(&context).unwrap();
        assert_eq!(context, r#"{"authority":"token:7","reason":"smoke"}"#);
        assert_eq!(
            digest(&Record { context: &context, ..RECORD }).to_string(),
            "sha256:03dd129781240947cbd09f374990bff7810f06c651f2943355e8f5cf695f98a0"
        );
    }

    #[test]
    fn moving_a_character_between_fields_changes_the_digest() {
        let moved = Record { actor: "account:an", action: "nrollout.start", ..RECORD };
        assert_ne!(digest(&moved), digest(&RECORD));
    }
}
