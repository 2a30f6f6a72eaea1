//! How do devices that are connected fare while a crowd comes back?
//!
//! The crowd is a process of its own with the lowest priority, because real devices bring their own processors. Each of
//! it makes a new connection with a full handshake, polls once and leaves; thousands are under way at a time, from
//! several loopback addresses, because one has too few ports.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use muster_sim::certified::{Key, Link, client};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

use super::POLL;
use super::site::{Identity, Site};
use crate::process;

const THREADS: usize = 4;
/// Between two polls of one thread.
const PACE: Duration = Duration::from_millis(20);
const SOURCES: usize = 40;
/// A device that was not answered tries again; in a bench it may not last for ever.
const TRIES: usize = 20;
const ANSWER_BYTES_MAX: usize = 8 * 1024;
const IDENTITIES: &str = "identities.json";

/// Connect as a crowd of devices.
#[derive(Debug, Args)]
pub struct TlsStorm {
    address: SocketAddr,
    folder: PathBuf,
    devices: usize,
    open: usize,
}

/// What became of the crowd.
#[derive(Debug, Clone, Copy)]
pub struct Storm {
    pub seconds: f64,
    /// Connections that broke and were made anew.
    pub again: f64,
}

/// Writes down who the crowd is.
pub fn prepare(site: &Site, identities: &[Identity]) -> anyhow::Result<()> {
    let listed: Vec<Value> = identities.iter().map(|one| json!({ "key": one.key.pem(), "chain": one.chain })).collect();
    let text = json!({ "root": site.root(), "identities": listed }).to_string();
    std::fs::write(site.path().join(IDENTITIES), text).context("writing down the crowd")
}

/// Runs the crowd to its end.
pub fn run(address: SocketAddr, site: &Site, (devices, open): (usize, usize)) -> anyhow::Result<Storm> {
    let own = std::env::current_exe().context("asking for this program's path")?;
    let mut crowd = Command::new("nice");
    crowd.args(["-n", "19"]).arg(own).arg("tls-storm").arg(address.to_string()).arg(site.path());
    crowd.args([devices.to_string(), open.to_string()]).stdin(Stdio::null());
    let said: Value = serde_json::from_str(&process::output(&mut crowd)?).context("reading what the crowd said")?;
    let number = |name: &str| said[name].as_f64().with_context(|| format!("the crowd said {said}"));
    Ok(Storm { seconds: number("seconds")?, again: number("again")? })
}

/// Polls at a steady pace until it is told to stop; the latencies count from when a poll was due.
pub fn polls(address: SocketAddr, configs: &[Arc<ClientConfig>], stop: &AtomicBool) -> anyhow::Result<Vec<f64>> {
    let latencies = std::thread::scope(|scope| {
        let shares = configs.chunks(configs.len().div_ceil(THREADS));
        let threads: Vec<_> = shares.map(|share| scope.spawn(|| poll(address, share, stop))).collect();
        let polled = threads.into_iter().map(|thread| thread.join().expect("polling does not panic"));
        polled.collect::<anyhow::Result<Vec<_>>>()
    })?;
    let mut latencies = latencies.concat();
    latencies.sort_unstable_by(f64::total_cmp);
    Ok(latencies)
}

fn poll(address: SocketAddr, configs: &[Arc<ClientConfig>], stop: &AtomicBool) -> anyhow::Result<Vec<f64>> {
    let opened = configs.iter().map(|config| Link::open(address, config).context("connecting"));
    let mut links = opened.collect::<anyhow::Result<Vec<_>>>()?;
    let mut latencies = Vec::new();
    let mut due = Instant::now();
    loop {
        for link in &mut links {
            if stop.load(Ordering::Relaxed) {
                return Ok(latencies);
            }
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let answer = link.ask(POLL, "", b"").context("polling")?;
            ensure!(answer.status == 200, "a connected device was told {}", answer.status);
            latencies.push(due.elapsed().as_secs_f64());
            due += PACE;
        }
    }
}

/// The latency that this share stayed below.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let index = (sorted.len() as f64 * share) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

impl TlsStorm {
    pub fn run(self) -> anyhow::Result<()> {
        let configs = configs(&self.folder)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let began = Instant::now();
        let again = runtime.block_on(self.come(configs))?;
        println!("{}", json!({ "seconds": began.elapsed().as_secs_f64(), "again": again }));
        Ok(())
    }

    async fn come(&self, configs: Vec<Arc<ClientConfig>>) -> anyhow::Result<usize> {
        let (seats, again) = (Arc::new(Semaphore::new(self.open)), Arc::new(AtomicUsize::new(0)));
        let mut crowd = tokio::task::JoinSet::new();
        for number in 0..self.devices {
            let seat = seats.clone().acquire_owned().await.context("waiting for a seat")?;
            let (config, address, again) = (configs[number % configs.len()].clone(), self.address, again.clone());
            crowd.spawn(async move {
                let outcome = device(number, address, &config, &again).await;
                drop(seat);
                outcome
            });
            while let Some(ended) = crowd.try_join_next() {
                ended.context("a device broke")??;
            }
        }
        while let Some(ended) = crowd.join_next().await {
            ended.context("a device broke")??;
        }
        Ok(again.load(Ordering::Relaxed))
    }
}

async fn device(
    number: usize,
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    again: &AtomicUsize,
) -> anyhow::Result<()> {
    for _ in 1..TRIES {
        if once(number, address, config).await.is_ok() {
            return Ok(());
        }
        again.fetch_add(1, Ordering::Relaxed);
    }
    once(number, address, config).await.context("a device of the crowd was never answered")
}

async fn once(number: usize, address: SocketAddr, config: &Arc<ClientConfig>) -> anyhow::Result<()> {
    let socket = TcpSocket::new_v4()?;
    let source = Ipv4Addr::new(127, 0, 1, u8::try_from(number % SOURCES)? + 1);
    socket.bind(SocketAddr::from((source, 0)))?;
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::IpAddress(address.ip().into());
    let mut stream = TlsConnector::from(config.clone()).connect(name, stream).await?;
    let (method, path) = POLL;
    stream.write_all(format!("{method} {path} HTTP/1.1\r\nhost: muster\r\n\r\n").as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::with_capacity(ANSWER_BYTES_MAX);
    while !answer.ends_with(b"}") {
        let read = stream.read_buf(&mut answer).await?;
        ensure!(read > 0 && answer.len() < ANSWER_BYTES_MAX, "an answer did not end");
    }
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "a device was told {}", String::from_utf8_lossy(&answer));
    Ok(())
}

/// Of the crowd; none has a ticket, as after a restart of the server.
fn configs(folder: &Path) -> anyhow::Result<Vec<Arc<ClientConfig>>> {
    let text = std::fs::read_to_string(folder.join(IDENTITIES)).context("reading who the crowd is")?;
    let crowd: Value = serde_json::from_str(&text).context("reading who the crowd is")?;
    let text = |value: &Value| value.as_str().map(str::to_owned).context("the list of the crowd lacks a text");
    let root = text(&crowd["root"])?;
    let identities = crowd["identities"].as_array().context("there is no crowd")?;
    let made = identities.iter().map(|one| {
        let key = Key::read(&text(&one["key"])?)?;
        let mut config = client(&root, Some((&text(&one["chain"])?, &key)))?;
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    });
    made.collect()
}
