//! The second factor: asked for, right once, counted when wrong, and given up only by its owner or an admin.

use muster_tests::api::Api;
use muster_tests::exchange::Answer;
use muster_tests::server::{ADMIN, PASSWORD, Server};
use muster_trust::totp::{base32, code};
use serde_json::{Value, json};

fn step() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    now.as_secs() / 30
}

fn from_base32(text: &str) -> Vec<u8> {
    let digit = |c: char| "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".find(c).unwrap();
    let bits: Vec<usize> = text.chars().flat_map(|c| (0..5).rev().map(move |at| digit(c) >> at & 1)).collect();
    bits.chunks_exact(8).map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | *bit as u8)).collect()
}

fn digits(secret: &[u8], step: u64) -> String {
    format!("{:06}", code(secret, step))
}

/// Enables it by the present code, so that the next one, which counts already, is still unused.
pub(crate) fn enable(api: &Api, password: &str) -> (Vec<u8>, Vec<String>) {
    let begun = api.post("/totp", &json!({ "password": password })).expect(200);
    let text = begun.at("/secret").as_str().unwrap().to_owned();
    let secret = from_base32(&text);
    assert_eq!(base32(&secret), text);
    assert!(begun.at("/uri").as_str().unwrap().contains(&text), "{begun}");
    let code = json!({ "code": digits(&secret, step()) });
    let codes = api.post("/totp/confirm", &code).expect(200).at("/recovery_codes");
    (secret, serde_json::from_value(codes).unwrap())
}

fn login(server: &Server, code: Option<&str>) -> Answer {
    let mut body = json!({ "account": ADMIN, "password": PASSWORD });
    if let Some(code) = code {
        body["code"] = json!(code);
    }
    server.anonymous().post("/login", &body)
}

#[test]
fn a_login_asks_for_a_code_and_each_works_once() {
    let server = Server::start();
    let (secret, recovery) = enable(server.admin(), PASSWORD);
    assert_eq!(recovery.len(), 10);
    assert_eq!(login(&server, None).expect(401).code(), "code_required");
    let wrong_password = json!({ "account": ADMIN, "password": "wrong", "code": digits(&secret, step() + 1) });
    let refused = server.anonymous().post("/login", &wrong_password).expect(401);
    assert_eq!(refused.code(), "wrong_password", "whoever doesn't know the password learns nothing of a code");
    let present = digits(&secret, step() + 1);
    let _ = login(&server, Some(&present)).expect(200);
    assert_eq!(login(&server, Some(&present)).expect(401).code(), "wrong_code", "a code was taken twice");
    let before = digits(&secret, step());
    assert_eq!(login(&server, Some(&before)).expect(401).code(), "wrong_code", "an older code was taken after it");
    let _ = login(&server, Some(&recovery[3].to_uppercase())).expect(200);
    assert_eq!(login(&server, Some(&recovery[3])).expect(401).code(), "wrong_code", "a recovery code was taken twice");
    assert_eq!(server.admin().get("/totp").expect(200).at("/recovery_codes_left"), json!(9));
}

#[test]
fn five_wrong_codes_lock_it_for_a_quarter_of_an_hour_also_over_a_restart() {
    let mut server = Server::start();
    let (secret, recovery) = enable(server.admin(), PASSWORD);
    for _ in 0..5 {
        assert_eq!(login(&server, Some("000000x")).expect(401).code(), "wrong_code");
    }
    server.kill();
    server.restart();
    for code in [digits(&secret, step() + 1), recovery[0].clone()] {
        let refused = login(&server, Some(&code)).expect(429);
        let wait_s: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((800..=901).contains(&wait_s), "{refused}");
    }
    let audit = server.admin().get("/audit?limit=100").expect(200).text();
    assert!(audit.contains("account.totp.lock") && audit.contains("account.totp.enable"), "{audit}");
}

#[test]
fn a_found_token_neither_gives_nor_takes_a_second_factor() {
    let server = Server::start();
    let admin = server.admin();
    assert_eq!(admin.post("/totp", &json!({ "password": "wrong" })).expect(401).code(), "wrong_password");
    let (secret, _) = enable(admin, PASSWORD);
    assert_eq!(admin.post("/totp", &json!({ "password": PASSWORD })).expect(409).code(), "conflict");
    let disable =
        |password: &str, code: &str| admin.post("/totp/disable", &json!({ "password": password, "code": code }));
    let present = digits(&secret, step() + 1);
    assert_eq!(disable("wrong", &present).expect(401).code(), "wrong_password");
    assert_eq!(disable(PASSWORD, "").expect(401).code(), "wrong_code");
    let _ = disable(PASSWORD, &present).expect(204);
    let _ = login(&server, None).expect(200);
    assert_eq!(disable(PASSWORD, &present).expect(404).code(), "not_found");
}

#[test]
fn an_admin_resets_it_for_others_and_nobody_else_does() {
    let server = Server::start();
    let password = "a long password";
    for (name, scope) in [("otto", "read"), ("bob", "read")] {
        let new = json!({ "name": name, "scopes": [scope], "password": password });
        let _ = server.admin().post("/accounts", &new).expect(201);
    }
    let (otto, bob) = (server.login("otto", password), server.login("bob", password));
    let (_, codes) = enable(&otto, password);
    assert_eq!(bob.delete("/accounts/otto/totp").expect(403).code(), "not_allowed");
    let asked = json!({ "account": "otto", "password": password });
    assert_eq!(server.anonymous().post("/login", &asked).expect(401).code(), "code_required");
    let _ = server.admin().delete("/accounts/otto/totp").expect(204);
    let _ = server.anonymous().post("/login", &asked).expect(200);
    assert_eq!(otto.get("/totp").expect(200).json(), json!({ "enabled": false, "recovery_codes_left": 0 }));
    let _ = enable(&otto, password);
    let old: Value = json!({ "account": "otto", "password": password, "code": codes[0] });
    assert_eq!(server.anonymous().post("/login", &old).expect(401).code(), "wrong_code", "it was of the one before");
}

#[test]
fn its_secret_and_recovery_codes_are_stored_nowhere_as_they_are() {
    let server = Server::start();
    let (secret, codes) = enable(server.admin(), PASSWORD);
    let mut stored = std::fs::read(server.data().join("muster.db")).unwrap();
    stored.extend(std::fs::read(server.data().join("muster.db-wal")).unwrap_or_default());
    let text = base32(&secret);
    let plain = codes[0].replace('-', "");
    for looked_for in [&secret[..], text.as_bytes(), codes[0].as_bytes(), plain.as_bytes()] {
        assert!(!stored.windows(looked_for.len()).any(|window| window == looked_for));
    }
    let _ = server.admin().post("/master-key/rotate", &json!({})).expect(200);
    let _ = login(&server, Some(&digits(&secret, step() + 1))).expect(200);
}
