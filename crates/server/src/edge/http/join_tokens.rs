//! Join tokens: what lets devices of Muster's own agent in.

use std::sync::Arc;
use std::time::Duration;

use axum::Json as JsonBody;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use muster_store::join::JoinToken as Stored;
use muster_store::{Cursor, StoreError};
use muster_wire::Page;
use muster_wire::join_token::{JoinToken, JoinTokenCreate, JoinTokenCreated};
use muster_wire::page::PageQuery;

use super::auth::Operator;
use super::body::{Asked, Json, Named};
use super::create::{Made, Request, make};
use super::page;
use super::problem::{Refusal, Refusals};
use crate::App;
use crate::flow::join::{self, JoinTokenSpec};

/// List join tokens; never their secrets.
#[utoipa::path(get, path = "/join-tokens", operation_id = "list_join_tokens", tag = "join-tokens", params(PageQuery),
    responses((status = 200, body = Page<JoinToken>), Refusals))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    operator: Operator,
    Asked(query): Asked<PageQuery>,
) -> Result<JsonBody<Page<JoinToken>>, Refusal> {
    operator.may_read()?;
    let (cursor, limit) = page::plain(&query)?;
    let project = operator.project();
    let paged =
        app.read::<_, StoreError>(move |view| view.join_tokens(project, cursor.unwrap_or(Cursor(0)), limit)).await?;
    Ok(JsonBody(page::page(paged, show)))
}

/// Create a join token. Its secret is shown only in this answer; the same request again is told so (409).
#[utoipa::path(post, path = "/join-tokens", operation_id = "create_join_token", tag = "join-tokens",
    params(("Idempotency-Key" = Option<String>, Header)), request_body = JoinTokenCreate,
    responses((status = 201, body = JoinTokenCreated), Refusals))]
pub(super) async fn post(
    State(app): State<Arc<App>>,
    operator: Operator,
    headers: HeaderMap,
    body: Json<JoinTokenCreate>,
) -> Result<Response, Refusal> {
    let JoinTokenCreate { name, uses, life_s, labels } = body.value;
    let spec = JoinTokenSpec { name, uses, life: Duration::from_secs(life_s), labels };
    let actor = operator.actor.clone();
    let request = Request { operator: &operator, headers: &headers, what: "join-token", body: &body.bytes };
    make(&app, request, move |tx, now| {
        let (token, secret) = join::create(tx, now, &actor, spec)?;
        let name = format!("join token {}", token.name);
        Made::secret(&JoinTokenCreated { join_token: show(token), secret }, &name)
    })
    .await
}

/// Delete a join token: nobody comes in with it any more. Devices that did stay.
#[utoipa::path(delete, path = "/join-tokens/{name}", operation_id = "delete_join_token", tag = "join-tokens",
    params(("name" = String, Path)), responses((status = 204), Refusals))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
) -> Result<StatusCode, Refusal> {
    let now = app.now();
    app.write(move |tx| join::delete(tx, now, &operator.actor, &name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn show(token: Stored) -> JoinToken {
    let Stored { id: _, name, uses, uses_left, expires_at, labels, created_at, created_by } = token;
    JoinToken { name, uses, uses_left, expires_at, labels, created_at, created_by }
}
