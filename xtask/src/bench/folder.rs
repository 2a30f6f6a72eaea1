//! A folder that is gone afterwards.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context;

static MADE: AtomicU32 = AtomicU32::new(0);

/// Lies in `target`, because the system's folder for such things is often in memory, where a flush costs nothing.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn make(name: &str) -> anyhow::Result<Self> {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = crate::process::root().join(format!("target/bench-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(failed) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} was left behind: {failed}", self.0.display());
        }
    }
}
