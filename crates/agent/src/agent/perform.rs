//! What is done about what is due? Each of these may be cut off anywhere and is then done again.

use std::time::Duration;

use super::vouch::Vouched;
use super::{Agent, Wait, incoming};
use crate::install::{InstallError, Installer, Running, Takes};
use crate::keep::KeepError;
use crate::machine::{Due, Input};
use crate::state::{Phase, Update};
use crate::world::World;

/// Before something that failed for reasons that may pass is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(10);
/// Before the device's rules are asked again whether it may install.
const ASK_AGAIN: Duration = Duration::from_secs(60);

impl Agent {
    pub(super) fn perform(&mut self, world: &dyn World) -> Result<Wait, KeepError> {
        let input = match self.due() {
            Due::Nothing => return Ok(self.wait(world.host().uptime())),
            Due::Consider => match self.vouched(world) {
                Vouched::Yes(counter) => {
                    // Durable with the acceptance, or not needed.
                    self.state.update.iter_mut().for_each(|update| update.counter = counter);
                    self.consider(world)
                }
                Vouched::No(why) => Input::Refuse(vec![why]),
                Vouched::NotNow(why) => {
                    world.host().log(&format!("whether the order is signed could not be asked: {why}"));
                    return Ok(self.rest(world, ASK_AGAIN));
                }
            },
            Due::Fetch { part, artifact } => return self.fetch(world, (part, artifact)),
            Due::Stage { part } => return self.stage(world, part),
            Due::Permit if self.is_doubtful => return Ok(self.wait(world.host().uptime())),
            Due::Permit => match self.objection(world) {
                None => Input::Begin,
                Some(why) => {
                    world.host().log(&format!("not installed yet: {why}"));
                    return Ok(self.rest(world, ASK_AGAIN));
                }
            },
            Due::Activate => self.activate(world),
            Due::Restart => return Ok(self.restart(world)),
            Due::Look => match self.look(world) {
                Ok(input) => input,
                Err(why) => return Ok(self.try_again(world, &why)),
            },
            Due::CheckHealth => return self.check_health(world),
            Due::Commit => match self.commit(world) {
                Ok(input) => input,
                Err(why) => return Ok(self.try_again(world, &why)),
            },
            Due::Revert => match self.revert(world) {
                Ok(input) => input,
                Err(why) => return Ok(self.try_again(world, &why)),
            },
        };
        self.apply(world, input)?;
        Ok(Wait::No)
    }

    fn try_again(&mut self, world: &dyn World, why: &InstallError) -> Wait {
        world.host().log(&format!("tried again in {} s: {}", TRY_AGAIN.as_secs(), why.sentence()));
        self.rest(world, TRY_AGAIN)
    }

    /// After a start, and after each update: what is on trial without an update is left, and files are removed.
    pub(super) fn settle(&mut self, world: &dyn World) -> Result<Wait, KeepError> {
        for (name, installer) in &self.installers {
            match installer.settle(world, self.state.installed.get(name)) {
                Ok(Takes::Effect) => {}
                Ok(Takes::Restart) => {
                    world.host().log(&format!("component {name} is on trial without an update: going back"));
                    return Ok(self.restart(world));
                }
                Err(why) => {
                    let why = InstallError::Refused(format!("component {name}: {}", why.sentence()));
                    return Ok(self.try_again(world, &why));
                }
            }
        }
        self.is_swept = true;
        if let Err(failed) = world.disk().remove_folder(&incoming(&self.settings.folder)) {
            world.host().log(&format!("files that are not needed any more stay: {failed}"));
        }
        Ok(Wait::No)
    }

    /// An order that is forced is not asked about.
    fn objection(&self, world: &dyn World) -> Option<String> {
        let is_forced = self.state.update.as_ref().is_some_and(|update| update.order.terms.forced);
        if is_forced { None } else { self.judge.objection(world) }
    }

    fn stage(&mut self, world: &dyn World, part: usize) -> Result<Wait, KeepError> {
        let staged = self.with(part, |installer, update| installer.stage(world, update.job(part)));
        match staged {
            Ok(()) => self.apply(world, Input::Staged { part })?,
            Err(why) => {
                let why = format!("component {}: {}", self.name_of(part), why.sentence());
                return self.refuse(world, why);
            }
        }
        Ok(Wait::No)
    }

    /// Part after part; the first that fails takes all of them back.
    fn activate(&self, world: &dyn World) -> Input {
        let mut takes = Vec::new();
        for part in 0..self.part_count() {
            match self.with(part, |installer, update| installer.activate(world, update.job(part))) {
                Ok(one) => takes.push(one),
                Err(why) => {
                    return Input::Unhealthy(vec![format!("component {}: {}", self.name_of(part), why.sentence())]);
                }
            }
        }
        Input::Activated(takes)
    }

    fn restart(&mut self, world: &dyn World) -> Wait {
        world.host().log("restarting");
        match world.host().restart() {
            Ok(()) => Wait::Restart,
            Err(failed) => {
                world.host().log(&format!("the machine does not restart: {failed}"));
                self.rest(world, TRY_AGAIN)
            }
        }
    }

    /// Which version runs, after a start of the machine?
    fn look(&self, world: &dyn World) -> Result<Input, InstallError> {
        let update = self.state.update.as_ref();
        let is_back = update.is_some_and(|update| matches!(update.phase, Phase::AwaitingRestartBack { .. }));
        let (mut any_new, mut old) = (false, Vec::new());
        for part in 0..self.part_count() {
            match self.with(part, |installer, update| installer.running(world, update.job(part)))? {
                Running::New => any_new = true,
                Running::Old => old.push(self.name_of(part)),
            }
        }
        let running = match is_back {
            true if any_new => Running::New,
            false if old.is_empty() => Running::New,
            true | false => Running::Old,
        };
        let why = old
            .iter()
            .map(|name| format!("component {name}: the new version does not run; the device started the one before"));
        Ok(Input::Booted { running, why: why.collect() })
    }

    fn check_health(&mut self, world: &dyn World) -> Result<Wait, KeepError> {
        let Some(Phase::TrialBoot { until_ms, .. }) = self.state.update.as_ref().map(|update| update.phase.clone())
        else {
            return Ok(Wait::No);
        };
        let uptime = world.host().uptime();
        if until_ms == 0 {
            let until = uptime + self.settings.trial;
            self.link.is_reached = false;
            self.link.poll_at = uptime;
            self.apply(world, Input::Trial { until_ms: u64::try_from(until.as_millis()).unwrap_or(u64::MAX) })?;
            return Ok(Wait::No);
        }
        let mut complaints = self.judge.complaints(world);
        if self.settings.reach_server && !self.link.is_reached {
            complaints.push("the server was not reached with the new version".into());
            // While its life depends on it, the server is asked more often than backing off would.
            self.link.open_at = self.link.open_at.min(uptime + self.settings.check_every);
            self.link.poll_at = self.link.poll_at.min(uptime);
        }
        if complaints.is_empty() {
            self.passes += 1;
            if self.passes >= self.settings.passes {
                self.apply(world, Input::Healthy)?;
                return Ok(Wait::No);
            }
        } else {
            self.passes = 0;
            if uptime >= Duration::from_millis(until_ms) {
                self.apply(world, Input::Unhealthy(complaints))?;
                return Ok(Wait::No);
            }
        }
        Ok(self.rest(world, self.settings.check_every))
    }

    /// The parts that only a restart brings back go first: the bootloader's memory is the commit point.
    fn commit(&self, world: &dyn World) -> Result<Input, InstallError> {
        if let booted @ Input::Booted { running: Running::Old, .. } = self.look(world)? {
            return Ok(booted);
        }
        let restarts = |part: &usize| self.state.update.as_ref().is_some_and(|update| update.parts[*part].restarts);
        let all = 0..self.part_count();
        for part in all.clone().filter(restarts).chain(all.filter(|part| !restarts(part))) {
            self.with(part, |installer, update| installer.commit(world, update.job(part)))?;
        }
        Ok(Input::Committed)
    }

    fn revert(&self, world: &dyn World) -> Result<Input, InstallError> {
        let mut restart = false;
        for part in (0..self.part_count()).rev() {
            restart |=
                self.with(part, |installer, update| installer.revert(world, update.job(part)))? == Takes::Restart;
        }
        Ok(Input::Reverted { restart })
    }

    fn part_count(&self) -> usize {
        self.state.update.as_ref().map_or(0, |update| update.parts.len())
    }

    fn name_of(&self, part: usize) -> String {
        self.state.update.as_ref().map(|update| update.component(part).name.clone()).unwrap_or_default()
    }

    fn with<T>(
        &self,
        part: usize,
        act: impl FnOnce(&dyn Installer, &Update) -> Result<T, InstallError>,
    ) -> Result<T, InstallError> {
        let gone = || InstallError::Refused("its installer is gone from the agent's configuration".into());
        let update = self.state.update.as_ref().ok_or_else(gone)?;
        let installer = self.installers.get(&update.component(part).name).ok_or_else(gone)?;
        act(installer.as_ref(), update)
    }
}
