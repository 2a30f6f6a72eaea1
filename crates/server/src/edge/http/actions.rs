//! Actions: one device's part of a rollout.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use muster_store::StoreError;
use muster_vocab::ActionId;
use muster_vocab::selector::schema::ACTION_SCHEMA;
use muster_wire::Page;
use muster_wire::action::{Action, ActionCancel, Report};
use muster_wire::page::PageQuery;

use super::auth::Operator;
use super::body::{Asked, MaybeJson, Named};
use super::page::{Rows, page, plain};
use super::problem::{Refusal, Refusals};
use super::{etag, show};
use crate::App;
use crate::flow::actions;
use crate::flow::error::FlowError;

fn id(text: &str) -> Result<ActionId, Refusal> {
    text.parse().map_err(|_| Refusal::not_found(format!("no action {text:?}")))
}

/// List actions, newest first.
#[utoipa::path(get, path = "/actions", operation_id = "list_actions", tag = "actions", params(PageQuery),
    responses((status = 200, body = Page<Action>), Refusals))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    operator: Operator,
    Asked(query): Asked<PageQuery>,
) -> Result<JsonBody<Page<Action>>, Refusal> {
    operator.may_read()?;
    let rows = Rows::of(&query, &ACTION_SCHEMA)?;
    let (project, now) = (operator.project(), app.now());
    let page = app
        .read::<_, StoreError>(move |view| {
            let paged = view.actions(project, &rows.select, (rows.cursor, rows.limit), now)?;
            let next = paged.next.map(|cursor| cursor.to_string());
            let shown = paged.rows.into_iter().map(|action| show::action(view, project, action));
            Ok(Page { items: shown.collect::<Result<_, _>>()?, next })
        })
        .await?;
    Ok(JsonBody(page))
}

/// One action.
#[utoipa::path(get, path = "/actions/{id}", operation_id = "get_action", tag = "actions",
    params(("id" = String, Path)), responses((status = 200, body = Action), (status = 304), Refusals))]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(text): Named<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    operator.may_read()?;
    let (project, id) = (operator.project(), id(&text)?);
    let shown = app.read::<_, StoreError>(move |view| show::action(view, project, view.action(project, id)?)).await?;
    Ok(etag::tagged(&headers, shown.revision, &shown))
}

/// What the device said about it, newest first.
#[utoipa::path(get, path = "/actions/{id}/reports", operation_id = "list_action_reports", tag = "actions",
    params(("id" = String, Path), PageQuery), responses((status = 200, body = Page<Report>), Refusals))]
pub(super) async fn reports(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(text): Named<String>,
    Asked(query): Asked<PageQuery>,
) -> Result<JsonBody<Page<Report>>, Refusal> {
    operator.may_read()?;
    let (project, id, (cursor, limit)) = (operator.project(), id(&text)?, plain(&query)?);
    let paged = app
        .read::<_, StoreError>(move |view| {
            view.action(project, id)?;
            view.reports(project, id, (cursor, limit))
        })
        .await?;
    Ok(JsonBody(page(paged, show::report)))
}

/// Cancel one device's action.
#[utoipa::path(post, path = "/actions/{id}/cancel", operation_id = "cancel_action", tag = "actions",
    params(("id" = String, Path)), request_body = ActionCancel,
    responses((status = 200, body = Action), Refusals))]
pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(text): Named<String>,
    MaybeJson(body): MaybeJson<ActionCancel>,
) -> Result<JsonBody<Action>, Refusal> {
    let (now, project, id) = (app.now(), operator.project(), id(&text)?);
    let shown = app
        .write::<_, FlowError>(move |tx| {
            let action = actions::cancel(tx, now, &operator.actor, id, (body.force, body.reason))?;
            Ok(show::action(tx, project, action)?)
        })
        .await?;
    Ok(JsonBody(shown))
}

/// Turn a soft action into a forced one.
#[utoipa::path(post, path = "/actions/{id}/force", operation_id = "force_action", tag = "actions",
    params(("id" = String, Path)), responses((status = 200, body = Action), Refusals))]
pub(super) async fn force(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(text): Named<String>,
) -> Result<JsonBody<Action>, Refusal> {
    let (now, project, id) = (app.now(), operator.project(), id(&text)?);
    let shown = app
        .write::<_, FlowError>(move |tx| {
            let action = actions::force(tx, now, &operator.actor, id)?;
            Ok(show::action(tx, project, action)?)
        })
        .await?;
    Ok(JsonBody(shown))
}
