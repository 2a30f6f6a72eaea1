//! Did it play by the rules? Everything here is worked out from the actions alone, never from the engine's own counts.

use std::collections::BTreeMap;

use muster_domain::action::{Action, ActionState};
use muster_domain::rollout::spec::{Advance, Threshold};
use muster_domain::rollout::step::Input;
use muster_domain::rollout::{PauseReason, Phase, Rollout, WaveState};
use muster_vocab::{ActionId, DeviceId, RolloutId, Timestamp};

/// One wave, recounted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    open: u32,
    succeeded: u32,
    failed: u32,
}

/// Follows every step of every rollout.
#[derive(Debug, Clone, Default)]
pub struct Referee {
    /// Since when a wave's success threshold is met.
    met_since: BTreeMap<(RolloutId, usize), Timestamp>,
    opened_at: BTreeMap<(RolloutId, usize), Timestamp>,
    /// Failures that somebody was shown and went on in spite of.
    forgiven: BTreeMap<(RolloutId, usize), u32>,
    pub openings: usize,
}

impl Referee {
    /// Looks at a step of a rollout; `actions` are as they are after it.
    pub fn watch(
        &mut self,
        now: Timestamp,
        input: &Input,
        steps: (&Rollout, &Rollout),
        actions: &BTreeMap<ActionId, Action>,
    ) {
        let (before, after) = steps;
        check_counts(after, actions);
        check_approval(before, after);
        if after.phase.has_ended() && !before.phase.has_ended() {
            let open = |it: &&Action| it.rollout == after.id && !it.state.is_terminal();
            assert_eq!(actions.values().find(open), None, "{} ended too early", after.id);
        }
        let tallies: Vec<Tally> = (0..after.waves.len()).map(|at| tally(after.id, at, actions)).collect();
        if let (Input::Resume, Phase::Paused { why, .. }) = (input, &before.phase)
            && let PauseReason::TooMany { wave, .. } | PauseReason::TooFew { wave, .. } = why
        {
            self.forgiven.insert((after.id, usize::from(*wave)), tallies[usize::from(*wave)].failed);
        }
        for (at, tally) in tallies.iter().enumerate() {
            if self.is_met(after, at, *tally) {
                self.met_since.entry((after.id, at)).or_insert(now);
            } else {
                self.met_since.remove(&(after.id, at));
            }
        }
        for at in 0..after.waves.len() {
            if before.waves[at].state == WaveState::Waiting && after.waves[at].state != WaveState::Waiting {
                self.openings += 1;
                self.opened_at.insert((after.id, at), now);
                // The first wave has no gate before it, and a person may open the next one.
                if at > 0 && !(*input == Input::NextWave && was_newest(before, at - 1)) {
                    self.check_opening(now, after, at, &tallies);
                }
            }
        }
    }

    fn check_opening(&self, now: Timestamp, rollout: &Rollout, wave: usize, tallies: &[Tally]) {
        let id = rollout.id;
        for (at, tally) in tallies.iter().enumerate().take(wave) {
            let allowed = self.allowed(rollout, at, *tally);
            assert!(tally.failed <= allowed, "wave {wave} of {id} opened although wave {at} is too bad: {tally:?}");
        }
        let gate = &rollout.spec.waves[wave - 1];
        let since = self.met_since.get(&(id, wave - 1)).copied();
        let since =
            since.unwrap_or_else(|| panic!("wave {wave} of {id} opened before its gate: {:?}", tallies[wave - 1]));
        let since = since.max(self.opened_at[&(id, wave - 1)]);
        assert!(now >= since.plus(gate.soak()), "wave {wave} of {id} opened before wave {} had soaked", wave - 1);
        assert_eq!(gate.advance, Advance::Auto, "wave {wave} of {id} opened without the hand it needs");
    }

    fn is_met(&self, rollout: &Rollout, at: usize, tally: Tally) -> bool {
        let counted = tally.open + tally.succeeded + tally.failed;
        let enough = match rollout.spec.waves[at].success {
            Threshold::Percent(percent) => tally.succeeded * 100 >= counted * u32::from(percent),
            Threshold::Count(count) => tally.succeeded >= count || tally.succeeded == counted,
        };
        let accepted = self.forgiven.get(&(rollout.id, at)).is_some_and(|forgiven| tally.failed <= *forgiven);
        enough || (tally.open == 0 && accepted)
    }

    fn allowed(&self, rollout: &Rollout, at: usize, tally: Tally) -> u32 {
        let by_gate = match rollout.spec.waves[at].errors {
            Threshold::Percent(percent) => (tally.open + tally.succeeded + tally.failed) * u32::from(percent) / 100,
            Threshold::Count(count) => count,
        };
        by_gate.max(self.forgiven.get(&(rollout.id, at)).copied().unwrap_or(0))
    }
}

/// What has to hold for devices at any moment between two transactions.
pub fn check_devices(actions: &BTreeMap<ActionId, Action>, rollouts: &BTreeMap<RolloutId, Rollout>) {
    let mut holders: BTreeMap<DeviceId, ActionId> = BTreeMap::new();
    for action in actions.values() {
        if action.state.holds_device()
            && let Some(other) = holders.insert(action.device, action.id)
        {
            panic!("{} and {other} both hold {}", action.id, action.device);
        }
        let mut others = actions.values().filter(|other| other.device == action.device);
        if action.state == ActionState::Queued {
            let holder = others.find(|other| other.state.holds_device());
            let holder = holder.unwrap_or_else(|| panic!("{} waits for nothing", action.id));
            let urgency = |it: &Action| (it.rollback, it.priority, std::cmp::Reverse(it.id));
            let interruptible = holder.state != ActionState::Running;
            assert!(!(interruptible && urgency(action) > urgency(holder)), "{} should go first", action.id);
        }
        let wave = &rollouts[&action.rollout].waves[usize::from(action.wave)];
        let untouched = matches!(action.state, ActionState::Scheduled | ActionState::Canceled);
        assert!(wave.state != WaveState::Waiting || untouched, "{} was opened before its wave", action.id);
        assert!(!(action.state.is_terminal() && action.silent_at.is_some()), "{} is closed and watched", action.id);
    }
}

fn was_newest(before: &Rollout, wave: usize) -> bool {
    matches!(before.phase, Phase::Running { wave: newest } if usize::from(newest) == wave)
}

fn check_approval(before: &Rollout, after: &Rollout) {
    if let Some(by) = &after.approved_by {
        assert_ne!(by.id, after.author.id, "{} was approved by its author", after.id);
    }
    if before.spec.approval && after.started_at.is_some() {
        let broken = after.clearance.broke_glass.is_some();
        assert!(broken || after.approved_by.is_some(), "{} started without approval", after.id);
    }
}

fn check_counts(rollout: &Rollout, actions: &BTreeMap<ActionId, Action>) {
    for (at, wave) in rollout.waves.iter().enumerate() {
        for state in ActionState::ALL {
            for (back, counted) in [(false, wave.counts.of(state)), (true, wave.back.of(state))] {
                let is_one = |it: &&Action| {
                    (it.rollout, usize::from(it.wave), it.rollback, it.state) == (rollout.id, at, back, state)
                };
                let recounted = actions.values().filter(is_one).count();
                assert_eq!(counted as usize, recounted, "{state:?} in wave {at} of {}, back: {back}", rollout.id);
            }
        }
    }
}

fn tally(rollout: RolloutId, wave: usize, actions: &BTreeMap<ActionId, Action>) -> Tally {
    use ActionState as S;
    let mut tally = Tally::default();
    for action in actions.values() {
        if (action.rollout, usize::from(action.wave), action.rollback) != (rollout, wave, false) {
            continue;
        }
        match action.state {
            S::Scheduled | S::Queued | S::AwaitingConfirmation | S::Offered | S::Running | S::Canceling => {
                tally.open += 1
            }
            S::Finished | S::Downloaded => tally.succeeded += 1,
            S::Failed | S::Lost => tally.failed += 1,
            S::Canceled => {}
        }
    }
    tally
}
