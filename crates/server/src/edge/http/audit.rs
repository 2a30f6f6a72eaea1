//! The audit log.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use muster_store::StoreError;
use muster_store::audit::{AuditRow, CheckpointRow};
use muster_trust::audit::export::{Exported, Header, Line, VERSION, write};
use muster_vocab::ProjectId;
use muster_vocab::selector::schema::AUDIT_SCHEMA;
use muster_wire::Page;
use muster_wire::audit::{AuditRecord, AuditVerdict};
use muster_wire::page::PageQuery;
use tokio::sync::mpsc;
use tracing::error;

use super::auth::Operator;
use super::body::Asked;
use super::page::{Rows, page};
use super::problem::{Refusal, Refusals};
use super::show;
use crate::App;
use crate::flow::audit;
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
    let header = Header { version: VERSION, origin: audit::origin(&name), key: app.audit_signer.public().to_string() };
    let (send, receive) = mpsc::channel(EXPORT_WAITING);
    tokio::spawn(send_export(app, project, (Line::Header(header), last), send));
    let body = futures_util::stream::unfold(receive, async |mut receive: mpsc::Receiver<Piece>| {
        let piece = receive.recv().await?;
        Some((piece, receive))
    });
    Ok(([(header::CONTENT_TYPE, "application/jsonl")], Body::from_stream(body)).into_response())
}

type Piece = Result<Bytes, std::io::Error>;

/// Reads batch by batch, so that a slow client holds up nobody; the log only grows, so that they fit together.
async fn send_export(app: Arc<App>, project: ProjectId, (header, last): (Line, u64), send: mpsc::Sender<Piece>) {
    let mut piece = text(&[header]);
    let mut after = 0;
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

fn exported(row: AuditRow) -> Exported {
    Exported {
        sequence: row.sequence,
        at: row.at.0,
        actor: row.actor,
        action: row.action,
        target: row.target,
        detail: row.detail,
        previous: row.previous,
        digest: row.digest,
    }
}

fn text(lines: &[Line]) -> Piece {
    let mut text = String::new();
    for line in lines {
        text.push_str(&write(line).map_err(std::io::Error::other)?);
    }
    Ok(text.into())
}
