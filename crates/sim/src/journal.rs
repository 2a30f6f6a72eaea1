//! What did the devices really install?
//!
//! Append-only, one JSON line per install, so that a test can hold the server's account against the devices' own.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;

use muster_vocab::{ActionId, Timestamp};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Installed,
    Failed,
    /// The install began and nobody heard of the device again.
    Silent,
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Install {
    pub device: String,
    pub action: ActionId,
    /// What was to be installed, whatever became of it.
    pub version: String,
    pub outcome: Outcome,
    pub at: Timestamp,
}

#[derive(Debug)]
pub(crate) struct Journal(Mutex<File>);

impl Journal {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(Mutex::new(File::options().create(true).append(true).open(path)?)))
    }

    pub(crate) fn record(&self, install: &Install) -> io::Result<()> {
        let mut line = serde_json::to_vec(install)?;
        line.push(b'\n');
        let mut file = self.0.lock().map_err(|_| io::Error::other("a writer died while it wrote"))?;
        file.write_all(&line)
    }
}

/// Reads a journal back.
pub fn read(path: &Path) -> io::Result<Vec<Install>> {
    let text = std::fs::read_to_string(path)?;
    text.lines().map(|line| serde_json::from_str(line).map_err(io::Error::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_is_appended_to_and_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let install = |action| Install {
            device: "sim-1".into(),
            action: ActionId(action),
            version: "1.1".into(),
            outcome: Outcome::Installed,
            at: Timestamp(0),
        };
        Journal::open(&path).unwrap().record(&install(1)).unwrap();
        Journal::open(&path).unwrap().record(&install(2)).unwrap();
        assert_eq!(read(&path).unwrap(), [install(1), install(2)]);
        let first = std::fs::read_to_string(&path).unwrap().lines().next().unwrap().to_owned();
        assert_eq!(
            first,
            r#"{"device":"sim-1","action":1,"version":"1.1","outcome":"installed","at":"1970-01-01T00:00:00.000Z"}"#
        );
    }
}
