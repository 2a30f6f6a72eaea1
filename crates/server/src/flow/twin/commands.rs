//! Commands: how they are given, and what becomes of them.

use std::time::Duration;

use muster_domain::command::{Command, CommandState, Input, SessionKind, What, check, step};
use muster_domain::device::DeviceState;
use muster_domain::session::End;
use muster_domain::{Actor, Permission};
use muster_store::Tx;
use muster_store::events::NewEvent;
use muster_trust::secret;
use muster_vocab::{ProjectId, Timestamp, limit};
use serde_json::json;

use super::super::access;
use super::super::audit;
use super::super::error::FlowError;
use super::sessions;

/// Bytes of a session's name.
const SESSION_ID_BYTES: usize = 16;

/// A person tells a device to do something once.
pub fn give(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    device: &str,
    order: (What, Duration),
) -> Result<Command, FlowError> {
    let (what, deadline) = order;
    let wanted = permission(&what);
    let known = access::device(tx, now, actor, wanted, device)?;
    let deadline = match what {
        // Both ends have to come soon.
        What::OpenSession { .. } => deadline.min(limit::SESSION_WAIT),
        What::Reboot | What::CollectLogs { .. } | What::RunScript { .. } => deadline,
    };
    check(&what, deadline)?;
    let project = actor.project();
    if known.state != DeviceState::Accepted {
        return Err(FlowError::Conflict(format!("{device} is not accepted, so it takes no commands")));
    }
    let open = tx.open_commands(project, known.id)?.len();
    if open >= limit::COMMANDS_OPEN_MAX as usize {
        return Err(FlowError::Conflict(format!("{open} commands wait for {device} already: let it do them first")));
    }
    let what = with_session(tx, project, what)?;
    let new = Command {
        id: 0,
        device: known.id,
        what,
        state: CommandState::Pending,
        deadline: now.plus(deadline),
        exit_code: None,
        output: String::new(),
        created_at: now,
        created_by: actor.to_string(),
        changed_at: now,
    };
    let command = Command { id: tx.insert_command(project, &new)?, ..new };
    if let What::OpenSession { session, kind, seconds_max } = &command.what {
        sessions::open(tx, now, actor, (&command, session, kind, *seconds_max))?;
    }
    event(tx, now, project, &command)?;
    let detail = json!({ "command": command.id, "what": &command.what, "deadline": command.deadline });
    audit::record(tx, now, actor, ("command.create", format!("device:{device}")), &detail)?;
    Ok(command)
}

fn permission(what: &What) -> Permission {
    match what {
        What::Reboot | What::CollectLogs { .. } | What::RunScript { .. } => Permission::CommandsWrite,
        What::OpenSession { .. } => Permission::SessionsWrite,
    }
}

/// A session gets its name here, because it is made up.
fn with_session(tx: &Tx<'_>, project: ProjectId, what: What) -> Result<What, FlowError> {
    let What::OpenSession { kind, seconds_max, .. } = what else { return Ok(what) };
    sessions::check_allowed(tx, project)?;
    Ok(What::OpenSession { session: secret::random_hex(SESSION_ID_BYTES)?, kind, seconds_max })
}

/// A session that is about to be asked for has no name yet.
#[must_use]
pub fn open_session(kind: SessionKind, seconds_max: u32) -> What {
    What::OpenSession { session: String::new(), kind, seconds_max }
}

/// Something happened to a command.
pub fn advance(tx: &mut Tx<'_>, now: Timestamp, project: ProjectId, what: (&Command, Input)) -> Result<(), FlowError> {
    let (command, input) = what;
    let Some(after) = step(command, now, input) else { return Ok(()) };
    tx.save_command(project, &after)?;
    if let What::OpenSession { session, .. } = &after.what
        && !matches!(after.state, CommandState::Pending | CommandState::Sent | CommandState::Started)
        && after.state != CommandState::Succeeded
    {
        sessions::end_waiting(tx, now, project, (session, End::Refused))?;
    }
    event(tx, now, project, &after)
}

/// Commands of all projects whose time is over.
pub fn pass_time(tx: &mut Tx<'_>, now: Timestamp, due: &[(ProjectId, i64)]) -> Result<(), FlowError> {
    for (project, id) in due {
        let command = tx.command(*project, *id)?;
        advance(tx, now, *project, (&command, Input::TimePassed))?;
    }
    Ok(())
}

fn event(tx: &mut Tx<'_>, now: Timestamp, project: ProjectId, command: &Command) -> Result<(), FlowError> {
    let change = match command.state {
        CommandState::Pending => "pending",
        CommandState::Sent => "sent",
        CommandState::Started => "started",
        CommandState::Succeeded => "succeeded",
        CommandState::Failed => "failed",
        CommandState::Refused => "refused",
        CommandState::Late => "late",
        CommandState::Expired => "expired",
    };
    let id = command.id.to_string();
    tx.emit_event(project, now, &NewEvent { kind: "command", target: &id, change, rollout: None })?;
    Ok(())
}
