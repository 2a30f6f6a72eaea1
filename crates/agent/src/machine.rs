//! What becomes of an update, and what is to be done next?
//!
//! Pure. [`step`] takes what happened; [`due`] says what to do in the state that is durable by then. Because `due`
//! looks only at the state and at facts of this moment, a start after a power cut is no special case: the same thing
//! is due again, and everything that can be due may be repeated.

use muster_vocab::{ActionId, Timestamp, limit};
use muster_wire::agent::{ActionSaid, ActionState, Deployment, Progress, Said, Terms};

use crate::install::{Running, Takes};
use crate::state::{Ended, Fetching, Installed, Part, Phase, State, Update};

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The server ordered an action, or told new terms of the one under way.
    Order(Deployment),
    Terms {
        action: ActionId,
        terms: Terms,
    },
    Cancel(ActionId),
    /// The server doesn't order it any more.
    Withdrawn(ActionId),
    /// The server still waits for an action.
    Reminded(ActionId),
    /// The device takes it: these parts differ from what runs.
    Accept(Vec<Part>),
    /// It can't be installed here; nothing was touched.
    Refuse(Vec<String>),
    /// Bytes became durable at their place, or a route was given up.
    Fetched {
        part: usize,
        artifact: usize,
        fetching: Fetching,
    },
    Staged {
        part: usize,
    },
    /// Nothing speaks against installing now.
    Begin,
    /// All parts are switched; what each takes.
    Activated(Vec<Takes>),
    /// Seen in this boot, after a restart was asked for.
    Booted {
        running: Running,
        why: Vec<String>,
    },
    /// New parts run; the trial lasts until then.
    Trial {
        until_ms: u64,
    },
    Healthy,
    Unhealthy(Vec<String>),
    Committed,
    Reverted {
        restart: bool,
    },
}

/// What is true at this moment beside the state.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    pub now: Timestamp,
    pub boot_id: &'a str,
}

/// What to do next about the update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    Nothing,
    /// Check the order against the device and its policies.
    Consider,
    /// Fetch more of an artifact, or read it back and verify it once all is there.
    Fetch {
        part: usize,
        artifact: usize,
    },
    Stage {
        part: usize,
    },
    /// Ask the policies whether it may be installed now.
    Permit,
    Activate,
    Restart,
    /// The machine has started since: which version runs?
    Look,
    CheckHealth,
    Commit,
    Revert,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("another update is past the point where it can be given up")]
    Busy,
    #[error("no such action is under way")]
    NoAction,
    #[error("that can't happen in this phase")]
    Illegal,
}

/// What is due.
#[must_use]
pub fn due(state: &State, facts: &Facts<'_>) -> Due {
    let Some(update) = &state.update else { return Due::Nothing };
    match &update.phase {
        Phase::Offered => Due::Consider,
        Phase::Downloading => due_download(update),
        Phase::Staged if update.order.terms.install => Due::Permit,
        Phase::Staged => Due::Nothing,
        Phase::Activating => Due::Activate,
        Phase::AwaitingRestart { boot } | Phase::AwaitingRestartBack { boot } if boot == facts.boot_id => Due::Restart,
        Phase::AwaitingRestart { .. } | Phase::AwaitingRestartBack { .. } => Due::Look,
        Phase::TrialBoot { boot, .. } if boot != facts.boot_id => Due::Look,
        Phase::TrialBoot { .. } => Due::CheckHealth,
        Phase::Healthy => Due::Commit,
        Phase::Reverting => Due::Revert,
    }
}

fn due_download(update: &Update) -> Due {
    let all = update.parts.iter().enumerate();
    let mut missing = all.clone().flat_map(|(part, at)| {
        at.artifacts.iter().enumerate().filter(|(_, of)| !of.is_verified).map(move |(artifact, _)| (part, artifact))
    });
    if let Some((part, artifact)) = missing.next() {
        return if update.order.terms.download { Due::Fetch { part, artifact } } else { Due::Nothing };
    }
    let mut unstaged = all.filter(|(_, part)| !part.is_staged).map(|(part, _)| part);
    unstaged.next().map_or(Due::Nothing, |part| Due::Stage { part })
}

/// The state after something happened. A refusal changes nothing.
pub fn step(state: &State, facts: &Facts<'_>, input: Input) -> Result<State, Refused> {
    let mut next = state.clone();
    match input {
        Input::Order(order) => take_order(&mut next, facts, order)?,
        Input::Terms { action, terms } => under_way(&mut next, action)?.order.terms = terms,
        Input::Cancel(action) => cancel(&mut next, facts, action)?,
        Input::Withdrawn(action) => {
            // It has not ended: the server may order it again when its turn comes.
            if under_way(&mut next, action)?.phase.is_before_switch() {
                next.update = None;
            }
        }
        Input::Reminded(action) => _ = tell_end_again(&mut next, facts, action),
        other => {
            let Some(update) = next.update.take() else { return Err(Refused::Illegal) };
            advance(&mut next, facts, update, other)?;
        }
    }
    Ok(next)
}

fn under_way(state: &mut State, action: ActionId) -> Result<&mut Update, Refused> {
    state.update.as_mut().filter(|update| update.order.action == action).ok_or(Refused::NoAction)
}

fn take_order(state: &mut State, facts: &Facts<'_>, order: Deployment) -> Result<(), Refused> {
    if tell_end_again(state, facts, order.action) {
        return Ok(());
    }
    match &mut state.update {
        Some(update) if update.order.action == order.action => {
            update.order.terms = order.terms;
            return Ok(());
        }
        Some(update) if !update.phase.is_before_switch() => return Err(Refused::Busy),
        // A more urgent one goes first; nothing that runs was touched, and the other may come again.
        Some(_) | None => {}
    }
    state.update = Some(Update { order, phase: Phase::Offered, parts: Vec::new(), why: Vec::new(), counter: 0 });
    Ok(())
}

fn cancel(state: &mut State, facts: &Facts<'_>, action: ActionId) -> Result<(), Refused> {
    if tell_end_again(state, facts, action) {
        return Ok(());
    }
    match &state.update {
        Some(update) if update.order.action == action && !update.phase.is_before_switch() => {
            let why = "the switch to the new version has begun".to_owned();
            tell(state, facts, action, ActionState::CancelRefused, vec![why]);
        }
        Some(update) if update.order.action != action => return Err(Refused::NoAction),
        // Also one this device never heard of: then there is nothing to stop.
        Some(_) | None => end(state, facts, action, (ActionState::Canceled, Vec::new())),
    }
    Ok(())
}

/// How an update goes on.
enum Goes {
    On(Option<ActionState>),
    End(ActionState, Vec<String>),
}

/// Every step of an update that is under way. Puts it back into the state unless it has ended.
fn advance(state: &mut State, facts: &Facts<'_>, mut update: Update, input: Input) -> Result<(), Refused> {
    let action = update.order.action;
    let goes = match update.phase {
        Phase::Offered | Phase::Downloading | Phase::Staged => prepare(state, facts, &mut update, input)?,
        Phase::Activating | Phase::AwaitingRestart { .. } | Phase::TrialBoot { .. } | Phase::Healthy => {
            try_out(facts, &mut update, input)?
        }
        Phase::Reverting | Phase::AwaitingRestartBack { .. } => go_back(facts, &mut update, input)?,
    };
    match goes {
        Goes::On(told) => {
            if let Some(said) = told {
                tell(state, facts, action, said, Vec::new());
            }
            state.update = Some(update);
        }
        Goes::End(how, why) => {
            if how == ActionState::Committed {
                note_installed(state, &update);
            }
            end(state, facts, action, (how, why));
        }
    }
    Ok(())
}

/// Nothing that runs is touched here.
fn prepare(state: &mut State, facts: &Facts<'_>, update: &mut Update, input: Input) -> Result<Goes, Refused> {
    Ok(match (&update.phase, input) {
        (_, Input::Refuse(why)) => Goes::End(ActionState::Failed, why),
        (Phase::Offered, Input::Accept(parts)) if parts.is_empty() => {
            Goes::End(ActionState::Committed, vec!["this release runs already".into()])
        }
        (Phase::Offered, Input::Accept(parts)) => {
            update.parts = parts;
            update.phase = Phase::Downloading;
            Goes::On(Some(ActionState::Accepted))
        }
        (Phase::Downloading, Input::Fetched { part, artifact, fetching }) => {
            Goes::On(fetched(state, facts, update, ((part, artifact), fetching)))
        }
        (Phase::Downloading, Input::Staged { part }) => {
            update.parts[part].is_staged = true;
            let all = update.parts.iter().all(|part| part.is_staged);
            all.then(|| update.phase = Phase::Staged);
            Goes::On(all.then_some(ActionState::Staged))
        }
        (Phase::Staged, Input::Begin) => {
            update.phase = Phase::Activating;
            Goes::On(None)
        }
        _ => return Err(Refused::Illegal),
    })
}

fn try_out(facts: &Facts<'_>, update: &mut Update, input: Input) -> Result<Goes, Refused> {
    let boot = facts.boot_id.to_owned();
    let trial = |restarts| Phase::TrialBoot { boot: facts.boot_id.to_owned(), until_ms: 0, restarts };
    let (phase, told) = match (&update.phase, input) {
        (Phase::Activating, Input::Activated(takes)) => {
            for (part, takes) in update.parts.iter_mut().zip(&takes) {
                part.restarts = *takes == Takes::Restart;
            }
            match takes.contains(&Takes::Restart) {
                true => (Phase::AwaitingRestart { boot }, Some(ActionState::AwaitingRestart)),
                false => (trial(0), Some(ActionState::TrialBoot)),
            }
        }
        (Phase::AwaitingRestart { .. }, Input::Booted { running: Running::New, .. }) => {
            (trial(0), Some(ActionState::TrialBoot))
        }
        (Phase::TrialBoot { restarts, .. }, Input::Booted { running: Running::New, .. }) => {
            if *restarts >= limit::AGENT_TRIAL_RESTARTS_MAX {
                update.why = vec![format!("it restarted {} times before it had proven itself", restarts + 1)];
                (Phase::Reverting, None)
            } else {
                (trial(restarts + 1), None)
            }
        }
        (Phase::TrialBoot { boot, restarts, .. }, Input::Trial { until_ms }) => {
            (Phase::TrialBoot { boot: boot.clone(), until_ms, restarts: *restarts }, None)
        }
        (Phase::TrialBoot { .. }, Input::Healthy) => (Phase::Healthy, None),
        (Phase::Healthy, Input::Committed) => return Ok(Goes::End(ActionState::Committed, Vec::new())),
        // The bootloader has gone back: also just before the new version was made permanent.
        (
            Phase::AwaitingRestart { .. } | Phase::TrialBoot { .. } | Phase::Healthy,
            Input::Booted { running: Running::Old, why },
        )
        | (Phase::Activating | Phase::AwaitingRestart { .. } | Phase::TrialBoot { .. }, Input::Unhealthy(why)) => {
            update.why = why;
            (Phase::Reverting, None)
        }
        _ => return Err(Refused::Illegal),
    };
    update.phase = phase;
    Ok(Goes::On(told))
}

fn go_back(facts: &Facts<'_>, update: &mut Update, input: Input) -> Result<Goes, Refused> {
    Ok(match (&update.phase, input) {
        (Phase::Reverting, Input::Reverted { restart: true }) => {
            update.phase = Phase::AwaitingRestartBack { boot: facts.boot_id.to_owned() };
            Goes::On(None)
        }
        (Phase::AwaitingRestartBack { .. }, Input::Booted { running: Running::New, .. }) => {
            update.phase = Phase::Reverting;
            Goes::On(None)
        }
        (Phase::Reverting, Input::Reverted { restart: false })
        | (Phase::AwaitingRestartBack { .. }, Input::Booted { running: Running::Old, .. }) => {
            Goes::End(ActionState::Reverted, std::mem::take(&mut update.why))
        }
        _ => return Err(Refused::Illegal),
    })
}

/// Counts bytes. Tells of the first ones, of whole percents, and of the end of the last artifact.
fn fetched(
    state: &mut State,
    facts: &Facts<'_>,
    update: &mut Update,
    what: ((usize, usize), Fetching),
) -> Option<ActionState> {
    let ((part, artifact), fetching) = what;
    let failed_over = fetching.route > update.parts[part].artifacts[artifact].route;
    let was = written(update);
    update.parts[part].artifacts[artifact] = fetching;
    let now = written(update);
    if update.parts.iter().all(|part| part.artifacts.iter().all(|artifact| artifact.is_verified)) {
        return Some(ActionState::Downloaded);
    }
    let percent = |progress: Progress| progress.done.saturating_mul(100) / progress.of.max(1);
    if failed_over || percent(was) != percent(now) || was.done == 0 {
        let said = ActionSaid {
            action: update.order.action,
            state: ActionState::Downloading,
            messages: Vec::new(),
            progress: Some(now),
        };
        state.queue.push(facts.now, Said::Action(said));
    }
    None
}

/// Bytes that are at their places, of all that have to be.
fn written(update: &Update) -> Progress {
    let mut progress = Progress { done: 0, of: 0 };
    for (index, part) in update.parts.iter().enumerate() {
        for (artifact, fetching) in update.component(index).artifacts.iter().zip(&part.artifacts) {
            progress.of += artifact.size;
            progress.done += if fetching.is_verified { artifact.size } else { fetching.written.min(artifact.size) };
        }
    }
    progress
}

fn note_installed(state: &mut State, update: &Update) {
    for component in &update.order.components {
        let digests = component.artifacts.iter().map(|artifact| artifact.digest).collect();
        let installed = Installed { version: component.version.clone(), digests };
        state.installed.insert(component.name.clone(), installed);
    }
    state.release = Some(update.release());
    state.counter = state.counter.max(update.counter);
}

/// An action that ended here is not taken again: the server is told once more how it ended, in case it has forgotten.
fn tell_end_again(state: &mut State, facts: &Facts<'_>, action: ActionId) -> bool {
    let Some(ended) = state.ended.iter().find(|ended| ended.action == action).cloned() else { return false };
    let is_about = |said: &Said| matches!(said, Said::Action(said) if said.action == action && said.state.is_end());
    if !state.queue.waiting().iter().any(|report| is_about(&report.said)) {
        tell(state, facts, action, ended.how, ended.why);
    }
    true
}

/// The update is over, and the server will know how.
fn end(state: &mut State, facts: &Facts<'_>, action: ActionId, how: (ActionState, Vec<String>)) {
    let (said, why) = how;
    state.update = None;
    state.ended.retain(|ended| ended.action != action);
    state.ended.push(Ended { action, how: said, why: why.clone() });
    if state.ended.len() > limit::AGENT_ENDED_ACTIONS_MAX {
        state.ended.remove(0);
    }
    tell(state, facts, action, said, why);
}

fn tell(state: &mut State, facts: &Facts<'_>, action: ActionId, said: ActionState, messages: Vec<String>) {
    let cut = |line: String| line.chars().take(limit::MESSAGE_CHARS_MAX).collect();
    let messages = messages.into_iter().take(limit::AGENT_LOG_LINES_MAX).map(cut).collect();
    state.queue.push(facts.now, Said::Action(ActionSaid { action, state: said, messages, progress: None }));
}
