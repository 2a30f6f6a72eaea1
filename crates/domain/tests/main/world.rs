//! What would the server do? Its flows and workers on maps instead of tables, in bounded batches.

use std::collections::BTreeMap;

use muster_domain::action::{self, Action, ActionState, CancelSaid, EndReason, Input, Said};
use muster_domain::device::{Device, Installed};
use muster_domain::rollout::spec::Spec;
use muster_domain::rollout::step::Effect;
use muster_domain::rollout::step::{Move, waiting_waves};
use muster_domain::rollout::{self, Clearance, Person, Phase, Rollout};
use muster_domain::why::{self, Case, Reason};
use muster_domain::{DeviceState, standing, turn};
use muster_vocab::{AccountId, ActionId, DeviceId, ReleaseId, RolloutId, Timestamp};

use crate::referee::Referee;

pub const T0: Timestamp = Timestamp(1_795_000_000_000);

/// A device took a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Installation {
    pub device: DeviceId,
    pub action: ActionId,
    pub release: ReleaseId,
    /// What ran before.
    pub before: Option<ReleaseId>,
    /// It was neither lost nor being canceled.
    pub in_order: bool,
}

#[derive(Debug, Clone)]
pub struct World {
    pub now: Timestamp,
    pub devices: BTreeMap<DeviceId, Device>,
    pub actions: BTreeMap<ActionId, Action>,
    pub rollouts: BTreeMap<RolloutId, Rollout>,
    pub outbox: Vec<(RolloutId, Effect)>,
    pub installations: Vec<Installation>,
    pub referee: Referee,
    /// Work done per effect before it is put off.
    pub batch: usize,
}

pub fn person(id: i64, name: &str) -> Person {
    Person { id: AccountId(id), name: name.into() }
}

impl World {
    pub fn new(devices: i64, batch: usize) -> Self {
        let mut world = Self {
            now: T0,
            devices: BTreeMap::new(),
            actions: BTreeMap::new(),
            rollouts: BTreeMap::new(),
            outbox: Vec::new(),
            installations: Vec::new(),
            referee: Referee::default(),
            batch,
        };
        for _ in 0..devices {
            world.add_device(Some(ReleaseId(1)));
        }
        world
    }

    pub fn add_device(&mut self, runs: Option<ReleaseId>) -> DeviceId {
        let id = DeviceId(i64::try_from(self.devices.len()).expect("few devices") + 1);
        let device = Device {
            id,
            name: format!("device {}", id.0),
            state: DeviceState::Accepted,
            labels: BTreeMap::new(),
            attributes: BTreeMap::new(),
            installed: runs.map(|release| Installed { release, action: ActionId(0) }),
            attributes_requested: false,
            auto_confirm: None,
            poll_interval_s: 300,
            last_seen: None,
            created_at: self.now,
            revision: 1,
        };
        self.devices.insert(id, device);
        id
    }

    pub fn add_rollout(&mut self, release: ReleaseId, spec: Spec, author: Person) -> RolloutId {
        let id = RolloutId(i64::try_from(self.rollouts.len()).expect("few rollouts") + 1);
        let phase = match (spec.approval, spec.start) {
            (true, _) => Phase::AwaitingApproval,
            (false, true) => Phase::Ready,
            (false, false) => Phase::Draft,
        };
        let rollout = Rollout {
            id,
            name: id.to_string(),
            release,
            waves: waiting_waves(spec.waves.len()),
            spec,
            phase,
            retry_of: None,
            author,
            approved_by: None,
            clearance: Clearance::default(),
            created_at: self.now,
            started_at: None,
            revision: 1,
        };
        self.rollouts.insert(id, rollout);
        self.tell(id, rollout::step::Input::Tick).expect("time may always pass");
        id
    }

    pub fn tell(&mut self, id: RolloutId, input: rollout::step::Input) -> Result<(), rollout::step::Refused> {
        let before = &self.rollouts[&id];
        let (after, effects) = rollout::step::step(before, self.now, input.clone())?;
        self.referee.watch(self.now, &input, (before, &after), &self.actions);
        self.rollouts.insert(id, after);
        for effect in effects {
            self.emit(id, effect);
        }
        Ok(())
    }

    pub fn emit(&mut self, id: RolloutId, effect: Effect) {
        if !self.outbox.contains(&(id, effect)) {
            self.outbox.push((id, effect));
        }
    }

    /// One step of an action, and all that moves with it.
    pub fn advance(&mut self, id: ActionId, input: Input) -> Result<Action, action::Refused> {
        let before = self.actions[&id].clone();
        let next = action::step(&before, self.now, input)?;
        self.actions.insert(id, next.clone());
        if next.state == before.state {
            return Ok(next);
        }
        if next.installed && !before.installed {
            let (device, release) = (next.device, next.release);
            let (before, in_order) = (self.runs(device), before.state == ActionState::Running);
            self.installations.push(Installation { device, action: id, release, before, in_order });
            let unit = self.devices.get_mut(&device).expect("actions have devices");
            unit.installed = Some(Installed { release, action: id });
        }
        let moved = Move { wave: next.wave, back: next.rollback, from: before.state, to: next.state, count: 1 };
        self.tell(next.rollout, rollout::step::Input::Moved(moved)).expect("a move is always counted");
        if next.state == ActionState::Running {
            self.supersede(&next);
        }
        Ok(next)
    }

    /// Whoever works on a newer action has given up the ones whose cancel was pending.
    fn supersede(&mut self, newer: &Action) {
        let pending: Vec<ActionId> = self
            .open_of(newer.device)
            .iter()
            .filter(|other| other.id != newer.id && other.state == ActionState::Canceling)
            .map(|other| other.id)
            .collect();
        for id in pending {
            self.advance(id, Input::ForceCancel(EndReason::Superseded)).expect("an open action may be ended");
        }
    }

    pub fn open_of(&self, device: DeviceId) -> Vec<Action> {
        let of_device = |action: &&Action| action.device == device && !action.state.is_terminal();
        self.actions.values().filter(of_device).cloned().collect()
    }

    pub fn runs(&self, device: DeviceId) -> Option<ReleaseId> {
        self.devices[&device].installed.map(|installed| installed.release)
    }

    pub fn give_turn(&mut self, device: DeviceId) {
        loop {
            let open = self.open_of(device);
            let turn = turn::of_device(&open);
            if let Some(holder) = turn.step_back {
                self.advance(holder, Input::Yield).expect("what is only offered can step back");
            }
            let Some(next) = turn.offer else { return };
            let next = self.actions[&next].clone();
            if let Some(end) = turn::instead_of_offer(&next, self.runs(device)) {
                self.advance(next.id, end).expect("a queued action can end");
                continue;
            }
            // What it runs now, not when its wave opened, is what it would go back to.
            let previous = self.runs(device);
            if !next.rollback {
                self.actions.get_mut(&next.id).expect("it was just found").previous = previous;
            }
            let consent = next.confirmation && self.devices[&device].auto_confirm.is_none();
            self.advance(next.id, Input::Offer { consent }).expect("a queued action can be offered");
            return;
        }
    }

    /// A word about an action from outside, and whose turn it is then.
    pub fn word(&mut self, id: ActionId, input: Input) -> Result<Action, action::Refused> {
        let before = self.actions[&id].clone();
        let refused = matches!(input, Input::CancelReport(CancelSaid::Refused));
        let after = self.advance(id, input)?;
        if refused {
            for other in self.open_of(after.device) {
                if other.id != id && other.state.holds_device() && other.state != ActionState::Running {
                    self.advance(other.id, Input::Yield).expect("what is only offered can step back");
                }
            }
        }
        if turn::is_due_after(before.state, after.state) {
            self.give_turn(after.device);
        }
        Ok(after)
    }

    /// The device reads its deployment, with the terms of this moment.
    pub fn fetch(&mut self, id: ActionId) -> Result<Action, action::Refused> {
        let action = &self.actions[&id];
        let window = self.rollouts[&action.rollout].spec.window.as_ref();
        let skip = !standing::terms(action.push, window, self.now).may_install();
        self.word(id, Input::Fetch { skip })
    }

    pub fn say(&mut self, id: ActionId, said: Said) -> Result<Action, action::Refused> {
        self.word(id, Input::Report { said, progress: None })
    }

    /// Lets time pass up to `until`, and looks whenever something is due.
    pub fn pass(&mut self, until: Timestamp) {
        for _ in 0..10_000 {
            match self.next_due().filter(|due| *due <= until) {
                Some(due) => self.look(due),
                None => {
                    self.now = self.now.max(until);
                    return;
                }
            }
        }
        panic!("time stands still: something stays due for ever");
    }

    /// Starts, soaking, silence.
    fn look(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        let due: Vec<RolloutId> =
            self.rollouts.values().filter(|it| it.due_at().is_some_and(|at| at <= self.now)).map(|it| it.id).collect();
        for id in due {
            self.tell(id, rollout::step::Input::Tick).expect("time may always pass");
        }
        let silent = |action: &&Action| action.silent_at.is_some_and(|at| at <= self.now);
        let silent: Vec<ActionId> = self.actions.values().filter(silent).map(|action| action.id).collect();
        for id in silent {
            let action = &self.actions[&id];
            let until = action::excused_until(action, self.rollouts[&action.rollout].spec.window.as_ref(), self.now);
            // Another one that was silent may have ended this one.
            if self.actions[&id].silent_at.is_some_and(|at| at <= self.now) {
                self.word(id, Input::Silence { until }).expect("it is silent");
            }
        }
    }

    /// The next moment at which time alone changes something.
    pub fn next_due(&self) -> Option<Timestamp> {
        let rollouts = self.rollouts.values().filter_map(Rollout::due_at);
        self.actions.values().filter_map(|action| action.silent_at).chain(rollouts).min()
    }

    pub fn explain(&self, device: DeviceId) -> Vec<Reason> {
        let version = |release: ReleaseId| format!("fw@1.{}", release.0 - 1);
        let mut of_device: Vec<&Action> = self.actions.values().filter(|it| it.device == device).collect();
        of_device.sort_by_key(|it| (it.state.is_terminal(), std::cmp::Reverse(it.id)));
        let cases: Vec<Case> = of_device
            .into_iter()
            .map(|it| Case {
                action: it.clone(),
                rollout: self.rollouts[&it.rollout].clone(),
                release: version(it.release),
                previous: it.previous.map(version),
            })
            .collect();
        why::explain(&self.devices[&device], &cases, self.now)
    }
}
