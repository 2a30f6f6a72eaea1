//! How does the agent run? Step, persist, perform; one bounded thing per [`Agent::tick`].
//!
//! The program calls `tick` in a loop, the simulator for thousands of agents in turn. Nothing is remembered here that
//! a power cut may not take: what matters is in the state, and the state is durable before anything is done about it.

mod chores;
pub mod consent;
mod consider;
mod delta;
mod fetch;
mod perform;
mod talk;
pub mod vouch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_vocab::Timestamp;
use muster_wire::agent::{ActionSaid, Attributes, Deployment, Said};

use self::consent::Consent;

use crate::attributes::AttributeSettings;
use crate::commands::CommandSettings;
use crate::configuration::ConfigurationSettings;
use crate::install::Installer;
use crate::keep::{Found, KeepError, Keeper};
use crate::machine::{self, Due, Facts, Input};
use crate::queue::Queue;
use crate::state::State;
use crate::world::World;

/// What can be set; the rest is decided by the server.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The state, and files while they arrive.
    pub folder: PathBuf,
    /// How long the server may hold a question when there is nothing to tell; zero: ask at its interval.
    pub long_poll: Duration,
    /// A new version has to prove itself in this time.
    pub trial: Duration,
    /// Between two rounds of health checks.
    pub check_every: Duration,
    /// Rounds without a failure, in a row.
    pub passes: u32,
    /// The new version has to reach the server before it is kept.
    pub reach_server: bool,
    /// Bytes of the file system that downloads leave free.
    pub reserve_bytes: u64,
    /// None: as fast as it goes.
    pub download_bytes_per_s: Option<u64>,
    /// Bytes that are fetched, and made durable, at a time.
    pub piece_bytes: u64,
    /// None: every order of the server is believed.
    pub trust: Option<vouch::TrustSettings>,
    /// None: the device tells nothing of itself.
    pub attributes: Option<AttributeSettings>,
    pub configuration: ConfigurationSettings,
    pub commands: CommandSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            folder: PathBuf::from("/var/lib/muster"),
            long_poll: Duration::from_secs(50),
            trial: Duration::from_secs(300),
            check_every: Duration::from_secs(5),
            passes: 2,
            reach_server: true,
            reserve_bytes: 16 * 1024 * 1024,
            download_bytes_per_s: None,
            piece_bytes: 4 * 1024 * 1024,
            trust: None,
            attributes: None,
            configuration: ConfigurationSettings::default(),
            commands: CommandSettings::default(),
        }
    }
}

/// When to tick again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// There is more to do.
    No,
    /// Nothing is due before.
    For(Duration),
    /// The machine goes down; do not tick again.
    Restart,
    /// The device was decommissioned; do not tick again, but see to [`crate::wipe`].
    Leave,
    /// The device belongs to another project; do not tick again before it has its new credentials.
    Move,
}

/// Reasons from outside: what the device's own rules and checks say.
pub trait Judge: Send + Sync {
    /// Why it may not be installed now; none: it may.
    fn objection(&self, world: &dyn World) -> Option<String>;
    /// Does the person at the device consent to an update that an operator won't bring without?
    fn consent(&self, _world: &dyn World, _order: &Deployment) -> Consent {
        Consent::NobodyToAsk
    }
    /// What is not well with the new version, each with its last lines; empty: all is well.
    fn complaints(&self, world: &dyn World) -> Vec<String>;
}

pub struct Agent {
    settings: Settings,
    installers: BTreeMap<String, Box<dyn Installer>>,
    judge: Box<dyn Judge>,
    keeper: Keeper,
    state: State,
    // All that follows is lost when the power is.
    link: talk::Link,
    chores: chores::Chores,
    reading: Option<fetch::Reading>,
    applying: Option<delta::Applying>,
    passes: u32,
    /// Nothing is tried again before, by uptime.
    rest_until: Duration,
    is_swept: bool,
    /// The newest state was broken: whether the order still stands is asked before anything is switched.
    is_doubtful: bool,
}

impl Agent {
    /// Takes up where the last run was stopped, by whatever.
    pub fn open(
        world: &dyn World,
        mut settings: Settings,
        installers: BTreeMap<String, Box<dyn Installer>>,
        judge: Box<dyn Judge>,
    ) -> Result<Self, KeepError> {
        let (keeper, found) = Keeper::open(world.disk(), &settings.folder)?;
        let queue_name = || format!("{:016x}", world.host().chance());
        let mut is_doubtful = false;
        let mut state = match found {
            Found::Newest(state) => state,
            // Numbers given since are lost with the newest file, so the queue starts anew under another name.
            Found::Older(mut state) => {
                is_doubtful = true;
                state.queue.rename(queue_name());
                state
            }
            Found::Nothing => State { queue: Queue::new(queue_name()), ..State::default() },
        };
        settings.configuration.folder.clone_from(&settings.folder);
        let boot_id = world.host().boot_id();
        chores::tell_what_ended(world, &mut state, &boot_id);
        if state.boot_id != boot_id {
            state.boot_id = boot_id;
            state.boots += 1;
        }
        let link = talk::Link::new(world);
        let mut agent = Self {
            settings,
            installers,
            judge,
            keeper,
            state,
            link,
            chores: chores::Chores::default(),
            reading: None,
            applying: None,
            passes: 0,
            rest_until: Duration::ZERO,
            is_swept: false,
            is_doubtful,
        };
        agent.save(world)?;
        Ok(agent)
    }

    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Is nothing on trial that no update knows of? Seen to first after each start and each update.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.is_swept || self.state.update.is_some()
    }

    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Does one thing that is due.
    ///
    /// # Errors
    /// Only if the state can't be written; tick again later.
    pub fn tick(&mut self, world: &dyn World) -> Result<Wait, KeepError> {
        if let Some(told) = self.link.told.take() {
            return Ok(told);
        }
        let uptime = world.host().uptime();
        if !self.is_settled() && uptime >= self.rest_until {
            return self.settle(world);
        }
        if self.link.is_open(uptime) && !self.state.queue.is_empty() {
            return self.send_reports(world);
        }
        if let Some(wait) = self.do_chore(world)? {
            return Ok(wait);
        }
        if self.link.is_open(uptime) && self.link.poll_at <= uptime {
            return self.poll(world);
        }
        if uptime < self.rest_until {
            return Ok(self.wait(uptime));
        }
        self.perform(world)
    }

    /// Until something is due by time alone.
    fn wait(&self, uptime: Duration) -> Wait {
        let mut until = self.link.next(self.state.queue.is_empty());
        if self.rest_until > uptime {
            until = until.min(self.rest_until);
        }
        if let Some(at) = self.next_chore() {
            until = until.min(at);
        }
        Wait::For(until.saturating_sub(uptime).max(Duration::from_millis(1)))
    }

    /// Nothing can be done for a while.
    fn rest(&mut self, world: &dyn World, duration: Duration) -> Wait {
        let uptime = world.host().uptime();
        self.rest_until = uptime + duration;
        self.wait(uptime)
    }

    /// Persists what follows from an input. One that no longer fits is dropped: things have moved on.
    fn apply(&mut self, world: &dyn World, input: Input) -> Result<(), KeepError> {
        let boot_id = self.state.boot_id.clone();
        let facts = Facts { now: self.link.now(world), boot_id: &boot_id };
        let next = match machine::step(&self.state, &facts, input) {
            Ok(next) => next,
            Err(refused) => {
                world.host().log(&format!("ignored: {refused}"));
                return Ok(());
            }
        };
        if next == self.state {
            return Ok(());
        }
        let phase = |state: &State| state.update.as_ref().map(|update| update.phase.name());
        if phase(&next) != phase(&self.state) {
            let name = phase(&next).unwrap_or("no update");
            world.host().log(&format!("now: {name}"));
            self.is_swept = false;
            self.chores.look_again();
            self.passes = 0;
            self.rest_until = Duration::ZERO;
            if next.update.is_none() {
                // While the update ran, it asked at the server's interval; nobody shall wait that long for the next.
                self.link.poll_at = world.host().uptime();
            }
        }
        let before = std::mem::replace(&mut self.state, next);
        // What is not durable has not happened.
        self.save(world).inspect_err(|_| self.state = before)
    }

    fn save(&mut self, world: &dyn World) -> Result<(), KeepError> {
        self.keeper.save(world.disk(), &self.state)
    }

    fn due(&self) -> Due {
        machine::due(&self.state, &Facts { now: Timestamp(0), boot_id: &self.state.boot_id })
    }

    /// Queues what changed in the device's attributes since they were told last.
    pub fn tell_attributes(
        &mut self,
        world: &dyn World,
        found: &BTreeMap<String, String>,
        all: bool,
    ) -> Result<(), KeepError> {
        let known = &self.state.attributes;
        let is_new = |(key, value): &(&String, &String)| all || known.get(*key) != Some(value);
        let set: BTreeMap<String, String> =
            found.iter().filter(is_new).map(|(key, value)| (key.clone(), value.clone())).collect();
        let removed: Vec<String> = known.keys().filter(|key| !all && !found.contains_key(*key)).cloned().collect();
        if set.is_empty() && removed.is_empty() {
            return Ok(());
        }
        self.state.attributes.clone_from(found);
        self.state.queue.push(self.link.now(world), Said::Attributes(Attributes { all, set, removed }));
        self.save(world)
    }

    /// The device begins anew in another project: what it was told to be configured by says nothing there.
    pub fn move_over(&mut self, world: &dyn World) -> Result<(), KeepError> {
        let before = self.state.clone();
        let configured = &mut self.state.configuration;
        (configured.version, configured.refused, configured.interrupted) = (0, None, None);
        self.save(world).inspect_err(|_| self.state = before)
    }

    /// Actions whose end still waits to be told.
    #[must_use]
    pub fn untold(&self) -> Vec<ActionSaid> {
        let said = |report: &muster_wire::agent::Report| match &report.said {
            Said::Action(said) => Some(said.clone()),
            Said::Attributes(_) | Said::Configuration(_) | Said::Command(_) => None,
        };
        self.state.queue.waiting().iter().filter_map(said).collect()
    }
}

/// Where installers keep files while they arrive; emptied when no update is under way.
#[must_use]
pub fn incoming(folder: &Path) -> PathBuf {
    folder.join("incoming")
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").field("state", &self.state).finish_non_exhaustive()
    }
}
