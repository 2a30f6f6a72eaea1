//! `PUT …/configData`: the device tells about itself.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use muster_domain::device::AttributeMode;

use super::caller::Caller;
use super::feedback::DeviceJson;
use super::refusal::Refusal;
use super::words::ConfigData;
use crate::App;
use crate::flow::devices;

pub(super) async fn report(
    State(app): State<Arc<App>>,
    caller: Caller,
    DeviceJson(sent): DeviceJson<ConfigData>,
) -> Result<StatusCode, Refusal> {
    let mode = match sent.mode.as_deref() {
        None | Some("merge") => AttributeMode::Merge,
        Some("replace") => AttributeMode::Replace,
        Some("remove") => AttributeMode::Remove,
        Some(other) => return Err(Refusal::Bad(format!("mode is merge, replace or remove, not {other:?}"))),
    };
    if sent.data.is_empty() {
        return Err(Refusal::Bad("data is missing or empty".into()));
    }
    let (now, of) = (app.now(), (caller.project(), caller.polled.device));
    app.write(move |tx| devices::report(tx, now, of, mode, &sent.data)).await?;
    Ok(StatusCode::OK)
}
