//! Does the operator API survive what its own document allows, and what it does not?

use muster_tests::field::{CONTENT, Field};
use muster_tests::operator::digest;
use muster_tests::schemathesis::fuzz;
use serde_json::json;

/// Tokens made before the fuzzer's own: made-up ids are small numbers, and it shall not revoke itself.
const DECOYS: u32 = 60;

/// A token for the fuzzer, which is nobody's session.
fn fuzzers_token(field: &Field) -> String {
    let mut secret = None;
    for number in 0..=DECOYS {
        let token = json!({ "name": format!("fuzzer-{number}"), "scopes": ["admin"], "life_s": 3600 });
        secret = field.admin().post("/tokens", &token).expect(201).at("/secret").as_str().map(str::to_owned);
    }
    secret.expect("there is a last one")
}

#[track_caller]
fn finds_nothing(field: &Field, known: &[(&str, &str, &str)]) {
    let folder = tempfile::tempdir().unwrap();
    let token = fuzzers_token(field);
    let verdict = fuzz(&field.server.origin(), &token, folder.path(), known).unwrap();
    println!("{}", verdict.text);
    assert!(verdict.passed, "{}", verdict.text);
    let whoami = field.server.anonymous().with_token(&token).get("/whoami");
    assert_eq!(whoami.status, 200, "the run has revoked its own token, so most of it met a closed door: {whoami}");
    let _ = field.server.anonymous().get("/openapi.json").expect(200);
}

#[test]
fn requests_made_up_from_the_openapi_document_find_no_error_of_the_server() {
    finds_nothing(&Field::new(), &[]);
}

#[test]
fn requests_made_up_about_things_that_exist_find_no_error_of_the_server() {
    let field = Field::new();
    let offer = field.running("one");
    let upload = json!({ "name": "half.bin", "size": 1000, "digest": digest(b"other") });
    let upload = field.admin().post("/uploads", &upload).expect(201).at("/id");
    let (action, artifact) = (offer.action.to_string(), digest(CONTENT));
    let known = [
        ("^/api/v1/devices/", "path.name", "sn-1"),
        ("^/api/v1/rollouts/", "path.id", offer.rollout.as_str()),
        ("^/api/v1/actions/", "path.id", action.as_str()),
        ("^/api/v1/uploads/", "path.id", upload.as_str().unwrap()),
        ("^/api/v1/artifacts/", "path.digest", artifact.as_str()),
        ("^/api/v1/releases/", "path.name", "os"),
        ("^/api/v1/releases/", "path.version", "one"),
    ];
    finds_nothing(&field, &known);
}
