//! Why is a device where it is? Which rollout, wave, gate or window holds it?

use muster_vocab::Timestamp;

use crate::action::{Action, ActionState, EndReason, Push};
use crate::device::{Device, DeviceState};
use crate::rollout::{Phase, Rollout, WaveState, text};
use crate::window::WindowState;

/// One action with what surrounds it.
#[derive(Debug, Clone)]
pub struct Case {
    pub action: Action,
    pub rollout: Rollout,
    /// `name@version` of the action's release.
    pub release: String,
    /// `name@version` of what ran before.
    pub previous: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    pub code: &'static str,
    pub text: String,
    /// The case it speaks of.
    pub case: Option<usize>,
    pub until: Option<Timestamp>,
}

/// Reasons, the most urgent first. `cases`: open actions first, then the newest ended ones.
#[must_use]
pub fn explain(device: &Device, cases: &[Case], now: Timestamp) -> Vec<Reason> {
    let mut reasons = Vec::new();
    match device.state {
        DeviceState::Pending => reasons.push(plain(
            "waits_for_acceptance",
            format!("{} waits for acceptance and gets nothing until then: accept or reject it.", device.name),
        )),
        DeviceState::Rejected => reasons
            .push(plain("rejected", format!("{} was rejected; it gets nothing unless it is accepted.", device.name))),
        DeviceState::Quarantined => reasons.push(plain(
            "quarantined",
            format!("{} is in quarantine, because something is wrong with its identity: look at it, then accept or delete it.", device.name),
        )),
        DeviceState::Retiring => reasons.push(plain(
            "retiring",
            format!("{} was decommissioned; it has yet to say that it has destroyed its data.", device.name),
        )),
        DeviceState::Retired => {
            reasons.push(plain("retired", format!("{} was decommissioned and gets nothing any more.", device.name)));
        }
        DeviceState::Transferred => reasons
            .push(plain("transferred", format!("{} belongs to another project now and gets nothing here.", device.name))),
        DeviceState::Accepted => {}
    }
    let mut order: Vec<usize> = (0..cases.len()).collect();
    order.sort_by_key(|at| (cases[*at].action.state.is_terminal(), std::cmp::Reverse(cases[*at].action.id)));
    for at in order {
        reasons.push(Reason { case: Some(at), ..explain_case(device, cases, &cases[at], now) });
    }
    if reasons.is_empty() {
        reasons.push(plain("idle", format!("No rollout has selected {} yet.", device.name)));
    }
    reasons
}

fn plain(code: &'static str, text: String) -> Reason {
    Reason { code, text, case: None, until: None }
}

fn explain_case(device: &Device, cases: &[Case], case: &Case, now: Timestamp) -> Reason {
    let (name, release) = (&device.name, &case.release);
    match case.action.state {
        ActionState::Scheduled => scheduled(name, case, now),
        ActionState::Queued => queued(name, cases, case),
        ActionState::AwaitingConfirmation => {
            let lost = lost_unless_heard(&case.action);
            plain("waits_for_consent", format!("{name} (or its user) has to consent to {release} first.{lost}"))
        }
        ActionState::Offered | ActionState::Running => on_offer(device, case, now),
        ActionState::Canceling => {
            let reason = case.action.reason.as_ref().map(EndReason::to_string).unwrap_or_default();
            plain("waits_for_cancel", format!("{name} was asked to stop {release} ({reason}) and has not answered."))
        }
        ActionState::Finished => finished(device, case),
        ActionState::Downloaded => {
            plain("downloaded", format!("{name} has downloaded {release}; it was not asked to install it."))
        }
        ActionState::Failed => plain("failed", format!("{release} failed on {name}: {}", reason(&case.action))),
        ActionState::Lost => plain(
            "lost",
            format!("{release} counts as failed on {name}: {}. It is believed if it comes back.", reason(&case.action)),
        ),
        ActionState::Canceled => {
            plain("canceled", format!("{release} was canceled on {name}: {}.", reason(&case.action)))
        }
    }
}

fn reason(action: &Action) -> String {
    action.reason.as_ref().map_or_else(|| "no reason is known".into(), EndReason::to_string)
}

fn scheduled(name: &str, case: &Case, now: Timestamp) -> Reason {
    let number = case.action.wave + 1;
    let rollout = &case.rollout;
    let state = text::describe(rollout, now);
    let is_open = rollout.waves[usize::from(case.action.wave)].state != WaveState::Waiting;
    match rollout.phase {
        Phase::Running { .. } if is_open => plain(
            "waits_for_turn",
            format!("{name} is in wave {number} of {}, which is just being opened.", rollout.id),
        ),
        Phase::Paused { .. } => {
            plain("waits_for_person", format!("{name} is in wave {number} of {}. {state}", rollout.id))
        }
        _ => {
            plain("waits_for_wave", format!("{name} is in wave {number} of {}, which is not open. {state}", rollout.id))
        }
    }
}

fn queued(name: &str, cases: &[Case], case: &Case) -> Reason {
    match cases.iter().find(|other| other.action.state.holds_device()) {
        Some(first) => plain(
            "waits_for_action",
            format!(
                "{name} waits for its turn: action {} of {} ({}, priority {}) goes first.",
                first.action.id, first.rollout.id, first.release, first.action.priority
            ),
        ),
        None => plain("waits_for_turn", format!("{} is about to be offered to {name}.", case.release)),
    }
}

fn lost_unless_heard(action: &Action) -> String {
    action.silent_at.map_or_else(String::new, |at| format!(" It counts as failed if it says nothing until {at}."))
}

fn on_offer(device: &Device, case: &Case, now: Timestamp) -> Reason {
    let name = &device.name;
    let release = match case.action.rollback {
        true => format!("{} (the way back)", case.release),
        false => case.release.clone(),
    };
    let window = case.rollout.spec.window.as_ref();
    if let Some(WindowState::Closed { opens_at }) = window.map(|window| window.state(now)) {
        let window = window.map(ToString::to_string).unwrap_or_default();
        return Reason {
            until: Some(opens_at),
            ..plain(
                "waits_for_window",
                format!("{name} may install {release} in the window {window}, which opens at {opens_at}."),
            )
        };
    }
    let seen = device.last_seen.map_or_else(|| "never".into(), |at| at.to_string());
    let lost = lost_unless_heard(&case.action);
    if case.action.state == ActionState::Running {
        let progress = case.action.progress.map_or_else(String::new, |p| format!(" ({} of {})", p.done, p.of));
        return plain("installing", format!("{name} works on {release}{progress}.{lost}"));
    }
    let soft = match case.action.push {
        Push::Soft => " It may put it off, because the rollout is soft.",
        Push::Forced | Push::DownloadOnly | Push::ForcedFrom { .. } => "",
    };
    plain(
        "waits_for_device",
        format!("{release} is on offer, and {name} has not fetched it (last seen: {seen}).{soft}{lost}"),
    )
}

fn finished(device: &Device, case: &Case) -> Reason {
    let (name, release) = (&device.name, &case.release);
    let from = case.previous.as_deref().unwrap_or("nothing");
    match (&case.rollout.phase, case.action.rollback) {
        (_, true) => plain(
            "rolled_back",
            format!("{name} was brought back to {release}. {}", text::describe(&case.rollout, Timestamp(0))),
        ),
        (Phase::RollingBack { why } | Phase::RolledBack { why, .. }, false)
            if case.action.installed && case.action.previous.is_none() =>
        {
            plain(
                "cannot_go_back",
                format!(
                    "{name} took {release} and keeps it, because nothing is known of what it ran before; the rollout was rolled back: {}.",
                    text::back_reason(why)
                ),
            )
        }
        (Phase::RollingBack { why } | Phase::RolledBack { why, .. }, false) if case.action.installed => plain(
            "took_before_rollback",
            format!("{name} took {release} (before: {from}); the rollout was rolled back: {}.", text::back_reason(why)),
        ),
        (_, false) if case.action.installed => plain("done", format!("{name} went from {from} to {release}.")),
        (_, false) => plain("done", format!("{name} ran {release} already.")),
    }
}
