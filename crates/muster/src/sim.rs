//! `muster sim`: simulated devices against a real server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use muster_sim::{Faults, Fleet, Snapshot, Stats};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::exit::Outcome;
use crate::output::{self, Format};
use crate::read;

/// Simulate DDI devices, until interrupted.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster sim --devices 200 --server http://127.0.0.1:8080 --gateway-token TOKEN --sites berlin,lyon
  muster sim --devices 2000 --seed 7 --install-failures 0.02 --reboots 0.1 --lost-answers 0.05 --for 5m

The same seed gives the same devices, decisions and faults. Shares lie between 0 and 1.")]
pub struct Sim {
    #[arg(long, default_value = "http://127.0.0.1:8080", env = "MUSTER_SERVER")]
    server: String,
    #[arg(long, default_value = "default")]
    project: String,
    /// From `muster project gateway-token`.
    #[arg(long, env = "MUSTER_GATEWAY_TOKEN")]
    gateway_token: Option<String>,
    #[arg(long, default_value_t = 10)]
    devices: u32,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What the devices' names begin with.
    #[arg(long, default_value = "sim-")]
    prefix: String,
    /// Sites the devices say they are at, in turn.
    #[arg(long, value_delimiter = ',', default_value = "berlin,lyon,porto")]
    sites: Vec<String>,
    /// Poll this often instead of as the server says.
    #[arg(long, value_name = "MS")]
    poll_ms: Option<u64>,
    /// Append every install to this file.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Share of installs that fail.
    #[arg(long, default_value_t = 0.0)]
    install_failures: f64,
    /// Share of devices on a slow link.
    #[arg(long, default_value_t = 0.0)]
    slow_links: f64,
    /// Bytes per second of a slow link.
    #[arg(long, default_value_t = 65_536)]
    slow_link_bytes_per_s: u32,
    /// Share of updates interrupted by a reboot.
    #[arg(long, default_value_t = 0.0)]
    reboots: f64,
    /// Share of devices whose clock is wrong.
    #[arg(long, default_value_t = 0.0)]
    clock_skews: f64,
    /// Share of answers that get lost on their way.
    #[arg(long, default_value_t = 0.0)]
    lost_answers: f64,
    /// Share of updates after which nothing is heard any more.
    #[arg(long, default_value_t = 0.0)]
    silent: f64,
    /// End after this long.
    #[arg(long = "for", value_name = "TIME", value_parser = read::duration)]
    duration: Option<Duration>,
}

/// Wrong clocks are off by up to a day.
const CLOCK_SKEW_MS_MAX: u64 = 86_400_000;
/// How often the state is told.
const TELL_INTERVAL: Duration = Duration::from_secs(5);

impl Sim {
    pub fn run(self, format: Format) -> Outcome<()> {
        let duration = self.duration;
        let fleet = self.fleet();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting")?;
        let report = runtime.block_on(simulate(fleet, duration))?;
        output::document(if format == Format::Table { Format::Json } else { format }, &report)
    }

    fn fleet(self) -> Fleet {
        Fleet {
            server: self.server,
            project: self.project,
            devices: self.devices,
            seed: self.seed,
            gateway_token: self.gateway_token,
            name_prefix: self.prefix,
            sites: self.sites,
            poll_ms: self.poll_ms,
            journal: self.journal,
            faults: Faults {
                install_failure_share: self.install_failures,
                slow_link_share: self.slow_links,
                slow_link_bytes_per_s: self.slow_link_bytes_per_s,
                reboot_share: self.reboots,
                clock_skew_share: self.clock_skews,
                clock_skew_ms_max: CLOCK_SKEW_MS_MAX,
                lost_response_share: self.lost_answers,
                silent_share: self.silent,
                ..Faults::default()
            },
        }
    }
}

async fn simulate(fleet: Fleet, duration: Option<Duration>) -> anyhow::Result<muster_sim::Report> {
    let stats = Arc::new(Stats::default());
    let (stop, stopped) = watch::channel(false);
    let told = tokio::spawn(tell(stats.clone()));
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        let end = async {
            match duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = end => {}
        }
        let _ = stop.send(true);
    });
    let report = fleet.run(stats, stopped).await;
    told.abort();
    Ok(report?)
}

async fn tell(stats: Arc<Stats>) {
    loop {
        tokio::time::sleep(TELL_INTERVAL).await;
        let Snapshot { polls, installs, failures, errors, .. } = stats.snapshot();
        eprintln!("{polls} polls, {installs} installs, {failures} failures, {errors} errors");
    }
}
