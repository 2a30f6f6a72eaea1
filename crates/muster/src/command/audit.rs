//! `audit`: list, export and verify, also without a server.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use muster_trust::audit::checkpoint::PublicKey;
use muster_trust::audit::export::{Fault, Known, What, verify};
use muster_wire::audit::AuditVerdict;
use serde_json::json;

use super::Here;
use crate::exit::{Failed, Outcome};
use crate::output::{self, Format};

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  muster audit export -f audit.jsonl
  muster audit verify audit.jsonl --key muster+1a2b3c4d+AbCd… --checkpoint kept.txt
  muster audit verify")]
pub enum AuditCommand {
    /// Download the whole log with its signed checkpoints.
    Export {
        /// Where to; standard output if left out.
        #[arg(long, short)]
        file: Option<PathBuf>,
    },
    /// Check an exported file offline, or let the server walk its chain.
    Verify(VerifyArgs),
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

/// Needs no server.
pub fn verify_file(format: Format, file: &Path, args: &VerifyArgs) -> Outcome<()> {
    let read = File::open(file).with_context(|| format!("opening {}", file.display()))?;
    let kept = args
        .checkpoint
        .as_deref()
        .map(|path| std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display())));
    let known = Known { key: args.key, kept: kept.transpose()? };
    let verified = verify(BufReader::new(read), &known).map_err(faulty)?;
    if let Some(path) = &args.keep {
        let mut to = File::create(path).with_context(|| format!("making {}", path.display()))?;
        to.write_all(verified.note.as_bytes()).with_context(|| format!("writing {}", path.display()))?;
    }
    if args.key.is_none() {
        eprintln!("The key came from the file itself: compare it with one kept elsewhere, or give that as --key.");
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
