//! What may a release ask for, and what has the device's owner to allow first?
//!
//! Whoever publishes releases decides what runs inside containers; whoever owns the device decides what containers may
//! reach outside of themselves. What is known to be harmless is listed; everything else has to be allowed by name in the
//! agent's file. A list of what is dangerous would miss what the next engine adds.

mod compose;
mod unit;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What is asked for beyond a container's own walls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Permit {
    /// Containers that are as mighty as root on the device.
    Privileged,
    /// More kernel capabilities than the engine gives by itself.
    Capabilities,
    /// The device's own network, another container's, or one that the release doesn't make.
    HostNetwork,
    /// To see the device's processes.
    HostPid,
    /// Containers and pods with names of the release's choice: compose programs and podman remove what has them already.
    ContainerNames,
    /// Images that don't come with the release.
    Pull,
    /// Programs that systemd runs outside of containers.
    Units,
    /// Whatever the engine and systemd can do.
    Everything,
}

impl Permit {
    /// As in the agent's file.
    fn word(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Capabilities => "capabilities",
            Self::HostNetwork => "host-network",
            Self::HostPid => "host-pid",
            Self::ContainerNames => "container-names",
            Self::Pull => "pull",
            Self::Units => "units",
            Self::Everything => "everything",
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    pub allow: BTreeSet<Permit>,
    /// Folders, files and devices that containers may see, each exactly so: what lies below a folder that a container
    /// writes may be a link to anywhere.
    pub mounts: Vec<PathBuf>,
}

/// A description's file, with what else the release brings.
#[derive(Debug, Clone, Copy)]
pub struct Described<'a> {
    pub name: &'a str,
    pub text: &'a [u8],
    /// Names of the release's images.
    pub images: &'a [String],
    /// Names of all files of the description.
    pub files: &'a [String],
}

impl Policy {
    /// A Compose file. The error says what is asked for, and what would allow it.
    pub fn check_compose(&self, described: Described<'_>) -> Result<(), String> {
        if self.allows(Permit::Everything) {
            return Ok(());
        }
        compose::check(self, described).map_err(|why| format!("{}: {why}", described.name))
    }

    /// A Quadlet file or a unit.
    pub fn check_unit(&self, described: Described<'_>) -> Result<(), String> {
        if self.allows(Permit::Everything) {
            return Ok(());
        }
        unit::check(self, described).map_err(|why| format!("{}: {why}", described.name))
    }

    #[must_use]
    pub fn allows(&self, permit: Permit) -> bool {
        self.allow.contains(&permit) || self.allow.contains(&Permit::Everything)
    }

    fn needs(&self, permit: Permit, what: &str) -> Result<(), String> {
        if self.allows(permit) {
            return Ok(());
        }
        let word = permit.word();
        Err(format!(
            "{what} is not allowed on this device; its owner can add \"{word}\" to `allow` in the agent's file"
        ))
    }

    /// The device's folder, file or device that a container is to see.
    fn mount(&self, source: &str) -> Result<(), String> {
        let path = Path::new(source);
        // `Path` compares by components: a slash at the end or two in a row make no difference, `..` does.
        if path.is_absolute() && self.mounts.iter().any(|allowed| allowed == path) {
            return Ok(());
        }
        Err(format!(
            "{source} of the device is not for containers; its owner can add exactly this path to `mounts` in the \
             agent's file"
        ))
    }

    fn image(&self, name: &str, described: Described<'_>) -> Result<(), String> {
        if described.images.iter().any(|image| tagged(image) == tagged(name)) {
            return Ok(());
        }
        self.needs(Permit::Pull, &format!("the image {name:?}, which doesn't come with the release,"))
    }
}

/// A name without a tag means the latest one.
fn tagged(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains([':', '@']) { name.to_owned() } else { format!("{name}:latest") }
}

/// Options of a mount that change nothing but what the container sees.
const MOUNT_OPTIONS: [&str; 12] =
    ["ro", "rw", "z", "Z", "nocopy", "cached", "delegated", "consistent", "noexec", "nosuid", "nodev", "exec"];

fn mount_options(policy: &Policy, options: &str) -> Result<(), String> {
    match options.split(',').find(|option| !MOUNT_OPTIONS.contains(option)) {
        Some(odd) => policy.needs(Permit::Everything, &format!("the mount option {odd:?}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
