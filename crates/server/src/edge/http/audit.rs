//! The audit log.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use muster_store::StoreError;
use muster_store::audit::{AuditRow, CheckpointRow};
use muster_trust::audit::Context;
use muster_trust::audit::export::{Header, Line, VERSION, write};
use muster_trust::audit::proof::{Proof, VERSION as PROOF_VERSION};
use muster_vocab::ProjectId;
use muster_vocab::selector::schema::AUDIT_SCHEMA;
use muster_wire::Page;
use muster_wire::audit::{AuditPrune, AuditPruned, AuditRecord, AuditState, AuditVerdict, ProofQuery, StateQuery};
use muster_wire::page::PageQuery;
use tokio::sync::mpsc;
use tracing::error;

use super::auth::Operator;
use super::body::{Asked, Json};
use super::page::{Rows, page};
use super::problem::{Refusal, Refusals};
use super::show;
use crate::App;
use crate::flow::audit;
use crate::work::audit_stream::exported;
use crate::work::checkpoints;

/// Records read and sent at a time.
const EXPORT_BATCH: u32 = 500;
/// Batches that wait for a slow reader.
const EXPORT_WAITING: usize = 2;

/// List audit records, newest first.
#[utoipa::path(get, path = "/audit", operation_id = "list_audit", tag = "audit", params(PageQuery),
    responses((status = 200, body = Page<AuditRecord>), Refusals))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    operator: Operator,
    Asked(query): Asked<PageQuery>,
) -> Result<JsonBody<Page<AuditRecord>>, Refusal> {
    operator.may_read()?;
    let rows = Rows::of(&query, &AUDIT_SCHEMA)?;
    let (project, now) = (operator.project(), app.now());
    let paged = app
        .read::<_, StoreError>(move |view| view.audit(project, &rows.select, (rows.cursor, rows.limit), now))
        .await?;
    Ok(JsonBody(page(paged, show::audit)))
}

/// Walk the whole chain: does every record fit the one before?
#[utoipa::path(get, path = "/audit/verify", operation_id = "verify_audit", tag = "audit",
    responses((status = 200, body = AuditVerdict), Refusals))]
pub(super) async fn verify(State(app): State<Arc<App>>, operator: Operator) -> Result<JsonBody<AuditVerdict>, Refusal> {
    operator.may_read()?;
    let project = operator.project();
    let verdict = app.read(move |view| audit::verify(view, project)).await?;
    Ok(JsonBody(AuditVerdict {
        records: verdict.records,
        intact: verdict.broken_at.is_none(),
        broken_at: verdict.broken_at,
        head: verdict.head,
    }))
}

/// Download the whole log with its signed checkpoints, to be verified offline by `muster audit verify FILE`.
#[utoipa::path(get, path = "/audit/export", operation_id = "export_audit", tag = "audit",
    responses((status = 200, body = String, content_type = "application/jsonl"), Refusals))]
pub(super) async fn export(State(app): State<Arc<App>>, operator: Operator) -> Result<Response, Refusal> {
    operator.may_read()?;
    let project = operator.project();
    let name = app.read::<_, StoreError>(move |view| Ok(view.project(project)?.name)).await?;
    let signed = checkpoints::sign_project(&app, project, &name).await;
    if let Err(failed) = &signed {
        error!(error = failed as &dyn std::error::Error, "the audit log could not be signed: {failed}");
    }
    // A log that can't be signed is exported all the same: the file shows where it broke.
    let is_signed = signed.is_ok();
    let last = app
        .read::<_, StoreError>(move |view| match is_signed {
            true => Ok(view.audit_checkpoint_head(project)?.map_or(0, |row| row.size)),
            false => Ok(view.audit_head(project)?.map_or(0, |row| row.sequence)),
        })
        .await?;
    let (after, edge) = app.read(move |view| audit::beginning(view, project)).await?;
    let key = app.audit_signer.public().to_string();
    let header = Header { version: VERSION, origin: audit::origin(&name), key, after, edge };
    let (send, receive) = mpsc::channel(EXPORT_WAITING);
    tokio::spawn(send_export(app, project, (header, last), send));
    let body = futures_util::stream::unfold(receive, async |mut receive: mpsc::Receiver<Piece>| {
        let piece = receive.recv().await?;
        Some((piece, receive))
    });
    Ok(([(header::CONTENT_TYPE, "application/jsonl")], Body::from_stream(body)).into_response())
}

/// Prove one record without showing the others; `muster audit verify FILE` checks it offline.
#[utoipa::path(get, path = "/audit/proof", operation_id = "prove_audit", tag = "audit", params(ProofQuery),
    responses((status = 200, body = serde_json::Value), Refusals))]
pub(super) async fn proof(
    State(app): State<Arc<App>>,
    operator: Operator,
    Asked(query): Asked<ProofQuery>,
) -> Result<JsonBody<Proof>, Refusal> {
    operator.may_read()?;
    let project = operator.project();
    let name = app.read::<_, StoreError>(move |view| Ok(view.project(project)?.name)).await?;
    if let Err(failed) = checkpoints::sign_project(&app, project, &name).await {
        error!(error = &failed as &dyn std::error::Error, "the audit log could not be signed: {failed}");
    }
    let found = app.read(move |view| audit::prove(view, project, query.sequence)).await?;
    let (key, record) = (app.audit_signer.public().to_string(), exported(found.record));
    Ok(JsonBody(Proof { version: PROOF_VERSION, key, record, path: found.path, checkpoint: found.note }))
}

/// Is a thing still what the newest record about it says?
#[utoipa::path(get, path = "/audit/state", operation_id = "audit_state", tag = "audit", params(StateQuery),
    responses((status = 200, body = AuditState), Refusals))]
pub(super) async fn state(
    State(app): State<Arc<App>>,
    operator: Operator,
    Asked(query): Asked<StateQuery>,
) -> Result<JsonBody<AuditState>, Refusal> {
    operator.may_read()?;
    let (project, target) = (operator.project(), query.target);
    Ok(JsonBody(
        app.read::<_, StoreError>(move |view| {
            let now = view.state_digest(project, &target)?;
            let newest = view.audit_of(project, &target)?;
            let sequence = newest.as_ref().map(|row| row.sequence);
            let recorded = newest.and_then(|row| serde_json::from_str::<Context>(&row.context).ok()?.after);
            Ok(AuditState { target, now, recorded, sequence, as_recorded: now == recorded })
        })
        .await?,
    ))
}

/// Drop old records. The checkpoint over them stays, so that the rest can still be verified; export them first.
#[utoipa::path(post, path = "/audit/prune", operation_id = "prune_audit", tag = "audit", request_body = AuditPrune,
    responses((status = 200, body = AuditPruned), Refusals))]
pub(super) async fn prune(
    State(app): State<Arc<App>>,
    operator: Operator,
    asked: Json<AuditPrune>,
) -> Result<JsonBody<AuditPruned>, Refusal> {
    let (now, project, mut records) = (app.now(), operator.project(), 0);
    let AuditPrune { before, through } = asked.value;
    loop {
        let actor = operator.actor.clone();
        let (some, has_more) = app.write(move |tx| audit::prune(tx, now, &actor, (before, through))).await?;
        records += some;
        if !has_more || some == 0 {
            break;
        }
    }
    let dropped = app.read::<_, StoreError>(move |view| view.audit_dropped(project)).await?;
    Ok(JsonBody(AuditPruned { records, first: dropped + 1 }))
}

type Piece = Result<Bytes, std::io::Error>;

/// Reads batch by batch, so that a slow client holds up nobody; the log grows at its end only, so that they fit
/// together, unless somebody drops old records meanwhile: verification shows it.
async fn send_export(app: Arc<App>, project: ProjectId, (header, last): (Header, u64), send: mpsc::Sender<Piece>) {
    // The checkpoint that vouches for what was dropped stands first.
    let mut after = header.after.saturating_sub(1);
    let mut piece = text(&[Line::Header(header)]);
    loop {
        let is_broken = piece.is_err();
        if send.send(piece).await.is_err() || is_broken || after >= last {
            return;
        }
        let batch = app
            .read::<_, StoreError>(move |view| {
                let mut records = view.audit_after(project, after, EXPORT_BATCH)?;
                records.retain(|row| row.sequence <= last);
                let end = records.last().map_or(last, |row| row.sequence);
                Ok((records, view.audit_checkpoints(project, (after, end), EXPORT_BATCH)?, end))
            })
            .await;
        piece = match batch {
            Ok((records, checkpoints, end)) => {
                after = end;
                text(&lines(records, checkpoints))
            }
            Err(failed) => {
                error!(error = &failed as &dyn std::error::Error, "the audit log could not be exported: {failed}");
                Err(std::io::Error::other("reading the audit log failed"))
            }
        };
    }
}

/// Each checkpoint behind the last record it is of.
fn lines(records: Vec<AuditRow>, checkpoints: Vec<CheckpointRow>) -> Vec<Line> {
    let mut checkpoints = checkpoints.into_iter().peekable();
    let mut lines = Vec::with_capacity(records.len());
    for row in records {
        while let Some(passed) = checkpoints.next_if(|checkpoint| checkpoint.size < row.sequence) {
            lines.push(Line::Checkpoint(passed.note));
        }
        let sequence = row.sequence;
        lines.push(Line::Record(exported(row)));
        if let Some(reached) = checkpoints.next_if(|checkpoint| checkpoint.size == sequence) {
            lines.push(Line::Checkpoint(reached.note));
        }
    }
    lines.extend(checkpoints.map(|checkpoint| Line::Checkpoint(checkpoint.note)));
    lines
}

fn text(lines: &[Line]) -> Piece {
    let mut text = String::new();
    for line in lines {
        text.push_str(&write(line).map_err(std::io::Error::other)?);
    }
    Ok(text.into())
}
