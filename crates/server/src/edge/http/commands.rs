//! Commands to devices.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use muster_domain::Permission;
use muster_store::StoreError;
use muster_wire::Page;
use muster_wire::command::{Command, CommandCreate};
use muster_wire::page::PageQuery;

use super::auth::Operator;
use super::body::{Asked, Json, Named};
use super::create::{Request, create};
use super::problem::{Refusal, Refusals};
use super::{page, show_twin};
use crate::App;
use crate::flow::access;
use crate::flow::error::FlowError;
use crate::flow::twin::commands;

/// Tell a device to do something once. Needs the scope `commands:write`; for a session `sessions:write`.
#[utoipa::path(post, path = "/devices/{name}/commands", operation_id = "create_device_command", tag = "commands",
    params(("name" = String, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = CommandCreate,
    responses((status = 201, body = Command), Refusals))]
pub(super) async fn post(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
    headers: HeaderMap,
    body: Json<CommandCreate>,
) -> Result<Response, Refusal> {
    let (actor, project) = (operator.actor.clone(), operator.project());
    let order = show_twin::order(body.value);
    // The device is part of what the key stands for.
    let mut bytes = name.clone().into_bytes();
    bytes.push(0);
    bytes.extend_from_slice(&body.bytes);
    let request = Request { operator: &operator, headers: &headers, what: "command", body: &bytes };
    create(&app, request, move |tx, now| {
        let command = commands::give(tx, now, &actor, &name, order)?;
        Ok(show_twin::command(tx, project, command)?)
    })
    .await
}

/// A device's commands, newest first, without their output.
#[utoipa::path(get, path = "/devices/{name}/commands", operation_id = "list_device_commands", tag = "commands",
    params(("name" = String, Path), PageQuery), responses((status = 200, body = Page<Command>), Refusals))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
    Asked(query): Asked<PageQuery>,
) -> Result<JsonBody<Page<Command>>, Refusal> {
    let (cursor, limit) = page::plain(&query)?;
    let (project, now) = (operator.project(), app.now());
    let page = app
        .read::<_, FlowError>(move |view| {
            let device = access::device(view, now, &operator.actor, Permission::Read, &name)?;
            let paged = view.commands_of(project, device.id, (cursor, limit))?;
            let next = paged.next.map(|cursor| cursor.to_string());
            let short =
                paged.rows.into_iter().map(|one| muster_domain::command::Command { output: String::new(), ..one });
            let shown = short.map(|one| show_twin::command(view, project, one));
            Ok(Page { items: shown.collect::<Result<_, _>>()?, next })
        })
        .await?;
    Ok(JsonBody(page))
}

/// One command, with its output.
#[utoipa::path(get, path = "/commands/{id}", operation_id = "get_command", tag = "commands",
    params(("id" = i64, Path)), responses((status = 200, body = Command), Refusals))]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(id): Named<String>,
) -> Result<JsonBody<Command>, Refusal> {
    let (project, now) = (operator.project(), app.now());
    let id: i64 = id.parse().map_err(|_| Refusal::not_found(format!("no command {id:?}")))?;
    let shown = app.read::<_, FlowError>(move |view| {
        access::check_somewhere(&operator.actor, Permission::Read)?;
        let command = view.command(project, id)?;
        if operator.actor.may(Permission::Read).is_ok() {
            return Ok(show_twin::command(view, project, command)?);
        }
        // Who sees some devices only sees their commands, and hears of no others.
        let name = view.device_name(project, command.device)?;
        let missing = || StoreError::Missing { kind: "command", name: id.to_string() };
        access::device(view, now, &operator.actor, Permission::Read, &name).map_err(|_| missing())?;
        Ok(show_twin::command(view, project, command)?)
    });
    Ok(JsonBody(shown.await?))
}
