//! A device that waits hears of a change at once, and of nothing else.
//!
//! Each wait is for 50 s and the answer has to come long before: nothing here is a matter of a poll that came by.

use std::time::{Duration, Instant};

use muster_tests::agent::{Device, joined};
use muster_tests::exchange::{Answer, Payload};
use muster_tests::field::{CONTENT, FILE};
use muster_tests::operator::{self, make_gateway_token, publish, roll_out, set_project};
use muster_tests::server::Server;
use muster_tests::wait::until_true;
use serde_json::{Value, json};

/// Far below the wait, far above what a commit takes.
const AT_ONCE: Duration = Duration::from_secs(25);

fn start() -> (Server, Device) {
    let server = Server::start();
    set_project(server.admin(), &json!({ "registration": "accept" }));
    let device = joined(&server, &make_gateway_token(server.admin()), "sn-1");
    (server, device)
}

fn waiting(server: &Server) -> u64 {
    let metrics = Device::new(&server.origin(), "").send("GET", "/metrics", &[], Payload::None).expect(200).text();
    let line = metrics.lines().find_map(|line| line.strip_prefix("muster_devices_waiting "));
    line.and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// Waits for a change of the orders with this tag, while something is done; answers what it was told.
#[track_caller]
fn told_while(server: &Server, device: &Device, act: impl FnOnce()) -> Answer {
    let tag = device.orders()["tag"].as_str().unwrap().to_owned();
    let asker = device.clone();
    let asked = std::thread::spawn(move || {
        let begun = Instant::now();
        (asker.get(&format!("/orders?wait=50&tag={tag}")), begun.elapsed())
    });
    until_true("the device waits", || waiting(server) == 1 || asked.is_finished());
    assert!(!asked.is_finished(), "the device did not wait: {}", asked.join().unwrap().0);
    act();
    let (answer, took) = asked.join().unwrap();
    assert!(took < AT_ONCE, "told after {took:?} only");
    until_true("its place is free", || waiting(server) == 0);
    answer
}

#[test]
fn a_rollout_and_a_cancel_wake_the_device() {
    let (server, device) = start();
    let admin = server.admin();
    let release = publish(admin, "os", "1", (FILE, CONTENT));
    let offered = told_while(&server, &device, || {
        roll_out(admin, &release, "sn-1", &json!({}));
    });
    let order = offered.expect(200).at("/action");
    let allowed = json!({ "download": true, "install": true, "forced": true });
    let id = order["action"].as_i64().unwrap();
    assert_eq!(order, json!({ "kind": "install", "action": id, "terms": allowed }));
    let _ = device.get(&format!("/actions/{id}")).expect(200);
    let canceled = told_while(&server, &device, || operator::cancel(admin, id, false));
    assert_eq!(canceled.expect(200).at("/action"), json!({ "kind": "cancel", "action": id }));
    let done = told_while(&server, &device, || device.say(1, id, "canceled"));
    assert_eq!(done.expect(200).at("/action"), Value::Null);
    assert_eq!(operator::action(admin, id)["state"], "canceled");
}

#[test]
fn time_alone_wakes_the_device() {
    let (server, device) = start();
    let admin = server.admin();
    let release = publish(admin, "os", "1", (FILE, CONTENT));
    let at = jiff::Timestamp::now() + Duration::from_secs(6);
    roll_out(admin, &release, "sn-1", &json!({ "push": { "forced_from": { "at": at.to_string() } } }));
    let id = device.ordered("install");
    let orders = device.orders();
    assert_eq!(orders["action"]["terms"]["forced"], json!(false), "{orders}");
    let told = told_while(&server, &device, || ()).expect(200);
    assert_eq!(told.at("/action/terms/forced"), json!(true));
    assert_eq!(told.at("/action/action"), json!(id));
    assert!(jiff::Timestamp::now() >= at);
}

#[test]
fn a_device_that_is_rejected_or_deleted_while_it_waits_is_told() {
    let (server, device) = start();
    let admin = server.admin();
    let rejected = told_while(&server, &device, || {
        let _ = admin.post("/devices/sn-1/reject", &json!({})).expect(200);
    });
    assert_eq!(rejected.expect(403).code(), "rejected");
    let _ = admin.post("/devices/sn-1/accept", &json!({})).expect(200);
    let deleted = told_while(&server, &device, || {
        let _ = admin.delete("/devices/sn-1").expect(204);
    });
    let _ = deleted.expect(401);
}

#[test]
fn another_tag_or_none_is_answered_at_once_and_so_is_a_device_that_does_not_wait() {
    let (_server, device) = start();
    let begun = Instant::now();
    let plain = device.get("/orders").expect(200);
    let tag = plain.at("/tag");
    for asked in ["/orders?wait=50", "/orders?wait=50&tag=other", &format!("/orders?tag={}", tag.as_str().unwrap())] {
        assert_eq!(device.get(asked).expect(200).at("/tag"), tag, "{asked}");
    }
    assert!(begun.elapsed() < AT_ONCE);
    for bad in ["/orders?wait=-1", "/orders?wait=soon"] {
        assert_eq!(device.get(bad).expect(400).code(), "bad_input");
    }
}

#[test]
fn a_wait_ends_with_the_same_orders_when_nothing_happens() {
    let (_server, device) = start();
    let tag = device.orders()["tag"].clone();
    let begun = Instant::now();
    let answer = device.get(&format!("/orders?wait=1&tag={}", tag.as_str().unwrap())).expect(200);
    assert_eq!(answer.at("/tag"), tag);
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[test]
fn a_server_that_stops_sends_its_waiting_devices_away_and_spreads_them() {
    let (mut server, device) = start();
    let tag = device.orders()["tag"].as_str().unwrap().to_owned();
    let asker = device.clone();
    let asked = std::thread::spawn(move || asker.get(&format!("/orders?wait=50&tag={tag}")));
    until_true("the device waits", || waiting(&server) == 1);
    let begun = Instant::now();
    assert!(server.stop().success());
    assert!(begun.elapsed() < AT_ONCE, "the wait kept the server from stopping");
    let poll_s = asked.join().unwrap().expect(200).at("/poll_s").as_u64().unwrap();
    assert!((1..=31).contains(&poll_s), "{poll_s}");
}

#[test]
fn a_device_that_vanishes_while_it_waits_gives_its_place_back() {
    use std::io::Write;
    let (server, device) = start();
    let tag = device.orders()["tag"].as_str().unwrap().to_owned();
    let mut stream = std::net::TcpStream::connect(server.address()).unwrap();
    let head = format!(
        "GET /device/v1/orders?wait=50&tag={tag} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
        device.token
    );
    stream.write_all(head.as_bytes()).unwrap();
    until_true("the device waits", || waiting(&server) == 1);
    drop(stream);
    until_true("its place is free", || waiting(&server) == 0);
}
