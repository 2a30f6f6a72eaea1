//! Secrets reach the files of the devices they are for, and nothing else.

mod canaries;

use std::os::unix::fs::PermissionsExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use muster_tests::agent::joined;
use muster_tests::api::Api;
use muster_tests::operator::make_gateway_token;
use muster_tests::server::Server;
use muster_tests::wait::{until, until_true};
use serde_json::{Value, json};

use crate::agent::identity::{Device, join_token, start};

/// A real agent with a certificate, that takes configurations into its folder.
fn with_device() -> (Server, Device) {
    let (server, pin) = start();
    let mut device = Device::new("sn-1");
    let at = device.folder.path().display().to_string();
    let settings = format!(
        "\n[configuration]\nroots = [\"{at}/etc\"]\nlook_every_s = 1\ncommands = [[\"grep\"], [\"cat\"], [\"false\"]]\n"
    );
    let file = device.file();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text + &settings).unwrap();
    device.joined(&server, &["--token", &join_token(server.admin()), "--pin", &pin]);
    device.run();
    (server, device)
}

fn path_in(device: &Device) -> String {
    format!("{}/etc/app.conf", device.folder.path().display())
}

#[track_caller]
fn set(admin: &Api, name: &str, value: &str) -> Value {
    admin.put(&format!("/secrets/{name}"), &json!({ "value": value })).expect(200).json()
}

#[track_caller]
fn configure(admin: &Api, file: &Value) {
    let _ = admin.put("/configurations/app", &json!({ "select": "all", "files": [file] })).expect(200);
}

fn shown(admin: &Api) -> Value {
    admin.get("/devices/sn-1/configuration").expect(200).json()
}

#[track_caller]
fn in_state(admin: &Api, state: &str, desired: u64) -> Value {
    until(format_args!("version {desired} is {state}"), || {
        Some(shown(admin)).filter(|shown| shown["state"] == state && shown["desired"] == desired)
    })
}

#[test]
fn a_secret_is_written_into_the_devices_file_and_the_server_shows_a_mark() {
    let (server, device) = with_device();
    let admin = server.admin();
    assert_eq!(set(admin, "db-password", "hunter2 with 'quotes' and \\ and ü")["version"], json!(1));
    configure(admin, &json!({ "path": path_in(&device), "content": "p={{ secret['db-password'] }}\n" }));
    let applied = in_state(admin, "applied", 1);
    assert_eq!(device.text("etc/app.conf"), "p=hunter2 with 'quotes' and \\ and ü\n");
    assert_eq!(applied["files"][0]["content"], json!("p={muster-secret:db-password:1}\n"));
    let mode = std::fs::metadata(path_in(&device)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "only its owner reads it");

    set(admin, "db-password", "next");
    let _ = in_state(admin, "applied", 2);
    assert_eq!(device.text("etc/app.conf"), "p=next\n", "a new value reaches the device");
    let list = admin.get("/secrets").expect(200);
    assert_eq!((list.at("/items/0/name"), list.at("/items/0/version")), (json!("db-password"), json!(2)));
    assert!(!list.text().contains("next"), "{list}");

    let used = admin.delete("/secrets/db-password").expect(409);
    assert!(used.text().contains("configuration \\\"app\\\" uses it"), "{used}");
    let _ = admin.delete("/configurations/app").expect(204);
    let _ = admin.delete("/secrets/db-password").expect(204);
    assert_eq!(set(admin, "db-password", "again")["version"], json!(3), "an old version never means another value");
}

#[test]
fn what_a_command_says_of_a_file_does_not_tell_its_secret() {
    let (server, device) = with_device();
    let admin = server.admin();
    set(admin, "key", "swordfish-0123");
    let says_all = json!(["cat", "{}", "/nowhere"]);
    let file = json!({ "path": path_in(&device), "content": "k={{ secret.key }}\n", "validate": says_all });
    configure(admin, &file);
    let refused = in_state(admin, "reverted", 1);
    let told = refused["messages"].to_string();
    assert!(told.contains("k=[secret key]"), "the output of the command is told: {told}");
    assert!(!told.contains("swordfish"), "{told}");
    assert!(!device.text("log").contains("swordfish"), "{}", device.text("log"));
    assert!(!std::path::Path::new(&path_in(&device)).exists());
}

#[test]
fn a_device_without_a_key_of_its_own_is_told_what_to_do() {
    let server = Server::start();
    let admin = server.admin();
    let device = joined(&server, &join_token(admin), "sn-1");
    set(admin, "key", "swordfish");
    configure(admin, &json!({ "path": "/etc/app.conf", "content": "{{ secret.key }}" }));
    until_true("it is ordered", || device.orders()["configuration"] == json!(1));
    let got = device.get("/configuration").expect(200);
    assert!(!got.text().contains("swordfish"), "{got}");
    let asked = json!({ "configuration": 1, "key": STANDARD.encode([9; 32]), "public_key": "AAAA", "scheme": 1027,
        "signature": "AAAA" });
    let refused = device.post("/secrets", &asked).expect(409);
    assert!(refused.text().contains("join over HTTPS"), "{refused}");
    let bad = json!({ "configuration": 1, "key": "!", "public_key": "", "scheme": 1, "signature": "" });
    let _ = device.post("/secrets", &bad).expect(400);
}

#[test]
fn secrets_need_their_scope_and_values_are_checked_without_being_repeated() {
    let server = Server::start();
    let admin = server.admin();
    let reader = super::twin::scoped(admin, &["read", "devices:write", "releases:write"]);
    assert_eq!(reader.put("/secrets/key", &json!({ "value": "x" })).status, 403);
    assert_eq!(reader.delete("/secrets/key").status, 403);
    assert_eq!(reader.get("/secrets").status, 200);
    assert_eq!(reader.get("/master-key").status, 403);
    assert_eq!(admin.put("/secrets/.hidden", &json!({ "value": "x" })).status, 400);
    assert_eq!(admin.put("/secrets/key", &json!({ "value": "" })).status, 400);
    assert_eq!(admin.put("/secrets/key", &json!({ "value": "a\0b" })).status, 400);
    assert_eq!(admin.put("/secrets/key", &json!({ "value": "x".repeat(64 * 1024 + 1) })).status, 400);
    assert_eq!(admin.delete("/secrets/key").status, 404);
    // The message of a parser quotes what it did not expect.
    for body in [json!({ "value": ["swordfish"] }), json!({ "value": { "swordfish": 1 } }), json!("swordfish")] {
        let refused = admin.put("/secrets/key", &body);
        assert_eq!(refused.status, 400, "{refused}");
        assert!(!refused.text().contains("swordfish"), "{refused}");
    }
}

#[test]
fn the_master_key_changes_while_the_server_runs_and_nobody_notices() {
    let (mut server, device) = with_device();
    let _ = make_gateway_token(server.admin());
    set(server.admin(), "key", "swordfish");
    configure(server.admin(), &json!({ "path": path_in(&device), "content": "{{ secret.key }}" }));
    let _ = in_state(server.admin(), "applied", 1);
    let before = server.admin().get("/master-key").expect(200).at("/id");
    let rotated = server.admin().post("/master-key/rotate", &json!({})).expect(200);
    assert_ne!(rotated.at("/id"), before);
    assert_eq!((rotated.at("/older"), rotated.at("/own")), (json!(0), json!(true)));
    set(server.admin(), "key", "swordfish two");
    let _ = in_state(server.admin(), "applied", 2);
    server.kill();
    server.restart();
    // All that was sealed still opens, and the old key is gone from the disk.
    let _ = server.admin().post("/identity/rotate", &json!({})).expect(200);
    set(server.admin(), "key", "swordfish three");
    let _ = in_state(server.admin(), "applied", 3);
    assert_eq!(device.text("etc/app.conf"), "swordfish three");
    assert_eq!(std::fs::read_to_string(server.data().join("master.key")).unwrap().lines().count(), 1);
}

#[test]
fn a_master_key_that_others_keep_is_read_again_and_its_loss_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let write = |keys: &[[u8; 32]]| {
        let text: String = keys.iter().map(|key| STANDARD.encode(key) + "\n").collect();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    write(&[[1; 32]]);
    let mut server = Server::start_with(&["--master-key-file", path.to_str().unwrap()]);
    set(server.admin(), "key", "swordfish");
    assert!(!server.data().join("master.key").exists());
    let same = server.admin().post("/master-key/rotate", &json!({})).expect(409);
    assert!(same.text().contains("put the new one first"), "{same}");
    write(&[[2; 32], [1; 32]]);
    let _ = server.admin().post("/master-key/rotate", &json!({})).expect(200);
    write(&[[2; 32]]);
    let _ = server.stop();
    server.restart();
    assert_eq!(server.admin().get("/master-key").expect(200).at("/older"), json!(0));
    let _ = server.stop();
    write(&[[3; 32]]);
    let said = server.fails_to_start();
    assert!(said.contains("give the server the master key that it was sealed with"), "{said}");
}
