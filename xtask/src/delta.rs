//! What do making and applying a delta cost? This runs each by itself, so that a measurement sees nothing else.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use muster_delta::Applier;

/// What is read of a delta at once, as from a connection.
const FEED_BYTES: usize = 32 * 1024;

/// Make or apply a delta.
#[derive(Debug, Args)]
pub struct Delta {
    #[command(subcommand)]
    step: Step,
}

#[derive(Debug, Subcommand)]
enum Step {
    /// Write the delta from one file to another.
    Make { old: PathBuf, new: PathBuf, delta: PathBuf },
    /// Write the new file from the old one and the delta.
    Apply { old: PathBuf, new: PathBuf, delta: PathBuf },
}

impl Delta {
    pub fn run(self) -> anyhow::Result<()> {
        match self.step {
            Step::Make { old, new, delta } => make(&old, &new, &delta),
            Step::Apply { old, new, delta } => apply(&old, &new, &delta),
        }
    }
}

fn make(old: &Path, new: &Path, delta: &Path) -> anyhow::Result<()> {
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("reading {}", path.display()));
    let mut out = BufWriter::new(create(delta)?);
    muster_delta::make(&read(old)?, &read(new)?, &mut out)?;
    out.flush().with_context(|| format!("writing {}", delta.display()))
}

fn apply(old: &Path, new: &Path, delta: &Path) -> anyhow::Result<()> {
    let open = |path: &Path| File::open(path).with_context(|| format!("opening {}", path.display()));
    let (old, mut delta, mut out) = (open(old)?, open(delta)?, create(new)?);
    let mut applier = Applier::new();
    let mut part = vec![0; FEED_BYTES];
    loop {
        let bytes = delta.read(&mut part).context("reading the delta")?;
        if bytes == 0 {
            break;
        }
        applier.feed(&part[..bytes], &old, &mut |new| out.write_all(new))?;
    }
    applier.finish()?;
    Ok(())
}

fn create(path: &Path) -> anyhow::Result<File> {
    File::create(path).with_context(|| format!("creating {}", path.display()))
}
