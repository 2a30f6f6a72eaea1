//! Where are a component's files while they arrive, and while the way back or a delta needs them?
//!
//! A folder of the component's own: `new-DIGEST.ENDING` until the version is committed, then `DIGEST.ENDING`.

use std::path::{Path, PathBuf};

use muster_vocab::Sha256;

use super::{InstallError, Job, Place};
use crate::disk::{self, Disk, Kind};

const NEW: &str = "new-";

#[derive(Debug, Clone, Copy)]
pub struct Cellar<'a> {
    pub folder: &'a Path,
    /// What programs expect at the end of a file's name.
    pub ending: &'static str,
}

impl Cellar<'_> {
    /// An artifact that is arriving or waits to be committed.
    pub fn new_one(&self, job: Job<'_>, artifact: usize) -> Result<PathBuf, InstallError> {
        let none = || InstallError::Refused(format!("the component has no file {artifact}"));
        let digest = job.component.artifacts.get(artifact).ok_or_else(none)?.digest;
        Ok(self.folder.join(format!("{NEW}{}.{}", digest.hex(), self.ending)))
    }

    fn kept(&self, digest: &Sha256) -> PathBuf {
        self.folder.join(format!("{}.{}", digest.hex(), self.ending))
    }

    pub fn place(&self, disk: &dyn Disk, job: Job<'_>, artifact: usize) -> Result<Place, InstallError> {
        let failed = || InstallError::disk(format!("making room in {}", self.folder.display()));
        let path = self.new_one(job, artifact)?;
        disk.make_folder(self.folder).map_err(failed())?;
        let written = if is_file(disk, &path) { disk.size(&path).map_err(failed())? } else { 0 };
        let bytes_max = disk.free_bytes(self.folder).map_err(failed())?.saturating_add(written);
        let base = job.previous.and_then(|previous| previous.digests.get(artifact)).map(|digest| self.kept(digest));
        Ok(Place { path, bytes_max, base: base.filter(|path| is_file(disk, path)) })
    }

    /// The new files take the place of those before.
    pub fn keep(&self, disk: &dyn Disk, job: Job<'_>) -> Result<(), InstallError> {
        let failed = || InstallError::disk(format!("keeping files in {}", self.folder.display()));
        let mut kept = Vec::new();
        for (index, artifact) in job.component.artifacts.iter().enumerate() {
            let (new_one, path) = (self.new_one(job, index)?, self.kept(&artifact.digest));
            if is_file(disk, &new_one) {
                disk::rename(disk, &new_one, &path).map_err(failed())?;
            }
            kept.push(path);
        }
        self.remove(disk, |path| !kept.iter().any(|kept| kept == path))
    }

    /// Nothing new is needed any more.
    pub fn sweep(&self, disk: &dyn Disk) -> Result<(), InstallError> {
        self.remove(disk, |path| {
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(NEW.as_bytes()))
        })
    }

    pub fn empty(&self, disk: &dyn Disk) -> Result<(), InstallError> {
        self.remove(disk, |_| true)
    }

    /// Files with another ending are somebody else's.
    fn remove(&self, disk: &dyn Disk, is_meant: impl Fn(&Path) -> bool) -> Result<(), InstallError> {
        let failed = || InstallError::disk(format!("removing files from {}", self.folder.display()));
        for name in disk.list(self.folder).map_err(failed())? {
            let path = self.folder.join(&name);
            if path.extension().is_some_and(|ending| ending == self.ending) && is_meant(&path) {
                disk.remove(&path).map_err(failed())?;
            }
        }
        Ok(())
    }
}

fn is_file(disk: &dyn Disk, path: &Path) -> bool {
    matches!(disk.kind(path), Ok(Some(Kind::File)))
}
