//! Devices.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use muster_domain::Permission;
use muster_domain::device::{self as domain, AutoConfirm, DeviceState};
use muster_domain::why::{Case, explain};
use muster_store::{StoreError, View};
use muster_vocab::selector::schema::DEVICE_SCHEMA;
use muster_vocab::{DeviceId, ProjectId, Timestamp};
use muster_wire::Page;
use muster_wire::device::{
    AutoConfirmSet, Device, DeviceBulk, DeviceBulkDone, DeviceCount, DeviceCreate, DeviceCreated, DevicePatch,
    DeviceToken, Reason, TimelineEntry, Why,
};
use muster_wire::page::{PageQuery, SelectQuery};

use super::auth::Operator;
use super::body::{Asked, Json, MaybeJson, Named};
use super::create::{Made, Request, make};
use super::page::{Rows, page, plain, select};
use super::problem::{Refusal, Refusals};
use super::{etag, show};
use crate::App;
use crate::flow::error::FlowError;
use crate::flow::{access, devices};
use crate::table::Tenant;

/// Ended actions that `why` looks back on.
const ENDED_EXPLAINED: u32 = 3;

fn tenant(app: &App, operator: &Operator) -> Result<Arc<Tenant>, Refusal> {
    app.table.tenant_by_id(operator.project()).ok_or_else(|| Refusal::not_found("the project is gone"))
}

/// List devices.
#[utoipa::path(get, path = "/devices", operation_id = "list_devices", tag = "devices", params(PageQuery),
    responses((status = 200, body = Page<Device>), Refusals))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    operator: Operator,
    Asked(query): Asked<PageQuery>,
) -> Result<JsonBody<Page<Device>>, Refusal> {
    let mut rows = Rows::of(&query, &DEVICE_SCHEMA)?;
    rows.select = access::within(&operator.actor, Permission::Read, &rows.select)?;
    let (tenant, now) = (tenant(&app, &operator)?, app.now());
    let page = app
        .read::<_, StoreError>(move |view| {
            let paged = view.devices(tenant.id, &rows.select, (rows.after(), rows.limit), now)?;
            let next = paged.next.map(|cursor| cursor.to_string());
            let shown = paged.rows.into_iter().map(|device| show::device(view, &tenant, device));
            Ok(Page { items: shown.collect::<Result<_, _>>()?, next })
        })
        .await?;
    Ok(JsonBody(page))
}

/// How many devices does a selector match?
#[utoipa::path(get, path = "/devices:count", operation_id = "count_devices", tag = "devices", params(SelectQuery),
    responses((status = 200, body = DeviceCount), Refusals))]
pub(super) async fn count(
    State(app): State<Arc<App>>,
    operator: Operator,
    Asked(query): Asked<SelectQuery>,
) -> Result<JsonBody<DeviceCount>, Refusal> {
    let select = select(query.select.as_deref(), &DEVICE_SCHEMA)?;
    let select = access::within(&operator.actor, Permission::Read, &select)?;
    let (project, now) = (operator.project(), app.now());
    let count = app.read::<_, StoreError>(move |view| view.count_devices(project, &select, now)).await?;
    Ok(JsonBody(DeviceCount { count }))
}

/// Add a device. Its token is shown only in this answer; the same request again is told so (409).
#[utoipa::path(post, path = "/devices", operation_id = "create_device", tag = "devices",
    params(("Idempotency-Key" = Option<String>, Header)), request_body = DeviceCreate,
    responses((status = 201, body = DeviceCreated), Refusals))]
pub(super) async fn post(
    State(app): State<Arc<App>>,
    operator: Operator,
    headers: HeaderMap,
    body: Json<DeviceCreate>,
) -> Result<Response, Refusal> {
    let (tenant, actor) = (tenant(&app, &operator)?, operator.actor.clone());
    let DeviceCreate { name, labels } = body.value;
    let request = Request { operator: &operator, headers: &headers, what: "device", body: &body.bytes };
    make(&app, request, move |tx, now| {
        let (device, token) = devices::create(tx, now, &actor, &name, labels)?;
        Made::secret(&DeviceCreated { device: show::device(tx, &tenant, device)?, token }, &name)
    })
    .await
}

/// One device.
#[utoipa::path(get, path = "/devices/{name}", operation_id = "get_device", tag = "devices",
    params(("name" = String, Path)), responses((status = 200, body = Device), (status = 304), Refusals))]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (tenant, now) = (tenant(&app, &operator)?, app.now());
    let shown = app
        .read::<_, FlowError>(move |view| {
            let device = access::device(view, now, &operator.actor, Permission::Read, &name)?;
            Ok(show::device(view, &tenant, device)?)
        })
        .await?;
    Ok(etag::tagged(&headers, shown.revision, &shown))
}

/// Set and remove labels.
#[utoipa::path(patch, path = "/devices/{name}", operation_id = "patch_device", tag = "devices",
    params(("name" = String, Path)), request_body = DevicePatch,
    responses((status = 200, body = Device), Refusals))]
pub(super) async fn patch(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
    headers: HeaderMap,
    body: Json<DevicePatch>,
) -> Result<Response, Refusal> {
    let (tenant, now, revision) = (tenant(&app, &operator)?, app.now(), etag::expected(&headers)?);
    let shown = app
        .write::<_, FlowError>(move |tx| {
            let device = devices::patch(tx, now, &operator.actor, (&name, revision), &body.value.labels)?;
            Ok(show::device(tx, &tenant, device)?)
        })
        .await?;
    Ok(etag::tagged(&HeaderMap::new(), shown.revision, &shown))
}

/// Delete a device: its open actions end, its name is free again.
#[utoipa::path(delete, path = "/devices/{name}", operation_id = "delete_device", tag = "devices",
    params(("name" = String, Path)), responses((status = 204), Refusals))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Refusal> {
    let (now, revision) = (app.now(), etag::expected(&headers)?);
    app.write(move |tx| devices::delete(tx, now, &operator.actor, (&name, revision))).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Let a waiting device in.
#[utoipa::path(post, path = "/devices/{name}/accept", operation_id = "accept_device", tag = "devices",
    params(("name" = String, Path)), responses((status = 200, body = Device), Refusals))]
pub(super) async fn accept(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
) -> Result<JsonBody<Device>, Refusal> {
    decide(&app, operator, name, DeviceState::Accepted).await
}

/// Turn a device away; it gets nothing unless it is accepted later.
#[utoipa::path(post, path = "/devices/{name}/reject", operation_id = "reject_device", tag = "devices",
    params(("name" = String, Path)), responses((status = 200, body = Device), Refusals))]
pub(super) async fn reject(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
) -> Result<JsonBody<Device>, Refusal> {
    decide(&app, operator, name, DeviceState::Rejected).await
}

async fn decide(
    app: &Arc<App>,
    operator: Operator,
    name: String,
    state: DeviceState,
) -> Result<JsonBody<Device>, Refusal> {
    let (tenant, now) = (tenant(app, &operator)?, app.now());
    let shown = app.write::<_, FlowError>(move |tx| {
        let device = devices::decide(tx, now, &operator.actor, &name, state)?;
        Ok(show::device(tx, &tenant, device)?)
    });
    Ok(JsonBody(shown.await?))
}

/// Accept every waiting device that a selector matches.
#[utoipa::path(post, path = "/devices:accept", operation_id = "accept_devices", tag = "devices",
    request_body = DeviceBulk, responses((status = 200, body = DeviceBulkDone), Refusals))]
pub(super) async fn accept_many(
    State(app): State<Arc<App>>,
    operator: Operator,
    body: Json<DeviceBulk>,
) -> Result<JsonBody<DeviceBulkDone>, Refusal> {
    decide_many(&app, operator, body.value.select, DeviceState::Accepted).await
}

/// Reject every waiting device that a selector matches.
#[utoipa::path(post, path = "/devices:reject", operation_id = "reject_devices", tag = "devices",
    request_body = DeviceBulk, responses((status = 200, body = DeviceBulkDone), Refusals))]
pub(super) async fn reject_many(
    State(app): State<Arc<App>>,
    operator: Operator,
    body: Json<DeviceBulk>,
) -> Result<JsonBody<DeviceBulkDone>, Refusal> {
    decide_many(&app, operator, body.value.select, DeviceState::Rejected).await
}

/// In bounded transactions: a million devices must not hold the writer.
async fn decide_many(
    app: &Arc<App>,
    operator: Operator,
    select: String,
    state: DeviceState,
) -> Result<JsonBody<DeviceBulkDone>, Refusal> {
    let mut changed = 0;
    let mut after = Some(DeviceId(0));
    while let Some(from) = after {
        let (actor, select, now) = (operator.actor.clone(), select.clone(), app.now());
        let some = app.write(move |tx| devices::decide_some(tx, now, &actor, (&select, from), state)).await?;
        changed += some.0;
        after = some.1;
    }
    Ok(JsonBody(DeviceBulkDone { changed }))
}

/// Make a new token for the device; the old one stops working.
#[utoipa::path(post, path = "/devices/{name}/token", operation_id = "create_device_token", tag = "devices",
    params(("name" = String, Path)), responses((status = 200, body = DeviceToken), Refusals))]
pub(super) async fn token(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
) -> Result<JsonBody<DeviceToken>, Refusal> {
    let now = app.now();
    let token = app.write(move |tx| devices::new_token(tx, now, &operator.actor, &name)).await?;
    Ok(JsonBody(DeviceToken { token }))
}

/// Ask the device for its attributes at its next poll.
#[utoipa::path(post, path = "/devices/{name}/request-attributes", operation_id = "request_device_attributes",
    tag = "devices", params(("name" = String, Path)), responses((status = 204), Refusals))]
pub(super) async fn request_attributes(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
) -> Result<StatusCode, Refusal> {
    let now = app.now();
    app.write(move |tx| devices::request_attributes(tx, now, &operator.actor, &name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Give a standing consent to the device's updates.
#[utoipa::path(put, path = "/devices/{name}/auto-confirm", operation_id = "put_device_auto_confirm", tag = "devices",
    params(("name" = String, Path)), request_body = AutoConfirmSet, responses((status = 204), Refusals))]
pub(super) async fn put_auto_confirm(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
    MaybeJson(body): MaybeJson<AutoConfirmSet>,
) -> Result<StatusCode, Refusal> {
    let now = app.now();
    let initiator = if body.initiator.is_empty() { operator.actor.to_string() } else { body.initiator };
    let consent = AutoConfirm { initiator, remark: body.remark, activated_at: now };
    app.write(move |tx| devices::set_auto_confirm(tx, now, &operator.actor, &name, Some(consent))).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take the standing consent back.
#[utoipa::path(delete, path = "/devices/{name}/auto-confirm", operation_id = "delete_device_auto_confirm",
    tag = "devices", params(("name" = String, Path)), responses((status = 204), Refusals))]
pub(super) async fn delete_auto_confirm(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
) -> Result<StatusCode, Refusal> {
    let now = app.now();
    app.write(move |tx| devices::set_auto_confirm(tx, now, &operator.actor, &name, None)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Why is the device where it is: which rollout, wave, gate or window holds it?
#[utoipa::path(get, path = "/devices/{name}/why", operation_id = "why_device", tag = "devices",
    params(("name" = String, Path)), responses((status = 200, body = Why), Refusals))]
pub(super) async fn why(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
) -> Result<JsonBody<Why>, Refusal> {
    let (tenant, now) = (tenant(&app, &operator)?, app.now());
    let why = app
        .read::<_, FlowError>(move |view| {
            let device = access::device(view, now, &operator.actor, Permission::Read, &name)?;
            Ok(reasons(view, &tenant, device, now)?)
        })
        .await?;
    Ok(JsonBody(why))
}

fn reasons(view: &View<'_>, tenant: &Tenant, device: domain::Device, now: Timestamp) -> Result<Why, StoreError> {
    let mut device = device;
    device.last_seen = tenant.last_seen(&device.name).max(device.last_seen);
    let mut actions = view.open_actions(tenant.id, device.id)?;
    actions.extend(view.ended_actions(tenant.id, device.id, ENDED_EXPLAINED)?);
    let cases = actions.into_iter().map(|action| case(view, tenant.id, action)).collect::<Result<Vec<_>, _>>()?;
    let reasons = explain(&device, &cases, now).into_iter().map(|reason| {
        let of = reason.case.map(|at| &cases[at]);
        Reason {
            code: reason.code.to_owned(),
            text: reason.text,
            rollout: of.map(|case| case.rollout.id.to_string()),
            wave: of.map(|case| u32::from(case.action.wave) + 1),
            action: of.map(|case| case.action.id.0),
            until: reason.until,
        }
    });
    Ok(Why { device: device.name.clone(), reasons: reasons.collect() })
}

fn case(view: &View<'_>, project: ProjectId, action: muster_domain::Action) -> Result<Case, StoreError> {
    Ok(Case {
        rollout: view.rollout(project, action.rollout)?,
        release: view.release_label(project, action.release)?,
        previous: action.previous.map(|release| view.release_label(project, release)).transpose()?,
        action,
    })
}

/// What happened to the device, newest first.
#[utoipa::path(get, path = "/devices/{name}/timeline", operation_id = "list_device_timeline", tag = "devices",
    params(("name" = String, Path), PageQuery), responses((status = 200, body = Page<TimelineEntry>), Refusals))]
pub(super) async fn timeline(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
    Asked(query): Asked<PageQuery>,
) -> Result<JsonBody<Page<TimelineEntry>>, Refusal> {
    let (cursor, limit) = plain(&query)?;
    let (project, now) = (operator.project(), app.now());
    let paged = app
        .read::<_, FlowError>(move |view| {
            let device = access::device(view, now, &operator.actor, Permission::Read, &name)?;
            Ok(view.timeline(project, (device.id, &name), (cursor, limit))?)
        })
        .await?;
    Ok(JsonBody(page(paged, show::timeline)))
}
