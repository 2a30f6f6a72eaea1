//! Many agents through storms, against a server that is killed meanwhile: in the end it knows what each of them runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use muster_sim::board::schedule::Kinds;
use muster_sim::{Agents, Payload, Ran, Stats};
use muster_tests::operator::{self, make_gateway_token, publish, roll_out};
use muster_tests::server::{Server, program};
use muster_tests::wait::until_true;
use serde_json::{Value, json};

const BOARDS: u32 = 100;
const SEED: u64 = 7;
const STORM: Duration = Duration::from_secs(6);

fn image(version: &str, fail_share: f64) -> Vec<u8> {
    let silent_share = fail_share / 4.0;
    Payload { version: Some(version.into()), fail_share, silent_share, ..Payload::default() }.artifact(40_000)
}

/// To all devices at once, whatever happens to some.
fn to_all(server: &Server, version: &str, fail_share: f64) -> String {
    let file = image(version, fail_share);
    let release = publish(server.admin(), "os", version, ("os.img", &file));
    let waves = json!([{ "take": "rest", "errors": { "percent": 100 } }]);
    roll_out(server.admin(), &release, "x", &json!({ "select": "all", "waves": waves }))
}

fn ended(server: &Server, rollout: &str) -> bool {
    let open = format!(
        "/actions?select={}&limit=1",
        "state in (scheduled, queued, offered, running, canceling)".replace(' ', "%20")
    );
    let shown = server.admin().get(&format!("/rollouts/{rollout}")).expect(200).json();
    let open = server.admin().get(&open).expect(200);
    shown["state"] == "finished" && open.at("/items").as_array().is_some_and(Vec::is_empty)
}

/// Ends the boards also when the test fails, which would otherwise wait for them.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// By name, as the server believes.
fn believed(server: &Server) -> BTreeMap<String, String> {
    let page = server.admin().get("/devices?limit=500").expect(200);
    let items = page.at("/items").as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or("os@0").to_owned();
    items.iter().map(|device| (text(&device["name"]), text(&device["release"]))).collect()
}

#[test]
fn through_storms_and_kills_the_server_comes_to_know_what_each_board_runs() {
    let mut server = Server::start();
    operator::set_project(server.admin(), &json!({ "registration": "accept", "poll_interval_s": 1 }));
    let (calm, stop) = (Arc::new(AtomicBool::new(false)), AtomicBool::new(false));
    let agents = Agents {
        server: server.origin(),
        project: "default".into(),
        devices: BOARDS,
        seed: SEED,
        token: make_gateway_token(server.admin()),
        name_prefix: "board-".into(),
        sites: Vec::new(),
        poll_ms: None,
        faults: Some(Kinds::ALL),
        calm: calm.clone(),
        trust: None,
        journal: None,
    };
    let stats = Arc::new(Stats::default());
    let boards: Vec<Ran> = std::thread::scope(|scope| {
        let running = scope.spawn(|| agents.run(&stats, &stop).map(|(_, boards)| boards));
        let ends = Ends(&stop);
        until_true("all boards have joined", || believed(&server).len() == BOARDS as usize);
        let mut newest = String::new();
        for (version, fail_share) in [("1", 0.0), ("2", 0.3), ("3", 0.1)] {
            newest = to_all(&server, version, fail_share);
            std::thread::sleep(STORM);
            server.kill();
            server.restart();
        }
        calm.store(true, Ordering::Relaxed);
        until_true("every board has done what it was told", || ended(&server, &newest));
        drop(ends);
        running.join().unwrap().unwrap()
    });
    let believed = believed(&server);
    let mut runs: BTreeMap<&str, u32> = BTreeMap::new();
    let mut power_cuts = 0;
    for board in &boards {
        assert_eq!(board.running, board.good, "{board:?}");
        let good = board.good.as_deref().unwrap_or_default();
        let good = if good == "1.0" { "0" } else { good };
        assert_eq!(format!("os@{good}"), believed[&board.name], "{board:?}");
        *runs.entry(good).or_default() += 1;
        power_cuts += board.power_cuts;
    }
    println!("{runs:?} after {power_cuts} power cuts");
    assert!(runs.get("3").is_some_and(|count| *count > BOARDS / 2), "{runs:?}");
    assert!(runs.len() > 1 && power_cuts > 10, "{runs:?} after {power_cuts} power cuts");
}

#[test]
fn one_command_simulates_agents_with_faults_and_ddi_devices_together() {
    let server = Server::start();
    operator::set_project(server.admin(), &json!({ "registration": "accept", "poll_interval_s": 1 }));
    let token = make_gateway_token(server.admin());
    let release = publish(server.admin(), "os", "1", ("os.img", &image("1", 0.0)));
    roll_out(server.admin(), &release, "x", &json!({ "select": "all", "dynamic": true }));
    let origin = server.origin();
    let words = ["sim", "--server", &origin, "--gateway-token", &token, "--devices", "20", "--seed", "7"];
    let mut sim = std::process::Command::new(program("muster").unwrap());
    sim.args(words).args(["--ddi", "0.5", "--faults", "all", "--for", "25s"]);
    let output = sim.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said} {}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(report["devices"], json!(20), "{report}");
    let believed = believed(&server);
    let updated =
        |ddi: bool| believed.iter().filter(|(name, runs)| name.contains("ddi") == ddi && *runs == "os@1").count();
    // Storms may keep some agents from it; the others have had no faults.
    assert!(updated(false) > 0 && updated(true) == 10, "{believed:?}");
}
