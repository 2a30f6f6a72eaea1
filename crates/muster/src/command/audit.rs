//! `audit`: export, prove and verify, also without a server.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use muster_trust::audit::checkpoint::PublicKey;
use muster_trust::audit::export::{Exported, Fault, Known, What, verify};
use muster_trust::audit::proof::Proof;
use muster_vocab::{Sha256, Timestamp};
use muster_wire::audit::{AuditPrune, AuditPruned, AuditState, AuditVerdict};
use serde_json::json;

use super::Here;
use super::kind::confirm;
use crate::client::part;
use crate::exit::{Failed, Outcome};
use crate::output::{self, Format};

const KEY_FROM_FILE: &str =
    "The key came from the file itself: compare it with one kept elsewhere, or give that as --key.";
/// A record's texts are bounded, and so is the way through a tree.
const PROOF_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  muster audit export -f audit.jsonl
  muster audit verify audit.jsonl --key muster+1a2b3c4d+AbCd… --checkpoint kept.txt
  muster audit verify
  muster get audit --select 'reason like *4711*'
  muster audit prove 812 -f approval.json       # shows record 812 and none of the others
  muster audit state role:fitter                # is it still what the newest record says?
  muster audit prune --older-than 400d --archive audit-2025.jsonl")]
pub enum AuditCommand {
    /// Download the whole log with its signed checkpoints.
    Export {
        /// Where to; standard output if left out.
        #[arg(long, short)]
        file: Option<PathBuf>,
    },
    /// Check an exported file or a proof offline, or let the server walk its chain.
    Verify(VerifyArgs),
    /// Prove one record to somebody who shall not see the others.
    Prove {
        /// The record's number.
        sequence: u64,
        /// Where to; standard output if left out.
        #[arg(long, short)]
        file: Option<PathBuf>,
    },
    /// Compare a thing with what the newest record about it says; ends with 3 if it differs.
    State {
        /// As in the log: role:fitter, device:sn-1, release:os@1.
        target: String,
    },
    /// Export and verify the log, then drop its old records from the server.
    Prune(PruneArgs),
}

#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Drop records older than this, such as 400d.
    #[arg(long, value_parser = crate::read::duration)]
    older_than: Duration,
    /// Export the whole log here first. The file must not exist yet.
    #[arg(long, value_name = "FILE", required_unless_present = "no_archive")]
    archive: Option<PathBuf>,
    /// They are kept elsewhere already, or by nobody.
    #[arg(long, conflicts_with = "archive")]
    no_archive: bool,
    /// Don't ask.
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// An exported file; the server's own log if left out.
    pub file: Option<PathBuf>,
    /// The server's public key, kept elsewhere. Without it the key in the file is used, which a forger could have
    /// replaced.
    #[arg(long, requires = "file")]
    key: Option<PublicKey>,
    /// A file with a signed checkpoint, kept elsewhere: shows that nothing was cut off since.
    #[arg(long, requires = "file", value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Write the newest checkpoint of the file here, once it is verified, to keep it elsewhere.
    #[arg(long, requires = "file", value_name = "FILE")]
    keep: Option<PathBuf>,
}

pub fn export(here: &Here, file: Option<&Path>) -> Outcome<()> {
    let mut answer = here.client.content("/audit/export", 0)?;
    let mut from = answer.body_mut().as_reader();
    let Some(path) = file else {
        std::io::copy(&mut from, &mut std::io::stdout().lock()).context("exporting the audit log")?;
        return Ok(());
    };
    let mut to = File::create(path).with_context(|| format!("making {}", path.display()))?;
    std::io::copy(&mut from, &mut to).with_context(|| format!("exporting to {}", path.display()))?;
    to.sync_all().with_context(|| format!("writing {}", path.display()))?;
    Ok(())
}

pub fn prove(here: &Here, sequence: u64, file: Option<&Path>) -> Outcome<()> {
    let proof: Proof = here.client.get(&format!("/audit/proof?sequence={sequence}"))?;
    let text = serde_json::to_string_pretty(&proof).context("writing the proof")? + "\n";
    let Some(path) = file else { return output::print(&text) };
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    Ok(())
}

pub fn state(here: &Here, target: &str) -> Outcome<()> {
    let state: AuditState = here.client.get(&format!("/audit/state?target={}", part(target)))?;
    if here.format == Format::Table {
        let digest = |digest: Option<Sha256>| digest.map_or_else(|| "nothing".to_owned(), |digest| digest.to_string());
        let record = state.sequence.map_or_else(|| "no record".to_owned(), |sequence| format!("record {sequence}"));
        output::print(&format!("now      {}\n{record}  {}\n", digest(state.now), digest(state.recorded)))?;
    } else {
        output::document(here.format, &state)?;
    }
    match state.as_recorded {
        true => Ok(()),
        false => Err(Failed::Differs(format!("{target} is not what the newest record about it says"))),
    }
}

pub fn prune(here: &Here, args: &PruneArgs) -> Outcome<()> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).context("asking for the time")?;
    let now = Timestamp(i64::try_from(now.as_millis()).context("asking for the time")?);
    let before = now.minus(args.older_than);
    if !args.yes {
        confirm(&format!("Drop audit records from before {before} from the server for good?"))?;
    }
    let through = match &args.archive {
        None => None,
        Some(path) => {
            let new = File::options().write(true).create_new(true).open(path);
            drop(new.with_context(|| format!("making {}", path.display()))?);
            export(here, Some(path))?;
            let read = File::open(path).with_context(|| format!("opening {}", path.display()))?;
            let verified = verify(BufReader::new(read), &Known::default()).map_err(faulty)?;
            eprintln!("{} holds {} records and was verified", path.display(), verified.newest.size);
            Some(verified.newest.size)
        }
    };
    let pruned: AuditPruned = here.client.post("/audit/prune", &AuditPrune { before, through })?;
    if here.format == Format::Table {
        let AuditPruned { records, first } = pruned;
        return output::print(&format!("{records} records dropped; record {first} is the oldest now\n"));
    }
    output::document(here.format, &pruned)
}

/// A proof is one JSON document; an export begins with its header's line.
fn proof_in(path: &Path) -> Outcome<Option<Proof>> {
    let size = std::fs::metadata(path).with_context(|| format!("opening {}", path.display()))?.len();
    if size > PROOF_BYTES_MAX {
        return Ok(None);
    }
    let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(serde_json::from_slice(&text).ok())
}

fn verify_proof(format: Format, proof: &Proof, known: &Known) -> Outcome<()> {
    let (checkpoint, key) =
        proof.verify(known).map_err(|what| Failed::Differs(format!("the proof does not hold: {what}")))?;
    if known.key.is_none() {
        eprintln!("{KEY_FROM_FILE}");
    }
    let record = &proof.record;
    let (sequence, size, origin) = (record.sequence, checkpoint.size, &checkpoint.origin);
    if format == Format::Table {
        let Exported { actor, action, target, .. } = record;
        let at = Timestamp(record.at);
        return output::print(&format!(
            "proven: record {sequence} of the {size} records of {origin}, signed by {key}\n\
             {at}  {actor}  {action}  {target}\n"
        ));
    }
    let key = key.to_string();
    output::document(format, &json!({ "proven": true, "record": record, "origin": origin, "size": size, "key": key }))
}

/// Needs no server.
pub fn verify_file(format: Format, file: &Path, args: &VerifyArgs) -> Outcome<()> {
    let read = File::open(file).with_context(|| format!("opening {}", file.display()))?;
    let kept = args
        .checkpoint
        .as_deref()
        .map(|path| std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display())));
    let known = Known { key: args.key, kept: kept.transpose()? };
    if let Some(proof) = proof_in(file)? {
        return verify_proof(format, &proof, &known);
    }
    let verified = verify(BufReader::new(read), &known).map_err(faulty)?;
    if let Some(path) = &args.keep {
        let mut to = File::create(path).with_context(|| format!("making {}", path.display()))?;
        to.write_all(verified.note.as_bytes()).with_context(|| format!("writing {}", path.display()))?;
    }
    if args.key.is_none() {
        eprintln!("{KEY_FROM_FILE}");
    }
    let (newest, key) = (&verified.newest, verified.key.to_string());
    if format == Format::Table {
        let (records, count) = (newest.size, verified.checkpoints);
        return output::print(&format!(
            "intact: {records} records of {}, {count} checkpoints signed by {key}\n",
            newest.origin
        ));
    }
    let document = json!({
        "intact": true, "records": newest.size, "origin": newest.origin, "checkpoints": verified.checkpoints,
        "key": key, "root": newest.root, "head": newest.head,
    });
    output::document(format, &document)
}

fn faulty(fault: Fault) -> Failed {
    match fault.what {
        What::Unreadable(source) => Failed::Other(anyhow::Error::from(source).context("reading the file")),
        _ => Failed::Differs(fault.to_string()),
    }
}

pub fn verify_server(here: &Here) -> Outcome<()> {
    let verdict: AuditVerdict = here.client.get("/audit/verify")?;
    if here.format == Format::Table {
        let text = match verdict.broken_at {
            None => format!("intact: {} records, head {}\n", verdict.records, verdict.head),
            Some(at) => format!("broken at record {at}; {} records before it fit\n", verdict.records),
        };
        output::print(&text)?;
    } else {
        output::document(here.format, &verdict)?;
    }
    match verdict.broken_at {
        None => Ok(()),
        Some(at) => Err(Failed::Differs(format!("record {at} of the audit log is not what was once written"))),
    }
}
