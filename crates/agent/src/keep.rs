//! How does the state survive a power cut at any byte?
//!
//! Generation n is in `state.0` or `state.1` by its parity, written beside, synced, renamed, and its folder synced. So
//! the one before is always whole. A file is `muster-agent-state 1 GENERATION SHA256` and a line of JSON.

use std::io;
use std::path::{Path, PathBuf};

use muster_vocab::digest::hex;
use muster_vocab::limit;
use sha2::{Digest, Sha256};

use crate::disk::{self, Disk};
use crate::state::State;

const HEADER: &str = "muster-agent-state 1";

/// The place where the state is kept.
#[derive(Debug)]
pub struct Keeper {
    folder: PathBuf,
    generation: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    #[error("reading the state in {folder}")]
    Read {
        folder: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("writing the state")]
    Write(#[source] io::Error),
    #[error("the state is larger than {max} bytes", max = limit::AGENT_STATE_BYTES_MAX)]
    TooLarge,
}

/// What was found at a start.
#[derive(Debug, PartialEq)]
pub enum Found {
    Newest(State),
    /// The newest file is broken: this is the step before. Numbers of reports given since are lost.
    Older(State),
    /// A first start, or both are broken.
    Nothing,
}

impl Keeper {
    /// Finds the newest whole state.
    pub fn open(disk: &dyn Disk, folder: &Path) -> Result<(Self, Found), KeepError> {
        disk.make_folder(folder).map_err(|source| KeepError::Read { folder: folder.to_owned(), source })?;
        let mut found: Vec<(u64, State)> = Vec::new();
        let mut broken = false;
        for parity in 0..2 {
            match read(disk, &path(folder, parity)) {
                Ok(Some(one)) => found.push(one),
                Ok(None) => {}
                Err(Broken) => broken = true,
            }
        }
        found.sort_by_key(|(generation, _)| *generation);
        let newest = found.pop();
        // After a broken file the next generation takes its place, and never the whole one's.
        let generation = newest.as_ref().map_or(0, |(generation, _)| *generation);
        let found = match newest {
            Some((_, state)) if broken => Found::Older(state),
            Some((_, state)) => Found::Newest(state),
            None => Found::Nothing,
        };
        Ok((Self { folder: folder.to_owned(), generation }, found))
    }

    /// Durable when it returns.
    pub fn save(&mut self, disk: &dyn Disk, state: &State) -> Result<(), KeepError> {
        let body = serde_json::to_vec(state).expect("a state has string keys only");
        if body.len() > limit::AGENT_STATE_BYTES_MAX {
            return Err(KeepError::TooLarge);
        }
        let generation = self.generation + 1;
        let mut file = format!("{HEADER} {generation} {}\n", checksum(generation, &body)).into_bytes();
        file.extend_from_slice(&body);
        disk::replace(disk, &path(&self.folder, generation % 2), &file).map_err(KeepError::Write)?;
        self.generation = generation;
        Ok(())
    }
}

struct Broken;

fn read(disk: &dyn Disk, path: &Path) -> Result<Option<(u64, State)>, Broken> {
    if disk.kind(path).map_err(|_| Broken)?.is_none() {
        return Ok(None);
    }
    let file = disk::read(disk, path, limit::AGENT_STATE_BYTES_MAX + 256).map_err(|_| Broken)?;
    let end = file.iter().position(|byte| *byte == b'\n').ok_or(Broken)?;
    let header = std::str::from_utf8(&file[..end]).map_err(|_| Broken)?;
    let (generation, sum) =
        header.strip_prefix(HEADER).and_then(|rest| rest.trim_start().split_once(' ')).ok_or(Broken)?;
    let generation = generation.parse().map_err(|_| Broken)?;
    let body = &file[end + 1..];
    if checksum(generation, body) != sum {
        return Err(Broken);
    }
    let state = serde_json::from_slice(body).map_err(|_| Broken)?;
    Ok(Some((generation, state)))
}

fn checksum(generation: u64, body: &[u8]) -> String {
    hex(Sha256::new().chain_update(generation.to_le_bytes()).chain_update(body).finalize().as_slice())
}

fn path(folder: &Path, generation: u64) -> PathBuf {
    folder.join(format!("state.{}", generation % 2))
}
