//! Updates that the device, or the person in front of it, has to consent to.

use muster_tests::ddi::action_id;
use muster_tests::field::{Field, NAME};
use muster_tests::operator::{set_project, why};
use serde_json::{Value, json};

/// A field that asks for consent, with one action waiting for it.
fn waiting() -> (Field, i64) {
    let field = Field::new();
    set_project(field.admin(), &json!({ "confirmation": true }));
    let _ = field.roll_out("1", &json!({ "confirmation": true }));
    let action = action_id(&field.device.link_to_come("confirmationBase"));
    (field, action)
}

fn answer(field: &Field, action: i64, word: &str) -> u16 {
    let body = json!({ "confirmation": word, "code": 4, "details": ["by hand"] });
    field.device.post(&format!("/confirmationBase/{action}/feedback"), &body).status
}

#[test]
fn an_update_waits_for_consent_and_then_comes() {
    let (field, action) = waiting();
    assert_eq!(field.state_of(action), "awaiting_confirmation");
    assert_eq!(field.device.link("deploymentBase"), None);
    assert_eq!(why(field.admin(), NAME).0[0], "waits_for_consent");
    let _ = field.device.get(&format!("/deploymentBase/{action}")).expect(404);
    let _ = field.device.report("deploymentBase", action, ("closed", "success")).expect(404);
    assert_eq!(answer(&field, action, "confirmed"), 200);
    assert_eq!(field.device.link("confirmationBase"), None);
    assert_eq!(action_id(&field.device.link("deploymentBase").unwrap()), action);
    let _ = field.device.get(&format!("/deploymentBase/{action}")).expect(200);
}

#[test]
fn a_denied_update_keeps_waiting_and_may_be_confirmed_later() {
    let (field, action) = waiting();
    assert_eq!(answer(&field, action, "denied"), 200);
    assert_eq!(answer(&field, action, "denied"), 200);
    assert_eq!(field.state_of(action), "awaiting_confirmation");
    assert_eq!(action_id(&field.device.link("confirmationBase").unwrap()), action);
    assert_eq!(answer(&field, action, "confirmed"), 200);
    assert_eq!(field.state_of(action), "offered");
}

#[test]
fn consent_to_what_does_not_wait_is_404_and_to_what_is_over_410() {
    let (field, action) = waiting();
    assert_eq!(answer(&field, action, "confirmed"), 200);
    assert_eq!(answer(&field, action, "confirmed"), 404);
    let _ = field.device.get(&format!("/confirmationBase/{action}")).expect(404);
    let _ = field.device.report("deploymentBase", action, ("closed", "success")).expect(200);
    assert_eq!(answer(&field, action, "confirmed"), 410);
}

#[test]
fn any_other_word_is_400() {
    let (field, action) = waiting();
    assert_eq!(answer(&field, action, "perhaps"), 400);
    let path = format!("/confirmationBase/{action}/feedback");
    for body in [json!({}), json!({ "confirmation": null }), json!([])] {
        let _ = field.device.post(&path, &body).expect(400);
    }
    assert_eq!(field.state_of(action), "awaiting_confirmation");
}

#[test]
fn auto_confirm_lets_waiting_and_later_updates_through() {
    let (field, action) = waiting();
    let who = json!({ "initiator": "technician", "remark": "stays on" });
    let _ = field.device.post("/confirmationBase/activateAutoConfirm", &who).expect(200);
    assert_eq!(field.state_of(action), "offered");
    let state = field.device.get("/confirmationBase").expect(200);
    assert_eq!(state.at("/autoConfirm/active"), json!(true));
    assert_eq!(state.at("/autoConfirm/initiator"), "technician");
    assert_eq!(state.at("/autoConfirm/remark"), "stays on");
    assert!(state.at("/autoConfirm/activatedAt").is_number());
    assert!(state.at("/_links/deactivateAutoConfirm/href").is_string(), "{state}");
    assert_eq!(state.at("/_links/activateAutoConfirm"), Value::Null);
    let _ = field.device.post("/confirmationBase/activateAutoConfirm", &who).expect(409);
    let _ = field.device.report("deploymentBase", action, ("closed", "success")).expect(200);
    let next = field.offer("2", &json!({ "confirmation": true }));
    assert_ne!(next.action, action);
}

#[test]
fn auto_confirm_can_be_taken_back() {
    let field = Field::new();
    set_project(field.admin(), &json!({ "confirmation": true }));
    // Without a body, and without a content type.
    let none = muster_tests::exchange::Payload::None;
    let _ = field.device.send("POST", "/confirmationBase/activateAutoConfirm", &[], none).expect(200);
    let _ = field.device.send("POST", "/confirmationBase/deactivateAutoConfirm", &[], none).expect(200);
    let state = field.device.get("/confirmationBase").expect(200);
    assert_eq!(state.at("/autoConfirm/active"), json!(false));
    assert!(state.at("/_links/activateAutoConfirm/href").is_string(), "{state}");
    let _ = field.roll_out("1", &json!({ "confirmation": true }));
    let _ = field.device.link_to_come("confirmationBase");
}

#[test]
fn links_of_the_confirmation_resource_work() {
    let (field, action) = waiting();
    let state = field.device.get("/confirmationBase").expect(200);
    let link = state.at("/_links/confirmationBase/href");
    let waiting = field.device.get(link.as_str().unwrap()).expect(200);
    assert_eq!(waiting.at("/id"), json!(action.to_string()));
    assert_eq!(waiting.at("/confirmation/download"), "forced");
    let switch = state.at("/_links/activateAutoConfirm/href");
    let _ = field.device.post(switch.as_str().unwrap(), &json!({})).expect(200);
    assert_eq!(field.state_of(action), "offered");
}

#[test]
fn a_rollout_that_asks_needs_a_project_that_asks() {
    let field = Field::new();
    let _ = field.offer("1", &json!({ "confirmation": true }));
}
