//! Every answer and every message of the protocol, whole, as devices in the field know it.
//!
//! These are never edited: an agent that was built against one of them is still out there. What is new gets its own.
//! What differs from run to run is replaced by words in capitals.

use muster_tests::agent::{Device, join, joined};
use muster_tests::exchange::Payload;
use muster_tests::field::{CONTENT, FILE, SHA256};
use muster_tests::operator::{self, make_gateway_token, publish_components, roll_out, set_project, upload};
use muster_tests::server::Server;
use serde_json::{Value, json};

fn start() -> (Server, Device) {
    let server = Server::start();
    set_project(server.admin(), &json!({ "registration": "accept" }));
    let device = joined(&server, &make_gateway_token(server.admin()), "sn-1");
    (server, device)
}

/// The orders with what differs replaced.
fn orders(device: &Device) -> Value {
    let mut orders = device.orders();
    let tag = orders["tag"].as_str().unwrap();
    assert!(tag.len() == 16 && tag.bytes().all(|byte| byte.is_ascii_hexdigit()), "{tag}");
    assert!(orders["time"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    orders["tag"] = json!("TAG");
    orders["time"] = json!("TIME");
    if let Some(order) = orders.get_mut("action") {
        replace_action(order);
    }
    orders
}

fn replace_action(of: &mut Value) {
    if of["action"].is_i64() {
        of["action"] = json!("ID");
    }
}

#[test]
fn joining() {
    let server = Server::start();
    set_project(server.admin(), &json!({ "registration": "accept" }));
    let token = make_gateway_token(server.admin());
    let body = json!({
        "token": token, "project": "default", "device": "sn-1", "attributes": { "board": "rev-c" }, "more": "to come"
    });
    let nobody = Device::new(&server.origin(), "");
    let mut joined = nobody.post("/join", &body).expect(201).json();
    let own = joined["token"].as_str().unwrap().to_owned();
    let (head, secret) = own.rsplit_once('.').unwrap();
    // c24tMQ is sn-1 in base64url.
    assert_eq!((head, secret.len()), ("mdt_default.c24tMQ", 43));
    joined["token"] = json!("TOKEN");
    assert_eq!(joined, json!({ "project": "default", "device": "sn-1", "token": "TOKEN" }));
    assert_eq!(server.admin().get("/devices/sn-1").expect(200).at("/attributes"), json!({ "board": "rev-c" }));
}

#[test]
fn the_orders_of_a_device_with_nothing_to_do() {
    let (_server, device) = start();
    assert_eq!(orders(&device), json!({ "tag": "TAG", "poll_s": 300, "time": "TIME", "attributes": true }));
    let all = json!({ "kind": "attributes", "all": true, "set": { "a": "b" } });
    let _ = device.report(1, &[all]).expect(200);
    assert_eq!(orders(&device), json!({ "tag": "TAG", "poll_s": 300, "time": "TIME" }));
}

#[test]
fn the_orders_to_install_and_to_cancel_and_the_deployment() {
    let (server, device) = start();
    let admin = server.admin();
    let all = json!({ "kind": "attributes", "all": true });
    let _ = device.report(1, &[all]).expect(200);
    let digest = upload(admin, FILE, CONTENT);
    let components = json!([
        { "name": "os", "version": "1", "artifacts": [{ "digest": digest, "name": FILE }] },
        {
            "name": "app/web", "version": "2.0", "artifacts": [{ "digest": digest, "name": "web.tar" }],
            "metadata": { "after": "os" }
        }
    ]);
    let release = publish_components(admin, "gateway", "1.1", &components);
    roll_out(admin, &release, "sn-1", &json!({ "push": "soft" }));
    let id = device.ordered("install");
    let terms = json!({ "download": true, "install": true, "forced": false });
    let order = json!({ "kind": "install", "action": "ID", "terms": terms });
    assert_eq!(orders(&device), json!({ "tag": "TAG", "poll_s": 300, "time": "TIME", "action": order }));

    let mut deployment = device.get(&format!("/actions/{id}")).expect(200).json();
    replace_action(&mut deployment);
    let artifact = |name: &str| {
        let route = json!({ "path": format!("/device/v1/artifacts/{SHA256}"), "size": 11, "form": "whole" });
        json!({ "file_name": name, "size": 11, "digest": format!("sha256:{SHA256}"), "routes": [route] })
    };
    let expected = json!({
        "action": "ID",
        "release": "gateway",
        "version": "1.1",
        "terms": terms,
        "components": [
            { "name": "os", "version": "1", "artifacts": [artifact(FILE)] },
            { "name": "app/web", "version": "2.0", "metadata": { "after": "os" }, "artifacts": [artifact("web.tar")] }
        ]
    });
    assert_eq!(deployment, expected);

    operator::cancel(admin, id, false);
    let order = json!({ "kind": "cancel", "action": "ID" });
    assert_eq!(orders(&device), json!({ "tag": "TAG", "poll_s": 300, "time": "TIME", "action": order }));
}

#[test]
fn the_order_to_ask_for_consent() {
    let (server, device) = start();
    set_project(server.admin(), &json!({ "confirmation": true }));
    let release = operator::publish(server.admin(), "os", "1", (FILE, CONTENT));
    roll_out(server.admin(), &release, "sn-1", &json!({ "confirmation": true }));
    let _ = device.ordered("confirm");
    assert_eq!(orders(&device)["action"], json!({ "kind": "confirm", "action": "ID" }));
}

#[test]
fn a_deployment_that_is_a_way_back() {
    let (server, device) = start();
    let release = operator::publish(server.admin(), "os", "1", (FILE, CONTENT));
    roll_out(server.admin(), &release, "sn-1", &json!({ "allow_downgrade": true }));
    let id = device.ordered("install");
    assert_eq!(device.get(&format!("/actions/{id}")).expect(200).at("/downgrade"), json!(true));
}

#[test]
fn reports_of_every_kind_and_what_is_said_of_them() {
    let (server, device) = start();
    let release = operator::publish(server.admin(), "os", "1", (FILE, CONTENT));
    roll_out(server.admin(), &release, "sn-1", &json!({}));
    let id = device.ordered("install");
    let at = jiff::Timestamp::now().to_string();
    let states = [
        "accepted",
        "downloading",
        "downloaded",
        "staged",
        "awaiting_restart",
        "trial_boot",
        "consented",
        "denied",
        "cancel_refused",
        "canceled",
        "committed",
        "reverted",
        "failed",
    ];
    let mut sent: Vec<Value> = states
        .iter()
        .zip(1..)
        .map(|(state, sequence)| {
            json!({
                "sequence": sequence, "at": at, "kind": "action", "action": id, "state": state,
                "messages": ["one", "two"], "progress": { "done": 3, "of": 11 }
            })
        })
        .collect();
    sent.extend([
        json!({
            "sequence": 14, "at": at, "kind": "attributes", "all": true, "set": { "a": "b" }, "removed": ["c"]
        }),
        json!({
            "sequence": 15, "at": at, "kind": "configuration", "version": 7, "state": "drifted", "messages": ["/etc/x"]
        }),
        json!({
            "sequence": 16, "at": at, "kind": "command", "command": 9, "state": "succeeded", "exit_code": 0,
            "output": "done"
        }),
    ]);
    let taken = device.post("/reports", &json!({ "queue": "5f0c", "reports": sent })).expect(200);
    assert_eq!(taken.json(), json!({ "through": 16 }));
    let action = operator::action(server.admin(), id);
    assert_eq!((&action["state"], &action["progress"]), (&json!("finished"), &json!({ "done": 3, "of": 11 })));
    let texts: Vec<String> = operator::reports(server.admin(), id)
        .iter()
        .rev()
        .map(|report| report["text"].as_str().unwrap().to_owned())
        .collect();
    let expected = [
        "accepted it",
        "downloads",
        "has downloaded",
        "has staged it",
        "waits for its restart",
        "runs it on trial",
        "consented, which changed nothing: the action does not wait for confirmation",
        "denied consent, which changed nothing: the action does not wait for confirmation",
        "can't stop it any more, which changed nothing: the action is not being canceled",
        "stopped it, which changed nothing: the action is not being canceled",
        "runs it and keeps it",
        "went back to what it ran before, which changed nothing: the action is closed",
        "reported failure, which changed nothing: the action is closed",
    ];
    assert_eq!(texts, expected);
}

#[test]
fn an_artifact_and_its_parts() {
    let (server, device) = start();
    let release = operator::publish(server.admin(), "os", "1", (FILE, CONTENT));
    roll_out(server.admin(), &release, "sn-1", &json!({}));
    let _ = device.ordered("install");
    let path = format!("/device/v1/artifacts/{SHA256}");
    let etag = format!("\"{SHA256}\"");
    let get = |headers: &[(&str, &str)]| device.send("GET", &path, headers, Payload::None);
    let whole = get(&[]).expect(200);
    assert_eq!(whole.body, CONTENT);
    let wanted = [
        ("content-type", "application/octet-stream"),
        ("content-length", "11"),
        ("etag", &etag),
        ("accept-ranges", "bytes"),
        ("cache-control", "private, no-transform"),
        ("muster-protocol", "1"),
    ];
    let head = device.send("HEAD", &path, &[], Payload::None).expect(200);
    for (name, value) in wanted {
        assert_eq!((whole.header(name), head.header(name)), (Some(value), Some(value)), "{name}");
    }
    assert!(head.body.is_empty());
    let part = get(&[("range", "bytes=6-"), ("if-range", &etag)]).expect(206);
    assert_eq!((part.body.as_slice(), part.header("content-range")), (&CONTENT[6..], Some("bytes 6-10/11")));
    assert_eq!(get(&[("range", "bytes=6-"), ("if-range", "\"another\"")]).expect(200).body, CONTENT);
    let beyond = get(&[("range", "bytes=11-")]).expect(416);
    assert_eq!((beyond.code().as_str(), beyond.header("content-range")), ("range", Some("bytes */11")));
}

#[test]
fn a_refusal_is_a_problem_document() {
    let (server, device) = start();
    let refused = join(&server, "mjt_wrong", "sn-2").expect(401);
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    assert_eq!(refused.header("www-authenticate"), Some("Bearer realm=\"muster\""));
    let expected = json!({
        "type": "urn:muster:problem:join_refused",
        "title": "Unauthorized",
        "status": 401,
        "code": "join_refused",
        "detail": "this is no join token of the project: ask its operator for a new one"
    });
    assert_eq!(refused.json(), expected);
    for (method, path, status, code) in [
        ("GET", "/device/v1/actions/4711", 404, "not_found"),
        ("GET", "/device/v1/actions/x", 404, "not_found"),
        ("GET", "/device/v1/artifacts/x", 404, "not_found"),
        ("GET", "/device/v1/nothing", 404, "not_found"),
        ("GET", "/device/v1/", 404, "not_found"),
        ("PUT", "/device/v1/orders", 405, "wrong_method"),
        ("POST", "/device/v1/reports", 415, "not_json"),
    ] {
        let refused = device.send(method, path, &[], Payload::None).expect(status);
        assert_eq!((refused.code().as_str(), refused.header("content-type")), (code, Some("application/problem+json")));
        let signed = (refused.header("muster-protocol"), refused.header("cache-control"));
        assert_eq!(signed, (Some("1"), Some("no-store")), "{refused}");
    }
}
