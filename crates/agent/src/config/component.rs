//! How is each component installed? One table `[component.NAME]` of the agent's file each, and the installer from it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_vocab::Name;
use serde::{Deserialize, Serialize};

use crate::agent::incoming;
use crate::boot::{Bootloader, grub::Grub, plain::Plain, systemd_boot::SystemdBoot, uboot};
use crate::install::Installer;
use crate::install::container::Container;
use crate::install::container::policy::{Permit, Policy};
use crate::install::container::runtime::{RunSettings, Runtime};
use crate::install::deb::Deb;
use crate::install::hook::Hook;
use crate::install::rauc::Rauc;
use crate::install::slots::Slots;
use crate::install::swupdate::{Mode, Modes, Swupdate, Way};
use crate::install::tree::Tree;

/// Unpacked files of one version; who has more says so.
const TREE_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "installer", rename_all = "snake_case", deny_unknown_fields)]
pub enum Component {
    /// Whole images in two partitions that take turns.
    Slots { a: PathBuf, b: PathBuf, bootloader: BootloaderConfig },
    /// RAUC installs bundles that the agent fetches.
    Rauc {
        #[serde(default = "bus_default")]
        socket: PathBuf,
        #[serde(default = "install_timeout_default")]
        timeout_s: u64,
        #[serde(default)]
        keeps_bundle: bool,
    },
    /// SWUpdate installs images that the agent fetches.
    Swupdate(SwupdateConfig),
    /// A folder of files, replaced as a whole.
    Tree {
        root: PathBuf,
        /// Former versions that stay.
        #[serde(default = "keep_default")]
        keep: usize,
        #[serde(default = "tree_bytes_default")]
        bytes_max: u64,
        #[serde(default = "yes")]
        keep_archive: bool,
        #[serde(default)]
        reload: Vec<String>,
        #[serde(default = "reload_timeout_default")]
        reload_timeout_s: u64,
    },
    /// Images with a Compose file, Quadlet files or units.
    Container(ContainerConfig),
    /// One Debian package.
    Deb {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        root: Option<PathBuf>,
        #[serde(default = "install_timeout_default")]
        timeout_s: u64,
    },
    /// Programs of the device's maker.
    Hook {
        folder: PathBuf,
        #[serde(default = "install_timeout_default")]
        timeout_s: u64,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerConfig {
    /// Words that begin its commands, such as `podman` or `docker`.
    #[serde(default = "engine_default")]
    pub engine: Vec<String>,
    /// If it isn't `docker compose` or `podman-compose`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compose: Vec<String>,
    /// With `--user` for an engine without root.
    #[serde(default = "systemctl_default")]
    pub systemctl: Vec<String>,
    #[serde(default = "quadlets_default")]
    pub quadlets: PathBuf,
    #[serde(default = "units_default")]
    pub units: PathBuf,
    /// What a release's description may ask for beyond its containers.
    #[serde(default)]
    pub allow: BTreeSet<Permit>,
    /// Folders, files and devices that containers may see, each exactly so.
    #[serde(default)]
    pub mounts: Vec<PathBuf>,
    /// How a component runs that is one image and nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunSettings>,
    /// Former versions that stay, with their images.
    #[serde(default = "keep_default")]
    pub keep: usize,
    #[serde(default = "install_timeout_default")]
    pub timeout_s: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwupdateConfig {
    /// The control socket of its service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    /// Instead of the socket: words of a command; `{image}` stands for the path, `{mode}` for `SET,MODE`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    #[serde(default = "install_timeout_default")]
    pub timeout_s: u64,
    /// `SET,MODE` that writes slot a, and slot b.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode_a: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode_b: Option<String>,
    /// If the agent tells the bootloader, and not SWUpdate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootloader: Option<BootloaderConfig>,
    /// The new version runs only after a restart.
    #[serde(default = "yes")]
    pub restarts: bool,
    /// Words of a command that prints the version that runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub version: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commit: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revert: Vec<String>,
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
    /// Entries of systemd-boot, counted by itself.
    SystemdBoot { partition: PathBuf },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UbootCopy {
    pub path: PathBuf,
    #[serde(default)]
    pub offset: u64,
}

fn engine_default() -> Vec<String> {
    vec!["podman".into()]
}

fn systemctl_default() -> Vec<String> {
    vec!["systemctl".into()]
}

fn quadlets_default() -> PathBuf {
    PathBuf::from("/etc/containers/systemd")
}

fn units_default() -> PathBuf {
    PathBuf::from("/etc/systemd/system")
}

fn bus_default() -> PathBuf {
    PathBuf::from("/run/dbus/system_bus_socket")
}

fn install_timeout_default() -> u64 {
    3600
}

fn reload_timeout_default() -> u64 {
    60
}

fn keep_default() -> usize {
    1
}

fn tree_bytes_default() -> u64 {
    TREE_BYTES_MAX
}

fn yes() -> bool {
    true
}

impl Component {
    /// What can be known to be wrong before anything is installed, and what to do about it.
    pub fn check(&self, name: &str) -> Result<(), String> {
        for part in name.split('/') {
            Name::parse(part).map_err(|bad| format!("component {name:?}: {bad}"))?;
        }
        let problem = match self {
            Self::Slots { a, b, .. } if a == b => {
                Some("`a` and `b` are the same; each slot has its own partition".into())
            }
            Self::Slots { a, b, bootloader } => relative(&[a, b]).or_else(|| bootloader.problem()),
            Self::Rauc { socket, timeout_s, .. } => relative(&[socket]).or_else(|| no_time(*timeout_s)),
            Self::Swupdate(config) => config.problem(),
            Self::Tree { root, reload_timeout_s, .. } => relative(&[root]).or_else(|| no_time(*reload_timeout_s)),
            Self::Container(config) => config.problem(),
            Self::Deb { root, timeout_s } => {
                relative(root.as_slice().iter().collect::<Vec<_>>().as_slice()).or_else(|| no_time(*timeout_s))
            }
            Self::Hook { folder, timeout_s } => relative(&[folder]).or_else(|| no_time(*timeout_s)),
        };
        problem.map_or(Ok(()), |problem| Err(format!("component {name:?}: {problem}")))
    }

    /// `folder`: the agent's.
    #[must_use]
    pub fn installer(&self, name: &str, folder: &Path) -> Box<dyn Installer> {
        let own = own_folder(folder, name);
        match self.clone() {
            Self::Slots { a, b, bootloader } => Box::new(Slots { a, b, bootloader: bootloader.build() }),
            Self::Rauc { socket, timeout_s, keeps_bundle } => {
                Box::new(Rauc { socket, folder: own, timeout: Duration::from_secs(timeout_s), keeps_bundle })
            }
            Self::Swupdate(config) => Box::new(config.build(own)),
            Self::Tree { root, keep, bytes_max, keep_archive, reload, reload_timeout_s } => {
                let reload_timeout = Duration::from_secs(reload_timeout_s);
                Box::new(Tree { root, keep, bytes_max, keep_archive, reload, reload_timeout })
            }
            Self::Container(config) => Box::new(config.build(name, own)),
            Self::Deb { root, timeout_s } => {
                let timeout = Duration::from_secs(timeout_s);
                Box::new(Deb { folder: own, root, timeout })
            }
            Self::Hook { folder: programs, timeout_s } => {
                let timeout = Duration::from_secs(timeout_s);
                Box::new(Hook { folder: programs, downloads: incoming(folder).join(flat(name)), timeout })
            }
        }
    }
}

/// Where a component's files are between updates.
#[must_use]
pub fn own_folder(folder: &Path, name: &str) -> PathBuf {
    folder.join("components").join(flat(name))
}

/// No name has a `~`, so no two components share a folder.
fn flat(name: &str) -> String {
    name.replace('/', "~")
}

impl ContainerConfig {
    fn problem(&self) -> Option<String> {
        if self.engine.is_empty() || self.systemctl.is_empty() {
            return Some("`engine` and `systemctl` need a word at least, such as [\"podman\"]".into());
        }
        let paths: Vec<&PathBuf> = [&self.quadlets, &self.units].into_iter().chain(&self.mounts).collect();
        relative(&paths).or_else(|| no_time(self.timeout_s))
    }

    fn build(self, name: &str, folder: PathBuf) -> Container {
        let is_docker = self.engine.first().is_some_and(|word| word.ends_with("docker"));
        let compose = match self.compose {
            said if !said.is_empty() => said,
            _ if is_docker => self.engine.iter().cloned().chain(["compose".to_owned()]).collect(),
            _ => vec!["podman-compose".to_owned()],
        };
        let timeout = Duration::from_secs(self.timeout_s);
        let runtime = Runtime { engine: self.engine, compose, systemctl: self.systemctl, timeout };
        // What Compose allows: small letters, digits, - and _.
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let project = format!("muster-{}", name.chars().map(plain).collect::<String>());
        let policy = Policy { allow: self.allow, mounts: self.mounts };
        let (quadlets, units, keep, run) = (self.quadlets, self.units, self.keep, self.run);
        Container { folder, runtime, project, quadlets, units, keep, policy, run }
    }
}

impl SwupdateConfig {
    fn problem(&self) -> Option<String> {
        match (&self.socket, self.command.is_empty()) {
            (None, true) => return Some("say `socket` (such as \"/tmp/sockinstctrl\") or `command`".into()),
            (Some(_), false) => return Some("`socket` and `command` exclude each other; remove one".into()),
            (Some(socket), true) if socket.is_relative() => return relative(&[socket]),
            (Some(_), true) | (None, false) => {}
        }
        match (&self.mode_a, &self.mode_b) {
            (None, None) => {}
            (Some(_), Some(_)) if self.bootloader.is_none() => {
                return Some("with modes per slot `bootloader` has to be there: it knows which slot runs".into());
            }
            (Some(a), Some(b)) => {
                if let Some(bad) = [a, b].into_iter().find(|mode| split_mode(mode).is_none()) {
                    return Some(format!("{bad:?} is not of the form \"SET,MODE\", such as \"stable,copy-1\""));
                }
            }
            (Some(_), None) | (None, Some(_)) => return Some("`mode_a` and `mode_b` come together".into()),
        }
        no_time(self.timeout_s).or_else(|| self.bootloader.as_ref().and_then(BootloaderConfig::problem))
    }

    fn build(self, folder: PathBuf) -> Swupdate {
        let mode = |text: &Option<String>| text.as_deref().and_then(split_mode);
        let modes = match (mode(&self.mode_a), mode(&self.mode_b)) {
            (Some(a), Some(b)) => Modes::PerSlot { a, b },
            _ => Modes::Its,
        };
        Swupdate {
            way: self.socket.map_or(Way::Command(self.command), Way::Socket),
            modes,
            folder,
            timeout: Duration::from_secs(self.timeout_s),
            bootloader: self.bootloader.map(BootloaderConfig::build),
            restarts: self.restarts,
            version: self.version,
            commit: self.commit,
            revert: self.revert,
        }
    }
}

fn split_mode(text: &str) -> Option<Mode> {
    let (set, mode) = text.split_once(',')?;
    let is_word = |word: &str| !word.is_empty() && !word.contains([',', ' ']);
    (is_word(set) && is_word(mode)).then(|| Mode { set: set.into(), mode: mode.into() })
}

impl BootloaderConfig {
    fn problem(&self) -> Option<String> {
        match self {
            Self::Plain { file } => relative(&[file]),
            Self::Grub { block } => relative(&[block]),
            Self::SystemdBoot { partition } => relative(&[partition]),
            Self::Uboot { copies: [one, other], bytes } => {
                let len = *bytes as u64;
                let is_apart = one.path != other.path || one.offset.abs_diff(other.offset) >= len;
                (!is_apart || *bytes == 0)
                    .then(|| "the two copies of U-Boot's environment overlap; see /etc/fw_env.config".into())
                    .or_else(|| relative(&[&one.path, &other.path]))
            }
        }
    }

    fn build(self) -> Box<dyn Bootloader> {
        match self {
            Self::Plain { file } => Box::new(Plain { file }),
            Self::Grub { block } => Box::new(Grub { block }),
            Self::Uboot { copies, bytes } => {
                let copies = copies.map(|UbootCopy { path, offset }| uboot::Copy { path, offset });
                Box::new(uboot::Uboot { copies, bytes })
            }
            Self::SystemdBoot { partition } => Box::new(SystemdBoot { partition }),
        }
    }
}

fn relative(paths: &[&PathBuf]) -> Option<String> {
    let bad = paths.iter().find(|path| path.is_relative())?;
    Some(format!("{} has to be an absolute path", bad.display()))
}

fn no_time(seconds: u64) -> Option<String> {
    (seconds == 0).then(|| "a time-out is at least 1 s".into())
}
