//! Nobody overwrites what somebody else has changed since, and a retried create makes nothing twice.

use muster_tests::api::Api;
use muster_tests::exchange::{Answer, Payload};
use muster_tests::field::{CONTENT, FILE, Field, NAME};
use muster_tests::operator::{publish, roll_out, rollout_in};
use muster_tests::server::Server;
use serde_json::{Value, json};

/// Asks with one more header.
#[track_caller]
fn with(admin: &Api, header: (&str, &str), method: &str, path: &str, body: &Value) -> Answer {
    let payload = if body.is_null() { Payload::None } else { Payload::Json(body) };
    admin.send(method, path, &[header], payload)
}

#[track_caller]
fn etag(admin: &Api, path: &str) -> String {
    let answer = admin.get(path).expect(200);
    answer.header("etag").unwrap_or_else(|| panic!("no ETag: {answer}")).to_owned()
}

/// A field with one of each thing that has an ETag, and the change that is tried on it.
fn changeable() -> (Field, Vec<(String, &'static str, String, Value)>) {
    let field = Field::new();
    let release = publish(field.admin(), "os", "1", (FILE, CONTENT));
    let _ = field.admin().put("/channels/stable", &json!({ "release": release })).expect(200);
    let rollout = roll_out(field.admin(), &release, NAME, &json!({ "start": false }));
    let device = format!("/devices/{NAME}");
    let rollout = format!("/rollouts/{rollout}");
    let changes = vec![
        (device.clone(), "PATCH", device, json!({ "labels": { "site": "berlin" } })),
        ("/project".into(), "PATCH", "/project".into(), json!({ "poll_interval_s": 60 })),
        ("/channels/stable".into(), "PUT", "/channels/stable".into(), json!({ "release": release })),
        (rollout.clone(), "POST", format!("{rollout}/start"), json!({})),
    ];
    (field, changes)
}

#[test]
fn what_is_known_already_is_not_sent_again() {
    let (field, changes) = changeable();
    let paths = changes.iter().map(|(path, ..)| path.as_str()).chain(["/releases/os/1"]);
    for path in paths {
        let tag = etag(field.admin(), path);
        let same = with(field.admin(), ("if-none-match", &tag), "GET", path, &Value::Null).expect(304);
        assert!(same.body.is_empty(), "{same}");
        assert_eq!(same.header("etag"), Some(tag.as_str()), "{same}");
        let list = format!("\"0\", {tag}");
        let _ = with(field.admin(), ("if-none-match", &list), "GET", path, &Value::Null).expect(304);
        let _ = with(field.admin(), ("if-none-match", "\"0\""), "GET", path, &Value::Null).expect(200);
    }
}

#[test]
fn a_change_of_what_was_seen_is_made_once_and_then_refused() {
    let (field, changes) = changeable();
    for (path, method, change, body) in changes {
        let tag = etag(field.admin(), &path);
        let other = with(field.admin(), ("if-match", "\"4711\""), method, &change, &body).expect(412);
        assert_eq!(other.code(), "revision_mismatch", "{other}");
        let weak = with(field.admin(), ("if-match", "W/\"x\""), method, &change, &body).expect(412);
        assert_eq!(weak.code(), "revision_mismatch", "{weak}");
        assert_eq!(etag(field.admin(), &path), tag, "a refusal changes nothing of {path}");
        let changed = with(field.admin(), ("if-match", &tag), method, &change, &body).expect(200);
        let next = changed.header("etag").unwrap_or_else(|| panic!("no ETag: {changed}")).to_owned();
        assert_ne!(next, tag, "{changed}");
        let stale = with(field.admin(), ("if-match", &tag), method, &change, &body).expect(412);
        assert_eq!(stale.code(), "revision_mismatch", "{stale}");
        let now = with(field.admin(), ("if-none-match", &tag), "GET", &path, &Value::Null).expect(200);
        assert!(now.at("/revision").as_u64().is_some(), "{now}");
    }
}

#[test]
fn a_deletion_takes_the_same_condition() {
    let (field, _) = changeable();
    let draft =
        json!({ "name": "draft", "version": "1", "components": field.admin().get("/releases/os/1").at("/components") });
    let _ = field.admin().post("/releases", &draft).expect(201);
    let other = roll_out(field.admin(), "os@1", NAME, &json!({ "start": false }));
    let things = [
        format!("/rollouts/{other}"),
        "/channels/stable".into(),
        "/releases/draft/1".into(),
        format!("/devices/{NAME}"),
    ];
    for path in things {
        let tag = etag(field.admin(), &path);
        let refused = with(field.admin(), ("if-match", "\"4711\""), "DELETE", &path, &Value::Null).expect(412);
        assert_eq!(refused.code(), "revision_mismatch", "{refused}");
        let _ = with(field.admin(), ("if-match", &tag), "DELETE", &path, &Value::Null).expect(204);
        let _ = field.admin().get(&path).expect(404);
    }
}

#[test]
fn a_star_asks_only_that_it_is_there() {
    let (field, changes) = changeable();
    for (_, method, change, body) in changes {
        let _ = with(field.admin(), ("if-match", "*"), method, &change, &body).expect(200);
    }
}

const KEY: (&str, &str) = ("idempotency-key", "build 4711");

#[test]
fn the_same_create_with_the_same_key_is_answered_again_and_made_once() {
    let mut field = Field::new();
    let release = publish(field.admin(), "os", "1", (FILE, CONTENT));
    let body = json!({ "release": release, "select": "all", "start": true });
    let first = with(field.admin(), KEY, "POST", "/rollouts", &body).expect(201);
    assert_eq!(first.header("idempotency-replayed"), None, "{first}");
    let id = first.at("/id").as_str().unwrap().to_owned();
    let _ = rollout_in(field.admin(), &id, "running");
    let again = with(field.admin(), KEY, "POST", "/rollouts", &body).expect(201);
    assert_eq!(again.header("idempotency-replayed"), Some("true"), "{again}");
    assert_eq!(again.body, first.body);
    field.server.kill();
    field.server.restart();
    let later = with(field.admin(), KEY, "POST", "/rollouts", &body).expect(201);
    assert_eq!(later.header("idempotency-replayed"), Some("true"), "{later}");
    assert_eq!(later.body, first.body);
    let all = field.admin().get("/rollouts").expect(200);
    assert_eq!(all.at("/items").as_array().unwrap().len(), 1, "{all}");
}

#[test]
fn a_key_used_for_something_else_is_refused() {
    let field = Field::new();
    let release = publish(field.admin(), "os", "1", (FILE, CONTENT));
    let body = json!({ "release": release, "select": "all" });
    let made = with(field.admin(), KEY, "POST", "/rollouts", &body).expect(201);
    let other = json!({ "release": release, "select": "name == other" });
    let retry = format!("/rollouts/{}/retry", made.at("/id").as_str().unwrap());
    let draft = json!({ "name": "draft", "version": "1", "components": [] });
    for (path, body) in [("/rollouts", &other), (&retry, &json!({})), ("/releases", &draft)] {
        let refused = with(field.admin(), KEY, "POST", path, body).expect(422);
        assert_eq!(refused.code(), "idempotency_mismatch", "{refused}");
    }
}

#[test]
fn a_key_belongs_to_one_account_and_a_refusal_is_not_kept() {
    let field = Field::new();
    let release = publish(field.admin(), "os", "1", (FILE, CONTENT));
    let password = "a password of ann";
    let ann = json!({ "name": "ann", "scopes": ["rollouts:write"], "password": password });
    let _ = field.admin().post("/accounts", &ann).expect(201);
    let ann = field.server.login("ann", password);
    let body = json!({ "release": release, "select": "all" });
    let mine = with(field.admin(), KEY, "POST", "/rollouts", &body).expect(201);
    let hers = with(&ann, KEY, "POST", "/rollouts", &body).expect(201);
    assert_ne!(mine.at("/id"), hers.at("/id"));
    let later = ("idempotency-key", "k2");
    let body = json!({ "release": "os@2", "select": "all" });
    let _ = with(field.admin(), later, "POST", "/rollouts", &body).expect(404);
    let _ = publish(field.admin(), "os", "2", (FILE, CONTENT));
    let made = with(field.admin(), later, "POST", "/rollouts", &body).expect(201);
    assert_eq!(made.header("idempotency-replayed"), None, "{made}");
}

#[test]
fn a_key_has_1_to_128_characters() {
    let server = Server::start();
    let body = json!({ "name": "os", "version": "1", "components": [] });
    for key in ["", &"k".repeat(129)] {
        let refused = with(server.admin(), ("idempotency-key", key), "POST", "/releases", &body).expect(400);
        assert_eq!(
            (refused.code().as_str(), refused.at("/field")),
            ("bad_input", json!("Idempotency-Key")),
            "{refused}"
        );
    }
}

#[test]
fn two_clients_that_retry_at_once_make_one_thing() {
    let field = Field::new();
    let release = publish(field.admin(), "os", "1", (FILE, CONTENT));
    let body = json!({ "release": release, "select": "all" });
    let ids: Vec<Value> = std::thread::scope(|scope| {
        let ask = || with(field.admin(), KEY, "POST", "/rollouts", &body).expect(201).at("/id");
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn a_repeated_request_for_a_secret_makes_nothing_twice_and_shows_no_secret() {
    let field = Field::new();
    let made = with(field.admin(), KEY, "POST", "/devices", &json!({ "name": "new-1" })).expect(201);
    let again = with(field.admin(), KEY, "POST", "/devices", &json!({ "name": "new-1" })).expect(409);
    assert_eq!(again.code(), "already_created", "{again}");
    let token = made.at("/token").as_str().unwrap().to_owned();
    assert!(!token.is_empty() && !again.to_string().contains(&token), "{again}");
    let _ = with(field.admin(), KEY, "POST", "/devices", &json!({ "name": "new-2" })).expect(422);
}

#[test]
fn an_announcement_repeated_with_its_key_is_the_same_upload() {
    let field = Field::new();
    let upload = json!({ "name": "a.bin", "size": 3, "digest": format!("sha256:{}", "ab".repeat(32)) });
    let first = with(field.admin(), KEY, "POST", "/uploads", &upload).expect(201);
    let again = with(field.admin(), KEY, "POST", "/uploads", &upload).expect(201);
    assert_eq!(first.at("/id"), again.at("/id"));
    let _ =
        with(field.admin(), ("if-match", "\"7\""), "PUT", "/channels/new", &json!({ "release": "a@1" })).expect(412);
}
