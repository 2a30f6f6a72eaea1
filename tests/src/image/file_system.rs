//! How is a file system made without mounting it? `mke2fs -d` fills it from a folder.
//!
//! The same folder makes the same bytes, so that a release can be built twice and deltas hold differences only.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::Context;

use super::{run, tool};

/// Every time in the image, in seconds since 1970.
const MADE_AT: u64 = 1_700_000_000;
/// More than any folder here has; left to itself, `mke2fs` fills a fifteenth of a small image with room for files.
const INODES: &str = "512";
const INODE_TIMES: [&str; 4] = ["atime", "mtime", "ctime", "crtime"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// For GRUB, which replays no journal: what is on the disk is all there is.
    Bootloader,
    /// For a slot, which nobody writes into.
    System,
    /// For what must outlive a power cut at any moment.
    Data,
}

impl Kind {
    /// Type, block size in bytes, features on top of the type's own, and a digit for the identifiers.
    fn shape(self) -> (&'static str, &'static str, &'static str, char) {
        // GRUB 2.06 refuses the features named last; 64-bit block numbers serve nobody on disks this small.
        match self {
            Self::Bootloader => ("ext2", "1024", "^resize_inode,^metadata_csum_seed,^orphan_file", '1'),
            Self::System => ("ext4", "4096", "^has_journal,^64bit,^resize_inode,^metadata_csum_seed,^orphan_file", '2'),
            Self::Data => ("ext4", "4096", "^64bit,^metadata_csum_seed,^orphan_file", '4'),
        }
    }
}

/// Makes `image`, which holds what is in `folder`, owned by root.
pub fn make(kind: Kind, folder: &Path, image: &Path, bytes: u64) -> anyhow::Result<()> {
    let (name, block, features, digit) = kind.shape();
    let id = format!("6d757374-6572-4000-8000-00000000000{digit}");
    let extended = format!("lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0,hash_seed={id}");
    let mut command = tool("mke2fs");
    command.args([
        "-q", "-F", "-t", name, "-b", block, "-m", "0", "-N", INODES, "-O", features, "-E", &extended, "-U", &id,
    ]);
    command.arg("-d").arg(folder).arg(image).arg(format!("{}k", bytes / 1024));
    run(command.env("E2FSPROGS_FAKE_TIME", MADE_AT.to_string()))?;
    settle_times(folder, image)
}

/// `mke2fs` takes over the folder's times, of which one can't be set from outside.
fn settle_times(folder: &Path, image: &Path) -> anyhow::Result<()> {
    let mut paths = vec!["/".to_owned(), "/lost+found".to_owned()];
    list(folder, "", &mut paths)?;
    let mut script = String::new();
    for path in paths {
        for time in INODE_TIMES {
            let _ = writeln!(script, "set_inode_field {path} {time} @{MADE_AT}");
            let _ = writeln!(script, "set_inode_field {path} {time}_extra 0");
        }
    }
    let file = image.with_extension("times");
    fs::write(&file, script).context("writing the script for debugfs")?;
    let mut debugfs = tool("debugfs");
    debugfs.arg("-w").arg("-f").arg(&file).arg(image).env("E2FSPROGS_FAKE_TIME", MADE_AT.to_string());
    run(&mut debugfs).map(|_| ())
}

fn list(folder: &Path, prefix: &str, paths: &mut Vec<String>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry.with_context(|| format!("reading {}", folder.display()))?;
        let path = format!("{prefix}/{}", entry.file_name().to_string_lossy());
        if entry.file_type().context("asking for a file's type")?.is_dir() {
            list(&entry.path(), &path, paths)?;
        }
        paths.push(path);
    }
    Ok(())
}
