//! The file system that the agent runs on: Linux.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::disk::{Disk, Kind, folder_of};

#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn kind(&self, path: &Path) -> io::Result<Option<Kind>> {
        let kind = match fs::symlink_metadata(path) {
            Ok(found) => found.file_type(),
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(if kind.is_symlink() {
            Kind::Link
        } else if kind.is_dir() {
            Kind::Folder
        } else if kind.is_block_device() {
            Kind::Device
        } else {
            Kind::File
        }))
    }

    /// Of a block device too, whose metadata says 0.
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
        OpenOptions::new().write(true).create(true).truncate(false).open(path)?.write_all_at(bytes, offset)
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
        fine_if_missing(fs::remove_file(path))
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        fine_if_missing(fs::remove_dir_all(folder))
    }

    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        let above = folder_of(folder);
        if above != folder && above != Path::new(".") {
            self.make_folder(above)?;
        }
        match fs::create_dir(folder) {
            Ok(()) => self.sync_folder(above),
            Err(_) if folder.is_dir() => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if is_missing(&error) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn make_link(&self, target: &Path, link: &Path) -> io::Result<()> {
        std::os::unix::fs::symlink(target, link)
    }

    fn read_link(&self, link: &Path) -> io::Result<PathBuf> {
        fs::read_link(link)
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    }

    fn set_owner(&self, path: &Path, user: u32, group: u32) -> io::Result<()> {
        std::os::unix::fs::lchown(path, Some(user), Some(group))
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let free = rustix::fs::statvfs(path)?;
        Ok(free.f_bavail.saturating_mul(free.f_frsize))
    }
}

/// Also below something that is no folder.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn fine_if_missing(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if is_missing(&error) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk;

    #[test]
    fn files_folders_and_links_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        RealDisk.make_folder(&at("deep/er")).unwrap();
        RealDisk.write_at(&at("file"), 3, b"abc").unwrap();
        RealDisk.make_link(Path::new("nowhere"), &at("link")).unwrap();
        assert_eq!(RealDisk.kind(&at("deep/er")).unwrap(), Some(Kind::Folder));
        assert_eq!(RealDisk.kind(&at("file")).unwrap(), Some(Kind::File));
        assert_eq!(RealDisk.kind(&at("link")).unwrap(), Some(Kind::Link));
        assert_eq!(RealDisk.kind(&at("file/below")).unwrap(), None);
        assert_eq!(RealDisk.read_link(&at("link")).unwrap(), Path::new("nowhere"));
        assert_eq!(RealDisk.list(folder.path()).unwrap(), ["deep", "file", "link"]);
        assert!(RealDisk.list(&at("missing")).unwrap().is_empty());
        assert!(RealDisk.free_bytes(folder.path()).unwrap() > 0);
    }

    #[test]
    fn bytes_are_written_and_read_at_an_offset() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        RealDisk.write_at(&file, 2, b"cd").unwrap();
        RealDisk.write_at(&file, 0, b"ab").unwrap();
        let mut buffer = [0; 8];
        assert_eq!(RealDisk.read_at(&file, 1, &mut buffer).unwrap(), 3);
        assert_eq!(&buffer[..3], b"bcd");
        RealDisk.set_size(&file, 1).unwrap();
        assert_eq!(disk::read(&RealDisk, &file, 10).unwrap(), b"a");
        disk::replace(&RealDisk, &file, b"new").unwrap();
        assert_eq!((RealDisk.size(&file).unwrap(), RealDisk.list(folder.path()).unwrap().len()), (3, 1));
    }

    #[test]
    fn what_is_gone_already_can_be_removed_again() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        RealDisk.make_folder(&at("deep/er")).unwrap();
        for _ in 0..2 {
            RealDisk.remove_folder(&at("deep")).unwrap();
            RealDisk.remove(&at("file")).unwrap();
        }
    }
}
