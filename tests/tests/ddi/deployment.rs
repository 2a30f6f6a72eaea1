//! What a deployment says, when it can be read, and what is left of it afterwards.

use std::time::{SystemTime, UNIX_EPOCH};

use muster_tests::ddi::{action_id, feedback};
use muster_tests::field::{CONTENT, FILE, Field, NAME};
use muster_tests::operator::{self, action_in, publish_components, roll_out, upload};
use muster_tests::wait::until;
use serde_json::{Value, json};

/// How hard the device is pushed: `download` and `update`.
fn handling(field: &Field, link: &str) -> (Value, Value) {
    let answer = field.device.get(link).expect(200);
    (answer.at("/deployment/download"), answer.at("/deployment/update"))
}

/// A window that is closed now: an hour of a day three days from now.
fn closed_window() -> String {
    let days = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 86_400;
    // 1970 began on a Thursday.
    let names = ["thu", "fri", "sat", "sun", "mon", "tue", "wed"];
    format!("{} 00:00-01:00 UTC", names[usize::try_from((days + 3) % 7).unwrap()])
}

#[test]
fn each_kind_of_push_has_hawkbits_words() {
    let kinds = [
        (json!("forced"), "forced", "forced"),
        (json!("soft"), "attempt", "attempt"),
        (json!("download_only"), "forced", "skip"),
        (json!({ "forced_from": { "at": "2099-01-01T00:00:00Z" } }), "attempt", "attempt"),
        (json!({ "forced_from": { "at": "2020-01-01T00:00:00Z" } }), "forced", "forced"),
    ];
    for (push, download, update) in kinds {
        let field = Field::new();
        let offer = field.offer("1", &json!({ "push": push }));
        assert_eq!(handling(&field, &offer.link), (json!(download), json!(update)), "{push}");
    }
}

#[test]
fn a_soft_update_can_be_forced_later_and_the_link_tells() {
    let field = Field::new();
    let offer = field.offer("1", &json!({ "push": "soft" }));
    let _ = field.admin().post(&format!("/actions/{}/force", offer.action), &json!({})).expect(200);
    let link = field.device.link("deploymentBase").unwrap();
    assert_eq!(action_id(&link), offer.action);
    assert_ne!(link, offer.link);
    assert_eq!(handling(&field, &link), (json!("forced"), json!("forced")));
}

#[test]
fn without_a_window_nothing_is_said_about_windows() {
    let field = Field::new();
    let offer = field.offer("1", &json!({}));
    assert!(field.device.get(&offer.link).expect(200).at("/deployment").get("maintenanceWindow").is_none());
}

#[test]
fn an_open_window_lets_the_device_install() {
    let field = Field::new();
    let offer = field.offer("1", &json!({ "window": "daily 00:00+24h UTC" }));
    let answer = field.device.get(&offer.link).expect(200);
    assert_eq!(answer.at("/deployment/maintenanceWindow"), "available");
    assert_eq!(handling(&field, &offer.link), (json!("forced"), json!("forced")));
}

#[test]
fn before_its_window_opens_a_device_downloads_and_a_skipped_update_stays_on_offer() {
    let field = Field::new();
    let offer = field.offer("1", &json!({ "window": closed_window() }));
    let answer = field.device.get(&offer.link).expect(200);
    assert_eq!(answer.at("/deployment/maintenanceWindow"), "unavailable");
    assert_eq!(handling(&field, &offer.link), (json!("forced"), json!("skip")));
    // swupdate does this without having downloaded anything.
    let mut skipped = feedback("closed", "success");
    skipped["status"]["details"] = json!(["Skipped Update."]);
    let _ = field.device.post(&format!("/deploymentBase/{}/feedback", offer.action), &skipped).expect(200);
    assert_eq!(field.device.link("deploymentBase").map(|link| action_id(&link)), Some(offer.action));
    assert_eq!(field.admin().get("/devices/sn-1").expect(200).at("/release"), Value::Null);
    let (codes, _) = operator::why(field.admin(), NAME);
    assert_eq!(codes[0], "waits_for_window");
}

#[test]
fn a_download_only_update_is_done_when_it_is_downloaded() {
    let field = Field::new();
    let offer = field.offer("1", &json!({ "push": "download_only" }));
    let _ = field.device.get(&offer.link).expect(200);
    let _ = field.device.report("deploymentBase", offer.action, ("downloaded", "success")).expect(200);
    assert_eq!(field.state_of(offer.action), "downloaded");
    assert_eq!(field.device.link("deploymentBase"), None);
    assert_eq!(field.device.link("installedBase"), None);
    // One later word on it is still taken.
    let _ = field.device.report("deploymentBase", offer.action, ("closed", "success")).expect(200);
    assert_eq!(field.state_of(offer.action), "finished");
    let _ = field.device.report("deploymentBase", offer.action, ("closed", "success")).expect(410);
}

#[test]
fn swupdate_closing_a_download_only_update_has_not_installed_it() {
    let field = Field::new();
    let offer = field.offer("1", &json!({ "push": "download_only" }));
    let _ = field.device.get(&offer.link).expect(200);
    let _ = field.device.report("deploymentBase", offer.action, ("closed", "success")).expect(200);
    assert_eq!(field.state_of(offer.action), "downloaded");
    assert_eq!(field.admin().get("/devices/sn-1").expect(200).at("/release"), Value::Null);
}

#[test]
fn it_stays_readable_while_the_device_works_and_reboots() {
    let field = Field::new();
    let offer = field.running("1");
    for _ in 0..3 {
        let _ = field.device.report("deploymentBase", offer.action, ("proceeding", "none")).expect(200);
        let _ = field.device.get(&offer.link).expect(200);
        assert_eq!(field.device.link("deploymentBase").as_ref(), Some(&offer.link));
    }
}

#[test]
fn it_is_gone_once_it_is_canceled_or_over() {
    let field = Field::new();
    let offer = field.canceling("1");
    let _ = field.device.get(&offer.link).expect(404);
    let _ = field.device.report("cancelAction", offer.action, ("closed", "success")).expect(200);
    let _ = field.device.get(&offer.link).expect(404);
}

#[test]
fn a_deployment_can_be_read_without_the_query() {
    let field = Field::new();
    let offer = field.offer("1", &json!({}));
    let _ = field.device.get(&format!("/deploymentBase/{}", offer.action)).expect(200);
    assert_eq!(field.state_of(offer.action), "running");
}

#[test]
fn installed_base_tells_what_runs_and_its_files_stay() {
    let field = Field::new();
    let offer = field.running("1");
    assert_eq!(field.device.link("installedBase"), None);
    let _ = field.device.get(&format!("/installedBase/{}", offer.action)).expect(404);
    let deployment = field.device.get(&offer.link).expect(200).at("/deployment/chunks");
    let _ = field.device.report("deploymentBase", offer.action, ("closed", "success")).expect(200);
    let link = field.device.link("installedBase").unwrap();
    assert_eq!(action_id(&link), offer.action);
    let installed = field.device.get(&link).expect(200);
    assert_eq!(installed.at("/id"), json!(offer.action.to_string()));
    assert_eq!(installed.at("/deployment/chunks"), deployment);
    let file = installed.at("/deployment/chunks/0/artifacts/0/_links/download-http/href");
    assert_eq!(field.device.get(file.as_str().unwrap()).expect(200).body, CONTENT);
    assert_eq!(field.admin().get("/devices/sn-1").expect(200).at("/release"), "os@1");
}

#[test]
fn installed_base_stands_beside_the_next_update() {
    let field = Field::new();
    let first = field.running("1");
    let _ = field.device.report("deploymentBase", first.action, ("closed", "success")).expect(200);
    let second = field.offer("2", &json!({}));
    assert_ne!(first.action, second.action);
    assert_eq!(action_id(&field.device.link("installedBase").unwrap()), first.action);
    let _ = field.device.report("deploymentBase", second.action, ("closed", "failure")).expect(200);
    assert_eq!(action_id(&field.device.link("installedBase").unwrap()), first.action);
    let _ = field.device.get(&format!("/installedBase/{}", second.action)).expect(404);
}

#[test]
fn the_history_is_told_newest_first_and_only_when_asked() {
    let field = Field::new();
    let offer = field.running("1");
    for word in ["one", "two", "three"] {
        let mut body = feedback("proceeding", "none");
        body["status"]["details"] = json!([word]);
        let _ = field.device.post(&format!("/deploymentBase/{}/feedback", offer.action), &body).expect(200);
    }
    let history = |query: &str| {
        let path = format!("/deploymentBase/{}?{query}", offer.action);
        field.device.get(&path).expect(200).at("/actionHistory")
    };
    assert_eq!(history("c=1"), Value::Null);
    assert_eq!(history("actionHistory=0"), Value::Null);
    assert_eq!(history("actionHistory=2"), json!({ "status": "RUNNING", "messages": ["three", "two"] }));
    let all = history("c=5&actionHistory=-1");
    let all = all["messages"].as_array().unwrap();
    assert_eq!(all[..3], [json!("three"), json!("two"), json!("one")]);
    assert!(all.len() >= 4, "that it was fetched is history too: {all:?}");
}

#[test]
fn the_history_ends_at_a_hundred_messages() {
    let field = Field::new();
    let offer = field.running("1");
    for round in 0..3 {
        let mut body = feedback("proceeding", "none");
        body["status"]["details"] = (0..50).map(|n| json!(format!("{round}-{n}"))).collect();
        let _ = field.device.post(&format!("/deploymentBase/{}/feedback", offer.action), &body).expect(200);
    }
    let all = field.device.get(&format!("/deploymentBase/{}?actionHistory=-1", offer.action)).expect(200);
    let messages = all.at("/actionHistory/messages");
    assert_eq!(messages.as_array().unwrap().len(), 100);
    assert_eq!(messages[0], "2-49");
}

#[test]
fn several_components_become_chunks_with_hawkbits_names() {
    let field = Field::new();
    let digest = upload(field.admin(), FILE, CONTENT);
    let component = |name: &str| json!({ "name": name, "version": "2.0", "artifacts": [{ "digest": digest }] });
    let mut with_metadata = component("firmware/radio");
    with_metadata["metadata"] = json!({ "slot": "b" });
    let components = json!([component("app/web"), component("runtime/jre"), component("os"), with_metadata]);
    let release = publish_components(field.admin(), "set", "2.0", &components);
    let _ = roll_out(field.admin(), &release, NAME, &json!({}));
    let link = field.device.link_to_come("deploymentBase");
    let chunks = field.device.get(&link).expect(200).at("/deployment/chunks");
    let mut found: Vec<(&str, &str)> = chunks
        .as_array()
        .unwrap()
        .iter()
        .map(|chunk| (chunk["part"].as_str().unwrap(), chunk["name"].as_str().unwrap()))
        .collect();
    found.sort_unstable();
    assert_eq!(found, [("bApp", "web"), ("firmware", "radio"), ("jvm", "jre"), ("os", "os")]);
    let radio = chunks.as_array().unwrap().iter().find(|chunk| chunk["name"] == "radio").unwrap();
    assert_eq!(radio["metadata"], json!([{ "key": "slot", "value": "b" }]));
}

#[test]
fn fetching_and_downloading_are_history_once() {
    let field = Field::new();
    let offer = field.running("1");
    let _ = field.device.get(&offer.link).expect(200);
    let deployment = field.device.get(&offer.link).expect(200);
    let file = deployment.at("/deployment/chunks/0/artifacts/0/_links/download-http/href");
    let count = || operator::reports(field.admin(), offer.action).len();
    assert_eq!(count(), 1);
    let range = [("range", "bytes=3-")];
    let none = muster_tests::exchange::Payload::None;
    let _ = field.device.send("GET", file.as_str().unwrap(), &range, none).expect(206);
    let _ = field.device.send("HEAD", file.as_str().unwrap(), &[], none).expect(200);
    assert_eq!(count(), 1, "parts and heads are no downloads");
    let _ = field.device.get(file.as_str().unwrap()).expect(200);
    assert_eq!(count(), 2);
}

#[test]
fn the_next_update_comes_after_the_first_has_ended() {
    let field = Field::new();
    let first = field.running("1");
    let second = field.roll_out("2", &json!({}));
    let _ = action_in(field.admin(), &second, NAME, &["queued"]);
    assert_eq!(action_id(&field.device.link("deploymentBase").unwrap()), first.action);
    let _ = field.device.report("deploymentBase", first.action, ("closed", "failure")).expect(200);
    let next = until("the second update is offered", || {
        field.device.link("deploymentBase").map(|link| action_id(&link)).filter(|id| *id != first.action)
    });
    let waiting = operator::action_of(field.admin(), &second, NAME).unwrap();
    assert_eq!(waiting["id"], json!(next));
}
