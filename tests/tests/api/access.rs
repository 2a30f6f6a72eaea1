//! Who may do what: passwords, tokens, scopes; and no secret is ever told twice.

use muster_tests::api::Api;
use muster_tests::exchange::{Answer, Payload};
use muster_tests::field::{CONTENT, FILE, Field, NAME};
use muster_tests::operator::{action_in, digest, make_gateway_token, publish, roll_out};
use muster_tests::server::{ADMIN, PASSWORD, Server};
use serde_json::{Value, json};

const SCOPES: [&str; 11] = [
    "read",
    "devices:write",
    "artifacts:write",
    "releases:write",
    "rollouts:write",
    "rollouts:approve",
    "rollouts:break-glass",
    "commands:write",
    "sessions:write",
    "secrets:write",
    "admin",
];

#[track_caller]
fn make_token(api: &Api, scopes: &Value) -> (String, Api) {
    let made = api.post("/tokens", &json!({ "name": "t", "scopes": scopes, "life_s": 3600 })).expect(201);
    let secret = made.at("/secret").as_str().unwrap().to_owned();
    (made.at("/token/id").as_str().unwrap().to_owned(), api.with_token(&secret))
}

fn ask(api: &Api, method: &str, path: &str, body: &Value) -> Answer {
    let payload = if body.is_null() { Payload::None } else { Payload::Json(body) };
    api.send(method, path, &[], payload)
}

/// Requests by the scope each needs. All are right in every other respect when they are asked once.
fn requests(rollout: &str, action: i64) -> Vec<(&'static str, &'static str, String, Value)> {
    let none = json!({});
    let upload = json!({ "name": FILE, "size": 11, "digest": digest(b"others") });
    let release = json!({ "name": "app", "version": "1", "components": [{
        "name": "app", "version": "1", "artifacts": [{ "digest": digest(CONTENT) }] }] });
    let configuration = json!({ "select": "all", "files": [{ "path": "/etc/a", "content": "" }] });
    let session = json!({ "what": { "command": "open_session", "session": { "kind": "shell" } } });
    let provider = json!({ "issuer": "https://id.example", "client_id": "muster" });
    let workload = json!({ "issuer": "https://id.example", "audience": "muster", "subject": "ci", "account": "eve",
        "scopes": ["read"] });
    let of_rollout = |order: &str| format!("/rollouts/{rollout}/{order}");
    let mut all = vec![
        ("devices:write", "POST", "/devices".to_owned(), json!({ "name": "sn-2" })),
        ("devices:write", "PATCH", format!("/devices/{NAME}"), json!({ "labels": { "a": "b" } })),
        ("devices:write", "POST", format!("/devices/{NAME}/accept"), none.clone()),
        ("devices:write", "POST", format!("/devices/{NAME}/reject"), none.clone()),
        ("devices:write", "POST", format!("/devices/{NAME}/token"), Value::Null),
        ("devices:write", "POST", format!("/devices/{NAME}/request-attributes"), Value::Null),
        ("devices:write", "PUT", format!("/devices/{NAME}/auto-confirm"), none.clone()),
        ("devices:write", "DELETE", format!("/devices/{NAME}/auto-confirm"), Value::Null),
        ("devices:write", "POST", "/devices:accept".into(), json!({ "select": "all" })),
        ("devices:write", "POST", "/devices:reject".into(), json!({ "select": "all" })),
        ("devices:write", "PUT", "/configurations/app".into(), configuration),
        ("devices:write", "DELETE", "/configurations/app".into(), Value::Null),
        ("devices:write", "POST", "/configurations:preview".into(), json!({ "device": NAME })),
        ("commands:write", "POST", format!("/devices/{NAME}/commands"), json!({ "what": { "command": "reboot" } })),
        ("sessions:write", "POST", format!("/devices/{NAME}/commands"), session),
        ("sessions:write", "GET", "/sessions/5e55/recording".into(), Value::Null),
        ("secrets:write", "PUT", "/secrets/key".into(), json!({ "value": "x" })),
        ("secrets:write", "DELETE", "/secrets/key".into(), Value::Null),
        ("artifacts:write", "POST", "/uploads".into(), upload),
        ("artifacts:write", "DELETE", format!("/artifacts/{}", digest(CONTENT)), Value::Null),
        ("releases:write", "POST", "/releases".into(), release),
        ("releases:write", "POST", "/releases/os/1/publish".into(), none.clone()),
        ("releases:write", "PUT", "/channels/stable".into(), json!({ "release": "os@1" })),
        ("releases:write", "DELETE", "/channels/stable".into(), Value::Null),
        ("releases:write", "DELETE", "/releases/os/1".into(), Value::Null),
        ("rollouts:write", "POST", "/rollouts".into(), json!({ "release": "os@1", "select": "all" })),
        ("rollouts:write", "POST", of_rollout("retry"), none.clone()),
        ("rollouts:write", "DELETE", format!("/rollouts/{rollout}"), Value::Null),
        ("rollouts:write", "POST", format!("/actions/{action}/force"), Value::Null),
        ("rollouts:write", "POST", format!("/actions/{action}/cancel"), none.clone()),
        ("rollouts:approve", "POST", of_rollout("approve"), none.clone()),
        ("rollouts:approve", "POST", of_rollout("deny"), none.clone()),
        ("rollouts:break-glass", "POST", of_rollout("break-glass"), json!({ "reason": "x" })),
        ("rollouts:approve", "POST", "/reviews/rv-1/close".into(), json!({ "note": "x" })),
        ("admin", "PUT", "/approval-rules".into(), json!({ "needed": 1, "role": "security-officer" })),
        ("admin", "DELETE", "/approval-rules/ar-1".into(), Value::Null),
        ("admin", "PATCH", "/project".into(), none.clone()),
        ("admin", "POST", "/project/gateway-token".into(), Value::Null),
        ("admin", "DELETE", "/project/gateway-token".into(), Value::Null),
        ("admin", "POST", "/accounts".into(), json!({ "name": "eve", "scopes": ["admin"] })),
        ("admin", "PUT", "/oidc-providers/corp".into(), provider),
        ("admin", "DELETE", "/oidc-providers/corp".into(), Value::Null),
        ("admin", "PUT", "/workloads/builds".into(), workload),
        ("admin", "DELETE", "/workloads/builds".into(), Value::Null),
        ("admin", "DELETE", "/accounts/eve/totp".into(), Value::Null),
        ("admin", "DELETE", "/accounts/eve".into(), Value::Null),
    ];
    for order in ["start", "pause", "resume", "abort", "rollback", "next-wave"] {
        all.push(("rollouts:write", "POST", of_rollout(order), none.clone()));
    }
    // Last, because it ends what others look at.
    all.push(("releases:write", "POST", "/releases/os/1/yank".into(), json!({ "reason": "crashes" })));
    all.push(("devices:write", "DELETE", format!("/devices/{NAME}"), Value::Null));
    all
}

#[test]
fn every_scope_lets_in_what_it_includes_and_nothing_else() {
    for scope in SCOPES {
        let field = Field::new();
        let release = publish(field.admin(), "os", "1", (FILE, CONTENT));
        let rollout = roll_out(field.admin(), &release, NAME, &json!({}));
        let action = action_in(field.admin(), &rollout, NAME, &["offered"]);
        let (_, api) = make_token(field.admin(), &json!([scope]));
        for (needed, method, path, body) in requests(&rollout, action) {
            let answer = ask(&api, method, &path, &body);
            let is_let_in = scope == needed || scope == "admin";
            let is_refused = (answer.status, answer.code().as_str()) == (403, "not_allowed");
            assert_eq!(is_refused, !is_let_in, "{scope}: {answer}");
            assert!(answer.status < 500 && answer.status != 401, "{scope}: {answer}");
            if !is_let_in {
                assert!(answer.text().contains(needed), "it says what is missing: {answer}");
            }
        }
    }
}

#[test]
fn every_scope_may_read() {
    let field = Field::new();
    let release = publish(field.admin(), "os", "1", (FILE, CONTENT));
    let rollout = roll_out(field.admin(), &release, NAME, &json!({}));
    let lists = ["/devices", "/rollouts", "/actions", "/releases", "/artifacts", "/channels", "/tokens", "/accounts"];
    let lists = lists.into_iter().chain([
        "/oidc-providers",
        "/workloads",
        "/configurations",
        "/sessions",
        "/devices/sn-1/commands",
    ]);
    let things =
        ["/audit", "/audit/verify", "/project", "/whoami", "/devices:count", "/devices/sn-1/why", "/releases/os/1"];
    let things = things.into_iter().chain(["/devices/sn-1/configuration", "/devices/sn-1/twin"]);
    for scope in SCOPES {
        let (_, api) = make_token(field.admin(), &json!([scope]));
        for path in lists.clone().chain(things.clone()).chain([format!("/rollouts/{rollout}").as_str()]) {
            let _ = api.get(path).expect(200);
        }
    }
}

#[test]
fn without_a_token_nothing_is_told() {
    let field = Field::new();
    let release = publish(field.admin(), "os", "1", (FILE, CONTENT));
    let rollout = roll_out(field.admin(), &release, NAME, &json!({}));
    let mut asked = requests(&rollout, 1);
    let get = |path: &str| ("read", "GET", path.to_owned(), Value::Null);
    asked.extend(["/devices", "/audit", "/audit/verify", "/events", "/project", "/whoami", "/devices/ghost"].map(get));
    for (_, method, path, body) in asked {
        let anonymous = ask(&field.server.anonymous(), method, &path, &body);
        assert_eq!((anonymous.status, anonymous.code().as_str()), (401, "unauthenticated"), "{anonymous}");
        assert!(anonymous.header("www-authenticate").is_some_and(|told| told.starts_with("Bearer")), "{anonymous}");
        let made_up = ask(&field.server.anonymous().with_token("muster_made_up"), method, &path, &body);
        assert_eq!((made_up.status, made_up.code().as_str()), (401, "unauthenticated"), "{made_up}");
    }
    for shown in ["Basic YWRtaW46YWRtaW4=", "Bearer", "Bearer ", "bearer x", "TargetToken x", ""] {
        let refused = field.server.anonymous().send("GET", "/devices", &[("authorization", shown)], Payload::None);
        assert_eq!(refused.status, 401, "{shown}: {refused}");
    }
}

#[test]
fn a_token_gives_no_more_than_it_has() {
    let server = Server::start();
    let (_, reader) = make_token(server.admin(), &json!(["read", "devices:write"]));
    let more = json!({ "name": "more", "scopes": ["read", "rollouts:write"], "life_s": 60 });
    assert_eq!(reader.post("/tokens", &more).expect(403).code(), "not_allowed");
    let same = json!({ "name": "same", "scopes": ["devices:write"], "life_s": 60 });
    let same = reader.with_token(reader.post("/tokens", &same).expect(201).at("/secret").as_str().unwrap());
    assert_eq!(same.get("/whoami").expect(200).at("/scopes"), json!(["devices:write"]));
    let bad = [
        json!({ "name": "t", "scopes": [], "life_s": 60 }),
        json!({ "name": "t", "scopes": ["read"], "life_s": 59 }),
        json!({ "name": "t", "scopes": ["read"], "life_s": 315_360_001_u64 + 3 * 86_400 }),
        json!({ "name": "t", "scopes": ["read"], "life_s": u64::MAX }),
        json!({ "name": "", "scopes": ["read"], "life_s": 60 }),
        json!({ "name": "t", "scopes": ["read"] }),
    ];
    for body in bad {
        assert_eq!(server.admin().post("/tokens", &body).expect(400).code(), "bad_input");
    }
}

#[test]
fn a_deleted_token_and_a_session_given_back_stop_working() {
    let mut server = Server::start();
    let (id, api) = make_token(server.admin(), &json!(["read"]));
    let _ = api.get("/devices").expect(200);
    let _ = server.admin().delete(&format!("/tokens/{id}")).expect(204);
    assert_eq!(api.get("/devices").expect(401).code(), "unauthenticated");
    let session = server.login(ADMIN, PASSWORD);
    let _ = session.post("/logout", &json!({})).expect(204);
    let _ = session.get("/whoami").expect(401);
    let _ = server.admin().get("/whoami").expect(200);
    server.kill();
    server.restart();
    let _ = api.get("/devices").expect(401);
    let _ = session.get("/whoami").expect(401);
}

#[test]
fn tokens_of_others_can_only_be_deleted_by_an_admin() {
    let server = Server::start();
    for name in ["ann", "bob"] {
        let account = json!({ "name": name, "scopes": ["read"], "password": "a long password" });
        let _ = server.admin().post("/accounts", &account).expect(201);
    }
    let (ann, bob) = (server.login("ann", "a long password"), server.login("bob", "a long password"));
    let (id, api) = make_token(&ann, &json!(["read"]));
    assert_eq!(bob.delete(&format!("/tokens/{id}")).expect(403).code(), "not_allowed");
    let _ = api.get("/whoami").expect(200);
    let _ = server.admin().delete("/accounts/ann").expect(204);
    let _ = api.get("/whoami").expect(401);
    let _ = ann.get("/whoami").expect(401);
    assert_eq!(ann.post("/login", &json!({ "account": "ann", "password": "a long password" })).status, 401);
}

fn wrong(server: &Server, account: &str) -> Answer {
    server.anonymous().post("/login", &json!({ "account": account, "password": "wrong" }))
}

#[test]
fn wrong_passwords_are_refused_and_guessing_is_stopped() {
    let server = Server::start();
    for account in [ADMIN, "nobody"] {
        let statuses: Vec<u16> = (0..25).map(|_| wrong(&server, account).status).collect();
        // Counted by the minute: the first may fall into the one before.
        let stopped = statuses.iter().position(|status| *status == 429).unwrap_or_else(|| panic!("{statuses:?}"));
        assert!((10..=20).contains(&stopped), "{account}: {statuses:?}");
        assert!(statuses[..stopped].iter().all(|status| *status == 401), "{account}: {statuses:?}");
    }
    let waits = wrong(&server, ADMIN).expect(429);
    assert_eq!((waits.code().as_str(), waits.header("retry-after")), ("too_many", Some("60")), "{waits}");
}

#[test]
fn guessing_by_changing_the_password_is_stopped_too() {
    let server = Server::start();
    let guess = json!({ "old": "wrong", "new": "a new long password" });
    let statuses: Vec<u16> = (0..25).map(|_| server.admin().post("/password", &guess).status).collect();
    assert!(statuses.contains(&429), "{statuses:?}");
    assert!(statuses[..10].iter().all(|status| *status == 401), "{statuses:?}");
}

#[test]
fn a_changed_password_takes_the_place_of_the_old() {
    let server = Server::start();
    let short = server.admin().post("/password", &json!({ "old": PASSWORD, "new": "short" })).expect(400);
    assert_eq!(short.code(), "bad_input");
    let _ = server.admin().post("/password", &json!({ "old": PASSWORD, "new": "a new long password" })).expect(204);
    let old = server.anonymous().post("/login", &json!({ "account": ADMIN, "password": PASSWORD })).expect(401);
    assert_eq!(old.code(), "wrong_password");
    let _ = server.login(ADMIN, "a new long password").get("/whoami").expect(200);
}

#[test]
fn no_secret_is_told_twice() {
    let field = Field::new();
    let (_, api) = make_token(field.admin(), &json!(["read"]));
    let _ = wrong(&field.server, ADMIN);
    let _ = api.get("/devices").expect(200);
    let device = field.admin().post(&format!("/devices/{NAME}/token"), &json!({})).expect(200);
    let password = "a password of ann";
    let ann = json!({ "name": "ann", "scopes": ["read"], "password": password });
    let _ = field.admin().post("/accounts", &ann).expect(201);
    let _ = field.device.get("").expect(401);
    let secrets = [
        api.token().unwrap().to_owned(),
        field.admin().token().unwrap().to_owned(),
        device.at("/token").as_str().unwrap().to_owned(),
        make_gateway_token(field.admin()),
        password.to_owned(),
        PASSWORD.to_owned(),
    ];
    let paths =
        ["/tokens", "/audit?limit=500", "/project", "/devices", "/devices/sn-1", "/accounts", "/devices/sn-1/timeline"];
    let mut places: Vec<(String, String)> =
        paths.iter().map(|path| ((*path).to_owned(), field.admin().get(path).expect(200).text())).collect();
    places.push(("the log".into(), field.server.log()));
    for (place, text) in places {
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{place} tells {secret}: {text}");
        }
    }
    let mut stored = std::fs::read(field.server.data().join("muster.db")).unwrap();
    stored.extend(std::fs::read(field.server.data().join("muster.db-wal")).unwrap_or_default());
    for secret in &secrets {
        let is_stored = stored.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!is_stored, "{secret} lies in the database as it is");
    }
}
