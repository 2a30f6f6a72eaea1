//! How does a whole fleet live in one process?

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use muster_vocab::limit;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{error, info};

use crate::chance::Chance;
use crate::ddi::Judge;
use crate::device::{Device, Do, Event, Order};
use crate::faults::Faults;
use crate::journal::{Install, Journal};
use crate::stats::{Counter, Snapshot, Stats};
use crate::wire::{Transfer, Wire};
use crate::world::{FACTORY_VERSION, World};

/// Spreads the first contacts when the first device was not let in, so that nobody knows the interval yet.
const FIRST_CONTACT_SPREAD_MS_DEFAULT: u64 = 30_000;

/// Devices that poll one server until they are told to stop.
#[derive(Clone)]
pub struct Fleet {
    /// `http://host:port`.
    pub server: String,
    /// hawkBit's tenant.
    pub project: String,
    pub devices: u32,
    pub seed: u64,
    pub gateway_token: Option<String>,
    /// Devices are called by it and their number: `sim-00001`.
    pub name_prefix: String,
    /// Devices say that they stand at these, in turn.
    pub sites: Vec<String>,
    /// Polls at this interval instead of the server's.
    pub poll_ms: Option<u64>,
    pub faults: Faults,
    /// Where installs are recorded, a JSON line each.
    pub journal: Option<PathBuf>,
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            server: "http://127.0.0.1:8080".to_owned(),
            project: "DEFAULT".to_owned(),
            devices: 1,
            seed: 1,
            gateway_token: None,
            name_prefix: "sim-".to_owned(),
            sites: Vec::new(),
            poll_ms: None,
            faults: Faults::default(),
            journal: None,
        }
    }
}

/// Without the token.
impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet")
            .field("server", &self.server)
            .field("project", &self.project)
            .field("devices", &self.devices)
            .field("seed", &self.seed)
            .field("name_prefix", &self.name_prefix)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    #[error("the server's address {0:?} is not of the form http://host:port")]
    BadServer(String),
    #[error("the gateway token has characters that can't stand in a header")]
    BadToken,
    #[error("device names that begin with {0:?} have more than {max} characters", max = limit::DEVICE_NAME_CHARS_MAX)]
    LongNames(String),
    #[error("opening the journal {path}")]
    Journal {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub devices: u32,
    pub seed: u64,
    pub elapsed_ms: u64,
    pub stats: Snapshot,
}

#[derive(Debug)]
struct Shared {
    world: Arc<World>,
    wire: Wire,
    journal: Option<Journal>,
    /// The poll interval, once the first device learned it.
    interval_ms: watch::Sender<Option<u64>>,
}

impl Fleet {
    /// Runs until `stop` is true or its sender is gone. Read `stats` meanwhile.
    pub async fn run(&self, stats: Arc<Stats>, mut stop: watch::Receiver<bool>) -> Result<Report, FleetError> {
        let shared = Arc::new(self.build(Arc::clone(&stats))?);
        let started = Instant::now();
        let mut devices = JoinSet::new();
        for index in 0..self.devices {
            stats.moved(None, FACTORY_VERSION);
            devices.spawn(live(Arc::clone(&shared), index));
        }
        info!(devices = self.devices, seed = self.seed, "started {} devices with seed {}", self.devices, self.seed);
        // An error says that whoever could have said stop is gone, which is the same as if it had been said.
        stop.wait_for(|stop| *stop).await.ok();
        devices.abort_all();
        while let Some(ended) = devices.join_next().await {
            if let Err(failed) = ended
                && failed.is_panic()
            {
                std::panic::resume_unwind(failed.into_panic());
            }
        }
        let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Report { devices: self.devices, seed: self.seed, elapsed_ms, stats: stats.snapshot() })
    }

    fn build(&self, stats: Arc<Stats>) -> Result<Shared, FleetError> {
        let origin = self.server.trim_end_matches('/').to_owned();
        let host = origin.strip_prefix("http://").unwrap_or_default();
        if host.is_empty() || host.contains(['/', '?', '#', '@', ' ']) || origin.parse::<http::Uri>().is_err() {
            return Err(FleetError::BadServer(self.server.clone()));
        }
        let world = Arc::new(World {
            origin,
            project: self.project.clone(),
            seed: self.seed,
            name_prefix: self.name_prefix.clone(),
            sites: self.sites.clone(),
            poll_ms: self.poll_ms,
            faults: self.faults.clone(),
            stats: Arc::clone(&stats),
        });
        if world.device_name(self.devices).chars().count() > limit::DEVICE_NAME_CHARS_MAX {
            return Err(FleetError::LongNames(self.name_prefix.clone()));
        }
        let journal = match &self.journal {
            Some(path) => {
                let opened = Journal::open(path);
                Some(opened.map_err(|source| FleetError::Journal { path: path.clone(), source })?)
            }
            None => None,
        };
        let wire = Wire::new(self.authorization()?, stats);
        Ok(Shared { world, wire, journal, interval_ms: watch::Sender::new(self.poll_ms) })
    }

    fn authorization(&self) -> Result<Option<HeaderValue>, FleetError> {
        let Some(token) = &self.gateway_token else { return Ok(None) };
        let mut value = HeaderValue::try_from(format!("GatewayToken {token}")).map_err(|_| FleetError::BadToken)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// One device, from its first contact until it vanishes or the fleet stops.
async fn live(shared: Arc<Shared>, index: u32) {
    wait_for_turn(&shared, index).await;
    let clock = shared.wire.clock;
    let mut device = Box::new(Device::new(Arc::clone(&shared.world), index));
    let mut transfer = None;
    let mut event = Event::Woke;
    loop {
        let answered = matches!(event, Event::Answered(_));
        let to_do = device.step(clock.now_ms(), event);
        if index == 0 && answered {
            tell_interval(&shared, device.interval_ms());
        }
        if !device.keeps_download() {
            transfer = None;
        }
        event = match to_do {
            Do::Wait { until_ms } => {
                sleep_until(clock.instant_of(until_ms)).await;
                Event::Woke
            }
            // Boxed, so that a device that only waits stays small.
            Do::Send(call) => Box::pin(shared.wire.send(call)).await.map_or(Event::Lost, Event::Answered),
            Do::Fetch(order) => Box::pin(fetch(&shared, index, &mut transfer, &order)).await,
            Do::Record(install) => {
                record(&shared, &install);
                Event::Woke
            }
            Do::Vanish => return,
        };
    }
}

async fn fetch(shared: &Shared, index: u32, transfer: &mut Option<Box<Transfer>>, order: &Order) -> Event {
    if !transfer.as_ref().is_some_and(|transfer| transfer.is_of(order)) {
        *transfer = None;
    }
    let transfer = transfer.get_or_insert_with(|| Box::new(Transfer::new(order)));
    let device = shared.world.device_name(index);
    let judge = Judge { stats: &shared.world.stats, device: &device, origin: &shared.world.origin };
    Event::Fetched(shared.wire.fetch(judge, transfer, order).await)
}

/// The first device goes at once and learns the interval; the others spread their first contact over it.
async fn wait_for_turn(shared: &Shared, index: u32) {
    if index == 0 {
        return;
    }
    let mut interval = shared.interval_ms.subscribe();
    let Ok(interval_ms) = interval.wait_for(Option::is_some).await.map(|known| known.unwrap_or_default()) else {
        return;
    };
    let turn = Chance::keyed(shared.world.seed, &[u64::from(index), 0xf125]).share();
    sleep(Duration::from_millis(interval_ms).mul_f64(turn)).await;
}

/// A first device that is not let in must not hold the others back.
fn tell_interval(shared: &Shared, learned_ms: Option<u64>) {
    let told_ms = learned_ms.unwrap_or(FIRST_CONTACT_SPREAD_MS_DEFAULT);
    shared.interval_ms.send_if_modified(|known| known.replace(known.unwrap_or(told_ms)).is_none());
}

fn record(shared: &Shared, install: &Install) {
    let Some(journal) = &shared.journal else { return };
    if let Err(failed) = journal.record(install) {
        shared.world.stats.count(Counter::Errors);
        error!(device = install.device, "the journal could not be written: {failed}");
    }
}
