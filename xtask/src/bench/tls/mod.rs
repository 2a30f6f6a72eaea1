//! `bench tls`: what do connections with certificates cost, next to TLS by itself, and what does a crowd do to others?

pub mod bare;
mod site;
pub mod storm;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use muster_sim::certified::Link;
use rustls::ClientConfig;
use rustls::client::Resumption;

use super::folder::Folder;
use super::proc;
use super::server::Server;
use crate::figure::Figure;
use bare::Bare;
use site::{Identity, Site};

/// What each device asks.
const POLL: (&str, &str) = ("GET", "/device/v1/orders");
/// Of them connect, leave and come again, so that none asks more often than a device may.
const CONNECTING: usize = 200;
/// Identities that join; the crowd shares them.
const DEVICES: usize = 1000;
/// Of each kind, against each server, in turns, so that a busy moment of the machine hits both.
const ROUND: Duration = Duration::from_millis(1500);
const ROUNDS: usize = 6;
/// Half of the descriptors that a process is allowed where nobody has raised them much.
const IDLE: usize = 5000;
/// Of the kernel and of allocators, which give back a little later.
const SETTLING: Duration = Duration::from_secs(3);
const CONNECTED: usize = 200;
const CALM: Duration = Duration::from_secs(15);
const CROWD: usize = 50_000;
/// Of the crowd under way at once: the kernel's queue of 4,096 and as many as the server may take.
const CROWD_OPEN: usize = 10_000;

/// Processor time of a server per connection, in seconds.
#[derive(Debug, Default, Clone, Copy)]
struct Cost {
    cpu: Duration,
    connections: usize,
}

impl Cost {
    fn us(self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.connections as f64
    }
}

#[derive(Debug, Clone, Copy)]
struct Target {
    address: SocketAddr,
    pid: u32,
}

pub fn run() -> anyhow::Result<Vec<Figure>> {
    let (site, folder) = (Site::make()?, Folder::make("tls")?);
    let server = Server::start_tls(folder.path(), (&site.certificate(), &site.key()))?;
    eprintln!("{DEVICES} devices join");
    let identities = site.devices(&server, DEVICES)?;
    let bare = Bare::start(&site)?;
    let muster = Target { address: server.tls_address.context("it speaks TLS")?, pid: server.pid() };
    let bare = (Target { address: bare.address, pid: bare.pid() }, bare);
    let mut figures = connections(&site, &identities, (muster, bare.0))?;
    figures.extend(idle(&site, &identities, (muster, bare.0))?);
    drop(bare);
    figures.extend(crowd(&site, &identities, muster)?);
    Ok(figures)
}

fn connections(site: &Site, identities: &[Identity], of: (Target, Target)) -> anyhow::Result<Vec<Figure>> {
    eprintln!("connecting for {} s", 4 * ROUNDS as u64 * ROUND.as_millis() as u64 / 1000);
    let mut costs = [[Cost::default(); 2]; 2];
    for (costs, resumes) in costs.iter_mut().zip([false, true]) {
        let clients = || -> anyhow::Result<Vec<Arc<ClientConfig>>> {
            let some = identities.iter().take(CONNECTING);
            some.map(|one| Ok(with_tickets(site.client(one)?, resumes))).collect()
        };
        let configs = [clients()?, clients()?];
        for _ in 0..ROUNDS {
            for ((cost, target), config) in costs.iter_mut().zip([of.0, of.1]).zip(&configs) {
                let one = connect(target, config, resumes)?;
                cost.cpu += one.cpu;
                cost.connections += one.connections;
            }
        }
    }
    let [[full, bare_full], [resumed, bare_resumed]] = costs;
    Ok(vec![
        Figure::new("tls_full_cpu", full.us(), "µs").against("bare rustls", bare_full.us()),
        Figure::new("tls_resumed_cpu", resumed.us(), "µs").against("bare rustls", bare_resumed.us()),
        Figure::new("tls_resumed_cpu", resumed.us(), "µs").against("full", full.us()),
        Figure::new("tls_full_per_core_s", 1e6 / full.us(), "1/s"),
        Figure::new("tls_resumed_per_core_s", 1e6 / resumed.us(), "1/s"),
    ])
}

fn with_tickets(config: Arc<ClientConfig>, resumes: bool) -> Arc<ClientConfig> {
    if resumes {
        return config;
    }
    let mut config = Arc::unwrap_or_clone(config);
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// One after the other connects, polls once and leaves, again and again.
fn connect(target: Target, configs: &[Arc<ClientConfig>], resumes: bool) -> anyhow::Result<Cost> {
    // The first ones bring the tickets.
    for config in configs {
        polled(target.address, config)?;
    }
    let (before, ends_at) = (proc::cpu(target.pid)?, Instant::now() + ROUND);
    let mut connections = 0;
    while Instant::now() < ends_at {
        let link = polled(target.address, &configs[connections % configs.len()])?;
        ensure!(link.was_resumed() == resumes, "a connection was resumed or not, other than it should be");
        connections += 1;
    }
    Ok(Cost { cpu: proc::cpu(target.pid)?.saturating_sub(before), connections })
}

fn polled(address: SocketAddr, config: &Arc<ClientConfig>) -> anyhow::Result<Link> {
    let mut link = Link::open(address, config).context("connecting")?;
    let answer = link.ask(POLL, "", b"").context("polling")?;
    ensure!(answer.status == 200, "a device was told {}", answer.status);
    Ok(link)
}

fn idle(site: &Site, identities: &[Identity], of: (Target, Target)) -> anyhow::Result<Vec<Figure>> {
    eprintln!("holding {IDLE} connections open");
    let configs = identities.iter().map(|one| site.client(one)).collect::<anyhow::Result<Vec<_>>>()?;
    let (own, kernel) = held(of.0, &configs)?;
    let (bare, bare_kernel) = held(of.1, &configs)?;
    Ok(vec![
        Figure::new("tls_idle_memory", own + kernel, "B").against("bare rustls", bare + bare_kernel),
        Figure::new("tls_idle_memory_of_process", own, "B").against("bare rustls", bare),
        Figure::new("tls_idle_memory_of_kernel", kernel, "B"),
    ])
}

/// What one idle connection takes of the server's process and of the kernel, in bytes. The kernel's share is half of
/// what its slabs grow by, because the clients' ends are on this machine, too.
fn held(target: Target, configs: &[Arc<ClientConfig>]) -> anyhow::Result<(f64, f64)> {
    std::thread::sleep(SETTLING);
    let (process, slab) = (proc::resident_bytes(target.pid)?, proc::slab_bytes()?);
    let opened = (0..IDLE).map(|number| polled(target.address, &configs[number % configs.len()]));
    let links = opened.collect::<anyhow::Result<Vec<_>>>()?;
    std::thread::sleep(SETTLING);
    let process = proc::resident_bytes(target.pid)?.saturating_sub(process);
    let slab = proc::slab_bytes()?.saturating_sub(slab);
    let each = |bytes: u64| bytes as f64 / links.len() as f64;
    Ok((each(process), each(slab) / 2.0))
}

fn crowd(site: &Site, identities: &[Identity], muster: Target) -> anyhow::Result<Vec<Figure>> {
    storm::prepare(site, identities)?;
    let connected = identities.iter().take(CONNECTED).map(|one| site.client(one));
    let connected = connected.collect::<anyhow::Result<Vec<_>>>()?;
    eprintln!("calm for {} s", CALM.as_secs());
    let stop = AtomicBool::new(false);
    let calm = std::thread::scope(|scope| {
        let polling = scope.spawn(|| storm::polls(muster.address, &connected, &stop));
        std::thread::sleep(CALM);
        stop.store(true, Ordering::Relaxed);
        polling.join().expect("polling does not panic")
    })?;
    eprintln!("{CROWD} devices come back");
    stop.store(false, Ordering::Relaxed);
    let (came, stormy) = std::thread::scope(|scope| {
        let polling = scope.spawn(|| storm::polls(muster.address, &connected, &stop));
        let came = storm::run(muster.address, site, (CROWD, CROWD_OPEN));
        stop.store(true, Ordering::Relaxed);
        (came, polling.join().expect("polling does not panic"))
    });
    let (came, stormy) = (came?, stormy?);
    let ms = |sorted: &[f64], share| storm::quantile(sorted, share) * 1e3;
    Ok(vec![
        Figure::new("tls_calm_p50_ms", ms(&calm, 0.5), "ms"),
        Figure::new("tls_storm_p50_ms", ms(&stormy, 0.5), "ms").against("calm", ms(&calm, 0.5)),
        Figure::new("tls_calm_p99_ms", ms(&calm, 0.99), "ms"),
        Figure::new("tls_storm_p99_ms", ms(&stormy, 0.99), "ms").against("calm", ms(&calm, 0.99)),
        Figure::new("tls_storm_devices_per_s", CROWD as f64 / came.seconds, "1/s"),
        Figure::new("tls_storm_connected_again", came.again, "1"),
    ])
}
