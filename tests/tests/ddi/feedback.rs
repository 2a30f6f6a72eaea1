//! What a device reports, and what is made of it.

use muster_tests::ddi::{Device, EXECUTIONS, FINISHED, feedback};
use muster_tests::exchange::Payload;
use muster_tests::field::{CONTENT, FILE, Field};
use muster_tests::operator::{self, publish, reports, roll_out, was_told, why};
use serde_json::{Value, json};

/// One device for each execution and result, all of them in one rollout, each with its action fetched.
fn one_device_each(field: &Field) -> Vec<(Device, i64, (&'static str, &'static str))> {
    let said = EXECUTIONS.into_iter().flat_map(|execution| FINISHED.map(|finished| (execution, finished)));
    let devices: Vec<_> = said.map(|said| (field.another(&format!("{}-{}", said.0, said.1)), said)).collect();
    let release = publish(field.admin(), "os", "1", (FILE, CONTENT));
    let waves = json!([{ "take": "rest", "errors": { "percent": 100 } }]);
    let _ = roll_out(field.admin(), &release, "x", &json!({ "select": "name like \"*-*\"", "waves": waves }));
    let fetched = devices.into_iter().map(|(device, said)| {
        let link = device.link_to_come("deploymentBase");
        let _ = device.get(&link).expect(200);
        (device, muster_tests::ddi::action_id(&link), said)
    });
    fetched.collect()
}

#[test]
fn every_execution_and_result_is_answered_200_and_means_what_hawkbit_means() {
    let field = Field::new();
    for (device, action, (execution, finished)) in one_device_each(&field) {
        let answer = device.report("deploymentBase", action, (execution, finished)).expect(200);
        assert!(answer.text().is_empty() || answer.json().is_object(), "{answer}");
        let expected = match (execution, finished) {
            ("closed", "failure") => "failed",
            ("closed", _) => "finished",
            _ => "running",
        };
        assert_eq!(field.state_of(action), expected, "{execution}/{finished}");
        let again = device.report("deploymentBase", action, ("proceeding", "none"));
        assert_eq!(again.status, if execution == "closed" { 410 } else { 200 }, "{again}");
    }
}

#[test]
fn every_execution_and_result_on_the_cancel_channel_has_its_meaning() {
    let field = Field::new();
    for (device, action, (execution, finished)) in one_device_each(&field) {
        operator::cancel(field.admin(), action, false);
        let _ = device.report("cancelAction", action, (execution, finished)).expect(200);
        let expected = match (execution, finished) {
            ("closed", "failure") | ("rejected", _) => "running",
            ("closed", _) => "canceled",
            _ => "canceling",
        };
        assert_eq!(field.state_of(action), expected, "{execution}/{finished}");
        assert_eq!(device.link("cancelAction").is_some(), expected == "canceling");
        assert_eq!(device.link("deploymentBase").is_some(), expected == "running");
    }
}

#[test]
fn unknown_words_and_missing_members_are_400_and_change_nothing() {
    let field = Field::new();
    let offer = field.running("1");
    let path = format!("/deploymentBase/{}/feedback", offer.action);
    let before = reports(field.admin(), offer.action).len();
    let bodies = [
        json!({}),
        json!({ "status": null }),
        json!({ "status": {} }),
        json!({ "status": { "execution": "closed" } }),
        json!({ "status": { "execution": "closed", "result": {} } }),
        json!({ "status": { "execution": "closed", "result": null } }),
        json!({ "status": { "result": { "finished": "success" } } }),
        json!({ "status": { "execution": null, "result": { "finished": "success" } } }),
        feedback("exploded", "success"),
        feedback("closed", "perhaps"),
        feedback("CLOSED", "success"),
        feedback("closed", ""),
        json!([]),
        json!("closed"),
        Value::Null,
    ];
    for body in bodies {
        let answer = field.device.post(&path, &body).expect(400);
        assert!(answer.json()["message"].is_string(), "{answer}");
    }
    for broken in [&b""[..], b"{", b"{\"status\":", b"\xff\xfe", b"closed", b"{\"status\":{}}}"] {
        let _ = field.device.send("POST", &path, &[], Payload::Bytes("application/json", broken)).expect(400);
    }
    assert_eq!(field.state_of(offer.action), "running");
    assert_eq!(reports(field.admin(), offer.action).len(), before);
}

#[test]
fn what_old_and_odd_clients_add_is_ignored() {
    let field = Field::new();
    let offer = field.running("1");
    let path = format!("/deploymentBase/{}/feedback", offer.action);
    let result = |progress: Value| json!({ "finished": "none", "progress": progress });
    let bodies = [
        json!({ "id": offer.action, "time": "20261123T014733", "status": { "execution": "proceeding", "result": result(json!({ "cnt": 0, "of": 1 })), "details": ["x"] } }),
        json!({ "id": "", "status": { "execution": "proceeding", "result": result(json!(null)), "details": [""] } }),
        json!({ "id": "4711", "status": { "execution": "proceeding", "result": result(json!([1, 2])), "details": [] } }),
        json!({ "timestamp": 1, "status": { "execution": "proceeding", "result": result(json!("half")), "code": 200 } }),
        json!({ "timestamp": null, "status": { "execution": "proceeding", "result": result(json!({ "cnt": -1, "of": 1.5 })), "code": null, "details": null } }),
        json!({ "status": { "execution": "proceeding", "result": { "finished": "none" } } }),
    ];
    for body in bodies {
        let _ = field.device.post(&path, &body).expect(200);
    }
    let charset = Payload::Bytes(
        "application/json;charset=UTF-8",
        br#"{"status":{"execution":"proceeding","result":{"finished":"none"}}}"#,
    );
    let _ = field.device.send("POST", &path, &[], charset).expect(200);
    assert_eq!(field.state_of(offer.action), "running");
}

#[test]
fn progress_and_messages_reach_the_operator() {
    let field = Field::new();
    let offer = field.running("1");
    let body = json!({ "status": { "execution": "proceeding", "code": 17, "details": ["halfway there"],
        "result": { "finished": "none", "progress": { "cnt": 3, "of": 9 } } } });
    let _ = field.device.post(&format!("/deploymentBase/{}/feedback", offer.action), &body).expect(200);
    assert_eq!(operator::action(field.admin(), offer.action)["progress"], json!({ "done": 3, "of": 9 }));
    assert!(was_told(field.admin(), offer.action, "halfway there"));
    assert!(reports(field.admin(), offer.action).iter().any(|report| report["code"] == 17));
}

#[test]
fn long_and_many_messages_are_cut_not_refused() {
    let field = Field::new();
    let offer = field.running("1");
    let path = format!("/deploymentBase/{}/feedback", offer.action);
    let mut body = feedback("proceeding", "none");
    body["status"]["details"] = json!(["ü".repeat(2000)]);
    let _ = field.device.post(&path, &body).expect(200);
    body["status"]["details"] = (0..60).map(|n| json!(format!("line {n}"))).collect();
    let _ = field.device.post(&path, &body).expect(200);
    let messages: Vec<Value> = reports(field.admin(), offer.action)
        .iter()
        .flat_map(|report| report["messages"].as_array().cloned().unwrap_or_default())
        .collect();
    assert!(messages.contains(&json!("ü".repeat(512))), "cut at 512 characters");
    let lines = messages.iter().filter(|message| message.as_str().unwrap().starts_with("line ")).count();
    assert_eq!(lines, 50);
}

#[test]
fn a_thousand_reports_are_enough_but_the_last_word_is_always_heard() {
    let field = Field::new();
    let offer = field.running("1");
    let report = || field.device.report("deploymentBase", offer.action, ("proceeding", "none")).status;
    // Eight at a time, because each waits for the disk.
    let taken: usize = std::thread::scope(|scope| {
        let eight = [(); 8].map(|()| scope.spawn(|| (0..125).filter(|_| report() == 200).count()));
        eight.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!((990..=1000).contains(&taken), "{taken} were taken");
    assert_eq!(report(), 429);
    let _ = field.device.report("deploymentBase", offer.action, ("closed", "success")).expect(200);
    assert_eq!(field.state_of(offer.action), "finished");
}

#[test]
fn after_it_was_closed_every_word_is_410() {
    let field = Field::new();
    let offer = field.running("1");
    let _ = field.device.report("deploymentBase", offer.action, ("closed", "failure")).expect(200);
    let before = reports(field.admin(), offer.action).len();
    for execution in EXECUTIONS {
        for finished in FINISHED {
            let _ = field.device.report("deploymentBase", offer.action, (execution, finished)).expect(410);
        }
    }
    let _ = field.device.get(&offer.link).expect(404);
    assert_eq!(field.state_of(offer.action), "failed");
    assert_eq!(reports(field.admin(), offer.action).len(), before);
}

#[test]
fn another_devices_action_does_not_exist() {
    let field = Field::new();
    let offer = field.running("1");
    let other = field.another("sn-2");
    let id = offer.action;
    for resource in ["deploymentBase", "cancelAction", "installedBase", "confirmationBase"] {
        let _ = other.get(&format!("/{resource}/{id}")).expect(404);
    }
    for resource in ["deploymentBase", "cancelAction"] {
        let _ = other.report(resource, id, ("closed", "success")).expect(404);
    }
    let _ = other.post(&format!("/confirmationBase/{id}/feedback"), &json!({ "confirmation": "denied" })).expect(404);
    assert_eq!(field.state_of(id), "running");
    let _ = field.device.report("deploymentBase", id, ("closed", "success")).expect(200);
    let _ = other.get(&format!("/installedBase/{id}")).expect(404);
    let _ = other.report("deploymentBase", id, ("closed", "success")).expect(404);
}

#[test]
fn numbers_that_are_no_action_are_404() {
    let field = Field::new();
    for id in ["0", "-1", "+1", "999999", "99999999999999999999", "1.0", "abc", "1%20", "%00", "a%2Fb"] {
        for resource in ["deploymentBase", "cancelAction", "installedBase", "confirmationBase"] {
            let _ = field.device.get(&format!("/{resource}/{id}")).expect(404);
        }
        let said = feedback("closed", "success");
        let _ = field.device.post(&format!("/deploymentBase/{id}/feedback"), &said).expect(404);
    }
}

#[test]
fn a_failure_is_explained_in_the_devices_words() {
    let field = Field::new();
    let offer = field.running("1");
    let mut body = feedback("closed", "failure");
    body["status"]["details"] = json!(["wrote slot b", "checksum of slot b is wrong"]);
    let _ = field.device.post(&format!("/deploymentBase/{}/feedback", offer.action), &body).expect(200);
    let (codes, text) = why(field.admin(), "sn-1");
    assert_eq!(codes[0], "failed");
    assert!(text.contains("checksum of slot b is wrong"), "{text}");
}
