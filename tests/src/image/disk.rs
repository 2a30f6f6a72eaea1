//! What is on a machine's disk, and what of it can be read or changed while the machine is off?

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, ensure};

use super::file_system::{self, Kind};
use super::grub::{self, Core, ENVIRONMENT_BYTES, Memory, Slot};
use super::ingredients::Ingredients;
use super::tool;

const SECTOR_BYTES: u64 = 512;
const MIB: u64 = 1024 * 1024;
/// Copied in pieces of this size; pieces of zeros are left out, so the file is sparse.
const PIECE_BYTES: usize = 64 * 1024;

/// Bytes of the disk.
#[derive(Debug, Clone, Copy)]
struct Span {
    begins_at: u64,
    bytes: u64,
}

const BOOTLOADER: Span = Span { begins_at: MIB, bytes: 4 * MIB };
const SLOT_A: Span = Span { begins_at: 5 * MIB, bytes: 48 * MIB };
const SLOT_B: Span = Span { begins_at: 53 * MIB, bytes: 48 * MIB };
const DATA: Span = Span { begins_at: 101 * MIB, bytes: 128 * MIB };
const PARTITIONS: [Span; 4] = [BOOTLOADER, SLOT_A, SLOT_B, DATA];
const DISK_BYTES: u64 = 229 * MIB;

#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// A disk in `folder` with a system in slot A, nothing in slot B, and `data` in its data partition.
    pub fn build(ingredients: &Ingredients, folder: &Path, system: &Path, data: &Path) -> anyhow::Result<Self> {
        let path = folder.join("disk.img");
        let disk = File::options().read(true).write(true).create_new(true).open(&path)?;
        disk.set_len(DISK_BYTES)?;
        partition(&path)?;
        let Core { boot_code, core } = grub::core(ingredients, folder)?;
        ensure!(SECTOR_BYTES + core.len() as u64 <= BOOTLOADER.begins_at, "GRUB's core has {} bytes", core.len());
        disk.write_all_at(&boot_code, 0)?;
        disk.write_all_at(&core, SECTOR_BYTES)?;

        let bootloader = folder.join("bootloader");
        grub::fill(&bootloader, Memory { good: Slot::A, trial: None })?;
        for (kind, content, span) in [(Kind::Bootloader, bootloader.as_path(), BOOTLOADER), (Kind::Data, data, DATA)] {
            let image = folder.join(format!("{kind:?}.img"));
            file_system::make(kind, content, &image, span.bytes)?;
            copy(&image, &disk, span)?;
            fs::remove_file(image)?;
        }
        copy(system, &disk, SLOT_A)?;
        Ok(Self { path })
    }

    /// The raw file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which slots GRUB will start. The machine must be off.
    pub fn memory(&self) -> anyhow::Result<Memory> {
        let (file, at) = self.find_memory()?;
        let mut bytes = [0; ENVIRONMENT_BYTES];
        file.read_exact_at(&mut bytes, at)?;
        Memory::parse(&bytes)
    }

    /// As the agent would, from outside. The machine must be off.
    pub fn set_memory(&self, memory: Memory) -> anyhow::Result<()> {
        let (file, at) = self.find_memory()?;
        file.write_all_at(&memory.bytes()?, at).context("writing GRUB's memory")
    }

    /// Overwrites GRUB's memory with nothing. The machine must be off.
    pub fn damage_memory(&self) -> anyhow::Result<()> {
        let (file, at) = self.find_memory()?;
        file.write_all_at(&[0; ENVIRONMENT_BYTES], at).context("overwriting GRUB's memory")
    }

    /// Writes a system into a slot, from outside. The machine must be off.
    pub fn fill_slot(&self, slot: Slot, system: &Path) -> anyhow::Result<()> {
        let disk = File::options().read(true).write(true).open(&self.path)?;
        copy(system, &disk, span_of(slot))
    }

    /// The first bytes of a slot.
    pub fn slot(&self, slot: Slot, bytes: usize) -> anyhow::Result<Vec<u8>> {
        let mut held = vec![0; bytes];
        File::open(&self.path)?.read_exact_at(&mut held, span_of(slot).begins_at)?;
        Ok(held)
    }

    fn find_memory(&self) -> anyhow::Result<(File, u64)> {
        let file = File::options().read(true).write(true).open(&self.path)?;
        let mut partition = vec![0; usize::try_from(BOOTLOADER.bytes)?];
        file.read_exact_at(&mut partition, BOOTLOADER.begins_at)?;
        let at = Memory::find(&partition)? as u64;
        Ok((file, BOOTLOADER.begins_at + at))
    }
}

fn span_of(slot: Slot) -> Span {
    match slot {
        Slot::A => SLOT_A,
        Slot::B => SLOT_B,
    }
}

fn partition(disk: &Path) -> anyhow::Result<()> {
    let mut script = "label: dos\nlabel-id: 0x6d757374\n".to_owned();
    for Span { begins_at, bytes } in PARTITIONS {
        script += &format!("start={}, size={}, type=83\n", begins_at / SECTOR_BYTES, bytes / SECTOR_BYTES);
    }
    let mut command = tool("sfdisk");
    command.args(["--quiet", "--no-reread", "--no-tell-kernel"]).arg(disk);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().context("starting sfdisk")?;
    child.stdin.take().context("its input is piped")?.write_all(script.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "sfdisk: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Copies a file into a part of the disk, zeros only where something else was.
fn copy(from: &Path, disk: &File, to: Span) -> anyhow::Result<()> {
    let mut from = File::open(from).with_context(|| format!("opening {}", from.display()))?;
    let length = from.metadata()?.len();
    ensure!(length <= to.bytes, "{length} bytes don't fit into a partition of {}", to.bytes);
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    let mut at = to.begins_at;
    while at < to.begins_at + length {
        piece.clear();
        (&mut from).take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
        let mut there = vec![0; piece.len()];
        disk.read_exact_at(&mut there, at)?;
        if there != piece {
            disk.write_all_at(&piece, at)?;
        }
        at += piece.len() as u64;
    }
    Ok(())
}
