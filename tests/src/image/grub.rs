//! How does GRUB know which slot to start, and how does it get onto a disk?

use std::fs;
use std::path::Path;

use anyhow::{Context, bail, ensure};

use super::ingredients::Ingredients;
use super::{run, tool};

const SCRIPT: &[u8] = include_bytes!("files/grub.cfg");
/// Built into GRUB's core: where it finds the rest. The parser that reads it knows no comments, and takes an
/// apostrophe in one for the beginning of a text. Its `reboot` is for a damaged first partition.
const EARLY: &[u8] = include_bytes!("files/early.cfg");
/// What `early.cfg` and `grub.cfg` say, and how they read the disk.
const MODULES: [&str; 13] = [
    "biosdisk",
    "part_msdos",
    "ext2",
    "normal",
    "configfile",
    "loadenv",
    "test",
    "echo",
    "linux",
    "serial",
    "terminal",
    "boot",
    "reboot",
];
/// GRUB takes any length; every program that writes such files uses this one.
pub const ENVIRONMENT_BYTES: usize = 1024;
const ENVIRONMENT_HEAD: &str = "# GRUB Environment Block\n";
/// The code of the first sector; behind it lies the partition table.
const BOOT_CODE_BYTES: usize = 440;
/// Where `boot.img` keeps the number of the sector that it loads next, 8 bytes, and what it says there.
const NEXT_SECTOR_AT: usize = 0x5c;
const NEXT_SECTOR: u64 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    A,
    B,
}

impl Slot {
    /// `a` or `b`.
    #[must_use]
    pub fn letter(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    fn named(letter: &str) -> Option<Self> {
        match letter {
            "a" => Some(Self::A),
            "b" => Some(Self::B),
            _ => None,
        }
    }
}

/// GRUB's memory of the slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Known to work.
    pub good: Slot,
    /// On trial, with so many starts left, at most 9.
    pub trial: Option<(Slot, u8)>,
}

impl Memory {
    /// As `grubenv` has it.
    pub fn bytes(self) -> anyhow::Result<Vec<u8>> {
        let (trial, starts) = self.trial.map_or(("", 0), |(slot, starts)| (slot.letter(), starts));
        let starts = starts.to_string();
        environment(&[("muster_slot", self.good.letter()), ("muster_try", trial), ("muster_tries", &starts)])
    }

    pub fn parse(bytes: &[u8]) -> anyhow::Result<Self> {
        let text = std::str::from_utf8(bytes).context("GRUB's memory is no text")?;
        let lines = text.strip_prefix(ENVIRONMENT_HEAD).context("GRUB's memory has no head")?;
        let value = |name: &str| {
            let found = lines.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            found.with_context(|| format!("GRUB's memory doesn't say {name}"))
        };
        let good = Slot::named(value("muster_slot")?).context("muster_slot is no slot")?;
        let Some(trial) = Slot::named(value("muster_try")?) else { return Ok(Self { good, trial: None }) };
        let starts = value("muster_tries")?.parse().context("muster_tries is no number")?;
        Ok(Self { good, trial: Some((trial, starts)) })
    }

    /// Where `grubenv` begins in a partition's bytes. Its one block lies in one piece.
    pub fn find(partition: &[u8]) -> anyhow::Result<usize> {
        let blocks = partition.chunks(ENVIRONMENT_BYTES).enumerate();
        let mut found = blocks.filter(|(_, block)| block.starts_with(ENVIRONMENT_HEAD.as_bytes()));
        match (found.next(), found.next()) {
            (Some((block, _)), None) => Ok(block * ENVIRONMENT_BYTES),
            (None, _) => bail!("the partition holds no memory of GRUB's"),
            (Some(_), Some(_)) => bail!("the partition holds two memories of GRUB's"),
        }
    }
}

/// Variables in the format that GRUB loads and saves.
pub fn environment(variables: &[(&str, &str)]) -> anyhow::Result<Vec<u8>> {
    let mut text = ENVIRONMENT_HEAD.to_owned();
    for (name, value) in variables {
        ensure!(!value.contains(['\n', '\\']), "{name} would have to be escaped");
        text.push_str(&format!("{name}={value}\n"));
    }
    ensure!(text.len() <= ENVIRONMENT_BYTES, "these are {} bytes of variables", text.len());
    let mut bytes = text.into_bytes();
    bytes.resize(ENVIRONMENT_BYTES, b'#');
    Ok(bytes)
}

/// Fills the folder that becomes the first partition.
pub fn fill(folder: &Path, memory: Memory) -> anyhow::Result<()> {
    let grub = folder.join("grub");
    fs::create_dir_all(&grub)?;
    fs::write(grub.join("grub.cfg"), SCRIPT)?;
    fs::write(grub.join("grubenv"), memory.bytes()?)?;
    Ok(())
}

/// What GRUB has in front of the first partition: code for the first sector, and its core for the sectors after it.
#[derive(Debug)]
pub struct Core {
    pub boot_code: Vec<u8>,
    pub core: Vec<u8>,
}

/// As `grub-install` would make them, but without a disk to ask: `boot.img` loads sector 1 unless told otherwise, and
/// `grub-mkimage` has the core follow in one piece.
pub fn core(ingredients: &Ingredients, folder: &Path) -> anyhow::Result<Core> {
    let (early, file) = (folder.join("early.cfg"), folder.join("core.img"));
    fs::write(&early, EARLY)?;
    let mut command = tool("grub-mkimage");
    command.args(["--format", "i386-pc", "--prefix", "(hd0,msdos1)/grub", "--directory"]).arg(&ingredients.grub);
    command.arg("--config").arg(&early).arg("--output").arg(&file).args(MODULES);
    run(&mut command)?;
    let core = fs::read(&file).context("reading GRUB's core")?;
    let boot = fs::read(ingredients.grub.join("boot.img")).context("reading GRUB's first sector")?;
    let next = boot.get(NEXT_SECTOR_AT..NEXT_SECTOR_AT + 8).context("boot.img is too short")?;
    ensure!(next == NEXT_SECTOR.to_le_bytes(), "boot.img loads another sector than the one after it");
    Ok(Core { boot_code: boot[..BOOT_CODE_BYTES].to_vec(), core })
}
