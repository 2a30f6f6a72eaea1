//! What does the agent do beside updates: configurations, commands, and telling of the device?
//!
//! One thing at a time, and none from the switch of an update to its end: a restart or a reload in a trial would be
//! taken for a fault of what is on trial.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use muster_vocab::ActionId;
use muster_wire::agent::{
    Command, CommandSaid, CommandState, Configuration, ConfigurationSaid, ConfigurationState, Orders, Said,
    SealedSecrets,
};

use super::talk::CALL_TIMEOUT;
use super::{Agent, Wait, consent};
use crate::commands::{self, CommandOutcome};
use crate::keep::KeepError;
use crate::secrets::{self, Secrets, SecretsError};
use crate::state::{Configured, State};
use crate::world::{NetError, World};
use crate::{attributes, configuration};

/// Ids of commands that are remembered: many times what the server keeps open for a device.
const COMMANDS_KEPT: usize = 64;
/// Before something that failed for reasons that may pass is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(30);

/// What was ordered and is not begun, and what is due by time; all of it comes again after a restart.
#[derive(Debug, Default)]
pub(super) struct Chores {
    /// What the last run left of a configuration was brought to an end.
    is_resumed: bool,
    /// Not before, by uptime: storage failed, or the server.
    configure_at: Duration,
    /// To be fetched and applied.
    configuration: Option<u64>,
    commands: VecDeque<Command>,
    /// Somebody at the device is to be asked about it, not before `ask_at`.
    pub(super) consent: Option<ActionId>,
    pub(super) ask_at: Duration,
    gather_at: Duration,
    look_at: Duration,
}

impl Chores {
    /// The device may be another one now.
    pub(super) fn look_again(&mut self) {
        self.gather_at = Duration::ZERO;
        self.look_at = Duration::ZERO;
    }
}

/// Why the files are not written now, and their version.
enum Unfilled {
    Later(u64),
    Never(u64, String),
}

/// At a start: a restart that was ordered has happened, or a command was cut off.
pub(super) fn tell_what_ended(world: &dyn World, state: &mut State, boot_id: &str) {
    let now = world.host().now();
    if state.boot_id != boot_id
        && let Some(command) = state.reboot.take()
    {
        state.queue.push(now, Said::Command(commands::rebooted(command)));
    }
    if let Some(command) = state.command.take() {
        state.queue.push(now, Said::Command(commands::interrupted(command)));
    }
}

impl Agent {
    /// Remembers what an answer of the server orders beside an update.
    pub(super) fn note_chores(&mut self, orders: &Orders) {
        let configured = &self.state.configuration;
        let is_wanted = |version: &u64| *version > configured.version && configured.refused != Some(*version);
        self.chores.configuration = orders.configuration.filter(is_wanted);
        let is_new = |command: &&Command| !self.state.commands.contains(&command.id);
        self.chores.commands = orders.commands.iter().filter(is_new).cloned().collect();
        let consent = consent::to_ask(orders, self.state.answered);
        if consent != self.chores.consent {
            self.chores.ask_at = Duration::ZERO;
        }
        self.chores.consent = consent;
    }

    /// When a chore is due by time; none while an update is past its switch.
    pub(super) fn next_chore(&self) -> Option<Duration> {
        if !self.is_free() {
            return None;
        }
        let is_ready = !self.chores.commands.is_empty() || self.state.reboot.is_some();
        let configures = !self.chores.is_resumed || self.chores.configuration.is_some();
        let dues = [
            is_ready.then_some(Duration::ZERO),
            configures.then_some(self.chores.configure_at),
            self.chores.consent.map(|_| self.chores.ask_at.max(self.link.open_at)),
            self.settings.attributes.is_some().then_some(self.chores.gather_at),
            self.looks_for_drift().then_some(self.chores.look_at),
        ];
        dues.into_iter().flatten().min()
    }

    fn is_free(&self) -> bool {
        self.state.update.as_ref().is_none_or(|update| update.phase.is_before_switch())
    }

    fn looks_for_drift(&self) -> bool {
        self.chores.is_resumed && !self.state.configuration.files.is_empty()
    }

    /// Does one chore that is due; none: there is none.
    pub(super) fn do_chore(&mut self, world: &dyn World) -> Result<Option<Wait>, KeepError> {
        let uptime = world.host().uptime();
        if !self.is_free() {
            return Ok(None);
        }
        if self.state.reboot.is_some() {
            return self.reboot(world).map(Some);
        }
        if self.chores.configure_at <= uptime && !self.chores.is_resumed {
            self.resume_configuration(world)?;
        } else if self.chores.configure_at <= uptime && self.chores.configuration.is_some() {
            self.configure(world)?;
        } else if let Some(command) = self.chores.commands.pop_front() {
            self.obey_command(world, &command)?;
        } else if let Some(action) = self.chores.consent
            && self.chores.ask_at <= uptime
            && self.link.is_open(uptime)
        {
            self.ask_for_consent(world, action)?;
        } else if self.settings.attributes.is_some() && self.chores.gather_at <= uptime {
            let every = self.settings.attributes.as_ref().map_or(TRY_AGAIN, |settings| settings.every);
            self.chores.gather_at = uptime + every.max(TRY_AGAIN);
            if let Some(found) = self.gather(world) {
                self.tell_attributes(world, &found, false)?;
            }
        } else if self.looks_for_drift() && self.chores.look_at <= uptime {
            self.chores.look_at = uptime + self.settings.configuration.look_every.max(TRY_AGAIN);
            self.look_for_drift(world)?;
        } else {
            return Ok(None);
        }
        Ok(Some(Wait::No))
    }

    /// None: the device's file says that it tells nothing.
    pub(super) fn gather(&self, world: &dyn World) -> Option<BTreeMap<String, String>> {
        let settings = self.settings.attributes.as_ref()?;
        Some(attributes::gather(world, settings, &self.settings.folder, &self.state))
    }

    fn resume_configuration(&mut self, world: &dyn World) -> Result<(), KeepError> {
        let mut configured = self.state.configuration.clone();
        match configuration::resume(world, &self.settings.configuration, &mut configured) {
            Ok(said) => self.conclude(world, configured, said),
            Err(failed) => {
                self.put_off(world, &failed);
                Ok(())
            }
        }
    }

    fn configure(&mut self, world: &dyn World) -> Result<(), KeepError> {
        let path = "/device/v1/configuration";
        let wanted = match self.exchange::<Configuration>(world, ("GET", path), None::<&()>, CALL_TIMEOUT) {
            Ok(wanted) => wanted,
            // There is none any more; the next orders say so.
            Err(NetError::Refused { status: 404, .. }) => {
                self.chores.configuration = None;
                return Ok(());
            }
            Err(failed) => {
                self.chores.configure_at = world.host().uptime() + TRY_AGAIN;
                self.unanswered(world, &failed);
                return Ok(());
            }
        };
        self.chores.configuration = None;
        let mut configured = self.state.configuration.clone();
        if wanted.version <= configured.version || configured.refused == Some(wanted.version) {
            return Ok(());
        }
        let (wanted, secrets) = match self.fill_secrets(world, wanted) {
            Ok(filled) => filled,
            Err(Unfilled::Later(version)) => {
                self.chores.configuration = Some(version);
                self.chores.configure_at = world.host().uptime() + TRY_AGAIN;
                return Ok(());
            }
            Err(Unfilled::Never(version, why)) => {
                configured.refused = Some(version);
                let messages = vec![why];
                let said = ConfigurationSaid { version, state: ConfigurationState::Reverted, messages };
                return self.conclude(world, configured, Some(said));
            }
        };
        match configuration::apply(world, &self.settings.configuration, (&wanted, &secrets), &mut configured) {
            Ok(said) => self.conclude(world, configured, Some(said)),
            Err(failed) => {
                self.chores.configuration = Some(wanted.version);
                self.put_off(world, &failed);
                Ok(())
            }
        }
    }

    /// Asks for the values of the secrets in the files, if there are any.
    fn fill_secrets(&mut self, world: &dyn World, wanted: Configuration) -> Result<(Configuration, Secrets), Unfilled> {
        if !secrets::needs(&wanted) {
            return Ok((wanted, Secrets::default()));
        }
        let version = wanted.version;
        let never = |why: SecretsError| Unfilled::Never(version, why.to_string());
        let (asking, question) = secrets::ask(version, |message| world.net().prove(message)).map_err(never)?;
        let path = "/device/v1/secrets";
        match self.exchange::<SealedSecrets>(world, ("POST", path), Some(&question), CALL_TIMEOUT) {
            Ok(answer) => {
                let secrets = Secrets::open(asking, &answer).map_err(never)?;
                Ok((secrets.fill(wanted).map_err(never)?, secrets))
            }
            Err(NetError::Refused { status: status @ (400 | 404), detail }) => {
                Err(Unfilled::Never(version, format!("the server gave no secrets ({status}): {detail}")))
            }
            // Another version is on its way, or the server is.
            Err(failed) => {
                self.unanswered(world, &failed);
                Err(Unfilled::Later(version))
            }
        }
    }

    /// What became of a configuration is made durable with its report; then what was needed for a way back goes.
    fn conclude(
        &mut self,
        world: &dyn World,
        configured: Configured,
        said: Option<ConfigurationSaid>,
    ) -> Result<(), KeepError> {
        // Until this is through, what is on disk speaks.
        self.chores.is_resumed = false;
        if said.is_some() || configured != self.state.configuration {
            let before = self.state.clone();
            self.state.configuration = configured;
            if let Some(said) = said {
                world.host().log(&format!(
                    "configuration {}: {:?} {}",
                    said.version,
                    said.state,
                    said.messages.join("; ")
                ));
                self.state.queue.push(self.link.now(world), Said::Configuration(said));
            }
            self.save(world).inspect_err(|_| self.state = before)?;
        }
        match configuration::forget(world, &self.settings.configuration) {
            Ok(()) => self.chores.is_resumed = true,
            Err(failed) => self.put_off(world, &failed),
        }
        Ok(())
    }

    fn put_off(&mut self, world: &dyn World, failed: &configuration::Unfinished) {
        let cause = std::error::Error::source(failed).map_or_else(String::new, |cause| format!(": {cause}"));
        world.host().log(&format!("tried again in {} s: {failed}{cause}", TRY_AGAIN.as_secs()));
        self.chores.is_resumed = false;
        self.chores.configure_at = world.host().uptime() + TRY_AGAIN;
    }

    /// Told once when it begins, when it changes and when it ends.
    fn look_for_drift(&mut self, world: &dyn World) -> Result<(), KeepError> {
        let drifted = configuration::drift(world, &self.state.configuration);
        if drifted == self.state.configuration.drifted {
            return Ok(());
        }
        let state = if drifted.is_empty() { ConfigurationState::Applied } else { ConfigurationState::Drifted };
        let messages = drifted.clone();
        let version = self.state.configuration.version;
        let before = self.state.clone();
        self.state.configuration.drifted = drifted;
        let said = ConfigurationSaid { version, state, messages };
        self.state.queue.push(self.link.now(world), Said::Configuration(said));
        self.save(world).inspect_err(|_| self.state = before)
    }

    /// Remembered before it is begun: a command that was cut off is told as such, and never begun twice.
    fn obey_command(&mut self, world: &dyn World, command: &Command) -> Result<(), KeepError> {
        if self.state.commands.contains(&command.id) {
            return Ok(());
        }
        let before = self.state.clone();
        let surplus = (self.state.commands.len() + 1).saturating_sub(COMMANDS_KEPT);
        self.state.commands.drain(..surplus);
        self.state.commands.push(command.id);
        self.state.command = Some(command.id);
        self.save(world).inspect_err(|_| self.state = before)?;
        let outcome = commands::begin(world, &self.settings.commands, command, self.link.now(world));
        self.state.command = None;
        let said = match outcome {
            CommandOutcome::Said(said) => said,
            CommandOutcome::Reboot => {
                self.state.reboot = Some(command.id);
                said(command.id, CommandState::Started, String::new())
            }
            CommandOutcome::OpenSession { session, kind, seconds_max } => {
                let time_max = Duration::from_secs(u64::from(seconds_max));
                match world.net().open_session(&session, &kind, time_max) {
                    Ok(()) => said(command.id, CommandState::Succeeded, String::new()),
                    Err(failed) => said(command.id, CommandState::Failed, why(&failed)),
                }
            }
        };
        world.host().log(&format!("command {}: {:?}", command.id, said.state));
        self.state.queue.push(self.link.now(world), Said::Command(said));
        self.save(world)
    }

    fn reboot(&mut self, world: &dyn World) -> Result<Wait, KeepError> {
        world.host().log("restarting, as was ordered");
        let Err(failed) = world.host().restart() else { return Ok(Wait::Restart) };
        if let Some(command) = self.state.reboot.take() {
            let said = said(command, CommandState::Failed, format!("the machine does not restart: {failed}"));
            self.state.queue.push(self.link.now(world), Said::Command(said));
        }
        self.save(world)?;
        Ok(Wait::No)
    }
}

fn said(command: i64, state: CommandState, output: String) -> CommandSaid {
    CommandSaid { command, state, exit_code: None, output }
}

fn why(failed: &NetError) -> String {
    format!("the session could not be opened: {failed}")
}

#[cfg(test)]
mod tests;
