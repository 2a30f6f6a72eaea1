//! Programs that an issuer vouches for: what they get, for how long, and what gets them nothing.

use muster_tests::exchange::{Answer, Payload};
use serde_json::{Value, json};

use super::world::World;

const SUBJECT: &str = "repo:acme/fw:ref:refs/heads/main";

fn seconds() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn claims(world: &World) -> Value {
    json!({ "iss": world.provider.issuer, "aud": "muster-ci", "sub": SUBJECT, "iat": seconds(), "exp": seconds() + 300 })
}

fn workload(world: &World) -> Value {
    json!({ "issuer": world.provider.issuer, "audience": "muster-ci", "subject": "repo:acme/fw:ref:refs/heads/*",
        "account": "ci", "scopes": ["artifacts:write"], "life_s": 600, "certificates": world.provider.certificate })
}

fn world() -> World {
    let world = World::new();
    let admin = world.server.admin();
    let ci = json!({ "name": "ci", "scopes": ["artifacts:write", "releases:write"] });
    let _ = admin.post("/accounts", &ci).expect(201);
    let _ = admin.put("/workloads/builds", &workload(&world)).expect(200);
    world
}

fn exchange(world: &World, token: &str) -> Answer {
    let body = format!(
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&workload=builds&subject_token={token}\
         &subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt"
    );
    let form = Payload::Bytes("application/x-www-form-urlencoded", body.as_bytes());
    world.api().send("POST", "/tokens/exchange", &[], form)
}

#[test]
fn a_build_exchanges_its_issuers_word_for_a_short_token_of_its_service_account() {
    let mut world = world();
    let claims = claims(&world);
    let token = world.provider.sign(&json!({}), &claims);
    let got = exchange(&world, &token).expect(200);
    assert_eq!((got.at("/token_type"), got.at("/scope")), (json!("Bearer"), json!("artifacts:write")), "{got}");
    assert!((590..=600).contains(&got.at("/expires_in").as_u64().unwrap()), "{got}");
    let api = world.api().with_token(got.at("/access_token").as_str().unwrap());
    assert_eq!(api.get("/whoami").expect(200).at("/account"), json!("ci"));
    let release = json!({ "name": "app", "version": "1", "components": [] });
    assert_eq!(
        api.post("/releases", &release).expect(403).code(),
        "not_allowed",
        "the account may, the workload may not"
    );
    // What it makes ends with it.
    let long = json!({ "name": "long", "scopes": ["artifacts:write"], "life_s": 86_400 });
    let made = api.post("/tokens", &long).expect(201);
    let ends: jiff::Timestamp = made.at("/token/expires_at").as_str().unwrap().parse().unwrap();
    assert!(ends.as_second() <= seconds() + 601, "{made}");
    let audit = world.server.admin().get("/audit?limit=200").expect(200).text();
    assert!(audit.contains("workload.exchange") && audit.contains(SUBJECT), "{audit}");
    let _ = world.server.admin().delete("/workloads/builds").expect(204);
    assert_eq!(exchange(&world, &token).expect(401).code(), "exchange_refused");
}

#[test]
fn a_token_that_is_not_right_in_every_respect_gets_nothing() {
    let mut world = world();
    let right = claims(&world);
    let changed = |name: &str, value: Value| {
        let mut all = right.clone();
        match value {
            Value::Null => drop(all.as_object_mut().unwrap().remove(name)),
            value => all[name] = value,
        }
        all
    };
    let wrong = [
        changed("aud", json!("muster")),
        changed("aud", Value::Null),
        changed("iss", json!("https://evil.example")),
        changed("sub", json!("repo:acme/fw:pull_request")),
        changed("sub", json!("repo:ACME/fw:ref:refs/heads/main")),
        changed("sub", json!("repo:acme/fw2:ref:refs/heads/main")),
        changed("sub", Value::Null),
        changed("exp", json!(seconds() - 61)),
        changed("exp", Value::Null),
        changed("nbf", json!(seconds() + 3600)),
    ];
    for claims in wrong {
        let token = world.provider.sign(&json!({}), &claims);
        let refused = exchange(&world, &token).expect(401);
        assert!(["exchange_refused", "login_refused"].contains(&refused.code().as_str()), "{claims}: {refused}");
    }
    let token = world.provider.sign(&json!({}), &right);
    let (message, _) = token.rsplit_once('.').unwrap();
    let _ = exchange(&world, &format!("{message}.")).expect(401);
    // {"alg":"none"}, and the claims that are right.
    let bare = format!("eyJhbGciOiJub25lIn0.{}.", message.split('.').nth(1).unwrap());
    assert!(exchange(&world, &bare).expect(401).text().contains("signed by none"));
    let confused = world.provider.sign(&json!({ "alg": "HS256" }), &right);
    assert!(exchange(&world, &confused).expect(401).text().contains("signed by HS256"));
    let access = world.provider.sign(&json!({ "typ": "at+jwt" }), &right);
    let _ = exchange(&world, &access).expect(401);
    for other in ["", "a.b.c", "muster_x"] {
        let _ = exchange(&world, other).expect(401);
    }
    let _ = exchange(&world, &token).expect(200);
}

#[test]
fn a_workload_is_a_service_account_of_ones_own_and_approves_nothing() {
    let world = world();
    let admin = world.server.admin();
    let boss = json!({ "name": "boss", "scopes": ["admin"], "password": "a long password" });
    let _ = admin.post("/accounts", &boss).expect(201);
    let set = |field: &str, value: Value| {
        let mut body = workload(&world);
        body[field] = value;
        admin.put("/workloads/other", &body)
    };
    assert_eq!(set("account", json!("boss")).expect(409).code(), "conflict", "a person is no program");
    assert_eq!(set("account", json!("admin")).expect(409).code(), "conflict", "nor is oneself");
    let boss = world.server.login("boss", "a long password");
    assert_eq!(boss.put("/workloads/other", &workload(&world)).expect(409).code(), "conflict", "ci is another's");
    for (field, value) in [
        ("scopes", json!(["admin"])),
        ("scopes", json!(["rollouts:approve"])),
        ("scopes", json!([])),
        ("subject", json!("*")),
        ("subject", json!("*:acme")),
        ("life_s", json!(3601)),
        ("life_s", json!(59)),
        ("issuer", json!("http://id.example")),
        ("audience", json!("")),
    ] {
        let refused = set(field, value).expect(400);
        assert_eq!(refused.at("/field"), json!(field), "{refused}");
    }
    let reader = json!({ "name": "r", "scopes": ["read"], "life_s": 60 });
    let reader = admin.post("/tokens", &reader).expect(201);
    let reader = world.api().with_token(reader.at("/secret").as_str().unwrap());
    assert_eq!(reader.put("/workloads/other", &workload(&world)).expect(403).code(), "not_allowed");
}
