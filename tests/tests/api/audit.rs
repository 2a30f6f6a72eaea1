//! Every write leaves a record, and a record changed later is found.

use std::process::Command;

use muster_tests::api::Api;
use muster_tests::field::{CONTENT, FILE, Field, NAME};
use muster_tests::operator::{cancel, make_gateway_token, publish, roll_out, set_project};
use muster_tests::server::Server;
use serde_json::{Value, json};

#[track_caller]
fn records(admin: &Api) -> Vec<Value> {
    let mut records = admin.get("/audit?limit=500").expect(200).at("/items").as_array().cloned().unwrap();
    records.reverse();
    records
}

/// Makes one of most things.
fn busy() -> Field {
    let field = Field::new();
    let offer = field.running("1");
    cancel(field.admin(), offer.action, true);
    field
}

#[test]
fn every_write_leaves_a_record_of_who_did_what() {
    let field = busy();
    let admin = field.admin();
    set_project(admin, &json!({ "poll_interval_s": 60 }));
    let _ = make_gateway_token(admin);
    let _ = admin.delete("/project/gateway-token").expect(204);
    let account = json!({ "name": "ann", "scopes": ["rollouts:approve"], "password": "a password of ann" });
    let _ = admin.post("/accounts", &account).expect(201);
    let ann = field.server.login("ann", "a password of ann");
    let made = admin.post("/tokens", &json!({ "name": "ci", "scopes": ["read"], "life_s": 60 })).expect(201);
    let _ = admin.delete(&format!("/tokens/{}", made.at("/token/id").as_str().unwrap())).expect(204);
    let _ = admin.put("/channels/stable", &json!({ "release": "os@1" })).expect(200);
    let _ = admin.delete("/channels/stable").expect(204);
    let rollout = roll_out(admin, &publish(admin, "os", "2", (FILE, CONTENT)), NAME, &json!({ "approval": true }));
    let _ = ann.post(&format!("/rollouts/{rollout}/approve"), &json!({ "reason": "looked at it" })).expect(200);
    let _ = admin.post(&format!("/rollouts/{rollout}/abort"), &json!({ "reason": "too early" })).expect(200);
    let _ = admin.patch(&format!("/devices/{NAME}"), &json!({ "labels": { "a": "b" } })).expect(200);
    let _ = admin.post(&format!("/devices/{NAME}/token"), &json!({})).expect(200);
    let _ = admin.post(&format!("/devices/{NAME}/reject"), &json!({})).expect(200);
    let _ = admin.delete(&format!("/devices/{NAME}")).expect(204);
    let _ = admin.post("/releases/os/1/yank", &json!({ "reason": "crashes" })).expect(200);
    let _ = admin.delete("/accounts/ann").expect(204);
    let all = records(admin);
    let has = |actor: &str, action: &str, target: &str| {
        all.iter().any(|record| record["actor"] == actor && record["action"] == action && record["target"] == target)
    };
    let rollout = format!("rollout:{rollout}");
    for (action, target) in [
        ("account.create", "account:ann"),
        ("account.delete", "account:ann"),
        ("device.create", "device:sn-1"),
        ("device.delete", "device:sn-1"),
        ("device.reject", "device:sn-1"),
        ("release.create", "release:os@1"),
        ("release.publish", "release:os@1"),
        ("release.yank", "release:os@1"),
        ("rollout.create", &rollout),
        ("rollout.abort", &rollout),
        ("channel.delete", "channel:stable"),
    ] {
        assert!(has("account:admin", action, target), "no {action} of {target} in {all:#?}");
    }
    assert!(has("account:ann", "rollout.approve", &rollout), "{all:#?}");
    let kinds: Vec<&str> = all.iter().filter_map(|record| record["action"].as_str()).collect();
    for kind in ["account.login", "token.create", "token.delete", "artifact.create", "action.cancel"] {
        assert!(kinds.contains(&kind), "no {kind} in {kinds:?}");
    }
    // Settings, the gateway's token twice, the channel, labels and the device's token.
    for target in ["project:", "channel:stable", "device:sn-1"] {
        let of = |record: &&Value| record["target"].as_str().is_some_and(|told| told.starts_with(target));
        assert!(all.iter().filter(of).count() >= 2, "{target} in {all:#?}");
    }
    assert_eq!(all.iter().filter(|record| record["detail"]["reason"] == "too early").count(), 1);
}

#[test]
fn a_refusal_leaves_no_record() {
    let field = busy();
    let before = records(field.admin()).len();
    let _ = field.admin().post("/devices", &json!({ "name": NAME })).expect(409);
    let _ = field.admin().delete("/releases/os/1").expect(409);
    let _ = field.admin().post("/rollouts", &json!({ "release": "os@1", "select": "nmae == x" })).expect(400);
    assert_eq!(records(field.admin()).len(), before);
}

#[test]
fn records_are_numbered_without_gaps_and_chained() {
    let field = busy();
    let all = records(field.admin());
    for (at, pair) in all.windows(2).enumerate() {
        assert_eq!(pair[0]["sequence"], json!(at + 1), "{pair:#?}");
        assert_eq!(pair[1]["previous"], pair[0]["digest"], "{pair:#?}");
    }
    let verdict = field.admin().get("/audit/verify").expect(200);
    assert_eq!(verdict.at("/intact"), json!(true), "{verdict}");
    assert_eq!(verdict.at("/records"), json!(all.len()), "{verdict}");
    assert_eq!(verdict.at("/head"), all.last().unwrap()["digest"], "{verdict}");
}

/// Changes the database behind the server's back.
#[track_caller]
fn tamper(server: &Server, statement: &str) {
    let program = "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1])\nn = db.execute(sys.argv[2]).rowcount\n\
        db.commit()\nassert n == 1, n";
    let database = server.data().join("muster.db");
    let output = Command::new("python3").args(["-c", program]).arg(database).arg(statement).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_record_changed_behind_the_servers_back_is_found() {
    let changes = [
        "UPDATE audit SET actor = 'account:eve' WHERE sequence = 3",
        "UPDATE audit SET detail = '{}' WHERE sequence = 3",
        "UPDATE audit SET at = at + 1 WHERE sequence = 3",
        "UPDATE audit SET target = target || 'x' WHERE sequence = 3",
        "DELETE FROM audit WHERE sequence = 3",
    ];
    for change in changes {
        let mut field = busy();
        let _ = field.server.stop();
        tamper(&field.server, change);
        field.server.restart();
        let verdict = field.admin().get("/audit/verify").expect(200);
        assert_eq!(verdict.at("/intact"), json!(false), "{change}: {verdict}");
        let broken = verdict.at("/broken_at").as_u64().unwrap();
        assert!((3..=4).contains(&broken), "{change}: {verdict}");
    }
}
