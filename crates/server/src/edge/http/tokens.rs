//! API tokens.

use std::sync::Arc;
use std::time::Duration;

use axum::Json as JsonBody;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use muster_store::StoreError;
use muster_vocab::TokenId;
use muster_vocab::selector::schema::TOKEN_SCHEMA;
use muster_wire::Page;
use muster_wire::page::PageQuery;
use muster_wire::token::{Token, TokenCreate, TokenCreated};

use super::auth::Operator;
use super::body::{Asked, Json, Named};
use super::create::{Made, Request, make};
use super::page::{Rows, page};
use super::problem::{Refusal, Refusals};
use super::show;
use crate::App;
use crate::flow::tokens::{self, Wanted};

/// List tokens; never their secrets.
#[utoipa::path(get, path = "/tokens", operation_id = "list_tokens", tag = "tokens", params(PageQuery),
    responses((status = 200, body = Page<Token>), Refusals))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    operator: Operator,
    Asked(query): Asked<PageQuery>,
) -> Result<JsonBody<Page<Token>>, Refusal> {
    operator.may_read()?;
    let rows = Rows::of(&query, &TOKEN_SCHEMA)?;
    let (project, now) = (operator.project(), app.now());
    let paged = app
        .read::<_, StoreError>(move |view| view.tokens(project, &rows.select, (rows.after(), rows.limit), now))
        .await?;
    Ok(JsonBody(page(paged, show::token)))
}

/// Create a token with at most one's own scopes. Its secret is shown only in this answer; the same request again is told
/// so (409).
#[utoipa::path(post, path = "/tokens", operation_id = "create_token", tag = "tokens",
    params(("Idempotency-Key" = Option<String>, Header)), request_body = TokenCreate,
    responses((status = 201, body = TokenCreated), Refusals))]
pub(super) async fn post(
    State(app): State<Arc<App>>,
    operator: Operator,
    headers: HeaderMap,
    body: Json<TokenCreate>,
) -> Result<Response, Refusal> {
    let TokenCreate { name, scopes, life_s, account } = body.value;
    let permissions = scopes.into_iter().map(show::permission).collect();
    let wanted = Wanted { name, permissions, life: Duration::from_secs(life_s), account };
    let (actor, by) = (operator.actor.clone(), operator.token);
    let request = Request { operator: &operator, headers: &headers, what: "token", body: &body.bytes };
    make(&app, request, move |tx, now| {
        let (token, secret) = tokens::create(tx, now, &actor, by, wanted)?;
        let name = format!("token {}", token.id);
        Made::secret(&TokenCreated { token: show::token(token), secret }, &name)
    })
    .await
}

/// Delete a token: it stops working.
#[utoipa::path(delete, path = "/tokens/{id}", operation_id = "delete_token", tag = "tokens",
    params(("id" = String, Path)), responses((status = 204), Refusals))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(id): Named<String>,
) -> Result<StatusCode, Refusal> {
    let id: TokenId = id.parse().map_err(|_| Refusal::not_found(format!("no token {id:?}")))?;
    let now = app.now();
    app.write(move |tx| tokens::delete(tx, now, &operator.actor, id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
