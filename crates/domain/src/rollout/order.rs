//! What may a person order a rollout to do?
//!
//! Pure; called by `step`. Each order changes the rollout it is given, which is a copy: a refusal is thrown away with it.

use muster_vocab::Timestamp;

use super::step::{Effect, Refused, begin, evaluate, open_wave};
use super::{BackReason, PauseReason, Person, Phase, Rollout, WaveState};

pub(super) fn start(rollout: &mut Rollout, now: Timestamp) -> Result<Vec<Effect>, Refused> {
    match &rollout.phase {
        Phase::Draft | Phase::Ready => Ok(begin(rollout, now)),
        Phase::AwaitingApproval => Err(Refused::NotApproved),
        Phase::Denied { .. } | Phase::RolledBack { .. } | Phase::Aborted { .. } | Phase::Finished { .. } => {
            Err(Refused::Ended)
        }
        Phase::Filling
        | Phase::Running { .. }
        | Phase::Paused { .. }
        | Phase::RollingBack { .. }
        | Phase::Aborting { .. } => Err(Refused::AlreadyStarted),
    }
}

/// NervesHub's and hawkBit's lesson: an author who can approve himself makes approval worthless.
pub(super) fn approve(rollout: &mut Rollout, by: Option<Person>) -> Result<Vec<Effect>, Refused> {
    if rollout.phase != Phase::AwaitingApproval {
        return Err(Refused::NoApprovalNeeded);
    }
    // Rules can go away; what its author asked for stays.
    match &by {
        Some(by) if by.id == rollout.author.id => return Err(Refused::OwnRollout),
        None if rollout.spec.approval => return Err(Refused::NotApproved),
        Some(_) | None => {}
    }
    rollout.approved_by = by;
    rollout.phase = Phase::Ready;
    Ok(Vec::new())
}

pub(super) fn withdraw(rollout: &mut Rollout) -> Result<Vec<Effect>, Refused> {
    match rollout.phase {
        Phase::Draft | Phase::Ready => {
            rollout.phase = Phase::AwaitingApproval;
            rollout.approved_by = None;
            Ok(Vec::new())
        }
        _ => Err(Refused::AlreadyStarted),
    }
}

pub(super) fn break_glass(rollout: &mut Rollout, now: Timestamp, by: Person) -> Result<Vec<Effect>, Refused> {
    if rollout.phase != Phase::AwaitingApproval {
        return Err(Refused::NoApprovalNeeded);
    }
    rollout.clearance.broke_glass = Some(by);
    Ok(begin(rollout, now))
}

pub(super) fn deny(rollout: &mut Rollout, by: Person) -> Result<Vec<Effect>, Refused> {
    if rollout.phase != Phase::AwaitingApproval {
        return Err(Refused::NoApprovalNeeded);
    }
    rollout.phase = Phase::Denied { by: by.name };
    Ok(Vec::new())
}

pub(super) fn pause(rollout: &mut Rollout, by: Person) -> Result<Vec<Effect>, Refused> {
    match rollout.phase {
        Phase::Running { wave } => {
            rollout.phase = Phase::Paused { wave, why: PauseReason::Person(by.name) };
            Ok(Vec::new())
        }
        _ => Err(Refused::NotRunning),
    }
}

/// Going on means that the failures it was paused for have been looked at: only further ones stop it again.
///
/// Those that nobody was told of, in another wave or after a person paused it, are judged now as ever.
pub(super) fn resume(rollout: &mut Rollout, now: Timestamp) -> Result<Vec<Effect>, Refused> {
    let Phase::Paused { wave, why } = &rollout.phase else { return Err(Refused::NotPaused) };
    let wave = *wave;
    if let PauseReason::TooMany { wave: bad, .. } | PauseReason::TooFew { wave: bad, .. } = *why {
        let stopped = &mut rollout.waves[usize::from(bad)];
        stopped.forgiven = stopped.forgiven.max(stopped.counts.failed());
        stopped.state = if bad == wave { WaveState::Open } else { WaveState::Passed };
    }
    rollout.phase = Phase::Running { wave };
    let mut effects = vec![Effect::Open];
    effects.extend(evaluate(rollout, now));
    effects.dedup();
    Ok(effects)
}

pub(super) fn abort(rollout: &mut Rollout, now: Timestamp, by: &Person) -> Result<Vec<Effect>, Refused> {
    let by = by.name.clone();
    match rollout.phase {
        Phase::Draft | Phase::AwaitingApproval | Phase::Ready => {
            rollout.phase = Phase::Aborted { by, at: now };
            Ok(Vec::new())
        }
        Phase::Filling | Phase::Running { .. } | Phase::Paused { .. } => {
            let open = rollout.sum(|wave| wave.counts.open());
            rollout.phase = if open == 0 { Phase::Aborted { by, at: now } } else { Phase::Aborting { by } };
            Ok(vec![Effect::Cancel])
        }
        Phase::RollingBack { .. } => Err(Refused::AlreadyRollingBack),
        Phase::Aborting { .. }
        | Phase::Aborted { .. }
        | Phase::Denied { .. }
        | Phase::RolledBack { .. }
        | Phase::Finished { .. } => Err(Refused::Ended),
    }
}

pub(super) fn roll_back(rollout: &mut Rollout, by: Person) -> Result<Vec<Effect>, Refused> {
    match rollout.phase {
        Phase::Running { .. }
        | Phase::Paused { .. }
        | Phase::Aborting { .. }
        | Phase::Aborted { .. }
        | Phase::Finished { .. }
            if rollout.sum(|wave| wave.counts.total()) > 0 =>
        {
            rollout.phase = Phase::RollingBack { why: BackReason::Person(by.name) };
            Ok(vec![Effect::RollBack])
        }
        Phase::RollingBack { .. } | Phase::RolledBack { .. } => Err(Refused::AlreadyRollingBack),
        _ => Err(Refused::NothingToRollBack),
    }
}

pub(super) fn next_wave(rollout: &mut Rollout, now: Timestamp) -> Result<Vec<Effect>, Refused> {
    let Phase::Running { wave } = rollout.phase else { return Err(Refused::NotRunning) };
    if usize::from(wave) + 1 == rollout.waves.len() {
        return Err(Refused::NoNextWave);
    }
    rollout.waves[usize::from(wave)].state = WaveState::Passed;
    let mut effects = open_wave(rollout, wave + 1, now);
    effects.extend(evaluate(rollout, now));
    effects.dedup();
    Ok(effects)
}
