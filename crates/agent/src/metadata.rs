//! Where does a device keep the metadata it believes, and how does it ask for more?
//!
//! Each document lies in the folder byte for byte as it was fetched. [`disk::replace`] writes it, so that a power cut
//! leaves the old one or the new one, and a root is durable before anything signed by its keys is asked for.

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use muster_trust::tuf::document::Spelling;
use muster_trust::tuf::session::{Session, Want};
use muster_trust::tuf::trusted::{Refused, Trusted};
use muster_vocab::{Timestamp, limit};

use crate::disk::{self, Disk};

const ROOT: &str = "root.json";

#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    #[error("metadata was refused")]
    Refused(#[source] Refused),
    #[error("there is no trusted root in {0}")]
    NoRoot(PathBuf),
    #[error("keeping {file}")]
    Keep {
        file: String,
        #[source]
        source: io::Error,
    },
    #[error("fetching {file}")]
    Fetch {
        file: String,
        #[source]
        source: anyhow::Error,
    },
}

/// Asks the repository for a document of at most so many bytes; `None` if it has none of this name.
pub type Ask<'a> = dyn FnMut(&str, u64) -> anyhow::Result<Option<Vec<u8>>> + 'a;

/// The folder with what is believed.
pub struct Metadata<'a> {
    disk: &'a dyn Disk,
    folder: &'a Path,
    spelling: Spelling,
}

impl<'a> Metadata<'a> {
    #[must_use]
    pub fn new(disk: &'a dyn Disk, folder: &'a Path, spelling: Spelling) -> Self {
        Self { disk, folder, spelling }
    }

    /// Puts the first root there. A folder that has one already is left alone.
    ///
    /// # Errors
    /// If the root doesn't hold by its own keys, or the disk fails.
    pub fn begin(&self, root: &[u8]) -> Result<(), MetadataError> {
        Trusted::start(root, self.spelling).map_err(MetadataError::Refused)?;
        let failed = |source| MetadataError::Keep { file: ROOT.into(), source };
        self.disk.make_folder(self.folder).map_err(failed)?;
        let path = self.folder.join(ROOT);
        if self.disk.kind(&path).map_err(failed)?.is_some() {
            return Ok(());
        }
        disk::replace(self.disk, &path, root).map_err(failed)
    }

    /// Brings everything but the delegated roles up to date.
    ///
    /// # Errors
    /// What was refused, or didn't come. Documents that were taken before it stay.
    pub fn refresh(&self, now: Timestamp, ask: &mut Ask<'_>) -> Result<Session, MetadataError> {
        let root = self.load(ROOT).ok_or_else(|| MetadataError::NoRoot(self.folder.to_owned()))?;
        let mut session = Session::start(&root, now, self.spelling).map_err(MetadataError::Refused)?;
        self.go_on(&mut session, ask)?;
        Ok(session)
    }

    /// Does what the session wants until it wants nothing more.
    ///
    /// # Errors
    /// As [`Metadata::refresh`].
    pub fn go_on(&self, session: &mut Session, ask: &mut Ask<'_>) -> Result<(), MetadataError> {
        loop {
            let found = match session.want() {
                Want::Done => return Ok(()),
                Want::Load { file } => self.load(&file),
                Want::Fetch { file, bytes_max } => {
                    ask(&file, bytes_max).map_err(|source| MetadataError::Fetch { file, source })?
                }
                Want::Keep { file, bytes } => {
                    self.keep(&file, &bytes)?;
                    None
                }
            };
            session.answer(found).map_err(MetadataError::Refused)?;
        }
    }

    /// Durable when it returns.
    ///
    /// # Errors
    /// If the disk fails; what was there before stays.
    pub fn keep(&self, file: &str, bytes: &[u8]) -> Result<(), MetadataError> {
        disk::replace(self.disk, &self.folder.join(file), bytes)
            .map_err(|source| MetadataError::Keep { file: file.to_owned(), source })
    }

    /// What was kept. What can't be read is as good as not there: it is fetched again.
    #[must_use]
    pub fn load(&self, file: &str) -> Option<Vec<u8>> {
        let bytes_max = usize::try_from(limit::TUF_TARGETS_BYTES_MAX).unwrap_or(usize::MAX);
        disk::read(self.disk, &self.folder.join(file), bytes_max).ok()
    }
}

impl std::fmt::Debug for Metadata<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metadata").field("folder", &self.folder).finish_non_exhaustive()
    }
}
