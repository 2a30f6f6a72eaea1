//! What does a device get besides updates: its configuration and commands; and what does it say about them?

pub mod commands;
pub mod configurations;
pub mod render;
pub mod sessions;

use muster_domain::command::{Command, Input};
use muster_domain::configuration::File;
use muster_domain::configuration::twin::{Reported, Twin, TwinState, said};
use muster_store::events::NewEvent;
use muster_store::{StoreError, Tx, View};
use muster_vocab::{DeviceId, ProjectId, Timestamp};

use super::error::FlowError;

/// What the device is to be told now: a version of its configuration that it has not tried, and its commands.
pub fn orders_for(
    view: &View<'_>,
    project: ProjectId,
    device: DeviceId,
) -> Result<(Option<u64>, Vec<Command>), StoreError> {
    Ok((view.twin(project, device)?.wanted(), view.commands_to_tell(project, device)?))
}

/// The files that the device shall have, and their version. `None`: there are none, or they can't be rendered.
pub fn configuration_for(
    view: &View<'_>,
    project: ProjectId,
    device: DeviceId,
) -> Result<Option<(u64, Vec<File>)>, StoreError> {
    let twin = view.twin(project, device)?;
    if twin.version == 0 || twin.error.is_some() {
        return Ok(None);
    }
    Ok(Some((twin.version, view.rendered_files(project, device)?)))
}

/// The device said how it stands with a version of its configuration.
pub fn configuration_said(
    tx: &mut Tx<'_>,
    now: Timestamp,
    project: ProjectId,
    device: DeviceId,
    reported: &Reported,
) -> Result<(), FlowError> {
    let before = tx.twin(project, device)?;
    let after = said(&before, Reported { at: now, ..reported.clone() })?;
    tx.save_twin(project, device, &after, None)?;
    let (told, tells) = (before.state(), after.state());
    if told != tells { tell(tx, now, project, (device, tells)) } else { Ok(()) }
}

/// The device said how far a command is. Words about a command that has ended change nothing.
pub fn command_said(
    tx: &mut Tx<'_>,
    now: Timestamp,
    project: ProjectId,
    device: DeviceId,
    said: (i64, Input),
) -> Result<(), FlowError> {
    let (id, input) = said;
    let command = tx.command(project, id)?;
    if command.device != device {
        return Err(StoreError::Missing { kind: "command", name: id.to_string() }.into());
    }
    commands::advance(tx, now, project, (&command, input))
}

/// The device was told its commands. Safe to repeat.
pub fn commands_sent(tx: &mut Tx<'_>, now: Timestamp, project: ProjectId, device: DeviceId) -> Result<(), FlowError> {
    for command in tx.commands_to_tell(project, device)? {
        commands::advance(tx, now, project, (&command, Input::Sent))?;
    }
    Ok(())
}

/// A device that joined anew has lost what it had.
pub fn forget_reported(tx: &mut Tx<'_>, project: ProjectId, device: DeviceId) -> Result<(), FlowError> {
    let twin = tx.twin(project, device)?;
    if twin.reported.is_some() {
        tx.save_twin(project, device, &Twin { reported: None, ..twin }, None)?;
    }
    Ok(())
}

/// The device was deleted: nothing waits for it any more.
pub fn end_all(tx: &mut Tx<'_>, now: Timestamp, project: ProjectId, device: DeviceId) -> Result<(), FlowError> {
    for command in tx.open_commands(project, device)? {
        commands::advance(tx, now, project, (&command, Input::Gone))?;
    }
    Ok(())
}

fn tell(tx: &mut Tx<'_>, now: Timestamp, project: ProjectId, what: (DeviceId, TwinState)) -> Result<(), FlowError> {
    let name = tx.device_name(project, what.0)?;
    let change = match what.1 {
        TwinState::Nothing => "configuration_nothing",
        TwinState::Failed => "configuration_failed",
        TwinState::Pending => "configuration_pending",
        TwinState::Applied => "configuration_applied",
        TwinState::Reverted => "configuration_reverted",
        TwinState::Drifted => "configuration_drifted",
    };
    tx.emit_event(project, now, &NewEvent { kind: "device", target: &name, change, rollout: None })?;
    Ok(())
}
