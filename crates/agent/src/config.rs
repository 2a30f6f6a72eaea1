//! What is in the agent's file? One TOML file, `/etc/muster/agent.toml`; docs/agent.md has all of it with examples.

mod component;
mod orders;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_vocab::nearest::nearest;
use serde::{Deserialize, Serialize};

use crate::agent::vouch::TrustSettings;
use crate::attributes::AttributeSettings;
use crate::install::Installer;
use crate::io::net::is_address;
use crate::judge::{Check, Policy, Rules};
use crate::wipe::WipeSettings;
use crate::{Settings, disk, io::disk::RealDisk};

use component::Component;
use orders::{Commands, ConfigurationRules, Wipe};

pub const PATH: &str = "/etc/muster/agent.toml";
/// A file that is larger isn't one that people wrote.
const FILE_BYTES_MAX: usize = 256 * 1024;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `https://host[:port]`
    pub server: String,
    pub project: String,
    pub device: String,
    /// The device's own; `muster-agent join` writes it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub token: String,
    /// Has the token instead, so that this file may be read by anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// PEM; only certificates from it are trusted then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    #[serde(default = "folder_default")]
    pub folder: PathBuf,
    /// Lists of packages on the device, whose digests are told to the server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sboms: Vec<PathBuf>,
    /// By what orders are judged; none: every order of the server is believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<Trust>,
    #[serde(default)]
    pub policy: Policy,
    #[serde(default)]
    pub health: Health,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub commands: Commands,
    #[serde(default)]
    pub configuration: ConfigurationRules,
    #[serde(default)]
    pub wipe: Wipe,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watchdog: Option<Watchdog>,
    /// Words of the command that restarts the machine; empty: systemctl reboot, or reboot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restart: Vec<String>,
    #[serde(default, rename = "component")]
    pub components: BTreeMap<String, Component>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// The first root, made by `muster keys ceremony`.
    pub root: PathBuf,
    /// Channels whose releases this device takes.
    pub channels: Vec<String>,
}

fn folder_default() -> PathBuf {
    Settings::default().folder
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Health {
    /// A new version has to be well within this time after its start.
    pub deadline_s: u64,
    pub interval_s: u64,
    /// Rounds without a failure, in a row.
    pub passes: u32,
    /// The new version has to reach the server.
    pub reach_server: bool,
    pub check_timeout_s: u64,
    pub checks: Vec<Check>,
}

impl Default for Health {
    fn default() -> Self {
        let Settings { trial, check_every, passes, reach_server, .. } = Settings::default();
        let (deadline_s, interval_s) = (trial.as_secs(), check_every.as_secs());
        Self { deadline_s, interval_s, passes, reach_server, check_timeout_s: 30, checks: Vec::new() }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    pub download_bytes_per_s: Option<u64>,
    /// Bytes of the agent's file system that downloads leave free.
    pub reserve_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        let Settings { download_bytes_per_s, reserve_bytes, .. } = Settings::default();
        Self { download_bytes_per_s, reserve_bytes }
    }
}

fn stuck_after_default() -> u64 {
    7200
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watchdog {
    /// Such as `/dev/watchdog`.
    pub device: PathBuf,
    /// It is fed no more when the agent's loop hasn't come round for this long: more than any installation takes.
    #[serde(default = "stuck_after_default")]
    pub stuck_after_s: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("reading {path}; a device gets its file from `muster-agent join URL --token T`")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path}: {problem}")]
    Parse { path: PathBuf, problem: String },
    #[error("writing {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl Config {
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = read_text(path)?;
        let mut config = Self::parse(&text).map_err(|problem| ConfigError::Parse { path: path.to_owned(), problem })?;
        if let Some(file) = &config.token_file {
            config.token = read_text(file)?.trim().to_owned();
            if config.token.is_empty() {
                return Err(ConfigError::Parse { path: file.clone(), problem: "there is no token in it".into() });
            }
        }
        Ok(config)
    }

    /// The message of a refusal says where and what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|bad| advise(&bad.to_string()))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        if !is_address(&self.server) {
            return Err(format!("`server` is {:?}; it has the form https://host or https://host:port", self.server));
        }
        for (name, value) in [("project", &self.project), ("device", &self.device)] {
            if value.is_empty() {
                return Err(format!("`{name}` is empty; `muster-agent join` sets it"));
            }
        }
        match (self.token.is_empty(), &self.token_file) {
            // It has a certificate in its folder, or has not joined: seen where that is read.
            (true, None) if self.server.starts_with("https://") => {}
            (true, None) => return Err("there is no `token`; `muster-agent join` gets one".into()),
            (false, Some(_)) => return Err("`token` and `token_file` exclude each other; remove one".into()),
            (true, Some(_)) | (false, None) => {}
        }
        if self.folder.is_relative() {
            return Err(format!("`folder`: {} has to be an absolute path", self.folder.display()));
        }
        let Health { deadline_s, interval_s, passes, check_timeout_s, .. } = &self.health;
        if *passes == 0 || *interval_s == 0 || *deadline_s == 0 || *check_timeout_s == 0 {
            return Err("`health`: passes, interval_s, deadline_s and check_timeout_s are at least 1".into());
        }
        if u64::from(*passes - 1).saturating_mul(*interval_s) >= *deadline_s {
            return Err(format!(
                "`health`: {passes} passes, {interval_s} s apart, don't fit in deadline_s = {deadline_s}"
            ));
        }
        if self.trust.as_ref().is_some_and(|trust| trust.channels.is_empty() || trust.root.is_relative()) {
            return Err("`trust`: root is an absolute path, and channels has one at least".into());
        }
        if self.limits.download_bytes_per_s == Some(0) {
            return Err("`limits`: download_bytes_per_s = 0 would never fetch anything; leave it out".into());
        }
        self.commands.check()?;
        self.configuration.check()?;
        self.wipe.check()?;
        self.components.iter().try_for_each(|(name, component)| component.check(name))
    }

    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings {
            folder: self.folder.clone(),
            trial: Duration::from_secs(self.health.deadline_s),
            check_every: Duration::from_secs(self.health.interval_s),
            passes: self.health.passes,
            reach_server: self.health.reach_server,
            reserve_bytes: self.limits.reserve_bytes,
            download_bytes_per_s: self.limits.download_bytes_per_s,
            trust: self.trust.as_ref().map(|trust| TrustSettings {
                root: trust.root.clone(),
                device: format!("{}/{}", self.project, self.device),
                channels: trust.channels.clone(),
            }),
            attributes: Some(AttributeSettings { sboms: self.sboms.clone(), ..AttributeSettings::default() }),
            commands: self.commands.settings(),
            configuration: self.configuration.settings(&self.folder),
            ..Settings::default()
        }
    }

    /// What may be destroyed when the device is decommissioned. `path`: of this file.
    #[must_use]
    pub fn wipe_settings(&self, path: &Path) -> WipeSettings {
        WipeSettings {
            folder: self.folder.clone(),
            allowed: self.wipe.paths.clone(),
            file: Some(path.to_owned()),
            token_file: self.token_file.clone(),
        }
    }

    #[must_use]
    pub fn rules(&self) -> Rules {
        Rules {
            policy: self.policy.clone(),
            checks: self.health.checks.clone(),
            check_timeout: Duration::from_secs(self.health.check_timeout_s),
        }
    }

    #[must_use]
    pub fn installers(&self) -> BTreeMap<String, Box<dyn Installer>> {
        let all = self.components.iter();
        all.map(|(name, component)| (name.clone(), component.installer(name, &self.folder))).collect()
    }
}

/// Replaces a file that only its owner may read: it holds the device's token.
pub fn write_secret(path: &Path, text: &str) -> Result<(), ConfigError> {
    let failed = |source| ConfigError::Write { path: path.to_owned(), source };
    let disk: &dyn disk::Disk = &RealDisk;
    disk.make_folder(disk::folder_of(path)).map_err(failed)?;
    let beside = disk::beside(path);
    disk.remove(&beside).map_err(failed)?;
    disk.write_at(&beside, 0, b"").map_err(failed)?;
    disk.set_mode(&beside, 0o600).map_err(failed)?;
    disk.write_at(&beside, 0, text.as_bytes()).map_err(failed)?;
    disk.sync(&beside).map_err(failed)?;
    disk::rename(disk, &beside, path).map_err(failed)
}

/// All of a file that people wrote.
pub fn read_text(path: &Path) -> Result<String, ConfigError> {
    let bytes = disk::read(&RealDisk, path, FILE_BYTES_MAX)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    String::from_utf8(bytes)
        .map_err(|_| ConfigError::Parse { path: path.to_owned(), problem: "the file isn't UTF-8".into() })
}

/// A name that is nearly right is answered with the right one.
fn advise(problem: &str) -> String {
    let problem = problem.trim_end();
    let Some(at) = problem.find("unknown field `").or_else(|| problem.find("unknown variant `")) else {
        return problem.to_owned();
    };
    let mut names = problem[at..].split('`').skip(1).step_by(2);
    let Some(word) = names.next() else { return problem.to_owned() };
    match nearest(word, names) {
        Some(known) => format!("{problem}\ndid you mean `{known}`?"),
        None => problem.to_owned(),
    }
}
