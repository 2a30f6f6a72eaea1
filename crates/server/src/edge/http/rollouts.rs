//! Rollouts.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use muster_domain::Permission;
use muster_store::{StoreError, Tx, View};
use muster_vocab::selector::schema::ROLLOUT_SCHEMA;
use muster_vocab::{ProjectId, ReleaseId, RolloutId, Timestamp};
use muster_wire::Page;
use muster_wire::approval::Approve;
use muster_wire::page::PageQuery;
use muster_wire::rollout::{Remark, Rollout, RolloutCreate};

use super::auth::Operator;
use super::body::{Asked, Json, MaybeJson, Named};
use super::create::{Request, create};
use super::page::Rows;
use super::problem::{Refusal, Refusals};
use super::releases::name_and_version;
use super::{etag, spec};
use crate::App;
use crate::flow::devices::check_revision;
use crate::flow::error::FlowError;
use crate::flow::rollouts::{self, NewRollout, Order};

/// `r-12`, or the rollout's name.
pub(super) fn id(view: &View<'_>, project: ProjectId, text: &str) -> Result<RolloutId, StoreError> {
    text.parse().or_else(|_| view.rollout_named(project, text))
}

/// List rollouts, newest first.
#[utoipa::path(get, path = "/rollouts", operation_id = "list_rollouts", tag = "rollouts", params(PageQuery),
    responses((status = 200, body = Page<Rollout>), Refusals))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    operator: Operator,
    Asked(query): Asked<PageQuery>,
) -> Result<JsonBody<Page<Rollout>>, Refusal> {
    operator.may_read()?;
    let rows = Rows::of(&query, &ROLLOUT_SCHEMA)?;
    let (project, now) = (operator.project(), app.now());
    let page = app
        .read::<_, StoreError>(move |view| {
            let paged = view.rollouts(project, &rows.select, (rows.cursor, rows.limit), now)?;
            let next = paged.next.map(|cursor| cursor.to_string());
            let shown = paged.rows.into_iter().map(|rollout| spec::show(view, project, rollout, now));
            Ok(Page { items: shown.collect::<Result<_, _>>()?, next })
        })
        .await?;
    Ok(JsonBody(page))
}

/// Make a rollout. It waits for `start`, unless told to start by itself.
#[utoipa::path(post, path = "/rollouts", operation_id = "create_rollout", tag = "rollouts",
    params(("Idempotency-Key" = Option<String>, Header)), request_body = RolloutCreate,
    responses((status = 201, body = Rollout), Refusals))]
pub(super) async fn post(
    State(app): State<Arc<App>>,
    operator: Operator,
    headers: HeaderMap,
    body: Json<RolloutCreate>,
) -> Result<Response, Refusal> {
    // Before anything is looked up: who may not make rollouts doesn't hear which releases there are.
    operator.actor.may(Permission::RolloutsWrite).map_err(FlowError::from)?;
    let asked = body.value;
    let (spec, named, actor, project) =
        (spec::spec(&asked)?, named(&asked)?, operator.actor.clone(), operator.project());
    let request = Request { operator: &operator, headers: &headers, what: "rollout", body: &body.bytes };
    create(&app, request, move |tx, now| {
        let release = release(tx, project, &named)?;
        let new = NewRollout { name: asked.name, release, spec };
        let rollout = rollouts::create(tx, now, &actor, new)?;
        Ok(spec::show(tx, project, rollout, now)?)
    })
    .await
}

/// The release itself, or the channel that names it.
#[derive(Debug)]
enum NamedRelease {
    Release(String, String),
    Channel(String),
}

fn named(asked: &RolloutCreate) -> Result<NamedRelease, Refusal> {
    match (&asked.release, &asked.channel) {
        (Some(release), None) => {
            let (name, version) = name_and_version("release", release)?;
            Ok(NamedRelease::Release(name, version))
        }
        (None, Some(channel)) => Ok(NamedRelease::Channel(channel.clone())),
        _ => Err(Refusal::bad("release", "give either release (name@version) or channel")),
    }
}

fn release(tx: &Tx<'_>, project: ProjectId, named: &NamedRelease) -> Result<ReleaseId, FlowError> {
    Ok(match named {
        NamedRelease::Release(name, version) => tx.release_named(project, name, version)?.id,
        NamedRelease::Channel(channel) => tx.channel(project, channel)?.release,
    })
}

/// One rollout.
#[utoipa::path(get, path = "/rollouts/{id}", operation_id = "get_rollout", tag = "rollouts",
    params(("id" = String, Path)), responses((status = 200, body = Rollout), (status = 304), Refusals))]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(text): Named<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    operator.may_read()?;
    let (project, now) = (operator.project(), app.now());
    let shown = app
        .read::<_, StoreError>(move |view| {
            spec::show(view, project, view.rollout(project, id(view, project, &text)?)?, now)
        })
        .await?;
    Ok(etag::tagged(&headers, shown.revision, &shown))
}

/// Delete a rollout that no device has seen.
#[utoipa::path(delete, path = "/rollouts/{id}", operation_id = "delete_rollout", tag = "rollouts",
    params(("id" = String, Path)), responses((status = 204), Refusals))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(text): Named<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Refusal> {
    let (now, revision, project) = (app.now(), etag::expected(&headers)?, operator.project());
    app.write::<_, FlowError>(move |tx| {
        operator.actor.may(Permission::RolloutsWrite)?;
        let id = id(tx, project, &text)?;
        check_revision(revision, tx.rollout(project, id)?.revision)?;
        rollouts::delete(tx, now, &operator.actor, id)
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// An order to a rollout, with the caller's conditions.
#[derive(Debug)]
struct Ordered {
    operator: Operator,
    text: String,
    headers: HeaderMap,
    remark: rollouts::Remark,
}

async fn order(app: &Arc<App>, ordered: Ordered, order: Order) -> Result<Response, Refusal> {
    let (now, revision) = (app.now(), etag::expected(&ordered.headers)?);
    let shown = app.write(move |tx| give(tx, now, (ordered, revision), order)).await?;
    Ok(etag::tagged(&HeaderMap::new(), shown.revision, &shown))
}

fn give(tx: &mut Tx<'_>, now: Timestamp, what: (Ordered, Option<u64>), order: Order) -> Result<Rollout, FlowError> {
    let (Ordered { operator, text, remark, .. }, revision) = what;
    let project = operator.project();
    // Before it is looked up: who may not order it is not told whether it exists.
    operator.actor.may(order.permission())?;
    let id = id(tx, project, &text)?;
    check_revision(revision, tx.rollout(project, id)?.revision)?;
    let rollout = rollouts::order(tx, now, &operator.actor, (id, order), &remark)?;
    Ok(spec::show(tx, project, rollout, now)?)
}

macro_rules! orders {
    ($($name:ident, $order:expr, $path:literal, $operation:literal, $doc:literal;)*) => {$(
        #[doc = $doc]
        #[utoipa::path(post, path = $path, operation_id = $operation, tag = "rollouts",
            params(("id" = String, Path)), request_body = Remark,
            responses((status = 200, body = Rollout), Refusals))]
        pub(super) async fn $name(
            State(app): State<Arc<App>>,
            operator: Operator,
            Named(text): Named<String>,
            headers: HeaderMap,
            MaybeJson(remark): MaybeJson<Remark>,
        ) -> Result<Response, Refusal> {
            let remark = rollouts::Remark { reason: remark.reason, plan: None };
            order(&app, Ordered { operator, text, headers, remark }, $order).await
        }
    )*};
}

orders! {
    start, Order::Start, "/rollouts/{id}/start", "start_rollout", "Start a rollout.";
    break_glass, Order::BreakGlass, "/rollouts/{id}/break-glass", "break_glass",
        "Start it without the approvals it needs: raises an alarm, and somebody else has to review it.";
    deny, Order::Deny, "/rollouts/{id}/deny", "deny_rollout", "Deny a rollout its approval.";
    pause, Order::Pause, "/rollouts/{id}/pause", "pause_rollout", "Open no further wave for now.";
    resume, Order::Resume, "/rollouts/{id}/resume", "resume_rollout", "Go on; failures so far count as accepted.";
    abort, Order::Abort, "/rollouts/{id}/abort", "abort_rollout", "End it; devices under way are asked to stop.";
    roll_back, Order::RollBack, "/rollouts/{id}/rollback", "roll_back_rollout", "Bring each device that took it back.";
    next_wave, Order::NextWave, "/rollouts/{id}/next-wave", "open_next_wave", "Open the next wave by hand.";
}

/// Approve somebody else's rollout, as it is planned now.
#[utoipa::path(post, path = "/rollouts/{id}/approve", operation_id = "approve_rollout", tag = "rollouts",
    params(("id" = String, Path)), request_body = Approve,
    responses((status = 200, body = Rollout), Refusals))]
pub(super) async fn approve(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(text): Named<String>,
    headers: HeaderMap,
    MaybeJson(said): MaybeJson<Approve>,
) -> Result<Response, Refusal> {
    let remark = rollouts::Remark { reason: said.reason, plan: said.plan };
    order(&app, Ordered { operator, text, headers, remark }, Order::Approve).await
}

/// Try again on the devices that failed: makes a new rollout and starts it.
#[utoipa::path(post, path = "/rollouts/{id}/retry", operation_id = "retry_rollout", tag = "rollouts",
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = Remark,
    responses((status = 201, body = Rollout), Refusals))]
pub(super) async fn retry(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(text): Named<String>,
    headers: HeaderMap,
    MaybeJson(_): MaybeJson<Remark>,
) -> Result<Response, Refusal> {
    let (actor, project) = (operator.actor.clone(), operator.project());
    let body = text.clone();
    let request = Request { operator: &operator, headers: &headers, what: "retry", body: body.as_bytes() };
    create(&app, request, move |tx, now| {
        actor.may(Permission::RolloutsWrite)?;
        let id = id(tx, project, &text)?;
        let rollout = rollouts::retry(tx, now, &actor, id)?;
        Ok(spec::show(tx, project, rollout, now)?)
    })
    .await
}
