//! What an operator does again and again: add a device, publish a release, roll it out.
//!
//! Each step is one or a few requests of the operator API; whatever is refused ends the test with the server's words.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::api::Api;
use crate::exchange::Payload;
use crate::wait::until;

/// An action id as the operator API tells it.
pub type ActionId = i64;

/// Adds a device by hand; answers its token.
#[track_caller]
pub fn add_device(admin: &Api, name: &str) -> String {
    let answer = admin.post("/devices", &json!({ "name": name })).expect(201);
    answer.at("/token").as_str().expect("a new device has a token").to_owned()
}

/// Changes settings of the project.
#[track_caller]
pub fn set_project(admin: &Api, patch: &Value) {
    let _ = admin.patch("/project", patch).expect(200);
}

#[track_caller]
pub fn make_gateway_token(admin: &Api) -> String {
    let answer = admin.post("/project/gateway-token", &json!({}));
    assert!(answer.is_success(), "{answer}");
    answer.at("/token").as_str().expect("there is a token").to_owned()
}

/// `sha256:` and hex digits.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Uploads bytes, if the server does not have them already; answers their digest.
#[track_caller]
pub fn upload(admin: &Api, name: &str, bytes: &[u8]) -> String {
    let digest = digest(bytes);
    let begun = admin.post("/uploads", &json!({ "name": name, "size": bytes.len(), "digest": digest.clone() }));
    assert!(begun.is_success(), "{begun}");
    if begun.at("/artifact") != Value::Null {
        return digest;
    }
    let path = format!("/uploads/{}", begun.at("/id").as_str().expect("an upload has an id"));
    let sent = Payload::Bytes("application/octet-stream", bytes);
    let done = admin.send("PATCH", &path, &[("upload-offset", "0")], sent).expect(200);
    assert_eq!(done.at("/artifact/digest"), json!(digest), "{done}");
    digest
}

/// Uploads one file and publishes it as the release `NAME@VERSION` with the one component `os`.
#[track_caller]
pub fn publish(admin: &Api, name: &str, version: &str, file: (&str, &[u8])) -> String {
    let digest = upload(admin, file.0, file.1);
    let component = json!({
        "name": "os", "version": version, "artifacts": [{ "digest": digest, "name": file.0 }]
    });
    publish_components(admin, name, version, &json!([component]))
}

/// Publishes a release of components whose artifacts are uploaded already.
#[track_caller]
pub fn publish_components(admin: &Api, name: &str, version: &str, components: &Value) -> String {
    let release = json!({ "name": name, "version": version, "components": components });
    let _ = admin.post("/releases", &release).expect(201);
    let _ = admin.post(&format!("/releases/{name}/{version}/publish"), &json!({})).expect(200);
    format!("{name}@{version}")
}

/// Rolls a release out to one device at once; `more` is merged into the request. Answers the rollout's id.
#[track_caller]
pub fn roll_out(admin: &Api, release: &str, device: &str, more: &Value) -> String {
    let mut request = json!({ "release": release, "select": format!("name == {device:?}"), "start": true });
    if let (Some(request), Some(more)) = (request.as_object_mut(), more.as_object()) {
        request.extend(more.clone());
    }
    let answer = admin.post("/rollouts", &request).expect(201);
    answer.at("/id").as_str().expect("a rollout has an id").to_owned()
}

/// Waits until the rollout has made the device's action and it is in one of these states.
#[track_caller]
pub fn action_in(admin: &Api, rollout: &str, device: &str, states: &[&str]) -> ActionId {
    until(format_args!("the action of {device} in {rollout} is {}", states.join(" or ")), || {
        let action = action_of(admin, rollout, device)?;
        let state = action["state"].as_str().unwrap_or_default();
        if states.contains(&state) { action["id"].as_i64() } else { None }
    })
}

/// The device's newest action of a rollout, if it has been made.
#[track_caller]
pub fn action_of(admin: &Api, rollout: &str, device: &str) -> Option<Value> {
    let page = admin.get("/actions?limit=500").expect(200);
    let items = page.at("/items");
    let mine = items.as_array()?.iter().filter(|action| action["rollout"] == rollout && action["device"] == device);
    mine.max_by_key(|action| action["id"].as_i64()).cloned()
}

#[track_caller]
pub fn action(admin: &Api, id: ActionId) -> Value {
    admin.get(&format!("/actions/{id}")).expect(200).json()
}

/// Every message a device sent for an action, and Muster's own sentences about it, newest page only.
#[track_caller]
pub fn reports(admin: &Api, id: ActionId) -> Vec<Value> {
    let page = admin.get(&format!("/actions/{id}/reports?limit=500")).expect(200);
    page.at("/items").as_array().cloned().unwrap_or_default()
}

/// Whether some report's message contains this text.
#[track_caller]
pub fn was_told(admin: &Api, id: ActionId, text: &str) -> bool {
    let says = |message: &Value| message.as_str().is_some_and(|message| message.contains(text));
    reports(admin, id).iter().any(|report| report["messages"].as_array().is_some_and(|all| all.iter().any(says)))
}

/// The codes of `why`, the most urgent first, and all its texts.
#[track_caller]
pub fn why(admin: &Api, device: &str) -> (Vec<String>, String) {
    let answer = admin.get(&format!("/devices/{device}/why")).expect(200);
    let reasons = answer.at("/reasons");
    let of = |member: &str| -> Vec<String> {
        let reasons = reasons.as_array().map(Vec::as_slice).unwrap_or_default();
        reasons.iter().map(|reason| reason[member].as_str().unwrap_or_default().to_owned()).collect()
    };
    (of("code"), of("text").join("\n"))
}

/// Waits until the rollout is in this state; answers it.
#[track_caller]
pub fn rollout_in(admin: &Api, id: &str, state: &str) -> Value {
    until(format_args!("rollout {id} is {state}"), || {
        let rollout = admin.get(&format!("/rollouts/{id}")).expect(200).json();
        (rollout["state"] == state).then_some(rollout)
    })
}

#[track_caller]
pub fn cancel(admin: &Api, id: ActionId, force: bool) {
    let _ =
        admin.post(&format!("/actions/{id}/cancel"), &json!({ "force": force, "reason": "wrong site" })).expect(200);
}
