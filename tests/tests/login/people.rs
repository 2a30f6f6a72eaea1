//! People by a provider: in a browser and by a code, what their groups may, whose account it is, and attacks on each step.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use jiff::Timestamp;
use muster_tests::operator::{digest, publish};
use muster_tests::server::{PASSWORD, program};
use serde_json::{Value, json};

use super::world::{VERIFIER, World, ticket_of};

#[test]
fn a_person_gets_in_by_a_browser_and_may_what_his_groups_give_for_half_a_day() {
    let mut world = World::new();
    let (answer, api) = world.log_in("u-1", "ann", &["fitters", "unknown"]);
    assert_eq!(answer.at("/account"), json!("corp:ann"));
    let _ = api.post("/devices", &json!({ "name": "sn-1" })).expect(201);
    assert_eq!(api.post("/releases", &json!({})).status, 400, "a fitter's session reaches the check of the body");
    assert_eq!(api.get("/role-bindings").expect(403).code(), "not_allowed");
    let ends: Timestamp = answer.at("/expires_at").as_str().unwrap().parse().unwrap();
    let hours = ends.duration_since(Timestamp::now()).as_secs_f64() / 3600.0;
    assert!((11.9..=12.01).contains(&hours), "{hours}");
    // What a session makes ends with it.
    let long = json!({ "name": "long", "scopes": ["read"], "life_s": 31_536_000 });
    let made = api.post("/tokens", &long).expect(201);
    let token_ends: Timestamp = made.at("/token/expires_at").as_str().unwrap().parse().unwrap();
    assert!(token_ends <= ends, "{made}");
}

#[test]
fn rights_follow_the_groups_at_each_login_also_of_sessions_that_are_open() {
    let mut world = World::new();
    let (_, first) = world.log_in("u-1", "ann", &["leads"]);
    let _ = first.get("/role-bindings").expect(200);
    let (_, second) = world.log_in("u-1", "ann", &["readers"]);
    for session in [&first, &second] {
        assert_eq!(session.get("/role-bindings").expect(403).code(), "not_allowed");
        let _ = session.get("/devices").expect(200);
    }
    world.provider.person("u-1", &json!({ "preferred_username": "ann", "groups": [] }));
    assert_eq!(world.redeem(&world.ticket()).expect(403).code(), "no_role");
    assert_eq!(first.get("/devices").expect(403).code(), "not_allowed", "who is in no group keeps nothing");
    let _ = world.log_in("u-1", "ann", &["readers"]);
    let _ = world.server.admin().delete("/oidc-providers/corp").expect(204);
    assert_eq!(first.get("/devices").expect(403).code(), "not_allowed", "the provider is gone, and its groups with it");
}

#[test]
fn a_person_is_an_issuer_and_a_subject_and_neither_a_name_nor_an_address() {
    let mut world = World::with(&json!({ "name_claim": "email" }));
    let ann = json!({ "name": "ann", "scopes": ["admin"], "password": "a long password" });
    let _ = world.server.admin().post("/accounts", &ann).expect(201);
    let claims = |verified: bool| json!({ "email": "ann", "email_verified": verified, "groups": ["readers"] });
    world.provider.person("u-1", &claims(true));
    let first = world.redeem(&world.ticket()).expect(200);
    assert_eq!(first.at("/account"), json!("corp:ann"), "the local account of the same name is somebody else's");
    let session = world.api().with_token(first.at("/token").as_str().unwrap());
    assert_eq!(session.get("/role-bindings").expect(403).code(), "not_allowed");
    world.provider.person("u-2", &claims(true));
    let second = world.redeem(&world.ticket()).expect(200).at("/account");
    assert!(second.as_str().unwrap().starts_with("corp:ann-"), "another subject of the same name: {second}");
    world.provider.person("u-3", &claims(false));
    let third = world.redeem(&world.ticket()).expect(200).at("/account");
    assert!(!third.as_str().unwrap().contains("ann"), "an address that the provider didn't verify is no name: {third}");
    world.provider.person("u-1", &json!({ "email": "bob", "email_verified": true, "groups": ["readers"] }));
    let again = world.redeem(&world.ticket()).expect(200).at("/account");
    assert_eq!(again, json!("corp:ann"), "the same subject by another name is the same person");
}

#[test]
fn an_author_approves_nothing_by_another_login_of_his() {
    let mut world = World::new();
    let admin = world.server.admin().clone();
    let ann = json!({ "name": "ann", "scopes": ["admin"], "password": "a long password" });
    let _ = admin.post("/accounts", &ann).expect(201);
    let local = world.server.login("ann", "a long password");
    let release = publish(&admin, "os", "1", ("os.img", b"content"));
    let wanted = json!({ "release": release, "select": "all", "approval": true });
    let (_, by_corp) = world.log_in("u-1", "ann", &["leads"]);
    let before = by_corp.post("/rollouts", &wanted).expect(201).at("/id");
    let approve = |api: &muster_tests::api::Api, id: &Value| {
        api.post(&format!("/rollouts/{}/approve", id.as_str().unwrap()), &json!({}))
    };
    let ticket = world.ticket();
    let (_, recovery) = crate::api::totp::enable(&local, "a long password");
    let link = |password: &str, code: Value| {
        let asked = json!({ "ticket": ticket, "verifier": VERIFIER, "password": password, "code": code });
        local.post("/login/oidc/link", &asked)
    };
    assert_eq!(link("wrong", Value::Null).expect(401).code(), "wrong_password");
    // What is linked opens the account without its second factor.
    assert_eq!(link("a long password", Value::Null).expect(401).code(), "code_required");
    assert_eq!(link("a long password", json!("000000x")).expect(401).code(), "wrong_code");
    let _ = link("a long password", json!(recovery[0])).expect(204);
    // What the old login made is hers now, and the new one opens her account.
    assert_eq!(approve(&local, &before).expect(403).code(), "own_rollout");
    let (answer, linked) = world.log_in("u-1", "ann", &["leads"]);
    assert_eq!(answer.at("/account"), json!("ann"));
    assert_eq!(approve(&linked, &before).expect(403).code(), "own_rollout");
    let after = local.post("/rollouts", &wanted).expect(201).at("/id");
    assert_eq!(approve(&linked, &after).expect(403).code(), "own_rollout");
    assert_eq!(approve(&by_corp, &after).expect(403).code(), "not_allowed", "what it was is nothing any more");
    let _ = approve(&admin, &before).expect(200);
    // Linked is linked: nobody else takes it over.
    let bob = json!({ "name": "bob", "scopes": ["read"], "password": "a long password" });
    let _ = admin.post("/accounts", &bob).expect(201);
    let asked = json!({ "ticket": world.ticket(), "verifier": VERIFIER, "password": "a long password" });
    let bob = world.server.login("bob", "a long password");
    assert_eq!(bob.post("/login/oidc/link", &asked).expect(409).code(), "conflict");
}

#[test]
fn a_state_a_cookie_a_code_and_a_ticket_work_once_and_only_where_they_belong() {
    let mut world = World::new();
    world.provider.person("u-1", &json!({ "preferred_username": "ann", "groups": ["readers"] }));
    let refused = |answer: muster_tests::exchange::Answer| assert_eq!(answer.expect(401).code(), "login_refused");
    let mut browser = world.browser();
    let callback = world.callback(&mut browser);
    // Another browser, as one that was sent the victim's or the attacker's link.
    refused(world.browser().step(&callback, None));
    // That took the state, too: it works once.
    refused(browser.step(&callback, None));
    let callback = world.callback(&mut browser);
    refused(browser.step(&callback.replace("state=", "state=x"), None));
    let parts = |url: &str, name: &str| -> String {
        url.split(['?', '&']).find_map(|pair| pair.strip_prefix(name)).unwrap().to_owned()
    };
    // A code of another login, with the right state and cookie: its PKCE challenge is another.
    let stolen = parts(&world.callback(&mut world.browser()), "code=");
    let callback = world.callback(&mut browser);
    refused(browser.step(&callback.replace(&parts(&callback, "code="), &stolen), None));
    // An answer that says to be of another issuer.
    let callback = world.callback(&mut browser);
    refused(browser.step(&callback.replace("iss=https", "iss=https%3A%2F%2Fevil.example&x="), None));
    let callback = world.callback(&mut browser);
    let ticket = ticket_of(&browser.step(&callback, None));
    refused(browser.step(&callback, None));
    let other = json!({ "ticket": ticket, "verifier": "a guess" });
    refused(world.api().post("/login/oidc/redeem", &other));
    refused(world.redeem(&ticket));
    let ticket = world.ticket();
    let _ = world.redeem(&ticket).expect(200);
    refused(world.redeem(&ticket));
}

#[test]
fn a_login_sends_nobody_to_strangers() {
    let world = World::new();
    let challenge = digest(VERIFIER.as_bytes());
    for to in ["https://evil.example/", "//evil.example", "/%5Cevil.example", "http://127.0.0.1.evil.example:1/", ""] {
        let refused =
            world.api().get(&format!("/login/oidc/corp/start?return_to={to}&challenge={challenge}")).expect(400);
        assert_eq!((refused.code().as_str(), refused.at("/field")), ("bad_input", json!("return_to")), "{to}");
        assert_eq!(refused.header("location"), None);
    }
    let page = world.api().get(&format!("/login/oidc/corp/start?return_to=/ui&challenge={challenge}")).expect(303);
    assert!(page.header("location").unwrap().starts_with(&world.provider.issuer), "{page}");
    let cookie = page.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    let _ = world.api().get(&format!("/login/oidc/nobody/start?return_to=/&challenge={challenge}")).expect(404);
}

#[test]
fn an_id_token_that_is_not_right_in_every_respect_lets_nobody_in() {
    let mut world = World::new();
    world.provider.person("u-1", &json!({ "preferred_username": "ann", "groups": ["readers"] }));
    let none = json!({});
    let attacks = [
        (none.clone(), json!({ "nonce": "another" }), "another login"),
        (none.clone(), json!({ "nonce": null }), "another login"),
        (none.clone(), json!({ "aud": "another" }), "somebody else"),
        (none.clone(), json!({ "aud": ["muster", "another"] }), "somebody else"),
        (none.clone(), json!({ "azp": "another" }), "somebody else"),
        (none.clone(), json!({ "iss": "https://evil.example" }), "another issuer"),
        (none.clone(), json!({ "exp": 1_000_000_000 }), "expired"),
        (none.clone(), json!({ "sub": null }), "nobody"),
        (json!({ "alg": "none" }), none.clone(), "signed by none"),
        (json!({ "alg": "HS256" }), none.clone(), "signed by HS256"),
        (json!({ "kid": "k2" }), none.clone(), "key that its issuer"),
    ];
    for (header, claims, said) in attacks {
        world.provider.tamper(&header, &claims);
        let refused = world.visit().expect(401);
        assert_eq!(refused.code(), "login_refused");
        assert!(refused.text().contains(said), "{header} {claims}: {refused}");
    }
    // User information is asked for, and it is about the subject that the token names.
    world.provider.tamper(&none, &json!({ "sub": "u-2" }));
    assert!(world.visit().expect(401).text().contains("somebody else"));
    world.provider.tamper(&none, &none);
    let _ = world.redeem(&world.ticket()).expect(200);
}

#[test]
fn the_cli_logs_in_by_a_code_that_is_typed_elsewhere() {
    let mut world = World::new();
    world.provider.person("u-1", &json!({ "preferred_username": "ann", "groups": ["fitters"] }));
    let home = tempfile::tempdir().unwrap();
    let muster = |words: &[&str]| {
        let mut command = Command::new(program("muster").unwrap());
        command.args(words).env("XDG_CONFIG_HOME", home.path()).env("HOME", home.path()).stdin(Stdio::null());
        command
    };
    let mut login = muster(&["login", &world.server.origin(), "--oidc", "corp"]);
    let mut child = login.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let address = said.find_map(|line| line.strip_prefix("or open ").map(str::to_owned)).unwrap();
    assert!(address.starts_with(&world.provider.issuer), "{address}");
    let page = world.browser().click_through(&address);
    assert_eq!(page.status, 200, "{page}");
    let rest: Vec<String> = said.collect();
    assert!(child.wait().unwrap().success(), "{rest:?}");
    assert!(rest.join("\n").contains("Logged in as corp:ann"), "{rest:?}");
    let whoami = muster(&["whoami"]).output().unwrap();
    assert!(String::from_utf8_lossy(&whoami.stdout).starts_with("corp:ann in project default"), "{whoami:?}");
}

#[test]
fn the_cli_logs_in_by_a_browser_on_the_same_machine() {
    let mut world = World::new();
    world.provider.person("u-1", &json!({ "preferred_username": "ann", "groups": ["fitters"] }));
    let home = tempfile::tempdir().unwrap();
    let mut login = Command::new(program("muster").unwrap());
    login.args(["login", &world.server.origin(), "--oidc", "corp", "--browser"]).env("XDG_CONFIG_HOME", home.path());
    let mut child = login.stderr(Stdio::piped()).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let address = said.find_map(|line| line.trim().strip_prefix("http").map(|rest| format!("http{rest}"))).unwrap();
    let mut browser = world.browser();
    let mut at = address;
    loop {
        let answer = browser.step(&at, None);
        match answer.header("location") {
            Some(next) if next.starts_with('/') => at = format!("{}{next}", world.provider.issuer),
            Some(next) => at = next.to_owned(),
            None => {
                assert!(answer.text().starts_with("Done."), "{answer}");
                break;
            }
        }
    }
    let rest: Vec<String> = said.collect();
    assert!(child.wait().unwrap().success(), "{rest:?}");
    assert!(rest.join("\n").contains("Logged in as corp:ann"), "{rest:?}");
}

#[test]
fn a_provider_is_checked_when_it_is_set_and_its_secret_is_never_told() {
    let world = World::new();
    let admin = world.server.admin();
    let wrong = [
        ("issuer", json!("http://127.0.0.1:1")),
        ("issuer", json!("https://user@evil.example")),
        ("client_id", json!("")),
        ("client_secret", json!("")),
        ("server_url", json!("http://muster.example")),
        ("server_url", json!("https://muster.example/path")),
        ("scopes", json!("profile")),
        ("certificates", json!("nonsense")),
        ("groups_claim", json!("")),
    ];
    for (field, value) in wrong {
        let mut body = world.resource();
        body[field] = value;
        let refused = admin.put("/oidc-providers/corp", &body).expect(400);
        assert_eq!(refused.at("/field"), json!(field), "{refused}");
    }
    let mut body = world.resource();
    body["groups"] = json!({ "x": ["no-such-role"] });
    assert_eq!(admin.put("/oidc-providers/corp", &body).expect(404).code(), "not_found");
    let told = [admin.get("/oidc-providers").expect(200).text(), admin.get("/audit?limit=200").expect(200).text()];
    let stored = std::fs::read(world.server.data().join("muster.db-wal")).unwrap();
    assert!(!told.iter().any(|text| text.contains("client secret")), "{told:?}");
    assert!(!stored.windows(13).any(|window| window == b"client secret"));
    let reader = json!({ "name": "r", "scopes": ["read"], "life_s": 60 });
    let reader = admin.post("/tokens", &reader).expect(201);
    let reader = world.api().with_token(reader.at("/secret").as_str().unwrap());
    assert_eq!(reader.put("/oidc-providers/evil", &world.resource()).expect(403).code(), "not_allowed");
    assert_eq!(reader.delete("/oidc-providers/corp").expect(403).code(), "not_allowed");
    let _ = world.server.login("admin", PASSWORD);
}
