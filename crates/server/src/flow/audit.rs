//! How does every write leave its record?

use muster_domain::Actor;
use muster_store::audit::AuditRow;
use muster_store::{Tx, View};
use muster_trust::audit::{Record, START, digest};
use muster_vocab::{ProjectId, Sha256, Timestamp};
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
