//! One virtual device: the agent's code, a machine with a bootloader, a disk, and a way to a server.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use muster_agent::boot::plain::{Memory, Plain};
use muster_agent::boot::{Slot, slot_in};
use muster_agent::disk::Disk;
use muster_agent::install::{Installer, slots::Slots, tree::Tree};
use muster_agent::keep::Keeper;
use muster_agent::queue::Queue;
use muster_agent::state::{Installed, State};
use muster_agent::world::{Host, Net};
use muster_agent::{Agent, Judge, Settings, TrustSettings, Wait, World};
use muster_vocab::Timestamp;
use parking_lot::Mutex;

use super::disk::VirtualDisk;
use super::image::{Image, Nature};
use super::machine::{APP_ROOT, BOOT_FILE, Machine, SLOT_A, SLOT_B, STATE, Start, in_slot, slot_path};
use super::rough::Rough;

/// What a board is made with.
#[derive(Debug, Clone)]
pub struct Setup {
    pub seed: u64,
    pub slot_bytes: usize,
    /// Bytes that are fetched at a time.
    pub piece_bytes: u64,
    /// The clock that the board wakes up with.
    pub clock: Timestamp,
    /// A new version has to prove itself in this time.
    pub trial: Duration,
    pub check_every: Duration,
}

/// Every image that there is, to recognise what lies in a slot.
pub type Images = Arc<Mutex<Vec<Image>>>;

/// The parts of the world that the agent sees.
#[derive(Debug)]
pub struct Surroundings {
    pub disk: VirtualDisk,
    pub machine: Machine,
    pub net: Rough,
}

impl World for Surroundings {
    fn disk(&self) -> &dyn Disk {
        &self.disk
    }

    fn net(&self) -> &dyn Net {
        &self.net
    }

    fn host(&self) -> &dyn Host {
        &self.machine
    }
}

/// Where the factory has put what signatures are judged by.
const ROOT: &str = "/etc/muster/root.json";

#[derive(Debug)]
pub struct Board {
    pub world: Arc<Surroundings>,
    setup: Setup,
    pub images: Images,
    pub agent: Option<Agent>,
    pub power_cuts: u64,
    trust: Option<TrustSettings>,
}

/// What one step came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stepped {
    /// There is more to do at once.
    On,
    /// Nothing is due before.
    Waits(Duration),
    Bricked(String),
}

/// The virtual services of the board's systems.
#[derive(Debug)]
struct Services(Images);

impl Judge for Services {
    fn objection(&self, _: &dyn World) -> Option<String> {
        None
    }

    fn complaints(&self, world: &dyn World) -> Vec<String> {
        let slot = slot_in(&world.host().kernel_command_line()).unwrap_or(Slot::A);
        let images = self.0.lock();
        let sick = images.iter().filter(|image| image.nature == Nature::Sick);
        for image in sick {
            let mut found = vec![0; image.size];
            let count = world.disk().read_at(&slot_path(slot), 0, &mut found).unwrap_or(0);
            if image.is_in(&found[..count]) {
                return vec!["gateway.service is failed".into(), "gateway: cannot open /dev/modem".into()];
            }
        }
        Vec::new()
    }
}

impl Board {
    /// A board from the factory: the first image in both slots, and no app.
    #[must_use]
    pub fn new(setup: Setup, images: Images, way: Arc<dyn Net>) -> Self {
        let disk = VirtualDisk::default();
        let factory = images.lock()[0].bytes.clone();
        for slot in [SLOT_A, SLOT_B] {
            disk.add_device(slot, factory.clone(), setup.slot_bytes);
        }
        disk.add_file(BOOT_FILE, Memory { good: Slot::A, trial: None }.text().into_bytes());
        disk.add_folder(APP_ROOT);
        let machine = Machine::new(setup.seed, setup.clock);
        let world = Surroundings { disk, machine, net: Rough::new(way, setup.seed) };
        Self { world: Arc::new(world), setup, images, agent: None, power_cuts: 0, trust: None }
    }

    /// From its next start on the agent takes only what is signed for these channels, by this root.
    pub fn trusts(&mut self, device: String, root: &[u8], channels: Vec<String>) {
        self.world.disk.add_file(ROOT, root.to_vec());
        self.trust = Some(TrustSettings { root: PathBuf::from(ROOT), device, channels });
    }

    /// The agent remembers that it installed this.
    pub fn knows(&self, component: &str, image: &Image) {
        let (mut keeper, _) = Keeper::open(&self.world.disk, STATE.as_ref()).expect("a new disk can be read");
        let mut state = State { queue: Queue::new("factory".into()), ..State::default() };
        let installed = Installed { version: image.version.clone(), digests: vec![image.digest] };
        state.installed.insert(component.to_owned(), installed);
        keeper.save(&self.world.disk, &state).expect("a new disk can be written");
    }

    /// One tick of the agent, or one start of the machine.
    pub fn step(&mut self) -> Stepped {
        if self.world.disk.is_off() || self.agent.is_none() {
            return self.start();
        }
        let Some(agent) = &mut self.agent else { return Stepped::On };
        match agent.tick(self.world.as_ref()) {
            Ok(Wait::No) => Stepped::On,
            Ok(Wait::For(time)) => Stepped::Waits(time),
            Ok(Wait::Restart) => {
                self.agent = None;
                Stepped::On
            }
            // Nobody takes boards out of service.
            Ok(Wait::Leave | Wait::Move) => Stepped::Waits(Duration::from_secs(3600)),
            // The disk says no: the program is started again a little later.
            Err(_) => {
                self.agent = None;
                Stepped::Waits(Duration::from_secs(5))
            }
        }
    }

    /// The power comes back, the machine restarts, or only the program ended.
    fn start(&mut self) -> Stepped {
        let world = &self.world;
        if world.disk.is_off() {
            self.power_cuts += 1;
            self.agent = None;
            world.disk.power_on();
        } else if world.machine.is_restarting() {
            world.disk.flush();
        } else if world.machine.slot().is_some() {
            return self.open();
        }
        world.net.cut_off(true);
        let images = self.images.lock().clone();
        match world.machine.start(&world.disk, &images) {
            Start::Up(slot) => {
                let nature = in_slot(&world.disk, slot, &images).map(|image| image.nature);
                world.net.cut_off(nature == Some(Nature::Deaf));
                self.open()
            }
            Start::Cut => Stepped::On,
            Start::Bricked(why) => Stepped::Bricked(why),
        }
    }

    fn open(&mut self) -> Stepped {
        let settings = Settings {
            folder: PathBuf::from(STATE),
            long_poll: Duration::ZERO,
            trial: self.setup.trial,
            check_every: self.setup.check_every,
            piece_bytes: self.setup.piece_bytes,
            reserve_bytes: 0,
            trust: self.trust.clone(),
            ..Settings::default()
        };
        let judge = Box::new(Services(Arc::clone(&self.images)));
        match Agent::open(self.world.as_ref(), settings, installers(), judge) {
            Ok(agent) => {
                self.agent = Some(agent);
                Stepped::On
            }
            Err(_) => Stepped::Waits(Duration::from_secs(5)),
        }
    }

    /// The bootloader's own.
    #[must_use]
    pub fn boot_memory(&self) -> Option<Memory> {
        let memory = self.world.disk.bytes(BOOT_FILE.as_ref())?;
        Memory::parse(&String::from_utf8_lossy(&memory))
    }

    /// What a start would bring up if the power went now for good.
    #[must_use]
    pub fn good_version(&self) -> Option<String> {
        self.version_in(self.boot_memory()?.good)
    }

    #[must_use]
    pub fn running_version(&self) -> Option<String> {
        self.version_in(self.world.machine.slot()?)
    }

    fn version_in(&self, slot: Slot) -> Option<String> {
        let images = self.images.lock();
        in_slot(&self.world.disk, slot, &images).map(|image| image.version.clone())
    }

    /// The version of the app that is linked; none if there is no app.
    #[must_use]
    pub fn app_version(&self) -> Option<String> {
        let folder = PathBuf::from(APP_ROOT).join("current");
        let target = self.world.disk.linked(&folder)?;
        let bytes = self.world.disk.bytes(&PathBuf::from(APP_ROOT).join(target).join("VERSION"))?;
        String::from_utf8(bytes).ok()
    }

    /// The content of a slot that holds this image.
    #[must_use]
    pub fn slot_with(&self, image: &Image) -> Option<Vec<u8>> {
        [Slot::A, Slot::B]
            .iter()
            .find_map(|slot| self.world.disk.bytes(&slot_path(*slot)).filter(|slot| image.is_in(slot)))
    }

    /// The slot whose loss costs nothing but the update under way.
    #[must_use]
    pub fn idle_slot(&self) -> Option<Slot> {
        Some(self.boot_memory()?.good.other())
    }

    /// The last lines of the board's log.
    #[must_use]
    pub fn last_lines(&self) -> String {
        let log = self.world.machine.log();
        log[log.len().saturating_sub(30)..].join("\n    ")
    }
}

fn installers() -> BTreeMap<String, Box<dyn Installer>> {
    let bootloader = Box::new(Plain { file: BOOT_FILE.into() });
    let slots = Slots { a: SLOT_A.into(), b: SLOT_B.into(), bootloader };
    let app = Tree {
        root: APP_ROOT.into(),
        keep: 1,
        bytes_max: 1024 * 1024,
        keep_archive: false,
        reload: Vec::new(),
        reload_timeout: Duration::from_secs(10),
    };
    [("os".to_owned(), Box::new(slots) as Box<dyn Installer>), ("app".to_owned(), Box::new(app))].into()
}
