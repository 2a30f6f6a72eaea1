//! Reports are taken once and in order, and nothing that a device says blocks what it says next.

use muster_tests::agent::{Device, batch, joined, said};
use muster_tests::field::{CONTENT, FILE};
use muster_tests::operator::{self, action, make_gateway_token, publish, reports, roll_out, set_project};
use muster_tests::raw::Line;
use muster_tests::server::Server;
use serde_json::{Value, json};

fn start() -> (Server, String, Device) {
    let server = Server::start();
    set_project(server.admin(), &json!({ "registration": "accept" }));
    let gateway = make_gateway_token(server.admin());
    let device = joined(&server, &gateway, "sn-1");
    (server, gateway, device)
}

/// Rolls a release out to the device and has it fetched.
#[track_caller]
fn fetched(server: &Server, device: &Device, version: &str, more: &Value) -> i64 {
    let release = publish(server.admin(), "os", version, (FILE, CONTENT));
    roll_out(server.admin(), &release, "sn-1", more);
    let id = device.ordered("install");
    let _ = device.get(&format!("/actions/{id}")).expect(200);
    id
}

/// The history, oldest first.
fn texts(server: &Server, id: i64) -> Vec<String> {
    let newest_first = reports(server.admin(), id);
    newest_first.iter().rev().map(|report| report["text"].as_str().unwrap_or_default().to_owned()).collect()
}

fn state(server: &Server, id: i64) -> Value {
    action(server.admin(), id)["state"].clone()
}

#[test]
fn a_batch_that_is_repeated_counts_once() {
    let (server, _, device) = start();
    let id = fetched(&server, &device, "1", &json!({}));
    let first = [said(id, "accepted"), said(id, "downloading")];
    for _ in 0..3 {
        assert_eq!(device.report(1, &first).expect(200).at("/through"), json!(2));
    }
    // The answer to the first two was lost: they come again with a third.
    let more = [said(id, "accepted"), said(id, "downloading"), said(id, "staged")];
    assert_eq!(device.report(1, &more).expect(200).at("/through"), json!(3));
    assert_eq!(texts(&server, id), ["fetched the deployment", "accepted it", "downloads", "has staged it"]);
}

#[test]
fn a_batch_sent_twice_at_the_same_time_counts_once() {
    let (server, _, device) = start();
    let id = fetched(&server, &device, "1", &json!({}));
    let sent = [said(id, "accepted"), said(id, "downloading")];
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(|| device.report(1, &sent).expect(200))).collect();
        for one in all {
            assert_eq!(one.join().unwrap().at("/through"), json!(2));
        }
    });
    assert_eq!(texts(&server, id), ["fetched the deployment", "accepted it", "downloads"]);
}

#[test]
fn reports_out_of_order_are_put_in_order_and_late_ones_change_nothing() {
    let (server, _, device) = start();
    let id = fetched(&server, &device, "1", &json!({}));
    let mut body = batch("q", 1, &[said(id, "accepted"), said(id, "downloading"), said(id, "committed")]);
    body["reports"].as_array_mut().unwrap().reverse();
    assert_eq!(device.post("/reports", &body).expect(200).at("/through"), json!(3));
    assert_eq!(texts(&server, id), ["fetched the deployment", "accepted it", "downloads", "runs it and keeps it"]);
    assert_eq!(device.report(2, &[said(id, "failed")]).expect(200).at("/through"), json!(3));
    assert_eq!(state(&server, id), "finished");
}

#[test]
fn a_gap_is_what_a_full_queue_dropped() {
    let (server, _, device) = start();
    let id = fetched(&server, &device, "1", &json!({}));
    device.say(1, id, "accepted");
    device.say(40, id, "downloaded");
    let none = json!({ "queue": "q", "reports": [] });
    assert_eq!(device.post("/reports", &none).expect(200).at("/through"), json!(40));
    assert_eq!(texts(&server, id).len(), 3);
}

#[test]
fn what_was_taken_is_known_after_a_kill_and_a_new_queue_begins_anew() {
    let (mut server, _, device) = start();
    let id = fetched(&server, &device, "1", &json!({}));
    device.say(1, id, "accepted");
    device.say(2, id, "downloading");
    server.kill();
    server.restart();
    device.say(2, id, "downloading");
    device.say(3, id, "downloaded");
    assert_eq!(texts(&server, id), ["fetched the deployment", "accepted it", "downloads", "has downloaded"]);
    let anew = batch("another", 1, &[said(id, "staged")]);
    assert_eq!(device.post("/reports", &anew).expect(200).at("/through"), json!(1));
    assert_eq!(texts(&server, id).last().unwrap(), "has staged it");
}

#[test]
fn a_report_on_another_devices_action_or_on_none_is_passed_over() {
    let (server, gateway, device) = start();
    let id = fetched(&server, &device, "1", &json!({}));
    let other = joined(&server, &gateway, "sn-2");
    let told = json!({ "kind": "attributes", "all": true, "set": { "a": "b" } });
    let said = [said(id, "committed"), said(4711, "failed"), told];
    assert_eq!(other.report(1, &said).expect(200).at("/through"), json!(3));
    assert_eq!(state(&server, id), "running");
    assert_eq!(texts(&server, id), ["fetched the deployment"]);
    assert_eq!(server.admin().get("/devices/sn-2").expect(200).at("/attributes/a"), json!("b"));
    assert_eq!(other.get(&format!("/actions/{id}")).expect(404).code(), "not_found");
}

#[test]
fn what_is_said_after_the_end_stands_in_the_history_and_changes_nothing() {
    let (server, _, device) = start();
    let id = fetched(&server, &device, "1", &json!({}));
    device.say(1, id, "committed");
    device.say(2, id, "failed");
    assert_eq!(state(&server, id), "finished");
    assert!(texts(&server, id).last().unwrap().contains("changed nothing: the action is closed"));
    assert_eq!(device.get(&format!("/actions/{id}")).expect(410).code(), "closed");
}

#[test]
fn malformed_reports_are_passed_over_and_malformed_batches_refused() {
    let (server, _, device) = start();
    let id = fetched(&server, &device, "1", &json!({}));
    let odd = [
        json!({ "kind": "from the future", "what": 1 }),
        json!({ "kind": "action", "action": id, "state": "teleported" }),
        json!({ "kind": "action", "action": "x", "state": "committed" }),
        json!({ "kind": "attributes", "set": { "k".repeat(200): "too long" } }),
        json!({ "at": "yesterday", "kind": "action", "action": id, "state": "accepted" }),
        json!({ "kind": "action", "action": id, "state": "accepted", "news": "to come" }),
        json!({}),
    ];
    assert_eq!(device.report(1, &odd).expect(200).at("/through"), json!(7));
    // The fifth only has no time, and the sixth says more than is known.
    assert_eq!(texts(&server, id), ["fetched the deployment", "accepted it", "accepted it"]);
    for bad in [
        json!({}),
        json!([]),
        json!({ "queue": "q" }),
        json!({ "queue": "", "reports": [] }),
        json!({ "queue": "q".repeat(65), "reports": [] }),
        json!({ "queue": "q", "reports": [{ "kind": "action" }] }),
        json!({ "queue": "q", "reports": [{ "sequence": 0 }] }),
        json!({ "queue": "q", "reports": [{ "sequence": -1 }] }),
        json!({ "queue": "q", "reports": [{ "sequence": u64::MAX }] }),
        json!({ "queue": "q", "reports": ["x"] }),
    ] {
        assert_eq!(device.post("/reports", &bad).expect(400).code(), "bad_input", "{bad}");
    }
    device.say(8, id, "committed");
}

#[test]
fn a_batch_or_a_body_too_large_is_refused_by_its_size() {
    let (server, _, device) = start();
    let id = fetched(&server, &device, "1", &json!({}));
    let many: Vec<Value> = (0..65).map(|_| said(id, "downloading")).collect();
    assert_eq!(device.report(1, &many).expect(413).code(), "too_many");
    assert_eq!(device.report(1, &many[..64]).expect(200).at("/through"), json!(64));
    let mut line = Line::open(server.address()).unwrap();
    let head = format!(
        "POST /device/v1/reports HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         content-length: 1048577\r\n\r\n",
        device.token
    );
    line.send(head.as_bytes());
    assert_eq!(line.status(), Some(413));
    let output = json!({ "kind": "command", "command": 1, "state": "succeeded", "output": "\u{1}".repeat(64 * 1024) });
    assert_eq!(device.report(65, &[output]).expect(200).at("/through"), json!(65));
    let mut cut = said(id, "downloading");
    cut["messages"] = json!(vec!["é".repeat(1000); 60]);
    assert_eq!(device.report(66, &[cut]).expect(200).at("/through"), json!(66));
    let newest = reports(server.admin(), id)[0]["messages"].clone();
    assert_eq!(newest.as_array().map(Vec::len), Some(50));
    assert_eq!(newest[0].as_str().unwrap().chars().count(), 512);
}

#[test]
fn a_device_that_was_away_for_days_or_lives_in_1970_is_taken_at_the_servers_time() {
    let (server, _, device) = start();
    let id = fetched(&server, &device, "1", &json!({}));
    let ago = (jiff::Timestamp::now() - std::time::Duration::from_secs(3 * 86_400)).to_string();
    let mut old = said(id, "downloaded");
    old["at"] = json!(ago);
    let mut early = said(id, "committed");
    early["at"] = json!("1970-01-01T00:00:07Z");
    let _ = device.report(1, &[said(id, "downloading"), old, early]).expect(200);
    assert_eq!(state(&server, id), "finished");
    let texts = texts(&server, id);
    assert_eq!(texts[1], "downloads");
    assert!(texts[2].starts_with(&format!("has downloaded (at {}", &ago[..19])), "{texts:?}");
    assert_eq!(texts[3], "runs it and keeps it (at 1970-01-01T00:00:07.000Z by the device's clock)");
    let at = reports(server.admin(), id)[0]["at"].as_str().unwrap().to_owned();
    assert!(at > ago, "the server's time is the truth, not {at}");
}

#[test]
fn a_failed_and_a_reverted_update_say_why() {
    let (server, _, device) = start();
    let id = fetched(&server, &device, "1", &json!({}));
    let mut failed = said(id, "failed");
    failed["messages"] = json!(["reading image", "", "signature does not match", "gave up"]);
    let _ = device.report(1, &[failed]).expect(200);
    let ended = action(server.admin(), id);
    assert_eq!(ended["state"], "failed");
    assert_eq!(ended["reason"], json!("reading image; signature does not match; gave up"), "{ended}");

    let id = fetched(&server, &device, "2", &json!({}));
    device.say(2, id, "reverted");
    let ended = action(server.admin(), id);
    assert_eq!((&ended["state"], &ended["reason"]), (&json!("failed"), &json!("the device went back by itself")));
}

#[test]
fn a_cancel_is_obeyed_or_refused() {
    let (server, _, device) = start();
    let id = fetched(&server, &device, "1", &json!({}));
    operator::cancel(server.admin(), id, false);
    assert_eq!(device.ordered("cancel"), id);
    device.say(1, id, "cancel_refused");
    assert_eq!(device.ordered("install"), id);
    operator::cancel(server.admin(), id, false);
    assert_eq!(device.ordered("cancel"), id);
    assert_eq!(device.get(&format!("/actions/{id}")).expect(410).code(), "closed");
    device.say(2, id, "canceled");
    assert_eq!(state(&server, id), "canceled");
}

#[test]
fn what_the_device_runs_is_the_truth_also_after_its_action_was_taken_from_it() {
    let (server, _, device) = start();
    let id = fetched(&server, &device, "1", &json!({}));
    operator::cancel(server.admin(), id, true);
    assert_eq!(state(&server, id), "canceled");
    device.say(1, id, "downloading");
    assert_eq!(state(&server, id), "canceled");
    device.say(2, id, "committed");
    assert_eq!(state(&server, id), "finished");
    assert_eq!(server.admin().get("/devices/sn-1").expect(200).at("/release"), json!("os@1"));
}

#[test]
fn a_download_only_action_ends_when_it_is_downloaded_and_counts_as_installed_when_it_is() {
    let (server, _, device) = start();
    let id = fetched(&server, &device, "1", &json!({ "push": "download_only" }));
    assert_eq!(device.orders()["action"]["terms"], json!({ "download": true, "install": false, "forced": true }));
    device.say(1, id, "downloaded");
    assert_eq!(state(&server, id), "downloaded");
    device.say(2, id, "committed");
    assert_eq!(state(&server, id), "finished");
    assert_eq!(server.admin().get("/devices/sn-1").expect(200).at("/release"), json!("os@1"));
}

#[test]
fn consent_is_asked_for_and_given_or_denied() {
    let (server, _, device) = start();
    set_project(server.admin(), &json!({ "confirmation": true }));
    let release = publish(server.admin(), "os", "1", (FILE, CONTENT));
    roll_out(server.admin(), &release, "sn-1", &json!({ "confirmation": true }));
    let id = device.ordered("confirm");
    let shown = device.get(&format!("/actions/{id}")).expect(200);
    assert_eq!(shown.at("/terms"), json!({ "download": false, "install": false, "forced": false }));
    assert_eq!(state(&server, id), "awaiting_confirmation");
    device.say(1, id, "denied");
    device.say(2, id, "downloading");
    assert_eq!(device.ordered("confirm"), id);
    device.say(3, id, "consented");
    assert_eq!(device.ordered("install"), id);
    let texts = texts(&server, id);
    assert!(texts[1].contains("changed nothing: the action waits for confirmation"), "{texts:?}");
    assert_eq!(texts[2], "consented");
}

#[test]
fn attributes_are_merged_removed_and_replaced_and_all_of_them_end_the_request() {
    let (server, _, device) = start();
    let attributes = || server.admin().get("/devices/sn-1").expect(200).at("/attributes");
    let _ = device.report(1, &[json!({ "kind": "attributes", "set": { "a": "1", "b": "2" } })]).expect(200);
    assert_eq!(attributes(), json!({ "a": "1", "b": "2" }));
    assert_eq!(device.orders()["attributes"], json!(true), "a difference does not answer a request for all");
    let said = json!({ "kind": "attributes", "set": { "a": "3" }, "removed": ["b", "never there"] });
    let _ = device.report(2, &[said]).expect(200);
    assert_eq!(attributes(), json!({ "a": "3" }));
    let _ = device.report(3, &[json!({ "kind": "attributes", "all": true, "set": { "c": "4" } })]).expect(200);
    assert_eq!(attributes(), json!({ "c": "4" }));
    assert_eq!(device.orders()["attributes"], Value::Null);
    let _ = device.report(4, &[json!({ "kind": "attributes", "all": true })]).expect(200);
    assert_eq!(attributes(), json!({}));
    let _ = server.admin().post("/devices/sn-1/request-attributes", &json!({})).expect(204);
    assert_eq!(device.orders()["attributes"], json!(true));
}

#[test]
fn progress_is_counted_in_bytes_however_many() {
    let (server, _, device) = start();
    let id = fetched(&server, &device, "1", &json!({}));
    for (sequence, progress) in [
        (1, json!({ "done": 6_000_000_000_u64, "of": 8_000_000_000_u64 })),
        (2, json!({ "done": u64::MAX, "of": u64::MAX })),
    ] {
        let mut report = said(id, "downloading");
        report["progress"] = progress.clone();
        let _ = device.report(sequence, &[report]).expect(200);
        let shown = action(server.admin(), id)["progress"].clone();
        let most = json!({ "done": i64::MAX, "of": i64::MAX });
        assert_eq!(shown, if sequence == 1 { progress } else { most });
    }
}

#[test]
fn two_devices_with_one_identity_are_noticed_and_kept_out_until_somebody_has_looked() {
    let (server, _, device) = start();
    let say = |queue: &str, sequence: u64| {
        let told = json!({ "kind": "attributes", "set": { "boots": sequence.to_string() } });
        device.post("/reports", &batch(queue, sequence, &[told]))
    };
    let _ = say("original", 1).expect(200);
    // A device that has lost its state begins a new queue, and goes on with it.
    let _ = say("copy", 1).expect(200);
    let _ = say("copy", 2).expect(200);
    let _ = say("original", 2).expect(200);
    let refused = say("copy", 3).expect(403);
    assert_eq!(refused.code(), "quarantined");
    let known = server.admin().get("/devices/sn-1").expect(200);
    assert_eq!(known.at("/state"), json!("quarantined"));
    assert_eq!(known.at("/attributes/boots"), json!("2"));
    assert!(known.at("/hold/reason").as_str().unwrap().contains("two devices"), "{known}");
    let why = server.admin().get("/devices/sn-1/why").expect(200);
    assert!(why.text().contains("quarantine"), "{why}");
    let _ = server.admin().post("/devices/sn-1/accept", &json!({})).expect(200);
    let _ = say("copy", 3).expect(200);
}
