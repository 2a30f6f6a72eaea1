//! The enrolment policy: who comes in by itself, who waits, and what a try-out says.

use muster_tests::agent::{Device, join};
use muster_tests::api::Api;
use muster_tests::server::Server;
use serde_json::{Value, json};

fn token(admin: &Api) -> String {
    let made = admin.post("/join-tokens", &json!({ "name": "line", "life_s": 3600 })).expect(201);
    made.at("/secret").as_str().unwrap().to_owned()
}

fn put(admin: &Api, rules: &Value) {
    let _ = admin.put("/enrollment-policy", &json!({ "rules": rules })).expect(200);
}

fn state(admin: &Api, name: &str) -> Value {
    admin.get(&format!("/devices/{name}")).expect(200).at("/state")
}

#[test]
fn rules_by_serial_address_time_and_number_decide_and_give_labels() {
    let server = Server::start();
    let admin = server.admin();
    let token = token(admin);
    // Without a policy a join token lets in.
    assert_eq!(admin.get("/enrollment-policy").expect(200).at("/rules"), json!([]));
    let _ = join(&server, &token, "first").expect(201);
    assert_eq!(state(admin, "first"), json!("accepted"));
    put(
        admin,
        &json!([
            { "shows": "any", "until": "2020-01-01T00:00:00Z", "then": "refuse" },
            { "shows": "any", "addresses": ["192.0.2.0/24"], "then": "refuse" },
            { "shows": "token", "serial": "BAD-*", "then": "refuse" },
            { "name": "line", "shows": "token", "serial": "SN-*", "addresses": ["127.0.0.0/8"], "per_hour_max": 2,
              "then": "accept", "labels": { "ring": "lab" }, "site": "oslo" },
            { "shows": "any", "then": "wait" }
        ]),
    );
    let _ = join(&server, &token, "BAD-1").expect(401);
    let _ = admin.get("/devices/BAD-1").expect(404);
    for name in ["SN-1", "SN-2", "SN-3", "other"] {
        let _ = join(&server, &token, name).expect(201);
    }
    let labels = admin.get("/devices/SN-2").expect(200).at("/labels");
    assert_eq!(labels, json!({ "ring": "lab", "site": "oslo" }));
    let states: Vec<Value> = ["SN-1", "SN-2", "SN-3", "other"].iter().map(|name| state(admin, name)).collect();
    assert_eq!(states, ["accepted", "accepted", "pending", "pending"].map(Value::from));
    let waiting = admin.get("/devices?select=state%20%3D%3D%20pending").expect(200).at("/items");
    assert_eq!(waiting.as_array().unwrap().len(), 2);
    let _ = Device::new(&server.origin(), "");
}

#[test]
fn a_try_out_says_what_would_happen_and_changes_nothing() {
    let server = Server::start();
    let admin = server.admin();
    put(
        admin,
        &json!([
            { "name": "night", "shows": "claim", "from": "2026-01-01T22:00:00Z", "until": "2026-01-02T05:00:00Z",
              "then": "wait", "site": "oslo" },
            { "shows": "est", "select": "attribute.hw == box-2", "then": "refuse" }
        ]),
    );
    let test = |facts: Value| admin.post("/enrollment-policy/test", &facts).expect(200);
    let night = test(json!({ "name": "x", "shows": "claim", "at": "2026-01-01T23:00:00Z" }));
    assert_eq!((night.at("/verdict"), night.at("/rule"), night.at("/name")), (json!("wait"), json!(1), json!("night")));
    assert_eq!(night.at("/labels/site"), json!("oslo"));
    let day = test(json!({ "name": "x", "shows": "claim", "at": "2026-01-01T12:00:00Z" }));
    assert_eq!((day.at("/verdict"), day.at("/rule")), (json!("accept"), Value::Null));
    let est = json!({ "name": "x", "shows": "token", "est": true, "attributes": { "hw": "box-2" } });
    assert_eq!(test(est).at("/verdict"), json!("refuse"));
    let other = json!({ "name": "x", "shows": "token", "rules": [{ "shows": "any", "then": "wait" }] });
    assert_eq!(test(other).at("/verdict"), json!("wait"));
    let _ = admin.get("/devices/x").expect(404);
    let _ = admin.post("/enrollment-policy/test", &json!({ "name": "x", "shows": "any" })).expect(400);
    for bad in [
        json!([{ "shows": "any", "then": "wait", "addresses": ["10.0.0.0/40"] }]),
        json!([{ "shows": "any", "then": "wait", "select": "hw ==" }]),
        json!([{ "shows": "any", "then": "accept", "per_hour_max": 0 }]),
        json!([{ "shows": "any", "then": "smile" }]),
    ] {
        let _ = admin.put("/enrollment-policy", &json!({ "rules": bad })).expect(400);
    }
    assert_eq!(admin.get("/enrollment-policy").expect(200).at("/rules/0/name"), json!("night"));
}
