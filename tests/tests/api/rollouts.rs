//! Rollouts are made, approved, ordered about, and refuse what makes no sense.

use muster_tests::api::Api;
use muster_tests::field::{CONTENT, FILE, Field, NAME};
use muster_tests::operator::{action_in, action_of, publish, roll_out, rollout_in, why};
use serde_json::{Value, json};

const PASSWORD: &str = "a password of ann";

/// A field with the release `os@1`.
fn field() -> Field {
    let field = Field::new();
    let _ = publish(field.admin(), "os", "1", (FILE, CONTENT));
    field
}

fn account(field: &Field, name: &str, scopes: &Value) -> Api {
    let _ =
        field.admin().post("/accounts", &json!({ "name": name, "scopes": scopes, "password": PASSWORD })).expect(201);
    field.server.login(name, PASSWORD)
}

#[track_caller]
fn order(api: &Api, rollout: &str, order: &str) -> (u16, String) {
    let answer = api.post(&format!("/rollouts/{rollout}/{order}"), &json!({}));
    (answer.status, answer.code())
}

/// What `POST /rollouts` says to this, with everything else right.
#[track_caller]
fn refused(field: &Field, more: &Value) -> String {
    let mut request = json!({ "release": "os@1", "select": "all" });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer = field.admin().post("/rollouts", &request).expect(400);
    assert_eq!(answer.code(), "bad_input", "{answer}");
    answer.at("/detail").as_str().unwrap().to_owned()
}

#[test]
fn its_author_cannot_approve_a_rollout_and_somebody_else_can() {
    let field = field();
    let rollout = roll_out(field.admin(), "os@1", NAME, &json!({ "approval": true }));
    assert_eq!(rollout_in(field.admin(), &rollout, "awaiting_approval")["approved_by"], Value::Null);
    assert_eq!(order(field.admin(), &rollout, "approve"), (403, "own_rollout".into()));
    assert_eq!(order(field.admin(), &rollout, "start"), (409, "illegal_transition".into()));
    // A second token of the same account is the same person.
    let made = json!({ "name": "second", "scopes": ["rollouts:approve"], "life_s": 60 });
    let made = field.admin().post("/tokens", &made).expect(201);
    let second = field.admin().with_token(made.at("/secret").as_str().unwrap());
    assert_eq!(order(&second, &rollout, "approve"), (403, "own_rollout".into()));
    assert_eq!(field.device.link("deploymentBase"), None);
    let ann = account(&field, "ann", &json!(["rollouts:approve"]));
    assert_eq!(order(&ann, &rollout, "approve").0, 200);
    assert_eq!(rollout_in(field.admin(), &rollout, "running")["approved_by"], "ann");
    assert_eq!(order(&ann, &rollout, "approve"), (409, "illegal_transition".into()));
    let _ = field.device.link_to_come("deploymentBase");
}

#[test]
fn a_denied_rollout_has_ended() {
    let field = field();
    let rollout = roll_out(field.admin(), "os@1", NAME, &json!({ "approval": true }));
    let ann = account(&field, "ann", &json!(["rollouts:approve"]));
    assert_eq!(order(&ann, &rollout, "deny").0, 200);
    let denied = rollout_in(field.admin(), &rollout, "denied");
    assert!(denied["text"].as_str().unwrap().contains("ann"), "{denied}");
    assert_eq!(order(&ann, &rollout, "approve"), (409, "illegal_transition".into()));
    assert_eq!(order(field.admin(), &rollout, "start"), (409, "illegal_transition".into()));
}

#[test]
fn a_rollout_waits_for_its_start_unless_told_otherwise() {
    let field = field();
    let rollout = roll_out(field.admin(), "os@1", NAME, &json!({ "start": false }));
    assert_eq!(field.admin().get(&format!("/rollouts/{rollout}")).expect(200).at("/state"), "draft");
    assert_eq!(order(field.admin(), &rollout, "start").0, 200);
    let running = rollout_in(field.admin(), &rollout, "running");
    assert!(running["started_at"].is_string(), "{running}");
    assert_eq!(order(field.admin(), &rollout, "start"), (409, "illegal_transition".into()));
}

#[test]
fn a_rollout_that_reaches_nobody_does_not_start() {
    let field = field();
    let rollout = roll_out(field.admin(), "os@1", "ghost", &json!({ "start": false }));
    let refused = field.admin().post(&format!("/rollouts/{rollout}/start"), &json!({})).expect(409);
    assert_eq!(refused.code(), "conflict", "{refused}");
    assert!(refused.text().contains("ghost"), "{refused}");
    let later = roll_out(field.admin(), "os@1", "ghost", &json!({ "start": false, "dynamic": true }));
    assert_eq!(order(field.admin(), &later, "start").0, 200);
}

#[test]
fn what_makes_no_sense_is_refused_with_a_hint() {
    let field = field();
    let wave = |take: Value| json!({ "take": take });
    let cases = [
        (json!({ "window": "sundays 02:00-05:00 Europe/Berlin" }), "sun"),
        (json!({ "window": "sun 02:00-05:00 Europe/Belrin" }), "Europe/Berlin"),
        (json!({ "window": "sun 02:00-25:00 UTC" }), "23:59"),
        (json!({ "window": "" }), "Europe/Berlin"),
        (json!({ "waves": [wave(json!({ "percent": 60 })), wave(json!({ "percent": 50 }))] }), "110 %"),
        (json!({ "waves": [wave(json!({ "percent": 101 }))] }), "100"),
        (json!({ "waves": [wave(json!({ "percent": 0 }))] }), "between 1 and 100"),
        (json!({ "waves": [wave(json!({ "count": 0 }))] }), "at least 1"),
        (json!({ "waves": [wave(json!("rest")), wave(json!("rest"))] }), "takes the rest"),
        (json!({ "waves": [wave(json!({ "select": "nmae == a" }))] }), "name"),
        (json!({ "waves": [{ "take": "rest", "success": { "percent": 0 } }] }), "at least 1 device"),
        (json!({ "waves": vec![wave(json!({ "count": 1 })); 101] }), "1 to 100 waves"),
        (json!({ "priority": 1001 }), "0 to 1000"),
        (json!({ "silence_s": 9 }), "between 10 s"),
        (json!({ "select": "nmae == a" }), "did you mean name"),
        (json!({ "select": "" }), "all"),
        (json!({ "name": "r-12" }), "id"),
        (json!({ "name": "a b" }), "name"),
        (json!({ "release": null }), "release"),
        (json!({ "channel": "stable" }), "either"),
        (json!({ "release": "os" }), "name@version"),
    ];
    for (more, hint) in cases {
        let detail = refused(&field, &more);
        assert!(detail.contains(hint), "{more}: {detail}");
    }
    assert_eq!(field.admin().get("/rollouts").expect(200).at("/items"), json!([]));
}

#[test]
fn only_a_published_release_is_rolled_out() {
    let field = field();
    let components = field.admin().get("/releases/os/1").expect(200).at("/components");
    let draft = json!({ "name": "draft", "version": "1", "components": components });
    let _ = field.admin().post("/releases", &draft).expect(201);
    let _ = field.admin().post("/releases/os/1/yank", &json!({ "reason": "crashes" })).expect(200);
    for (release, status) in [("draft@1", 409), ("os@1", 409), ("ghost@1", 404)] {
        let _ = field.admin().post("/rollouts", &json!({ "release": release, "select": "all" })).expect(status);
    }
    let _ = field.admin().post("/rollouts", &json!({ "channel": "ghost", "select": "all" })).expect(404);
}

/// Every order that is refused in this state.
#[track_caller]
fn check_illegal(field: &Field, rollout: &str, orders: &[&str]) {
    for illegal in orders {
        let before = field.admin().get(&format!("/rollouts/{rollout}")).expect(200);
        let (status, code) = order(field.admin(), rollout, illegal);
        assert_eq!(status, 409, "{illegal} of {before}");
        assert!(["illegal_transition", "conflict"].contains(&code.as_str()), "{illegal}: {code}");
        let after = field.admin().get(&format!("/rollouts/{rollout}")).expect(200);
        assert_eq!(after.at("/state"), before.at("/state"), "{illegal}");
    }
}

#[test]
fn orders_that_do_not_fit_the_state_are_refused_and_change_nothing() {
    let field = field();
    let draft = roll_out(field.admin(), "os@1", NAME, &json!({ "start": false }));
    check_illegal(&field, &draft, &["pause", "resume", "rollback", "next-wave", "retry", "approve", "deny"]);
    let rollout = roll_out(field.admin(), "os@1", NAME, &json!({}));
    let action = action_in(field.admin(), &rollout, NAME, &["offered"]);
    check_illegal(&field, &rollout, &["start", "resume", "next-wave", "retry", "approve"]);
    assert_eq!(order(field.admin(), &rollout, "pause").0, 200);
    check_illegal(&field, &rollout, &["start", "pause", "retry"]);
    assert_eq!(order(field.admin(), &rollout, "resume").0, 200);
    let _ = field.device.report("deploymentBase", action, ("closed", "success")).expect(200);
    let _ = rollout_in(field.admin(), &rollout, "finished");
    check_illegal(&field, &rollout, &["start", "pause", "resume", "abort", "next-wave", "retry"]);
    assert_eq!(field.admin().delete(&format!("/rollouts/{rollout}")).expect(409).code(), "conflict");
    let _ = field.admin().delete(&format!("/rollouts/{draft}")).expect(204);
}

#[test]
fn an_aborted_rollout_asks_its_devices_to_stop() {
    let field = field();
    let rollout = roll_out(field.admin(), "os@1", NAME, &json!({}));
    let action = action_in(field.admin(), &rollout, NAME, &["offered"]);
    let _ = field.device.get(&field.device.link_to_come("deploymentBase")).expect(200);
    assert_eq!(order(field.admin(), &rollout, "abort").0, 200);
    let _ = field.device.link_to_come("cancelAction");
    let _ = field.device.report("cancelAction", action, ("closed", "success")).expect(200);
    let _ = rollout_in(field.admin(), &rollout, "aborted");
    check_illegal(&field, &rollout, &["start", "pause", "resume", "abort", "next-wave"]);
}

#[test]
fn a_failure_pauses_and_retry_offers_it_again() {
    let field = field();
    let rollout = roll_out(field.admin(), "os@1", NAME, &json!({ "waves": [{ "take": "rest" }] }));
    let action = action_in(field.admin(), &rollout, NAME, &["offered"]);
    let _ = field.device.report("deploymentBase", action, ("closed", "failure")).expect(200);
    let paused = rollout_in(field.admin(), &rollout, "paused");
    assert_eq!(paused["waves"][0]["state"], "stopped", "{paused}");
    let retried = field.admin().post(&format!("/rollouts/{rollout}/retry"), &json!({})).expect(201);
    assert_eq!(retried.at("/retry_of"), json!(rollout));
    let id = retried.at("/id").as_str().unwrap().to_owned();
    let again = action_in(field.admin(), &id, NAME, &["offered"]);
    let _ = field.device.report("deploymentBase", again, ("closed", "success")).expect(200);
    let _ = rollout_in(field.admin(), &id, "finished");
}

#[test]
fn the_next_wave_opens_by_hand_and_a_rollback_brings_devices_back() {
    let field = Field::new();
    let other = field.another("sn-2");
    let first = field.running("1");
    let _ = field.device.report("deploymentBase", first.action, ("closed", "success")).expect(200);
    let release = publish(field.admin(), "os", "2", (FILE, CONTENT));
    let waves = json!([{ "take": { "select": "name == sn-1" }, "advance": "manual" }, { "take": "rest" }]);
    let more = json!({ "select": "all", "waves": waves });
    let rollout = roll_out(field.admin(), &release, NAME, &more);
    let action = action_in(field.admin(), &rollout, NAME, &["offered"]);
    let _ = field.device.report("deploymentBase", action, ("closed", "success")).expect(200);
    let _ = action_in(field.admin(), &rollout, "sn-2", &["scheduled"]);
    assert_eq!(why(field.admin(), "sn-2").0[0], "waits_for_wave");
    assert_eq!(order(field.admin(), &rollout, "next-wave").0, 200);
    check_illegal(&field, &rollout, &["next-wave"]);
    let _ = other.link_to_come("deploymentBase");
    assert_eq!(order(field.admin(), &rollout, "rollback").0, 200);
    let _ = rollout_in(field.admin(), &rollout, "rolling_back");
    check_illegal(&field, &rollout, &["pause", "resume", "next-wave"]);
    let back = muster_tests::wait::until("the way back is offered", || {
        action_of(field.admin(), &rollout, NAME)
            .filter(|action| action["rollback"] == true && action["state"] == "offered")
    });
    assert_eq!(back["release"], "os@1");
    let _ = field.device.report("deploymentBase", back["id"].as_i64().unwrap(), ("closed", "success")).expect(200);
    let canceled = action_of(field.admin(), &rollout, "sn-2").unwrap();
    if canceled["state"] == "canceling" {
        let _ = other.report("cancelAction", canceled["id"].as_i64().unwrap(), ("closed", "success")).expect(200);
    }
    let _ = rollout_in(field.admin(), &rollout, "rolled_back");
    assert_eq!(field.admin().get("/devices/sn-1").expect(200).at("/release"), "os@1");
}

#[test]
fn of_two_rollouts_for_one_device_the_higher_priority_goes_first() {
    let field = field();
    let other = publish(field.admin(), "os", "2", (FILE, CONTENT));
    let low = roll_out(field.admin(), &other, NAME, &json!({ "priority": 1, "start": false }));
    let high = roll_out(field.admin(), "os@1", NAME, &json!({ "priority": 999, "start": false }));
    let blocker = field.running("0");
    for rollout in [&low, &high] {
        assert_eq!(order(field.admin(), rollout, "start").0, 200);
        let _ = action_in(field.admin(), rollout, NAME, &["queued"]);
    }
    let _ = field.device.report("deploymentBase", blocker.action, ("closed", "success")).expect(200);
    let first = action_in(field.admin(), &high, NAME, &["offered"]);
    let _ = action_in(field.admin(), &low, NAME, &["queued"]);
    let (codes, text) = why(field.admin(), NAME);
    assert!(codes.iter().any(|code| code == "waits_for_action"), "{codes:?}");
    assert!(text.contains(&format!("action {first} of {high}")) && text.contains("priority 999"), "{text}");
    let _ = field.device.report("deploymentBase", first, ("closed", "success")).expect(200);
    let _ = action_in(field.admin(), &low, NAME, &["offered"]);
}

#[test]
fn names_are_given_once_and_work_like_ids() {
    let field = field();
    let _ = roll_out(field.admin(), "os@1", NAME, &json!({ "name": "spring", "start": false }));
    let again = json!({ "release": "os@1", "select": "all", "name": "spring" });
    assert_eq!(field.admin().post("/rollouts", &again).expect(409).code(), "exists");
    assert_eq!(order(field.admin(), "spring", "start").0, 200);
    let unnamed = [(); 2].map(|()| roll_out(field.admin(), "os@1", NAME, &json!({ "start": false })));
    let name = |id: &String| field.admin().get(&format!("/rollouts/{id}")).expect(200).at("/name");
    assert_eq!(unnamed.each_ref().map(name), [json!("os-1"), json!("os-1-2")]);
}
