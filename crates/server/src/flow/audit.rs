//! How does every write leave its record?

use muster_domain::{Actor, Permission};
use muster_store::audit::{AuditRow, CheckpointRow};
use muster_store::{StoreError, Tx, View};
use muster_trust::audit::checkpoint::{BadCheckpoint, Checkpoint, Signer};
use muster_trust::audit::tree::{BadEdge, Prover, Tree};
use muster_trust::audit::{Context, PRUNE, Record, START, digest, tells_of_pruning};
use muster_vocab::{ProjectId, Sha256, Timestamp, limit};
use serde_json::{Value, json};

use super::error::FlowError;

/// Records and old checkpoints go at most so many at a time.
const PRUNE_BATCH: u64 = 5000;
/// Digests read at a time while proving.
const PROVE_BATCH: u32 = 10_000;
const UNSIGNED: &str = "the record was not signed yet: ask again in a minute, or see the server's log";
const UNVOUCHED: &str = "records are missing that no checkpoint vouches for: muster audit verify tells where";
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
    let (before, after) = tx.state_digests(project, &target)?;
    let head = tx.audit_head(project)?;
    let (sequence, previous) = head.map_or((1, START), |head| (head.sequence + 1, head.digest));
    let origin = actor.origin();
    // Some requests ask for a reason in their body, which is part of what was said.
    let said = detail.get("reason").and_then(Value::as_str).filter(|reason| !reason.is_empty());
    let context = Context {
        authority: actor.authority(),
        request: origin.and_then(|origin| origin.request.clone()),
        reason: origin.and_then(|origin| origin.reason.clone()).or_else(|| said.map(str::to_owned)),
        before,
        after,
    };
    let mut row = AuditRow {
        sequence,
        at: now,
        actor: actor.to_string(),
        action: action.to_owned(),
        target,
        detail: detail.to_string(),
        context: serde_json::to_string(&context).expect("texts and digests are JSON"),
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
    /// How many there were, with those that were dropped.
    pub records: u64,
    pub broken_at: Option<u64>,
    pub head: Sha256,
}

/// Walks the whole chain and stops at the first record that does not fit.
pub fn verify(view: &View<'_>, project: ProjectId) -> Result<Verdict, FlowError> {
    let (records, head) = match view.audit_dropped(project)? {
        0 => (0, START),
        dropped => {
            let vouching = view.audit_checkpoint_up_to(project, dropped)?.filter(|row| row.size == dropped);
            let Some(vouching) = vouching else {
                return Ok(Verdict { records: 0, broken_at: Some(dropped), head: START });
            };
            (dropped, vouching.head)
        }
    };
    let mut verdict = Verdict { records, broken_at: None, head };
    let (dropped, mut is_told) = (records, records == 0);
    loop {
        let rows = view.audit_after(project, verdict.records, VERIFY_BATCH)?;
        if rows.is_empty() {
            // Nobody dropped the first ones on purpose: the last of them is what is missing.
            return Ok(Verdict { broken_at: (!is_told).then_some(dropped), ..verdict });
        }
        for row in rows {
            is_told |= tells_of_pruning(&row.action, &row.detail, dropped);
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

/// How many of the oldest records were dropped, and the edge of the tree over them.
pub fn beginning(view: &View<'_>, project: ProjectId) -> Result<(u64, Vec<Sha256>), FlowError> {
    let dropped = view.audit_dropped(project)?;
    let row = view.audit_checkpoint_up_to(project, dropped)?.filter(|row| row.size == dropped && dropped > 0);
    Ok((dropped, row.map_or_else(Vec::new, |row| row.edge)))
}

/// What shows that a record is part of the log: the hashes beside its way to the newest checkpoint.
#[derive(Debug)]
pub struct Inclusion {
    pub record: AuditRow,
    pub path: Vec<Sha256>,
    /// The signed text.
    pub note: String,
}

/// Costs reading the digests of all records that are there.
pub fn prove(view: &View<'_>, project: ProjectId, sequence: u64) -> Result<Inclusion, FlowError> {
    let missing = || StoreError::Missing { kind: "audit record", name: sequence.to_string() };
    let record = view.audit_record(project, sequence)?.ok_or_else(missing)?;
    let newest = view.audit_checkpoint_head(project)?.filter(|row| row.size >= sequence);
    let newest = newest.ok_or_else(|| FlowError::Conflict(UNSIGNED.to_owned()))?;
    let dropped = view.audit_dropped(project)?;
    let tree = match dropped {
        0 => Tree::default(),
        _ => {
            let row = view.audit_checkpoint_up_to(project, dropped)?.filter(|row| row.size == dropped);
            let row = row.ok_or_else(|| FlowError::Conflict(UNVOUCHED.to_owned()))?;
            Tree::of(row.size, row.edge).map_err(|_| FlowError::Conflict(UNVOUCHED.to_owned()))?
        }
    };
    let mut prover = Prover::new(tree, sequence).ok_or_else(missing)?;
    let mut after = dropped;
    while after < newest.size {
        let digests = view.audit_digests(project, (after, newest.size), PROVE_BATCH)?;
        if digests.is_empty() {
            return Err(FlowError::Conflict(UNVOUCHED.to_owned()));
        }
        after += digests.len() as u64;
        digests.into_iter().for_each(|digest| prover.push(digest));
    }
    let path = prover.path().ok_or_else(missing)?;
    Ok(Inclusion { record, path, note: newest.note })
}

/// Drops old records, a bounded number, up to a checkpoint that vouches for them from then on. Answers how many, and
/// whether there are more to drop. The newest checkpoint and what came after it always stay.
pub fn prune(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    (before, through): (Timestamp, Option<u64>),
) -> Result<(u64, bool), FlowError> {
    actor.may(Permission::Admin)?;
    let project = actor.project();
    let newest = tx.audit_checkpoint_head(project)?.map_or(0, |row| row.size);
    let dropped = tx.audit_dropped(project)?;
    let old = tx.audit_before(project, before)?.min(through.unwrap_or(u64::MAX)).min(newest.saturating_sub(1));
    let some = old.min(dropped + PRUNE_BATCH);
    let Some(row) = tx.audit_checkpoint_up_to(project, some)?.filter(|row| row.size > dropped) else {
        return Ok((0, false));
    };
    let records = tx.delete_audit(project, row.size)? as u64;
    let detail = json!({ "through": row.size, "records": records, "before": before });
    record(tx, now, actor, (PRUNE, "audit".to_owned()), &detail)?;
    Ok((records, some < old))
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
        context: &row.context,
        previous: row.previous,
    })
}
