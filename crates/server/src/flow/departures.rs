//! How does a device leave: for good, or to another project?

use std::collections::BTreeMap;

use muster_domain::departure::{self, Departure, Leaves};
use muster_domain::device::{Device, DeviceState};
use muster_domain::identity::Keys;
use muster_domain::{Actor, Permission};
use muster_store::departures::Transfer;
use muster_store::devices::NewDevice;
use muster_store::events::NewEvent;
use muster_store::{StoreError, Tx, View};
use muster_trust::secret;
use muster_vocab::{DeviceId, ProjectId, Timestamp, limit};
use serde_json::json;

use super::devices::{check_stays, end_actions, settle_interval, state_name};
use super::error::FlowError;
use super::{access, audit, twin};

/// What people order.
#[derive(Debug, Clone)]
pub struct Order {
    pub wipe: Vec<String>,
    pub wipe_defaults: bool,
    pub reason: String,
    /// Don't wait for the device.
    pub force: bool,
}

/// Its credentials open nothing any more but the order itself.
pub fn decommission(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    name: &str,
    order: Order,
) -> Result<(Device, Leaves), FlowError> {
    let project = actor.project();
    let device = access::device(tx, now, actor, Permission::DevicesWrite, name)?;
    departure::check(&order.wipe, &order.reason).map_err(|bad| FlowError::invalid("wipe", bad.to_string()))?;
    if device.state != DeviceState::Retiring {
        check_stays(&device)?;
    } else if !order.force {
        return Err(FlowError::Conflict(format!(
            "{name} was ordered to leave already: wait for it, or force it, and nobody waits"
        )));
    }
    let is_agent = tx.device_queue(project, device.id)?.is_some();
    let has_token = tx.standing_of(project, name)?.is_some_and(|standing| standing.token.is_some());
    let has_credentials = has_token || tx.device_keys(project, device.id)?.is_some();
    let leaves = departure::leaves(is_agent, has_credentials, order.force);
    let Order { wipe, wipe_defaults, reason, force } = order;
    let departure = match tx.departure(project, device.id)? {
        Some(known) => known,
        None => Departure {
            wipe,
            wipe_defaults,
            reason,
            ordered_at: now,
            ordered_by: actor.to_string(),
            confirmed_at: None,
            done_at: None,
            refused: Vec::new(),
            wiped: Vec::new(),
            failed: Vec::new(),
        },
    };
    end_actions(tx, now, project, device.id)?;
    twin::end_all(tx, now, project, device.id)?;
    tx.forget_join(project, device.id)?;
    tx.save_device_hold(project, device.id, None)?;
    tx.save_departure(project, device.id, &departure)?;
    let detail = json!({
        "wipe": departure.wipe, "wipe_defaults": departure.wipe_defaults, "reason": departure.reason, "force": force,
    });
    audit::record(tx, now, actor, ("device.decommission", format!("device:{name}")), &detail)?;
    match leaves {
        Leaves::ByItself => change(tx, now, project, (device.id, name), DeviceState::Retiring)?,
        Leaves::AtOnce => {
            tx.delete_device_credentials(project, device.id)?;
            change(tx, now, project, (device.id, name), DeviceState::Retired)?;
        }
    }
    Ok((tx.device_by_id(project, device.id)?, leaves))
}

/// The device has its order and begins. Returns what it will tell its end with.
pub fn confirm(
    tx: &mut Tx<'_>,
    now: Timestamp,
    of: (ProjectId, DeviceId),
    refused: Vec<String>,
) -> Result<String, FlowError> {
    let (project, id) = of;
    let departure = ordered(tx, of)?;
    let confirmed_at = departure.confirmed_at.or(Some(now));
    let departure = Departure { confirmed_at, refused, ..departure };
    tx.save_departure(project, id, &departure)?;
    let receipt = secret::generate("")?;
    tx.save_departure_receipt(project, id, secret::digest(&receipt))?;
    let name = tx.device_name(project, id)?;
    let actor = Actor::Device { name: name.clone(), project };
    let detail = json!({ "refused": departure.refused });
    audit::record(tx, now, &actor, ("device.wipe-begin", format!("device:{name}")), &detail)?;
    Ok(receipt)
}

pub fn ordered(view: &View<'_>, of: (ProjectId, DeviceId)) -> Result<Departure, FlowError> {
    let gone = || StoreError::Missing { kind: "order to leave", name: of.1.to_string() };
    Ok(view.departure(of.0, of.1)?.ok_or_else(gone)?)
}

/// It has destroyed what it had, or as much of it as it could. Told again it changes nothing.
pub fn done(
    tx: &mut Tx<'_>,
    now: Timestamp,
    receipt: [u8; 32],
    (wiped, failed): (Vec<String>, Vec<String>),
) -> Result<(), FlowError> {
    let unknown = || StoreError::Missing { kind: "receipt", name: "of a device that left".into() };
    let (project, id, known) = tx.departure_by_receipt(&receipt)?.ok_or_else(unknown)?;
    if known.done_at.is_some() {
        return Ok(());
    }
    let name = tx.device_name(project, id)?;
    tx.delete_device_credentials(project, id)?;
    let departure = Departure { done_at: Some(now), wiped, failed, ..known };
    tx.save_departure(project, id, &departure)?;
    change(tx, now, project, (id, &name), DeviceState::Retired)?;
    let actor = Actor::Device { name: name.clone(), project };
    let detail = json!({ "wiped": departure.wiped, "failed": departure.failed });
    audit::record(tx, now, &actor, ("device.wipe-done", format!("device:{name}")), &detail)
}

/// Hands a device over. It keeps its key; everything else of it begins anew in the other project, and what it was
/// here stays here. `to` is somebody who may take devices into that project.
pub fn transfer(
    tx: &mut Tx<'_>,
    now: Timestamp,
    (actor, to): (&Actor, &Actor),
    name: &str,
    drop_labels: bool,
) -> Result<Device, FlowError> {
    let (from, into) = (actor.project(), to.project());
    let device = access::device(tx, now, actor, Permission::DevicesWrite, name)?;
    to.may(Permission::DevicesWrite)?;
    if from == into {
        return Err(FlowError::invalid("to", "the device is in this project already"));
    }
    if device.state != DeviceState::Accepted {
        let state = state_name(device.state);
        return Err(FlowError::Conflict(format!("{name} is {state}: only accepted devices can be handed over")));
    }
    let token = tx.standing_of(from, name)?.and_then(|standing| standing.token);
    let keys = tx.device_keys(from, device.id)?;
    let new = NewDevice { name: name.to_owned(), state: DeviceState::Accepted, token, poll_interval_s: 0 };
    let id = tx.insert_device(into, &new, now)?;
    let labels = if drop_labels { BTreeMap::new() } else { device.labels.clone() };
    let taken = Device { labels, ..tx.device_by_id(into, id)? };
    tx.save_labels(into, &taken)?;
    settle_interval(tx, now, into, &taken)?;
    if let Some((keys, not_after)) = keys {
        tx.save_device_keys(into, id, &keys, not_after)?;
    }
    end_actions(tx, now, from, device.id)?;
    twin::end_all(tx, now, from, device.id)?;
    tx.forget_join(from, device.id)?;
    tx.save_transfer(from, device.id, Transfer { to_device: id, to_project: into, at: now })?;
    change(tx, now, from, (device.id, name), DeviceState::Transferred)?;
    tx.emit_event(into, now, &NewEvent { kind: "device", target: name, change: "created", rollout: None })?;
    let target = format!("device:{name}");
    // Neither side learns more of the other than its name.
    let (from_name, into_name) = (tx.project(from)?.name, tx.project(into)?.name);
    let detail = json!({ "to": into_name, "labels": !drop_labels });
    audit::record(tx, now, actor, ("device.transfer", target.clone()), &detail)?;
    let detail = json!({ "from": from_name, "labels": taken.labels });
    audit::record(tx, now, to, ("device.take-over", target), &detail)?;
    Ok(tx.device_by_id(into, id)?)
}

/// Where a device went, for the device itself. With `key`, it asks for a certificate in its new project.
pub fn follow(
    tx: &mut Tx<'_>,
    now: Timestamp,
    of: (ProjectId, DeviceId),
    key: Option<[u8; 32]>,
) -> Result<(ProjectId, String), FlowError> {
    let gone = || StoreError::Missing { kind: "transfer", name: of.1.to_string() };
    let transfer = tx.transfer(of.0, of.1)?.ok_or_else(gone)?;
    let (project, id) = (transfer.to_project, transfer.to_device);
    let known = tx.device_by_id(project, id)?;
    if let Some(key) = key {
        let keys = match tx.device_keys(project, id)? {
            Some((keys, _)) => keys.renew(key),
            // It came by a certificate of somebody else's authority.
            None => Keys::first(key, now),
        };
        tx.save_device_keys(project, id, &keys, now.plus(limit::DEVICE_CERTIFICATE_LIFE))?;
    }
    Ok((project, known.name))
}

/// The device was heard in its new project.
pub fn arrived(tx: &mut Tx<'_>, now: Timestamp, of: (ProjectId, DeviceId)) -> Result<(), FlowError> {
    if !tx.finish_transfers_to(of.0, of.1)? {
        return Ok(());
    }
    let name = tx.device_name(of.0, of.1)?;
    let actor = Actor::Device { name: name.clone(), project: of.0 };
    audit::record(tx, now, &actor, ("device.arrive", format!("device:{name}")), &json!({}))
}

fn change(
    tx: &mut Tx<'_>,
    now: Timestamp,
    project: ProjectId,
    (id, name): (DeviceId, &str),
    state: DeviceState,
) -> Result<(), FlowError> {
    tx.save_device_state(project, id, state)?;
    tx.emit_event(project, now, &NewEvent { kind: "device", target: name, change: state_name(state), rollout: None })?;
    Ok(())
}
