//! A bootloader's memory in a plain file, for boards whose boot script can read one, and for tests.
//!
//! Lines `good=a`, `trial=b`, `starts=3`; no trial line: nothing is tried. The boot script counts `starts` down.

use std::path::PathBuf;

use super::{Bootloader, Choice, Slot, running_slot};
use crate::disk;
use crate::install::InstallError;
use crate::world::World;

const FILE_BYTES_MAX: usize = 4096;

#[derive(Debug, Clone)]
pub struct Plain {
    pub file: PathBuf,
}

/// The file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    pub good: Slot,
    /// Slot and starts left.
    pub trial: Option<(Slot, u32)>,
}

impl Memory {
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(str::trim);
        let good = Slot::from_letter(value("good")?)?;
        let trial =
            match (value("trial").and_then(Slot::from_letter), value("starts").and_then(|count| count.parse().ok())) {
                (Some(trial), Some(starts)) => Some((trial, starts)),
                _ => None,
            };
        Some(Self { good, trial })
    }

    #[must_use]
    pub fn text(&self) -> String {
        let good = self.good.letter();
        match self.trial {
            None => format!("good={good}\n"),
            Some((slot, starts)) => format!("good={good}\ntrial={}\nstarts={starts}\n", slot.letter()),
        }
    }

    /// What a boot script does at each start: the slot to start, and the memory to write before it is.
    #[must_use]
    pub fn start(&self) -> (Slot, Self) {
        match self.trial {
            Some((slot, starts)) if starts > 0 => (slot, Self { trial: Some((slot, starts - 1)), ..*self }),
            Some(_) | None => (self.good, Self { trial: None, ..*self }),
        }
    }
}

impl Plain {
    fn read(&self, world: &dyn World) -> Result<Memory, InstallError> {
        let bytes = disk::read(world.disk(), &self.file, FILE_BYTES_MAX)
            .map_err(InstallError::disk(format!("reading {}", self.file.display())))?;
        Memory::parse(&String::from_utf8_lossy(&bytes))
            .ok_or_else(|| InstallError::Refused(format!("{} names no good slot", self.file.display())))
    }

    fn write(&self, world: &dyn World, memory: Memory) -> Result<(), InstallError> {
        if self.read(world).is_ok_and(|before| before == memory) {
            return Ok(());
        }
        disk::replace(world.disk(), &self.file, memory.text().as_bytes())
            .map_err(InstallError::disk(format!("writing {}", self.file.display())))
    }
}

impl Bootloader for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn running(&self, world: &dyn World) -> Result<Slot, InstallError> {
        running_slot(world)
    }

    fn choice(&self, world: &dyn World) -> Result<Choice, InstallError> {
        let memory = self.read(world)?;
        Ok(Choice { good: memory.good, trial: memory.trial.map(|(slot, _)| slot) })
    }

    fn try_slot(&self, world: &dyn World, slot: Slot, starts: u32) -> Result<(), InstallError> {
        let memory = self.read(world)?;
        self.write(world, Memory { trial: Some((slot, starts)), ..memory })
    }

    fn confirm(&self, world: &dyn World, slot: Slot) -> Result<(), InstallError> {
        self.write(world, Memory { good: slot, trial: None })
    }
}
