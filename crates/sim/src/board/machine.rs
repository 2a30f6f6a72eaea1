//! The machine of a virtual board: clocks, power, and firmware that starts a slot as real bootloaders do.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_agent::boot::plain::Memory;
use muster_agent::boot::{Slot, slot_in};
use muster_agent::disk;
use muster_agent::world::{Host, Ran, Run};
use muster_vocab::Timestamp;
use parking_lot::Mutex;

use super::disk::VirtualDisk;
use super::image::{Image, Nature};
use crate::chance::Chance;

pub const SLOT_A: &str = "/dev/slot-a";
pub const SLOT_B: &str = "/dev/slot-b";
pub const BOOT_FILE: &str = "/boot/muster.env";
/// The folder that an app's versions are switched in.
pub const APP_ROOT: &str = "/srv/app";
/// The agent's folder.
pub const STATE: &str = "/data/muster";

/// Starts in a row after which a board counts as one that a person has to fetch.
const STARTS_MAX: u32 = 12;

#[derive(Debug)]
struct Inner {
    uptime: Duration,
    /// What the clock shows at the start of each boot: boards without a battery forget the time.
    clock: Timestamp,
    boots: u64,
    command_line: String,
    is_restarting: bool,
    chance: Chance,
    log: Vec<String>,
}

#[derive(Debug)]
pub struct Machine(Mutex<Inner>);

/// What a start came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    Up(Slot),
    /// The power went during the start.
    Cut,
    /// Nothing whole was left to start.
    Bricked(String),
}

impl Machine {
    #[must_use]
    pub fn new(seed: u64, clock: Timestamp) -> Self {
        Self(Mutex::new(Inner {
            uptime: Duration::ZERO,
            clock,
            boots: 0,
            command_line: String::new(),
            is_restarting: false,
            chance: Chance::keyed(seed, &[0x000b_0a2d]),
            log: Vec::new(),
        }))
    }

    /// Power comes, or the machine resets: firmware picks a slot, counts the try down, and starts it, again and again
    /// until a system is up.
    pub fn start(&self, disk: &VirtualDisk, known: &[Image]) -> Start {
        self.0.lock().command_line.clear();
        for _ in 0..STARTS_MAX {
            let Ok(bytes) = disk::read(disk, Path::new(BOOT_FILE), 4096) else {
                if disk::Disk::kind(disk, Path::new(BOOT_FILE)).is_err() {
                    return Start::Cut;
                }
                return Start::Bricked("the bootloader's memory is gone".into());
            };
            let Some(memory) = Memory::parse(&String::from_utf8_lossy(&bytes)) else {
                return Start::Bricked("the bootloader's memory can't be read".into());
            };
            let (mut slot, after) = memory.start();
            if after != memory && disk::replace(disk, Path::new(BOOT_FILE), after.text().as_bytes()).is_err() {
                if disk.is_off() {
                    return Start::Cut;
                }
                // A start that can't be counted could be repeated for ever, so it isn't made.
                slot = memory.good;
            }
            self.0.lock().boots += 1;
            match in_slot(disk, slot, known) {
                Some(image) if image.nature != Nature::Dead => {
                    let mut inner = self.0.lock();
                    inner.uptime = Duration::from_secs(5);
                    inner.command_line = format!("root=/dev/vda muster.slot={}", slot.letter());
                    inner.is_restarting = false;
                    return Start::Up(slot);
                }
                Some(_) => self.note(&format!("slot {} does not come up", slot.letter())),
                None if slot == memory.good && memory.trial.is_none() => {
                    return Start::Bricked(format!("slot {}, the good one, is not whole", slot.letter()));
                }
                None => self.note(&format!("slot {} is not whole", slot.letter())),
            }
        }
        Start::Bricked("no slot comes up".into())
    }

    pub fn pass(&self, time: Duration) {
        let mut inner = self.0.lock();
        inner.uptime += time;
        inner.clock = inner.clock.plus(time);
    }

    pub fn set_clock(&self, clock: Timestamp) {
        self.0.lock().clock = clock;
    }

    pub fn is_restarting(&self) -> bool {
        self.0.lock().is_restarting
    }

    pub fn slot(&self) -> Option<Slot> {
        slot_in(&self.0.lock().command_line)
    }

    pub fn note(&self, line: &str) {
        let mut inner = self.0.lock();
        let line = format!("boot {} {:>6} ms  {line}", inner.boots, inner.uptime.as_millis());
        inner.log.push(line);
    }

    pub fn log(&self) -> Vec<String> {
        self.0.lock().log.clone()
    }
}

/// The whole image that a slot holds, if it holds one.
#[must_use]
pub fn in_slot<'a>(disk: &VirtualDisk, slot: Slot, known: &'a [Image]) -> Option<&'a Image> {
    let content = disk.bytes(&slot_path(slot))?;
    known.iter().find(|image| image.is_in(&content))
}

#[must_use]
pub fn slot_path(slot: Slot) -> PathBuf {
    PathBuf::from(match slot {
        Slot::A => SLOT_A,
        Slot::B => SLOT_B,
    })
}

impl Host for Machine {
    fn now(&self) -> Timestamp {
        self.0.lock().clock
    }

    fn uptime(&self) -> Duration {
        self.0.lock().uptime
    }

    fn boot_id(&self) -> String {
        format!("boot-{}", self.0.lock().boots)
    }

    fn kernel_command_line(&self) -> String {
        self.0.lock().command_line.clone()
    }

    fn restart(&self) -> io::Result<()> {
        self.0.lock().is_restarting = true;
        Ok(())
    }

    fn run(&self, _: &Run<'_>) -> io::Result<Ran> {
        Err(io::Error::from(io::ErrorKind::NotFound))
    }

    fn probe(&self, _: &str, _: Duration) -> io::Result<(u16, Vec<u8>)> {
        Err(io::Error::from(io::ErrorKind::ConnectionRefused))
    }

    fn battery_percent(&self) -> Option<u8> {
        None
    }

    fn chance(&self) -> u64 {
        self.0.lock().chance.draw()
    }

    fn log(&self, line: &str) {
        self.note(line);
    }
}
