//! `bench checkin`: how many polls that change nothing are answered, at what cost?

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::fleet::{device, polls, register};
use super::folder::Folder;
use super::nginx::Nginx;
use super::proc;
use super::server::Server;
use crate::figure::Figure;
use crate::loader::{Answers, Length, Load, Requests};

const DEVICES: usize = 100_000;
const CONNECTIONS: usize = 64;
const THREADS: usize = 1;
const WARM_UP: Duration = Duration::from_secs(2);
/// Longer than the server's own period of writing down who was seen, so that its cost is part of the figure.
const MEASURED: Duration = Duration::from_secs(21);
/// A server that has just started goes on allocating for a moment.
const SETTLING: Duration = Duration::from_secs(2);

/// A load and what it cost the server.
#[derive(Debug)]
struct Measured {
    answers: Answers,
    cpu: Duration,
    written_bytes: u64,
}

impl Measured {
    fn per_core_s(&self) -> f64 {
        self.answers.count as f64 / self.cpu.as_secs_f64()
    }
}

pub fn run() -> anyhow::Result<Vec<Figure>> {
    let empty_bytes = {
        let folder = Folder::make("checkin-empty")?;
        resident_after_start(&Server::start(folder.path())?)?
    };
    let folder = Folder::make("checkin")?;
    let server = Server::start(folder.path())?;
    let token = server.log_in()?.open_to_devices()?;
    eprintln!("registering {DEVICES} devices");
    register(server.address, &token, DEVICES)?;
    let polls = polls(server.address, &token, DEVICES);
    eprintln!("polling for {} s", MEASURED.as_secs());
    let body = poll_body(server.address, &token)?;
    let muster = measure(server.address, server.pid(), &polls)?;
    drop(server);
    eprintln!("the same against nginx");
    let nginx = {
        let nginx = Nginx::start(&body)?;
        measure(nginx.address, nginx.pid(), &polls)?
    };
    let filled_bytes = resident_after_start(&Server::start(folder.path())?)?;
    let per_device = filled_bytes.saturating_sub(empty_bytes) as f64 / DEVICES as f64;
    Ok(vec![
        Figure::new("checkin_requests_per_s", muster.answers.per_s(), "1/s").against("nginx", nginx.answers.per_s()),
        Figure::new("checkin_requests_per_core_s", muster.per_core_s(), "1/s").against("nginx", nginx.per_core_s()),
        Figure::new("checkin_p50_ms", muster.answers.quantile_ms(0.5), "ms")
            .against("nginx", nginx.answers.quantile_ms(0.5)),
        Figure::new("checkin_p99_ms", muster.answers.quantile_ms(0.99), "ms")
            .against("nginx", nginx.answers.quantile_ms(0.99)),
        Figure::new("checkin_memory_bytes_per_device", per_device, "B"),
        Figure::new("checkin_disk_bytes_per_request", muster.written_bytes as f64 / muster.answers.count as f64, "B"),
    ])
}

/// What a device is told that has nothing to do.
fn poll_body(address: SocketAddr, token: &str) -> anyhow::Result<String> {
    let mut answer = ureq::get(format!("http://{address}/default/controller/v1/{}", device(0)))
        .header("authorization", format!("GatewayToken {token}"))
        .call()
        .context("polling once")?;
    let body = answer.body_mut().read_to_string().context("polling once")?;
    ensure!(!body.contains("href"), "a device that has nothing to do is told {body}");
    Ok(body)
}

fn measure(address: SocketAddr, pid: u32, requests: &Requests) -> anyhow::Result<Measured> {
    let load = |time| Load { address, connections: CONNECTIONS, threads: THREADS, requests, length: Length::For(time) };
    load(WARM_UP).run()?;
    let (cpu, written) = (proc::cpu(pid)?, proc::written_bytes(pid)?);
    let answers = load(MEASURED).run()?;
    Ok(Measured {
        answers,
        cpu: proc::cpu(pid)?.saturating_sub(cpu),
        written_bytes: proc::written_bytes(pid)?.saturating_sub(written),
    })
}

fn resident_after_start(server: &Server) -> anyhow::Result<u64> {
    std::thread::sleep(SETTLING);
    proc::resident_bytes(server.pid())
}
