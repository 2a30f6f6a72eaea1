//! How does every write leave its record?

use muster_domain::Actor;
use muster_store::audit::{AuditRow, CheckpointRow};
use muster_store::{StoreError, Tx, View};
use muster_trust::audit::checkpoint::{BadCheckpoint, Checkpoint, Signer};
use muster_trust::audit::tree::{BadEdge, Tree};
use muster_trust::audit::{Record, START, digest};
use muster_vocab::{ProjectId, Sha256, Timestamp, limit};
use serde_json::Value;

use super::error::FlowError;

/// Records walked at a time while verifying.
const VERIFY_BATCH: u32 = 1000;

/// Appends to the project's chain, in the transaction of the change itself.
pub fn record(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    what: (&str, String),
    detail: &Value,
) -> Result<(), FlowError> {
    let project = actor.project();
    let (action, target) = what;
    let head = tx.audit_head(project)?;
    let (sequence, previous) = head.map_or((1, START), |head| (head.sequence + 1, head.digest));
    let mut row = AuditRow {
        sequence,
        at: now,
        actor: actor.to_string(),
        action: action.to_owned(),
        target,
        detail: detail.to_string(),
        previous,
        digest: START,
    };
    row.digest = digest_of(&row);
    tx.insert_audit(project, &row)?;
    Ok(())
}

/// What a walk along the chain found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub records: u64,
    pub broken_at: Option<u64>,
    pub head: Sha256,
}

/// Walks the whole chain and stops at the first record that does not fit.
pub fn verify(view: &View<'_>, project: ProjectId) -> Result<Verdict, FlowError> {
    let mut verdict = Verdict { records: 0, broken_at: None, head: START };
    loop {
        let rows = view.audit_after(project, verdict.records, VERIFY_BATCH)?;
        if rows.is_empty() {
            return Ok(verdict);
        }
        for row in rows {
            let fits =
                row.sequence == verdict.records + 1 && row.previous == verdict.head && row.digest == digest_of(&row);
            if !fits {
                return Ok(Verdict { broken_at: Some(verdict.records + 1), ..verdict });
            }
            verdict.records = row.sequence;
            verdict.head = row.digest;
        }
    }
}

/// Why no checkpoint was signed.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("record {0} of the audit log is not what was once written; nothing after it is signed")]
    Broken(u64),
    #[error("the newest checkpoint was changed or signed by another key")]
    Changed(#[source] Option<BadCheckpoint>),
    #[error("the newest checkpoint can't be gone on from")]
    Edge(#[from] BadEdge),
}

/// The log's name in checkpoints.
#[must_use]
pub fn origin(project: &str) -> String {
    format!("muster/{project}")
}

/// Signs what came since the newest checkpoint, a bounded number of records; answers how many those were.
///
/// It goes on from what was signed before, so that old records changed since can't get a signature.
pub fn sign(
    tx: &mut Tx<'_>,
    now: Timestamp,
    signer: &Signer,
    (project, name): (ProjectId, &str),
) -> Result<usize, CheckpointError> {
    let (mut tree, mut head) = match tx.audit_checkpoint_head(project)? {
        None => (Tree::default(), START),
        Some(row) => resume(signer, row)?,
    };
    let after = tree.size();
    let rows = tx.audit_after(project, after, limit::AUDIT_CHECKPOINT_RECORDS)?;
    for row in &rows {
        let expected = tree.size() + 1;
        if row.sequence != expected || row.previous != head || row.digest != digest_of(row) {
            return Err(CheckpointError::Broken(expected));
        }
        tree.push(row.digest);
        head = row.digest;
    }
    if !rows.is_empty() {
        let size = tree.size();
        let note = signer.sign(&Checkpoint { origin: origin(name), size, after, root: tree.root(), head, at: now });
        tx.insert_audit_checkpoint(project, &CheckpointRow { size, head, edge: tree.edge().to_vec(), note })?;
    }
    Ok(rows.len())
}

fn resume(signer: &Signer, row: CheckpointRow) -> Result<(Tree, Sha256), CheckpointError> {
    let signed = signer.public().open(&row.note).map_err(|bad| CheckpointError::Changed(Some(bad)))?;
    let tree = Tree::of(row.size, row.edge)?;
    if signed.size != row.size || signed.root != tree.root() || signed.head != row.head {
        return Err(CheckpointError::Changed(None));
    }
    Ok((tree, row.head))
}

fn digest_of(row: &AuditRow) -> Sha256 {
    digest(&Record {
        sequence: row.sequence,
        at: row.at,
        actor: &row.actor,
        action: &row.action,
        target: &row.target,
        detail: &row.detail,
        previous: row.previous,
    })
}
