//! How do the tests receive webhooks? By npm's `standardwebhooks`, which checks their signatures.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::provision;

/// The release whose API is known.
const PACKAGE: &str = "standardwebhooks@1.1.1";
const PROGRAM: &str = include_str!("receiver.mjs");

/// A running receiver; ends with the test.
#[derive(Debug)]
pub struct Receiver {
    child: Child,
    stdin: ChildStdin,
    told: Arc<Mutex<Vec<Value>>>,
    pub port: u16,
}

impl Receiver {
    /// Checks signatures by this key, `whsec_…`.
    ///
    /// # Panics
    /// If it can't be installed or started.
    #[must_use]
    pub fn start(key: &str) -> Self {
        Self::try_start(key).unwrap_or_else(|failed| panic!("the receiver of webhooks: {failed:#}"))
    }

    fn try_start(key: &str) -> anyhow::Result<Self> {
        let mut node = Command::new("node");
        node.args(["--no-warnings", "--input-type=module", "-e", PROGRAM]).env("KEY", key);
        node.current_dir(provision::package(PACKAGE)?);
        let mut child = node.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("starting node")?;
        let stdin = child.stdin.take().context("its stdin is piped")?;
        let mut said = BufReader::new(child.stdout.take().context("its stdout is piped")?);
        let mut line = String::new();
        ensure!(said.read_line(&mut line)? > 0, "it has ended");
        let ready: Value = serde_json::from_str(&line).with_context(|| format!("it said {line:?}"))?;
        let port = ready["port"].as_u64().and_then(|port| port.try_into().ok()).context("it says its port")?;
        let told = Arc::new(Mutex::new(Vec::new()));
        let kept = told.clone();
        std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                if let Ok(told) = serde_json::from_str(&line) {
                    kept.lock().expect("nobody panics while holding it").push(told);
                }
            }
        });
        Ok(Self { child, stdin, told, port })
    }

    /// Answers with this status from now on.
    ///
    /// # Panics
    /// If it is gone.
    pub fn answer(&mut self, status: u16) {
        writeln!(self.stdin, "{status}").expect("the receiver listens");
        crate::wait::until("the receiver has changed its answer", || {
            self.told().iter().any(|told| told.get("events").is_none() && told["status"] == status).then_some(())
        });
    }

    /// What it got so far; `events` is null where the signature was wrong.
    ///
    /// # Panics
    /// If its reader is gone.
    #[must_use]
    pub fn told(&self) -> Vec<Value> {
        self.told.lock().expect("nobody panics while holding it").clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
