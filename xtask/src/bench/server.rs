//! The server under measurement: started in a folder of its own, asked over its own API, stopped at the end.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use crate::process;

pub const PASSWORD: &str = "measured-not-guarded";
const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// Runs until it is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// If it was started with TLS.
    pub tls_address: Option<SocketAddr>,
}

/// The operator API with a session of the administrator.
#[derive(Debug)]
pub struct Operator {
    agent: ureq::Agent,
    base: String,
    bearer: String,
}

impl Server {
    /// Starts the release build on a folder and waits until it is ready.
    pub fn start(data: &Path) -> anyhow::Result<Self> {
        Self::launch(data, None)
    }

    /// The same with HTTPS beside HTTP, by this certificate and key.
    pub fn start_tls(data: &Path, pair: (&Path, &Path)) -> anyhow::Result<Self> {
        Self::launch(data, Some(pair))
    }

    fn launch(data: &Path, pair: Option<(&Path, &Path)>) -> anyhow::Result<Self> {
        let mut command = process::command("target/release/muster");
        command.args(["server", "--listen", "127.0.0.1:0", "--log", "warn", "--data"]).arg(data);
        // A whole fleet is at this address.
        command.args(["--connections-per-address", "1000000"]);
        if let Some((certificate, key)) = pair {
            command.args(["--tls-listen", "127.0.0.1:0", "--tls-certificate"]).arg(certificate);
            command.arg("--tls-key").arg(key);
        }
        command.env("MUSTER_ADMIN_PASSWORD", PASSWORD).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().context("starting the server")?;
        match told_addresses(&mut child, pair.is_some()) {
            Ok((address, tls_address)) => {
                let server = Self { child, address, tls_address };
                server.wait_until_ready()?;
                Ok(server)
            }
            Err(failed) => {
                end(&mut child);
                Err(failed)
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log_in(&self) -> anyhow::Result<Operator> {
        let config = ureq::Agent::config_builder().timeout_global(Some(START_TIMEOUT)).build();
        let mut operator =
            Operator { agent: config.into(), base: format!("http://{}/api/v1", self.address), bearer: String::new() };
        let session = operator.post("/login", &json!({ "account": "admin", "password": PASSWORD }))?;
        operator.bearer = format!("Bearer {}", text(&session, "token")?);
        Ok(operator)
    }

    fn wait_until_ready(&self) -> anyhow::Result<()> {
        let url = format!("http://{}/readyz", self.address);
        until(START_TIMEOUT, "the server to be ready", || Ok(ureq::get(&url).call().is_ok().then_some(())))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

impl Operator {
    pub fn get(&self, path: &str) -> anyhow::Result<Value> {
        let mut answer = self
            .agent
            .get(format!("{}{path}", self.base))
            .header("authorization", &self.bearer)
            .call()
            .with_context(|| format!("asking for {path}"))?;
        answer.body_mut().read_json().with_context(|| format!("reading {path}"))
    }

    pub fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.agent.post(format!("{}{path}", self.base)).header("authorization", &self.bearer);
        let mut answer = request.send_json(body).with_context(|| format!("sending {path}"))?;
        answer.body_mut().read_json().with_context(|| format!("reading what {path} answered"))
    }

    /// Sends all bytes of an upload.
    pub fn append(&self, upload: &str, bytes: &str) -> anyhow::Result<()> {
        let request = self.agent.patch(format!("{}/uploads/{upload}", self.base));
        request
            .header("authorization", &self.bearer)
            .header("upload-offset", "0")
            .content_type("application/octet-stream")
            .send(bytes)
            .context("uploading")?;
        Ok(())
    }

    /// Lets devices with the gateway token register themselves; returns that token.
    pub fn open_to_devices(&self) -> anyhow::Result<String> {
        self.agent
            .patch(format!("{}/project", self.base))
            .header("authorization", &self.bearer)
            .send_json(json!({ "registration": "accept" }))
            .context("letting devices register themselves")?;
        text(&self.post("/project/gateway-token", &json!({}))?, "token")
    }
}

/// A text of a JSON answer.
pub fn text(answer: &Value, field: &str) -> anyhow::Result<String> {
    let value = answer.get(field).and_then(Value::as_str);
    value.map(str::to_owned).with_context(|| format!("the answer has no {field}: {answer}"))
}

/// Asks again and again until there is an answer; refuses to wait for ever.
pub fn until<T>(
    patience: Duration,
    what: &str,
    mut ask: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        ensure!(started.elapsed() < patience, "waited {} s for {what}", patience.as_secs());
        std::thread::sleep(PAUSE);
    }
}

/// A server prints one line once it listens.
pub fn told_address(child: &mut Child) -> anyhow::Result<SocketAddr> {
    Ok(told_addresses(child, false)?.0)
}

/// Muster prints a second one if it speaks TLS.
fn told_addresses(child: &mut Child, speaks_tls: bool) -> anyhow::Result<(SocketAddr, Option<SocketAddr>)> {
    let stdout = child.stdout.take().context("the server's output is piped")?;
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        for _ in 0..=usize::from(speaks_tls) {
            let mut line = String::new();
            // An output that ends without a line is told as an empty one.
            let _ = stdout.read_line(&mut line);
            let _ = tell.send(line);
        }
    });
    let next = |scheme: &str| {
        let Ok(line) = told.recv_timeout(START_TIMEOUT) else { bail!("the server said nothing") };
        let address = line.trim().strip_prefix(&format!("listening on {scheme}://"));
        address.and_then(|address| address.parse().ok()).with_context(|| format!("the server said {line:?}"))
    };
    Ok((next("http")?, speaks_tls.then(|| next("https")).transpose()?))
}

/// Asks a process to stop; one that doesn't is killed.
pub fn end(child: &mut Child) {
    let asked = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    let stopped = asked.is_ok_and(|status| status.success())
        && until(STOP_TIMEOUT, "a process to stop", || Ok(child.try_wait()?)).is_ok();
    if !stopped {
        // Already gone is what is wanted.
        let _ = child.kill();
        let _ = child.wait();
    }
}
