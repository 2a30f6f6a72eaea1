//! How is the machine told which of its two slots to start, and how does it find back by itself?
//!
//! A slot that is tried gets a number of starts; the bootloader counts them down and returns to the other slot when
//! none is left. The agent confirms a slot that has proven itself. Every method may be repeated.

pub mod grub;
pub mod plain;
pub mod systemd_boot;
pub mod uboot;

use crate::install::InstallError;
use crate::world::World;

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slot {
    A,
    B,
}

impl Slot {
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// `a` or `b`, as bootloaders' variables have it.
    #[must_use]
    pub fn letter(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    #[must_use]
    pub fn from_letter(letter: &str) -> Option<Self> {
        match letter {
            "a" => Some(Self::A),
            "b" => Some(Self::B),
            _ => None,
        }
    }
}

/// What the bootloader's own memory says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Started when nothing is tried.
    pub good: Slot,
    /// Tried first, while starts are left.
    pub trial: Option<Slot>,
}

pub trait Bootloader: Send + Sync {
    fn name(&self) -> &'static str;

    /// The slot that this system was started from.
    fn running(&self, world: &dyn World) -> Result<Slot, InstallError>;

    fn choice(&self, world: &dyn World) -> Result<Choice, InstallError>;

    /// Starts this slot next, so many times at the most, and the good one afterwards.
    fn try_slot(&self, world: &dyn World, slot: Slot, starts: u32) -> Result<(), InstallError>;

    /// This slot is the good one from now on, and nothing is tried.
    fn confirm(&self, world: &dyn World, slot: Slot) -> Result<(), InstallError>;
}

/// The slot in the kernel's command line: `muster.slot=a`, or RAUC's `rauc.slot=A`.
pub fn slot_in(command_line: &str) -> Option<Slot> {
    let value = command_line
        .split_ascii_whitespace()
        .find_map(|word| word.strip_prefix("muster.slot=").or_else(|| word.strip_prefix("rauc.slot=")))?;
    match value {
        "a" | "A" => Some(Slot::A),
        "b" | "B" => Some(Slot::B),
        _ => None,
    }
}

/// The slot that the kernel was told it comes from.
///
/// # Errors
/// If its command line says nothing of it.
pub fn running_slot(world: &dyn World) -> Result<Slot, InstallError> {
    slot_in(&world.host().kernel_command_line())
        .ok_or_else(|| InstallError::Refused("the kernel's command line has no muster.slot=a or =b".into()))
}
