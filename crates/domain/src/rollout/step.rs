//! How does a rollout go on after something happened?
//!
//! Pure. Called by flows after each device report, by the hourly-to-secondly reconcilers and by operators.
//! Effects name work that is done later in bounded batches; doing it twice changes nothing.

use muster_vocab::Timestamp;
use serde::{Deserialize, Serialize};

use super::gate::{self, Verdict};
use super::spec::OnError;
use super::{BackReason, PauseReason, Person, Phase, Rollout, Wave, WaveState, order};
use crate::action::ActionState;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    Start,
    /// What it needs is there; a tick follows. `by`: who spoke last, nobody if no rule asks for approval any more.
    Approve {
        by: Option<Person>,
    },
    /// It needs approvals that it doesn't have, or has no more.
    Withdraw,
    /// Start without the approvals it needs.
    BreakGlass {
        by: Person,
    },
    Deny {
        by: Person,
    },
    /// Devices were put into a wave while filling or, in a dynamic rollout, later.
    Joined {
        wave: u16,
        count: u32,
    },
    /// Every matching device is in a wave.
    Filled,
    Moved(Move),
    /// Actions back to the release before were made.
    BackMade {
        wave: u16,
        count: u32,
    },
    /// The way back has begun for every device that took the release.
    BackSettled,
    /// Time has passed.
    Tick,
    Pause {
        by: Person,
    },
    Resume,
    Abort {
        by: Person,
    },
    RollBack {
        by: Person,
    },
    NextWave,
}

/// Actions of one wave that went from one state to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    pub wave: u16,
    /// On the way back.
    pub back: bool,
    pub from: ActionState,
    pub to: ActionState,
    pub count: u32,
}

/// Work that follows, done in bounded batches and safe to repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Put every matching device into a wave.
    Fill,
    /// Open the scheduled actions of open waves.
    Open,
    /// Cancel every open action.
    Cancel,
    /// Cancel every open action and bring back each device that took the release.
    RollBack,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("it has started already")]
    AlreadyStarted,
    #[error("it waits for approval; somebody other than its author has to approve it")]
    NotApproved,
    #[error("it does not wait for approval")]
    NoApprovalNeeded,
    #[error("its author can't approve it; somebody else with the permission rollouts:approve has to")]
    OwnRollout,
    #[error("it is not running")]
    NotRunning,
    #[error("it is not paused")]
    NotPaused,
    #[error("its last wave is open already")]
    NoNextWave,
    #[error("it has ended")]
    Ended,
    #[error("no device has taken anything from it yet; abort it instead")]
    NothingToRollBack,
    #[error("it is being rolled back already")]
    AlreadyRollingBack,
}

type Next = (Rollout, Vec<Effect>);

/// The rollout after an input, and the work that follows. A refusal changes nothing.
pub fn step(rollout: &Rollout, now: Timestamp, input: Input) -> Result<Next, Refused> {
    let mut next = rollout.clone();
    next.revision += 1;
    let effects = match input {
        Input::Start => order::start(&mut next, now)?,
        Input::Approve { by } => order::approve(&mut next, by)?,
        Input::Withdraw => order::withdraw(&mut next)?,
        Input::BreakGlass { by } => order::break_glass(&mut next, now, by)?,
        Input::Deny { by } => order::deny(&mut next, by)?,
        Input::Joined { wave, count } => {
            next.waves[usize::from(wave)].counts.add(ActionState::Scheduled, count);
            open_if_running(&next)
        }
        Input::Filled if next.phase == Phase::Filling => {
            let mut effects = open_wave(&mut next, 0, now);
            effects.extend(evaluate(&mut next, now));
            effects
        }
        Input::Filled => Vec::new(),
        Input::Moved(moved) => count_move(&mut next, now, moved),
        Input::BackMade { wave, count } => {
            next.waves[usize::from(wave)].back.add(ActionState::Queued, count);
            Vec::new()
        }
        Input::BackSettled => back_settled(&mut next, now),
        Input::Tick => tick(&mut next, now),
        Input::Pause { by } => order::pause(&mut next, by)?,
        Input::Resume => order::resume(&mut next, now)?,
        Input::Abort { by } => order::abort(&mut next, now, &by)?,
        Input::RollBack { by } => order::roll_back(&mut next, by)?,
        Input::NextWave => order::next_wave(&mut next, now)?,
    };
    Ok((next, effects))
}

pub(super) fn begin(rollout: &mut Rollout, now: Timestamp) -> Vec<Effect> {
    rollout.phase = Phase::Filling;
    rollout.started_at = Some(now);
    vec![Effect::Fill]
}

fn tick(rollout: &mut Rollout, now: Timestamp) -> Vec<Effect> {
    match &rollout.phase {
        Phase::Ready if rollout.spec.start && rollout.spec.start_at.is_none_or(|at| at <= now) => begin(rollout, now),
        Phase::Running { .. } => evaluate(rollout, now),
        _ => Vec::new(),
    }
}

fn count_move(rollout: &mut Rollout, now: Timestamp, moved: Move) -> Vec<Effect> {
    let wave = &mut rollout.waves[usize::from(moved.wave)];
    let counts = if moved.back { &mut wave.back } else { &mut wave.counts };
    counts.take(moved.from, moved.count);
    counts.add(moved.to, moved.count);
    // Success can be taken back: what was downloaded may fail to install. Soaking then starts again.
    if !gate::is_met(&rollout.spec.waves[usize::from(moved.wave)], wave) {
        wave.met_at = None;
    }
    let open = rollout.sum(|wave| wave.counts.open() + wave.back.open());
    match &rollout.phase {
        Phase::Running { .. } => evaluate(rollout, now),
        Phase::Paused { .. } => {
            look_while_paused(rollout);
            Vec::new()
        }
        Phase::Aborting { by } if open == 0 => {
            rollout.phase = Phase::Aborted { by: by.clone(), at: now };
            Vec::new()
        }
        // Its cancel came too late: this device took the release after all.
        Phase::RollingBack { .. } if open == 0 || took_it(moved) => vec![Effect::RollBack],
        Phase::RolledBack { why, .. } if took_it(moved) => {
            rollout.phase = Phase::RollingBack { why: why.clone() };
            vec![Effect::RollBack]
        }
        _ => Vec::new(),
    }
}

fn took_it(moved: Move) -> bool {
    !moved.back && moved.to == ActionState::Finished
}

fn back_settled(rollout: &mut Rollout, now: Timestamp) -> Vec<Effect> {
    if let Phase::RollingBack { why } = &rollout.phase
        && rollout.sum(|wave| wave.counts.open() + wave.back.open()) == 0
    {
        rollout.phase = Phase::RolledBack { why: why.clone(), at: now };
    }
    Vec::new()
}

fn open_if_running(rollout: &Rollout) -> Vec<Effect> {
    match rollout.phase {
        Phase::Running { .. } => vec![Effect::Open],
        _ => Vec::new(),
    }
}

pub(super) fn open_wave(rollout: &mut Rollout, at: u16, now: Timestamp) -> Vec<Effect> {
    let wave = &mut rollout.waves[usize::from(at)];
    assert_eq!(wave.state, WaveState::Waiting, "wave {at} opens once");
    wave.state = WaveState::Open;
    wave.opened_at = Some(now);
    rollout.phase = Phase::Running { wave: at };
    vec![Effect::Open]
}

/// Stops at the first wave that is too bad; else opens every wave whose predecessor's gate lets it.
pub(super) fn evaluate(rollout: &mut Rollout, now: Timestamp) -> Vec<Effect> {
    let mut effects = Vec::new();
    while let Phase::Running { wave } = rollout.phase {
        if let Some((at, verdict)) = first_bad_wave(rollout, wave) {
            effects.extend(stop(rollout, at, verdict));
            break;
        }
        let is_last = usize::from(wave) + 1 == rollout.waves.len();
        if is_last {
            finish_if_complete(rollout, now);
            break;
        }
        let verdict = gate::judge(&rollout.spec.waves[usize::from(wave)], &rollout.waves[usize::from(wave)], now);
        match verdict {
            Verdict::Passed => {
                rollout.waves[usize::from(wave)].state = WaveState::Passed;
                effects.extend(open_wave(rollout, wave + 1, now));
            }
            Verdict::Soaking { .. } | Verdict::ByHand => {
                rollout.waves[usize::from(wave)].met_at.get_or_insert(now);
                break;
            }
            Verdict::TooMany { .. } | Verdict::TooFew { .. } => {
                effects.extend(stop(rollout, wave, verdict));
                break;
            }
            Verdict::Undecided => break,
        }
    }
    effects.dedup();
    effects
}

/// Devices go on while it is paused. Whoever resumes has to see today's failures, because resuming forgives them.
fn look_while_paused(rollout: &mut Rollout) {
    let Phase::Paused { why, .. } = &mut rollout.phase else { return };
    match why {
        PauseReason::TooMany { wave, failed, .. } => *failed = rollout.waves[usize::from(*wave)].counts.failed(),
        PauseReason::TooFew { wave, succeeded, .. } => {
            *succeeded = rollout.waves[usize::from(*wave)].counts.succeeded();
        }
        PauseReason::Person(_) => {}
    }
}

/// Passed waves go on being watched: their last devices may fail late.
fn first_bad_wave(rollout: &Rollout, newest: u16) -> Option<(u16, Verdict)> {
    (0..=newest).find_map(|at| {
        let (spec, wave) = (&rollout.spec.waves[usize::from(at)], &rollout.waves[usize::from(at)]);
        let (failed, allowed) = (wave.counts.failed(), gate::allowed(spec, wave));
        (failed > allowed).then_some((at, Verdict::TooMany { failed, allowed }))
    })
}

fn stop(rollout: &mut Rollout, wave: u16, verdict: Verdict) -> Vec<Effect> {
    let Phase::Running { wave: newest } = rollout.phase else { return Vec::new() };
    rollout.waves[usize::from(wave)].state = WaveState::Stopped;
    let (pause, back) = match verdict {
        Verdict::TooMany { failed, allowed } => {
            (PauseReason::TooMany { wave, failed, allowed }, BackReason::TooMany { wave, failed, allowed })
        }
        Verdict::TooFew { succeeded, needed } => {
            (PauseReason::TooFew { wave, succeeded, needed }, BackReason::TooFew { wave, succeeded, needed })
        }
        Verdict::Undecided | Verdict::Soaking { .. } | Verdict::ByHand | Verdict::Passed => return Vec::new(),
    };
    match rollout.spec.waves[usize::from(wave)].on_error {
        OnError::Pause => {
            rollout.phase = Phase::Paused { wave: newest, why: pause };
            Vec::new()
        }
        OnError::RollBack => {
            rollout.phase = Phase::RollingBack { why: back };
            vec![Effect::RollBack]
        }
    }
}

fn finish_if_complete(rollout: &mut Rollout, now: Timestamp) {
    if rollout.spec.dynamic || !rollout.waves.iter().all(gate::is_complete) {
        return;
    }
    for wave in &mut rollout.waves {
        wave.state = WaveState::Passed;
    }
    rollout.phase = Phase::Finished { at: now };
}

/// As many waiting waves as the spec has.
#[must_use]
pub fn waiting_waves(count: usize) -> Vec<Wave> {
    vec![Wave::waiting(); count]
}
