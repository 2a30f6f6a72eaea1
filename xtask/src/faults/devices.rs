//! How do simulated devices live beside a routine?

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context, anyhow};
use muster_sim::{Faults, Fleet, FleetError, Report, Snapshot, Stats};
use tokio::sync::watch;

/// What simulated devices are called, before their number.
pub const PREFIX: &str = "sim-";

/// A fleet on threads of its own.
#[derive(Debug)]
pub struct Devices {
    stats: Arc<Stats>,
    stop: watch::Sender<bool>,
    thread: JoinHandle<anyhow::Result<Report>>,
}

/// Devices as they are in the field: some restart, some have bad links, and answers get lost on the way.
pub fn fleet(origin: &str, token: String, devices: u32, seed: u64) -> Fleet {
    Fleet {
        server: origin.to_owned(),
        project: "default".to_owned(),
        devices,
        seed,
        gateway_token: Some(token),
        name_prefix: PREFIX.to_owned(),
        poll_ms: Some(2_000),
        faults: Faults {
            install_failure_share: 0.05,
            slow_link_share: 0.05,
            slow_link_bytes_per_s: 64 * 1024,
            reboot_share: 0.1,
            lost_response_share: 0.1,
            ..Faults::default()
        },
        ..Fleet::default()
    }
}

impl Devices {
    pub fn start(fleet: Fleet, journal: &Path) -> Devices {
        let stats = Arc::new(Stats::default());
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::clone(&stats);
        let journal = journal.to_owned();
        let thread = std::thread::spawn(move || run(fleet, journal, shared, stopped));
        Devices { stats, stop, thread }
    }

    pub fn now(&self) -> Snapshot {
        self.stats.snapshot()
    }

    /// Ends every device and says what they did.
    pub fn stop(self) -> anyhow::Result<Report> {
        self.stop.send(true).map_err(|_| anyhow!("the devices stopped early"))?;
        self.thread.join().map_err(|_| anyhow!("a device broke"))?
    }
}

fn run(fleet: Fleet, journal: PathBuf, stats: Arc<Stats>, stopped: watch::Receiver<bool>) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting devices")?;
    let fleet = Fleet { journal: Some(journal), ..fleet };
    let report: Result<Report, FleetError> = runtime.block_on(fleet.run(stats, stopped));
    report.context("running devices")
}
