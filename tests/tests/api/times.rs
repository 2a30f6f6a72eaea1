//! What rollouts do by themselves as time passes: start, soak, lose patience, take in who comes later.

use std::process::Command;

use muster_tests::ddi::action_id;
use muster_tests::field::{CONTENT, FILE, Field, NAME};
use muster_tests::operator::{action_in, action_of, publish, roll_out, rollout_in, why};
use muster_tests::wait::{until, until_true};
use serde_json::{Value, json};

/// The moment so many seconds from now, as the API writes it.
fn in_seconds(seconds: u32) -> String {
    let moment = format!("now + {seconds} seconds");
    let output = Command::new("date").args(["-u", "-d", &moment, "+%Y-%m-%dT%H:%M:%S.000Z"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_rollout_starts_by_itself_at_its_time() {
    let field = Field::new();
    let at = in_seconds(3);
    let rollout = field.roll_out("1", &json!({ "start": false, "start_at": at }));
    let ready = field.admin().get(&format!("/rollouts/{rollout}")).expect(200);
    assert_eq!((ready.at("/state"), ready.at("/start_at")), (json!("ready"), json!(at)), "{ready}");
    let running = rollout_in(field.admin(), &rollout, "running");
    assert!(running["started_at"].as_str().unwrap() >= at.as_str(), "{running}");
    let _ = field.device.link_to_come("deploymentBase");
}

#[test]
fn the_next_wave_waits_until_the_one_before_has_soaked() {
    let field = Field::new();
    let _ = field.another("sn-2");
    let waves = json!([{ "take": { "select": "name == sn-1" }, "soak_s": 3 }, { "take": "rest" }]);
    let rollout = field.roll_out("1", &json!({ "select": "all", "waves": waves }));
    let action = action_in(field.admin(), &rollout, NAME, &["offered"]);
    let _ = field.device.report("deploymentBase", action, ("closed", "success")).expect(200);
    assert_eq!(action_of(field.admin(), &rollout, "sn-2").unwrap()["state"], "scheduled");
    assert_eq!(why(field.admin(), "sn-2").0, ["waits_for_wave"]);
    let _ = action_in(field.admin(), &rollout, "sn-2", &["offered"]);
    let waves = field.admin().get(&format!("/rollouts/{rollout}")).expect(200).at("/waves");
    let opened = |at: usize| waves[at]["opened_at"].as_str().unwrap().to_owned();
    assert!(opened(1) > opened(0), "{waves}");
    assert_eq!(waves[0]["state"], "passed", "{waves}");
}

#[test]
fn a_silent_device_counts_as_failed_and_is_believed_when_it_comes_back() {
    let field = Field::new();
    let rollout = field.roll_out("1", &json!({ "silence_s": 10 }));
    let link = field.device.link_to_come("deploymentBase");
    let _ = field.device.get(&link).expect(200);
    let paused = rollout_in(field.admin(), &rollout, "paused");
    assert_eq!(paused["waves"][0]["counts"]["lost"], json!(1), "{paused}");
    assert!(paused["text"].as_str().unwrap().contains("1 failed"), "{paused}");
    assert_eq!(why(field.admin(), NAME).0[0], "lost");
    let _ = field.device.report("deploymentBase", action_id(&link), ("closed", "success")).expect(200);
    let action = action_in(field.admin(), &rollout, NAME, &["finished"]);
    assert_eq!(action, action_id(&link));
    assert_eq!(field.admin().get(&format!("/devices/{NAME}")).expect(200).at("/release"), "os@1");
    let counts = field.admin().get(&format!("/rollouts/{rollout}")).expect(200).at("/waves/0/counts");
    assert_eq!((&counts["lost"], &counts["finished"]), (&json!(0), &json!(1)), "{counts}");
}

#[test]
fn a_device_that_matches_later_joins_a_dynamic_rollout_and_no_other() {
    let field = Field::new();
    let release = publish(field.admin(), "os", "1", (FILE, CONTENT));
    let dynamic = roll_out(field.admin(), &release, NAME, &json!({ "select": "all", "dynamic": true }));
    let fixed = roll_out(field.admin(), &release, NAME, &json!({ "select": "all" }));
    for rollout in [&dynamic, &fixed] {
        let _ = action_in(field.admin(), rollout, NAME, &["offered", "queued"]);
    }
    let later = field.another("sn-2");
    let action = action_in(field.admin(), &dynamic, "sn-2", &["offered"]);
    assert_eq!(action_id(&later.link_to_come("deploymentBase")), action);
    assert_eq!(action_of(field.admin(), &fixed, "sn-2"), None);
    let counts = field.admin().get(&format!("/rollouts/{dynamic}")).expect(200).at("/waves/0/counts/total");
    assert_eq!(counts, json!(2));
}

/// What the device is told to do with its update.
fn handling(field: &Field, link: &str) -> (Value, Value) {
    let offer = field.device.get(link).expect(200);
    (offer.at("/deployment/download"), offer.at("/deployment/update"))
}

#[test]
fn a_download_is_all_that_is_asked_of_a_device() {
    let field = Field::new();
    let offer = field.offer("1", &json!({ "push": "download_only" }));
    assert_eq!(handling(&field, &offer.link), (json!("forced"), json!("skip")));
    let _ = field.device.report("deploymentBase", offer.action, ("downloaded", "none")).expect(200);
    let _ = action_in(field.admin(), &offer.rollout, NAME, &["downloaded"]);
    let finished = rollout_in(field.admin(), &offer.rollout, "finished");
    assert_eq!(finished["waves"][0]["counts"]["downloaded"], json!(1), "{finished}");
    assert_eq!(field.admin().get(&format!("/devices/{NAME}")).expect(200).at("/release"), Value::Null);
}

#[test]
fn a_soft_update_is_forced_from_its_time_on_or_by_hand() {
    let field = Field::new();
    let offer = field.offer("1", &json!({ "push": { "forced_from": { "at": in_seconds(4) } } }));
    assert_eq!(handling(&field, &offer.link), (json!("attempt"), json!("attempt")));
    let forced = (json!("forced"), json!("forced"));
    until_true("it is forced", || handling(&field, &offer.link) == forced);
    let _ = field.device.report("deploymentBase", offer.action, ("closed", "success")).expect(200);
    let soft = field.offer("2", &json!({ "push": "soft" }));
    assert_eq!(handling(&field, &soft.link), (json!("attempt"), json!("attempt")));
    let _ = field.admin().post(&format!("/actions/{}/force", soft.action), &json!({})).expect(200);
    until("it is forced", || (handling(&field, &soft.link) == forced).then_some(()));
}
