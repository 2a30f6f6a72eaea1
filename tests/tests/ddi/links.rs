//! What a poll answers, and how its links are built.

use muster_tests::ddi::Device;
use muster_tests::exchange::Payload;
use muster_tests::field::Field;
use muster_tests::operator::{self, set_project};
use muster_tests::server::Server;
use muster_tests::wait::until_true;
use serde_json::{Value, json};

fn sleep(device: &Device) -> Value {
    device.poll().expect(200).at("/config/polling/sleep")
}

#[test]
fn the_polling_interval_has_eight_characters() {
    let field = Field::new();
    for (seconds, text) in [(300, "00:05:00"), (1, "00:00:01"), (3661, "01:01:01"), (86_399, "23:59:59")] {
        set_project(field.admin(), &json!({ "poll_interval_s": seconds }));
        assert_eq!(sleep(&field.device), text);
    }
    for seconds in [0, 86_400] {
        let _ = field.admin().patch("/project", &json!({ "poll_interval_s": seconds })).expect(400);
    }
}

#[test]
fn the_first_override_that_matches_sets_the_interval() {
    let field = Field::new();
    let overrides = json!([
        { "select": "label.line == slow", "interval_s": 3600 },
        { "select": "label.line in (slow, fast)", "interval_s": 2 }
    ]);
    set_project(field.admin(), &json!({ "poll_overrides": overrides }));
    assert_eq!(sleep(&field.device), "00:05:00");
    for (line, text) in [(json!("fast"), "00:00:02"), (json!("slow"), "01:00:00"), (Value::Null, "00:05:00")] {
        let _ = field.admin().patch("/devices/sn-1", &json!({ "labels": { "line": line } })).expect(200);
        assert_eq!(sleep(&field.device), text);
    }
}

#[test]
fn links_lead_back_to_where_the_device_called() {
    let field = Field::new();
    let answer = field.device.send("GET", "", &[("host", "fleet.example:1234")], Payload::None).expect(200);
    assert_eq!(answer.at("/_links/configData/href"), "http://fleet.example:1234/default/controller/v1/sn-1/configData");
}

#[test]
fn behind_a_trusted_proxy_links_name_the_proxy() {
    let field = Field::with_server(Server::start_with(&["--trusted-proxies", "127.0.0.1"]));
    let offer = field.offer("1", &json!({}));
    let ask = |headers: &[(&str, &str)], path: &str| field.device.send("GET", path, headers, Payload::None).expect(200);
    let https = [("x-forwarded-proto", "https"), ("x-forwarded-host", "fleet.example")];
    let config = "/_links/configData/href";
    assert_eq!(ask(&https, "").at(config), "https://fleet.example/default/controller/v1/sn-1/configData");
    let with_port = [https[0], https[1], ("x-forwarded-port", "8443")];
    assert_eq!(ask(&with_port, "").at(config), "https://fleet.example:8443/default/controller/v1/sn-1/configData");
    let links = ask(&https, &offer.link).at("/deployment/chunks/0/artifacts/0/_links");
    let names: Vec<&String> = links.as_object().unwrap().keys().collect();
    assert_eq!(names, ["download", "md5sum"]);
}

#[test]
fn forwarding_headers_of_anybody_else_are_ignored() {
    let field = Field::new();
    let headers = [("x-forwarded-proto", "https"), ("x-forwarded-host", "evil.example")];
    let link = field.device.send("GET", "", &headers, Payload::None).expect(200).at("/_links/configData/href");
    assert!(link.as_str().unwrap().starts_with(&field.server.origin()), "{link}");
}

#[test]
fn a_device_may_be_called_anything() {
    let field = Field::new();
    let long = "x".repeat(256);
    for (name, in_path) in [("north hall+1", "north%20hall%2B1"), ("prüfstand:7", "pr%C3%BCfstand%3A7"), (&long, &long)]
    {
        let token = operator::add_device(field.admin(), name);
        let device = Device::new(&field.server.origin(), in_path).with_target_token(&token);
        let link = device.link("configData").unwrap();
        assert_eq!(link, format!("{}/configData", device.root()));
        let _ = device.send("PUT", &link, &[], Payload::Json(&json!({ "data": { "a": "b" } }))).expect(200);
    }
}

#[test]
fn links_are_short_enough_for_small_devices() {
    let field = Field::new();
    let offer = field.offer("1", &json!({}));
    let from = offer.link.find("deploymentBase/").unwrap();
    assert!(offer.link[from..].len() <= 49, "{}", offer.link);
    let deployment = field.device.get(&offer.link).expect(200);
    let download = deployment.at("/deployment/chunks/0/artifacts/0/_links/download-http/href");
    let path = download.as_str().unwrap();
    let from = path.find("/default/controller/v1").unwrap();
    assert!(path[from..].len() <= 199, "{path}");
}

#[test]
fn the_deployment_link_ends_with_a_number_and_a_query() {
    let field = Field::new();
    let offer = field.offer("1", &json!({}));
    let (_, end) = offer.link.rsplit_once('/').unwrap();
    let (id, query) = end.split_once("?c=").unwrap();
    assert!(id.parse::<i32>().unwrap() > 0);
    assert!(query.parse::<u32>().is_ok(), "{query}");
}

#[test]
fn a_poll_that_knows_the_answer_gets_304() {
    let field = Field::new();
    let first = field.device.poll().expect(200);
    let etag = first.header("etag").unwrap().to_owned();
    let again = field.device.send("GET", "", &[("if-none-match", &etag)], Payload::None).expect(304);
    assert!(again.body.is_empty());
    let _ = field.offer("1", &json!({}));
    let _ = field.device.send("GET", "", &[("if-none-match", &etag)], Payload::None).expect(200);
}

#[test]
fn a_poll_is_seen_by_operators() {
    let field = Field::new();
    assert_eq!(field.admin().get("/devices/sn-1").expect(200).at("/last_seen"), Value::Null);
    let _ = field.device.poll().expect(200);
    until_true("the poll is seen", || field.admin().get("/devices/sn-1").expect(200).at("/last_seen") != Value::Null);
}

#[test]
fn one_of_deployment_cancel_and_confirmation_is_linked_at_most() {
    let field = Field::new();
    let offer = field.canceling("1");
    let links = field.device.poll().expect(200).at("/_links");
    assert!(links["cancelAction"].is_object(), "{links}");
    assert!(links.get("deploymentBase").is_none() && links.get("confirmationBase").is_none(), "{links}");
    let _ = field.device.report("cancelAction", offer.action, ("closed", "success")).expect(200);
    let links = field.device.poll().expect(200).at("/_links");
    assert!(links.get("cancelAction").is_none() && links.get("deploymentBase").is_none(), "{links}");
}
