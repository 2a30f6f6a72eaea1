//! Devices that leave.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::extract::State;
use muster_domain::Permission;
use muster_domain::departure::Leaves;
use muster_store::StoreError;
use muster_wire::departure::{Decommission, DecommissionOrder, Decommissioned, TransferOrder};
use muster_wire::device::Device;

use super::auth::{Operator, operator_of};
use super::body::{Json, MaybeJson, Named};
use super::problem::{Refusal, Refusals};
use super::show;
use crate::App;
use crate::flow::error::FlowError;
use crate::flow::{access, departures};

/// Decommission a device: its credentials are void at once, and its agent destroys its key and the data named.
#[utoipa::path(post, path = "/devices/{name}/decommission", operation_id = "decommission_device", tag = "devices",
    params(("name" = String, Path)), request_body = DecommissionOrder,
    responses((status = 200, body = Decommissioned), Refusals))]
pub(super) async fn decommission(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
    MaybeJson(body): MaybeJson<DecommissionOrder>,
) -> Result<JsonBody<Decommissioned>, Refusal> {
    let (now, project) = (app.now(), operator.project());
    let DecommissionOrder { wipe, wipe_defaults, reason, force } = body;
    let order = departures::Order { wipe, wipe_defaults, reason, force };
    let (device, leaves) =
        app.write(move |tx| departures::decommission(tx, now, &operator.actor, &name, order)).await?;
    let tenant = app.table.tenant_by_id(project).ok_or_else(|| Refusal::not_found("the project is gone"))?;
    let device = app.read::<_, StoreError>(move |view| show::device(view, &tenant, device)).await?;
    Ok(JsonBody(Decommissioned { device, waits_for_device: leaves == Leaves::ByItself }))
}

/// How far has the decommission come?
#[utoipa::path(get, path = "/devices/{name}/decommission", operation_id = "get_device_decommission", tag = "devices",
    params(("name" = String, Path)), responses((status = 200, body = Decommission), Refusals))]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
) -> Result<JsonBody<Decommission>, Refusal> {
    let (now, project) = (app.now(), operator.project());
    let found = app
        .read::<_, FlowError>(move |view| {
            let device = access::device(view, now, &operator.actor, Permission::Read, &name)?;
            let missing = || StoreError::Missing { kind: "decommission", name };
            Ok(view.departure(project, device.id)?.ok_or_else(missing)?)
        })
        .await?;
    Ok(JsonBody(Decommission {
        wipe: found.wipe,
        wipe_defaults: found.wipe_defaults,
        reason: found.reason,
        ordered_at: found.ordered_at,
        ordered_by: found.ordered_by,
        confirmed_at: found.confirmed_at,
        done_at: found.done_at,
        refused: found.refused,
        wiped: found.wiped,
        failed: found.failed,
    }))
}

/// Hand a device over to another project, with the rights of both: it keeps its key and begins anew there.
#[utoipa::path(post, path = "/devices/{name}/transfer", operation_id = "transfer_device", tag = "devices",
    params(("name" = String, Path)), request_body = TransferOrder, responses((status = 200, body = Device), Refusals))]
pub(super) async fn transfer(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
    body: Json<TransferOrder>,
) -> Result<JsonBody<Device>, Refusal> {
    access::check_somewhere(&operator.actor, Permission::DevicesWrite)?;
    let TransferOrder { to, token, drop_labels } = body.value;
    let theirs = operator_of(&app, &token).await.map_err(|_| not_theirs())?;
    let tenant = app.table.tenant(&to).filter(|tenant| tenant.id == theirs.project()).ok_or_else(not_theirs)?;
    let now = app.now();
    let actors = (operator.actor, theirs.actor);
    let device = app.write(move |tx| departures::transfer(tx, now, (&actors.0, &actors.1), &name, drop_labels)).await?;
    let shown = app.read::<_, StoreError>(move |view| show::device(view, &tenant, device)).await?;
    Ok(JsonBody(shown))
}

/// One answer for a project that isn't there and for a token of another one.
fn not_theirs() -> Refusal {
    Refusal::bad("token", "this is no valid token of the project that the device shall go to: log in there")
}
