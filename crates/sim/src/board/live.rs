//! Thousands of boards with the agent's own code against a real server, in one process.
//!
//! Each board has its disk, machine and network; a few threads let each take its step when it is due.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use muster_agent::io::net::{NetSetupError, Reach, RealNet};
use muster_agent::world::{Call, Net, NetError, Reply};
use muster_vocab::{ActionId, Timestamp};
use muster_wire::agent::{ActionState, Deployment, Join, Joined};
use parking_lot::{Condvar, Mutex};
use tracing::error;

use super::case::START;
use super::device::{Board, Images, Setup, Stepped};
use super::image::{Image, Nature};
use super::schedule::{Kinds, Storm};
use crate::chance::Chance;
use crate::fleet::{FleetError, Report};
use crate::journal::{Install, Journal, Outcome};
use crate::payload::{FIRST_LINE_BYTES_MAX, Payload};
use crate::stats::{Counter, Stats};
use crate::world::FACTORY_VERSION;

/// Boards that may talk to the server at the same moment: each waits for an answer most of its step.
const THREADS: usize = 16;
const SLOT_BYTES: usize = 64 * 1024 * 1024;
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Before a board that was not let in, or that found nobody, tries again.
const JOIN_AGAIN: Duration = Duration::from_secs(2);
/// A step happens at least this often, so that storms blow evenly over boards that wait for long.
const STEP_PAUSE_MAX: Duration = Duration::from_secs(2);

/// A fleet of agents.
#[derive(Clone)]
pub struct Agents {
    /// `http://host:port`
    pub server: String,
    pub project: String,
    pub devices: u32,
    pub seed: u64,
    /// A join token, or the project's gateway token.
    pub token: String,
    pub name_prefix: String,
    /// Boards say that they stand at these, in turn.
    pub sites: Vec<String>,
    /// Ask this often instead of as the server says.
    pub poll_ms: Option<u64>,
    pub faults: Option<Kinds>,
    /// Once it is set, nothing goes wrong any more.
    pub calm: Arc<AtomicBool>,
    pub journal: Option<PathBuf>,
    /// None: boards believe every order of the server.
    pub trust: Option<Trust>,
}

/// What boards judge signatures by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// A signed root, as `muster keys ceremony` makes it.
    pub root: Vec<u8>,
    pub channels: Vec<String>,
}

/// What a board is in the end, whatever it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    pub name: String,
    /// The version that it runs; none: it does not come up.
    pub running: Option<String>,
    /// The version that it would start.
    pub good: Option<String>,
    pub power_cuts: u64,
}

/// Without the token.
impl std::fmt::Debug for Agents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agents")
            .field("server", &self.server)
            .field("project", &self.project)
            .field("devices", &self.devices)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

struct Live {
    index: u32,
    name: String,
    board: Option<Board>,
    way: Arc<Way>,
    storm: Option<Storm>,
    stepped_at: Instant,
    /// Ends of actions that were counted.
    counted: Vec<ActionId>,
    version: String,
    power_cuts: u64,
    is_gone: bool,
}

impl Live {
    fn ran(self) -> Ran {
        let board = self.board.as_ref();
        Ran {
            name: self.name,
            running: board.and_then(Board::running_version),
            good: board.and_then(Board::good_version),
            power_cuts: self.power_cuts,
        }
    }
}

/// A board's way to the real server, over one of the few connections that all share.
struct Way {
    connections: Arc<Mutex<Vec<RealNet>>>,
    token: Mutex<String>,
    images: Images,
    stats: Arc<Stats>,
}

impl Way {
    fn with<T>(&self, act: impl FnOnce(&RealNet) -> T) -> Option<T> {
        let connection = self.connections.lock().pop()?;
        let done = act(&connection.sharing(&self.token.lock()));
        self.connections.lock().push(connection);
        Some(done)
    }

    fn none() -> NetError {
        NetError::Unreachable("no connection is free".into())
    }

    /// Firmware recognises a whole image by what the server said of it.
    fn learn(&self, body: &[u8]) {
        let Ok(deployment) = serde_json::from_slice::<Deployment>(body) else { return };
        let mut images = self.images.lock();
        for artifact in deployment.components.iter().filter(|one| one.name == "os").flat_map(|one| &one.artifacts) {
            if images.iter().all(|image| image.digest != artifact.digest) {
                let size = usize::try_from(artifact.size).unwrap_or(usize::MAX);
                images.push(Image::known(&deployment.version, Nature::Good, artifact.digest, size));
            }
        }
    }
}

impl Net for Way {
    fn call(&self, call: &Call<'_>) -> Result<Reply, NetError> {
        self.stats.count(Counter::Requests);
        if call.path.starts_with("/device/v1/orders") {
            self.stats.count(Counter::Polls);
        }
        let reply = self.with(|net| net.call(call)).ok_or_else(Self::none)?;
        match &reply {
            Ok(reply) if reply.status == 200 && call.path.starts_with("/device/v1/actions/") => self.learn(&reply.body),
            Ok(_) => {}
            Err(_) => self.stats.count(Counter::Errors),
        }
        reply
    }

    fn fetch(
        &self,
        path: &str,
        range: (u64, u64),
        taken: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<u64, NetError> {
        self.stats.count(Counter::Requests);
        if range.0 == 0 {
            self.stats.count(Counter::Downloads);
        }
        self.with(|net| net.fetch(path, range, taken)).ok_or_else(Self::none)?
    }
}

/// When which board is due.
#[derive(Default)]
struct Due {
    heap: Mutex<BinaryHeap<Reverse<(Instant, usize)>>>,
    woken: Condvar,
}

impl Due {
    fn push(&self, at: Instant, board: usize) {
        self.heap.lock().push(Reverse((at, board)));
        self.woken.notify_one();
    }

    /// The next board that is due; none once `stop` is set.
    fn pop(&self, stop: &AtomicBool) -> Option<usize> {
        const LOOK: Duration = Duration::from_millis(100);
        let mut heap = self.heap.lock();
        while !stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            let pause = match heap.peek() {
                Some(Reverse((at, _))) => at.saturating_duration_since(now).min(LOOK),
                None => LOOK,
            };
            if pause.is_zero() {
                return heap.pop().map(|Reverse((_, board))| board);
            }
            self.woken.wait_for(&mut heap, pause);
        }
        None
    }
}

impl Agents {
    /// Runs until `stop` is set. Read `stats` meanwhile.
    pub fn run(&self, stats: &Arc<Stats>, stop: &AtomicBool) -> Result<(Report, Vec<Ran>), FleetError> {
        let journal = self
            .journal
            .as_ref()
            .map(|path| Journal::open(path).map_err(|source| FleetError::Journal { path: path.clone(), source }));
        let journal = journal.transpose()?;
        let connections = (0..THREADS)
            .map(|_| RealNet::new(Reach { server: &self.server, ..Reach::default() }))
            .collect::<Result<_, _>>();
        let connections = Arc::new(Mutex::new(
            connections.map_err(|bad: NetSetupError| FleetError::BadServer(format!("{} ({bad})", self.server)))?,
        ));
        let started = Instant::now();
        let boards: Vec<Mutex<Live>> =
            (0..self.devices).map(|index| Mutex::new(self.board(index, &connections, stats))).collect();
        let due = Due::default();
        for board in 0..boards.len() {
            // First contacts are spread over the first second.
            let part = Chance::keyed(self.seed, &[board as u64, 0x57a7]).below(1000);
            due.push(started + Duration::from_millis(part), board);
        }
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    while let Some(board) = due.pop(stop) {
                        let mut live = boards[board].lock();
                        if let Some(pause) = self.step(&mut live, stats, journal.as_ref()) {
                            due.push(Instant::now() + pause, board);
                        }
                    }
                });
            }
        });
        let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let report = Report { devices: self.devices, seed: self.seed, elapsed_ms, stats: stats.snapshot() };
        Ok((report, boards.into_iter().map(|live| live.into_inner().ran()).collect()))
    }

    fn board(&self, index: u32, connections: &Arc<Mutex<Vec<RealNet>>>, stats: &Arc<Stats>) -> Live {
        let factory = Image::new(FACTORY_VERSION, Nature::Good, 512, self.seed);
        let way = Way {
            connections: Arc::clone(connections),
            token: Mutex::new(String::new()),
            images: Arc::new(Mutex::new(vec![factory])),
            stats: Arc::clone(stats),
        };
        stats.moved(None, FACTORY_VERSION);
        Live {
            index,
            name: format!("{}{:05}", self.name_prefix, index + 1),
            board: None,
            way: Arc::new(way),
            storm: self.faults.map(|kinds| Storm::new(Chance::keyed(self.seed, &[u64::from(index), 0x5702]), kinds)),
            stepped_at: Instant::now(),
            counted: Vec::new(),
            version: FACTORY_VERSION.to_owned(),
            power_cuts: 0,
            is_gone: false,
        }
    }

    /// One step of one board; none if it is never due again.
    fn step(&self, live: &mut Live, stats: &Arc<Stats>, journal: Option<&Journal>) -> Option<Duration> {
        let Some(mut board) = live.board.take() else { return Some(self.join(live)) };
        board.world.machine.pass(live.stepped_at.elapsed());
        live.stepped_at = Instant::now();
        if self.calm.load(Ordering::Relaxed) && live.storm.take().is_some() {
            Storm::clear(&board);
        }
        if let Some(storm) = &mut live.storm {
            storm.shake(&mut board);
        }
        if board.agent.is_none() {
            self.temper(live, &board);
        }
        let stepped = board.step();
        self.tell(live, &mut board);
        self.count(live, &board, stats, journal);
        let pause = match stepped {
            Stepped::On => Duration::ZERO,
            Stepped::Waits(time) => {
                time.min(self.poll_ms.map_or(STEP_PAUSE_MAX, Duration::from_millis)).min(STEP_PAUSE_MAX)
            }
            Stepped::Bricked(why) => {
                error!(device = %live.name, "{} is bricked: {why}\n    {}", live.name, board.last_lines());
                stats.breach(&live.name, &format!("bricked: {why}"));
                live.is_gone = true;
                Duration::ZERO
            }
        };
        live.board = Some(board);
        (!live.is_gone).then_some(pause)
    }

    /// Asks to be let in; the board starts with the token it is given.
    fn join(&self, live: &mut Live) -> Duration {
        let join = Join {
            request: None,
            tpm: None,
            token: self.token.clone(),
            project: self.project.clone(),
            device: live.name.clone(),
            attributes: self.attributes(live.index, FACTORY_VERSION),
        };
        let body = serde_json::to_vec(&join).expect("a message has string keys only");
        let call = Call { method: "POST", path: "/device/v1/join", body: Some(&body), timeout: JOIN_TIMEOUT };
        let joined = match live.way.call(&call) {
            Ok(reply) if reply.status < 300 => serde_json::from_slice::<Joined>(&reply.body).ok(),
            Ok(_) | Err(_) => None,
        };
        let Some(joined) = joined else { return JOIN_AGAIN };
        *live.way.token.lock() = joined.token;
        let setup = Setup {
            seed: Chance::keyed(self.seed, &[u64::from(live.index)]).draw(),
            slot_bytes: SLOT_BYTES,
            piece_bytes: 1024 * 1024,
            clock: self.clock(live.index),
            trial: Duration::from_secs(20),
            check_every: Duration::from_millis(200),
        };
        let way: Arc<dyn Net> = live.way.clone();
        let mut board = Board::new(setup, Arc::clone(&live.way.images), way);
        if let Some(trust) = &self.trust {
            board.trusts(format!("{}/{}", self.project, live.name), &trust.root, trust.channels.clone());
        }
        live.board = Some(board);
        Duration::ZERO
    }

    /// With faults of clocks, every third board wakes up in 1970.
    fn clock(&self, index: u32) -> Timestamp {
        let is_lost = self.faults.is_some_and(|kinds| kinds.clock) && index.is_multiple_of(3);
        if is_lost { Timestamp(0) } else { START }
    }

    fn attributes(&self, index: u32, version: &str) -> BTreeMap<String, String> {
        let mut told: BTreeMap<String, String> =
            [("version", version), ("hw", "virtual-board"), ("agent.version", env!("CARGO_PKG_VERSION"))]
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect();
        if !self.sites.is_empty() {
            told.insert("site".into(), self.sites[index as usize % self.sites.len()].clone());
        }
        told
    }

    fn tell(&self, live: &Live, board: &mut Board) {
        let told = self.attributes(live.index, &live.version);
        if let Some(agent) = &mut board.agent {
            // A disk without power keeps nothing; it is told after the next start.
            let _ = agent.tell_attributes(board.world.as_ref(), &told, false);
        }
    }

    /// Payloads made for simulations say on which boards they don't come up.
    fn temper(&self, live: &Live, board: &Board) {
        let mut images = live.way.images.lock();
        for image in images.iter_mut().skip(1) {
            let Some(slot) = board.slot_with(image) else { continue };
            let payload = Payload::read(&slot[..slot.len().min(FIRST_LINE_BYTES_MAX)]);
            let digest = image.digest.hex();
            let is_dead = Chance::keyed(self.seed, &[u64::from(live.index), 0xdead]).happens(0.5);
            image.nature = match () {
                () if payload.silences(self.seed, live.index, &digest) => Nature::Deaf,
                () if payload.fails(self.seed, live.index, &digest) && is_dead => Nature::Dead,
                () if payload.fails(self.seed, live.index, &digest) => Nature::Sick,
                () => Nature::Good,
            };
        }
    }

    fn count(&self, live: &mut Live, board: &Board, stats: &Arc<Stats>, journal: Option<&Journal>) {
        for _ in live.power_cuts..board.power_cuts {
            stats.count(Counter::Reboots);
        }
        live.power_cuts = board.power_cuts;
        let Some(agent) = &board.agent else { return };
        for ended in &agent.state().ended {
            if live.counted.contains(&ended.action) {
                continue;
            }
            live.counted.push(ended.action);
            let outcome = match ended.how {
                ActionState::Committed => Outcome::Installed,
                ActionState::Canceled => {
                    stats.count(Counter::Cancels);
                    continue;
                }
                _ => Outcome::Failed,
            };
            stats.count(if outcome == Outcome::Installed { Counter::Installs } else { Counter::Failures });
            if outcome == Outcome::Installed {
                let version = agent.state().release.clone().unwrap_or_default();
                let version = version.rsplit('@').next().unwrap_or_default().to_owned();
                stats.moved(Some(&live.version), &version);
                live.version = version;
            }
            let (device, version, action) = (live.name.clone(), live.version.clone(), ended.action);
            let install =
                Install { device, action, version, outcome, at: muster_agent::World::host(board.world.as_ref()).now() };
            if let Some(Err(failed)) = journal.map(|journal| journal.record(&install)) {
                error!("an install was not recorded: {failed}");
            }
        }
    }
}
