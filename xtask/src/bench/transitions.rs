//! `bench transitions`: how many changes of state a second are made durable?
//!
//! Every device has an action open. Each reads its deployment, which makes the action run, and reports success,
//! which ends it. An answer means that the change is on the disk, so answers are what is counted.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::fleet::{device, register};
use super::folder::Folder;
use super::server::{Operator, Server, text, until};
use super::{disk, postgresql, proc};
use crate::figure::Figure;
use crate::loader::{Length, Load, Requests};

const DEVICES: usize = 20_000;
/// What waits together shares a commit.
const CONNECTIONS: usize = 512;
const THREADS: usize = 2;
/// The bytes of the update; devices of this measurement don't fetch them.
const UPDATE: &str = "a small update\n";
const UPDATE_DIGEST: &str = "25b24fc2b21c324ef9684ee1865ccc0b59a09c0d411b6144fbb175251bbfb0ab";
const OPENING_TIMEOUT: Duration = Duration::from_secs(120);
const PAGE_ROWS: usize = 500;

pub fn run() -> anyhow::Result<Vec<Figure>> {
    let (changes, changes_per_core) = changes_per_s()?;
    eprintln!("appending to a file");
    let appends = disk::appends_per_s()?;
    eprintln!("the same against PostgreSQL");
    let commits = postgresql::commits_per_s()?;
    Ok(vec![
        Figure::new("transitions_per_s", changes, "1/s").against("raw_append", appends),
        Figure::new("transitions_per_s", changes, "1/s").against("postgresql", commits),
        Figure::new("transitions_per_core_s", changes_per_core, "1/s"),
        Figure::new("raw_appends_per_s", appends, "1/s"),
        Figure::new("postgresql_commits_per_s", commits, "1/s"),
    ])
}

/// Changes per second, and per second of the server's processor time.
fn changes_per_s() -> anyhow::Result<(f64, f64)> {
    let folder = Folder::make("transitions")?;
    let server = Server::start(folder.path())?;
    let operator = server.log_in()?;
    let token = operator.open_to_devices()?;
    eprintln!("registering {DEVICES} devices");
    register(server.address, &token, DEVICES)?;
    let rollout = roll_out(&operator)?;
    eprintln!("offering {DEVICES} actions");
    wait_for(&operator, &rollout, "offered")?;
    let actions = actions(&operator)?;
    let (mut fetches, mut reports) = (Requests::default(), Requests::default());
    for (device, action) in &actions {
        let base = format!("/default/controller/v1/{device}/deploymentBase/{action}");
        let head = format!("host: {}\r\nauthorization: GatewayToken {token}\r\n", server.address);
        fetches.push(&format!("GET {base} HTTP/1.1\r\n{head}\r\n"));
        let body = json!({
            "id": action.to_string(),
            "status": { "execution": "closed", "result": { "finished": "success" }, "details": ["installed"] }
        })
        .to_string();
        reports.push(&format!(
            "POST {base}/feedback HTTP/1.1\r\n{head}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ));
    }
    eprintln!("changing the state of {DEVICES} actions twice");
    let load = |requests| {
        let load = Load {
            address: server.address,
            connections: CONNECTIONS,
            threads: THREADS,
            requests,
            length: Length::Once,
        };
        load.run()
    };
    let cpu = proc::cpu(server.pid())?;
    let (fetched, reported) = (load(&fetches)?, load(&reports)?);
    let cpu = proc::cpu(server.pid())?.saturating_sub(cpu);
    wait_for(&operator, &rollout, "finished")?;
    let elapsed = fetched.elapsed + reported.elapsed;
    let changes = (fetched.count + reported.count) as f64;
    Ok((changes / elapsed.as_secs_f64(), changes / cpu.as_secs_f64()))
}

/// Publishes a release of one small file and offers it to every device at once.
fn roll_out(operator: &Operator) -> anyhow::Result<String> {
    let upload = json!({ "name": "update.bin", "size": UPDATE.len(), "digest": UPDATE_DIGEST });
    let upload = text(&operator.post("/uploads", &upload)?, "id")?;
    operator.append(&upload, UPDATE)?;
    let component = json!({ "name": "os", "version": "1", "artifacts": [{ "digest": UPDATE_DIGEST }] });
    operator.post("/releases", &json!({ "name": "os", "version": "1", "components": [component] }))?;
    operator.post("/releases/os/1/publish", &json!({}))?;
    text(&operator.post("/rollouts", &json!({ "release": "os@1", "select": "all", "start": true }))?, "id")
}

/// Waits until all actions of the rollout are in one state.
fn wait_for(operator: &Operator, rollout: &str, state: &str) -> anyhow::Result<()> {
    until(OPENING_TIMEOUT, &format!("all actions to be {state}"), || {
        let rollout = operator.get(&format!("/rollouts/{rollout}"))?;
        let waves = rollout.get("waves").and_then(Value::as_array).context("a rollout has waves")?;
        let count = |wave: &Value| wave.pointer(&format!("/counts/{state}")).and_then(Value::as_u64).unwrap_or(0);
        let reached: u64 = waves.iter().map(count).sum();
        Ok((reached == DEVICES as u64).then_some(()))
    })
}

/// Each device with the number of its action.
fn actions(operator: &Operator) -> anyhow::Result<Vec<(String, i64)>> {
    let mut found = Vec::with_capacity(DEVICES);
    let mut cursor = String::new();
    loop {
        let page = operator.get(&format!("/actions?limit={PAGE_ROWS}{cursor}"))?;
        let items = page.get("items").and_then(Value::as_array).context("a page has items")?;
        for action in items {
            let id = action.get("id").and_then(Value::as_i64).context("an action has a number")?;
            found.push((text(action, "device")?, id));
        }
        match page.get("next").and_then(Value::as_str) {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    ensure!(found.len() == DEVICES, "{} of {DEVICES} actions were listed", found.len());
    ensure!(found.iter().any(|(name, _)| *name == device(0)), "{} has no action", device(0));
    Ok(found)
}
