//! `POST /device/v1/certificate` and `GET /device/v1/root`: how does a device keep its identity, and learn the server's?

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use muster_trust::authority::request::Request;
use muster_vocab::{Timestamp, limit};
use muster_wire::agent::{Certificate, Renewal, Root};

use super::body::DeviceJson;
use super::caller::Renewing;
use crate::App;
use crate::edge::http::problem::Refusal;
use crate::flow::identity;

pub(super) async fn renew(
    State(app): State<Arc<App>>,
    Renewing(caller): Renewing,
    DeviceJson(sent): DeviceJson<Renewal, { limit::DEVICE_BODY_BYTES_MAX }>,
) -> Result<Json<Certificate>, Refusal> {
    let request = read(&sent.request)?;
    let (now, project, device, key) = (app.now(), caller.project(), caller.polled.device, request.key_digest());
    app.write(move |tx| identity::renew(tx, now, (project, device), key)).await?;
    issue(&app, &request, (&caller.tenant.name, &caller.name), now).await.map(Json)
}

pub(super) async fn root(State(app): State<Arc<App>>) -> Json<Root> {
    Json(Root { certificate: app.identity.root() })
}

pub(super) fn read(text: &str) -> Result<Request, Refusal> {
    Request::parse(text.as_bytes()).map_err(|bad| Refusal::bad("request", bad.to_string()))
}

/// The store knows the key already: a certificate that gets lost here is asked for again.
pub(super) async fn issue(
    app: &App,
    request: &Request,
    name: (&str, &str),
    now: Timestamp,
) -> Result<Certificate, Refusal> {
    let issued = app.identity.issue_device(request, name, now).map_err(|failed| Refusal::internal(&failed))?;
    Ok(Certificate { chain: issued.chain, root: app.identity.root(), issued_at: now, not_after: issued.not_after })
}
