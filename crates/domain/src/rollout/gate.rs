//! When may a rollout go on to its next wave, and when must it stop?
//!
//! Pure arithmetic on one wave's counts; never cumulative over waves.

use super::spec::{Advance, Threshold, WaveSpec};
use super::{Counts, Wave};
use crate::action::ActionState;
use muster_vocab::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Neither yet.
    Undecided,
    TooMany {
        failed: u32,
        allowed: u32,
    },
    /// All ended, and fewer succeeded than needed.
    TooFew {
        succeeded: u32,
        needed: u32,
    },
    /// Enough succeeded; soaking until then.
    Soaking {
        until: Timestamp,
    },
    /// Enough succeeded and soaked; a person opens the next wave.
    ByHand,
    Passed,
}

/// Errors are looked at first: a wave that is both good enough and too bad is too bad.
#[must_use]
pub fn judge(spec: &WaveSpec, wave: &Wave, now: Timestamp) -> Verdict {
    let (failed, allowed) = (wave.counts.failed(), allowed(spec, wave));
    if failed > allowed {
        return Verdict::TooMany { failed, allowed };
    }
    let (succeeded, needed) = (wave.counts.succeeded(), needed(spec, wave.counts));
    if !is_met(spec, wave) {
        return if is_complete(wave) { Verdict::TooFew { succeeded, needed } } else { Verdict::Undecided };
    }
    let until = wave.met_at.unwrap_or(now).plus(spec.soak());
    match spec.advance {
        _ if now < until => Verdict::Soaking { until },
        Advance::Manual => Verdict::ByHand,
        Advance::Auto => Verdict::Passed,
    }
}

/// Failures tolerated: those of the gate, or those a person has looked at and gone on.
#[must_use]
pub fn allowed(spec: &WaveSpec, wave: &Wave) -> u32 {
    let by_gate = match spec.errors {
        Threshold::Count(count) => count,
        // Strictly more than the share is too many, so the share itself, rounded down, is allowed.
        Threshold::Percent(percent) => share(wave.counts.counted(), percent),
    };
    by_gate.max(wave.forgiven)
}

/// Successes needed, of those that were not canceled.
#[must_use]
pub fn needed(spec: &WaveSpec, counts: Counts) -> u32 {
    match spec.success {
        Threshold::Count(count) => count.min(counts.counted()),
        Threshold::Percent(percent) => share_up(counts.counted(), percent),
    }
}

/// Have enough succeeded, or has a person gone on in spite of those that failed?
///
/// Both soak and wait for a hand alike.
#[must_use]
pub fn is_met(spec: &WaveSpec, wave: &Wave) -> bool {
    wave.counts.succeeded() >= needed(spec, wave.counts) || (is_complete(wave) && is_forgiven(wave))
}

/// Has every device of the wave ended?
#[must_use]
pub fn is_complete(wave: &Wave) -> bool {
    wave.counts.open() == 0
}

/// Has a person gone on although these devices failed?
fn is_forgiven(wave: &Wave) -> bool {
    wave.forgiven > 0 && wave.counts.failed() <= wave.forgiven
}

fn share(of: u32, percent: u8) -> u32 {
    u32::try_from(u64::from(of) * u64::from(percent) / 100).expect("a share is no more than the whole")
}

fn share_up(of: u32, percent: u8) -> u32 {
    u32::try_from((u64::from(of) * u64::from(percent)).div_ceil(100)).expect("a share is no more than the whole")
}

/// Counts of one wave for tests and stories.
#[must_use]
pub fn counts(parts: &[(ActionState, u32)]) -> Counts {
    let mut counts = Counts::default();
    for (state, count) in parts {
        counts.add(*state, *count);
    }
    counts
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::action::tests::T0;
    use crate::rollout::WaveState;
    use crate::rollout::spec::{OnError, Take};

    fn spec(success: Threshold, errors: Threshold) -> WaveSpec {
        WaveSpec { take: Take::Rest, success, errors, on_error: OnError::Pause, soak_s: 0, advance: Advance::Auto }
    }

    fn wave(finished: u32, failed: u32, running: u32) -> Wave {
        let counts = counts(&[
            (ActionState::Finished, finished),
            (ActionState::Failed, failed),
            (ActionState::Running, running),
        ]);
        Wave { state: WaveState::Open, counts, ..Wave::waiting() }
    }

    #[test]
    fn one_failure_over_the_limit_is_too_many_and_the_limit_itself_is_not() {
        let spec = spec(Threshold::Percent(95), Threshold::Count(2));
        assert_eq!(judge(&spec, &wave(0, 2, 38), T0), Verdict::Undecided);
        assert_eq!(judge(&spec, &wave(0, 3, 37), T0), Verdict::TooMany { failed: 3, allowed: 2 });
    }

    #[test]
    fn a_percentage_of_errors_must_be_exceeded() {
        let spec = spec(Threshold::Percent(50), Threshold::Percent(10));
        assert_eq!(judge(&spec, &wave(0, 4, 36), T0), Verdict::Undecided);
        assert_eq!(judge(&spec, &wave(0, 5, 35), T0), Verdict::TooMany { failed: 5, allowed: 4 });
    }

    #[test]
    fn errors_win_over_success() {
        let spec = spec(Threshold::Percent(50), Threshold::Count(0));
        assert_eq!(judge(&spec, &wave(39, 1, 0), T0), Verdict::TooMany { failed: 1, allowed: 0 });
    }

    #[test]
    fn a_wave_that_ended_short_of_its_gate_says_so() {
        let spec = spec(Threshold::Percent(95), Threshold::Percent(20));
        assert_eq!(judge(&spec, &wave(36, 4, 0), T0), Verdict::TooFew { succeeded: 36, needed: 38 });
    }

    #[test]
    fn soaking_counts_from_the_moment_the_gate_was_met() {
        let soaking = WaveSpec { soak_s: 60, ..spec(Threshold::Percent(50), Threshold::Count(0)) };
        let met = Wave { met_at: Some(T0), ..wave(20, 0, 20) };
        let until = T0.plus(Duration::from_secs(60));
        assert_eq!(judge(&soaking, &met, T0), Verdict::Soaking { until });
        assert_eq!(judge(&soaking, &met, until), Verdict::Passed);
        let by_hand = WaveSpec { advance: Advance::Manual, ..soaking };
        assert_eq!(judge(&by_hand, &met, until), Verdict::ByHand);
    }

    #[test]
    fn a_wave_without_devices_passes() {
        assert_eq!(judge(&spec(Threshold::Percent(95), Threshold::Count(0)), &wave(0, 0, 0), T0), Verdict::Passed);
    }

    #[test]
    fn going_on_in_spite_of_failures_skips_neither_the_soak_nor_the_hand() {
        let soaking = WaveSpec { soak_s: 60, ..spec(Threshold::Percent(95), Threshold::Count(0)) };
        let forgiven = Wave { forgiven: 3, ..wave(10, 3, 0) };
        let until = T0.plus(Duration::from_secs(60));
        assert_eq!(judge(&soaking, &forgiven, T0), Verdict::Soaking { until });
        let by_hand = WaveSpec { soak_s: 0, advance: Advance::Manual, ..soaking };
        assert_eq!(judge(&by_hand, &forgiven, T0), Verdict::ByHand);
    }

    #[test]
    fn what_a_person_has_accepted_does_not_stop_it_again_but_one_more_does() {
        let spec = spec(Threshold::Percent(50), Threshold::Count(0));
        let forgiven = Wave { forgiven: 3, ..wave(10, 3, 27) };
        assert_eq!(judge(&spec, &forgiven, T0), Verdict::Undecided);
        let worse = Wave { forgiven: 3, ..wave(10, 4, 26) };
        assert_eq!(judge(&spec, &worse, T0), Verdict::TooMany { failed: 4, allowed: 3 });
    }
}
