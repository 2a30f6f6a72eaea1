//! What do devices do out there? They succeed, fail, go silent, come back late and refuse cancels, by a seed.

use std::collections::BTreeMap;

use muster_domain::action::{Action, ActionState, CancelSaid, Input, Said};
use muster_vocab::{ActionId, DeviceId, Timestamp};

use crate::world::World;

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Chance(pub u64);

impl Chance {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// Shares in percent.
#[derive(Debug, Clone, Copy)]
pub struct Temper {
    pub fails: u64,
    pub falls_silent: u64,
    pub returns: u64,
    pub refuses_cancel: u64,
    pub denies: u64,
}

#[derive(Debug)]
pub struct Field {
    pub chance: Chance,
    pub temper: Temper,
    /// What a device works on, as it believes.
    jobs: BTreeMap<DeviceId, ActionId>,
    quiet_until: BTreeMap<DeviceId, Timestamp>,
}

impl Field {
    pub fn new(seed: u64, temper: Temper) -> Self {
        Self { chance: Chance(seed), temper, jobs: BTreeMap::new(), quiet_until: BTreeMap::new() }
    }

    /// The device does one thing, if anything.
    pub fn act(&mut self, world: &mut World, device: DeviceId) {
        if self.quiet_until.get(&device).is_some_and(|until| *until > world.now) {
            return;
        }
        if self.chance.percent(self.temper.falls_silent) {
            let hours = 1 + self.chance.below(60);
            let back = world.now.plus(std::time::Duration::from_secs(hours * 3600));
            let until = if self.chance.percent(self.temper.returns) { back } else { Timestamp(i64::MAX) };
            self.quiet_until.insert(device, until);
            return;
        }
        match self.jobs.get(&device).copied() {
            Some(job) => self.work(world, device, job),
            None => self.poll(world, device),
        }
    }

    fn poll(&mut self, world: &mut World, device: DeviceId) {
        let open = world.open_of(device);
        if let Some(cancel) = open.iter().find(|it| it.state == ActionState::Canceling) {
            self.answer_cancel(world, cancel);
            return;
        }
        let Some(held) = open.iter().find(|it| it.state.holds_device()) else { return };
        if held.state == ActionState::AwaitingConfirmation {
            let input = if self.chance.percent(self.temper.denies) { Input::Deny } else { Input::Confirm };
            world.word(held.id, input).expect("it waits for consent");
            return;
        }
        world.fetch(held.id).expect("it is on offer");
        self.jobs.insert(device, held.id);
    }

    fn work(&mut self, world: &mut World, device: DeviceId, job: ActionId) {
        let action = world.actions[&job].clone();
        if action.state == ActionState::Canceling && self.chance.percent(50) {
            self.answer_cancel(world, &action);
            return;
        }
        let said = match self.chance.below(4) {
            0 => Said::Working,
            1 => Said::Downloaded,
            _ if self.chance.percent(self.temper.fails) => Said::Failed { words: "bad image".into() },
            _ => Said::Succeeded,
        };
        let is_last = matches!(said, Said::Succeeded | Said::Failed { .. });
        let answer = world.say(job, said.clone());
        if is_last {
            // The answer may be lost on its way, so the device says it again; or it changes its mind.
            let before = world.clone();
            let is_closed = matches!(before.actions[&job].state, ActionState::Finished | ActionState::Failed);
            let words = Said::Failed { words: "on second thought".into() };
            let again = if self.chance.percent(50) { said } else { words };
            let second = world.say(job, again);
            assert!(!is_closed || second.is_err(), "{job} was closed twice");
            if second.is_err() {
                assert_eq!(world.actions, before.actions, "what was refused changed something");
            }
        }
        if is_last || answer.is_err() {
            self.jobs.remove(&device);
        }
    }

    fn answer_cancel(&mut self, world: &mut World, action: &Action) {
        let said = match self.chance.below(4) {
            0 => CancelSaid::Working,
            _ if self.jobs.get(&action.device) == Some(&action.id)
                && self.chance.percent(self.temper.refuses_cancel) =>
            {
                CancelSaid::Refused
            }
            _ => CancelSaid::Stopped,
        };
        if said == CancelSaid::Stopped {
            self.jobs.remove(&action.device);
        }
        world.word(action.id, Input::CancelReport(said)).expect("its cancel is pending");
    }
}
