//! `…/confirmationBase`: may the update come?

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use muster_domain::device::AutoConfirm;
use muster_domain::standing::Link;
use muster_domain::{ActionState, Actor};
use muster_store::StoreError;
use muster_vocab::limit;

use super::caller::{Caller, action_id};
use super::deployment::deployment;
use super::feedback::{DeviceJson, MaybeJson, code, messages};
use super::refusal::Refusal;
use super::words::{
    ActivateAutoConfirm, AutoConfirmState, ConfirmationAction, ConfirmationBase, ConfirmationFeedback, Href,
};
use crate::App;
use crate::flow::actions::{self, Word};
use crate::flow::devices;

pub(super) async fn state(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<ConfirmationBase>, Refusal> {
    let (project, device) = (caller.project(), caller.polled.device);
    let consent = app.read(move |view| Ok::<_, StoreError>(view.device_by_id(project, device)?.auto_confirm)).await?;
    let switch = if consent.is_some() { "deactivateAutoConfirm" } else { "activateAutoConfirm" };
    let mut links =
        BTreeMap::from([(switch, Href::new(caller.address.link(format_args!("confirmationBase/{switch}"))))]);
    if let Link::Confirmation { action } = caller.polled.link {
        links.insert("confirmationBase", Href::new(caller.address.link(format_args!("confirmationBase/{action}?c=1"))));
    }
    let auto_confirm = AutoConfirmState {
        active: consent.is_some(),
        initiator: consent.as_ref().map(|consent| consent.initiator.clone()),
        remark: consent.as_ref().map(|consent| consent.remark.clone()),
        activated_at: consent.as_ref().map(|consent| consent.activated_at.0),
    };
    Ok(Json(ConfirmationBase { auto_confirm, links }))
}

pub(super) async fn read(
    State(app): State<Arc<App>>,
    Path((_, _, id)): Path<(String, String, String)>,
    caller: Caller,
) -> Result<Json<ConfirmationAction>, Refusal> {
    let (project, id) = (caller.project(), action_id(&id)?);
    let (action, window) = app
        .read(move |view| Ok::<_, StoreError>((view.action(project, id)?, view.action_window(project, id)?)))
        .await?;
    if action.device != caller.polled.device || action.state != ActionState::AwaitingConfirmation {
        return Err(Refusal::NotFound);
    }
    let confirmation = deployment(&app, &caller, (&action, window, app.now())).await?;
    Ok(Json(ConfirmationAction { id: id.to_string(), confirmation }))
}

pub(super) async fn report(
    State(app): State<Arc<App>>,
    Path((_, _, id)): Path<(String, String, String)>,
    caller: Caller,
    DeviceJson(sent): DeviceJson<ConfirmationFeedback>,
) -> Result<StatusCode, Refusal> {
    let consents = match sent.confirmation.as_str() {
        "confirmed" => true,
        "denied" => false,
        other => return Err(Refusal::Bad(format!("confirmation is confirmed or denied, not {other:?}"))),
    };
    let word = Word {
        device: caller.polled.device,
        action: action_id(&id)?,
        text: if consents { "consented" } else { "denied consent" }.to_owned(),
        code: sent.code.as_ref().and_then(code),
        messages: messages(sent.details),
    };
    let (now, project) = (app.now(), caller.project());
    app.write(move |tx| actions::confirm(tx, now, project, word, consents)).await?;
    Ok(StatusCode::OK)
}

pub(super) async fn activate(
    State(app): State<Arc<App>>,
    caller: Caller,
    MaybeJson(sent): MaybeJson<ActivateAutoConfirm>,
) -> Result<StatusCode, Refusal> {
    let cut = |text: Option<String>| text.unwrap_or_default().chars().take(limit::MESSAGE_CHARS_MAX).collect();
    let consent = AutoConfirm { initiator: cut(sent.initiator), remark: cut(sent.remark), activated_at: app.now() };
    set(&app, caller, Some(consent)).await
}

pub(super) async fn deactivate(State(app): State<Arc<App>>, caller: Caller) -> Result<StatusCode, Refusal> {
    set(&app, caller, None).await
}

async fn set(app: &Arc<App>, caller: Caller, consent: Option<AutoConfirm>) -> Result<StatusCode, Refusal> {
    let now = app.now();
    let actor = Actor::Device { name: caller.name.clone(), project: caller.project() };
    app.write(move |tx| devices::set_auto_confirm(tx, now, &actor, &caller.name, consent)).await?;
    Ok(StatusCode::OK)
}
