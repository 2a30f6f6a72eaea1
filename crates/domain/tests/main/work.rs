//! What would the workers do? Effects are carried out in bounded batches, each safe to repeat.

use muster_domain::action::{Action, ActionState, EndReason, Input, Push};
use muster_domain::rollout::divide::{Candidate, divide};
use muster_domain::rollout::spec::{Spec, Take};
use muster_domain::rollout::step::Effect;
use muster_domain::rollout::{self, Phase, Rollout, WaveState};
use muster_vocab::{ActionId, DeviceId, RolloutId};

use crate::world::World;

impl World {
    /// One batch of the oldest effect. `false`: there was none.
    pub fn carry_out(&mut self) -> bool {
        if self.outbox.is_empty() {
            return false;
        }
        let (id, effect) = self.outbox.remove(0);
        let more = match effect {
            Effect::Fill => self.fill(id),
            Effect::Open => self.open(id),
            Effect::Cancel => self.cancel_some(id, &EndReason::RolloutAborted),
            Effect::RollBack => self.roll_back_some(id),
        };
        if more {
            self.emit(id, effect);
        }
        true
    }

    /// Works off the outbox.
    pub fn settle(&mut self) {
        for _ in 0..100_000 {
            if !self.carry_out() {
                return;
            }
        }
        panic!("the outbox never empties: {:?}", self.outbox);
    }

    fn fill(&mut self, id: RolloutId) -> bool {
        let rollout = self.rollouts[&id].clone();
        if rollout.phase != Phase::Filling {
            return false;
        }
        let left: Vec<Candidate> = self
            .devices
            .keys()
            .filter(|device| !self.has_part(id, **device))
            .map(|device| self.candidate(&rollout.spec, *device))
            .collect();
        let already: Vec<u32> = rollout.waves.iter().map(|wave| wave.counts.total()).collect();
        let division = divide(id, &rollout.spec.waves, &left, &already);
        for (device, wave) in division.iter().take(self.batch) {
            self.put(&rollout, *device, *wave);
        }
        let more = division.len() > self.batch;
        if !more {
            self.tell(id, rollout::step::Input::Filled).expect("filling may end");
        }
        more
    }

    fn has_part(&self, rollout: RolloutId, device: DeviceId) -> bool {
        self.actions.values().any(|action| action.rollout == rollout && action.device == device)
    }

    /// `odd` is the only selector here.
    fn candidate(&self, spec: &Spec, device: DeviceId) -> Candidate {
        let mut selected = 0;
        for (at, wave) in spec.waves.iter().enumerate() {
            if matches!(wave.take, Take::Select(_)) && device.0 % 2 == 1 {
                selected |= 1 << at;
            }
        }
        Candidate { device, selected }
    }

    fn put(&mut self, rollout: &Rollout, device: DeviceId, wave: u16) {
        let action = self.new_action(rollout, device, wave);
        self.actions.insert(action.id, action);
        self.tell(rollout.id, rollout::step::Input::Joined { wave, count: 1 }).expect("devices may join");
    }

    fn new_action(&self, rollout: &Rollout, device: DeviceId, wave: u16) -> Action {
        Action {
            id: ActionId(i64::try_from(self.actions.len()).expect("few actions") + 1),
            device,
            rollout: rollout.id,
            wave,
            rollback: false,
            release: rollout.release,
            previous: self.runs(device),
            priority: rollout.spec.priority,
            push: rollout.spec.push,
            confirmation: rollout.spec.confirmation,
            silence: rollout.spec.silence(),
            state: ActionState::Scheduled,
            installed: false,
            told_skip: false,
            silent_at: None,
            reason: None,
            progress: None,
            created_at: self.now,
            changed_at: self.now,
            revision: 1,
        }
    }

    /// Devices that came later join running dynamic rollouts that are newer than anything they have.
    pub fn join(&mut self) {
        let dynamic: Vec<Rollout> = self
            .rollouts
            .values()
            .filter(|it| it.spec.dynamic && matches!(it.phase, Phase::Running { .. }))
            .cloned()
            .collect();
        for rollout in dynamic {
            let last = u16::try_from(rollout.waves.len() - 1).expect("few waves");
            let devices: Vec<DeviceId> = self.devices.keys().copied().collect();
            for device in devices {
                let newest = self.actions.values().filter(|it| it.device == device).map(|it| it.rollout).max();
                if newest.is_none_or(|newest| newest < rollout.id) {
                    self.put(&rollout, device, last);
                }
            }
        }
    }

    fn open(&mut self, id: RolloutId) -> bool {
        let rollout = &self.rollouts[&id];
        let Phase::Running { .. } = rollout.phase else { return false };
        let is_open = |wave: u16| matches!(rollout.waves[usize::from(wave)].state, WaveState::Open | WaveState::Passed);
        let scheduled = |it: &&Action| it.rollout == id && it.state == ActionState::Scheduled && is_open(it.wave);
        let batch: Vec<ActionId> = self.actions.values().filter(scheduled).take(self.batch).map(|it| it.id).collect();
        for action in &batch {
            let device = self.actions[action].device;
            self.advance(*action, Input::Open).expect("a scheduled action can open");
            self.give_turn(device);
        }
        !batch.is_empty()
    }

    fn cancel_some(&mut self, id: RolloutId, reason: &EndReason) -> bool {
        let cancelable = |it: &&Action| {
            it.rollout == id && !it.rollback && !it.state.is_terminal() && it.state != ActionState::Canceling
        };
        let batch: Vec<ActionId> = self.actions.values().filter(cancelable).take(self.batch).map(|it| it.id).collect();
        for action in &batch {
            // Its device's turn may have ended it meanwhile.
            if !self.actions[action].state.is_terminal() {
                self.word(*action, Input::Cancel(reason.clone())).expect("an open action can be canceled");
            }
        }
        !batch.is_empty()
    }

    fn roll_back_some(&mut self, id: RolloutId) -> bool {
        if self.cancel_some(id, &EndReason::RolloutRolledBack) {
            return true;
        }
        let rollout = self.rollouts[&id].clone();
        let Phase::RollingBack { .. } = rollout.phase else { return false };
        let took = |it: &&Action| {
            it.rollout == id
                && !it.rollback
                && it.installed
                && it.previous.is_some()
                && self.runs(it.device) == Some(it.release)
                && !self
                    .actions
                    .values()
                    .any(|other| other.rollout == id && other.device == it.device && other.rollback)
        };
        let batch: Vec<Action> = self.actions.values().filter(took).take(self.batch).cloned().collect();
        for there in &batch {
            let back = Action {
                rollback: true,
                release: there.previous.expect("only those were taken"),
                previous: Some(there.release),
                push: Push::Forced,
                confirmation: false,
                state: ActionState::Queued,
                ..self.new_action(&rollout, there.device, there.wave)
            };
            self.actions.insert(back.id, back);
            self.tell(id, rollout::step::Input::BackMade { wave: there.wave, count: 1 })
                .expect("the way back may begin");
            self.give_turn(there.device);
        }
        if batch.is_empty() {
            self.tell(id, rollout::step::Input::BackSettled).expect("the way back may settle");
        }
        !batch.is_empty()
    }
}
