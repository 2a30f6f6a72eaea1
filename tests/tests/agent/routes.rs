//! Deltas and compressed wholes: made by the server, taken by the device.

use muster_delta::whole::Expander;
use muster_delta::{Applier, ReadAt};
use muster_tests::agent::{Device, joined};
use muster_tests::exchange::Payload;
use muster_tests::operator::{self, digest, make_gateway_token, publish, roll_out};
use muster_tests::server::{Server, program};
use muster_tests::wait::until;
use serde_json::{Value, json};

/// Text that compresses to about a third and has no other pattern.
fn image(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut draw = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    (0..60_000).map(|_| b"abcdefgh"[(draw() % 8) as usize]).collect()
}

/// The first version with something else in its middle.
fn next(old: &[u8]) -> Vec<u8> {
    let mut new = old.to_vec();
    new.splice(20_000..20_100, image(99)[..700].iter().copied());
    new
}

fn start(arguments: &[&str]) -> (Server, Device) {
    let server = Server::start_with(arguments);
    operator::set_project(server.admin(), &json!({ "registration": "accept" }));
    let gateway = make_gateway_token(server.admin());
    let device = joined(&server, &gateway, "sn-1");
    (server, device)
}

/// The device is told of a release; whether it takes it is its own matter.
fn offered(server: &Server, device: &Device, version: &str, bytes: &[u8]) -> i64 {
    let release = publish(server.admin(), "os", version, ("os.img", bytes));
    roll_out(server.admin(), &release, "sn-1", &json!({}));
    device.ordered("install")
}

fn routes(device: &Device, action: i64) -> Vec<Value> {
    let deployment = device.get(&format!("/actions/{action}")).expect(200);
    deployment.at("/components/0/artifacts/0/routes").as_array().cloned().unwrap_or_default()
}

/// Waits until the server has made so many ways beside the whole.
fn routes_made(device: &Device, action: i64, count: usize) -> Vec<Value> {
    until(format_args!("{count} ways to the artifact are made"), || {
        Some(routes(device, action)).filter(|routes| routes.len() == count + 1)
    })
}

fn forms(routes: &[Value]) -> Vec<&str> {
    routes.iter().filter_map(|route| route["form"].as_str()).collect()
}

fn fetched(device: &Device, route: &Value) -> Vec<u8> {
    let bytes = device.send("GET", route["path"].as_str().unwrap(), &[], Payload::None).expect(200).body;
    assert_eq!(json!(bytes.len()), route["size"]);
    bytes
}

struct Old<'a>(&'a [u8]);

impl ReadAt for Old<'_> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        let rest = &self.0[usize::try_from(offset).unwrap().min(self.0.len())..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

#[test]
fn a_device_is_offered_the_delta_from_what_it_runs_the_compressed_whole_and_the_whole() {
    let (server, device) = start(&[]);
    let (old, new) = (image(1), next(&image(1)));
    let first = offered(&server, &device, "1", &old);
    device.say(1, first, "downloading");
    let ways = routes_made(&device, first, 1);
    assert_eq!(forms(&ways), ["compressed", "whole"]);
    let mut expanded: Vec<u8> = Vec::new();
    let mut expander = Expander::new().unwrap();
    expander
        .feed(&fetched(&device, &ways[0]), &mut |bytes| {
            expanded.extend(bytes);
            Ok(())
        })
        .unwrap();
    expander.finish().unwrap();
    assert_eq!(expanded, old);
    device.say(2, first, "committed");

    let second = offered(&server, &device, "2", &new);
    let ways = routes_made(&device, second, 2);
    assert_eq!(forms(&ways), ["delta", "compressed", "whole"]);
    assert_eq!(ways[0]["from"], json!(digest(&old)));
    assert!(ways[0]["size"].as_u64() < Some(1500), "{}", ways[0]);
    let mut applied: Vec<u8> = Vec::new();
    let mut applier = Applier::new();
    applier
        .feed(&fetched(&device, &ways[0]), &Old(&old), &mut |bytes| {
            applied.extend(bytes);
            Ok(())
        })
        .unwrap();
    applier.finish().unwrap();
    assert_eq!(applied, new);

    let shown = server.admin().get(&format!("/artifacts/{}", digest(&new))).expect(200);
    let states: Vec<Value> = [0, 1].map(|at| shown.at(&format!("/routes/{at}/state"))).into();
    assert_eq!(states, ["made", "made"], "{shown}");
}

#[test]
fn what_one_device_may_fetch_another_may_not() {
    let (server, device) = start(&[]);
    let gateway = make_gateway_token(server.admin());
    let action = offered(&server, &device, "1", &image(1));
    device.say(1, action, "downloading");
    let ways = routes_made(&device, action, 1);
    let path = ways[0]["path"].as_str().unwrap();
    let other = joined(&server, &gateway, "sn-2");
    for path in
        [path, &path.replace("compressed", "from/x"), &path.replace("compressed", &format!("from/{}", "a".repeat(64)))]
    {
        let _ = other.send("GET", path, &[], Payload::None).expect(404);
    }
    let wrong = path.replace("compressed", &format!("from/{}", "a".repeat(64)));
    let _ = device.send("GET", &wrong, &[], Payload::None).expect(404);
}

#[test]
fn deltas_and_their_reasons_outlive_a_kill_and_what_was_under_way_is_made_again() {
    let (mut server, device) = start(&[]);
    let old = image(1);
    let first = offered(&server, &device, "1", &old);
    device.say(1, first, "committed");
    let second = offered(&server, &device, "2", &next(&old));
    server.kill();
    server.restart();
    let device = Device::new(&server.origin(), &device.token);
    let ways = routes_made(&device, second, 2);
    server.kill();
    server.restart();
    let device = Device::new(&server.origin(), &device.token);
    assert_eq!(routes(&device, second), ways);
    assert_eq!(fetched(&device, &ways[0]).len() as u64, ways[0]["size"].as_u64().unwrap());
}

#[test]
fn a_server_with_too_little_memory_says_why_and_offers_the_whole() {
    let (server, device) = start(&["--delta-memory-mib", "1"]);
    let bytes = image(1);
    let action = offered(&server, &device, "1", &bytes);
    device.say(1, action, "downloading");
    let why = until("the server has given up", || {
        let shown = server.admin().get(&format!("/artifacts/{}", digest(&bytes))).expect(200);
        shown.at("/routes/0/reason").as_str().map(str::to_owned)
    });
    assert!(why.contains("of memory, allowed are 1"), "{why}");
    assert_eq!(forms(&routes(&device, action)), ["whole"]);
}

#[test]
fn deltas_made_by_hand_are_applied_chained_and_refused_by_the_same_program() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let muster = |words: &[&str]| {
        let mut run = std::process::Command::new(program("muster").unwrap());
        let ran = run.arg("delta").args(words).output().unwrap();
        (ran.status.code(), String::from_utf8_lossy(&ran.stderr).into_owned())
    };
    let two = next(&image(1));
    let three = [&image(5)[..3000], &two].concat();
    for (name, bytes) in [("1", &image(1)), ("2", &two), ("3", &three)] {
        std::fs::write(at(name), bytes).unwrap();
    }
    assert_eq!(muster(&["make", &at("1"), &at("2"), &at("1-2")]).0, Some(0));
    assert_eq!(muster(&["make", &at("2"), &at("3"), &at("2-3")]).0, Some(0));
    assert_eq!(muster(&["chain", &at("1"), &at("1-2"), &at("2-3"), &at("1-3")]).0, Some(0));
    assert_eq!(muster(&["apply", &at("1"), &at("1-3"), &at("made")]).0, Some(0));
    assert!(std::fs::read(at("made")).unwrap() == three);
    assert!(std::fs::metadata(at("1-3")).unwrap().len() < 5000);

    let (code, said) = muster(&["chain", &at("1"), &at("2-3"), &at("1-2"), &at("wrong")]);
    assert!(code == Some(1) && said.contains("applying the first delta"), "{said}");
    let (code, said) = muster(&["apply", &at("2"), &at("1-3"), &at("wrong")]);
    assert!(code == Some(1) && !std::path::Path::new(&at("wrong")).exists(), "{said}");
    assert_eq!(muster(&["compress", &at("3"), &at("packed")]).0, Some(0));
    assert_eq!(muster(&["expand", &at("packed"), &at("expanded")]).0, Some(0));
    assert!(std::fs::read(at("expanded")).unwrap() == three);
}
