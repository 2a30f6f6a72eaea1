//! Does the operator API survive what its own document allows, and what it does not?

use muster_tests::field::Field;
use muster_tests::operator::reports;
use muster_tests::schemathesis::fuzz;
use serde_json::json;

#[test]
fn requests_made_up_from_the_openapi_document_find_no_error_of_the_server() {
    let field = Field::new();
    let offer = field.running("1");
    let folder = tempfile::tempdir().unwrap();
    // A token of its own, so that the run may log out or change what the test's own session stands on.
    let fuzzer = json!({ "name": "fuzzer", "scopes": ["admin"], "life_s": 3600 });
    let secret = field.admin().post("/tokens", &fuzzer).expect(201).at("/secret");
    let verdict = fuzz(&field.server.origin(), secret.as_str().unwrap(), folder.path()).unwrap();
    assert!(verdict.passed, "{}", verdict.text);
    let _ = field.server.anonymous().get("/openapi.json").expect(200);
    let _ = field.device.poll().expect(200);
    assert!(!reports(field.admin(), offer.action).is_empty());
}
