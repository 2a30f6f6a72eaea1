//! One update from the first join to the last report.

use muster_tests::agent::{joined, said};
use muster_tests::exchange::Payload;
use muster_tests::field::{CONTENT, FILE, SHA256};
use muster_tests::operator::{self, action, make_gateway_token, publish, reports, roll_out};
use muster_tests::server::Server;
use serde_json::{Value, json};

#[test]
fn a_device_joins_updates_and_says_how_it_went() {
    let server = Server::start();
    let admin = server.admin();
    operator::set_project(admin, &json!({ "registration": "accept" }));
    let device = joined(&server, &make_gateway_token(admin), "sn-1");
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
