//! Are collectors and receivers of others told of every audit record, whatever fails in between?

use std::collections::BTreeSet;

use muster_tests::collector::Collector;
use muster_tests::exchange::{Payload, agent, exchange};
use muster_tests::operator::set_project;
use muster_tests::receiver::Receiver;
use muster_tests::server::Server;
use muster_tests::wait::until_true;
use serde_json::{Value, json};

const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// One more record.
fn change(server: &Server, interval_s: u32) {
    set_project(server.admin(), &json!({ "poll_interval_s": interval_s }));
}

fn newest(server: &Server) -> u64 {
    server.admin().get("/audit?limit=1").expect(200).at("/items/0/sequence").as_u64().unwrap()
}

/// The record in a message of the collector.
fn record(message: &Value) -> Value {
    let text = message["msg"].as_str().unwrap().trim().trim_start_matches('\u{feff}');
    serde_json::from_str(text).unwrap_or_else(|bad| panic!("{bad}: {message}"))
}

fn is_complete(sequences: &BTreeSet<u64>, newest: u64) -> bool {
    (1..=newest).all(|sequence| sequences.contains(&sequence))
}

#[test]
fn a_syslog_collector_gets_every_record_also_those_made_while_it_was_away() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start(folder.path(), 0);
    let (port, certificate) = (collector.port, collector.certificate());
    let server = Server::start_with(&[
        "--audit-syslog",
        &format!("127.0.0.1:{port}"),
        "--audit-certificates",
        certificate.to_str().unwrap(),
    ]);
    change(&server, 61);
    let has_all = |collector: &Collector, newest: u64| {
        let told = collector.collected();
        is_complete(&told.iter().filter_map(|message| record(message)["sequence"].as_u64()).collect(), newest)
    };
    let first = newest(&server);
    until_true("the collector has all records", || has_all(&collector, first));
    let told = collector.collected();
    let message = told.iter().find(|message| record(message)["sequence"] == first).unwrap();
    assert_eq!((&message["app-name"], &message["msgid"]), (&json!("muster"), &json!("project.change")), "{message}");
    assert_eq!(message["syslogfacility"], json!("13"), "{message}");
    let data = &message["$!"]["rfc5424-sd"]["muster@32473"];
    assert_eq!((&data["project"], &data["sequence"]), (&json!("default"), &json!(first.to_string())), "{message}");
    assert_eq!(data["digest"], record(message)["digest"], "{message}");
    drop(collector);
    for interval_s in 62..70 {
        change(&server, interval_s);
    }
    let collector = Collector::start(folder.path(), port);
    let last = newest(&server);
    until_true("the collector has the records made while it was away", || has_all(&collector, last));
}

#[test]
fn a_webhook_gets_every_record_signed_also_after_its_own_faults_and_ours() {
    let mut receiver = Receiver::start(KEY);
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("webhook.key");
    std::fs::write(&key, KEY).unwrap();
    let url = format!("http://127.0.0.1:{}/in", receiver.port);
    let mut server = Server::start_with(&["--audit-webhook", &url, "--audit-webhook-key-file", key.to_str().unwrap()]);
    let sequences = |receiver: &Receiver| -> BTreeSet<u64> {
        let told = receiver.told();
        let taken = told.iter().filter(|told| told["status"] == 204);
        taken
            .filter_map(|told| told["events"].as_array())
            .flatten()
            .filter_map(|event| event["data"]["sequence"].as_u64())
            .collect()
    };
    change(&server, 61);
    let first = newest(&server);
    until_true("the receiver has all records", || is_complete(&sequences(&receiver), first));
    let told = receiver.told();
    let batch = told.iter().find(|told| told.get("events").is_some()).unwrap();
    assert_eq!(batch["type"], "application/cloudevents-batch+json", "{batch}");
    assert_eq!(batch["events"][0]["source"], "muster/default", "{batch}");
    assert!(told.iter().all(|told| told.get("events") != Some(&Value::Null)), "a signature was wrong: {told:?}");
    receiver.answer(503);
    change(&server, 62);
    until_true("the record waits", || {
        let address = format!("{}/metrics", server.origin());
        let metrics = exchange(&agent(), "GET", &address, &[], Payload::None).unwrap().text();
        let line = metrics.lines().find_map(|line| line.strip_prefix("muster_audit_webhook_waiting "));
        line.is_some_and(|waiting| waiting != "0")
    });
    server.kill();
    server.restart();
    change(&server, 63);
    receiver.answer(204);
    let last = newest(&server);
    until_true("the receiver has what waited", || is_complete(&sequences(&receiver), last));
}

#[test]
fn a_stream_that_can_never_work_is_refused_at_the_start() {
    let mut server = Server::start();
    let _ = server.stop();
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("webhook.key");
    std::fs::write(&key, "secret").unwrap();
    server.set_environment(&[
        ("MUSTER_AUDIT_WEBHOOK", "https://siem.example.com/in"),
        ("MUSTER_AUDIT_WEBHOOK_KEY_FILE", key.to_str().unwrap()),
    ]);
    let said = server.fails_to_start();
    assert!(said.contains("a webhook's key is whsec_ and 24 to 64 random bytes in base64"), "{said}");
    server.set_environment(&[("MUSTER_AUDIT_WEBHOOK", "http://siem.example.com/in")]);
    let said = server.fails_to_start();
    assert!(said.contains("audit_webhook is an https address"), "{said}");
}
