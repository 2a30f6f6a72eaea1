//! One update from the first join to the last report.

use muster_tests::agent::{Device, joined, said};
use muster_tests::exchange::Payload;
use muster_tests::field::{CONTENT, FILE, SHA256};
use muster_tests::operator::{self, action, make_gateway_token, publish, reports, roll_out};
use muster_tests::server::Server;
use serde_json::{Value, json};

fn start() -> (Server, String) {
    let server = Server::start();
    operator::set_project(server.admin(), &json!({ "registration": "accept" }));
    let gateway = make_gateway_token(server.admin());
    (server, gateway)
}

#[test]
fn a_device_joins_updates_and_says_how_it_went() {
    let (server, gateway) = start();
    let admin = server.admin();
    let device = joined(&server, &gateway, "sn-1");
    let orders = device.orders();
    assert_eq!((&orders["action"], &orders["attributes"]), (&Value::Null, &json!(true)));
    let told = json!({ "kind": "attributes", "all": true, "set": { "board": "rev-c" } });
    assert_eq!(device.report(1, &[told]).expect(200).at("/through"), json!(1));
    assert_eq!(device.orders()["attributes"], Value::Null);

    let release = publish(admin, "os", "1", (FILE, CONTENT));
    let rollout = roll_out(admin, &release, "sn-1", &json!({}));
    let id = device.ordered("install");
    let deployment = device.get(&format!("/actions/{id}")).expect(200);
    let route = deployment.at("/components/0/artifacts/0/routes/0");
    assert_eq!(route, json!({ "path": format!("/device/v1/artifacts/{SHA256}"), "size": 11, "form": "whole" }));
    let path = route["path"].as_str().unwrap();
    assert_eq!(device.send("GET", path, &[], Payload::None).expect(200).body, CONTENT);
    let part = device.send("GET", path, &[("range", "bytes=6-")], Payload::None).expect(206);
    assert_eq!((part.body.as_slice(), part.header("content-range")), (&CONTENT[6..], Some("bytes 6-10/11")));

    let states = ["accepted", "downloading", "downloaded", "staged", "awaiting_restart", "trial_boot"];
    let batch: Vec<Value> = states.iter().map(|state| said(id, state)).collect();
    assert_eq!(device.report(2, &batch).expect(200).at("/through"), json!(7));
    assert_eq!(action(admin, id)["state"], "running");
    device.say(8, id, "committed");
    assert_eq!(action(admin, id)["state"], "finished");
    assert_eq!(device.orders()["action"], Value::Null);
    let texts: Vec<Value> = reports(admin, id).iter().map(|report| report["text"].clone()).collect();
    assert_eq!(texts.first(), Some(&json!("runs it and keeps it")), "{texts:?}");
    assert_eq!(admin.get("/devices/sn-1").expect(200).at("/release"), json!("os@1"));
    operator::rollout_in(admin, &rollout, "finished");
}

#[test]
fn an_artifact_is_for_the_devices_it_was_offered_to() {
    let (server, gateway) = start();
    let admin = server.admin();
    let (device, other) = (joined(&server, &gateway, "sn-1"), joined(&server, &gateway, "sn-2"));
    let release = publish(admin, "os", "1", (FILE, CONTENT));
    let path = format!("/device/v1/artifacts/{SHA256}");
    assert_eq!(device.send("GET", &path, &[], Payload::None).expect(404).code(), "not_found");
    let later = (jiff::Timestamp::now() + std::time::Duration::from_secs(86_400)).to_string();
    roll_out(admin, &release, "sn-2", &json!({ "start_at": later }));
    roll_out(admin, &release, "sn-1", &json!({}));
    let _ = device.ordered("install");
    for method in ["GET", "HEAD"] {
        let _ = device.send(method, &path, &[], Payload::None).expect(200);
        let _ = other.send(method, &path, &[], Payload::None).expect(404);
    }
    let nobody = Device::new(&server.origin(), "");
    let _ = nobody.send("GET", &path, &[], Payload::None).expect(401);
}

#[test]
fn a_rollback_is_a_downgrade_that_is_meant() {
    let (server, gateway) = start();
    let admin = server.admin();
    let device = joined(&server, &gateway, "sn-1");
    let update = |version: &str, sequence: u64| {
        let release = publish(admin, "os", version, (FILE, version.as_bytes()));
        let rollout = roll_out(admin, &release, "sn-1", &json!({}));
        let id = device.ordered("install");
        let deployment = device.get(&format!("/actions/{id}")).expect(200);
        assert_eq!((deployment.at("/version"), deployment.at("/downgrade")), (json!(version), Value::Null));
        device.say(sequence, id, "committed");
        rollout
    };
    update("1", 1);
    let second = update("2", 2);
    operator::rollout_in(admin, &second, "finished");
    let _ = admin.post(&format!("/rollouts/{second}/rollback"), &json!({})).expect(200);
    let id = device.ordered("install");
    let deployment = device.get(&format!("/actions/{id}")).expect(200);
    assert_eq!((deployment.at("/version"), deployment.at("/downgrade")), (json!("1"), json!(true)));
    device.say(3, id, "committed");
    assert_eq!(admin.get("/devices/sn-1").expect(200).at("/release"), json!("os@1"));
}

#[test]
fn a_device_is_no_operator_and_an_operator_no_device() {
    let (server, gateway) = start();
    let device = joined(&server, &gateway, "sn-1");
    let _ = server.anonymous().with_token(&device.token).get("/devices").expect(401);
    let admins = server.admin().token().unwrap().to_owned();
    let shown = [admins.as_str(), &gateway, "", "mdt_", "mdt_default.c24tMQ.", "mdt_default.c24tMQ.wrong"];
    for token in shown {
        let refused = Device::new(&server.origin(), token).get("/orders").expect(401);
        assert_eq!(refused.code(), "unauthenticated");
    }
    let other = joined(&server, &gateway, "sn-2");
    let secret = other.token.rsplit_once('.').unwrap().1;
    let _ = Device::new(&server.origin(), &format!("mdt_default.c24tMQ.{secret}")).get("/orders").expect(401);
    let _ = Device::new(&server.origin(), &device.token.replace("default", "elsewhere")).get("/orders").expect(401);
}
