//! How an update is taken back.

use muster_tests::field::{Field, NAME};
use muster_tests::operator::{self, why};
use muster_tests::wait::until;
use serde_json::json;

#[test]
fn a_device_is_asked_to_stop_by_the_actions_own_number() {
    let field = Field::new();
    let offer = field.canceling("1");
    let link = field.device.link("cancelAction").unwrap();
    let id = offer.action.to_string();
    assert!(link.ends_with(&format!("/cancelAction/{id}")), "{link}");
    let asked = field.device.get(&link).expect(200).json();
    assert_eq!(asked, json!({ "id": id, "cancelAction": { "stopId": id } }));
    let (codes, text) = why(field.admin(), NAME);
    assert_eq!(codes[0], "waits_for_cancel");
    assert!(text.contains("wrong site"), "{text}");
}

#[test]
fn the_cancel_can_be_read_while_it_is_pending_and_after_it_was_done() {
    let field = Field::new();
    let offer = field.running("1");
    let path = format!("/cancelAction/{}", offer.action);
    let _ = field.device.get(&path).expect(404);
    let _ = field.device.report("cancelAction", offer.action, ("closed", "success")).expect(404);
    assert_eq!(field.state_of(offer.action), "running");
    operator::cancel(field.admin(), offer.action, false);
    let _ = field.device.get(&path).expect(200);
    let _ = field.device.report("cancelAction", offer.action, ("closed", "success")).expect(200);
    let _ = field.device.get(&path).expect(200);
    let _ = field.device.report("cancelAction", offer.action, ("closed", "success")).expect(410);
}

#[test]
fn what_was_never_fetched_is_canceled_without_a_word() {
    let field = Field::new();
    let offer = field.offer("1", &json!({}));
    operator::cancel(field.admin(), offer.action, false);
    assert_eq!(field.state_of(offer.action), "canceled");
    assert_eq!(field.device.link("cancelAction"), None);
    assert_eq!(field.device.link("deploymentBase"), None);
    let _ = field.device.get(&offer.link).expect(404);
}

#[test]
fn an_update_that_finishes_although_it_is_being_canceled_has_finished() {
    let field = Field::new();
    let offer = field.canceling("1");
    let _ = field.device.report("deploymentBase", offer.action, ("proceeding", "none")).expect(200);
    assert_eq!(field.state_of(offer.action), "canceling");
    let _ = field.device.report("deploymentBase", offer.action, ("closed", "success")).expect(200);
    assert_eq!(field.state_of(offer.action), "finished");
    assert_eq!(field.device.link("cancelAction"), None);
    assert!(field.device.link("installedBase").is_some());
    assert_eq!(field.admin().get("/devices/sn-1").expect(200).at("/release"), "os@1");
}

#[test]
fn a_device_may_refuse_and_goes_on() {
    for answer in [("rejected", "none"), ("closed", "failure")] {
        let field = Field::new();
        let offer = field.canceling("1");
        let _ = field.device.report("cancelAction", offer.action, answer).expect(200);
        assert_eq!(field.state_of(offer.action), "running");
        let _ = field.device.get(&offer.link).expect(200);
        let _ = field.device.report("deploymentBase", offer.action, ("closed", "success")).expect(200);
        assert_eq!(field.state_of(offer.action), "finished");
    }
}

#[test]
fn an_operator_can_end_it_without_the_device() {
    let field = Field::new();
    let offer = field.canceling("1");
    operator::cancel(field.admin(), offer.action, true);
    assert_eq!(field.state_of(offer.action), "canceled");
    assert_eq!(field.device.link("cancelAction"), None);
    let _ = field.device.report("deploymentBase", offer.action, ("closed", "success")).expect(410);
}

#[test]
fn a_pending_cancel_does_not_block_the_next_update() {
    let field = Field::new();
    operator::set_project(field.admin(), &json!({ "poll_interval_s": 1 }));
    let first = field.canceling("1");
    let second = field.roll_out("2", &json!({}));
    assert!(field.device.link("cancelAction").is_some());
    let link = field.device.link_to_come("deploymentBase");
    let waiting = operator::action_of(field.admin(), &second, NAME).unwrap();
    assert_eq!(waiting["id"], json!(muster_tests::ddi::action_id(&link)));
    let _ = field.device.get(&link).expect(200);
    let ended = until("the old action has ended", || {
        let old = operator::action(field.admin(), first.action);
        (old["state"] == "canceled").then_some(old)
    });
    assert!(ended["reason"].as_str().unwrap().contains("newer"), "{ended}");
}

#[test]
fn aborting_a_rollout_cancels_what_is_running() {
    let field = Field::new();
    let offer = field.running("1");
    let _ = field.admin().post(&format!("/rollouts/{}/abort", offer.rollout), &json!({})).expect(200);
    let link = field.device.link_to_come("cancelAction");
    assert_eq!(muster_tests::ddi::action_id(&link), offer.action);
    let _ = field.device.report("cancelAction", offer.action, ("closed", "success")).expect(200);
    let _ = operator::rollout_in(field.admin(), &offer.rollout, "aborted");
}
