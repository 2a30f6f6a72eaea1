//! What a device tells about itself.

use std::collections::BTreeMap;

use muster_tests::exchange::Payload;
use muster_tests::field::Field;
use serde_json::{Value, json};

fn attributes(field: &Field) -> Value {
    field.admin().get("/devices/sn-1").expect(200).at("/attributes")
}

#[test]
fn merge_replace_and_remove_do_what_they_say() {
    let field = Field::new();
    let put = |body: Value| field.device.put("/configData", &body).expect(200);
    let _ = put(json!({ "data": { "a": "1", "b": "1" } }));
    assert_eq!(attributes(&field), json!({ "a": "1", "b": "1" }));
    let _ = put(json!({ "mode": "merge", "data": { "b": "2", "c": "2" } }));
    assert_eq!(attributes(&field), json!({ "a": "1", "b": "2", "c": "2" }));
    let _ = put(json!({ "mode": null, "data": { "c": "3" } }));
    assert_eq!(attributes(&field), json!({ "a": "1", "b": "2", "c": "3" }));
    let _ = put(json!({ "mode": "remove", "data": { "a": "whatever", "unknown": "" } }));
    assert_eq!(attributes(&field), json!({ "b": "2", "c": "3" }));
    let _ = put(json!({ "mode": "replace", "data": { "d": "4" } }));
    assert_eq!(attributes(&field), json!({ "d": "4" }));
}

#[test]
fn what_makes_no_sense_is_400_and_changes_nothing() {
    let field = Field::new();
    let _ = field.device.put("/configData", &json!({ "data": { "a": "1" } })).expect(200);
    let long = "x".repeat(129);
    let bodies = [
        json!({}),
        json!({ "data": {} }),
        json!({ "data": null }),
        json!({ "data": [] }),
        json!({ "data": { "a": 1 } }),
        json!({ "data": { "a": null } }),
        json!({ "mode": "increase", "data": { "a": "2" } }),
        json!({ "mode": 1, "data": { "a": "2" } }),
        json!({ "data": { "a": "2", long.clone(): "x" } }),
        json!({ "data": { "a": "2", "b": long } }),
        json!({ "data": { "a": "2", "": "x" } }),
        json!([]),
        json!("data"),
    ];
    for body in bodies {
        let _ = field.device.put("/configData", &body).expect(400);
    }
    assert_eq!(attributes(&field), json!({ "a": "1" }));
}

#[test]
fn keys_and_values_of_128_characters_fit() {
    let field = Field::new();
    let full = "ü".repeat(128);
    let _ = field.device.put("/configData", &json!({ "data": { full.clone(): full.clone() } })).expect(200);
    assert_eq!(attributes(&field)[&full], json!(full));
}

#[test]
fn ten_thousand_keys_are_refused_whole() {
    let field = Field::new();
    let keys: BTreeMap<String, &str> = (0..10_000).map(|n| (format!("key-{n}"), "v")).collect();
    let _ = field.device.put("/configData", &json!({ "data": keys })).expect(400);
    assert_eq!(attributes(&field), json!({}));
    let _ = field.device.poll().expect(200);
}

#[test]
fn attributes_can_not_grow_without_end_over_many_requests() {
    let field = Field::new();
    let mut statuses = Vec::new();
    for round in 0..4 {
        let keys: BTreeMap<String, &str> = (0..100).map(|n| (format!("key-{round}-{n}"), "v")).collect();
        statuses.push(field.device.put("/configData", &json!({ "data": keys })).status);
    }
    assert_eq!(statuses, [200, 200, 400, 400]);
}

#[test]
fn old_clients_send_more_than_they_should() {
    let field = Field::new();
    // Word for word what swupdate sends.
    let body = br#"{ "id": "", "time": "20261123T014732", "status": { "result": { "finished": "success" },
        "execution": "closed", "details" : [ "" ] }, "data" : {  "site": "north","board": "box" } }"#;
    let headers = [("charsets", "utf-8"), ("accept", "application/json")];
    let sent = Payload::Bytes("application/json", body);
    let _ = field.device.send("PUT", "/configData", &headers, sent).expect(200);
    assert_eq!(attributes(&field), json!({ "site": "north", "board": "box" }));
}

#[test]
fn it_is_asked_for_at_first_contact_after_a_success_and_when_an_operator_wants() {
    let field = Field::new();
    let is_asked = || field.device.link("configData").is_some();
    let tell = || {
        let _ = field.device.put("/configData", &json!({ "data": { "a": "1" } })).expect(200);
    };
    assert!(is_asked(), "at first contact");
    tell();
    assert!(!is_asked(), "once told");
    let offer = field.running("1");
    let _ = field.device.report("deploymentBase", offer.action, ("closed", "success")).expect(200);
    assert!(is_asked(), "after a success");
    tell();
    assert!(!is_asked());
    let asked = field.admin().post("/devices/sn-1/request-attributes", &json!({}));
    assert!(asked.is_success(), "{asked}");
    assert!(is_asked(), "when an operator wants");
    tell();
    assert!(!is_asked());
}

#[test]
fn a_refused_report_leaves_the_request_open() {
    let field = Field::new();
    let _ = field.device.put("/configData", &json!({ "data": {} })).expect(400);
    assert!(field.device.link("configData").is_some());
}
