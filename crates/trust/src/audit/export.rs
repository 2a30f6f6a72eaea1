//! Is an exported audit log what the server once wrote?
//!
//! A file of JSON lines: a header, records in order, and after some of them a signed checkpoint; the last line is one.
//! Each line has one spelling only, so that no byte can change unseen.

use std::io::BufRead;

use muster_vocab::{Sha256, Timestamp};
use serde::{Deserialize, Serialize};

use super::checkpoint::{BadCheckpoint, Checkpoint, PublicKey};
use super::tree::Tree;
use super::{Record, START, digest, tells_of_pruning};

/// Of this file format.
pub const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Line {
    Header(Header),
    Record(Exported),
    /// The signed text.
    Checkpoint(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub version: u32,
    /// As in the checkpoints.
    pub origin: String,
    /// Told, not believed, if the reader has a key of their own.
    pub key: String,
    /// How many records were dropped by retention. The checkpoint of that size stands next.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub after: u64,
    /// Roots of the full subtrees over those records, the largest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edge: Vec<Sha256>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exported {
    pub sequence: u64,
    /// In ms since 1970, as the digest covers it.
    pub at: i64,
    pub actor: String,
    pub action: String,
    pub target: String,
    /// JSON as text, byte by byte what the digest covers.
    pub detail: String,
    /// JSON as text, byte by byte what the digest covers; records of older servers have none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub context: String,
    pub previous: Sha256,
    pub digest: Sha256,
}

/// What the reader got by another way than the file.
#[derive(Debug, Clone, Default)]
pub struct Known {
    pub key: Option<PublicKey>,
    /// A signed checkpoint that was kept elsewhere: shows what was cut off since.
    pub kept: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub checkpoints: u64,
    pub key: PublicKey,
    pub newest: Checkpoint,
    /// The newest one as it was signed, to be kept elsewhere.
    pub note: String,
}

/// The first fault, and where.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Fault {
    /// Counted from 1.
    pub line: u64,
    pub what: What,
}

#[derive(Debug, thiserror::Error)]
pub enum What {
    #[error("the file can't be read")]
    Unreadable(#[source] std::io::Error),
    #[error("it is not a line of an audit export, or was spelled anew")]
    Form,
    #[error("the header stands first, once, and says version 1")]
    Header,
    #[error("the key in the file is not the one expected")]
    OtherKey,
    #[error("the key can't be used")]
    Key(#[source] BadCheckpoint),
    #[error("record {found} stands where record {expected} belongs: one was removed, added or moved")]
    Sequence { expected: u64, found: u64 },
    #[error("record {0} does not follow the record before it")]
    Chain(u64),
    #[error("record {0} was changed: its digest does not fit")]
    Digest(u64),
    #[error("a checkpoint is not to be believed: {0}")]
    Checkpoint(BadCheckpoint),
    #[error("record {0} is not part of the log that was signed")]
    NotIncluded(u64),
    #[error("the checkpoint is of the log {0}")]
    OtherLog(String),
    #[error("a checkpoint of {size} records stands after record {at}")]
    Misplaced { size: u64, at: u64 },
    #[error("a checkpoint follows that of {expected} records, and the one before it here is of {before}")]
    Missing { expected: u64, before: u64 },
    #[error("the {0} records so far are not those that were signed")]
    Root(u64),
    #[error(
        "the checkpoint kept elsewhere is of {kept} records, and the first {dropped} were dropped: keep a newer one"
    )]
    Dropped { kept: u64, dropped: u64 },
    #[error("the first {0} records are gone, and no record tells that somebody dropped them")]
    Vanished(u64),
    #[error("behind the header stands the checkpoint of the {0} records that were dropped")]
    NoBeginning(u64),
    #[error("the file ends without a checkpoint of its last record: its tail was cut off or added")]
    NoEnd,
    #[error("the checkpoint kept elsewhere is of {kept} records, and the file has {found}: its tail was cut off")]
    Shorter { kept: u64, found: u64 },
}

/// Reads the whole file; memory grows with its longest line only. Answers the first fault.
pub fn verify(mut file: impl BufRead, known: &Known) -> Result<Verified, Fault> {
    let mut walk: Option<Walk> = None;
    let (mut number, mut line) = (0, Vec::new());
    loop {
        number += 1;
        let fault = |what| Fault { line: number, what };
        line.clear();
        if file.read_until(b'\n', &mut line).map_err(|error| fault(What::Unreadable(error)))? == 0 {
            break;
        }
        let line = line.strip_suffix(b"\n").ok_or_else(|| fault(What::Form))?;
        let line = canonical(line).map_err(fault)?;
        match (&mut walk, line) {
            (None, Line::Header(header)) => walk = Some(Walk::begin(header, known).map_err(fault)?),
            (Some(walk), Line::Record(record)) => walk.record(&record).map_err(fault)?,
            (Some(walk), Line::Checkpoint(note)) => walk.checkpoint(&note).map_err(fault)?,
            (None, _) | (Some(_), Line::Header(_)) => return Err(fault(What::Header)),
        }
    }
    let fault = |what| Fault { line: number - 1, what };
    walk.ok_or_else(|| fault(What::Header))?.end().map_err(fault)
}

/// A line's only spelling.
pub fn write(line: &Line) -> Result<String, serde_json::Error> {
    serde_json::to_string(line).map(|text| text + "\n")
}

fn canonical(line: &[u8]) -> Result<Line, What> {
    let read: Line = serde_json::from_slice(line).map_err(|_| What::Form)?;
    let spelled = serde_json::to_vec(&read).map_err(|_| What::Form)?;
    if spelled == line { Ok(read) } else { Err(What::Form) }
}

struct Walk {
    origin: String,
    key: PublicKey,
    tree: Tree,
    dropped: u64,
    /// Somebody dropped them on purpose: a later record says so.
    is_told: bool,
    head: Sha256,
    kept: Option<Checkpoint>,
    newest: Option<(Checkpoint, String)>,
    checkpoints: u64,
}

impl Walk {
    fn begin(header: Header, known: &Known) -> Result<Self, What> {
        if header.version != VERSION {
            return Err(What::Header);
        }
        let told: PublicKey = header.key.parse().map_err(What::Key)?;
        if known.key.is_some_and(|key| key != told) {
            return Err(What::OtherKey);
        }
        let kept = known.kept.as_deref().map(|note| told.open(note)).transpose().map_err(What::Checkpoint)?;
        if let Some(other) = kept.as_ref().filter(|kept| kept.origin != header.origin) {
            return Err(What::OtherLog(other.origin.clone()));
        }
        let dropped = header.after;
        if let Some(kept) = kept.as_ref().map(|kept| kept.size).filter(|kept| *kept < dropped) {
            return Err(What::Dropped { kept, dropped });
        }
        let tree = Tree::of(dropped, header.edge).map_err(|_| What::Header)?;
        let is_told = dropped == 0;
        Ok(Self {
            origin: header.origin,
            key: told,
            tree,
            dropped,
            is_told,
            head: START,
            kept,
            newest: None,
            checkpoints: 0,
        })
    }

    fn record(&mut self, record: &Exported) -> Result<(), What> {
        if self.is_waiting() {
            return Err(What::NoBeginning(self.dropped));
        }
        let expected = self.tree.size() + 1;
        if record.sequence != expected {
            return Err(What::Sequence { expected, found: record.sequence });
        }
        if record.previous != self.head {
            return Err(What::Chain(expected));
        }
        if record.digest != record.recomputed() {
            return Err(What::Digest(expected));
        }
        self.is_told |= tells_of_pruning(&record.action, &record.detail, self.dropped);
        self.tree.push(record.digest);
        self.head = record.digest;
        match &self.kept {
            Some(kept) if kept.size == expected && !self.fits(kept) => Err(What::Root(expected)),
            Some(_) | None => Ok(()),
        }
    }

    fn checkpoint(&mut self, note: &str) -> Result<(), What> {
        let checkpoint = self.key.open(note).map_err(What::Checkpoint)?;
        if checkpoint.origin != self.origin {
            return Err(What::OtherLog(checkpoint.origin));
        }
        let at = self.tree.size();
        if self.is_waiting() {
            // It vouches for what can't be looked at any more.
            self.head = checkpoint.head;
            if checkpoint.size != at || !self.fits(&checkpoint) {
                return Err(What::NoBeginning(self.dropped));
            }
            if self.kept.as_ref().is_some_and(|kept| kept.size == at && !self.fits(kept)) {
                return Err(What::Root(at));
            }
            self.newest = Some((checkpoint, note.to_owned()));
            self.checkpoints += 1;
            return Ok(());
        }
        if checkpoint.size != at || self.newest.as_ref().is_some_and(|(newest, _)| newest.size >= at) {
            return Err(What::Misplaced { size: checkpoint.size, at });
        }
        let before = self.newest.as_ref().map_or(0, |(newest, _)| newest.size);
        if checkpoint.after != before {
            return Err(What::Missing { expected: checkpoint.after, before });
        }
        if !self.fits(&checkpoint) {
            return Err(What::Root(at));
        }
        self.newest = Some((checkpoint, note.to_owned()));
        self.checkpoints += 1;
        Ok(())
    }

    /// Records were dropped, and nothing vouches for them yet.
    fn is_waiting(&self) -> bool {
        self.dropped > 0 && self.newest.is_none()
    }

    fn fits(&self, checkpoint: &Checkpoint) -> bool {
        checkpoint.root == self.tree.root() && checkpoint.head == self.head
    }

    fn end(self) -> Result<Verified, What> {
        let found = self.tree.size();
        if let Some(kept) = self.kept.filter(|kept| kept.size > found) {
            return Err(What::Shorter { kept: kept.size, found });
        }
        if !self.is_told {
            return Err(What::Vanished(self.dropped));
        }
        match self.newest {
            Some((newest, note)) if newest.size == found => {
                Ok(Verified { checkpoints: self.checkpoints, key: self.key, newest, note })
            }
            Some(_) | None => Err(What::NoEnd),
        }
    }
}

impl Exported {
    /// The digest that its fields have.
    #[must_use]
    pub fn recomputed(&self) -> Sha256 {
        digest(&Record {
            sequence: self.sequence,
            at: Timestamp(self.at),
            actor: &self.actor,
            action: &self.action,
            target: &self.target,
            detail: &self.detail,
            context: &self.context,
            previous: self.previous,
        })
    }
}

#[cfg(test)]
mod tests;
