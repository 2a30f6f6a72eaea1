//! How small is the agent: its program, its memory while it waits, and while it installs a large file?
//!
//! The program is built as it is shipped (`--profile agent`). It joins a real server, waits, and then installs one file
//! of 1 GB into a folder tree, which it fetches, reads back, copies and reads back again.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use muster_sim::chance::Chance;
use serde_json::Value;

use super::folder::Folder;
use super::proc;
use super::server::{self, PASSWORD, Server, until};
use crate::figure::Figure;
use crate::process;

const DEVICE: &str = "bench-agent";
const FILE_BYTES: usize = 1_000_000_000;
/// What a minimal client of rustls takes, as measured for the design.
const MINIMAL_BINARY_BYTES: f64 = 1_200_000.0;
const MINIMAL_RSS_BYTES: f64 = 2_700_000.0;
/// Enough for the first exchanges.
const SETTLE: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(600);

/// Ends its process when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        server::end(&mut self.0);
    }
}

pub fn run() -> anyhow::Result<Vec<Figure>> {
    eprintln!("building muster-agent as it is shipped");
    process::run(&mut process::cargo(&["build", "--quiet", "--profile", "agent", "--package", "muster-agent"]))?;
    let program = process::root().join("target/agent/muster-agent");
    let binary_bytes = std::fs::metadata(&program).context("looking at the agent's program")?.len();

    let folder = Folder::make("agent")?;
    let server = Server::start(&folder.path().join("data"))?;
    let token = server.log_in()?.open_to_devices()?;
    let agent = start(&program, folder.path(), &server, &token)?;
    std::thread::sleep(SETTLE);
    let idle_bytes = proc::resident_bytes(agent.0.id())?;
    let before = proc::cpu(agent.0.id())?;

    eprintln!("installing {FILE_BYTES} bytes");
    publish(folder.path(), &server)?;
    let operator = server.log_in()?;
    let done = || -> anyhow::Result<Option<()>> {
        let device = operator.get(&format!("/devices/{DEVICE}"))?;
        Ok(device.get("release").and_then(Value::as_str).map(|_| ()))
    };
    until(PATIENCE, "the agent to install the file", done)?;
    let most_bytes = proc::most_resident_bytes(agent.0.id())?;
    let cpu = proc::cpu(agent.0.id())?.saturating_sub(before);
    Ok(vec![
        Figure::new("agent_binary_bytes", binary_bytes as f64, "B")
            .against("minimal rustls client", MINIMAL_BINARY_BYTES),
        Figure::new("agent_idle_rss_bytes", idle_bytes as f64, "B").against("minimal rustls client", MINIMAL_RSS_BYTES),
        Figure::new("agent_install_rss_bytes", most_bytes as f64, "B"),
        Figure::new("agent_install_cpu_s", cpu.as_secs_f64(), "s"),
    ])
}

fn start(program: &Path, folder: &Path, server: &Server, token: &str) -> anyhow::Result<Running> {
    let file = folder.join("agent.toml");
    let url = format!("http://{}", server.address);
    let text = format!(
        "folder = \"{0}/state\"\n[component.model]\ninstaller = \"tree\"\nroot = \"{0}/model\"\nkeep_archive = false\n\
        [health]\ninterval_s = 1\n",
        folder.display()
    );
    std::fs::create_dir_all(folder.join("model")).context("making the tree's folder")?;
    std::fs::write(&file, text).context("writing the agent's file")?;
    let mut join = process::command(program);
    join.args(["join", &url, "--token", token, "--device", DEVICE, "--config"]).arg(&file).stdout(Stdio::null());
    process::run(&mut join)?;
    let log = File::create(folder.join("agent.log")).context("making the agent's log")?;
    let mut command = process::command(program);
    command.args(["run", "--config"]).arg(&file).stdin(Stdio::null()).stderr(log);
    Ok(Running(command.spawn().context("starting the agent")?))
}

/// With the operator's program, as a person would.
fn publish(folder: &Path, server: &Server) -> anyhow::Result<()> {
    let file = folder.join("model.bin");
    let mut out = BufWriter::new(File::create(&file).context("making the large file")?);
    let mut chance = Chance::keyed(1, &[FILE_BYTES as u64]);
    for _ in 0..FILE_BYTES / 8 {
        out.write_all(&chance.draw().to_le_bytes()).context("writing the large file")?;
    }
    out.flush().context("writing the large file")?;
    let url = format!("http://{}", server.address);
    let component = format!("model=1.0:{}", file.display());
    let muster = |arguments: &[&str]| {
        let mut command = process::command("target/release/muster");
        command.args(arguments).env("MUSTER_CONFIG", folder.join("config.toml")).env("MUSTER_PASSWORD", PASSWORD);
        process::run(command.env_remove("MUSTER_SERVER").env_remove("MUSTER_TOKEN").stdout(Stdio::null()))
    };
    muster(&["login", &url])?;
    muster(&["release", "create", "bench", "1.0", "--component", &component, "--publish"])?;
    muster(&["rollout", "create", "bench@1.0", "--select", "all", "--start"])?;
    ensure!(file.exists(), "the large file is gone");
    Ok(())
}
