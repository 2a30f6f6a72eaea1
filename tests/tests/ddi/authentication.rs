//! Who is let in?

use muster_tests::ddi::Device;
use muster_tests::field::{Field, NAME};
use muster_tests::operator::{make_gateway_token, set_project};
use muster_tests::server::Server;
use serde_json::{Value, json};

#[test]
fn a_device_shows_its_own_token_and_nothing_else_will_do() {
    let field = Field::new();
    let other = field.another("sn-2");
    let origin = field.server.origin();
    let bare = || Device::new(&origin, NAME);
    let _ = field.device.poll().expect(200);
    let _ = other.poll().expect(200);
    let _ = bare().poll().expect(401);
    let _ = bare().with_target_token("wrong").poll().expect(401);
    let _ = bare().with_target_token("").poll().expect(401);
    let _ = bare().with_gateway_token("wrong").poll().expect(401);
    for header in ["", "TargetToken", "Basic dXNlcjpwdw==", "Bearer x", "TargetToken  "] {
        let _ = bare().with_header("authorization", header).poll().expect(401);
    }
    let admins = field.admin().token().unwrap();
    let _ = bare().with_header("authorization", &format!("Bearer {admins}")).poll().expect(401);
    let _ = bare().with_target_token(admins).poll().expect(401);
}

#[test]
fn who_shows_nothing_valid_does_not_make_a_device_look_alive() {
    let field = Field::new();
    let seen = || field.admin().get("/devices/sn-1").expect(200).at("/last_seen");
    let _ = Device::new(&field.server.origin(), NAME).with_target_token("wrong").poll().expect(401);
    assert_eq!(seen(), Value::Null);
    let _ = field.device.poll().expect(200);
    assert_ne!(seen(), Value::Null);
}

#[test]
fn the_token_of_one_device_does_not_open_another() {
    let server = Server::start();
    let token = muster_tests::operator::add_device(server.admin(), "sn-1");
    muster_tests::operator::add_device(server.admin(), "sn-2");
    let _ = Device::new(&server.origin(), "sn-1").with_target_token(&token).poll().expect(200);
    let _ = Device::new(&server.origin(), "sn-2").with_target_token(&token).poll().expect(401);
}

#[test]
fn a_new_token_ends_the_old_one() {
    let server = Server::start();
    let old = muster_tests::operator::add_device(server.admin(), NAME);
    let answer = server.admin().post("/devices/sn-1/token", &json!({}));
    assert!(answer.is_success(), "{answer}");
    let new = answer.at("/token");
    let device = || Device::new(&server.origin(), NAME);
    let _ = device().with_target_token(&old).poll().expect(401);
    let _ = device().with_target_token(new.as_str().unwrap()).poll().expect(200);
}

#[test]
fn target_tokens_can_be_switched_off() {
    let field = Field::new();
    set_project(field.admin(), &json!({ "target_token": false }));
    let _ = field.device.poll().expect(401);
    set_project(field.admin(), &json!({ "target_token": true }));
    let _ = field.device.poll().expect(200);
}

#[test]
fn a_target_token_registers_nobody() {
    let field = Field::new();
    let stranger = Device::new(&field.server.origin(), "stranger").with_target_token("anything");
    let _ = stranger.poll().expect(401);
    let _ = field.admin().get("/devices/stranger").expect(404);
}

#[test]
fn an_unknown_project_is_refused_like_a_wrong_token() {
    let field = Field::new();
    let elsewhere = field.device.root().replace("/default/", "/nowhere/");
    let _ = field.device.send("GET", &elsewhere, &[], muster_tests::exchange::Payload::None).expect(401);
}

#[test]
fn with_the_gateway_token_an_unknown_device_waits_for_acceptance() {
    let server = Server::start();
    let token = make_gateway_token(server.admin());
    let device = Device::new(&server.origin(), "new-1").with_gateway_token(&token);
    let _ = device.poll().expect(200);
    assert_eq!(server.admin().get("/devices/new-1").expect(200).at("/state"), "pending");
    let _ = device.put("/configData", &json!({ "data": { "board": "box" } })).expect(200);
    let _ = server.admin().post("/devices/new-1/accept", &json!({})).expect(200);
    let accepted = server.admin().get("/devices/new-1").expect(200);
    assert_eq!(accepted.at("/state"), "accepted");
    assert_eq!(accepted.at("/attributes/board"), "box");
    let _ = device.poll().expect(200);
}

#[test]
fn a_waiting_device_gets_no_update() {
    let server = Server::start();
    let token = make_gateway_token(server.admin());
    let waiting = Device::new(&server.origin(), "new-1").with_gateway_token(&token);
    let _ = waiting.poll().expect(200);
    let field = Field::with_server(server);
    let release = muster_tests::operator::publish(field.admin(), "os", "1", ("u.swu", b"x"));
    let _ = muster_tests::operator::roll_out(field.admin(), &release, NAME, &json!({ "select": "all" }));
    let _ = field.device.link_to_come("deploymentBase");
    assert_eq!(waiting.link("deploymentBase"), None);
}

#[test]
fn a_project_may_accept_new_devices_at_once_or_turn_them_away() {
    let server = Server::start();
    let token = make_gateway_token(server.admin());
    let device = |name: &str| Device::new(&server.origin(), name).with_gateway_token(&token);
    set_project(server.admin(), &json!({ "registration": "accept" }));
    let _ = device("new-1").poll().expect(200);
    assert_eq!(server.admin().get("/devices/new-1").expect(200).at("/state"), "accepted");
    set_project(server.admin(), &json!({ "registration": "refuse" }));
    let _ = device("new-2").poll().expect(401);
    let _ = server.admin().get("/devices/new-2").expect(404);
    let _ = device("new-1").poll().expect(200);
}

#[test]
fn only_a_poll_registers() {
    let server = Server::start();
    let token = make_gateway_token(server.admin());
    let device = Device::new(&server.origin(), "new-1").with_gateway_token(&token);
    let _ = device.put("/configData", &json!({ "data": { "a": "b" } })).expect(404);
    let _ = server.admin().get("/devices/new-1").expect(404);
}

#[test]
fn a_new_gateway_token_ends_the_old_one_and_it_can_be_taken_away() {
    let server = Server::start();
    let poll = |token: &str| Device::new(&server.origin(), "new-1").with_gateway_token(token).poll().status;
    let old = make_gateway_token(server.admin());
    assert_eq!(poll(&old), 200);
    let new = make_gateway_token(server.admin());
    assert_eq!((poll(&old), poll(&new)), (401, 200));
    assert_eq!(server.admin().get("/project").expect(200).at("/gateway_token"), json!(true));
    let _ = server.admin().delete("/project/gateway-token").expect(204);
    assert_eq!(poll(&new), 401);
    assert_eq!(server.admin().get("/project").expect(200).at("/gateway_token"), json!(false));
}

#[test]
fn a_rejected_device_is_refused_until_it_is_accepted() {
    let field = Field::new();
    let _ = field.admin().post("/devices/sn-1/reject", &json!({})).expect(200);
    let _ = field.device.poll().expect(403);
    let _ = field.admin().post("/devices/sn-1/accept", &json!({})).expect(200);
    let _ = field.device.poll().expect(200);
}

#[test]
fn certificate_headers_of_a_trusted_proxy_are_believed() {
    let server = Server::start_with(&["--trusted-proxies", "127.0.0.1"]);
    let settings = json!({ "certificate_authorities": ["0a:1b", "Fleet CA"], "registration": "accept" });
    set_project(server.admin(), &settings);
    let device = |headers: &[(&str, &str)]| {
        let bare = Device::new(&server.origin(), NAME);
        headers.iter().fold(bare, |device, (name, value)| device.with_header(name, value)).poll().status
    };
    let me = ("x-controller-id", NAME);
    assert_eq!(device(&[me, ("x-authority", "Fleet CA")]), 200);
    assert_eq!(device(&[me, ("x-authority", "other; fleet ca")]), 200);
    assert_eq!(device(&[me, ("x-authority", "other,0A:1B")]), 200);
    assert_eq!(device(&[me, ("x-authority-0", "other"), ("x-authority-1", "0a:1b")]), 200);
    assert_eq!(device(&[me, ("x-authority-1", "0a:1b")]), 200);
    assert_eq!(device(&[me, ("x-authority", "other")]), 401);
    assert_eq!(device(&[me, ("x-authority", "")]), 401);
    assert_eq!(device(&[me]), 401);
    assert_eq!(device(&[("x-authority", "Fleet CA")]), 401);
    assert_eq!(device(&[("x-controller-id", "sn-2"), ("x-authority", "Fleet CA")]), 401);
}

#[test]
fn certificate_headers_of_anybody_else_are_not_believed() {
    let server = Server::start();
    set_project(server.admin(), &json!({ "certificate_authorities": ["ca"], "registration": "accept" }));
    let device = Device::new(&server.origin(), NAME).with_header("x-controller-id", NAME);
    let _ = device.with_header("x-authority", "ca").poll().expect(401);
}

#[test]
fn certificate_headers_count_for_nothing_where_no_authority_is_named() {
    let server = Server::start_with(&["--trusted-proxies", "127.0.0.1"]);
    set_project(server.admin(), &json!({ "registration": "accept" }));
    let device = Device::new(&server.origin(), NAME).with_header("x-controller-id", NAME);
    let _ = device.with_header("x-authority", "ca").poll().expect(401);
}

#[test]
fn every_resource_wants_proof() {
    let field = Field::new();
    let offer = field.running("1");
    let artifact = artifact_link(&field.device.get(&offer.link).expect(200).json());
    let stranger = Device::new(&field.server.origin(), NAME);
    let id = offer.action;
    let paths = ["", "/confirmationBase", "/softwaremodules/1/artifacts"].map(str::to_owned).into_iter();
    let per_action = ["deploymentBase", "cancelAction", "installedBase", "confirmationBase"];
    for path in paths.chain(per_action.map(|resource| format!("/{resource}/{id}"))).chain([artifact]) {
        let _ = stranger.get(&path).expect(401);
    }
    let _ = stranger.put("/configData", &json!({ "data": { "a": "b" } })).expect(401);
    for resource in ["deploymentBase", "cancelAction"] {
        let _ = stranger.report(resource, id, ("closed", "success")).expect(401);
    }
    assert_eq!(field.state_of(id), "running");
}

fn artifact_link(deployment: &Value) -> String {
    let link = deployment.pointer("/deployment/chunks/0/artifacts/0/_links/download-http/href");
    link.and_then(Value::as_str).unwrap().to_owned()
}
