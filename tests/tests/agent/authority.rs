//! A server without its root's key, and counters that go back.

use std::path::Path;
use std::process::{Command, Output};

use muster_tests::agent::{Device as Plain, joined};
use muster_tests::server::{Server, program};
use muster_tests::wait::until_true;
use serde_json::{Value, json};

use super::identity::{Device, join_token, seen, start};

/// `muster authority …` with the admin's token.
fn authority(server: &Server, words: &[&str]) -> Output {
    Command::new(program("muster").unwrap())
        .arg("authority")
        .args(words)
        .env("MUSTER_SERVER", server.origin())
        .env("MUSTER_TOKEN", server.admin().token().unwrap())
        .env("MUSTER_ROOT_PASSPHRASE", "a horse in a safe")
        .output()
        .unwrap()
}

#[track_caller]
fn done(said: &Output) {
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

fn word(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn the_server_runs_on_without_its_roots_key_and_takes_what_the_root_signs_elsewhere() {
    let (mut server, pin) = start();
    let token = join_token(server.admin());
    let safe = tempfile::tempdir().unwrap();
    let path = |name: &str| safe.path().join(name);
    let (sealed, request, certificate) = (path("root.sealed"), path("issuing.csr"), path("issuing.pem"));
    let data = server.data();
    let offline = ["offline", "--data", word(&data), word(&sealed), "--yes"];
    assert_eq!(server.admin().get("/identity").expect(200).at("/root_key_is_here"), json!(true));
    done(&authority(&server, &offline));
    assert!(!data.join("root.key").exists(), "the key is still there");
    assert!(!std::fs::read_to_string(&sealed).unwrap().contains("PRIVATE KEY"));
    assert_eq!(server.admin().get("/identity").expect(200).at("/root_key_is_here"), json!(false));
    assert_eq!(server.admin().post("/identity/rotate", &json!({})).expect(409).code(), "no_root_key");
    // The server starts and lets devices in without it.
    let _ = server.stop();
    server.restart();
    let mut device = Device::new("sn-1");
    device.joined(&server, &["--token", &token, "--pin", &pin]);

    done(&authority(&server, &["request-issuing", word(&request)]));
    let sign = ["sign-issuing", word(&request), word(&certificate), "--root", word(&sealed)];
    let wrong = Command::new(program("muster").unwrap())
        .arg("authority")
        .args(sign)
        .env("MUSTER_ROOT_PASSPHRASE", "a horse in a shed")
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("passphrase is wrong"), "{wrong:?}");
    done(&authority(&server, &sign));
    done(&authority(&server, &["accept-issuing", word(&certificate)]));
    let now = server.admin().get("/identity").expect(200);
    assert_eq!(now.at("/issuing"), json!(["issuing-1", "issuing-2"]));
    // It is good for one request, and whoever came before stays.
    assert!(!authority(&server, &["accept-issuing", word(&certificate)]).status.success());
    device.run();
    until_true("the device polls", || seen(server.admin(), "sn-1") != Value::Null);
    let next = Device::new("sn-2");
    next.joined(&server, &["--token", &token, "--pin", &pin]);
}

#[test]
fn what_another_root_has_signed_is_not_taken() {
    let (ours, theirs) = (Server::start(), Server::start());
    let safe = tempfile::tempdir().unwrap();
    let path = |name: &str| safe.path().join(name);
    let (root, request, certificate) = (path("root.pem"), path("issuing.csr"), path("issuing.pem"));
    done(&authority(&theirs, &["offline", "--data", word(&theirs.data()), word(&root), "--plain", "--yes"]));
    let data = ours.data();
    let other = ["offline", "--data", word(&data), word(&root), "--yes"];
    assert!(!authority(&ours, &other).status.success(), "a file was overwritten");
    assert!(ours.data().join("root.key").exists(), "the only copy of the key is gone");
    done(&authority(&ours, &["request-issuing", word(&request)]));
    done(&authority(&ours, &["sign-issuing", word(&request), word(&certificate), "--root", word(&root)]));
    let refused = authority(&ours, &["accept-issuing", word(&certificate)]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("not the answer of this server's root"), "{refused:?}");
}

fn counted(device: &Plain, sequence: u64, taken: u64, boots: u64) -> muster_tests::exchange::Answer {
    let told = json!({ "kind": "attributes", "set": { "n": sequence.to_string() } });
    let mut batch = muster_tests::agent::batch("q", sequence, &[told]);
    batch["counters"] = json!({ "taken": taken, "boots": boots });
    device.post("/reports", &batch)
}

#[test]
fn counters_that_go_back_put_a_device_into_quarantine_until_somebody_releases_it() {
    let server = Server::start();
    let admin = server.admin();
    let token = admin.post("/join-tokens", &json!({ "name": "line", "life_s": 3600 })).expect(201).at("/secret");
    let device = joined(&server, token.as_str().unwrap(), "sn-1");
    let _ = admin.post("/devices/sn-1/release", &json!({})).expect(409);
    let _ = counted(&device, 1, 0, 1).expect(200);
    let _ = counted(&device, 2, 1, 2).expect(200);
    // A lost answer: the same counters again.
    let _ = counted(&device, 2, 1, 2).expect(200);
    let copy = Plain::new(&server.origin(), &device.token);
    // What is said again may have lain in the network.
    let _ = counted(&copy, 2, 1, 1).expect(200);
    assert_eq!(admin.get("/devices/sn-1").expect(200).at("/state"), json!("accepted"));
    let _ = counted(&copy, 3, 1, 1).expect(200);
    let known = admin.get("/devices/sn-1").expect(200);
    assert_eq!(known.at("/state"), json!("quarantined"));
    assert!(known.at("/hold/reason").as_str().unwrap().contains("counters went back"), "{known}");
    assert_eq!(counted(&device, 3, 2, 2).expect(403).code(), "quarantined");
    assert_eq!(admin.post("/devices/sn-1/release", &json!({})).expect(200).at("/state"), json!("accepted"));
    let _ = counted(&device, 3, 1, 1).expect(200);
    assert_eq!(admin.get("/devices/sn-1").expect(200).at("/state"), json!("accepted"));
}
