//! `delta make|compress|apply`: what the server does by itself, by hand.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};
use muster_delta::packed;
use muster_delta::packed::apply::{PackedApplier, is_packed};
use muster_delta::whole::{self, Expander};
use muster_delta::{Applier, HEADER_BYTES, Header, ReadAt, WINDOW_BYTES_MAX};
use muster_vocab::limit;

use crate::exit::Outcome;
use crate::output;

const MIB: u64 = 1024 * 1024;
/// Read of a delta at once.
const CHUNK_BYTES: usize = 256 * 1024;
/// Tables and buffers beside the two files and the sorted positions.
const OTHER_BYTES: u64 = 64 * MIB;
/// Each byte of the old file needs a position.
const POSITION_BYTES: u64 = 4;
/// What zstd needs at its highest levels.
const COMPRESSOR_BYTES: u64 = 128 * MIB;
/// The server's own work goes first.
const NICENESS: i32 = 10;

#[derive(Debug, Subcommand)]
#[command(after_help = "A server makes deltas by itself when a release is published; see docs/deltas.md.

Examples:
  muster delta make image-1.0.img image-1.1.img 1.0-1.1.delta
  muster delta apply image-1.0.img 1.0-1.1.delta image-1.1.img
  muster delta compress image-1.1.img image-1.1.whole")]
pub enum DeltaCommand {
    /// Write what leads from an old file to a new one.
    Make {
        old: PathBuf,
        new: PathBuf,
        delta: PathBuf,
        #[command(flatten)]
        making: Making,
    },
    /// Write one delta that leads where two lead one after the other.
    Chain {
        old: PathBuf,
        /// From the old file to one between.
        first: PathBuf,
        /// From there to the new file.
        second: PathBuf,
        delta: PathBuf,
        #[command(flatten)]
        making: Making,
    },
    /// Write a file as devices fetch it that have no older version.
    Compress {
        new: PathBuf,
        compressed: PathBuf,
        #[command(flatten)]
        making: Making,
    },
    /// Turn an old file and a delta into the new file, as a device does.
    Apply { old: PathBuf, delta: PathBuf, new: PathBuf },
    /// Turn what `compress` wrote back into the file.
    Expand { compressed: PathBuf, new: PathBuf },
}

#[derive(Debug, Args)]
pub struct Making {
    /// End when whoever started this ends.
    #[arg(long, hide = true)]
    end_with_parent: bool,
    /// Refuse files that need more memory than this.
    #[arg(long, value_name = "MIB", default_value_t = limit::DELTA_MEMORY_BYTES / MIB)]
    memory_mib: u64,
}

impl Making {
    /// Deltas are not urgent, and nobody waits for one whose server is gone.
    fn begin(&self) -> anyhow::Result<()> {
        rustix::process::nice(NICENESS).context("lowering the priority")?;
        if self.end_with_parent {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
                .context("asking for the parent's end")?;
        }
        Ok(())
    }

    fn fits(&self, needed: u64) -> anyhow::Result<()> {
        let mib = needed.div_ceil(MIB);
        ensure!(mib <= self.memory_mib, "it needs {mib} MiB of memory, allowed are {}", self.memory_mib);
        Ok(())
    }
}

pub fn run(command: &DeltaCommand) -> Outcome<()> {
    match command {
        DeltaCommand::Make { old, new, delta, making } => make((old, new), delta, making)?,
        DeltaCommand::Chain { old, first, second, delta, making } => chain(old, (first, second), delta, making)?,
        DeltaCommand::Compress { new, compressed, making } => compress(new, compressed, making)?,
        DeltaCommand::Apply { old, delta, new } => apply(old, delta, new)?,
        DeltaCommand::Expand { compressed, new } => expand(compressed, new)?,
    }
    Ok(())
}

fn make((old, new): (&Path, &Path), to: &Path, making: &Making) -> anyhow::Result<()> {
    making.begin()?;
    let (old_bytes, new_bytes) = (size(old)?, size(new)?);
    let positions = old_bytes.min(WINDOW_BYTES_MAX as u64) * POSITION_BYTES;
    making.fits(old_bytes + new_bytes + positions + OTHER_BYTES)?;
    let (old, new) = (read(old)?, read(new)?);
    let made = write(to, |out| Ok(muster_delta::make(&old, &new, out)?))?;
    let bytes = match make_packed((&old, &new), to, making)? {
        Some(packed) if packed < made.bytes => {
            std::fs::rename(beside(to), to).with_context(|| format!("writing {}", to.display()))?;
            packed
        }
        Some(_) => {
            std::fs::remove_file(beside(to)).with_context(|| format!("removing {}", beside(to).display()))?;
            made.bytes
        }
        None => made.bytes,
    };
    told(bytes, new_bytes)
}

fn beside(path: &Path) -> PathBuf {
    path.with_extension("packed")
}

/// With packed pieces compared unpacked, if there are any in both and it fits into the memory. Answers its size.
fn make_packed((old, new): (&[u8], &[u8]), to: &Path, making: &Making) -> anyhow::Result<Option<u64>> {
    let (old_map, new_map) = (packed::find::find(old), packed::find::find(new));
    let positions = old_map.unpacked_bytes.min(WINDOW_BYTES_MAX as u64) * POSITION_BYTES;
    let unpacked = old_map.unpacked_bytes + new_map.unpacked_bytes + positions;
    let has_none = old_map.pieces().is_empty() || new_map.pieces().is_empty();
    if has_none || making.fits((old.len() + new.len()) as u64 + unpacked + OTHER_BYTES).is_err() {
        return Ok(None);
    }
    let made = write(&beside(to), |out| Ok(packed::find::make((old, new), (&old_map, &new_map), out)?))?;
    Ok(Some(made.bytes))
}

fn chain(old: &Path, (first, second): (&Path, &Path), to: &Path, making: &Making) -> anyhow::Result<()> {
    making.begin()?;
    let (first, second) = (read(first)?, read(second)?);
    ensure!(!is_packed(&first) && !is_packed(&second), "packed deltas can't be put together");
    let new_bytes = |delta: &[u8]| -> anyhow::Result<u64> {
        let head = delta.first_chunk::<HEADER_BYTES>().context("a delta that ends in its header")?;
        Ok(Header::read(head)?.new_bytes)
    };
    let (between, new) = (new_bytes(&first)?, new_bytes(&second)?);
    making.fits(size(old)? + between + new + (first.len() + second.len()) as u64 + OTHER_BYTES)?;
    let old = read(old)?;
    let made = write(to, |out| Ok(muster_delta::chain(&old, (&first, &second), out)?))?;
    told(made.bytes, new)
}

fn compress(new: &Path, to: &Path, making: &Making) -> anyhow::Result<()> {
    making.begin()?;
    making.fits(size(new)? + COMPRESSOR_BYTES)?;
    let new = read(new)?;
    let bytes = write(to, |out| Ok(whole::compress(&new, out)?))?;
    told(bytes, new.len() as u64)
}

fn apply(old: &Path, delta: &Path, to: &Path) -> anyhow::Result<()> {
    let old = Opened(File::open(old).with_context(|| format!("opening {}", old.display()))?);
    let mut first = [0; 8];
    let mut file = File::open(delta).with_context(|| format!("opening {}", delta.display()))?;
    let begins_packed = file.read_exact(&mut first).is_ok() && is_packed(&first);
    write(to, |out| {
        if begins_packed {
            let mut applier = PackedApplier::new();
            pieces(delta, |piece| Ok(applier.feed(piece, &old, &mut |bytes| out.write_all(bytes))?))?;
            applier.finish()?;
            return Ok(());
        }
        let mut applier = Applier::new();
        pieces(delta, |piece| Ok(applier.feed(piece, &old, &mut |bytes| out.write_all(bytes))?))?;
        applier.finish()?;
        Ok(())
    })?;
    output::print(&format!("{}\n", to.display()))?;
    Ok(())
}

fn expand(compressed: &Path, to: &Path) -> anyhow::Result<()> {
    let mut expander = Expander::new()?;
    write(to, |out| {
        pieces(compressed, |piece| Ok(expander.feed(piece, &mut |bytes| out.write_all(bytes))?))?;
        Ok(expander.finish()?)
    })?;
    output::print(&format!("{}\n", to.display()))?;
    Ok(())
}

struct Opened(File);

impl ReadAt for Opened {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.0, buffer, offset)
    }
}

fn pieces(path: &Path, mut each: impl FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut file = BufReader::new(File::open(path).with_context(|| format!("opening {}", path.display()))?);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk).with_context(|| format!("reading {}", path.display()))? {
            0 => return Ok(()),
            count => each(&chunk[..count])?,
        }
    }
}

/// Nothing is left of a file that could not be made.
fn write<T>(path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let file = File::create(path).with_context(|| format!("making {}", path.display()))?;
    let mut out = BufWriter::new(file);
    let filled = fill(&mut out).and_then(|done| {
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(done)
    });
    if filled.is_err() {
        std::fs::remove_file(path).with_context(|| format!("removing {}", path.display()))?;
    }
    filled.with_context(|| format!("writing {}", path.display()))
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("reading {}", path.display()))
}

fn size(path: &Path) -> anyhow::Result<u64> {
    Ok(path.metadata().with_context(|| format!("looking at {}", path.display()))?.len())
}

fn told(bytes: u64, of: u64) -> anyhow::Result<()> {
    output::print(&format!("{bytes} bytes, {:.1} % of the file\n", bytes as f64 * 100.0 / of.max(1) as f64))?;
    Ok(())
}
