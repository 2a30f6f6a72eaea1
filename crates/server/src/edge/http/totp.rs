//! One's own second factor, and what an admin does for whoever lost his.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::extract::State;
use axum::http::StatusCode;
use muster_store::StoreError;
use muster_wire::totp::{Totp, TotpBegin, TotpBegun, TotpConfirm, TotpConfirmed, TotpDisable};

use super::auth::Operator;
use super::body::{Json, Named};
use super::problem::{Refusal, Refusals};
use super::session::{own_password, unfactored};
use crate::App;
use crate::flow::error::FlowError;
use crate::flow::totp::{self, Shown};

/// Has one's account a second factor?
#[utoipa::path(get, path = "/totp", operation_id = "get_totp", tag = "session",
    responses((status = 200, body = Totp), Refusals))]
pub(super) async fn get(State(app): State<Arc<App>>, operator: Operator) -> Result<JsonBody<Totp>, Refusal> {
    let (project, id) = (operator.project(), operator.account);
    let (enabled, left) = app.read::<_, StoreError>(move |view| totp::state(view, project, id)).await?;
    Ok(JsonBody(Totp { enabled, recovery_codes_left: left }))
}

/// Begin to give one's account a second factor. Nothing asks for it before it is confirmed.
#[utoipa::path(post, path = "/totp", operation_id = "begin_totp", tag = "session", request_body = TotpBegin,
    responses((status = 200, body = TotpBegun), Refusals))]
pub(super) async fn begin(
    State(app): State<Arc<App>>,
    operator: Operator,
    body: Json<TotpBegin>,
) -> Result<JsonBody<TotpBegun>, Refusal> {
    let hash = own_password(&app, &operator, body.value.password).await?;
    let (vault, who) = (app.vault.clone(), (operator.project(), operator.account));
    let begun = app.write(move |tx| totp::begin(tx, &vault, who, &hash)).await?;
    Ok(JsonBody(TotpBegun { secret: begun.secret.to_string(), uri: begun.uri.to_string() }))
}

/// Confirm it by a code: logins ask for one from now on. The answer holds the recovery codes.
#[utoipa::path(post, path = "/totp/confirm", operation_id = "confirm_totp", tag = "session",
    request_body = TotpConfirm, responses((status = 200, body = TotpConfirmed), Refusals))]
pub(super) async fn confirm(
    State(app): State<Arc<App>>,
    operator: Operator,
    body: Json<TotpConfirm>,
) -> Result<JsonBody<TotpConfirmed>, Refusal> {
    let (now, vault, code) = (app.now(), app.vault.clone(), body.value.code);
    let codes = app.write(move |tx| totp::confirm(tx, now, (&operator.actor, &vault), &code)).await?;
    Ok(JsonBody(TotpConfirmed { recovery_codes: codes }))
}

/// Take one's second factor away; needs the password and a code.
#[utoipa::path(post, path = "/totp/disable", operation_id = "disable_totp", tag = "session",
    request_body = TotpDisable, responses((status = 204), Refusals))]
pub(super) async fn disable(
    State(app): State<Arc<App>>,
    operator: Operator,
    body: Json<TotpDisable>,
) -> Result<StatusCode, Refusal> {
    let TotpDisable { password, code } = body.value;
    let _ = own_password(&app, &operator, password).await?;
    let (now, vault) = (app.now(), app.vault.clone());
    let shown = app.write(move |tx| {
        let account = tx.account_by_id(operator.project(), operator.account)?;
        let shown = totp::show(tx, now, &vault, &account, Some(&code))?;
        if shown == Shown::Passed {
            totp::disable(tx, now, &operator.actor)?;
        }
        Ok::<_, FlowError>(shown)
    });
    match shown.await? {
        Shown::Passed => Ok(StatusCode::NO_CONTENT),
        other => Err(unfactored(&other, now)),
    }
}

/// Take somebody's second factor away, who lost it and his recovery codes. For admins.
#[utoipa::path(delete, path = "/accounts/{name}/totp", operation_id = "reset_totp", tag = "accounts",
    params(("name" = String, Path)), responses((status = 204), Refusals))]
pub(super) async fn reset(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
) -> Result<StatusCode, Refusal> {
    let now = app.now();
    app.write(move |tx| totp::reset(tx, now, &operator.actor, &name)).await?;
    Ok(StatusCode::NO_CONTENT)
}
