//! How is storage asked for what [`Disk`] promises, on Linux?
//!
//! Links are followed where bytes are meant (`/dev/disk/by-partlabel/…` names slots), never where names are.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use muster_vocab::Timestamp;

use crate::disk::{Disk, Kind, Permissions, folder_of};

/// The file system of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn kind(&self, path: &Path) -> io::Result<Option<Kind>> {
        let found = match fs::symlink_metadata(path) {
            Ok(found) => found.file_type(),
            Err(error) if is_absence(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        if found.is_file() {
            Ok(Some(Kind::File))
        } else if found.is_dir() {
            Ok(Some(Kind::Folder))
        } else if found.is_symlink() {
            Ok(Some(Kind::Link))
        } else if found.is_block_device() {
            Ok(Some(Kind::Device))
        } else {
            let what = format!("{} is neither file, folder, link nor block device", path.display());
            Err(io::Error::new(ErrorKind::InvalidInput, what))
        }
    }

    /// By seeking to the end: the metadata of a block device say 0.
    fn size(&self, path: &Path) -> io::Result<u64> {
        File::open(path)?.seek(SeekFrom::End(0))
    }

    fn read_at(&self, path: &Path, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let file = File::open(path)?;
        let mut filled = 0;
        while filled < buffer.len() {
            match file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        writable(path)?.write_all_at(bytes, offset)
    }

    fn set_size(&self, path: &Path, bytes: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(path)?.set_len(bytes)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fine_if_absent(fs::remove_file(path))
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        fine_if_absent(fs::remove_dir_all(folder))
    }

    /// The name of the deepest folder that exists already is synced as well: whoever made it may have been killed
    /// before doing so.
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        let mut missing = Vec::new();
        let mut here = folder;
        while !is_folder(here)? {
            missing.push(here);
            here = folder_of(here);
        }
        self.sync_folder(folder_of(here))?;
        for folder in missing.into_iter().rev() {
            match fs::create_dir(folder) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                Ok(()) | Err(_) => self.sync_folder(folder_of(folder))?,
            }
        }
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let found = match fs::read_dir(folder) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in found {
            names.push(entry?.file_name().into_string().map_err(|name| {
                io::Error::new(ErrorKind::InvalidData, format!("the name {} is not UTF-8", name.display()))
            })?);
        }
        names.sort();
        Ok(names)
    }

    fn make_link(&self, target: &Path, link: &Path) -> io::Result<()> {
        symlink(target, link)
    }

    fn read_link(&self, link: &Path) -> io::Result<PathBuf> {
        fs::read_link(link)
    }

    fn permissions(&self, path: &Path) -> io::Result<Permissions> {
        let found = fs::metadata(path)?;
        Ok(Permissions { mode: found.mode() & 0o7777, user: found.uid(), group: found.gid() })
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    }

    fn set_owner(&self, path: &Path, user: u32, group: u32) -> io::Result<()> {
        lchown(path, Some(user), Some(group))
    }

    fn modified(&self, path: &Path) -> io::Result<Timestamp> {
        let since = fs::metadata(path)?.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
    }

    /// A path that isn't there yet has the room of the folder it will be in.
    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let mut here = path;
        while !here.exists() && here != folder_of(here) {
            here = folder_of(here);
        }
        let found = rustix::fs::statvfs(here)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

/// Opens for writing, and makes the file only if nothing has its name: not through a link that leads nowhere, such as
/// one to a device that has gone, where a new file would swallow the bytes.
fn writable(path: &Path) -> io::Result<File> {
    match OpenOptions::new().write(true).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => OpenOptions::new().write(true).create_new(true).open(path),
        opened => opened,
    }
}

fn is_folder(path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Ok(true),
        Ok(_) => Err(io::Error::new(ErrorKind::NotADirectory, format!("{} is no folder", path.display()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn fine_if_absent(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}
