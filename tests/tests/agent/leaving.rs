//! Devices that leave: what is void at once, what is destroyed, and what another project learns.

use muster_tests::agent::{Device as Plain, batch, joined};
use muster_tests::api::Api;
use muster_tests::field::{Field, NAME};
use muster_tests::operator::{add_device, publish, roll_out, set_project};
use muster_tests::server::Server;
use muster_tests::wait::until_true;
use serde_json::{Value, json};

use super::identity::{Device, join_token, seen, start};

fn state(admin: &Api, name: &str) -> Value {
    admin.get(&format!("/devices/{name}")).expect(200).at("/state")
}

/// With data that may be destroyed, and some that may not.
fn device_with_data(server: &Server, words: &[&str]) -> Device {
    let device = Device::new("sn-1");
    let at = device.folder.path();
    for name in ["data/customer/records", "data/cache", "precious"] {
        let path = at.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "of a customer").unwrap();
    }
    let file = format!("{}\n[wipe]\npaths = [\"{}\"]\n", device.text("agent.toml"), at.join("data").display());
    std::fs::write(at.join("agent.toml"), file).unwrap();
    device.joined(server, words);
    device
}

fn audit(admin: &Api) -> Vec<Value> {
    admin.get("/audit?limit=500").expect(200).at("/items").as_array().cloned().unwrap()
}

fn has_record(admin: &Api, action: &str) -> bool {
    audit(admin).iter().any(|record| record["action"] == action)
}

#[test]
fn a_decommissioned_device_destroys_its_data_its_key_and_its_state_and_says_so() {
    let (server, pin) = start();
    let admin = server.admin();
    let token = join_token(admin);
    let words = ["--token", &token, "--pin", &pin];
    let mut device = device_with_data(&server, &words);
    device.run();
    until_true("it has told of itself", || admin.get("/devices/sn-1").expect(200).at("/attributes") != json!({}));
    let precious = device.folder.path().join("precious");
    let order = json!({
        "wipe": [device.folder.path().join("data/customer"), precious], "reason": "sold"
    });
    let ordered = admin.post("/devices/sn-1/decommission", &order).expect(200);
    assert_eq!(ordered.at("/waits_for_device"), json!(true));
    until_true("it is retired", || state(admin, "sn-1") == json!("retired"));
    assert!(!device.folder.path().join("data/customer").exists(), "the customer's data is still there");
    assert!(precious.exists(), "what the device's file doesn't allow was destroyed");
    assert!(device.folder.path().join("data/cache").exists(), "what nobody named was destroyed");
    assert_eq!(device.identity(), Value::Null, "its key is still there");
    assert!(!device.folder.path().join("state/state.0").exists());
    let told = admin.get("/devices/sn-1/decommission").expect(200);
    assert!(told.at("/refused/0").as_str().unwrap().contains("precious"), "{told}");
    assert_eq!((told.at("/reason"), told.at("/failed")), (json!("sold"), json!([])));
    assert_ne!(told.at("/done_at"), Value::Null);
    for action in ["device.decommission", "device.wipe-begin", "device.wipe-done"] {
        assert!(has_record(admin, action), "no record of {action}");
    }
    // Its name is free again only once it is deleted.
    device.stop();
    assert!(!device.join(&server, &words).status.success());
    let _ = admin.post("/devices/sn-1/accept", &json!({})).expect(409);
    let _ = admin.delete("/devices/sn-1").expect(204);
    device.joined(&server, &words);
    device.run();
    until_true("it is back", || seen(admin, "sn-1") != Value::Null);
}

#[test]
fn the_credentials_of_a_device_that_leaves_open_nothing_but_its_order() {
    let server = Server::start();
    let admin = server.admin();
    let token = admin.post("/join-tokens", &json!({ "name": "line", "life_s": 3600 })).expect(201).at("/secret");
    let device = joined(&server, token.as_str().unwrap(), "sn-1");
    let _ = device.get("/wipe").expect(404);
    let _ = device.report(1, &[json!({ "kind": "attributes", "set": { "a": "1" } })]).expect(200);
    let release = publish(admin, "app", "1", ("page", b"one"));
    let _ = roll_out(admin, &release, "sn-1", &json!({}));
    let action = device.ordered("install");
    let bad = admin.post("/devices/sn-1/decommission", &json!({ "wipe": ["/data/../etc"] })).expect(400);
    assert!(bad.text().contains("absolute path"), "{bad}");
    let _ = admin.post("/devices/sn-1/decommission", &json!({ "wipe": ["/data"] })).expect(200);
    let digest = muster_tests::operator::digest(b"one");
    for path in
        ["/orders".to_owned(), format!("/actions/{action}"), format!("/artifacts/{digest}"), "/configuration".into()]
    {
        assert_eq!(device.get(&path).expect(403).code(), "decommissioned", "{path}");
    }
    let told = json!({ "kind": "attributes", "set": { "a": "2" } });
    assert_eq!(device.post("/reports", &batch("q", 2, &[told])).expect(403).code(), "decommissioned");
    let ended = muster_tests::operator::action(admin, action);
    assert_eq!(ended["state"], "canceled", "{ended}");
    let _ = admin.post("/devices/sn-1/token", &json!({})).expect(409);

    assert_eq!(device.get("/wipe").expect(200).at("/paths"), json!(["/data"]));
    let lost = device.post("/wipe", &json!({ "refused": [] })).expect(200).at("/receipt");
    let receipt = device.post("/wipe", &json!({ "refused": [] })).expect(200).at("/receipt");
    let nobody = Plain::new(&server.origin(), "");
    let _ = nobody.post("/wipe/done", &json!({ "receipt": lost })).expect(404);
    assert_eq!(state(admin, "sn-1"), json!("retiring"));
    for _ in 0..2 {
        let _ = nobody.post("/wipe/done", &json!({ "receipt": receipt, "wiped": ["/data"] })).expect(204);
    }
    assert_eq!(state(admin, "sn-1"), json!("retired"));
    let _ = device.get("/wipe").expect(401);
}

#[test]
fn who_can_not_be_told_is_retired_at_once_and_the_operator_hears_that() {
    let field = Field::new();
    let admin = field.admin();
    let _ = field.device.get("").expect(200);
    let done = admin.post(&format!("/devices/{NAME}/decommission"), &json!({ "wipe_defaults": true })).expect(200);
    assert_eq!((done.at("/waits_for_device"), done.at("/device/state")), (json!(false), json!("retired")));
    let _ = field.device.get("").expect(401);
    let _ = admin.post(&format!("/devices/{NAME}/decommission"), &json!({})).expect(409);
}

fn other_project(server: &Server, name: &str) -> Api {
    let body = json!({ "name": name, "account": "bob", "password": "correct horse battery" });
    let _ = server.admin().post("/projects", &body).expect(201);
    let login = json!({ "account": "bob", "password": "correct horse battery", "project": name });
    let token = server.anonymous().post("/login", &login).expect(200).at("/token");
    let other = server.anonymous().with_token(token.as_str().unwrap());
    set_project(&other, &json!({ "poll_interval_s": 1 }));
    other
}

fn hand_over(from: &Api, to: &Api, more: &Value) -> muster_tests::exchange::Answer {
    let mut order = json!({ "to": "plant-b", "token": to.token().unwrap() });
    order.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    from.post("/devices/sn-1/transfer", &order)
}

#[test]
fn a_device_that_is_handed_over_keeps_its_key_and_nothing_of_its_past_is_seen() {
    let (server, pin) = start();
    let admin = server.admin();
    let token = join_token(admin);
    let mut device = Device::new("sn-1");
    device.joined(&server, &["--token", &token, "--pin", &pin]);
    device.run();
    let release = publish(admin, "app", "1", ("page", b"one"));
    roll_out(admin, &release, "sn-1", &json!({}));
    until_true("it runs the release", || admin.get("/devices/sn-1").expect(200).at("/release") == json!("app@1"));
    let _ = admin.patch("/devices/sn-1", &json!({ "labels": { "site": "oslo" } })).expect(200);
    let key = admin.get("/devices/sn-1").expect(200).at("/certificate/key");
    let other = other_project(&server, "plant-b");
    let _ = hand_over(admin, &other, &json!({})).expect(200);

    until_true("it polls in its new project", || seen(&other, "sn-1") != Value::Null);
    let there = other.get("/devices/sn-1").expect(200);
    assert_eq!((there.at("/state"), there.at("/certificate/key")), (json!("accepted"), key));
    assert_eq!((there.at("/labels/site"), there.at("/release")), (json!("oslo"), Value::Null));
    assert!(device.text("agent.toml").contains("project = \"plant-b\""), "{}", device.text("agent.toml"));
    until_true("it has told of itself", || other.get("/devices/sn-1").expect(200).at("/attributes") != json!({}));
    // The past stays where it was, and only there.
    let here = admin.get("/devices/sn-1").expect(200);
    assert_eq!((here.at("/state"), here.at("/release")), (json!("transferred"), json!("app@1")));
    assert_eq!(admin.get("/actions").expect(200).at("/items/0/device"), json!("sn-1"));
    let told = |of: &Api| of.get("/devices/sn-1/timeline").expect(200).at("/items").as_array().unwrap().len();
    assert!(told(admin) > told(&other), "{} here, {} there", told(admin), told(&other));
    assert_eq!(other.get("/actions").expect(200).at("/items"), json!([]));
    assert!(has_record(admin, "device.transfer") && has_record(&other, "device.take-over"));
    assert!(!has_record(&other, "device.register"), "the other project sees how it once joined");
    until_true("what it had opens nothing any more", || {
        admin.get("/devices/sn-1").expect(200).at("/certificate") == Value::Null
    });
    // It is one of the project's own from then on.
    let release = publish(&other, "app", "2", ("page", b"two"));
    roll_out(&other, &release, "sn-1", &json!({}));
    until_true("it runs the next release", || other.get("/devices/sn-1").expect(200).at("/release") == json!("app@2"));
}

#[test]
fn nobody_hands_a_device_over_without_the_right_in_both_projects() {
    let server = Server::start();
    let admin = server.admin();
    let _ = add_device(admin, "sn-1");
    let other = other_project(&server, "plant-b");
    let reader = other.post("/accounts", &json!({ "name": "eve", "scopes": ["read"] })).expect(201);
    let made = other.post("/tokens", &json!({ "account": "eve", "name": "t", "scopes": ["read"], "life_s": 3600 }));
    assert!(made.is_success(), "{reader} {made}");
    let reading = other.with_token(made.at("/secret").as_str().or(made.at("/token").as_str()).unwrap());
    let _ = hand_over(admin, &reading, &json!({})).expect(403);
    let wrong = json!({ "to": "plant-b", "token": admin.token().unwrap() });
    let _ = admin.post("/devices/sn-1/transfer", &wrong).expect(400);
    let absent = json!({ "to": "plant-c", "token": other.token().unwrap() });
    let _ = admin.post("/devices/sn-1/transfer", &absent).expect(400);
    let _ = add_device(&other, "sn-1");
    let _ = hand_over(admin, &other, &json!({})).expect(409);
    assert_eq!(state(admin, "sn-1"), json!("accepted"), "a refusal has changed something");
    let _ = other.delete("/devices/sn-1").expect(204);
    let taken = hand_over(admin, &other, &json!({ "drop_labels": true })).expect(200);
    assert_eq!(taken.at("/labels"), json!({}));
}

#[test]
fn a_device_with_a_token_follows_with_the_same_secret() {
    let server = Server::start();
    let admin = server.admin();
    let token = admin.post("/join-tokens", &json!({ "name": "line", "life_s": 3600 })).expect(201).at("/secret");
    let device = joined(&server, token.as_str().unwrap(), "sn-1");
    let _ = device.post("/transfer", &json!({})).expect(404);
    let other = other_project(&server, "plant-b");
    let _ = hand_over(admin, &other, &json!({})).expect(200);
    assert_eq!(device.get("/orders").expect(403).code(), "transferred");
    let own = device.post("/transfer", &json!({})).expect(200);
    assert_eq!(own.at("/project"), json!("plant-b"));
    let moved = Plain::new(&server.origin(), own.at("/token").as_str().unwrap());
    assert_eq!(moved.orders()["attributes"], json!(true));
    // A lost answer: it may ask again until it was heard there.
    let _ = device.post("/transfer", &json!({})).expect(200);
    let _ = moved.report(1, &[json!({ "kind": "attributes", "all": true, "set": {} })]).expect(200);
    let _ = device.post("/transfer", &json!({})).expect(401);
}
