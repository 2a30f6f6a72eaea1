//! Versions side by side in one folder: which one is linked, which ones stay, and what was about to be switched?
//!
//! ```text
//! root/current -> versions/NAME        what runs; switched by renaming a link over it
//! root/versions/NAME/…                 whole, by the rename of NAME.partial once all in it is durable
//! root/switched                        the link was about to be switched, and programs may have to be told
//! root/history                         former versions, oldest first
//! ```

use std::path::{Path, PathBuf};

use super::{InstallError, Job};
use crate::disk::{self, Kind};
use crate::world::World;

/// A name per line; more former versions than this are kept nowhere.
const HISTORY_BYTES_MAX: usize = 64 * 1024;
/// In the note of a job before which nothing was installed.
pub(super) const NOTHING: &str = "nothing";

/// Names are hex digits: the digest of what the version came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Versions<'a> {
    pub root: &'a Path,
}

impl Versions<'_> {
    pub fn folder(&self, name: &str) -> PathBuf {
        self.root.join("versions").join(name)
    }

    /// Where a version is until it is whole.
    pub fn partial(&self, name: &str) -> PathBuf {
        self.root.join("versions").join(format!("{name}.partial"))
    }

    fn current(&self) -> PathBuf {
        self.root.join("current")
    }

    fn switched(&self) -> PathBuf {
        self.root.join("switched")
    }

    /// The version that is linked.
    pub fn linked(&self, world: &dyn World) -> Result<Option<String>, InstallError> {
        let link = self.current();
        let what = || InstallError::disk(format!("reading {}", link.display()));
        match world.disk().kind(&link).map_err(what())? {
            None => Ok(None),
            Some(Kind::Link) => {
                let target = world.disk().read_link(&link).map_err(what())?;
                let name = target.strip_prefix("versions").ok().and_then(Path::to_str);
                let name = name.filter(|name| !name.is_empty() && !name.contains('/'));
                let foreign = || {
                    let (link, target) = (link.display(), target.display());
                    InstallError::Refused(format!("{link} leads to {target}, which is none of its versions"))
                };
                name.map(|name| Some(name.to_owned())).ok_or_else(foreign)
            }
            Some(Kind::File | Kind::Folder | Kind::Device) => {
                Err(InstallError::Refused(format!("{} is no link: move it away first", link.display())))
            }
        }
    }

    /// Links a version, or none, so that at any moment the old or the new link is there.
    pub fn link(&self, world: &dyn World, version: Option<&str>) -> Result<(), InstallError> {
        let (link, disk) = (self.current(), world.disk());
        let switching = || InstallError::disk(format!("switching {}", link.display()));
        if self.linked(world)?.as_deref() != version {
            let beside = disk::beside(&link);
            match version {
                Some(version) => {
                    disk.remove(&beside).map_err(switching())?;
                    disk.make_link(&Path::new("versions").join(version), &beside).map_err(switching())?;
                    disk.rename(&beside, &link).map_err(switching())?;
                }
                None => disk.remove(&link).map_err(switching())?,
            }
        }
        disk.sync_folder(self.root).map_err(switching())
    }

    /// Notes that the link goes to a new version, and where it was.
    pub fn begin_switch(&self, world: &dyn World, new: &str, before: Option<&str>) -> Result<(), InstallError> {
        let switched = self.switched();
        let text = format!("{new}\n{}\n", before.unwrap_or_default());
        disk::replace(world.disk(), &switched, text.as_bytes())
            .map_err(InstallError::disk(format!("writing {}", switched.display())))
    }

    /// A switch that has begun and was neither kept nor taken back: where the link was before.
    pub fn switch_under_way(&self, world: &dyn World) -> Result<Option<Option<String>>, InstallError> {
        let switched = self.switched();
        let what = || InstallError::disk(format!("reading {}", switched.display()));
        if world.disk().kind(&switched).map_err(what())?.is_none() {
            return Ok(None);
        }
        let text = disk::read(world.disk(), &switched, HISTORY_BYTES_MAX).map_err(what())?;
        let text = String::from_utf8_lossy(&text);
        Ok(Some(text.lines().nth(1).filter(|before| !before.is_empty()).map(str::to_owned)))
    }

    pub fn forget_switch(&self, world: &dyn World) -> Result<(), InstallError> {
        let what = || InstallError::disk("forgetting the switch");
        world.disk().remove(&self.switched()).map_err(what())?;
        world.disk().sync_folder(self.root).map_err(what())
    }

    /// Former versions, oldest first.
    pub fn history(&self, world: &dyn World) -> Result<Vec<String>, InstallError> {
        let path = self.root.join("history");
        let what = || InstallError::disk(format!("reading {}", path.display()));
        if world.disk().kind(&path).map_err(what())?.is_none() {
            return Ok(Vec::new());
        }
        let bytes = disk::read(world.disk(), &path, HISTORY_BYTES_MAX).map_err(what())?;
        Ok(String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect())
    }

    /// Writes down which former versions stay beside the new one. Answers them.
    pub fn remember(
        &self,
        world: &dyn World,
        (new, job): (&str, Job<'_>),
        keep: usize,
    ) -> Result<Vec<String>, InstallError> {
        let mut history = self.history(world)?;
        if job.note != NOTHING {
            history.retain(|version| version != job.note);
            history.push(job.note.to_owned());
        }
        history.retain(|version| version != new);
        history.drain(..history.len().saturating_sub(keep));
        let path = self.root.join("history");
        let text: String = history.iter().map(|version| format!("{version}\n")).collect();
        disk::replace(world.disk(), &path, text.as_bytes())
            .map_err(InstallError::disk(format!("writing {}", path.display())))?;
        Ok(history)
    }

    pub fn keep_only(&self, world: &dyn World, folder: &str, stays: &dyn Fn(&str) -> bool) -> Result<(), InstallError> {
        let (disk, folder) = (world.disk(), self.root.join(folder));
        let removing = || InstallError::disk(format!("removing old things in {}", folder.display()));
        let names = disk.list(&folder).map_err(removing())?;
        for name in names.iter().filter(|name| !stays(name)) {
            let path = folder.join(name);
            match disk.kind(&path).map_err(removing())? {
                Some(Kind::Folder) => disk.remove_folder(&path).map_err(removing())?,
                Some(Kind::File | Kind::Link | Kind::Device) | None => disk.remove(&path).map_err(removing())?,
            }
        }
        if names.is_empty() {
            return Ok(());
        }
        disk.sync_folder(&folder).map_err(removing())
    }
}

/// What ran before, by a job's note.
pub(super) fn before(job: Job<'_>) -> Option<&str> {
    Some(job.note).filter(|note| *note != NOTHING)
}
