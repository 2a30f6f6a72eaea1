//! How does an action move, and what moves with it?
//!
//! Every change of state goes through [`advance`]: it saves the action, counts the move in its rollout, writes what
//! the device runs now, and tells those who watch. Afterwards [`give_turn`] offers the device what is next.

use muster_domain::action::{self, Action, ActionState, CancelSaid, EndReason, Input, Progress, Said};
use muster_domain::device::Installed;
use muster_domain::rollout::step::{self as rollout, Move};
use muster_domain::{Actor, Permission, turn};
use muster_store::Tx;
use muster_store::actions::{NewReport, state_name};
use muster_store::events::NewEvent;
use muster_vocab::{ActionId, DeviceId, ProjectId, RolloutId, Timestamp, limit};
use serde_json::json;

use super::error::FlowError;
use super::{approvals, audit};

/// A device's word on one of its actions.
#[derive(Debug, Clone)]
pub struct Word {
    pub device: DeviceId,
    pub action: ActionId,
    /// For the history.
    pub text: String,
    pub code: Option<i32>,
    pub messages: Vec<String>,
}

/// Takes one step and everything that follows from it at once.
pub fn advance(
    tx: &mut Tx<'_>,
    now: Timestamp,
    project: ProjectId,
    action: &Action,
    input: Input,
) -> Result<Action, FlowError> {
    let next = action::step(action, now, input)?;
    if next == *action {
        return Ok(next);
    }
    tx.save_action(project, &next)?;
    if next.state == action.state {
        return Ok(next);
    }
    if next.installed && !action.installed {
        tx.save_installed(project, next.device, Installed { release: next.release, action: next.id })?;
    }
    tx.emit_event(
        project,
        now,
        &NewEvent {
            kind: "action",
            target: &next.id.to_string(),
            change: state_name(next.state),
            rollout: Some(next.rollout),
        },
    )?;
    let moved = Move { wave: next.wave, back: next.rollback, from: action.state, to: next.state, count: 1 };
    tell_rollout(tx, now, (project, next.rollout), rollout::Input::Moved(moved))?;
    Ok(next)
}

/// Steps a rollout and leaves what follows in the outbox.
pub fn tell_rollout(
    tx: &mut Tx<'_>,
    now: Timestamp,
    of: (ProjectId, RolloutId),
    input: rollout::Input,
) -> Result<(), FlowError> {
    let (project, id) = of;
    let before = tx.rollout(project, id)?;
    // Every start passes here, so none gets past the approvals it needs.
    let settled = approvals::settle(tx, now, project, before.clone())?;
    let (mut after, effects) = rollout::step(&settled, now, input)?;
    if settled.started_at.is_none() && after.started_at.is_some() {
        after.clearance.rules = approvals::rules_in_force(tx, now, project, &after)?;
    }
    tx.emit(of, &effects, now)?;
    if after.phase != before.phase {
        let event =
            NewEvent { kind: "rollout", target: &id.to_string(), change: after.phase.name(), rollout: Some(id) };
        tx.emit_event(project, now, &event)?;
        tracing::info!(rollout.id = %id, state = after.phase.name(), "rollout {id} is {}", after.phase.name());
    }
    tx.save_rollout(project, after);
    Ok(())
}

/// Offers the device the action whose turn it is.
pub fn give_turn(tx: &mut Tx<'_>, now: Timestamp, project: ProjectId, device: DeviceId) -> Result<(), FlowError> {
    // Each round ends an action or is the last one, so a device with n open actions takes at most n + 1 rounds.
    loop {
        let open = tx.open_actions(project, device)?;
        let turn = turn::of_device(&open);
        let find = |id: ActionId| open.iter().find(|action| action.id == id);
        if let Some(holder) = turn.step_back.and_then(find) {
            advance(tx, now, project, holder, Input::Yield)?;
        }
        let Some(next) = turn.offer.and_then(find) else { return Ok(()) };
        let installed = tx.installed_release(project, device)?;
        if let Some(end) = turn::instead_of_offer(next, installed) {
            advance(tx, now, project, next, end)?;
            continue;
        }
        if !next.rollback && next.previous != installed {
            // What the device runs now is what it would go back to.
            tx.save_previous(project, &Action { previous: installed, ..next.clone() })?;
        }
        let consent = next.confirmation && needs_consent(tx, project, device)?;
        advance(tx, now, project, next, Input::Offer { consent })?;
        return Ok(());
    }
}

fn needs_consent(tx: &Tx<'_>, project: ProjectId, device: DeviceId) -> Result<bool, FlowError> {
    let asks = tx.project(project)?.settings.confirmation;
    Ok(asks && tx.device_by_id(project, device)?.auto_confirm.is_none())
}

/// The device reads its deployment. `skip`: it is told not to install now.
pub fn fetch(
    tx: &mut Tx<'_>,
    now: Timestamp,
    of: (ProjectId, DeviceId),
    id: ActionId,
    skip: bool,
) -> Result<Action, FlowError> {
    let (project, device) = of;
    let action = own(tx, project, device, id)?;
    let first = action.state == ActionState::Offered;
    let next = advance(tx, now, project, &action, Input::Fetch { skip })?;
    if first {
        let text = if skip { "fetched the deployment, which it may not install yet" } else { "fetched the deployment" };
        history(tx, now, project, id, text.into())?;
    }
    supersede(tx, now, project, device)?;
    Ok(next)
}

/// The device has taken a newer action: what it was asked to stop is over, whether it answers or not.
fn supersede(tx: &mut Tx<'_>, now: Timestamp, project: ProjectId, device: DeviceId) -> Result<(), FlowError> {
    for pending in tx.open_actions(project, device)?.iter().filter(|other| other.state == ActionState::Canceling) {
        advance(tx, now, project, pending, Input::ForceCancel(EndReason::Superseded))?;
        history(tx, now, project, pending.id, EndReason::Superseded.to_string())?;
    }
    Ok(())
}

/// The device reports on its deployment.
pub fn report(
    tx: &mut Tx<'_>,
    now: Timestamp,
    project: ProjectId,
    word: Word,
    said: (Said, Option<Progress>),
) -> Result<(), FlowError> {
    let action = own(tx, project, word.device, word.action)?;
    let (said, progress) = (with_cause(tx, project, word.action, said.0)?, said.1);
    let is_final = matches!(said, Said::Succeeded | Said::Installed | Said::Failed { .. });
    let next = action::step(&action, now, Input::Report { said: said.clone(), progress })?;
    if !is_final && tx.report_count(project, action.id)? >= limit::REPORTS_PER_ACTION_MAX {
        return Err(FlowError::TooManyReports);
    }
    advance(tx, now, project, &action, Input::Report { said, progress })?;
    if action.state == ActionState::Offered && next.state == ActionState::Running {
        supersede(tx, now, project, word.device)?;
    }
    keep(tx, now, project, word)?;
    after_end(tx, now, project, (&action, &next))
}

/// The last words of some clients say only that nothing fitted; the cause stands in lines they sent before.
fn with_cause(tx: &Tx<'_>, project: ProjectId, id: ActionId, said: Said) -> Result<Said, FlowError> {
    const REPORTS_SEARCHED: u32 = 20;
    let Said::Failed { words } = said else { return Ok(said) };
    let reports = tx.reports(project, id, (None, REPORTS_SEARCHED))?.rows;
    let mut lines = reports.iter().flat_map(|report| report.messages.iter().rev());
    let cause = lines.find(|line| line.to_ascii_lowercase().contains("error") && !words.contains(line.as_str()));
    let words = match cause {
        Some(cause) if words.is_empty() => cause.clone(),
        Some(cause) => format!("{words} (before: {cause})"),
        None => words,
    };
    Ok(Said::Failed { words })
}

/// The device answers a cancel.
pub fn cancel_report(
    tx: &mut Tx<'_>,
    now: Timestamp,
    project: ProjectId,
    word: Word,
    said: CancelSaid,
) -> Result<(), FlowError> {
    let action = own(tx, project, word.device, word.action)?;
    if said == CancelSaid::Working && tx.report_count(project, action.id)? >= limit::REPORTS_PER_ACTION_MAX {
        return Err(FlowError::TooManyReports);
    }
    let refused = said == CancelSaid::Refused;
    let next = advance(tx, now, project, &action, Input::CancelReport(said))?;
    let (project_id, rollout) = (project, action.rollout);
    keep(tx, now, project, word)?;
    if refused {
        make_room(tx, now, project_id, &next)?;
    }
    tracing::debug!(action.id = %action.id, rollout.id = %rollout, "action {} answered its cancel", action.id);
    after_end(tx, now, project, (&action, &next))
}

/// A cancel that the device refused makes the action hold the device again: whatever took its place steps back.
fn make_room(tx: &mut Tx<'_>, now: Timestamp, project: ProjectId, back: &Action) -> Result<(), FlowError> {
    for other in tx.open_actions(project, back.device)? {
        if other.id != back.id && other.state.holds_device() && other.state != ActionState::Running {
            advance(tx, now, project, &other, Input::Yield)?;
        }
    }
    Ok(())
}

/// The device's user consents, or does not.
pub fn confirm(
    tx: &mut Tx<'_>,
    now: Timestamp,
    project: ProjectId,
    word: Word,
    consents: bool,
) -> Result<(), FlowError> {
    let action = own(tx, project, word.device, word.action)?;
    let input = if consents { Input::Confirm } else { Input::Deny };
    advance(tx, now, project, &action, input)?;
    keep(tx, now, project, word)
}

/// An operator ends one device's action.
pub fn cancel(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    id: ActionId,
    how: (bool, String),
) -> Result<Action, FlowError> {
    actor.may(Permission::RolloutsWrite)?;
    let (project, (force, reason)) = (actor.project(), how);
    let action = tx.action(project, id)?;
    let why = EndReason::Operator(reason.clone());
    let input = if force { Input::ForceCancel(why) } else { Input::Cancel(why) };
    let next = advance(tx, now, project, &action, input)?;
    history(tx, now, project, id, format!("{actor} canceled it: {reason}"))?;
    let detail = json!({ "force": force, "reason": reason });
    audit::record(tx, now, actor, ("action.cancel", format!("action:{id}")), &detail)?;
    after_end(tx, now, project, (&action, &next))?;
    Ok(next)
}

/// An operator turns soft into forced.
pub fn force(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, id: ActionId) -> Result<Action, FlowError> {
    actor.may(Permission::RolloutsWrite)?;
    let action = tx.action(actor.project(), id)?;
    let next = advance(tx, now, actor.project(), &action, Input::Force)?;
    audit::record(tx, now, actor, ("action.force", format!("action:{id}")), &json!({}))?;
    Ok(next)
}

/// Its time of silence is over. Safe to call for any action: one that spoke in the meantime is left alone.
pub fn silence(tx: &mut Tx<'_>, now: Timestamp, project: ProjectId, id: ActionId) -> Result<(), FlowError> {
    let action = tx.action(project, id)?;
    if action.silent_at.is_none_or(|at| at > now) {
        return Ok(());
    }
    let until = action::excused_until(&action, tx.action_window(project, id)?.as_ref(), now);
    let next = advance(tx, now, project, &action, Input::Silence { until })?;
    if next.state == ActionState::Lost {
        let reason = next.reason.as_ref().map(ToString::to_string).unwrap_or_default();
        history(tx, now, project, id, format!("given up as lost: {reason}"))?;
    }
    after_end(tx, now, project, (&action, &next))
}

/// The server was away when its time of silence ended, so the device could not speak: it gets that time again.
pub fn excuse(tx: &mut Tx<'_>, now: Timestamp, project: ProjectId, id: ActionId) -> Result<(), FlowError> {
    let action = tx.action(project, id)?;
    if action.silent_at.is_some_and(|at| at <= now) {
        advance(tx, now, project, &action, Input::Silence { until: Some(now) })?;
    }
    Ok(())
}

/// When an action lets go of the device, the next one takes its turn.
pub fn after_end(
    tx: &mut Tx<'_>,
    now: Timestamp,
    project: ProjectId,
    steps: (&Action, &Action),
) -> Result<(), FlowError> {
    let (before, after) = steps;
    match turn::is_due_after(before.state, after.state) {
        true => give_turn(tx, now, project, after.device),
        false => Ok(()),
    }
}

/// A sentence of Muster's own in an action's history.
pub fn history(
    tx: &mut Tx<'_>,
    at: Timestamp,
    project: ProjectId,
    id: ActionId,
    text: String,
) -> Result<(), FlowError> {
    tx.insert_report(project, id, &NewReport { at, text, code: None, messages: Vec::new() })?;
    Ok(())
}

/// Long messages are cut, not refused.
pub(super) fn keep(tx: &mut Tx<'_>, at: Timestamp, project: ProjectId, word: Word) -> Result<(), FlowError> {
    let cut = |message: String| match message.char_indices().nth(limit::MESSAGE_CHARS_MAX) {
        Some((end, _)) => message[..end].to_owned(),
        None => message,
    };
    let messages = word.messages.into_iter().take(limit::MESSAGES_PER_REPORT_MAX).map(cut).collect();
    tx.insert_report(project, word.action, &NewReport { at, text: word.text, code: word.code, messages })?;
    Ok(())
}

/// Another device's action does not exist for this one.
fn own(tx: &Tx<'_>, project: ProjectId, device: DeviceId, id: ActionId) -> Result<Action, FlowError> {
    let action = tx.action(project, id)?;
    if action.device == device { Ok(action) } else { Err(muster_store::StoreError::NoAction(id).into()) }
}
