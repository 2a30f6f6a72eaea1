//! Remote sessions: who may open and join them, and the record that each leaves.

use muster_domain::command::{Command, SessionKind};
use muster_domain::device::DeviceState;
use muster_domain::session::{End, Ended, Session, SessionState};
use muster_domain::{Actor, Permission};
use muster_store::events::NewEvent;
use muster_store::{StoreError, Tx, View};
use muster_vocab::{DeviceId, ProjectId, Timestamp};
use serde_json::json;

use super::super::audit;
use super::super::error::FlowError;

/// Sessions are off until a person turns them on.
pub fn check_allowed(view: &View<'_>, project: ProjectId) -> Result<(), FlowError> {
    if view.project(project)?.settings.sessions {
        return Ok(());
    }
    let detail = "this project allows no remote sessions: an admin turns them on with the setting sessions";
    Err(FlowError::Conflict(detail.into()))
}

pub(super) fn open(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    what: (&Command, &str, &SessionKind, u32),
) -> Result<(), FlowError> {
    let (command, id, kind, seconds_max) = what;
    let session = Session {
        id: id.to_owned(),
        device: command.device,
        command: command.id,
        kind: kind.clone(),
        seconds_max,
        opened_by: actor.to_string(),
        created_at: now,
        state: SessionState::Waiting,
    };
    tx.insert_session(actor.project(), &session)?;
    let device = tx.device_name(actor.project(), command.device)?;
    let detail = json!({ "session": id, "kind": kind, "seconds_max": seconds_max });
    audit::record(tx, now, actor, ("session.open", format!("device:{device}")), &detail)?;
    event(tx, now, actor.project(), (id, "waiting"))
}

/// May this person connect? Only who opened it.
pub fn operator_may_join(view: &View<'_>, now: Timestamp, actor: &Actor, id: &str) -> Result<Session, FlowError> {
    actor.may(Permission::SessionsWrite)?;
    check_allowed(view, actor.project())?;
    let session = view.session(actor.project(), id)?;
    if session.opened_by != actor.to_string() {
        return Err(FlowError::Conflict(format!(
            "the session was opened by {}, and only they join it",
            session.opened_by
        )));
    }
    session.may_join(now)?;
    Ok(session)
}

/// May this device connect? Only the one it was opened for; others learn nothing of it.
pub fn device_may_join(
    view: &View<'_>,
    now: Timestamp,
    of: (ProjectId, DeviceId),
    id: &str,
) -> Result<Session, FlowError> {
    let (project, device) = of;
    let session = view.session(project, id)?;
    if session.device != device {
        return Err(StoreError::Missing { kind: "session", name: id.to_owned() }.into());
    }
    check_allowed(view, project)?;
    session.may_join(now)?;
    Ok(session)
}

/// May an open session go on? Not if sessions were turned off, or its device rejected or deleted.
pub fn goes_on(view: &View<'_>, id: &str) -> Result<bool, FlowError> {
    let Some((project, session)) = view.session_anywhere(id)? else { return Ok(false) };
    if !view.project(project)?.settings.sessions {
        return Ok(false);
    }
    match view.device_by_id(project, session.device) {
        Ok(device) => Ok(device.state == DeviceState::Accepted),
        Err(StoreError::NoDevice(_)) => Ok(false),
        Err(other) => Err(other.into()),
    }
}

/// Both ends are there.
pub fn connected(tx: &mut Tx<'_>, now: Timestamp, project: ProjectId, id: &str) -> Result<Session, FlowError> {
    check_allowed(tx, project)?;
    let session = tx.session(project, id)?.connected(now)?;
    tx.save_session(project, &session)?;
    record(tx, now, project, (&session, "session.connect", json!({ "session": id, "opened_by": session.opened_by })))?;
    event(tx, now, project, (id, "open"))?;
    Ok(session)
}

/// It is over, however it went. Safe to repeat.
pub fn ended(tx: &mut Tx<'_>, now: Timestamp, project: ProjectId, id: &str, how: Ended) -> Result<(), FlowError> {
    let Some(session) = tx.session(project, id)?.ended(now, how) else { return Ok(()) };
    tx.save_session(project, &session)?;
    let seconds = match session.state {
        SessionState::Ended { connected_at: Some(at), .. } => now.since(Timestamp(at)).as_secs(),
        _ => 0,
    };
    let detail = json!({
        "session": id,
        "opened_by": session.opened_by,
        "end": how.end,
        "seconds": seconds,
        "to_device": how.to_device,
        "to_operator": how.to_operator,
        "recording": how.recording,
    });
    record(tx, now, project, (&session, "session.end", detail))?;
    event(tx, now, project, (id, "ended"))
}

/// One that nobody pipes ends without a recording.
pub fn end_waiting(tx: &mut Tx<'_>, now: Timestamp, project: ProjectId, of: (&str, End)) -> Result<(), FlowError> {
    let (id, end) = of;
    if tx.session(project, id)?.state != SessionState::Waiting {
        return Ok(());
    }
    ended(tx, now, project, id, Ended { end, to_device: 0, to_operator: 0, recording: None })
}

/// Once, before the first request: nobody pipes what was open when the server went.
pub fn end_left(tx: &mut Tx<'_>, now: Timestamp, left: Vec<(ProjectId, Session)>) -> Result<(), FlowError> {
    for (project, session) in left {
        let how = Ended { end: End::ServerStopped, to_device: 0, to_operator: 0, recording: None };
        ended(tx, now, project, &session.id, how)?;
    }
    Ok(())
}

fn record(
    tx: &mut Tx<'_>,
    now: Timestamp,
    project: ProjectId,
    what: (&Session, &str, serde_json::Value),
) -> Result<(), FlowError> {
    let (session, action, detail) = what;
    let device = tx.device_name(project, session.device)?;
    audit::record(tx, now, &Actor::Muster { project }, (action, format!("device:{device}")), &detail)
}

fn event(tx: &mut Tx<'_>, now: Timestamp, project: ProjectId, what: (&str, &str)) -> Result<(), FlowError> {
    tx.emit_event(project, now, &NewEvent { kind: "session", target: what.0, change: what.1, rollout: None })?;
    Ok(())
}
