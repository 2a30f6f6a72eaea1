//! `…/cancelAction/{id}`: the device is asked to stop.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use muster_domain::ActionState;

use super::caller::{Caller, action_id};
use super::feedback::{DeviceJson, cancel_said, word};
use super::refusal::Refusal;
use super::words::{CancelAction, Feedback, StopId};
use crate::App;
use crate::flow::actions;

/// `stopId` is the action itself: rauc builds the feedback's address from it, swupdate from the link.
pub(super) async fn read(
    State(app): State<Arc<App>>,
    Path((_, _, id)): Path<(String, String, String)>,
    caller: Caller,
) -> Result<Json<CancelAction>, Refusal> {
    let (project, id) = (caller.project(), action_id(&id)?);
    let action = app.read(move |view| view.action(project, id)).await?;
    let canceled = matches!(action.state, ActionState::Canceling | ActionState::Canceled);
    if action.device != caller.polled.device || !canceled {
        return Err(Refusal::NotFound);
    }
    Ok(Json(CancelAction { id: id.to_string(), cancel_action: StopId { stop_id: id.to_string() } }))
}

pub(super) async fn report(
    State(app): State<Arc<App>>,
    Path((_, _, id)): Path<(String, String, String)>,
    caller: Caller,
    DeviceJson(sent): DeviceJson<Feedback>,
) -> Result<StatusCode, Refusal> {
    let said = cancel_said(&sent)?;
    let mut word = word(&caller, &id, sent)?;
    word.text = format!("on its cancel: {}", word.text);
    let (now, project) = (app.now(), caller.project());
    app.write(move |tx| actions::cancel_report(tx, now, project, word, said)).await?;
    Ok(StatusCode::OK)
}
