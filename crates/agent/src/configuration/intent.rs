//! What is under way with the device's files, and what is needed to take it back?

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use muster_vocab::Sha256;
use serde::{Deserialize, Serialize};

use super::ConfigurationSettings;
use super::check::{Planned, beside};
use crate::disk::{self, Disk, Permissions};

/// 64 files with long names and commands stay below.
const INTENT_BYTES_MAX: usize = 1024 * 1024;
const OLD_BYTES_MAX: usize = super::FILE_BYTES_MAX;
/// Nobody else reads a file while it is being written, nor the copy of one.
const PRIVATE: u32 = 0o600;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Intent {
    pub version: u64,
    pub stage: Stage,
    pub changes: Vec<Change>,
    /// Each once, in the order of the files.
    pub reload: Vec<Vec<String>>,
    /// Every file of this version, also those that are as they should be already.
    pub all: BTreeMap<String, Sha256>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub(super) enum Stage {
    /// Nothing is switched.
    Writing,
    /// Some or all files may be switched; copies of all old ones are there.
    Switching,
    /// Files are switched, and services have taken them.
    Applied,
    /// Some or all files may be back.
    Reverting { why: Vec<String> },
}

/// A file that is replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Change {
    pub named: String,
    pub path: PathBuf,
    /// None: there was none.
    pub previous: Option<Permissions>,
    /// Name of the copy of the old one.
    pub copy: String,
}

impl Intent {
    pub(super) fn new(version: u64, files: &[Planned]) -> Self {
        let mut reload: Vec<Vec<String>> = Vec::new();
        let mut changes = Vec::new();
        for file in files.iter().filter(|file| file.is_changed) {
            if !file.reload.is_empty() && !reload.contains(&file.reload) {
                reload.push(file.reload.clone());
            }
            changes.push(Change {
                named: file.named.clone(),
                path: file.path.clone(),
                previous: file.previous,
                copy: format!("old-{}", changes.len()),
            });
        }
        let all = files.iter().map(|file| (file.named.clone(), file.digest)).collect();
        Self { version, stage: Stage::Writing, changes, reload, all }
    }

    pub(super) fn load(disk: &dyn Disk, settings: &ConfigurationSettings) -> io::Result<Option<Self>> {
        let path = file(settings);
        if disk.kind(&path)?.is_none() {
            return Ok(None);
        }
        let bytes = disk::read(disk, &path, INTENT_BYTES_MAX)?;
        Ok(Some(serde_json::from_slice(&bytes)?))
    }

    pub(super) fn start(&self, disk: &dyn Disk, settings: &ConfigurationSettings) -> io::Result<()> {
        // Copies of an attempt that was forgotten half.
        if disk.kind(&file(settings))?.is_none() {
            disk.remove_folder(&folder(settings))?;
        }
        disk.make_folder(&folder(settings))?;
        self.save(disk, settings)
    }

    pub(super) fn save(&self, disk: &dyn Disk, settings: &ConfigurationSettings) -> io::Result<()> {
        let bytes = serde_json::to_vec(self).map_err(io::Error::other)?;
        disk::replace(disk, &file(settings), &bytes)
    }

    /// First the intent: without it, copies mean nothing.
    pub(super) fn forget(disk: &dyn Disk, settings: &ConfigurationSettings) -> io::Result<()> {
        if disk.kind(&folder(settings))?.is_none() {
            return Ok(());
        }
        disk.remove(&file(settings))?;
        disk.sync_folder(&folder(settings))?;
        disk.remove_folder(&folder(settings))
    }

    /// Copies the old file, if there is one.
    pub(super) fn keep(&self, disk: &dyn Disk, settings: &ConfigurationSettings, change: &Change) -> io::Result<()> {
        let Some(previous) = change.previous else { return Ok(()) };
        let bytes = disk::read(disk, &change.path, OLD_BYTES_MAX)?;
        let copy = folder(settings).join(&change.copy);
        write_with(disk, &copy, &bytes, Permissions { mode: PRIVATE, ..own_of(disk, settings, previous) })?;
        disk.sync_folder(&folder(settings))
    }

    /// The old file is at its place again, as it was, or none is if none was.
    pub(super) fn restore(&self, disk: &dyn Disk, settings: &ConfigurationSettings, change: &Change) -> io::Result<()> {
        let Some(previous) = change.previous else {
            disk.remove(&change.path)?;
            return sync_names(disk, &change.path);
        };
        let bytes = disk::read(disk, &folder(settings).join(&change.copy), OLD_BYTES_MAX)?;
        write_with(disk, &beside(&change.path), &bytes, previous)?;
        disk::rename(disk, &beside(&change.path), &change.path)
    }

    /// No file that was written beside stays.
    pub(super) fn clean(&self, disk: &dyn Disk) -> io::Result<()> {
        for change in &self.changes {
            disk.remove(&beside(&change.path))?;
            sync_names(disk, &change.path)?;
        }
        Ok(())
    }
}

fn folder(settings: &ConfigurationSettings) -> PathBuf {
    settings.folder.join("configuration")
}

fn file(settings: &ConfigurationSettings) -> PathBuf {
    folder(settings).join("intent")
}

/// The folder may not have been made yet.
fn sync_names(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let folder = disk::folder_of(path);
    if disk.kind(folder)?.is_some() { disk.sync_folder(folder) } else { Ok(()) }
}

fn own_of(disk: &dyn Disk, settings: &ConfigurationSettings, otherwise: Permissions) -> Permissions {
    disk.permissions(&settings.folder).unwrap_or(otherwise)
}

/// Writes a file durably, readable by nobody else before its permissions are as they should be. Read back, because
/// disks say that they wrote and did not.
pub(super) fn write_with(disk: &dyn Disk, path: &Path, bytes: &[u8], permissions: Permissions) -> io::Result<()> {
    disk.remove(path)?;
    disk.write_at(path, 0, b"")?;
    disk.set_mode(path, PRIVATE)?;
    disk.write_at(path, 0, bytes)?;
    disk.set_owner(path, permissions.user, permissions.group)?;
    disk.set_mode(path, permissions.mode)?;
    disk.sync(path)?;
    if disk::read(disk, path, bytes.len())? != bytes {
        return Err(io::Error::other(format!("{} is not what was written", path.display())));
    }
    Ok(())
}
