//! Every write leaves a record, and a record changed later is found.

use std::process::Command;

use muster_tests::api::Api;
use muster_tests::exchange::Payload;
use muster_tests::field::{CONTENT, FILE, Field, NAME};
use muster_tests::operator::{cancel, make_gateway_token, publish, roll_out, set_project};
use muster_tests::server::{Server, program};
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

/// Runs the CLI against the field's server; answers its code and all that it said.
fn muster(field: &Field, args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(program("muster").unwrap())
        .args(args)
        .env("MUSTER_SERVER", field.server.origin())
        .env("MUSTER_TOKEN", field.admin().token().unwrap())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn a_record_tells_by_what_right_why_and_in_which_request_it_was_done() {
    let field = Field::new();
    let admin = field.admin();
    let headers = [("muster-reason", "Ticket 4711: größerer Abstand"), ("x-request-id", "req-7")];
    let body = json!({ "poll_interval_s": 77 });
    let answer = admin.send("PATCH", "/project", &headers, Payload::Json(&body)).expect(200);
    assert_eq!(answer.header("x-request-id"), Some("req-7"));
    let newest = &admin.get("/audit?limit=1").expect(200).at("/items/0");
    assert_eq!(newest["action"], "project.change", "{newest}");
    assert_eq!((&newest["reason"], &newest["request"]), (&json!(headers[0].1), &json!("req-7")), "{newest}");
    let authority = newest["authority"].as_str().unwrap();
    assert!(authority.starts_with("token:t-") && authority.ends_with(" by own scopes"), "{newest}");
    let by_reason = admin.get("/audit?select=reason%20like%20%22*4711*%22").expect(200);
    assert_eq!(by_reason.at("/items").as_array().unwrap().len(), 1, "{by_reason}");
    let too_long = [("muster-reason", "x".repeat(501))];
    let too_long: Vec<(&str, &str)> = too_long.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let _ = admin.send("PATCH", "/project", &too_long, Payload::Json(&body)).expect(400);
    // Nobody gave one: the server makes it, and tells both.
    let answer = admin.send("PATCH", "/project", &[], Payload::Json(&body)).expect(200);
    let newest = admin.get("/audit?limit=1").expect(200).at("/items/0");
    assert_eq!(newest["request"].as_str(), answer.header("x-request-id"), "{newest}");
}

#[test]
fn the_reason_of_the_command_line_reaches_the_log() {
    let field = Field::new();
    let (code, said) = muster(&field, &["--reason", "audited by Ann", "device", "create", "sn-77"]);
    assert_eq!(code, Some(0), "{said}");
    let newest = field.admin().get("/audit?limit=1").expect(200).at("/items/0");
    assert_eq!((&newest["reason"], &newest["target"]), (&json!("audited by Ann"), &json!("device:sn-77")), "{newest}");
}

#[test]
fn a_target_that_was_changed_behind_the_servers_back_is_not_as_recorded() {
    let mut field = Field::new();
    let fitter = json!({ "name": "fitter", "scopes": ["read", "devices:write"] });
    let _ = field.admin().post("/roles", &fitter).expect(201);
    let made = records(field.admin()).pop().unwrap();
    assert!(made["before"].is_null() && made["after"].is_string(), "{made}");
    let state = field.admin().get("/audit/state?target=role:fitter").expect(200);
    assert_eq!((state.at("/as_recorded"), state.at("/now")), (json!(true), made["after"].clone()), "{state}");
    let _ = field.admin().patch(&format!("/devices/{NAME}"), &json!({ "labels": { "a": "1" } })).expect(200);
    let first = records(field.admin()).pop().unwrap();
    let _ = field.admin().patch(&format!("/devices/{NAME}"), &json!({ "labels": { "a": "2" } })).expect(200);
    let second = records(field.admin()).pop().unwrap();
    assert_eq!(first["after"], second["before"], "{first} {second}");
    assert_ne!(second["before"], second["after"], "{second}");
    let _ = field.server.stop();
    tamper(&field.server, "UPDATE role SET permissions = '[\"admin\"]' WHERE name = 'fitter'");
    field.server.restart();
    let (code, said) = muster(&field, &["audit", "state", "role:fitter"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("role:fitter is not what the newest record about it says"), "{said}");
    let (code, said) = muster(&field, &["audit", "state", "device:sn-1"]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn one_record_is_proven_without_the_others() {
    let field = busy();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proof.json");
    let file = file.to_str().unwrap();
    let (code, said) = muster(&field, &["audit", "prove", "3", "--file", file]);
    assert_eq!(code, Some(0), "{said}");
    let third = &records(field.admin())[2];
    let proof = std::fs::read_to_string(file).unwrap();
    assert!(proof.contains(third["digest"].as_str().unwrap()), "{proof}");
    let (code, said) = muster(&field, &["audit", "verify", file]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("proven: record 3 of the ") && said.contains(third["target"].as_str().unwrap()), "{said}");
    std::fs::write(file, proof.replace("account:admin", "account:eve")).unwrap();
    let (code, said) = muster(&field, &["audit", "verify", file]);
    assert_eq!(code, Some(3), "{said}");
    let (code, said) = muster(&field, &["audit", "prove", "999999"]);
    assert_eq!(code, Some(5), "{said}");
}

#[test]
fn old_records_are_dropped_and_the_rest_still_verifies() {
    let field = busy();
    let folder = tempfile::tempdir().unwrap();
    let (archive, rest) = (folder.path().join("archive.jsonl"), folder.path().join("rest.jsonl"));
    let (archive, rest) = (archive.to_str().unwrap(), rest.to_str().unwrap());
    let all = records(field.admin()).len();
    // The export signs what there is; what comes later gets a checkpoint of its own.
    let first = muster(&field, &["audit", "export", "--file", rest]);
    assert_eq!(first.0, Some(0), "{}", first.1);
    set_project(field.admin(), &json!({ "poll_interval_s": 61 }));
    let (code, said) = muster(&field, &["audit", "prune", "--older-than", "0s", "--archive", archive, "--yes"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("{all} records dropped; record {} is the oldest now", all + 1)), "{said}");
    let left = records(field.admin());
    assert_eq!(left[0]["sequence"], json!(all + 1));
    let prune = left.iter().find(|record| record["action"] == "audit.prune").unwrap();
    assert_eq!(prune["detail"]["through"], json!(all), "{prune}");
    let verdict = field.admin().get("/audit/verify").expect(200);
    assert_eq!(verdict.at("/intact"), json!(true), "{verdict}");
    for (file, export) in [(archive, false), (rest, true)] {
        if export {
            let (code, said) = muster(&field, &["audit", "export", "--file", file]);
            assert_eq!(code, Some(0), "{said}");
        }
        let (code, said) = muster(&field, &["audit", "verify", file]);
        assert_eq!(code, Some(0), "{said}");
    }
    // What is left is still proven, and what is gone is not there.
    let (code, said) = muster(&field, &["audit", "prove", &(all + 1).to_string()]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(muster(&field, &["audit", "prove", "2"]).0, Some(5));
    let (code, said) = muster(&field, &["audit", "prune", "--older-than", "0s", "--archive", archive, "--yes"]);
    assert_eq!(code, Some(1), "an archive is never written over: {said}");
}

#[test]
fn a_beginning_that_somebody_cut_off_is_not_taken_for_retention() {
    let mut field = busy();
    let all = records(field.admin()).len();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log.jsonl");
    let file = file.to_str().unwrap();
    assert_eq!(muster(&field, &["audit", "export", "--file", file]).0, Some(0));
    set_project(field.admin(), &json!({ "poll_interval_s": 61 }));
    let _ = field.server.stop();
    for sequence in 1..=all {
        tamper(&field.server, &format!("DELETE FROM audit WHERE sequence = {sequence}"));
    }
    field.server.restart();
    let verdict = field.admin().get("/audit/verify").expect(200);
    assert_eq!((verdict.at("/intact"), verdict.at("/broken_at")), (json!(false), json!(all)), "{verdict}");
    assert_eq!(muster(&field, &["audit", "export", "--file", file]).0, Some(0));
    let (code, said) = muster(&field, &["audit", "verify", file]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("no record tells that somebody dropped them"), "{said}");
}

#[test]
fn refusals_leave_a_record_and_a_flood_of_them_does_not_fill_the_log() {
    let field = Field::new();
    let admin = field.admin();
    for _ in 0..5 {
        let wrong = json!({ "account": "admin", "password": "guessed" });
        let _ = field.server.anonymous().post("/login", &wrong).expect(401);
    }
    let path = format!("{}/default/controller/v1/{NAME}", field.server.origin());
    for _ in 0..5 {
        let polled = muster_tests::exchange::exchange(
            &muster_tests::exchange::agent(),
            "GET",
            &path,
            &[("authorization", "TargetToken wrong")],
            Payload::None,
        );
        assert_eq!(polled.unwrap().status, 401);
    }
    let of = |action: &str| -> Vec<Value> {
        records(admin).into_iter().filter(|record| record["action"] == action).collect()
    };
    muster_tests::wait::until("the refusals are recorded", || {
        (!of("account.login-refused").is_empty() && !of("device.refused").is_empty()).then_some(())
    });
    let (logins, devices) = (of("account.login-refused"), of("device.refused"));
    assert_eq!((logins.len(), devices.len()), (1, 1), "{logins:?} {devices:?}");
    assert_eq!(logins[0]["target"], "account:admin");
    assert_eq!((&logins[0]["actor"], &logins[0]["authority"]), (&json!("muster"), &json!("server")));
    assert_eq!(devices[0]["target"], json!(format!("device:{NAME}")));
}
