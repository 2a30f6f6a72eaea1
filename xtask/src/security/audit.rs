//! Is each change of an exported audit log found?
//!
//! The reader has the server's key and the newest checkpoint from elsewhere, as docs/audit.md tells them to.

use anyhow::{Context, ensure};
use muster_sim::chance::Chance;
use muster_trust::audit::START;
use muster_trust::audit::checkpoint::{Checkpoint, PublicKey, Signer, new_key};
use muster_trust::audit::export::{Exported, Header, Known, Line, VERSION, verify, write};
use muster_trust::audit::tree::Tree;
use muster_vocab::Timestamp;

use crate::figure::Figure;

const RECORDS: u64 = 60;
const CHECKPOINT_EVERY: u64 = 7;
const ORIGIN: &str = "muster/default";
/// Keeps these draws apart from those of other attacks with the same seed.
const AUDIT: u64 = 0xa0d1;
const SHOWN_MAX: usize = 10;

/// What a tampering starts from.
struct Log {
    lines: Vec<Line>,
    signer: Signer,
    /// Of somebody who may write the file and does not have the server's key.
    forger: Signer,
}

/// Tampers with a log in ways drawn from the seed; answers how often, and how often it went unseen.
pub fn tamperings(count: u32, seed: u64) -> anyhow::Result<[Figure; 2]> {
    let log = Log::new()?;
    let whole = text(&log.lines)?;
    let known = log.known()?;
    ensure!(verify(whole.as_bytes(), &known).is_ok(), "the log is refused before anybody touched it");
    let (mut chance, mut tried, mut missed) = (Chance::keyed(seed, &[AUDIT]), 0, Vec::new());
    while tried < count {
        let (kind, tampered) = tamper(&log, &whole, &mut chance)?;
        if tampered == whole.as_bytes() {
            // Nothing was changed after all: two equal lines swapped, say.
            continue;
        }
        tried += 1;
        if verify(tampered.as_slice(), &known).is_ok() {
            missed.push(kind);
        }
    }
    for kind in missed.iter().take(SHOWN_MAX) {
        eprintln!("seed {seed}: went unseen: {kind}");
    }
    let missed = u32::try_from(missed.len()).context("counting")?;
    Ok([
        Figure::new("audit_tamperings", f64::from(tried), "tamperings"),
        Figure::new("audit_tamperings_missed", f64::from(missed), "tamperings"),
    ])
}

impl Log {
    fn new() -> anyhow::Result<Self> {
        let (signer, forger) = (Signer::from_pkcs8(&new_key()?)?, Signer::from_pkcs8(&new_key()?)?);
        let lines = signed(&records(), &signer, &signer.public());
        Ok(Self { lines, signer, forger })
    }

    fn known(&self) -> anyhow::Result<Known> {
        let Some(Line::Checkpoint(kept)) = self.lines.last().cloned() else {
            anyhow::bail!("the last line is no checkpoint")
        };
        Ok(Known { key: Some(self.signer.public()), kept: Some(kept) })
    }
}

fn records() -> Vec<Exported> {
    let mut records: Vec<Exported> = (1..=RECORDS)
        .map(|sequence| Exported {
            sequence,
            at: 1_700_000_000_000,
            actor: format!("account:a{}", sequence % 5),
            action: "rollout.start".to_owned(),
            target: format!("rollout:r-{}", sequence % 9),
            detail: format!("{{\"reason\":\"number {sequence}\"}}"),
            // Older servers wrote none.
            context: if sequence > RECORDS / 2 { r#"{"authority":"token:t-1"}"#.to_owned() } else { String::new() },
            previous: START,
            digest: START,
        })
        .collect();
    chain(&mut records);
    records
}

/// What somebody does who knows how digests are made.
fn chain(records: &mut [Exported]) {
    let mut head = START;
    for (record, sequence) in records.iter_mut().zip(1..) {
        record.sequence = sequence;
        record.previous = head;
        record.digest = record.recomputed();
        head = record.digest;
    }
}

fn signed(records: &[Exported], signer: &Signer, told: &PublicKey) -> Vec<Line> {
    let (origin, key) = (ORIGIN.to_owned(), told.to_string());
    let mut lines = vec![Line::Header(Header { version: VERSION, origin, key, after: 0, edge: Vec::new() })];
    let (mut tree, mut after) = (Tree::default(), 0);
    for (record, size) in records.iter().zip(1..) {
        tree.push(record.digest);
        lines.push(Line::Record(record.clone()));
        if size % CHECKPOINT_EVERY == 0 || size == records.len() as u64 {
            let (origin, root, head) = (ORIGIN.to_owned(), tree.root(), record.digest);
            let checkpoint = Checkpoint { origin, size, after, root, head, at: Timestamp(record.at) };
            after = size;
            lines.push(Line::Checkpoint(signer.sign(&checkpoint)));
        }
    }
    lines
}

fn text(lines: &[Line]) -> anyhow::Result<String> {
    Ok(lines.iter().map(write).collect::<Result<String, _>>()?)
}

fn below(chance: &mut Chance, end: usize) -> usize {
    usize::try_from(chance.below(end as u64)).unwrap_or(0)
}

/// One change of one kind, and what that was.
fn tamper(log: &Log, whole: &str, chance: &mut Chance) -> anyhow::Result<(&'static str, Vec<u8>)> {
    let mut lines = log.lines.clone();
    let (one, other) = (below(chance, lines.len()), below(chance, lines.len()));
    let lines_changed = match chance.below(11) {
        0 => return Ok(("a byte changed", change_byte(whole, chance))),
        1 => return Ok(("bytes cut off", whole.as_bytes()[..below(chance, whole.len())].to_vec())),
        2 => {
            lines.remove(one);
            ("a line removed", lines)
        }
        3 => {
            lines.swap(one, other);
            ("two lines swapped", lines)
        }
        4 => {
            lines.truncate(one);
            ("lines cut off", lines)
        }
        5 => {
            lines.insert(one, lines[other].clone());
            ("a line repeated", lines)
        }
        6 => ("a record edited", edit_one(lines, chance)),
        7 => ("forged with a new chain and the old checkpoints", forge_under_old_checkpoints(lines, chance)),
        8 => ("the beginning cut off as if by retention", cut_beginning(lines, chance)),
        9 => ("forged and signed by another key", signed(&forged(chance), &log.forger, &log.forger.public())),
        _ => {
            let lines = signed(&forged(chance), &log.forger, &log.signer.public());
            ("forged, signed by another key, the right key told", lines)
        }
    };
    Ok((lines_changed.0, text(&lines_changed.1)?.into_bytes()))
}

fn change_byte(whole: &str, chance: &mut Chance) -> Vec<u8> {
    let mut bytes = whole.as_bytes().to_vec();
    let at = below(chance, bytes.len());
    bytes[at] ^= 1 << chance.below(8);
    bytes
}

fn edit(record: &mut Exported, chance: &mut Chance) {
    match chance.below(6) {
        0 => record.actor = "account:eve".to_owned(),
        1 => record.action.push('x'),
        2 => record.target = "rollout:r-0x".to_owned(),
        3 => record.detail = "{}".to_owned(),
        4 => record.context.push(' '),
        _ => record.at += 1,
    }
}

/// At a checkpoint, with the edge of the tree over what is gone: all that retention leaves, but for its record.
fn cut_beginning(lines: Vec<Line>, chance: &mut Chance) -> Vec<Line> {
    let dropped = CHECKPOINT_EVERY * (1 + chance.below(RECORDS / CHECKPOINT_EVERY));
    let mut tree = Tree::default();
    let mut rest: Vec<Line> = Vec::with_capacity(lines.len());
    let mut checkpoints = 0;
    for line in lines {
        match line {
            Line::Record(record) if record.sequence <= dropped => tree.push(record.digest),
            Line::Checkpoint(note) => {
                checkpoints += CHECKPOINT_EVERY;
                if checkpoints >= dropped {
                    rest.push(Line::Checkpoint(note));
                }
            }
            line => rest.push(line),
        }
    }
    if let Some(Line::Header(header)) = rest.first_mut() {
        (header.after, header.edge) = (dropped, tree.edge().to_vec());
    }
    rest
}

/// Half of the time with a digest that fits.
fn edit_one(mut lines: Vec<Line>, chance: &mut Chance) -> Vec<Line> {
    let at = below(chance, lines.len());
    if let Line::Record(record) = &mut lines[at] {
        edit(record, chance);
        if chance.below(2) == 0 {
            record.digest = record.recomputed();
        }
    }
    lines
}

/// The whole log with one record edited or left out, chained anew.
fn forged(chance: &mut Chance) -> Vec<Exported> {
    let mut records = records();
    let at = below(chance, records.len());
    if chance.below(2) == 0 {
        edit(&mut records[at], chance);
    } else {
        records.remove(at);
    }
    chain(&mut records);
    records
}

fn forge_under_old_checkpoints(mut lines: Vec<Line>, chance: &mut Chance) -> Vec<Line> {
    let mut forged = forged(chance).into_iter();
    for line in &mut lines {
        if let Line::Record(record) = line
            && let Some(new) = forged.next()
        {
            *record = new;
        }
    }
    lines
}
