//! The server, the devices, and an operator who writes all the time.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::process;

const PASSWORD: &str = "muster-faults-password";
const START_PATIENCE: Duration = Duration::from_secs(60);
const REGISTER_PATIENCE: Duration = Duration::from_secs(300);
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// The device whose label the operator counts up.
const PROBE: &str = "probe";

#[derive(Debug)]
pub struct World {
    folder: tempfile::TempDir,
    muster: PathBuf,
    address: String,
    server: Child,
    sim: Option<Child>,
    pub devices: u32,
    token: String,
    agent: ureq::Agent,
    acknowledged: u32,
    attempted: u32,
}

impl Drop for World {
    fn drop(&mut self) {
        for child in self.sim.iter_mut().chain([&mut self.server]) {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl World {
    pub fn start(devices: u32, seed: u64) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("making a folder")?;
        let muster = process::root().join("target/debug/muster");
        let address = free_address()?;
        let server = serve(&muster, folder.path(), &address)?;
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(START_PATIENCE));
        let agent = config.build().into();
        let mut world = Self {
            folder,
            muster,
            address,
            server,
            sim: None,
            devices,
            token: String::new(),
            agent,
            acknowledged: 0,
            attempted: 0,
        };
        world.wait_until_ready()?;
        world.log_in()?;
        world.let_devices_in(seed)?;
        world.begin_rollout()?;
        Ok(world)
    }

    fn log_in(&mut self) -> anyhow::Result<()> {
        let login = serde_json::json!({ "account": "admin", "password": PASSWORD });
        let answer = self.call("POST", "/login", Some(&login))?;
        self.token = text(&answer, "token")?;
        let settings = serde_json::json!({ "registration": "accept", "poll_interval_s": 2 });
        self.call("PATCH", "/project", Some(&settings))?;
        self.call("POST", "/devices", Some(&serde_json::json!({ "name": PROBE })))?;
        Ok(())
    }

    fn let_devices_in(&mut self, seed: u64) -> anyhow::Result<()> {
        let gateway = text(&self.call("POST", "/project/gateway-token", Some(&serde_json::json!({})))?, "token")?;
        let output = std::fs::File::create(self.folder.path().join("sim.json"))?;
        let log = std::fs::File::create(self.folder.path().join("sim.log"))?;
        let sim = Command::new(&self.muster)
            .args(["sim", "--poll-ms", "2000", "--install-failures", "0.02", "--reboots", "0.1"])
            .args(["--lost-answers", "0.02", "--slow-links", "0.05", "--server"])
            .arg(format!("http://{}", self.address))
            .args(["--devices", &self.devices.to_string(), "--seed", &seed.to_string(), "--journal"])
            .arg(self.journal())
            .env("MUSTER_GATEWAY_TOKEN", gateway)
            .stdout(output)
            .stderr(log)
            .spawn()
            .context("starting the devices")?;
        self.sim = Some(sim);
        eprintln!("waiting for {} devices to come in", self.devices);
        let deadline = Instant::now() + REGISTER_PATIENCE;
        loop {
            let count = self.call("GET", "/devices:count?select=name%20like%20%22sim-*%22", None)?;
            if count["count"].as_u64() == Some(u64::from(self.devices)) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "only {count} devices came in");
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn begin_rollout(&mut self) -> anyhow::Result<()> {
        let file = self.folder.path().join("gateway-1.1.img");
        let head = "muster-sim {\"version\":\"1.1\",\"install_ms\":2000}\n";
        std::fs::write(&file, format!("{head}{}", "x".repeat(32 * 1024)))?;
        let config = self.folder.path().join("config.toml");
        let mut create = Command::new(&self.muster);
        create.args(["release", "create", "gateway", "1.1", "--publish", "--artifact"]).arg(&file);
        create.env("MUSTER_CONFIG", &config).env("MUSTER_SERVER", format!("http://{}", self.address));
        process::output(create.env("MUSTER_TOKEN", &self.token))?;
        let wave = |percent: u8| serde_json::json!({ "take": { "percent": percent }, "success": { "percent": 80 }, "errors": { "percent": 50 } });
        let mut waves: Vec<Value> = [5, 10, 20, 25].into_iter().map(wave).collect();
        waves.push(serde_json::json!({ "take": "rest", "success": { "percent": 80 }, "errors": { "percent": 50 } }));
        let rollout = serde_json::json!({
            "name": "faults", "release": "gateway@1.1", "select": "name like \"sim-*\"", "start": true,
            "waves": waves,
        });
        self.call("POST", "/rollouts", Some(&rollout))?;
        Ok(())
    }

    /// One write of the operator; what is acknowledged has to be there after any kill.
    pub fn write_and_remember(&mut self) {
        self.attempted += 1;
        let labels = serde_json::json!({ "labels": { "counted": self.attempted.to_string() } });
        if self.call("PATCH", &format!("/devices/{PROBE}"), Some(&labels)).is_ok() {
            self.acknowledged = self.attempted;
        }
    }

    pub fn check_acknowledged(&mut self) -> anyhow::Result<()> {
        let probe = self.call("GET", &format!("/devices/{PROBE}"), None)?;
        let found: u32 = probe["labels"]["counted"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
        ensure!(found >= self.acknowledged, "write {} was acknowledged and {found} is there", self.acknowledged);
        Ok(())
    }

    pub fn acknowledged(&self) -> u32 {
        self.acknowledged
    }

    pub fn kill_and_restart(&mut self) -> anyhow::Result<()> {
        self.server.kill().context("killing the server")?;
        self.server.wait().context("waiting for the killed server")?;
        self.server = serve(&self.muster, self.folder.path(), &self.address)?;
        self.wait_until_ready()
    }

    pub fn has_ended(&self) -> bool {
        let rollout = self.call("GET", "/rollouts/faults", None);
        rollout.is_ok_and(|rollout| !rollout["ended_at"].is_null() || rollout["state"] == "paused")
    }

    pub fn rollout_text(&self) -> String {
        let rollout = self.call("GET", "/rollouts/faults", None);
        rollout.ok().and_then(|rollout| rollout["text"].as_str().map(str::to_owned)).unwrap_or_default()
    }

    pub fn wait_for_end(&self, patience: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        while !self.has_ended() {
            ensure!(Instant::now() < deadline, "the rollout has not ended: {}", self.rollout_text());
            std::thread::sleep(LOOK_AGAIN);
        }
        eprintln!("{}", self.rollout_text());
        Ok(())
    }

    /// Ends the devices in order; their last words are their report.
    pub fn stop_devices(&mut self) -> anyhow::Result<Value> {
        let mut sim = self.sim.take().context("the devices were started")?;
        process::run(process::command("kill").args(["-TERM", &sim.id().to_string()]))?;
        sim.wait().context("waiting for the devices")?;
        let report = std::fs::read_to_string(self.folder.path().join("sim.json"))?;
        serde_json::from_str(&report).context("reading the devices' report")
    }

    pub fn journal(&self) -> PathBuf {
        self.folder.path().join("journal.jsonl")
    }

    /// Every row of a list.
    pub fn all(&self, path: &str, select: &str) -> anyhow::Result<Vec<Value>> {
        let mut rows = Vec::new();
        let mut cursor = String::new();
        loop {
            let select = select.replace(' ', "%20");
            let page = self.call("GET", &format!("{path}?limit=500&select={select}{cursor}"), None)?;
            rows.extend(page["items"].as_array().cloned().unwrap_or_default());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(rows),
            }
        }
    }

    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let url = format!("http://{}/api/v1{path}", self.address);
        let bearer = format!("Bearer {}", self.token);
        let mut response = match (method, body) {
            ("GET", _) => self.agent.get(&url).header("Authorization", &bearer).call(),
            ("PATCH", Some(body)) => self.agent.patch(&url).header("Authorization", &bearer).send_json(body),
            (_, Some(body)) => self.agent.post(&url).header("Authorization", &bearer).send_json(body),
            (_, None) => bail!("{method} {path} needs a body"),
        }
        .with_context(|| format!("{method} {path}"))?;
        let status = response.status();
        let text = response.body_mut().with_config().limit(u64::MAX).read_to_string()?;
        ensure!(status.is_success(), "{method} {path} answered {status}: {text}");
        Ok(if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? })
    }

    fn wait_until_ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_PATIENCE;
        let url = format!("http://{}/readyz", self.address);
        loop {
            if self.agent.get(&url).call().is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the server does not come up:\n{}", self.server_log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn server_log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default()
    }
}

fn serve(muster: &Path, folder: &Path, address: &str) -> anyhow::Result<Child> {
    let log = std::fs::File::options().create(true).append(true).open(folder.join("server.log"))?;
    let mut server = Command::new(muster)
        .args(["server", "--log", "warn", "--listen", address, "--data"])
        .arg(folder.join("data"))
        .env("MUSTER_ADMIN_PASSWORD", PASSWORD)
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .context("starting the server")?;
    let mut line = String::new();
    BufReader::new(server.stdout.take().context("the server's output")?).read_line(&mut line)?;
    ensure!(line.starts_with("listening on"), "the server did not start: {line}");
    Ok(server)
}

/// A port that was free a moment ago; the server takes the same one after each kill.
fn free_address() -> anyhow::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

fn text(answer: &Value, field: &str) -> anyhow::Result<String> {
    answer[field].as_str().map(str::to_owned).with_context(|| format!("no {field:?} in {answer}"))
}
