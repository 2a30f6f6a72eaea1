//! People and services.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use muster_store::{Cursor, StoreError};
use muster_trust::password;
use muster_wire::Page;
use muster_wire::account::{Account, AccountCreate};
use muster_wire::page::PageQuery;

use super::auth::Operator;
use super::body::{Asked, Json, Named};
use super::create::{Request, create};
use super::problem::{Refusal, Refusals};
use super::session::hashing;
use super::{page, show};
use crate::App;
use crate::flow::accounts;
use crate::flow::error::FlowError;

/// List accounts.
#[utoipa::path(get, path = "/accounts", operation_id = "list_accounts", tag = "accounts", params(PageQuery),
    responses((status = 200, body = Page<Account>), Refusals))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    operator: Operator,
    Asked(query): Asked<PageQuery>,
) -> Result<JsonBody<Page<Account>>, Refusal> {
    operator.may_read()?;
    let (cursor, limit) = page::plain(&query)?;
    let project = operator.project();
    let paged =
        app.read::<_, StoreError>(move |view| view.accounts(project, cursor.unwrap_or(Cursor(0)), limit)).await?;
    Ok(JsonBody(page::page(paged, show::account)))
}

/// Create an account.
#[utoipa::path(post, path = "/accounts", operation_id = "create_account", tag = "accounts",
    params(("Idempotency-Key" = Option<String>, Header)), request_body = AccountCreate,
    responses((status = 201, body = Account), Refusals))]
pub(super) async fn post(
    State(app): State<Arc<App>>,
    operator: Operator,
    headers: HeaderMap,
    body: Json<AccountCreate>,
) -> Result<Response, Refusal> {
    let AccountCreate { name, scopes, password: plain } = body.value;
    operator.actor.may(muster_domain::Permission::Admin).map_err(FlowError::from)?;
    let password_hash = match plain {
        Some(plain) => Some(hashing(move || password::hash(&plain)).await?.map_err(FlowError::from)?),
        None => None,
    };
    let permissions = scopes.into_iter().map(show::permission).collect();
    let new = accounts::NewAccount { name, permissions, password_hash };
    let actor = operator.actor.clone();
    let request = Request { operator: &operator, headers: &headers, what: "account", body: &body.bytes };
    create(&app, request, move |tx, now| Ok(show::account(accounts::create(tx, now, &actor, new)?))).await
}

/// Delete an account; its tokens stop working.
#[utoipa::path(delete, path = "/accounts/{name}", operation_id = "delete_account", tag = "accounts",
    params(("name" = String, Path)), responses((status = 204), Refusals))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
) -> Result<StatusCode, Refusal> {
    let now = app.now();
    app.write(move |tx| accounts::delete(tx, now, &operator.actor, &name)).await?;
    Ok(StatusCode::NO_CONTENT)
}
