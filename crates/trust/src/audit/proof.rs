//! Is one record part of the log, without the others?
//!
//! A record, the way from it to a tree head (RFC 9162, 2.1.3), and the checkpoint that was signed over that head. Who
//! shows it discloses nothing else of the log but how long it was.

use muster_vocab::Sha256;
use serde::{Deserialize, Serialize};

use super::checkpoint::{Checkpoint, PublicKey};
use super::export::{Exported, Known, What};
use super::tree::includes;

/// Of this file format.
pub const VERSION: u32 = 1;
/// A tree of 2^64 records is not higher.
const PATH_MAX: usize = 64;

/// A file with one record's proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    pub version: u32,
    /// Told, not believed, if the reader has a key of their own.
    pub key: String,
    pub record: Exported,
    /// The lowest first.
    pub path: Vec<Sha256>,
    /// The signed text.
    pub checkpoint: String,
}

impl Proof {
    /// The checkpoint whose log the record is part of, and the key that signed it. A checkpoint kept elsewhere counts
    /// in place of the one in the proof if it is the same.
    pub fn verify(&self, known: &Known) -> Result<(Checkpoint, PublicKey), What> {
        if self.version != VERSION || self.path.len() > PATH_MAX {
            return Err(What::Form);
        }
        let told: PublicKey = self.key.parse().map_err(What::Key)?;
        if known.key.is_some_and(|key| key != told) {
            return Err(What::OtherKey);
        }
        if self.record.digest != self.record.recomputed() {
            return Err(What::Digest(self.record.sequence));
        }
        let checkpoint = told.open(&self.checkpoint).map_err(What::Checkpoint)?;
        if let Some(kept) = &known.kept {
            let kept = told.open(kept).map_err(What::Checkpoint)?;
            if kept.origin != checkpoint.origin {
                return Err(What::OtherLog(kept.origin));
            }
            if kept.size == checkpoint.size && kept.root != checkpoint.root {
                return Err(What::Root(kept.size));
            }
        }
        let record = (self.record.sequence, self.record.digest);
        match includes((checkpoint.size, checkpoint.root), record, &self.path) {
            true => Ok((checkpoint, told)),
            false => Err(What::NotIncluded(self.record.sequence)),
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_vocab::Timestamp;

    use super::super::START;
    use super::super::checkpoint::{Signer, new_key};
    use super::super::tree::{Prover, Tree};
    use super::*;

    fn proof(signer: &Signer, sequence: u64) -> Proof {
        let (mut tree, mut prover) = (Tree::default(), Prover::new(Tree::default(), sequence).unwrap());
        let (mut head, mut wanted) = (START, None);
        for at in 1..=9 {
            let (actor, action, target) = ("account:ann".into(), "rollout.start".into(), format!("rollout:r-{at}"));
            let (detail, context) = ("{}".into(), r#"{"authority":"token:7"}"#.into());
            let mut record =
                Exported { sequence: at, at: 5, actor, action, target, detail, context, previous: head, digest: START };
            record.digest = record.recomputed();
            head = record.digest;
            tree.push(head);
            prover.push(head);
            wanted = wanted.or((at == sequence).then_some(record));
        }
        let (origin, root, at) = ("muster/default".into(), tree.root(), Timestamp(7));
        let checkpoint = signer.sign(&Checkpoint { origin, size: 9, after: 0, root, head, at });
        let (key, record, path) = (signer.public().to_string(), wanted.unwrap(), prover.path().unwrap());
        Proof { version: VERSION, key, record, path, checkpoint }
    }

    #[test]
    fn a_record_is_proven_alone_and_a_changed_one_is_not() {
        let signer = Signer::from_pkcs8(&new_key().unwrap()).unwrap();
        let proof = proof(&signer, 6);
        assert_eq!(proof.verify(&Known::default()).unwrap().0.size, 9);
        let mut edited = proof.clone();
        edited.record.context = r#"{"authority":"token:8"}"#.into();
        assert!(matches!(edited.verify(&Known::default()), Err(What::Digest(6))));
        edited.record.digest = edited.record.recomputed();
        assert!(matches!(edited.verify(&Known::default()), Err(What::NotIncluded(6))));
        let other = Signer::from_pkcs8(&new_key().unwrap()).unwrap().public();
        let known = Known { key: Some(other), kept: None };
        assert!(matches!(proof.verify(&known), Err(What::OtherKey)));
    }
}
