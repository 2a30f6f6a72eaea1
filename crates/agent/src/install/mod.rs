//! How does one component get onto the device, and back off it?
//!
//! Every method may be repeated after a power cut at any point inside it, and then ends as if it had run once.
//! Until `activate`, nothing that runs is touched. `revert` undoes whatever `activate` did, also half of it.

mod cellar;
pub mod container;
mod dbus;
pub mod deb;
pub mod hook;
pub mod rauc;
pub mod slots;
pub mod swupdate;
pub mod tree;
pub mod unpack;
mod versions;

use std::path::PathBuf;

use muster_wire::agent::Component;

use crate::state::Installed;
use crate::world::World;

/// The component that is installed, and what ran before.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    pub component: &'a Component,
    pub previous: Option<&'a Installed>,
    /// What [`Installer::plan`] wrote down, durable before anything is done.
    pub note: &'a str,
}

/// Which version of a component runs now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Running {
    New,
    Old,
}

/// Does what was switched run at once, or only after the machine has restarted?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    Effect,
    Restart,
}

/// Where an artifact's bytes are written while they arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// A file, or the device of the slot that doesn't run.
    pub path: PathBuf,
    /// Fits no more than this.
    pub bytes_max: u64,
    /// Where the version that runs can be read, byte for byte as its artifact was: deltas start from it.
    pub base: Option<PathBuf>,
}

pub trait Installer: Send + Sync {
    /// For messages and for `installer = "…"` in the agent's file.
    fn name(&self) -> &'static str;

    /// Refuses what could never be installed, before anything is fetched. Writes down what the way back or a restart
    /// in the middle will need: which slot is written, which version was linked. The job's note is empty here.
    fn plan(&self, world: &dyn World, job: Job<'_>) -> Result<String, InstallError>;

    fn place(&self, world: &dyn World, job: Job<'_>, artifact: usize) -> Result<Place, InstallError>;

    /// All artifacts are at their places and verified: makes them ready to be switched to.
    fn stage(&self, world: &dyn World, job: Job<'_>) -> Result<(), InstallError>;

    /// Switches to the new version.
    fn activate(&self, world: &dyn World, job: Job<'_>) -> Result<Takes, InstallError>;

    fn running(&self, world: &dyn World, job: Job<'_>) -> Result<Running, InstallError>;

    /// Makes the new version, which runs, the one to stay; forgets what is needed for the way back.
    fn commit(&self, world: &dyn World, job: Job<'_>) -> Result<(), InstallError>;

    /// Switches back to what ran before, and removes what was staged.
    fn revert(&self, world: &dyn World, job: Job<'_>) -> Result<Takes, InstallError>;

    /// No update is under way: leaves whatever is on trial without one, because the state that knew of it was lost.
    /// `installed` is what the state believes to run.
    fn settle(&self, _world: &dyn World, _installed: Option<&Installed>) -> Result<Takes, InstallError> {
        Ok(Takes::Effect)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// It will never work with this release on this device.
    #[error("{0}")]
    Refused(String),
    /// A program said no; its last lines.
    #[error("{what}: {}", lines.join("; "))]
    Program { what: String, lines: Vec<String> },
    #[error("{what}")]
    Disk {
        what: String,
        #[source]
        source: std::io::Error,
    },
}

impl InstallError {
    pub fn disk(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Disk { what, source }
    }

    /// The whole chain in one line.
    #[must_use]
    pub fn sentence(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        text
    }
}
