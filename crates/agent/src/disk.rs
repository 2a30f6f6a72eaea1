//! What does the agent ask of storage, and what does it trust?
//!
//! Only what was synced survives a power cut: bytes by [`Disk::sync`], names by [`Disk::sync_folder`]. A rename is
//! atomic. Nothing else is assumed. [`replace`] is the one way in which a file that matters is changed.

use std::io;
use std::path::{Path, PathBuf};

use muster_vocab::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Read at a time.
const READ_BYTES: usize = 64 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    Folder,
    Link,
    /// A block device: its size is fixed.
    Device,
}

/// Who may do what with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permissions {
    /// The lowest twelve bits of Unix.
    pub mode: u32,
    pub user: u32,
    pub group: u32,
}

/// The real file system, and the simulator's.
pub trait Disk: Send + Sync {
    /// What is at this path; links are not followed.
    fn kind(&self, path: &Path) -> io::Result<Option<Kind>>;
    /// Bytes in a file, or of a block device.
    fn size(&self, path: &Path) -> io::Result<u64>;
    /// Fills as much of the buffer as there is.
    fn read_at(&self, path: &Path, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Makes the file if it is missing; its folder has to exist.
    fn write_at(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()>;
    fn set_size(&self, path: &Path, bytes: u64) -> io::Result<()>;
    fn sync(&self, path: &Path) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes names in a folder durable: those made, renamed and removed.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// A file or link; fine if there is none.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// A folder and all in it; fine if there is none.
    fn remove_folder(&self, folder: &Path) -> io::Result<()>;
    /// With the folders above it; fine if it exists. Each new name is made durable.
    fn make_folder(&self, folder: &Path) -> io::Result<()>;
    /// Names in a folder, sorted; empty if there is no such folder.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;
    fn make_link(&self, target: &Path, link: &Path) -> io::Result<()>;
    fn read_link(&self, link: &Path) -> io::Result<PathBuf>;
    /// Of a file; links are followed.
    fn permissions(&self, path: &Path) -> io::Result<Permissions>;
    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()>;
    fn set_owner(&self, path: &Path, user: u32, group: u32) -> io::Result<()>;
    /// When the content was written last, by the wall clock.
    fn modified(&self, path: &Path) -> io::Result<Timestamp>;
    /// Bytes that can still be written in the file system of this path.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
}

/// All of a small file.
///
/// # Errors
/// Also if it has more than `bytes_max`: nothing here is read without a bound.
pub fn read(disk: &dyn Disk, path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let size = usize::try_from(disk.size(path)?).unwrap_or(usize::MAX);
    if size > bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("{} is too large", path.display())));
    }
    let mut bytes = vec![0; size];
    let mut filled = 0;
    while filled < size {
        match disk.read_at(path, filled as u64, &mut bytes[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// The first bytes of a file, whatever its size is said to be: files in `/proc` say 0.
pub fn read_start(disk: &dyn Disk, path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; bytes_max];
    let mut filled = 0;
    while filled < bytes_max {
        match disk.read_at(path, filled as u64, &mut bytes[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Replaces a file so that at any moment the old or the new one is there, whole: write beside it, sync, read back,
/// rename, sync the folder.
///
/// # Errors
/// Also if the disk said that it wrote and did not; the old file is untouched then.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = beside(path);
    disk.remove(&beside)?;
    disk.write_at(&beside, 0, bytes)?;
    disk.sync(&beside)?;
    if read(disk, &beside, bytes.len())? != bytes {
        return Err(io::Error::other(format!("{} is not what was written", beside.display())));
    }
    rename(disk, &beside, path)
}

/// The digest of what can be read back: disks have been known to say that they wrote and not to.
pub fn digest(disk: &dyn Disk, path: &Path) -> io::Result<[u8; 32]> {
    let mut chunk = vec![0; READ_BYTES];
    let (mut digest, mut at) = (Sha256::new(), 0);
    loop {
        match disk.read_at(path, at, &mut chunk)? {
            0 => return Ok(digest.finalize().into()),
            count => {
                digest.update(&chunk[..count]);
                at += count as u64;
            }
        }
    }
}

/// A rename that lasts.
pub fn rename(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    disk.rename(from, to)?;
    disk.sync_folder(folder_of(to))
}

/// Where a file is written before it takes its name.
#[must_use]
pub fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

#[must_use]
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
