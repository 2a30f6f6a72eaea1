//! `POST /device/v1/join`: may this device come in?

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use muster_trust::secret;
use muster_vocab::limit;
use muster_wire::agent::{Join, Joined};

use super::body::DeviceJson;
use super::caller::token;
use crate::App;
use crate::edge::http::problem::Refusal;
use crate::flow::join::{self, Joining};

pub(super) async fn join(
    State(app): State<Arc<App>>,
    DeviceJson(sent): DeviceJson<Join, { limit::DEVICE_BODY_BYTES_MAX }>,
) -> Result<(StatusCode, Json<Joined>), Refusal> {
    let joined = let_in(&app, sent).await;
    if joined.is_err() {
        app.counters.refused.fetch_add(1, Ordering::Relaxed);
    }
    joined.map(|joined| (StatusCode::CREATED, Json(joined)))
}

async fn let_in(app: &Arc<App>, sent: Join) -> Result<Joined, Refusal> {
    let Join { token: shown, project, device, attributes } = sent;
    // As for a token that is not known: nobody learns which projects exist.
    let unknown = || {
        let detail = "this is no join token of the project: ask its operator for a new one";
        Refusal::unauthenticated("join_refused", detail)
    };
    let tenant = app.table.tenant(&project).ok_or_else(unknown)?;
    let (now, id) = (app.now(), tenant.id);
    let joining = Joining {
        device: device.clone(),
        proof: secret::digest(shown.trim()),
        attributes,
        was_seen: tenant.last_seen(&device).is_some(),
    };
    let own = app.write(move |tx| join::join(tx, now, id, joining)).await?;
    let token = token(&tenant.name, &device, &own);
    Ok(Joined { project: tenant.name.clone(), device, token })
}
