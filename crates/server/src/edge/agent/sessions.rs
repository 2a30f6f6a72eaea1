//! `GET /device/v1/sessions/{session}`: the device's end of a remote session.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::caller::Caller;
use crate::App;
use crate::edge::http::problem::Refusal;
use crate::edge::upgrade::{Upgrade, switching};
use crate::flow::twin::sessions::device_may_join;
use crate::sessions::{Side, join};

pub(super) async fn connect(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Upgrade(upgrade): Upgrade,
) -> Result<Response, Refusal> {
    let Some(upgrade) = upgrade else {
        let detail = "send Connection: Upgrade and Upgrade: muster-session";
        return Err(Refusal::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", detail));
    };
    let (now, project, device) = (app.now(), caller.project(), caller.polled.device);
    let session = app.read(move |view| device_may_join(view, now, (project, device), &id)).await?;
    join(&app, project, (session, Side::Device), upgrade)?;
    Ok(switching())
}
