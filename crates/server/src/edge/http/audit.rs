//! The audit log.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::extract::State;
use muster_store::StoreError;
use muster_vocab::selector::schema::AUDIT_SCHEMA;
use muster_wire::Page;
use muster_wire::audit::{AuditRecord, AuditVerdict};
use muster_wire::page::PageQuery;

use super::auth::Operator;
use super::body::Asked;
use super::page::{Rows, page};
use super::problem::{Refusal, Refusals};
use super::show;
use crate::App;
use crate::flow::audit;

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
