//! `POST /device/v1/join`: may this device come in?

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use muster_trust::authority::request::Request;
use muster_trust::authority::short_fingerprint;
use muster_trust::secret;
use muster_vocab::limit;
use muster_wire::agent::{Join, Joined, Waiting};

use super::body::DeviceJson;
use super::caller::token;
use super::certificate;
use super::tpm::{self, Proven};
use crate::App;
use crate::edge::address::{Client, too_fast};
use crate::edge::http::problem::Refusal;
use crate::edge::peer::Peer;
use crate::flow::join::{self, Joining, Proof};

/// A person who stands beside the device doesn't want to wait long.
const WAITING_RETRY_S: u32 = 10;

pub(super) async fn join(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    client: Client,
    DeviceJson(sent): DeviceJson<Join, { limit::DEVICE_BODY_BYTES_MAX }>,
) -> Result<Response, Refusal> {
    let joined = let_in(&app, (&peer, client), sent).await;
    if joined.is_err() {
        app.counters.refused.fetch_add(1, Ordering::Relaxed);
    }
    joined
}

async fn let_in(app: &Arc<App>, (peer, client): (&Peer, Client), sent: Join) -> Result<Response, Refusal> {
    let Join { token: shown, project, device, attributes, request, tpm } = sent;
    // As for a token that is not known: nobody learns which projects exist.
    let unknown = || {
        let detail = "this is no join token of the project: ask its operator for a new one";
        Refusal::unauthenticated("join_refused", detail)
    };
    let tenant = app.table.tenant(&project).ok_or_else(unknown)?;
    let request = request.as_deref().map(certificate::read).transpose()?;
    let (now, id) = (app.now(), tenant.id);
    let proof = match shown.trim() {
        "" if peer.foreign(app).is_some_and(|(of, named)| of == id && named == device) => Proof::Authority,
        "" => peer.certificate(app).map_or(Proof::Nothing, |shown| Proof::Claimed(shown.leaf.key)),
        shown => Proof::Secret(secret::digest(shown)),
    };
    let proof = match &tpm {
        None => proof,
        Some(tpm) => match tpm::prove(app, (id, &device), request.as_ref(), tpm).await? {
            Proven::Set(task) => return Ok((StatusCode::OK, Json(task)).into_response()),
            // A join token speaks for it besides.
            Proven::Yes(_) if matches!(proof, Proof::Secret(_)) => proof,
            Proven::Yes(tpm) => Proof::Tpm(tpm),
        },
    };
    if proof == Proof::Nothing && request.is_none() {
        return Err(unknown());
    }
    if proof == Proof::Nothing && tenant.look(&device, now).is_none() {
        client.may_arrive(app).map_err(|wait| too_fast(wait, "too many unknown devices come from this address"))?;
    }
    let joining = Joining {
        device: device.clone(),
        proof,
        key: request.as_ref().map(Request::key_digest),
        attributes,
        was_seen: tenant.last_seen(&device).is_some(),
        by_est: false,
        address: Some(client.0),
    };
    let joined = app.write(move |tx| join::join(tx, now, id, joining)).await?;
    let project = tenant.name.clone();
    let answer = match (joined, &request) {
        (join::Joined::Token(own), _) => {
            let token = token(&project, &device, &own);
            Joined { project, device, token, certificate: None }
        }
        (join::Joined::Certificate, Some(request)) => {
            let certificate = certificate::issue(app, request, (&project, &device), now).await?;
            Joined { project, device, token: String::new(), certificate: Some(certificate) }
        }
        (join::Joined::Waits | join::Joined::Certificate, request) => {
            let fingerprint = request.as_ref().map(|request| short_fingerprint(&request.key_digest()));
            let waiting = Waiting { fingerprint: fingerprint.unwrap_or_default(), retry_s: WAITING_RETRY_S };
            return Ok((StatusCode::ACCEPTED, Json(waiting)).into_response());
        }
    };
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}
