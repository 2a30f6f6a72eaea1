//! `muster sim`: simulated devices, against a real server or in virtual time.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use muster_sim::board::schedule::{self, Kinds};
use muster_sim::{Agents, Faults, Fleet, Snapshot, Stats, Trust};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::exit::{Failed, Outcome};
use crate::output::{self, Format};
use crate::read;

/// Simulate devices: Muster's own agent on virtual machines, and hawkBit DDI clients
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster sim --seed 7 --devices 5000 --faults all
      without a server: each device lives through updates and faults in virtual time, and a referee compares what it
      runs with what it said
  muster sim --devices 200 --server http://127.0.0.1:8080 --gateway-token TOKEN --sites berlin,lyon
      against a server, until interrupted
  muster sim --devices 2000 --ddi 0.5 --server URL --faults net,power --reboots 0.1 --for 5m
      half of the devices speak hawkBit DDI

The same seed gives the same devices, decisions and faults. Shares lie between 0 and 1.")]
pub struct Sim {
    /// Without one, devices live in virtual time.
    #[arg(long, env = "MUSTER_SERVER")]
    server: Option<String>,
    /// What goes wrong with agents: all, none, or some of power,disk,net,clock.
    #[arg(long, default_value = "none")]
    faults: Kinds,
    /// Share of the devices that speak hawkBit DDI instead of running the agent.
    #[arg(long, default_value_t = 0.0)]
    ddi: f64,
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
    /// What agents judge signatures by: a root.json of `muster keys ceremony`; without it they believe every order.
    #[arg(long, value_name = "FILE", requires = "channel")]
    trust_root: Option<PathBuf>,
    /// Agents take releases only that are signed for these channels.
    #[arg(long, value_name = "NAME", value_delimiter = ',', requires = "trust_root")]
    channel: Vec<String>,
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
        let format = if format == Format::Table { Format::Json } else { format };
        match self.server.clone() {
            None => self.live(format),
            Some(server) => self.against(server, format),
        }
    }

    /// In virtual time, against depots of their own.
    fn live(self, format: Format) -> Outcome<()> {
        let (ended, wrong, cuts) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let devices = u64::from(self.devices);
        let first = self.seed.wrapping_mul(1_000_000);
        schedule::live_all(first..first + devices, self.faults, &|seed, case| {
            cuts.fetch_add(case.board.power_cuts, Ordering::Relaxed);
            if !case.failures.is_empty() {
                wrong.fetch_add(1, Ordering::Relaxed);
                eprintln!("device {}: cargo xtask faults --replay {seed}: {:#?}", seed - first, case.failures);
            }
            let ended = ended.fetch_add(1, Ordering::Relaxed) + 1;
            if ended.is_multiple_of(1000) {
                eprintln!("{ended} of {devices} devices are through");
            }
        });
        let wrong = wrong.into_inner();
        let report = serde_json::json!({
            "devices": devices, "seed": self.seed, "power_cuts": cuts.into_inner(), "devices_wrong": wrong,
        });
        output::document(format, &report)?;
        if wrong > 0 {
            return Err(anyhow::anyhow!("{wrong} of {devices} devices did not end well").into());
        }
        Ok(())
    }

    fn against(self, server: String, format: Format) -> Outcome<()> {
        let duration = self.duration;
        let (agents, fleet) = self.fleets(server)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting")?;
        let report = runtime.block_on(simulate(agents, fleet, duration))?;
        output::document(format, &report)
    }

    /// The agents, and the DDI devices that come after them.
    fn fleets(self, server: String) -> Outcome<(Agents, Fleet)> {
        let ddi = (f64::from(self.devices) * self.ddi.clamp(0.0, 1.0)).round() as u32;
        let token = self.gateway_token.clone().unwrap_or_default();
        if ddi < self.devices && token.is_empty() {
            let what = "agents join with a token: --gateway-token TOKEN, from `muster project gateway-token`";
            return Err(Failed::Usage(what.into()));
        }
        let agents = Agents {
            server: server.clone(),
            project: self.project.clone(),
            devices: self.devices - ddi,
            seed: self.seed,
            token,
            name_prefix: self.prefix.clone(),
            sites: self.sites.clone(),
            poll_ms: self.poll_ms,
            faults: (self.faults != Kinds::NONE).then_some(self.faults),
            calm: Arc::default(),
            journal: self.journal.clone(),
            trust: self.trust()?,
        };
        let prefix = if ddi < self.devices { format!("{}ddi-", self.prefix) } else { self.prefix.clone() };
        Ok((agents, Fleet { name_prefix: prefix, devices: ddi, ..self.fleet(server) }))
    }

    fn trust(&self) -> Outcome<Option<Trust>> {
        let Some(path) = &self.trust_root else { return Ok(None) };
        let root = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        Ok(Some(Trust { root, channels: self.channel.clone() }))
    }

    fn fleet(self, server: String) -> Fleet {
        Fleet {
            server,
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

async fn simulate(agents: Agents, fleet: Fleet, duration: Option<Duration>) -> anyhow::Result<muster_sim::Report> {
    let stats = Arc::new(Stats::default());
    let stop_agents = Arc::new(AtomicBool::new(false));
    let boards = tokio::task::spawn_blocking({
        let (agents, stats, stop) = (agents.clone(), stats.clone(), stop_agents.clone());
        move || if agents.devices == 0 { Ok(()) } else { agents.run(&stats, &stop).map(|_| ()) }
    });
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
    let report = fleet.run(stats.clone(), stopped).await;
    stop_agents.store(true, Ordering::Relaxed);
    boards.await.context("the agents' threads")??;
    told.abort();
    let report = report?;
    Ok(muster_sim::Report { devices: report.devices + agents.devices, stats: stats.snapshot(), ..report })
}

async fn tell(stats: Arc<Stats>) {
    loop {
        tokio::time::sleep(TELL_INTERVAL).await;
        let Snapshot { polls, installs, failures, errors, .. } = stats.snapshot();
        eprintln!("{polls} polls, {installs} installs, {failures} failures, {errors} errors");
    }
}
