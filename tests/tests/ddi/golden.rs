//! Every answer of the protocol, whole, as devices in the field know it.
//!
//! These are never edited: a device that was built against one of them is still out there. What is new gets its own.
//! Addresses and numbers that differ from run to run are replaced by words in capitals.

use muster_tests::exchange::Answer;
use muster_tests::field::{Field, MD5, NAME, Offer, SHA1, SHA256};
use muster_tests::operator::{publish_components, roll_out, set_project, upload};
use serde_json::{Value, json};

const ROOT: &str = "http://HOST/default/controller/v1/sn-1";

/// The answer with what differs replaced.
fn redacted(field: &Field, answer: &Answer, action: i64) -> Value {
    let mut value = answer.json();
    redact(&mut value, &field.server.origin(), action);
    value
}

fn redact(value: &mut Value, origin: &str, action: i64) {
    match value {
        Value::String(text) => *text = redact_link(text, origin, action),
        Value::Array(items) => items.iter_mut().for_each(|item| redact(item, origin, action)),
        Value::Object(members) => {
            for (key, member) in members {
                match key.as_str() {
                    "activatedAt" if member.is_number() => *member = json!("TIME"),
                    "id" | "stopId" if *member == json!(action.to_string()) => *member = json!("ID"),
                    _ => redact(member, origin, action),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn redact_link(text: &str, origin: &str, action: i64) -> String {
    let Some(path) = text.strip_prefix(origin) else { return text.to_owned() };
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let mut segments: Vec<String> = path.split('/').map(str::to_owned).collect();
    for at in 1..segments.len() {
        match segments[at - 1].as_str() {
            "deploymentBase" | "cancelAction" | "installedBase" | "confirmationBase"
                if segments[at] == action.to_string() =>
            {
                segments[at] = "ID".into();
            }
            "softwaremodules" => segments[at] = "M".into(),
            _ => {}
        }
    }
    let query = match query.map(|query| query.split_once('=')) {
        None => String::new(),
        Some(Some((key, value))) if value.parse::<u32>().is_ok() => format!("?{key}=N"),
        Some(_) => format!("?{}", query.unwrap_or_default()),
    };
    format!("http://HOST{}{query}", segments.join("/"))
}

fn href(rest: &str) -> Value {
    json!({ "href": format!("{ROOT}{rest}") })
}

fn artifact() -> Value {
    json!({
        "filename": "u.swu",
        "size": 11,
        "hashes": { "sha1": SHA1, "md5": MD5, "sha256": SHA256 },
        "_links": {
            "download-http": { "href": "http://HOST/default/controller/v1/sn-1/softwaremodules/M/artifacts/u.swu" },
            "md5sum-http": { "href": "http://HOST/default/controller/v1/sn-1/softwaremodules/M/artifacts/u.swu.MD5SUM" }
        }
    })
}

fn forced_deployment() -> Value {
    json!({
        "download": "forced",
        "update": "forced",
        "chunks": [{ "part": "os", "name": "os", "version": "1", "artifacts": [artifact()] }]
    })
}

fn poll(links: &Value) -> Value {
    json!({ "config": { "polling": { "sleep": "00:05:00" } }, "_links": links })
}

fn read(field: &Field, offer: &Offer, path: &str) -> Value {
    redacted(field, &field.device.get(path).expect(200), offer.action)
}

#[test]
fn the_poll_of_a_device_with_nothing_to_do() {
    let field = Field::new();
    let answer = field.device.poll().expect(200);
    assert_eq!(redacted(&field, &answer, 0), poll(&json!({ "configData": href("/configData") })));
    let _ = field.device.put("/configData", &json!({ "data": { "a": "b" } })).expect(200);
    assert_eq!(redacted(&field, &field.device.poll().expect(200), 0), poll(&json!({})));
}

#[test]
fn the_poll_and_the_deployment_of_an_update() {
    let field = Field::new();
    let offer = field.offer("1", &json!({}));
    let links = json!({ "configData": href("/configData"), "deploymentBase": href("/deploymentBase/ID?c=N") });
    assert_eq!(read(&field, &offer, ""), poll(&links));
    let expected = json!({ "id": "ID", "deployment": forced_deployment() });
    assert_eq!(read(&field, &offer, &offer.link), expected);
}

#[test]
fn a_deployment_with_its_history() {
    let field = Field::new();
    let offer = field.running("1");
    let mut body = muster_tests::ddi::feedback("proceeding", "none");
    body["status"]["details"] = json!(["halfway"]);
    let _ = field.device.post(&format!("/deploymentBase/{}/feedback", offer.action), &body).expect(200);
    let expected = json!({
        "id": "ID",
        "deployment": forced_deployment(),
        "actionHistory": { "status": "RUNNING", "messages": ["halfway"] }
    });
    assert_eq!(read(&field, &offer, &format!("/deploymentBase/{}?actionHistory=1", offer.action)), expected);
}

#[test]
fn a_deployment_with_metadata_and_a_window() {
    let field = Field::new();
    let digest = upload(field.admin(), "u.swu", muster_tests::field::CONTENT);
    let component = json!([{
        "name": "app/web", "version": "1", "artifacts": [{ "digest": digest }], "metadata": { "slot": "b" }
    }]);
    let release = publish_components(field.admin(), "web", "1", &component);
    let more = json!({ "push": "soft", "window": "daily 00:00+24h UTC" });
    let rollout = roll_out(field.admin(), &release, NAME, &more);
    let link = field.device.link_to_come("deploymentBase");
    let offer = Offer { rollout, action: muster_tests::ddi::action_id(&link), link: link.clone() };
    let expected = json!({
        "id": "ID",
        "deployment": {
            "download": "attempt",
            "update": "attempt",
            "maintenanceWindow": "available",
            "chunks": [{
                "part": "bApp", "name": "web", "version": "1",
                "metadata": [{ "key": "slot", "value": "b" }],
                "artifacts": [artifact()]
            }]
        }
    });
    assert_eq!(read(&field, &offer, &link), expected);
}

#[test]
fn the_poll_and_the_cancel_of_a_canceled_update() {
    let field = Field::new();
    let offer = field.canceling("1");
    let links = json!({ "configData": href("/configData"), "cancelAction": href("/cancelAction/ID") });
    assert_eq!(read(&field, &offer, ""), poll(&links));
    let expected = json!({ "id": "ID", "cancelAction": { "stopId": "ID" } });
    assert_eq!(read(&field, &offer, &format!("/cancelAction/{}", offer.action)), expected);
}

#[test]
fn the_poll_and_the_installed_base_after_an_update() {
    let field = Field::new();
    let offer = field.running("1");
    let _ = field.device.report("deploymentBase", offer.action, ("closed", "success")).expect(200);
    let polled = read(&field, &offer, "");
    let link = field.device.link("installedBase").unwrap();
    let path = polled["_links"]["installedBase"]["href"].as_str().unwrap().split('?').next().unwrap().to_owned();
    assert_eq!(path, format!("{ROOT}/installedBase/ID"));
    assert_eq!(polled["_links"]["configData"], href("/configData"));
    assert_eq!(polled["_links"].as_object().unwrap().len(), 2);
    let expected = json!({ "id": "ID", "deployment": forced_deployment() });
    assert_eq!(read(&field, &offer, &link), expected);
}

#[test]
fn the_poll_and_the_resources_of_an_update_that_waits_for_consent() {
    let field = Field::new();
    set_project(field.admin(), &json!({ "confirmation": true }));
    let rollout = field.roll_out("1", &json!({ "confirmation": true }));
    let link = field.device.link_to_come("confirmationBase");
    let offer = Offer { rollout, action: muster_tests::ddi::action_id(&link), link };
    let links = json!({ "configData": href("/configData"), "confirmationBase": href("/confirmationBase/ID?c=N") });
    assert_eq!(read(&field, &offer, ""), poll(&links));
    let expected = json!({
        "autoConfirm": { "active": false },
        "_links": {
            "activateAutoConfirm": href("/confirmationBase/activateAutoConfirm"),
            "confirmationBase": href("/confirmationBase/ID?c=N")
        }
    });
    assert_eq!(read(&field, &offer, "/confirmationBase"), expected);
    let expected = json!({ "id": "ID", "confirmation": forced_deployment() });
    assert_eq!(read(&field, &offer, &offer.link), expected);
}

#[test]
fn auto_confirm_that_is_on() {
    let field = Field::new();
    let body = json!({ "initiator": "technician", "remark": "stays on" });
    let _ = field.device.post("/confirmationBase/activateAutoConfirm", &body).expect(200);
    let expected = json!({
        "autoConfirm": { "active": true, "initiator": "technician", "remark": "stays on", "activatedAt": "TIME" },
        "_links": { "deactivateAutoConfirm": href("/confirmationBase/deactivateAutoConfirm") }
    });
    assert_eq!(redacted(&field, &field.device.get("/confirmationBase").expect(200), 0), expected);
}

#[test]
fn the_list_of_a_modules_files() {
    let field = Field::new();
    let offer = field.running("1");
    let deployment = field.device.get(&offer.link).expect(200);
    let link = deployment.at("/deployment/chunks/0/artifacts/0/_links/download-http/href");
    let list = link.as_str().unwrap().rsplit_once('/').unwrap().0.to_owned();
    assert_eq!(read(&field, &offer, &list), json!([artifact()]));
}

#[test]
fn a_refusal_has_the_members_of_hawkbits_refusals() {
    let field = Field::new();
    let refused = field.device.get("/deploymentBase/4711").expect(404).json();
    assert!(refused["errorCode"].is_string() && refused["message"].is_string(), "{refused}");
}
