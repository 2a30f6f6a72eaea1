//! What does a rollout wait for, in a sentence with the next step?

use muster_vocab::Timestamp;

use super::gate::{self, Verdict};
use super::{Advance, BackReason, PauseReason, Phase, Rollout};
use crate::action::ActionState;

/// One sentence or two: where it stands, and what would move it.
#[must_use]
pub fn describe(rollout: &Rollout, now: Timestamp) -> String {
    match &rollout.phase {
        Phase::Draft => "Draft: start it when you are ready.".into(),
        Phase::AwaitingApproval => {
            format!("Waits for approval by somebody other than {}.", rollout.author.name)
        }
        Phase::Denied { by } => format!("Denied by {by}."),
        Phase::Ready => match (rollout.spec.start, rollout.spec.start_at) {
            (true, Some(at)) => format!("Starts at {at}."),
            (true, None) => "Starts at once.".into(),
            (false, _) => "Ready: start it.".into(),
        },
        Phase::Filling => {
            format!("Puts devices into waves: {} so far.", rollout.sum(|wave| wave.counts.total()))
        }
        Phase::Running { wave } => running(rollout, *wave, now),
        Phase::Paused { why, .. } => format!("Paused: {}. Resume or abort it, or roll it back.", pause_reason(why)),
        Phase::RollingBack { why } => {
            let (back, total) = back_counts(rollout);
            format!("Rolling back: {}. {back} of {total} devices are back.", back_reason(why))
        }
        Phase::RolledBack { why, .. } => rolled_back(rollout, why),
        Phase::Aborting { by } => {
            let open = rollout.sum(|wave| wave.counts.open());
            format!("Aborted by {by}. Not stopped yet: {}.", devices(open))
        }
        Phase::Aborted { by, .. } => format!("Aborted by {by}."),
        Phase::Finished { .. } => {
            let (done, failed) = (rollout.sum(|w| w.counts.succeeded()), rollout.sum(|w| w.counts.failed()));
            let counted = rollout.sum(|w| w.counts.counted());
            match failed {
                0 => format!("Finished: {done} of {counted} devices succeeded."),
                _ => format!(
                    "Finished: {done} of {counted} devices succeeded, {failed} failed. Retry the failed ones, or look into them with why."
                ),
            }
        }
    }
}

fn running(rollout: &Rollout, at: u16, now: Timestamp) -> String {
    let (spec, wave) = (&rollout.spec.waves[usize::from(at)], &rollout.waves[usize::from(at)]);
    let (number, of) = (usize::from(at) + 1, rollout.waves.len());
    let (succeeded, counted) = (wave.counts.succeeded(), wave.counts.counted());
    let is_last = number == of;
    let progress =
        format!("Wave {number} of {of}: {succeeded} of {counted} devices succeeded, {} failed", wave.counts.failed());
    if is_last {
        let earlier = rollout.sum(|wave| wave.counts.open()) - wave.counts.open();
        return match (wave.counts.open(), earlier, rollout.spec.dynamic) {
            (0, 0, true) => format!("{progress}. Waits for devices that match later."),
            (0, open, _) => format!("{progress}. Waits for {} of earlier waves.", devices(open)),
            (open, _, _) => format!("{progress}, {open} to go."),
        };
    }
    match gate::judge(spec, wave, now) {
        Verdict::Soaking { until } if spec.advance == Advance::Manual => {
            format!("{progress}. Soaks until {until}, then open wave {} by hand with next-wave.", number + 1)
        }
        Verdict::Soaking { until } => format!("{progress}. Soaks until {until}, then wave {} opens.", number + 1),
        Verdict::ByHand => format!("{progress}. Its gate is met: open wave {} by hand with next-wave.", number + 1),
        Verdict::Undecided | Verdict::Passed | Verdict::TooMany { .. } | Verdict::TooFew { .. } => {
            let (needed, allowed) = (gate::needed(spec, wave.counts), gate::allowed(spec, wave));
            format!("{progress}. Wave {} opens at {needed} succeeded; more than {allowed} failed stop it.", number + 1)
        }
    }
}

fn rolled_back(rollout: &Rollout, why: &BackReason) -> String {
    let (back, total) = back_counts(rollout);
    let failed = rollout.sum(|wave| wave.back.failed());
    let end = if failed == 0 {
        String::new()
    } else {
        format!(" {failed} could not be brought back: look into them with why.")
    };
    let stayed = match rollout.sum(|wave| wave.counts.of(ActionState::Finished)).saturating_sub(total) {
        0 => String::new(),
        stayed => format!(
            " {stayed} stay as they are: they ran the release before, have no previous one, or were moved on meanwhile."
        ),
    };
    let why = back_reason(why);
    format!("Rolled back: {why}. {back} of {total} devices are back on their previous release.{end}{stayed}")
}

fn devices(count: u32) -> String {
    if count == 1 { "1 device".into() } else { format!("{count} devices") }
}

fn back_counts(rollout: &Rollout) -> (u32, u32) {
    (rollout.sum(|wave| wave.back.succeeded()), rollout.sum(|wave| wave.back.total()))
}

#[must_use]
pub fn pause_reason(why: &PauseReason) -> String {
    match why {
        PauseReason::Person(by) => format!("by {by}"),
        PauseReason::TooMany { wave, failed, allowed } if failed <= allowed => {
            format!("too many had failed in wave {}; now {failed} have, {allowed} allowed", wave + 1)
        }
        PauseReason::TooMany { wave, failed, allowed } => too_many(*wave, *failed, *allowed),
        PauseReason::TooFew { wave, succeeded, needed } => too_few(*wave, *succeeded, *needed),
    }
}

#[must_use]
pub fn back_reason(why: &BackReason) -> String {
    match why {
        BackReason::Person(by) => format!("ordered by {by}"),
        BackReason::TooMany { wave, failed, allowed } => too_many(*wave, *failed, *allowed),
        BackReason::TooFew { wave, succeeded, needed } => too_few(*wave, *succeeded, *needed),
    }
}

fn too_many(wave: u16, failed: u32, allowed: u32) -> String {
    format!("{failed} failed in wave {}, {allowed} allowed", wave + 1)
}

fn too_few(wave: u16, succeeded: u32, needed: u32) -> String {
    format!("wave {} ended with {succeeded} succeeded, {needed} needed", wave + 1)
}
