//! Attacks on tokens, each made with the issuer's own key where an attacker could get it to sign.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::json;

use super::*;

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const SECONDS: i64 = 1_800_000_000;

struct Issuer {
    pair: EcdsaKeyPair,
    keys: Keys,
    set: Value,
}

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

impl Issuer {
    fn new(name: &str) -> Self {
        let random = ring::rand::SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
        let point = pair.public_key().as_ref();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
        let set = json!({ "keys": [
            { "kty": "something-new", "kid": "later" },
            { "kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": name, "use": "sig" },
        ] });
        Self { keys: Keys::of(&set), pair, set }
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", encoded(header), encoded(claims));
        let signature = self.pair.sign(&ring::rand::SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn check(&self, token: &str) -> Result<Claims, BadToken> {
        check(token, &self.keys, &expected())
    }
}

fn expected() -> Expected<'static> {
    Expected { issuer: "https://id.example", audience: "muster", nonce: Some("n1"), now: NOW }
}

fn header() -> Value {
    json!({ "alg": "ES256", "kid": "k1", "typ": "JWT" })
}

fn claims() -> Value {
    json!({ "iss": "https://id.example", "aud": "muster", "sub": "42", "exp": SECONDS + 300, "iat": SECONDS,
        "nonce": "n1" })
}

/// The right claims with one changed, or taken away.
fn changed(name: &str, value: Value) -> Value {
    let mut all = claims();
    match value {
        Value::Null => drop(all.as_object_mut().unwrap().remove(name)),
        value => all[name] = value,
    }
    all
}

#[test]
fn a_right_token_is_believed() {
    let issuer = Issuer::new("k1");
    assert_eq!(issuer.check(&issuer.sign(&header(), &claims())).unwrap().subject(), "42");
    let several = changed("aud", json!(["other", "muster"]));
    let several = issuer.check(&issuer.sign(&header(), &several)).unwrap();
    assert!(check_authorized_party(&several, "muster").is_err(), "several audiences, and nobody said for whom");
    let without_name = json!({ "alg": "ES256" });
    assert!(issuer.check(&issuer.sign(&without_name, &claims())).is_ok());
}

#[test]
fn one_wrong_claim_is_enough_to_be_refused() {
    let issuer = Issuer::new("k1");
    let wrong = [
        ("iss", json!("https://id.example/"), BadToken::Issuer("https://id.example/".into())),
        ("iss", Value::Null, BadToken::Issuer("none".into())),
        ("aud", json!("other"), BadToken::Audience("\"other\"".into())),
        ("aud", json!(["other"]), BadToken::Audience("[\"other\"]".into())),
        ("aud", Value::Null, BadToken::Audience("nobody".into())),
        ("exp", json!(SECONDS - 60), BadToken::Expired),
        ("exp", json!("9999999999"), BadToken::Expired),
        ("exp", Value::Null, BadToken::Expired),
        ("nbf", json!(SECONDS + 61), BadToken::NotYet),
        ("iat", json!(SECONDS + 3600), BadToken::NotYet),
        ("nonce", json!("n2"), BadToken::Nonce),
        ("nonce", Value::Null, BadToken::Nonce),
        ("sub", json!(""), BadToken::Subject),
        ("sub", json!(42), BadToken::Subject),
        ("sub", Value::Null, BadToken::Subject),
    ];
    for (name, value, refusal) in wrong {
        let token = issuer.sign(&header(), &changed(name, value.clone()));
        assert_eq!(issuer.check(&token), Err(refusal), "{name}: {value}");
    }
}

#[test]
fn a_token_without_a_signature_is_refused() {
    let issuer = Issuer::new("k1");
    for name in ["none", "None", "NONE"] {
        let bare = format!("{}.{}.", encoded(&json!({ "alg": name, "kid": "k1" })), encoded(&claims()));
        assert_eq!(issuer.check(&bare), Err(BadToken::Algorithm(name.into())));
    }
    let right = issuer.sign(&header(), &claims());
    let stripped = format!("{}.", right.rsplit_once('.').unwrap().0);
    assert_eq!(issuer.check(&stripped), Err(BadToken::Signature));
}

#[test]
fn a_public_key_is_no_shared_secret() {
    let issuer = Issuer::new("k1");
    let point = issuer.pair.public_key().as_ref();
    let jwk = issuer.set["keys"][1].to_string();
    for secret in [point, jwk.as_bytes(), &point[1..]] {
        let message = format!("{}.{}", encoded(&json!({ "alg": "HS256", "kid": "k1" })), encoded(&claims()));
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
        let tag = URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, message.as_bytes()));
        assert_eq!(issuer.check(&format!("{message}.{tag}")), Err(BadToken::Algorithm("HS256".into())));
    }
    let symmetric = json!({ "keys": [{ "kty": "oct", "k": "c2VjcmV0", "kid": "k1" }] });
    assert_eq!(Keys::of(&symmetric), Keys::default(), "shared secrets of a key set are no keys");
}

#[test]
fn another_key_another_algorithm_and_a_changed_text_are_refused() {
    let (issuer, other) = (Issuer::new("k1"), Issuer::new("k1"));
    assert_eq!(issuer.check(&other.sign(&header(), &claims())), Err(BadToken::Signature));
    let unknown = json!({ "alg": "ES256", "kid": "k2" });
    assert_eq!(issuer.check(&issuer.sign(&unknown, &claims())), Err(BadToken::UnknownKey));
    let rsa = json!({ "alg": "RS256", "kid": "k1" });
    assert_eq!(issuer.check(&issuer.sign(&rsa, &claims())), Err(BadToken::UnknownKey));
    // A key that comes with the token is the attacker's own.
    let mut embedded = header();
    embedded["jwk"] = other.set["keys"][1].clone();
    assert_eq!(issuer.check(&other.sign(&embedded, &claims())), Err(BadToken::Signature));
    let right = issuer.sign(&header(), &claims());
    let parts: Vec<&str> = right.split('.').collect();
    let swapped = format!("{}.{}.{}", parts[0], encoded(&changed("sub", json!("1"))), parts[2]);
    assert_eq!(issuer.check(&swapped), Err(BadToken::Signature));
}

#[test]
fn tokens_of_other_kinds_are_refused() {
    let issuer = Issuer::new("k1");
    for kind in ["at+jwt", "logout+jwt"] {
        let header = json!({ "alg": "ES256", "kid": "k1", "typ": kind });
        assert_eq!(issuer.check(&issuer.sign(&header, &claims())), Err(BadToken::Kind(kind.into())));
    }
    let critical = json!({ "alg": "ES256", "kid": "k1", "crit": ["exp"] });
    assert!(matches!(issuer.check(&issuer.sign(&critical, &claims())), Err(BadToken::Kind(_))));
    for text in ["", "a.b", "a.b.c", "a.b.c.d.e", &"a".repeat(TOKEN_BYTES_MAX + 1)] {
        assert_eq!(issuer.check(text), Err(BadToken::Shape), "{text:.20}");
    }
}
