//! What is in the agent's file? One TOML file, `/etc/muster/agent.toml`; docs/agent.md has all of it with examples.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::agent::incoming;
use crate::boot::{Bootloader, grub::Grub, plain::Plain, uboot};
use crate::install::{Installer, rauc::Rauc, slots::Slots};
use crate::judge::{Check, Policy, Rules};
use crate::{Settings, disk, io::disk::RealDisk};

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
    pub token: String,
    /// PEM; only certificates from it are trusted then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    #[serde(default = "folder_default")]
    pub folder: PathBuf,
    #[serde(default)]
    pub policy: Policy,
    #[serde(default)]
    pub health: Health,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watchdog: Option<Watchdog>,
    /// Words of the command that restarts the machine; empty: systemctl reboot, or reboot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restart: Vec<String>,
    #[serde(default, rename = "component")]
    pub components: BTreeMap<String, Component>,
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

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watchdog {
    /// Such as `/dev/watchdog`.
    pub device: PathBuf,
}

/// How one component is installed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "installer", rename_all = "snake_case", deny_unknown_fields)]
pub enum Component {
    Slots {
        a: PathBuf,
        b: PathBuf,
        bootloader: BootloaderConfig,
    },
    Rauc {
        #[serde(default = "bus_default")]
        socket: PathBuf,
        #[serde(default = "install_timeout_default")]
        timeout_s: u64,
        #[serde(default)]
        keeps_bundle: bool,
    },
}

fn bus_default() -> PathBuf {
    PathBuf::from("/run/dbus/system_bus_socket")
}

fn install_timeout_default() -> u64 {
    3600
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum BootloaderConfig {
    /// A file that the board's boot script reads.
    Plain { file: PathBuf },
    /// GRUB's environment block.
    Grub { block: PathBuf },
    /// U-Boot's environment in two copies.
    Uboot { copies: [UbootCopy; 2], bytes: usize },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UbootCopy {
    pub path: PathBuf,
    #[serde(default)]
    pub offset: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
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
    /// One that names nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            server: String::new(),
            project: String::new(),
            device: String::new(),
            token: String::new(),
            ca: None,
            folder: folder_default(),
            policy: Policy::default(),
            health: Health::default(),
            limits: Limits::default(),
            watchdog: None,
            restart: Vec::new(),
            components: BTreeMap::new(),
        }
    }

    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let bytes = disk::read(&RealDisk, path, FILE_BYTES_MAX)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let text = String::from_utf8_lossy(&bytes);
        Self::parse(&text).map_err(|problem| ConfigError::Parse { path: path.to_owned(), problem })
    }

    /// The message of a refusal says where and what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|bad| bad.to_string())?;
        for name in ["project", "device", "token"] {
            let value = match name {
                "project" => &config.project,
                "device" => &config.device,
                _ => &config.token,
            };
            if value.is_empty() {
                return Err(format!("`{name}` is empty; `muster-agent join` sets it"));
            }
        }
        if config.health.passes == 0 || config.health.interval_s == 0 || config.health.deadline_s == 0 {
            return Err("`health`: passes, interval_s and deadline_s are at least 1".into());
        }
        Ok(config)
    }

    /// Only its owner may read it: it holds the device's token.
    pub fn write(&self, path: &Path) -> Result<(), ConfigError> {
        let failed = |source| ConfigError::Write { path: path.to_owned(), source };
        let text = toml::to_string_pretty(self).expect("the file's parts are all TOML can say");
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
            ..Settings::default()
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
        all.map(|(name, component)| (name.clone(), self.installer(name, component))).collect()
    }

    fn installer(&self, name: &str, component: &Component) -> Box<dyn Installer> {
        let folder = incoming(&self.folder).join(name.replace('/', "-"));
        match component.clone() {
            Component::Slots { a, b, bootloader } => Box::new(Slots { a, b, bootloader: boot(bootloader) }),
            Component::Rauc { socket, timeout_s, keeps_bundle } => {
                Box::new(Rauc { socket, folder, timeout: Duration::from_secs(timeout_s), keeps_bundle })
            }
        }
    }
}

fn boot(config: BootloaderConfig) -> Box<dyn Bootloader> {
    match config {
        BootloaderConfig::Plain { file } => Box::new(Plain { file }),
        BootloaderConfig::Grub { block } => Box::new(Grub { block }),
        BootloaderConfig::Uboot { copies, bytes } => {
            let copies = copies.map(|UbootCopy { path, offset }| uboot::Copy { path, offset });
            Box::new(uboot::Uboot { copies, bytes })
        }
    }
}
