//! Who comes in, with what, and how often?

use muster_tests::agent::{Device, join, joined};
use muster_tests::api::Api;
use muster_tests::ddi;
use muster_tests::operator::{add_device, make_gateway_token, set_project};
use muster_tests::server::Server;
use muster_tests::wait::until;
use serde_json::{Value, json};

#[track_caller]
fn join_token(admin: &Api, name: &str, more: &Value) -> String {
    let mut request = json!({ "name": name, "life_s": 3600 });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = admin.post("/join-tokens", &request).expect(201);
    made.at("/secret").as_str().unwrap().to_owned()
}

fn uses(admin: &Api, name: &str) -> (Value, Value) {
    let items = admin.get("/join-tokens").expect(200).at("/items");
    let token = items.as_array().unwrap().iter().find(|token| token["name"] == name).unwrap().clone();
    (token["uses"].clone(), token["uses_left"].clone())
}

#[test]
fn a_join_token_lets_in_as_many_devices_as_it_says_and_gives_them_its_labels() {
    let server = Server::start();
    let admin = server.admin();
    let token = join_token(admin, "line-3", &json!({ "uses": 2, "labels": { "site": "berlin" } }));
    for name in ["sn-1", "sn-2"] {
        let device = joined(&server, &token, name);
        assert_eq!(device.orders()["action"], Value::Null);
        let known = admin.get(&format!("/devices/{name}")).expect(200);
        assert_eq!((known.at("/state"), known.at("/labels/site")), (json!("accepted"), json!("berlin")));
    }
    let refused = join(&server, &token, "sn-3").expect(401);
    assert_eq!(refused.code(), "join_refused");
    assert!(refused.text().contains("line-3 is used up"), "{refused}");
    let _ = admin.get("/devices/sn-3").expect(404);
    assert_eq!(uses(admin, "line-3"), (json!(2), json!(0)));
}

#[test]
fn a_token_of_nobody_or_of_a_deleted_name_lets_nobody_in() {
    let server = Server::start();
    let admin = server.admin();
    let token = join_token(admin, "a", &json!({}));
    let _ = joined(&server, &token, "sn-1");
    let _ = admin.delete("/join-tokens/a").expect(204);
    let _ = admin.delete("/join-tokens/a").expect(404);
    for wrong in [token.as_str(), "", "mjt_nonsense", admin.token().unwrap()] {
        assert_eq!(join(&server, wrong, "sn-2").expect(401).code(), "join_refused");
    }
    let elsewhere = json!({ "token": token, "project": "elsewhere", "device": "sn-2" });
    let nobody = Device::new(&server.origin(), "");
    assert_eq!(nobody.post("/join", &elsewhere).expect(401).code(), "join_refused");
    for name in ["", "..", "a/b", "a\nb", &"n".repeat(257)] {
        let body = json!({ "token": join_token(admin, "b", &json!({})), "project": "default", "device": name });
        assert_eq!(nobody.post("/join", &body).expect(400).code(), "bad_input");
        let _ = admin.delete("/join-tokens/b").expect(204);
    }
}

#[test]
fn a_lost_answer_may_be_asked_for_again_but_a_device_that_came_in_is_not_replaced() {
    let server = Server::start();
    let admin = server.admin();
    let token = join_token(admin, "a", &json!({ "uses": 1 }));
    let lost = joined(&server, &token, "sn-1");
    // It never got that answer: the same secret gives it another, and is not counted twice.
    let device = joined(&server, &token, "sn-1");
    assert_eq!(uses(admin, "a"), (json!(1), json!(0)));
    let _ = lost.get("/orders").expect(401);
    let _ = device.get("/orders").expect(200);
    let refused = join(&server, &token, "sn-1").expect(409);
    assert!(refused.text().contains("muster device token sn-1"), "{refused}");
    let _ = device.get("/orders").expect(200);

    let other = join_token(admin, "b", &json!({}));
    add_device(admin, "by-hand");
    let _ = join(&server, &other, "by-hand").expect(409);
    let _ = admin.delete("/devices/sn-1").expect(204);
    let _ = device.get("/orders").expect(401);
    let again = joined(&server, &other, "sn-1");
    let _ = again.get("/orders").expect(200);
}

#[test]
fn a_secret_made_by_hand_is_the_last_part_of_a_device_token() {
    let server = Server::start();
    let admin = server.admin();
    let device = joined(&server, &join_token(admin, "a", &json!({})), "sn 1.0/é".replace('/', "-").as_str());
    let made = admin.post("/devices/sn%201.0-%C3%A9/token", &json!({})).expect(200).at("/token");
    let _ = device.get("/orders").expect(401);
    let (rest, _) = device.token.rsplit_once('.').unwrap();
    let renewed = Device::new(&server.origin(), &format!("{rest}.{}", made.as_str().unwrap()));
    let _ = renewed.get("/orders").expect(200);
}

#[test]
fn by_the_gateway_token_devices_come_in_as_the_project_says() {
    let server = Server::start();
    let admin = server.admin();
    let gateway = make_gateway_token(admin);
    set_project(admin, &json!({ "registration": "wait" }));
    let first = joined(&server, &gateway, "sn-1");
    assert_eq!(first.orders()["action"], Value::Null);
    // It waits for a person, lost its state, and comes again.
    let device = joined(&server, &gateway, "sn-1");
    let _ = first.get("/orders").expect(401);
    let _ = admin.post("/devices/sn-1/accept", &json!({})).expect(200);
    let _ = device.get("/orders").expect(200);
    let _ = join(&server, &gateway, "sn-1").expect(409);
    let _ = admin.post("/devices/sn-1/reject", &json!({})).expect(200);
    assert_eq!(device.get("/orders").expect(403).code(), "rejected");
    assert_eq!(join(&server, &gateway, "sn-1").expect(403).code(), "rejected");
    set_project(admin, &json!({ "registration": "refuse" }));
    let refused = join(&server, &gateway, "sn-2").expect(401);
    assert!(refused.text().contains("join token"), "{refused}");
}

#[test]
fn a_device_that_came_by_hawkbits_protocol_joins_with_the_gateway_token_it_had() {
    let server = Server::start();
    let admin = server.admin();
    set_project(admin, &json!({ "registration": "accept" }));
    let gateway = make_gateway_token(admin);
    let before = ddi::Device::new(&server.origin(), "sn-1").with_gateway_token(&gateway);
    let _ = before.poll().expect(200);
    let foreign = join_token(admin, "a", &json!({}));
    let _ = join(&server, &foreign, "sn-1").expect(409);
    let device = joined(&server, &gateway, "sn-1");
    let _ = device.get("/orders").expect(200);
    let _ = join(&server, &gateway, "sn-1").expect(409);
}

#[test]
fn two_devices_can_not_share_the_last_use_of_a_join_token() {
    let server = Server::start();
    let token = join_token(server.admin(), "a", &json!({ "uses": 1 }));
    let answers: Vec<u16> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..8)
            .map(|at| {
                let (server, token) = (&server, &token);
                scope.spawn(move || join(server, token, &format!("sn-{at}")).status)
            })
            .collect();
        asked.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(answers.iter().filter(|status| **status == 201).count(), 1, "{answers:?}");
    let known = server.admin().get("/devices:count?select=all").expect(200);
    assert_eq!(known.at("/count"), json!(1));
}

#[test]
fn making_join_tokens_needs_the_scope_and_good_sense_and_is_in_the_audit_log() {
    let server = Server::start();
    let admin = server.admin();
    let body = json!({ "name": "reader", "scopes": ["read"], "life_s": 3600 });
    let reader = admin.with_token(admin.post("/tokens", &body).expect(201).at("/secret").as_str().unwrap());
    let wanted = json!({ "name": "a", "life_s": 3600 });
    assert_eq!(reader.post("/join-tokens", &wanted).expect(403).code(), "not_allowed");
    let _ = reader.delete("/join-tokens/a").expect(403);
    let _ = reader.get("/join-tokens").expect(200);
    for bad in [
        json!({ "name": "a b", "life_s": 3600 }),
        json!({ "name": "a", "life_s": 1 }),
        json!({ "name": "a", "life_s": u64::MAX }),
        json!({ "name": "a", "life_s": 3600, "uses": 0 }),
        json!({ "name": "a", "life_s": 3600, "uses": u64::MAX }),
        json!({ "name": "a", "life_s": 3600, "labels": { "": "x" } }),
    ] {
        let _ = admin.post("/join-tokens", &bad).expect(400);
    }
    let token = join_token(admin, "a", &json!({}));
    let _ = admin.post("/join-tokens", &wanted).expect(409);
    let listed = reader.get("/join-tokens").expect(200);
    assert!(!listed.text().contains(&token) && listed.text().contains("\"a\""), "{listed}");
    let _ = joined(&server, &token, "sn-1");
    let _ = admin.delete("/join-tokens/a").expect(204);
    let audit = until("the audit log has it all", || {
        let items = admin.get("/audit?limit=500").expect(200).at("/items");
        let actions: Vec<String> =
            items.as_array()?.iter().map(|row| row["action"].as_str().unwrap_or_default().to_owned()).collect();
        actions.iter().any(|action| action == "join-token.delete").then_some(actions)
    });
    for action in ["join-token.create", "device.register"] {
        assert!(audit.iter().any(|found| found == action), "{action} is missing in {audit:?}");
    }
}
