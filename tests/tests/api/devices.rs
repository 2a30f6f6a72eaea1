//! Devices come in, are labelled, turned away and removed.

use muster_tests::ddi::Device;
use muster_tests::field::{CONTENT, FILE, Field, NAME};
use muster_tests::operator::{action_in, make_gateway_token, publish, roll_out, rollout_in, set_project, why};
use muster_tests::server::Server;
use serde_json::{Map, Value, json};

/// A server that devices of these names have knocked at.
fn knocked_at_by(names: &[&str]) -> (Server, Vec<Device>) {
    let server = Server::start();
    set_project(server.admin(), &json!({ "registration": "wait" }));
    let token = make_gateway_token(server.admin());
    let devices = names.iter().map(|name| Device::new(&server.origin(), name).with_gateway_token(&token));
    let devices: Vec<Device> = devices.collect();
    for device in &devices {
        let _ = device.poll().expect(200);
    }
    (server, devices)
}

fn names(server: &Server, state: &str) -> Vec<Value> {
    let page = server.admin().get(&format!("/devices?select=state%3D%3D{state}")).expect(200);
    page.at("/items").as_array().unwrap().iter().map(|device| device["name"].clone()).collect()
}

#[test]
fn a_device_that_knocks_waits_until_somebody_lets_it_in() {
    let (server, devices) = knocked_at_by(&["sn-1", "sn-2"]);
    assert_eq!(names(&server, "pending"), ["sn-1", "sn-2"]);
    assert_eq!(why(server.admin(), "sn-1").0, ["waits_for_acceptance"]);
    let accepted = server.admin().post("/devices/sn-1/accept", &json!({})).expect(200);
    assert_eq!(accepted.at("/state"), "accepted");
    assert_eq!(names(&server, "pending"), ["sn-2"]);
    let _ = devices[0].put("/configData", &json!({ "data": { "board": "box" } })).expect(200);
}

#[test]
fn waiting_devices_are_let_in_by_selector() {
    let (server, _) = knocked_at_by(&["gw-1", "gw-2", "cam-1"]);
    let bulk = server.admin().post("/devices:accept", &json!({ "select": "name like gw-*" })).expect(200);
    assert_eq!(bulk.at("/changed"), json!(2));
    assert_eq!(names(&server, "accepted"), ["gw-1", "gw-2"]);
    let again = server.admin().post("/devices:accept", &json!({ "select": "name like gw-*" })).expect(200);
    assert_eq!(again.at("/changed"), json!(0));
    let rest = server.admin().post("/devices:reject", &json!({ "select": "all" })).expect(200);
    assert_eq!(rest.at("/changed"), json!(1), "only who waits is turned away");
    assert_eq!(names(&server, "rejected"), ["cam-1"]);
    assert_eq!(server.admin().get("/devices:count").expect(200).at("/count"), json!(3));
}

#[test]
fn a_rejected_device_gets_nothing_until_it_is_accepted() {
    let field = Field::new();
    let offer = field.running("1");
    let rejected = field.admin().post(&format!("/devices/{NAME}/reject"), &json!({})).expect(200);
    assert_eq!(rejected.at("/state"), "rejected");
    let _ = field.device.get("").expect(403);
    let _ = field.device.get(&offer.link).expect(403);
    assert_eq!(why(field.admin(), NAME).0[0], "rejected");
    let _ = field.admin().post(&format!("/devices/{NAME}/accept"), &json!({})).expect(200);
    let _ = field.device.get("").expect(200);
}

#[test]
fn a_deleted_device_frees_its_name_and_its_rollout_keeps_its_counts() {
    let field = Field::new();
    let offer = field.running("1");
    let _ = field.admin().delete(&format!("/devices/{NAME}")).expect(204);
    let _ = field.admin().get(&format!("/devices/{NAME}")).expect(404);
    let _ = field.device.get("").expect(401);
    let rollout = field.admin().get(&format!("/rollouts/{}", offer.rollout)).expect(200);
    let counts = rollout.at("/waves/0/counts");
    assert_eq!((&counts["total"], &counts["canceled"]), (&json!(1), &json!(1)), "{rollout}");
    let successor = field.another(NAME);
    let _ = successor.get("").expect(200);
    assert_eq!(successor.link("deploymentBase"), None);
    let second = roll_out(field.admin(), "os@1", NAME, &json!({}));
    let _ = action_in(field.admin(), &second, NAME, &["offered"]);
    let first = field.admin().get(&format!("/rollouts/{}", offer.rollout)).expect(200);
    assert_eq!(first.at("/waves/0/counts/total"), json!(1), "{first}");
}

#[test]
fn a_rollout_whose_only_device_is_deleted_does_not_wait_for_it() {
    let field = Field::new();
    let offer = field.running("1");
    let _ = field.admin().delete(&format!("/devices/{NAME}")).expect(204);
    let _ = rollout_in(field.admin(), &offer.rollout, "finished");
}

#[test]
fn labels_are_merged_and_null_removes_one() {
    let field = Field::new();
    let path = format!("/devices/{NAME}");
    let set = |labels: Value| field.admin().patch(&path, &json!({ "labels": labels })).expect(200).at("/labels");
    assert_eq!(set(json!({ "site": "berlin", "rack": "7" })), json!({ "site": "berlin", "rack": "7" }));
    assert_eq!(set(json!({ "rack": null, "room": "" })), json!({ "site": "berlin", "room": "" }));
    assert_eq!(set(json!({ "ghost": null })), json!({ "site": "berlin", "room": "" }));
    assert_eq!(set(json!({})), json!({ "site": "berlin", "room": "" }));
}

#[test]
fn more_labels_than_64_or_too_long_ones_are_refused() {
    let field = Field::new();
    let path = format!("/devices/{NAME}");
    let labels = |count: usize| -> Map<String, Value> { (0..count).map(|at| (format!("k{at}"), json!("v"))).collect() };
    let _ = field.admin().patch(&path, &json!({ "labels": labels(64) })).expect(200);
    let bad = [
        json!({ "one-more": "v" }),
        json!({ "k0": "v".repeat(257) }),
        json!({ "k".repeat(65): "v" }),
        json!({ "": "v" }),
        json!({ "k0": 7 }),
        json!({ "k0": ["v"] }),
    ];
    for labels in bad {
        let refused = field.admin().patch(&path, &json!({ "labels": labels })).expect(400);
        assert_eq!(refused.code(), "bad_input", "{refused}");
    }
    let swapped = json!({ "labels": { "k0": null, "one-more": "v" } });
    let kept = field.admin().patch(&path, &swapped).expect(200);
    assert_eq!(kept.at("/labels").as_object().unwrap().len(), 64);
    let born = json!({ "name": "sn-2", "labels": labels(65) });
    assert_eq!(field.admin().post("/devices", &born).expect(400).code(), "bad_input");
}

#[test]
fn a_new_token_takes_the_place_of_the_old() {
    let field = Field::new();
    let made = field.admin().post(&format!("/devices/{NAME}/token"), &json!({})).expect(200);
    let _ = field.device.get("").expect(401);
    let renewed = Device::new(&field.server.origin(), NAME).with_target_token(made.at("/token").as_str().unwrap());
    let _ = renewed.get("").expect(200);
}

#[test]
fn a_name_is_taken_once_and_has_to_be_one() {
    let field = Field::new();
    assert_eq!(field.admin().post("/devices", &json!({ "name": NAME })).expect(409).code(), "exists");
    for name in [String::new(), "a/b".into(), "a\nb".into(), "n".repeat(257), "..".into()] {
        let refused = field.admin().post("/devices", &json!({ "name": name })).expect(400);
        assert_eq!((refused.code().as_str(), refused.at("/field")), ("bad_input", json!("name")), "{refused}");
    }
}

#[test]
fn the_timeline_tells_what_happened_and_survives_a_kill() {
    let mut field = Field::new();
    let _ = publish(field.admin(), "app", "1", (FILE, CONTENT));
    let offer = field.running("1");
    let _ = field.device.report("deploymentBase", offer.action, ("closed", "success")).expect(200);
    field.server.kill();
    field.server.restart();
    let page = field.admin().get(&format!("/devices/{NAME}/timeline")).expect(200);
    let entries = page.at("/items").as_array().cloned().unwrap();
    assert!(entries.iter().any(|entry| entry["rollout"] == json!(offer.rollout)), "{page}");
    assert_eq!(field.admin().get(&format!("/devices/{NAME}")).expect(200).at("/release"), "os@1");
}
