//! Devices: how they come in, what is said about them, how they leave.

use std::collections::BTreeMap;

use muster_domain::action::{EndReason, Input};
use muster_domain::device::{AttributeMode, AutoConfirm, Device, DeviceState, patch_labels, report_attributes};
use muster_domain::project::Registration;
use muster_domain::{Actor, Permission};
use muster_store::devices::NewDevice;
use muster_store::events::NewEvent;
use muster_store::{StoreError, Tx};
use muster_trust::secret;
use muster_vocab::selector::{Field, Selector, eval::Found};
use muster_vocab::{DeviceId, ProjectId, Timestamp, limit};
use serde_json::json;

use super::actions::{advance, give_turn, history};
use super::error::FlowError;
use super::rollouts::device_selector;
use super::twin;
use super::{access, audit};

/// May a device be called so? Devices in the field choose their names, so only what no path or log survives is refused.
pub fn check_name(name: &str) -> Result<(), FlowError> {
    let usable = !name.is_empty()
        && name.chars().count() <= limit::DEVICE_NAME_CHARS_MAX
        && name != "."
        && name != ".."
        && !name.chars().any(|c| c.is_control() || c == '/' || c == '\\');
    if usable {
        return Ok(());
    }
    let most = limit::DEVICE_NAME_CHARS_MAX;
    Err(FlowError::invalid(
        "name",
        format!("a device's name has 1 to {most} characters, no slashes or control characters"),
    ))
}

/// A person adds a device. Returns its token, which is shown only now.
pub fn create(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    name: &str,
    labels: BTreeMap<String, String>,
) -> Result<(Device, String), FlowError> {
    actor.may(Permission::DevicesWrite)?;
    check_name(name)?;
    let patch = labels.into_iter().map(|(key, value)| (key, Some(value))).collect();
    let labels = patch_labels(&BTreeMap::new(), &patch)?;
    let token = secret::generate("")?;
    let new = NewDevice {
        name: name.to_owned(),
        state: DeviceState::Accepted,
        token: Some(secret::digest(&token)),
        poll_interval_s: 0,
    };
    let id = tx.insert_device(actor.project(), &new, now)?;
    let device = Device { labels, ..tx.device_by_id(actor.project(), id)? };
    tx.save_labels(actor.project(), &device)?;
    settle_interval(tx, now, actor.project(), &device)?;
    changed(tx, now, actor, (name, "created"))?;
    audit::record(tx, now, actor, ("device.create", target(name)), &json!({ "labels": device.labels }))?;
    Ok((tx.device_by_id(actor.project(), id)?, token))
}

/// A device that nobody knows authenticated for its project. `None`: it is turned away.
pub fn register(
    tx: &mut Tx<'_>,
    now: Timestamp,
    project: ProjectId,
    name: &str,
) -> Result<Option<DeviceId>, FlowError> {
    check_name(name)?;
    match tx.device(project, name) {
        Ok(known) => return Ok(Some(known.id)),
        Err(StoreError::NoDevice(_)) => {}
        Err(other) => return Err(other.into()),
    }
    let settings = tx.project(project)?.settings;
    let state = match settings.registration {
        Registration::Accept => DeviceState::Accepted,
        Registration::Wait => DeviceState::Pending,
        Registration::Refuse => return Ok(None),
    };
    let new = NewDevice { name: name.to_owned(), state, token: None, poll_interval_s: 0 };
    let id = tx.insert_device(project, &new, now)?;
    let device = tx.device_by_id(project, id)?;
    settle_interval(tx, now, project, &device)?;
    let actor = Actor::Device { name: name.to_owned(), project };
    let event = NewEvent { kind: "device", target: name, change: state_name(state), rollout: None };
    tx.emit_event(project, now, &event)?;
    audit::record(tx, now, &actor, ("device.register", target(name)), &json!({ "state": state_name(state) }))?;
    Ok(Some(id))
}

/// A person lets a waiting device in, or turns it away.
pub fn decide(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    name: &str,
    state: DeviceState,
) -> Result<Device, FlowError> {
    let device = access::device(tx, now, actor, Permission::DevicesWrite, name)?;
    if device.state == state {
        return Ok(device);
    }
    check_stays(&device)?;
    if state == DeviceState::Rejected {
        end_actions(tx, now, actor.project(), device.id)?;
    }
    tx.save_device_state(actor.project(), device.id, state)?;
    if device.state == DeviceState::Quarantined {
        tx.save_device_hold(actor.project(), device.id, None)?;
        tx.forget_queues(device.id)?;
    }
    changed(tx, now, actor, (name, state_name(state)))?;
    let action = if state == DeviceState::Accepted { "device.accept" } else { "device.reject" };
    audit::record(tx, now, actor, (action, target(name)), &json!({}))?;
    Ok(tx.device_by_id(actor.project(), device.id)?)
}

/// The same for some waiting devices that a selector matches. Returns how many, and where to go on.
pub fn decide_some(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    of: (&str, DeviceId),
    state: DeviceState,
) -> Result<(u64, Option<DeviceId>), FlowError> {
    let (select, after) = of;
    let select = access::within(actor, Permission::DevicesWrite, &device_selector("select", select)?)?;
    let page = (after, limit::WORK_BATCH_ACTIONS);
    let waiting = tx.devices_in_state(actor.project(), (DeviceState::Pending, &select), page, now)?;
    for (_, name) in &waiting {
        decide(tx, now, actor, name, state)?;
    }
    let more = waiting.len() == limit::WORK_BATCH_ACTIONS as usize;
    Ok((waiting.len() as u64, waiting.last().map(|(id, _)| *id).filter(|_| more)))
}

pub fn patch(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    of: (&str, Option<u64>),
    labels: &BTreeMap<String, Option<String>>,
) -> Result<Device, FlowError> {
    let (name, revision) = of;
    let device = access::device(tx, now, actor, Permission::DevicesWrite, name)?;
    check_revision(revision, device.revision)?;
    let labels_after = patch_labels(&device.labels, labels)?;
    if labels_after == device.labels {
        return Ok(device);
    }
    let device = Device { labels: labels_after, ..device };
    tx.save_labels(actor.project(), &device)?;
    settle_interval(tx, now, actor.project(), &device)?;
    changed(tx, now, actor, (name, "changed"))?;
    audit::record(tx, now, actor, ("device.label", target(name)), &json!({ "labels": labels }))?;
    Ok(tx.device_by_id(actor.project(), device.id)?)
}

/// A new token for the device; the old one stops working.
pub fn new_token(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, name: &str) -> Result<String, FlowError> {
    let device = access::device(tx, now, actor, Permission::DevicesWrite, name)?;
    check_stays(&device)?;
    let token = secret::generate("")?;
    tx.save_device_token(actor.project(), device.id, secret::digest(&token))?;
    audit::record(tx, now, actor, ("device.token", target(name)), &json!({}))?;
    Ok(token)
}

pub fn request_attributes(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, name: &str) -> Result<(), FlowError> {
    let device = access::device(tx, now, actor, Permission::DevicesWrite, name)?;
    tx.save_attributes_requested(actor.project(), device.id, true)?;
    audit::record(tx, now, actor, ("device.request-attributes", target(name)), &json!({}))
}

/// The device tells about itself.
pub fn report(
    tx: &mut Tx<'_>,
    now: Timestamp,
    of: (ProjectId, DeviceId),
    mode: AttributeMode,
    reported: &BTreeMap<String, String>,
) -> Result<(), FlowError> {
    report_difference(tx, now, of, mode, reported)?;
    let (project, id) = of;
    if tx.device_by_id(project, id)?.attributes_requested {
        tx.save_attributes_requested(project, id, false)?;
    }
    Ok(())
}

/// The same where a request for all attributes stays open.
pub fn report_difference(
    tx: &mut Tx<'_>,
    now: Timestamp,
    of: (ProjectId, DeviceId),
    mode: AttributeMode,
    reported: &BTreeMap<String, String>,
) -> Result<(), FlowError> {
    let (project, id) = of;
    let device = tx.device_by_id(project, id)?;
    let attributes = report_attributes(&device.attributes, mode, reported)?;
    if attributes == device.attributes {
        return Ok(());
    }
    let device = Device { attributes, ..device };
    tx.save_attributes(project, &device)?;
    settle_interval(tx, now, project, &device)?;
    let event = NewEvent { kind: "device", target: &device.name, change: "changed", rollout: None };
    tx.emit_event(project, now, &event)?;
    Ok(())
}

/// A standing consent, given by the device's user or an operator; `None` takes it back.
pub fn set_auto_confirm(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    name: &str,
    consent: Option<AutoConfirm>,
) -> Result<(), FlowError> {
    let project = actor.project();
    let device = match actor {
        Actor::Device { .. } => tx.device(project, name)?,
        Actor::Account { .. } | Actor::Muster { .. } => access::device(tx, now, actor, Permission::DevicesWrite, name)?,
    };
    if consent.is_some() && device.auto_confirm.is_some() {
        return Err(FlowError::Conflict(format!("auto-confirm is already active on {name}")));
    }
    tx.save_auto_confirm(project, device.id, consent.as_ref())?;
    let detail = json!({ "active": consent.is_some(), "consent": consent });
    audit::record(tx, now, actor, ("device.auto-confirm", target(name)), &detail)?;
    if consent.is_none() {
        return Ok(());
    }
    for waiting in tx.open_actions(project, device.id)? {
        if waiting.state == muster_domain::ActionState::AwaitingConfirmation {
            advance(tx, now, project, &waiting, Input::Confirm)?;
            history(tx, now, project, waiting.id, "confirmed by auto-confirm".into())?;
        }
    }
    Ok(())
}

/// Its open actions end; its name is free again; the history of its rollouts stays.
pub fn delete(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, of: (&str, Option<u64>)) -> Result<(), FlowError> {
    let (name, revision) = of;
    let device = access::device(tx, now, actor, Permission::DevicesWrite, name)?;
    check_revision(revision, device.revision)?;
    end_actions(tx, now, actor.project(), device.id)?;
    twin::end_all(tx, now, actor.project(), device.id)?;
    tx.delete_device(actor.project(), device.id)?;
    changed(tx, now, actor, (name, "deleted"))?;
    audit::record(tx, now, actor, ("device.delete", target(name)), &json!({}))
}

/// A device that has left gets no credentials and is let in by nobody.
pub(super) fn check_stays(device: &Device) -> Result<(), FlowError> {
    if !device.state.has_left() {
        return Ok(());
    }
    let (name, state) = (&device.name, state_name(device.state));
    Err(FlowError::Conflict(format!("{name} is {state}: delete it, so that a device of this name can join again")))
}

pub(super) fn end_actions(
    tx: &mut Tx<'_>,
    now: Timestamp,
    project: ProjectId,
    device: DeviceId,
) -> Result<(), FlowError> {
    for action in tx.open_actions(project, device)? {
        advance(tx, now, project, &action, Input::ForceCancel(EndReason::DeviceRemoved))?;
    }
    Ok(())
}

/// An accepted device may have actions waiting from before.
pub fn resume(tx: &mut Tx<'_>, now: Timestamp, project: ProjectId, device: DeviceId) -> Result<(), FlowError> {
    give_turn(tx, now, project, device)
}

/// The first override that matches sets the device's interval; 0 is the project's own.
pub fn settle_interval(tx: &mut Tx<'_>, now: Timestamp, project: ProjectId, device: &Device) -> Result<(), FlowError> {
    let mut interval_s = 0;
    for over in tx.project(project)?.settings.poll_overrides {
        let select = device_selector("poll_overrides", &over.select)?;
        if matches(&select, device, now) {
            interval_s = over.interval_s;
            break;
        }
    }
    if interval_s != device.poll_interval_s {
        tx.save_poll_interval(project, device.id, interval_s)?;
    }
    Ok(())
}

/// What the store would answer for one device at hand. The release is not looked at: intervals don't hang on it.
pub(super) fn matches(select: &Selector, device: &Device, now: Timestamp) -> bool {
    select.matches(now, |field| match field {
        Field::Label(key) => device.labels.get(key).map(|value| Found::Text(value)),
        Field::Attribute(key) => device.attributes.get(key).map(|value| Found::Text(value)),
        Field::Builtin("name") => Some(Found::Text(&device.name)),
        Field::Builtin("state") => Some(Found::Text(state_name(device.state))),
        Field::Builtin("created_at") => Some(Found::Time(device.created_at)),
        Field::Builtin("last_seen") => device.last_seen.map(Found::Time),
        Field::Builtin(_) => None,
    })
}

pub(crate) fn check_revision(expected: Option<u64>, found: u64) -> Result<(), FlowError> {
    if expected.is_none_or(|expected| expected == found) { Ok(()) } else { Err(FlowError::Revision) }
}

fn changed(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, what: (&str, &str)) -> Result<(), FlowError> {
    let event = NewEvent { kind: "device", target: what.0, change: what.1, rollout: None };
    tx.emit_event(actor.project(), now, &event)?;
    Ok(())
}

fn target(name: &str) -> String {
    format!("device:{name}")
}

pub(crate) fn state_name(state: DeviceState) -> &'static str {
    match state {
        DeviceState::Pending => "pending",
        DeviceState::Accepted => "accepted",
        DeviceState::Rejected => "rejected",
        DeviceState::Quarantined => "quarantined",
        DeviceState::Retiring => "retiring",
        DeviceState::Retired => "retired",
        DeviceState::Transferred => "transferred",
    }
}
