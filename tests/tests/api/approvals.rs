//! Nobody starts what others have to approve: neither its author by whatever account, nor time, nor a changed plan.

use muster_tests::api::Api;
use muster_tests::exchange::{Payload, agent, exchange};
use muster_tests::field::{CONTENT, FILE, Field, NAME};
use muster_tests::operator::{action_in, action_of, publish, roll_out, rollout_in};
use muster_tests::server::Server;
use serde_json::{Value, json};

const PASSWORD: &str = "correct horse battery";

/// A field with the release `os@1`, a rule of two officers, and officers.
struct Plant {
    field: Field,
    ann: Api,
    bob: Api,
    cat: Api,
}

fn plant() -> Plant {
    let field = Field::new();
    let _ = publish(field.admin(), "os", "1", (FILE, CONTENT));
    let [ann, bob, cat] = ["ann", "bob", "cat"].map(|name| officer(&field.server, name));
    set_rule(field.admin(), &json!({ "needed": 2, "role": "security-officer" }));
    Plant { field, ann, bob, cat }
}

fn officer(server: &Server, name: &str) -> Api {
    let account = json!({ "name": name, "scopes": ["read", "rollouts:write"], "password": PASSWORD });
    let _ = server.admin().post("/accounts", &account).expect(201);
    let _ = server.admin().post("/role-bindings", &json!({ "account": name, "role": "security-officer" })).expect(201);
    server.login(name, PASSWORD)
}

#[track_caller]
fn set_rule(admin: &Api, rule: &Value) {
    let _ = admin.put("/approval-rules", rule).expect(200);
}

#[track_caller]
fn delete_rules(admin: &Api) {
    for rule in admin.get("/approval-rules").expect(200).at("/items").as_array().unwrap() {
        let _ = admin.delete(&format!("/approval-rules/{}", rule["id"].as_str().unwrap())).expect(204);
    }
}

#[track_caller]
fn order(api: &Api, rollout: &str, order: &str) -> (u16, String) {
    let answer = api.post(&format!("/rollouts/{rollout}/{order}"), &json!({}));
    (answer.status, answer.code())
}

fn show(api: &Api, rollout: &str) -> Value {
    serde_json::from_str(&api.get(&format!("/rollouts/{rollout}")).expect(200).text()).unwrap()
}

/// A token of somebody's, or of a service account's that he made.
fn token(api: &Api, account: Option<&str>, scopes: &Value) -> Api {
    let mut asked = json!({ "name": "t", "scopes": scopes, "life_s": 600 });
    if let Some(account) = account {
        asked["account"] = json!(account);
    }
    let made = api.post("/tokens", &asked).expect(201);
    api.with_token(made.at("/secret").as_str().unwrap())
}

/// Past the server, as one who has its disk: time that nobody has to wait for.
fn write_past(server: &Server, sql: &str) {
    let database = rusqlite::Connection::open(server.data().join("muster.db")).unwrap();
    database.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
    assert_eq!(database.execute(sql, []).unwrap(), 1, "{sql}");
}

#[test]
fn a_rollout_that_a_rule_covers_starts_when_two_others_have_approved_its_plan() {
    let plant = plant();
    let rollout = roll_out(&plant.ann, "os@1", NAME, &json!({}));
    let waiting = rollout_in(plant.field.admin(), &rollout, "awaiting_approval");
    assert_eq!(waiting["approvals_needed"][0]["missing"], 2, "{waiting}");
    let plan = plant.bob.get(&format!("/rollouts/{rollout}/plan")).expect(200);
    let text = plan.at("/text").as_str().unwrap().to_owned();
    assert_eq!(muster_tests::operator::digest(text.as_bytes()), plan.at("/digest").as_str().unwrap());
    assert!(text.contains(&muster_tests::operator::digest(CONTENT)), "{text}");
    let approve = format!("/rollouts/{rollout}/approve");
    let seen = json!({ "plan": plan.at("/digest"), "reason": "read it" });
    let other = json!({ "plan": format!("sha256:{}", "0".repeat(64)) });
    assert_eq!(plant.bob.post(&approve, &other).expect(409).code(), "conflict");
    let first = plant.bob.post(&approve, &seen).expect(200);
    assert_eq!((first.at("/state"), first.at("/approvals_needed/0/missing")), (json!("awaiting_approval"), json!(1)));
    assert_eq!(order(&plant.ann, &rollout, "start"), (409, "illegal_transition".into()));
    assert_eq!(plant.field.device.link("deploymentBase"), None);
    let _ = plant.cat.post(&approve, &seen).expect(200);
    let running = rollout_in(plant.field.admin(), &rollout, "running");
    assert_eq!(running["approved_by"], "cat");
    assert_eq!(running["approvals"].as_array().unwrap().len(), 2, "{running}");
    let _ = plant.field.device.link_to_come("deploymentBase");
}

#[test]
fn a_rule_holds_for_those_who_have_its_role_over_the_project_and_for_rollouts_that_reach_its_devices() {
    let plant = plant();
    let admin = plant.field.admin();
    let refused = admin.put("/approval-rules", &json!({ "needed": 1, "role": "viewer" })).expect(400);
    assert!(refused.text().contains("rollouts:approve"), "{refused}");
    let _ = admin.put("/approval-rules", &json!({ "needed": 0, "role": "admin" })).expect(400);
    let _ = admin.put("/approval-rules", &json!({ "needed": 1, "role": "nobody" })).expect(404);
    let by_device = json!({ "needed": 1, "role": "admin", "select": "attribute.site == berlin" });
    assert!(admin.put("/approval-rules", &by_device).expect(400).text().contains("says of itself"));
    let _ = plant.ann.put("/approval-rules", &json!({ "needed": 1, "role": "admin" })).expect(403);
    // Who may approve, but not in the role that is asked for.
    let eve = json!({ "name": "eve", "scopes": ["rollouts:approve"], "password": PASSWORD });
    let _ = admin.post("/accounts", &eve).expect(201);
    let eve = plant.field.server.login("eve", PASSWORD);
    let rollout = roll_out(&plant.ann, "os@1", NAME, &json!({}));
    assert_eq!(order(&eve, &rollout, "approve"), (403, "role_needed".into()));
    // A role over some devices is no role over rollouts.
    let over_some = json!({ "account": "eve", "role": "security-officer", "select": "all" });
    let _ = admin.post("/role-bindings", &over_some).expect(201);
    assert_eq!(order(&eve, &rollout, "approve"), (403, "role_needed".into()));
    // Without the rule it is ready.
    delete_rules(admin);
    let _ = rollout_in(admin, &rollout, "awaiting_approval");
    assert_eq!(order(&plant.ann, &rollout, "start").0, 200);
    let _ = rollout_in(admin, &rollout, "running");
    let _ = admin.post(&format!("/rollouts/{rollout}/abort"), &json!({})).expect(200);
    // One for some devices covers what reaches them, and nothing else.
    set_rule(admin, &json!({ "needed": 1, "role": "security-officer", "select": "label.site == berlin" }));
    let free = roll_out(&plant.ann, "os@1", NAME, &json!({ "start": false }));
    assert_eq!(show(admin, &free)["state"], "draft");
    let _ = admin.patch(&format!("/devices/{NAME}"), &json!({ "labels": { "site": "berlin" } })).expect(200);
    assert_eq!(order(&plant.ann, &free, "start"), (409, "illegal_transition".into()));
    assert_eq!(order(&plant.bob, &free, "approve").0, 200);
    assert_eq!(order(&plant.ann, &free, "start").0, 200);
}

/// Each: what the author tries, and whether the rollout got anywhere by it.
#[test]
fn whatever_its_author_tries_a_rollout_does_not_start_without_two_others() {
    let plant = plant();
    let admin = plant.field.admin();
    let rollout = roll_out(&plant.ann, "os@1", NAME, &json!({}));
    let mut tried: Vec<(&str, u16)> = Vec::new();
    let mut attack = |name: &'static str, by: &Api, word: &str| tried.push((name, order(by, &rollout, word).0));
    attack("the author approves", &plant.ann, "approve");
    let second = token(&plant.ann, None, &json!(["rollouts:approve"]));
    attack("the author approves by a second token", &second, "approve");
    attack("the author starts it all the same", &plant.ann, "start");
    attack("the author resumes it", &plant.ann, "resume");
    attack("the author opens the next wave", &plant.ann, "next-wave");
    attack("the author retries it", &plant.ann, "retry");
    attack("the author breaks the glass without the right to", &plant.ann, "break-glass");
    // Ann may make accounts, too.
    let binding = admin.post("/role-bindings", &json!({ "account": "ann", "role": "admin" })).expect(201);
    let ann = plant.field.server.login("ann", PASSWORD);
    for name in ["robot", "arm"] {
        let _ = ann.post("/accounts", &json!({ "name": name, "scopes": ["admin"] })).expect(201);
        let _ = ann.post("/role-bindings", &json!({ "account": name, "role": "security-officer" })).expect(201);
    }
    let robot = token(&ann, Some("robot"), &json!(["admin"]));
    attack("a service account of the author's approves", &robot, "approve");
    let _ = robot.post("/accounts", &json!({ "name": "finger", "scopes": ["admin"] })).expect(201);
    let _ = ann.post("/role-bindings", &json!({ "account": "finger", "role": "security-officer" })).expect(201);
    let finger = token(&robot, Some("finger"), &json!(["admin"]));
    attack("a service account of the author's service account approves", &finger, "approve");
    // Bob's service account: whoever didn't make it gets no token of it.
    let _ = admin.post("/role-bindings", &json!({ "account": "bob", "role": "admin" })).expect(201);
    let bob = plant.field.server.login("bob", PASSWORD);
    let _ = bob.post("/accounts", &json!({ "name": "bot", "scopes": ["admin"] })).expect(201);
    let _ = bob.post("/role-bindings", &json!({ "account": "bot", "role": "security-officer" })).expect(201);
    let stolen = json!({ "name": "t", "scopes": ["admin"], "life_s": 600, "account": "bot" });
    tried.push(("a token for somebody else's service account", ann.post("/tokens", &stolen).status));
    let of_person = json!({ "name": "t", "scopes": ["admin"], "life_s": 600, "account": "bob" });
    tried.push(("a token for another person", ann.post("/tokens", &of_person).status));
    let weak = token(&plant.cat, None, &json!(["read"]));
    tried.push(("a token of an officer's that only reads approves", order(&weak, &rollout, "approve").0));
    for (name, status) in &tried {
        assert!(*status >= 400, "{name}: {status}");
    }
    // One person is one, however many accounts speak for him.
    assert_eq!(order(&bob, &rollout, "approve").0, 200);
    let bot = token(&bob, Some("bot"), &json!(["admin"]));
    assert_eq!(order(&bot, &rollout, "approve").0, 200);
    let still = show(admin, &rollout);
    assert_eq!(still["approvals_needed"][0]["missing"], 1, "{still}");
    // A rollout that a service account makes is its maker's.
    let by_robot = roll_out(&robot, "os@1", NAME, &json!({}));
    assert_eq!(order(&ann, &by_robot, "approve"), (403, "own_rollout".into()));
    for rollout in [&rollout, &by_robot] {
        assert_eq!(show(admin, rollout)["state"], "awaiting_approval");
        assert_eq!(action_of(admin, rollout, NAME), None);
    }
    let _ = admin.delete(&format!("/role-bindings/{}", binding.at("/id").as_str().unwrap())).expect(204);
    println!("figure threats_tried {}", tried.len() + 2);
    println!("figure threats_let_through 0");
}

#[test]
fn an_approval_is_void_once_it_expires_the_plan_changes_or_its_giver_loses_the_role() {
    let plant = plant();
    let (admin, server) = (plant.field.admin(), &plant.field.server);
    let far = json!({ "start": true, "start_at": "2099-01-01T00:00:00Z" });
    let rollout = roll_out(&plant.ann, "os@1", NAME, &far);
    let number = rollout.trim_start_matches("r-").to_owned();
    assert_eq!(order(&plant.bob, &rollout, "approve").0, 200);
    let void = |of: &str| {
        let shown = show(admin, &rollout);
        let given = shown["approvals"].as_array().unwrap().iter().find(|given| given["by"] == of).unwrap().clone();
        (given["void"].as_str().unwrap_or_default().to_owned(), shown["approvals_needed"][0]["missing"].clone())
    };
    assert_eq!(void("bob"), (String::new(), json!(1)));
    // Two days go by.
    write_past(server, "UPDATE approval SET at = at - 172800000");
    let (why, missing) = void("bob");
    assert!(why.contains("expired") && missing == 2, "{why} {missing}");
    assert_eq!(order(&plant.bob, &rollout, "approve").0, 200);
    assert_eq!(void("bob"), (String::new(), json!(1)), "he may say it again");
    assert_eq!(order(&plant.cat, &rollout, "approve").0, 200);
    assert_eq!(show(admin, &rollout)["state"], "ready");
    // Its time comes, and one has lost the role: nothing starts.
    let bindings = admin.get("/role-bindings").expect(200).at("/items");
    let of_cat = bindings.as_array().unwrap().iter().find(|binding| binding["account"] == "cat").unwrap();
    let _ = admin.delete(&format!("/role-bindings/{}", of_cat["id"].as_str().unwrap())).expect(204);
    assert!(void("cat").0.contains("may not approve"), "{:?}", void("cat"));
    write_past(
        server,
        &format!(
            "UPDATE rollout SET due_at = 1, body = json_set(body, '$.spec.start_at', '1970-01-01T00:00:01Z') WHERE id = {number}"
        ),
    );
    let waiting = rollout_in(admin, &rollout, "awaiting_approval");
    let why = waiting["approvals"][0]["void"].as_str().unwrap();
    assert!(why.contains("plan has changed"), "{waiting}");
    assert_eq!(action_of(admin, &rollout, NAME), None);
    println!("figure threats_tried 3");
    println!("figure threats_let_through 0");
}

#[test]
fn a_dynamic_rollout_is_covered_by_the_rules_of_devices_that_may_join_it() {
    let plant = plant();
    let admin = plant.field.admin();
    delete_rules(admin);
    set_rule(admin, &json!({ "needed": 1, "role": "security-officer", "select": "label.site == berlin" }));
    let dynamic = roll_out(&plant.ann, "os@1", NAME, &json!({ "dynamic": true }));
    assert_eq!(show(admin, &dynamic)["state"], "awaiting_approval");
    let free = roll_out(&plant.ann, "os@1", NAME, &json!({}));
    let _ = rollout_in(admin, &free, "running");
    assert_ne!(action_of(admin, &free, NAME), None);
}

#[test]
fn a_device_that_came_under_a_rule_after_the_start_is_left_out() {
    let plant = plant();
    let admin = plant.field.admin();
    delete_rules(admin);
    let running = roll_out(&plant.ann, "os@1", NAME, &json!({ "select": "all", "dynamic": true }));
    let _ = rollout_in(admin, &running, "running");
    set_rule(admin, &json!({ "needed": 1, "role": "security-officer", "select": "label.site == berlin" }));
    // As if it had been there at the start without covering anything of this rollout's.
    write_past(&plant.field.server, "UPDATE approval_rule SET created_at = 0");
    for (name, site) in [("b-1", "berlin"), ("o-1", "oslo")] {
        let _ = admin.post("/devices", &json!({ "name": name, "labels": { "site": site } })).expect(201);
    }
    let _ = action_in(admin, &running, "o-1", &["offered"]);
    assert_eq!(action_of(admin, &running, "b-1"), None, "nobody was asked about it");
    println!("figure threats_tried 1");
    println!("figure threats_let_through 0");
}

#[test]
fn breaking_the_glass_starts_at_once_and_leaves_a_review_that_somebody_else_closes() {
    let mut plant = plant();
    let admin = plant.field.admin().clone();
    let admin = &admin;
    let _ = admin.post("/roles", &json!({ "name": "on-call", "scopes": ["read", "rollouts:break-glass"] })).expect(201);
    let _ = admin.post("/role-bindings", &json!({ "account": "bob", "role": "on-call" })).expect(201);
    // A token has what its account had when it was made.
    plant.bob = plant.field.server.login("bob", PASSWORD);
    let rollout = roll_out(&plant.ann, "os@1", NAME, &json!({}));
    let path = format!("/rollouts/{rollout}/break-glass");
    assert_eq!(plant.cat.post(&path, &json!({ "reason": "x" })).expect(403).code(), "not_allowed");
    for reason in ["", "  "] {
        let _ = plant.bob.post(&path, &json!({ "reason": reason })).expect(400);
    }
    assert_eq!(show(admin, &rollout)["state"], "awaiting_approval");
    let started = plant.bob.post(&path, &json!({ "reason": "the plant stands still" })).expect(200);
    assert_eq!(started.at("/broke_glass"), json!("bob"));
    let _ = plant.field.device.link_to_come("deploymentBase");
    assert_eq!(order(&plant.bob, &rollout, "break-glass").0, 400, "a reason first");
    let _ = plant.bob.post(&path, &json!({ "reason": "again" })).expect(409);
    let reviews = admin.get("/reviews").expect(200);
    assert_eq!(reviews.at("/items").as_array().unwrap().len(), 1, "{reviews}");
    assert_eq!(reviews.at("/items/0/reason"), json!("the plant stands still"));
    let metrics = format!("{}/metrics", plant.field.server.origin());
    let metrics = exchange(&agent(), "GET", &metrics, &[], Payload::None).unwrap().text();
    assert!(metrics.contains("muster_reviews_open 1\n"), "{metrics}");
    let close = format!("/reviews/{}/close", reviews.at("/items/0/id").as_str().unwrap());
    let note = json!({ "note": "looked at it" });
    assert_eq!(plant.bob.post(&close, &note).expect(403).code(), "own_review");
    assert_eq!(plant.ann.post(&close, &note).expect(403).code(), "own_review", "the author");
    let _ = plant.cat.post(&close, &json!({ "note": "" })).expect(400);
    assert_eq!(plant.cat.post(&close, &note).expect(200).at("/closed_by"), json!("cat"));
    assert_eq!(plant.cat.post(&close, &note).expect(409).code(), "conflict");
    assert_eq!(admin.get("/reviews").expect(200).at("/items"), json!([]));
    assert_eq!(admin.get("/reviews:all").expect(200).at("/items/0/note"), json!("looked at it"));
    let audit = admin.get("/audit").expect(200).at("/items").to_string();
    for action in ["rollout.break-glass", "review.open", "review.close", "the plant stands still"] {
        assert!(audit.contains(action), "{action} in {audit}");
    }
    // It needs no glass broken where nothing is missing.
    delete_rules(admin);
    let free = roll_out(&plant.ann, "os@1", NAME, &json!({ "start": false }));
    let _ = plant.bob.post(&format!("/rollouts/{free}/break-glass"), &json!({ "reason": "x" })).expect(409);
    println!("figure threats_tried 3");
    println!("figure threats_let_through 0");
}
