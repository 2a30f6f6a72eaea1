//! How do simulated devices live beside a routine, and end with it?

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use serde::Deserialize;

use super::server::Server;

/// What simulated devices are called, before their number.
pub const PREFIX: &str = "sim-";
/// Devices as they are in the field: some installs fail, some devices restart, some have bad links, and answers get
/// lost on the way.
const FAULTS: [&str; 8] =
    ["--install-failures", "0.05", "--slow-links", "0.05", "--reboots", "0.1", "--lost-answers", "0.1"];
const POLL_MS: &str = "2000";

/// How many, and what becomes of each.
#[derive(Debug, Clone, Copy)]
pub struct Fleet {
    pub devices: u32,
    pub seed: u64,
}

/// A `muster sim` of its own, killed on drop.
#[derive(Debug)]
pub struct Devices {
    child: Child,
    journal: PathBuf,
}

/// What the simulator says at its end, as far as it matters here.
#[derive(Debug, Deserialize)]
pub struct Report {
    pub stats: Stats,
}

#[derive(Debug, Deserialize)]
pub struct Stats {
    /// Final reports that the server took.
    pub reports: u64,
    pub breach_samples: Vec<String>,
}

impl Devices {
    pub fn start(program: &Path, server: &Server, token: &str, fleet: Fleet) -> anyhow::Result<Devices> {
        let journal = server.scratch("installs.jsonl");
        let log = File::create(server.scratch("sim.log")).context("making the devices' log")?;
        // It is there from the start, because it is read before the first install.
        File::create(&journal).context("making the devices' journal")?;
        let child = Command::new(program)
            .args(["sim", "--ddi", "1", "--server", server.origin(), "--prefix", PREFIX, "--poll-ms", POLL_MS])
            .args(["--devices", &fleet.devices.to_string(), "--seed", &fleet.seed.to_string()])
            .args(FAULTS)
            .arg("--journal")
            .arg(&journal)
            .env("MUSTER_GATEWAY_TOKEN", token)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("starting the devices")?;
        Ok(Devices { child, journal })
    }

    /// How many installs the devices have written down.
    pub fn installs(&self) -> anyhow::Result<u64> {
        let journal = std::fs::read(&self.journal).context("reading the devices' journal")?;
        Ok(journal.iter().filter(|byte| **byte == b'\n').count() as u64)
    }

    pub fn journal(&self) -> &Path {
        &self.journal
    }

    /// Ends every device and answers what they did.
    pub fn stop(&mut self) -> anyhow::Result<Report> {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        ensure!(told.context("running kill")?.success(), "the devices ended early");
        let mut report = String::new();
        let stdout = self.child.stdout.as_mut().context("the simulator has no standard output")?;
        stdout.read_to_string(&mut report).context("reading what the devices did")?;
        let status = self.child.wait().context("waiting for the devices")?;
        ensure!(status.success(), "the devices ended with {status}");
        serde_json::from_str(&report).with_context(|| format!("reading what the devices did: {report}"))
    }
}

impl Drop for Devices {
    fn drop(&mut self) {
        // It may have ended by itself, which is what is wanted here.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
