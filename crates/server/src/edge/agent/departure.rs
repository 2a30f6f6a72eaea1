//! `/device/v1/wipe` and `/device/v1/transfer`: what may a device still say that leaves?
//!
//! Its credentials open nothing else: every other address answers `decommissioned` or `transferred`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use muster_domain::device::DeviceState;
use muster_trust::authority::request::Request;
use muster_trust::secret;
use muster_vocab::limit;
use muster_wire::agent::{Joined, Transferred, WipeBegun, WipeDone, WipeOrder, WipeReceipt};

use super::body::DeviceJson;
use super::caller::{Caller, identify, secret_of, token, unknown};
use super::certificate;
use crate::App;
use crate::edge::http::problem::Refusal;
use crate::edge::peer::Shown;
use crate::flow::departures;
use crate::flow::error::FlowError;

/// A device that was ordered to leave.
#[derive(Debug)]
pub(super) struct Retiring(Caller);

/// A device that belongs to another project now.
#[derive(Debug)]
pub(super) struct Moved {
    caller: Caller,
    /// Of the token that it shows, if it shows one.
    secret: Option<String>,
}

async fn leaving(parts: &mut Parts, app: &Arc<App>, state: DeviceState) -> Result<Caller, Refusal> {
    let found = match identify(parts, app).await {
        Ok((caller, Shown::Device | Shown::Over)) if caller.polled.state == state => Ok(caller),
        Ok(_) => Err(Refusal::not_found("nobody has ordered this device to leave")),
        Err(refused) => Err(refused),
    };
    if found.is_err() {
        app.counters.refused.fetch_add(1, Ordering::Relaxed);
    }
    found
}

impl FromRequestParts<Arc<App>> for Retiring {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        leaving(parts, app, DeviceState::Retiring).await.map(Self)
    }
}

impl FromRequestParts<Arc<App>> for Moved {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let caller = leaving(parts, app, DeviceState::Transferred).await?;
        Ok(Self { caller, secret: secret_of(&parts.headers) })
    }
}

pub(super) async fn order(State(app): State<Arc<App>>, Retiring(caller): Retiring) -> Result<Json<WipeOrder>, Refusal> {
    let of = (caller.project(), caller.polled.device);
    let found = app.read::<_, FlowError>(move |view| departures::ordered(view, of)).await?;
    Ok(Json(WipeOrder { paths: found.wipe, defaults: found.wipe_defaults }))
}

pub(super) async fn begin(
    State(app): State<Arc<App>>,
    Retiring(caller): Retiring,
    DeviceJson(sent): DeviceJson<WipeBegun, { limit::DEVICE_BODY_BYTES_MAX }>,
) -> Result<Json<WipeReceipt>, Refusal> {
    let (of, now, refused) = ((caller.project(), caller.polled.device), app.now(), bounded(sent.refused));
    let receipt = app.write(move |tx| departures::confirm(tx, now, of, refused)).await?;
    Ok(Json(WipeReceipt { receipt }))
}

/// The device has nothing left to prove itself by but the receipt.
pub(super) async fn done(
    State(app): State<Arc<App>>,
    DeviceJson(sent): DeviceJson<WipeDone, { limit::DEVICE_BODY_BYTES_MAX }>,
) -> Result<StatusCode, Refusal> {
    let (now, receipt, told) = (app.now(), secret::digest(&sent.receipt), (bounded(sent.wiped), bounded(sent.failed)));
    let told = app.write(move |tx| departures::done(tx, now, receipt, told)).await;
    if told.is_err() {
        app.counters.refused.fetch_add(1, Ordering::Relaxed);
    }
    told?;
    Ok(StatusCode::NO_CONTENT)
}

/// New credentials, in the project that it belongs to now.
pub(super) async fn follow(
    State(app): State<Arc<App>>,
    moved: Moved,
    DeviceJson(sent): DeviceJson<Transferred, { limit::DEVICE_BODY_BYTES_MAX }>,
) -> Result<Json<Joined>, Refusal> {
    let Moved { caller, secret } = moved;
    let request = sent.request.as_deref().map(certificate::read).transpose()?;
    let (now, of, key) =
        (app.now(), (caller.project(), caller.polled.device), request.as_ref().map(Request::key_digest));
    let (project, device) = app.write(move |tx| departures::follow(tx, now, of, key)).await?;
    let project = app.table.tenant_by_id(project).ok_or_else(unknown)?.name.clone();
    let certificate = match &request {
        Some(request) => Some(certificate::issue(&app, request, (&project, &device), now).await?),
        None => None,
    };
    let token = secret.map(|secret| token(&project, &device, &secret)).unwrap_or_default();
    Ok(Json(Joined { project, device, token, certificate }))
}

/// What a device says of its paths is kept as far as an order can be long.
fn bounded(lines: Vec<String>) -> Vec<String> {
    let short = |line: String| line.chars().take(limit::WIPE_PATH_BYTES_MAX).collect();
    lines.into_iter().take(2 * limit::WIPE_PATHS_MAX).map(short).collect()
}
