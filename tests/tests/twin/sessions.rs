//! Remote sessions between two raw sockets.

use std::time::Duration;

use muster_tests::agent::{Device, joined};
use muster_tests::api::Api;
use muster_tests::operator::{digest, make_gateway_token, set_project};
use muster_tests::raw::Line;
use muster_tests::server::Server;
use muster_tests::wait::until;
use serde_json::{Value, json};

use super::{NAME, audited, field, scoped};

/// How long a test waits for a hang-up that comes by itself.
const PATIENCE: Duration = Duration::from_secs(20);

#[track_caller]
fn open(api: &Api, session: &Value, seconds_max: u32) -> (String, i64) {
    let what = json!({ "command": "open_session", "session": session, "seconds_max": seconds_max });
    let made = api.post(&format!("/devices/{NAME}/commands"), &json!({ "what": what })).expect(201);
    (made.at("/session").as_str().unwrap().to_owned(), made.at("/id").as_i64().unwrap())
}

#[track_caller]
fn allowed() -> (Server, Device) {
    let (server, device) = field();
    set_project(server.admin(), &json!({ "sessions": true }));
    (server, device)
}

/// Connects and answers the head of what came back.
fn connect(server: &Server, path: &str, token: &str) -> (Line, String) {
    let mut line = Line::open(server.address()).unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         connection: Upgrade\r\nupgrade: muster-session\r\n\r\n"
    );
    line.send(request.as_bytes());
    let head = line.read_head();
    (line, head)
}

#[track_caller]
fn device_line(server: &Server, device: &Device, id: &str) -> Line {
    let (line, head) = connect(server, &format!("/device/v1/sessions/{id}"), &device.token);
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("upgrade: muster-session"), "{head}");
    line
}

#[track_caller]
fn operator_line(server: &Server, api: &Api, id: &str) -> Line {
    let (line, head) = connect(server, &format!("/api/v1/sessions/{id}"), api.token().unwrap());
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    line
}

#[track_caller]
fn ended(api: &Api, id: &str) -> Value {
    until(format_args!("session {id} has ended"), || {
        let session = api.get(&format!("/sessions/{id}")).expect(200).json();
        (session["state"] == "ended").then_some(session)
    })
}

#[test]
fn bytes_pass_both_ways_and_the_session_leaves_its_record() {
    let (server, device) = allowed();
    let admin = server.admin();
    let (id, command) = open(admin, &json!({ "kind": "shell" }), 60);
    let told = &device.orders()["commands"][0];
    assert_eq!(
        (&told["session"], &told["session_kind"], &told["seconds_max"]),
        (&json!(id), &json!("shell"), &json!(60))
    );
    let mut operator = operator_line(&server, admin, &id);
    // What is said before the other end is there is not lost.
    operator.send(b"\x01\0\x04\0\x50\0\x18\0\0\x03ls\n");
    let mut at_device = device_line(&server, &device, &id);
    assert_eq!(at_device.read(13), b"\x01\0\x04\0\x50\0\x18\0\0\x03ls\n");
    at_device.send("café\n".as_bytes());
    assert_eq!(operator.read(6), "café\n".as_bytes());
    assert_eq!(admin.get(&format!("/sessions/{id}")).expect(200).at("/state"), json!("open"));
    operator.end();
    assert!(at_device.is_cut(PATIENCE).unwrap());
    let session = ended(admin, &id);
    assert_eq!(
        (&session["end"], &session["to_device"], &session["to_operator"]),
        (&json!("operator_left"), &json!(13), &json!(6))
    );
    let recording = admin.get(&format!("/sessions/{id}/recording")).expect(200);
    assert_eq!(session["recording"]["digest"], json!(digest(&recording.body)));
    let text = recording.text();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["version"], 2);
    let events: Vec<(&Value, &Value)> = lines[1..].iter().map(|line| (&line[1], &line[2])).collect();
    assert_eq!(
        events,
        [(&json!("r"), &json!("80x24")), (&json!("i"), &json!("ls\n")), (&json!("o"), &json!("café\n"))]
    );
    let [record] = audited(admin, "session.end").try_into().unwrap();
    assert_eq!((&record["target"], &record["detail"]["end"]), (&json!("device:sn-1"), &json!("operator_left")));
    assert_eq!(record["detail"]["recording"]["digest"], session["recording"]["digest"]);
    assert_eq!((audited(admin, "session.open").len(), audited(admin, "session.connect").len()), (1, 1));
    let said = json!({ "kind": "command", "command": command, "state": "succeeded" });
    let _ = device.report(1, &[said]).expect(200);
    assert_eq!(admin.get("/audit/verify").expect(200).at("/broken_at"), Value::Null);
    assert_eq!(admin.get("/sessions").expect(200).at("/items/0/id"), json!(id));
    let (_, again) = connect(&server, &format!("/api/v1/sessions/{id}"), admin.token().unwrap());
    assert!(again.starts_with("HTTP/1.1 409 "), "{again}");
}

#[test]
fn a_forwarded_connection_is_closed_one_way_and_then_the_other() {
    let (server, device) = allowed();
    let (id, _) = open(server.admin(), &json!({ "kind": "forward", "host": "127.0.0.1", "port": 80 }), 60);
    let told = &device.orders()["commands"][0];
    assert_eq!((&told["host"], &told["port"]), (&json!("127.0.0.1"), &json!(80)));
    let mut at_device = device_line(&server, &device, &id);
    let mut operator = operator_line(&server, server.admin(), &id);
    operator.send(b"GET /");
    operator.end();
    assert_eq!(at_device.read(100), b"GET /", "and then the end");
    at_device.send(b"\0\xff answer");
    at_device.end();
    assert_eq!(operator.read(100), b"\0\xff answer");
    assert_eq!(ended(server.admin(), &id)["end"], "operator_left");
}

#[test]
fn sessions_are_off_until_an_admin_turns_them_on_and_stop_when_turned_off() {
    let (server, device) = field();
    let admin = server.admin();
    let what = json!({ "what": { "command": "open_session", "session": { "kind": "shell" } } });
    let refused = admin.post(&format!("/devices/{NAME}/commands"), &what).expect(409);
    assert_eq!(refused.code(), "conflict");
    assert!(refused.text().contains("sessions"), "{refused}");
    assert_eq!(device.orders()["commands"], Value::Null);
    set_project(admin, &json!({ "sessions": true }));
    let (id, _) = open(admin, &json!({ "kind": "shell" }), 60);
    set_project(admin, &json!({ "sessions": false }));
    for (path, token) in [
        (format!("/api/v1/sessions/{id}"), admin.token().unwrap()),
        (format!("/device/v1/sessions/{id}"), device.token.as_str()),
    ] {
        let (_, head) = connect(&server, &path, token);
        assert!(head.starts_with("HTTP/1.1 409 "), "{head}");
    }
}

#[test]
fn an_open_session_ends_when_sessions_are_turned_off_or_its_device_is_rejected() {
    let (server, device) = allowed();
    let admin = server.admin();
    for is_first in [true, false] {
        let (id, command) = open(admin, &json!({ "kind": "shell" }), 600);
        let mut at_device = device_line(&server, &device, &id);
        let mut operator = operator_line(&server, admin, &id);
        operator.send(b"\0\0\x01a");
        assert_eq!(at_device.read(4), b"\0\0\x01a");
        let said = json!({ "kind": "command", "command": command, "state": "succeeded" });
        let _ = device.report(if is_first { 1 } else { 2 }, &[said]).expect(200);
        if is_first {
            set_project(admin, &json!({ "sessions": false }));
        } else {
            let _ = admin.post(&format!("/devices/{NAME}/reject"), &json!({})).expect(200);
        }
        assert!(operator.is_cut(PATIENCE).unwrap() && at_device.is_cut(PATIENCE).unwrap());
        let session = ended(admin, &id);
        assert_eq!((&session["end"], &session["to_device"]), (&json!("refused"), &json!(4)));
        set_project(admin, &json!({ "sessions": true }));
    }
}

#[test]
fn nobody_but_who_opened_it_and_its_device_joins_a_session() {
    let (server, device) = allowed();
    let admin = server.admin();
    let other = joined(&server, &make_gateway_token(admin), "sn-2");
    let (id, _) = open(admin, &json!({ "kind": "shell" }), 60);
    let (_, head) = connect(&server, &format!("/device/v1/sessions/{id}"), &other.token);
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    let (_, head) = connect(&server, &format!("/device/v1/sessions/{id}"), "mdt_x.y.z");
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    let ann = json!({ "name": "ann", "scopes": ["sessions:write"], "password": "a long password" });
    let _ = admin.post("/accounts", &ann).expect(201);
    let ann = server.login("ann", "a long password");
    let (_, head) = connect(&server, &format!("/api/v1/sessions/{id}"), ann.token().unwrap());
    assert!(head.starts_with("HTTP/1.1 409 "), "{head}");
    let reader = scoped(admin, &["read", "commands:write", "devices:write"]);
    let (_, head) = connect(&server, &format!("/api/v1/sessions/{id}"), reader.token().unwrap());
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    assert_eq!(reader.get(&format!("/sessions/{id}/recording")).expect(403).code(), "not_allowed");
    assert_eq!(admin.get(&format!("/sessions/{id}/recording")).expect(404).code(), "not_found");
    assert_eq!(device.get(&format!("/sessions/{id}")).status, 426);
}

#[test]
fn a_session_ends_when_its_time_is_over() {
    let (server, device) = allowed();
    let (id, _) = open(server.admin(), &json!({ "kind": "shell" }), 1);
    let mut at_device = device_line(&server, &device, &id);
    let mut operator = operator_line(&server, server.admin(), &id);
    assert!(operator.is_cut(PATIENCE).unwrap() && at_device.is_cut(PATIENCE).unwrap());
    assert_eq!(ended(server.admin(), &id)["end"], "time_out");
}

#[test]
fn a_session_that_the_device_refuses_ends() {
    let (server, device) = allowed();
    let (id, command) = open(server.admin(), &json!({ "kind": "shell" }), 60);
    let said = json!({ "kind": "command", "command": command, "state": "refused", "output": "shells are off" });
    let _ = device.report(1, &[said]).expect(200);
    assert_eq!(ended(server.admin(), &id)["end"], "refused");
    let told = server.admin().get(&format!("/commands/{command}")).expect(200);
    assert_eq!(told.at("/output"), json!("shells are off"));
}

#[test]
fn a_stopping_server_ends_its_sessions_and_a_killed_one_says_so_later() {
    let (mut server, device) = allowed();
    let (stopped, _) = open(server.admin(), &json!({ "kind": "shell" }), 600);
    let mut at_device = device_line(&server, &device, &stopped);
    let mut operator = operator_line(&server, server.admin(), &stopped);
    operator.send(b"\0\0\x01a");
    assert_eq!(at_device.read(4), b"\0\0\x01a");
    assert!(server.stop().success());
    assert!(operator.is_cut(PATIENCE).unwrap() && at_device.is_cut(PATIENCE).unwrap());
    server.restart();
    let session = ended(server.admin(), &stopped);
    assert_eq!((&session["end"], &session["to_device"]), (&json!("server_stopped"), &json!(4)));
    assert!(session["recording"]["bytes"].as_u64().unwrap() > 0);

    let (killed, _) = open(server.admin(), &json!({ "kind": "shell" }), 600);
    let mut at_device = device_line(&server, &device, &killed);
    let mut operator = operator_line(&server, server.admin(), &killed);
    operator.send(b"\0\0\x01b");
    assert_eq!(at_device.read(4), b"\0\0\x01b");
    server.kill();
    server.restart();
    assert_eq!(ended(server.admin(), &killed)["end"], "server_stopped");
    assert_eq!(audited(server.admin(), "session.end").len(), 2);
}
