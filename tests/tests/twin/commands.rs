//! Commands from the operator to the device and back.

use muster_tests::agent::{Device, joined};
use muster_tests::api::Api;
use muster_tests::exchange::{Answer, Payload};
use muster_tests::operator::make_gateway_token;
use serde_json::{Value, json};

use super::{NAME, audited, field, scoped};

#[track_caller]
fn give(api: &Api, what: &Value) -> Answer {
    api.post(&format!("/devices/{NAME}/commands"), &json!({ "what": what }))
}

#[track_caller]
fn given(api: &Api, what: &Value) -> i64 {
    give(api, what).expect(201).at("/id").as_i64().unwrap()
}

#[track_caller]
fn command(api: &Api, id: i64) -> Value {
    api.get(&format!("/commands/{id}")).expect(200).json()
}

#[track_caller]
fn say(device: &Device, sequence: u64, said: &Value) {
    let mut said = said.clone();
    said["kind"] = json!("command");
    assert_eq!(device.report(sequence, &[said]).expect(200).at("/through"), json!(sequence));
}

#[test]
fn a_command_is_told_done_once_and_its_output_kept() {
    let (server, device) = field();
    let admin = server.admin();
    let id = given(admin, &json!({ "command": "collect_logs", "unit": "app.service", "lines": 20 }));
    assert_eq!(command(admin, id)["state"], "pending");
    let orders = device.orders();
    let told = &orders["commands"][0];
    assert_eq!(
        (&told["id"], &told["command"], &told["unit"], &told["lines"]),
        (&json!(id), &json!("collect_logs"), &json!("app.service"), &json!(20))
    );
    assert_eq!(told["deadline"], command(admin, id)["deadline"]);
    assert_eq!(command(admin, id)["state"], "sent");
    assert_eq!(device.orders()["tag"], orders["tag"], "it is told again until the device speaks");
    say(&device, 1, &json!({ "command": id, "state": "started" }));
    assert_eq!(
        (command(admin, id)["state"].clone(), device.orders()["commands"].clone()),
        (json!("started"), Value::Null)
    );
    say(&device, 2, &json!({ "command": id, "state": "succeeded", "exit_code": 0, "output": "line 1\nline 2\n" }));
    let done = command(admin, id);
    assert_eq!(
        (&done["state"], &done["exit_code"], &done["output"]),
        (&json!("succeeded"), &json!(0), &json!("line 1\nline 2\n"))
    );
    say(&device, 3, &json!({ "command": id, "state": "failed", "exit_code": 1, "output": "other" }));
    assert_eq!(command(admin, id), done, "what has ended stays as it is");
    let listed = admin.get(&format!("/devices/{NAME}/commands")).expect(200);
    assert_eq!((listed.at("/items/0/id"), listed.at("/items/0/output")), (json!(id), Value::Null));
    assert_eq!(audited(admin, "command.create")[0]["target"], json!("device:sn-1"));
}

#[test]
fn a_device_refuses_and_comes_too_late_in_its_own_words() {
    let (server, device) = field();
    let admin = server.admin();
    for (sequence, state) in [(1, "refused"), (2, "late"), (3, "failed")] {
        let id = given(admin, &json!({ "command": "run_script", "script": "fix-clock", "arguments": ["--now", ""] }));
        assert_eq!(device.orders()["commands"][0]["arguments"], json!(["--now", ""]));
        say(&device, sequence, &json!({ "command": id, "state": state, "exit_code": -9, "output": "why" }));
        assert_eq!((&command(admin, id)["state"], &command(admin, id)["exit_code"]), (&json!(state), &json!(-9)));
    }
}

#[test]
fn another_device_and_nonsense_change_nothing() {
    let (server, device) = field();
    let admin = server.admin();
    let other = joined(&server, &make_gateway_token(admin), "sn-2");
    let id = given(admin, &json!({ "command": "reboot" }));
    assert_eq!(other.orders()["commands"], Value::Null);
    say(&other, 1, &json!({ "command": id, "state": "succeeded" }));
    say(&other, 2, &json!({ "command": 999_999, "state": "succeeded" }));
    say(&other, 3, &json!({ "command": id, "state": "exploded" }));
    assert_eq!(command(admin, id)["state"], "pending");
    assert_eq!(
        device.orders()["commands"][0],
        json!({ "id": id, "deadline": command(admin, id)["deadline"], "command": "reboot" })
    );
}

#[test]
fn commands_need_their_own_scope_and_bounded_words() {
    let (server, _device) = field();
    let admin = server.admin();
    let reboot = json!({ "command": "reboot" });
    let others = scoped(admin, &["read", "devices:write", "rollouts:write", "sessions:write"]);
    let refused = give(&others, &reboot).expect(403);
    assert!(refused.text().contains("commands:write"), "{refused}");
    let commander = scoped(admin, &["commands:write"]);
    let session = json!({ "command": "open_session", "session": { "kind": "shell" } });
    let refused = give(&commander, &session).expect(403);
    assert!(refused.text().contains("sessions:write"), "{refused}");
    for bad in [
        json!({ "command": "run_script", "script": "../x" }),
        json!({ "command": "run_script", "script": "x", "arguments": vec!["a"; 65] }),
        json!({ "command": "run_script", "script": "x", "arguments": ["a\nb"] }),
        json!({ "command": "collect_logs", "lines": 0 }),
        json!({ "command": "collect_logs", "unit": "--all" }),
        json!({ "command": "explode" }),
    ] {
        assert_eq!(give(&commander, &bad).expect(400).code(), "bad_input");
    }
    for deadline in [json!(9), json!(2_678_401), json!(-1), json!("soon")] {
        let body = json!({ "what": reboot, "deadline_s": deadline });
        assert_eq!(commander.post(&format!("/devices/{NAME}/commands"), &body).expect(400).code(), "bad_input");
    }
    assert_eq!(commander.post("/devices/ghost/commands", &json!({ "what": reboot })).expect(404).code(), "not_found");
    assert_eq!(commander.get("/commands/7").expect(404).code(), "not_found");
    let ids: Vec<i64> = (0..16).map(|_| given(&commander, &reboot)).collect();
    assert_eq!(give(&commander, &reboot).expect(409).code(), "conflict", "no more than 16 wait");
    let page = admin.get(&format!("/devices/{NAME}/commands?limit=10")).expect(200);
    assert_eq!((page.at("/items/0/id"), page.at("/items/9/id")), (json!(ids[15]), json!(ids[6])));
    let next = page.at("/next");
    let rest = admin.get(&format!("/devices/{NAME}/commands?limit=10&cursor={}", next.as_str().unwrap())).expect(200);
    assert_eq!((rest.at("/items/5/id"), rest.at("/next")), (json!(ids[0]), Value::Null));
}

#[test]
fn a_repeated_request_gives_one_command() {
    let (server, _device) = field();
    let admin = server.admin();
    let body = json!({ "what": { "command": "reboot" } });
    let path = format!("/devices/{NAME}/commands");
    let send = |path: &str| admin.send("POST", path, &[("idempotency-key", "k1")], Payload::Json(&body));
    let (first, again) = (send(&path).expect(201), send(&path).expect(201));
    assert_eq!(first.at("/id"), again.at("/id"));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    let _ = admin.post("/devices", &json!({ "name": "sn-2" })).expect(201);
    assert_eq!(send("/devices/sn-2/commands").expect(422).code(), "idempotency_mismatch");
}

#[test]
fn commands_of_a_deleted_device_expire_and_a_rejected_one_takes_none() {
    let (server, device) = field();
    let admin = server.admin();
    let id = given(admin, &json!({ "command": "reboot" }));
    let _ = admin.post(&format!("/devices/{NAME}/reject"), &json!({})).expect(200);
    assert_eq!(give(admin, &json!({ "command": "reboot" })).expect(409).code(), "conflict");
    assert_eq!(device.get("/orders").status, 403);
    let _ = admin.delete(&format!("/devices/{NAME}")).expect(204);
    assert_eq!(command(admin, id)["state"], "expired");
}
