//! One board through one story, and the referee who compares what it runs with what it said.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use muster_agent::boot::Slot;
use muster_agent::boot::plain::{Memory, Plain};
use muster_agent::disk::Disk;
use muster_agent::install::{Installer, slots::Slots};
use muster_agent::world::{Host, Net};
use muster_agent::{Agent, Judge, Settings, Wait, World};
use muster_domain::ActionState;
use muster_vocab::{ActionId, Timestamp};
use muster_wire::agent::ActionState as Said;

use super::depot::{Depot, Order, Told};
use super::disk::{Cut, Loss, VirtualDisk};
use super::image::{Image, Nature};
use super::machine::{self, BOOT_FILE, Machine, SLOT_A, SLOT_B, STATE, Start, in_slot};

/// Where the agent's app is on the board's disk, as a slot pair of its own without a restart.
pub const APP_A: &str = "/dev/app-a";
pub const APP_B: &str = "/dev/app-b";

/// A story that goes on for longer than this, in ticks, never ends.
const TICKS_MAX: u32 = 60_000;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// 2026-11-23T00:00:00Z
const START: Timestamp = Timestamp(1_795_392_000_000);

/// What a board is given.
#[derive(Debug, Clone)]
pub struct Setup {
    pub seed: u64,
    pub slot_bytes: usize,
    pub piece_bytes: u64,
    /// The clock that the board wakes up with.
    pub clock: Timestamp,
}

impl Setup {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, slot_bytes: 16 * 1024, piece_bytes: 4096, clock: START }
    }
}

/// The parts of the world that the agent sees.
#[derive(Debug)]
struct Surroundings {
    disk: VirtualDisk,
    machine: Machine,
    depot: Depot,
}

impl World for Surroundings {
    fn disk(&self) -> &dyn Disk {
        &self.disk
    }

    fn net(&self) -> &dyn Net {
        &self.depot
    }

    fn host(&self) -> &dyn Host {
        &self.machine
    }
}

#[derive(Debug)]
pub struct Board {
    world: Arc<Surroundings>,
    setup: Setup,
    /// Every image that there is, to recognise what lies in a slot.
    images: Vec<Image>,
    agent: Option<Agent>,
    orders: BTreeMap<ActionId, Order>,
    pub failures: Vec<Failure>,
    pub power_cuts: u64,
}

/// Something that must never be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    Bricked(String),
    /// A report that says what isn't so.
    Untrue(String),
    /// It neither committed nor went back, or the depot never heard.
    Unfinished(String),
    /// Components of different releases run together.
    Mixed(String),
}

/// The virtual services of the board's systems.
#[derive(Debug)]
struct Services {
    sick: Vec<Vec<u8>>,
}

impl Judge for Services {
    fn objection(&self, _: &dyn World) -> Option<String> {
        None
    }

    fn complaints(&self, world: &dyn World) -> Vec<String> {
        let slot = muster_agent::boot::slot_in(&world.host().kernel_command_line()).unwrap_or(Slot::A);
        let mut begin = [0; 64];
        let count = world.disk().read_at(&machine::slot_path(slot), 0, &mut begin).unwrap_or(0);
        match self.sick.iter().any(|image| image[..64] == begin[..count]) {
            true => vec!["gateway.service is failed".into(), "gateway: cannot open /dev/modem".into()],
            false => Vec::new(),
        }
    }
}

impl Board {
    /// A board from the factory: version 1.0 in slot A, and the same in slot B.
    #[must_use]
    pub fn new(setup: Setup, images: &[Image]) -> Self {
        let disk = VirtualDisk::default();
        let factory = &images[0];
        for slot in [SLOT_A, SLOT_B] {
            disk.add_device(slot, padded(&factory.bytes, setup.slot_bytes));
        }
        disk.add_file(BOOT_FILE, Memory { good: Slot::A, trial: None }.text().into_bytes());
        let world =
            Surroundings { disk, machine: Machine::new(setup.seed, setup.clock), depot: Depot::new(setup.seed, START) };
        let images = images.to_vec();
        let (orders, failures) = (BTreeMap::new(), Vec::new());
        Self { world: Arc::new(world), setup, images, agent: None, orders, failures, power_cuts: 0 }
    }

    #[must_use]
    pub fn disk(&self) -> &VirtualDisk {
        &self.world.disk
    }

    #[must_use]
    pub fn depot(&self) -> &Depot {
        &self.world.depot
    }

    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.world.machine
    }

    pub fn order(&mut self, order: Order) -> ActionId {
        let id = self.world.depot.place(order.clone());
        self.orders.insert(id, order);
        id
    }

    /// Lets the board live until everything is said and done, or it can't be.
    pub fn run(&mut self) {
        for _ in 0..TICKS_MAX {
            if !self.step() {
                return;
            }
        }
        self.failures.push(Failure::Unfinished(format!("it went on for {TICKS_MAX} steps: {}", self.last_lines())));
    }

    /// One tick of the agent, or one start of the machine. False: all is quiet, or all is lost.
    pub fn step(&mut self) -> bool {
        if self.world.disk.is_off() || self.agent.is_none() {
            return self.start();
        }
        let Some(agent) = &mut self.agent else { return true };
        let ticked = agent.tick(self.world.as_ref());
        self.check_told();
        match ticked {
            Ok(Wait::No) => {}
            Ok(Wait::For(time)) => {
                if self.is_quiet() {
                    self.check_end();
                    return false;
                }
                self.pass(time.min(DAY));
            }
            Ok(Wait::Restart) => self.agent = None,
            // The disk says no: the program is started again a little later.
            Err(_) => {
                self.agent = None;
                self.pass(Duration::from_secs(5));
            }
        }
        self.failures.is_empty()
    }

    fn pass(&self, time: Duration) {
        self.world.machine.pass(time);
        self.world.depot.pass(time);
    }

    fn is_quiet(&self) -> bool {
        let is_idle =
            |agent: &Agent| agent.is_settled() && agent.state().update.is_none() && agent.state().queue.is_empty();
        self.world.depot.is_quiet() && self.agent.as_ref().is_some_and(is_idle)
    }

    /// The power comes back, or the machine restarts.
    fn start(&mut self) -> bool {
        if self.world.disk.is_off() {
            self.power_cuts += 1;
            self.agent = None;
            self.world.disk.power_on();
            self.pass(Duration::from_secs(20));
        } else if self.world.machine.is_restarting() {
            self.world.disk.flush();
        } else if self.world.machine.slot().is_some() {
            // Only the program ended; the machine is up.
            return self.open();
        }
        self.world.depot.cut_off(true, false);
        match self.world.machine.start(&self.world.disk, &self.images) {
            Start::Up(slot) => {
                let nature = in_slot(&self.world.disk, slot, &self.images).map(|image| image.nature);
                self.world.depot.cut_off(false, nature == Some(Nature::Deaf));
                self.open()
            }
            Start::Cut => true,
            Start::Bricked(why) => {
                self.failures.push(Failure::Bricked(format!("{why}: {}", self.last_lines())));
                false
            }
        }
    }

    fn open(&mut self) -> bool {
        let settings = Settings {
            folder: PathBuf::from(STATE),
            long_poll: Duration::ZERO,
            trial: Duration::from_secs(120),
            piece_bytes: self.setup.piece_bytes,
            reserve_bytes: 0,
            ..Settings::default()
        };
        let sick = self.images.iter().filter(|image| image.nature == Nature::Sick).map(|image| image.bytes.clone());
        let judge = Services { sick: sick.collect() };
        match Agent::open(self.world.as_ref(), settings, self.installers(), Box::new(judge)) {
            Ok(agent) => self.agent = Some(agent),
            Err(_) => self.pass(Duration::from_secs(5)),
        }
        true
    }

    fn installers(&self) -> BTreeMap<String, Box<dyn Installer>> {
        let bootloader = Box::new(Plain { file: BOOT_FILE.into() });
        let slots = Slots { a: SLOT_A.into(), b: SLOT_B.into(), bootloader };
        [("os".to_owned(), Box::new(slots) as Box<dyn Installer>)].into()
    }

    /// Everything that was said has to be so at the moment at which it arrives.
    fn check_told(&mut self) {
        for told in self.world.depot.take_told() {
            if let Err(untrue) = self.check_one(&told) {
                self.failures.push(Failure::Untrue(format!("{untrue}: {}", self.last_lines())));
            }
        }
    }

    fn check_one(&self, told: &Told) -> Result<(), String> {
        let Some(order) = self.orders.get(&told.action) else { return Ok(()) };
        let good = self.good_version();
        let os = order.components.iter().find(|(name, _)| name == "os").map(|(_, image)| image);
        match (told.state, os) {
            (Said::Committed, Some(image)) if good.as_deref() != Some(&image.version) => {
                Err(format!("{} was reported as committed, and the good slot holds {good:?}", image.version))
            }
            (Said::Committed, _) if order.lies_about_digest => {
                Err("a release was committed although its digest did not match".into())
            }
            (Said::Reverted | Said::Failed | Said::Canceled, Some(image))
                if good.as_deref() == Some(&image.version) && !self.had_before(told.action, &image.version) =>
            {
                Err(format!("{} was reported as {:?}, and it is what stays", image.version, told.state))
            }
            _ => Ok(()),
        }
    }

    /// An order for what runs already may end either way.
    fn had_before(&self, action: ActionId, version: &str) -> bool {
        version == self.images[0].version
            || self
                .orders
                .range(..action)
                .any(|(_, order)| order.components.iter().any(|(_, one)| one.version == version))
    }

    /// What a start would bring up if the power went now for good.
    #[must_use]
    pub fn good_version(&self) -> Option<String> {
        let memory = self.world.disk.bytes(BOOT_FILE.as_ref())?;
        let memory = Memory::parse(&String::from_utf8_lossy(&memory))?;
        in_slot(&self.world.disk, memory.good, &self.images).map(|image| image.version.clone())
    }

    /// All is quiet: the depot's truth and the board's have to be the same.
    fn check_end(&mut self) {
        let good = self.good_version();
        let running = self.world.machine.slot();
        let running =
            running.and_then(|slot| in_slot(&self.world.disk, slot, &self.images)).map(|image| &image.version);
        if good.as_ref() != running {
            let what = format!("it runs {running:?} and would start {good:?}");
            self.failures.push(Failure::Unfinished(format!("{what}: {}", self.last_lines())));
        }
        let finished = |id: &ActionId| self.world.depot.state(*id) == Some(ActionState::Finished);
        let newest = self.orders.iter().rev().find(|(id, _)| finished(id)).map(|(_, order)| order);
        let expected = newest.map_or(&self.images[0].version, |order| &order.components[0].1.version);
        if good.as_ref() != Some(expected) {
            let what = format!("the depot believes in {expected}, and the board stays with {good:?}");
            self.failures.push(Failure::Untrue(format!("{what}: {}", self.last_lines())));
        }
    }

    /// The slot whose loss costs nothing but the update under way.
    #[must_use]
    pub fn idle_slot(&self) -> Option<Slot> {
        let memory = self.world.disk.bytes(BOOT_FILE.as_ref())?;
        Some(Memory::parse(&String::from_utf8_lossy(&memory))?.good.other())
    }

    fn last_lines(&self) -> String {
        let log = self.world.machine.log();
        log[log.len().saturating_sub(25)..].join("\n    ")
    }

    /// The power goes at this operation of the disk.
    pub fn cut_at(&self, at: u64, loss: Loss) {
        self.world.disk.cut_power(Some(Cut { at, loss }));
    }
}

fn padded(bytes: &[u8], size: usize) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(size, 0);
    padded
}
