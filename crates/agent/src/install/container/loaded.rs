//! Which images has this component brought into the engine, so that it may remove them?
//!
//! An image that was there before belongs to somebody else, even if a release brings the same one. What is about to be
//! loaded is written down first: after a power cut between that and the version's manifest, something still knows of it.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::runtime::Runtime;
use crate::disk;
use crate::install::InstallError;
use crate::world::World;

/// An id has 64 digits; some hundred images wait to be removed at the most.
const LIST_BYTES_MAX: usize = 256 * 1024;

#[derive(Debug, Clone, Copy)]
pub(super) struct Loaded<'a> {
    pub folder: &'a Path,
}

impl Loaded<'_> {
    fn path(&self) -> PathBuf {
        self.folder.join("loaded.json")
    }

    fn read(&self, world: &dyn World) -> Result<BTreeSet<String>, InstallError> {
        let path = self.path();
        let what = || InstallError::disk(format!("reading {}", path.display()));
        if world.disk().kind(&path).map_err(what())?.is_none() {
            return Ok(BTreeSet::new());
        }
        let bytes = disk::read(world.disk(), &path, LIST_BYTES_MAX).map_err(what())?;
        serde_json::from_slice(&bytes).map_err(|error| what()(error.into()))
    }

    fn write(&self, world: &dyn World, ids: &BTreeSet<String>) -> Result<(), InstallError> {
        let path = self.path();
        let what = || InstallError::disk(format!("writing {}", path.display()));
        let text = serde_json::to_vec(ids).map_err(|error| what()(error.into()))?;
        if text.len() > LIST_BYTES_MAX {
            return Err(what()(io::Error::other("too many images wait to be removed")));
        }
        disk::replace(world.disk(), &path, &text).map_err(what())
    }

    /// These are ours from now on.
    pub fn add(&self, world: &dyn World, ids: impl IntoIterator<Item = String>) -> Result<(), InstallError> {
        let mut all = self.read(world)?;
        let before = all.len();
        all.extend(ids);
        if all.len() == before { Ok(()) } else { self.write(world, &all) }
    }

    /// Removes ours but those that are used. One that the engine doesn't let go is tried again the next time.
    pub fn keep_only(&self, world: &dyn World, runtime: &Runtime, used: &BTreeSet<String>) -> Result<(), InstallError> {
        let all = self.read(world)?;
        let mut stay = BTreeSet::new();
        for id in &all {
            if used.contains(id) || (runtime.id(world, id)?.is_some() && !runtime.forget(world, id)) {
                stay.insert(id.clone());
            }
        }
        if stay == all { Ok(()) } else { self.write(world, &stay) }
    }
}
