//! What may the server order beside updates? `[commands]` and `[configuration]` of the agent's file: nothing by default.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::commands::{CommandSettings, Logs};
use crate::configuration::ConfigurationSettings;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Commands {
    pub reboot: bool,
    pub logs: LogsConfig,
    /// A remote shell.
    pub shell: bool,
    /// `host:port` that connections may be forwarded to.
    pub forward: Vec<String>,
    /// Words of each script by its name; what an order adds comes behind them.
    pub scripts: BTreeMap<String, Vec<String>>,
}

/// `false`, `"journal"`, or a list of files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LogsConfig {
    Allowed(bool),
    Named(String),
    Files(Vec<PathBuf>),
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConfigurationRules {
    /// Folders in which files may be written.
    pub roots: Vec<PathBuf>,
    /// Commands that may check files and reload services, each by its first words.
    pub commands: Vec<Vec<String>>,
    /// Between two looks at whether somebody has changed a file; none: ten minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub look_every_s: Option<u64>,
}

/// What is destroyed when the device is decommissioned, beside the agent's own key and state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wipe {
    /// Files and folders; an order may name them, or what lies in them.
    pub paths: Vec<PathBuf>,
}

impl Wipe {
    pub fn check(&self) -> Result<(), String> {
        let is_plain = |path: &PathBuf| {
            path.is_absolute()
                && path.components().count() > 1
                && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
        };
        match self.paths.iter().find(|path| !is_plain(path)) {
            Some(path) => Err(format!("`wipe`: {} is no plain absolute path below /", path.display())),
            None => Ok(()),
        }
    }
}

impl Default for LogsConfig {
    fn default() -> Self {
        Self::Allowed(false)
    }
}

impl Commands {
    pub fn check(&self) -> Result<(), String> {
        if let Some((name, _)) = self.scripts.iter().find(|(_, words)| words.first().is_none_or(String::is_empty)) {
            return Err(format!("`commands`: the script {name:?} has no words; name its program"));
        }
        if let Some(to) = self.forward.iter().find(|to| !is_target(to)) {
            return Err(format!("`commands`: {to:?} in forward is not of the form host:port"));
        }
        self.logs().map(|_| ())
    }

    fn logs(&self) -> Result<Logs, String> {
        match &self.logs {
            LogsConfig::Allowed(false) => Ok(Logs::NotAllowed),
            LogsConfig::Named(name) if name == "journal" => Ok(Logs::Journal),
            LogsConfig::Files(files) if files.is_empty() => Ok(Logs::NotAllowed),
            LogsConfig::Files(files) if files.iter().all(|file| file.is_absolute()) => Ok(Logs::Files(files.clone())),
            LogsConfig::Allowed(true) | LogsConfig::Named(_) | LogsConfig::Files(_) => {
                Err("`commands`: logs is false, \"journal\", or a list of absolute paths".into())
            }
        }
    }

    #[must_use]
    pub fn settings(&self) -> CommandSettings {
        CommandSettings {
            scripts: self.scripts.clone(),
            // The file was checked when it was read; what isn't understood allows nothing.
            logs: self.logs().unwrap_or_default(),
            reboot: self.reboot,
            shell: self.shell,
            forward: self.forward.clone(),
        }
    }
}

fn is_target(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
}

impl ConfigurationRules {
    pub fn check(&self) -> Result<(), String> {
        if let Some(root) = self.roots.iter().find(|root| root.is_relative()) {
            return Err(format!("`configuration`: {} in roots has to be an absolute path", root.display()));
        }
        if self.commands.iter().any(|words| words.first().is_none_or(String::is_empty)) {
            return Err("`configuration`: a command without words would allow all of them; name its program".into());
        }
        match self.look_every_s {
            Some(0) => Err("`configuration`: look_every_s is at least 1".into()),
            Some(_) | None => Ok(()),
        }
    }

    /// `folder`: the agent's.
    #[must_use]
    pub fn settings(&self, folder: &Path) -> ConfigurationSettings {
        let usual = ConfigurationSettings::default();
        ConfigurationSettings {
            roots: self.roots.clone(),
            commands: self.commands.clone(),
            folder: folder.to_owned(),
            look_every: self.look_every_s.map_or(usual.look_every, Duration::from_secs),
            ..usual
        }
    }
}
