//! A refusal is a problem document with a stable code, whatever was wrong.

use muster_tests::exchange::{Answer, Payload};
use muster_tests::field::Field;
use muster_tests::raw::Line;
use muster_tests::server::Server;
use serde_json::json;

/// Refused so, in the one shape that all refusals have.
#[track_caller]
fn check(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{answer}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer}");
    assert_eq!(answer.at("/status"), json!(status), "{answer}");
    assert_eq!(answer.at("/type"), json!(format!("urn:muster:problem:{code}")), "{answer}");
    for member in ["/title", "/detail"] {
        assert!(answer.at(member).as_str().is_some_and(|text| !text.is_empty()), "no {member}: {answer}");
    }
    assert!(answer.header("x-request-id").is_some(), "{answer}");
}

/// Every address that takes a JSON body which can't be left out.
const BODIES: [(&str, &str); 11] = [
    ("POST", "/rollouts"),
    ("POST", "/releases"),
    ("POST", "/uploads"),
    ("POST", "/tokens"),
    ("POST", "/accounts"),
    ("POST", "/devices"),
    ("POST", "/devices:accept"),
    ("PATCH", "/devices/sn-1"),
    ("PATCH", "/project"),
    ("PUT", "/channels/stable"),
    ("POST", "/password"),
];

#[test]
fn a_body_that_is_no_json_or_not_the_right_one_is_refused() {
    let field = Field::new();
    for (method, path) in BODIES {
        for body in ["", "{", "nonsense", "null", "[]", "7", "\"text\"", "{\"x\":1}{", "{\"\u{0}\":1}", "{} {}"] {
            let sent = Payload::Bytes("application/json", body.as_bytes());
            let refused = field.admin().send(method, path, &[], sent);
            check(&refused, 400, "bad_input");
            assert_eq!(refused.at("/field"), "body", "{refused}");
        }
        let binary = Payload::Bytes("application/json", &[0xff, 0xfe, 0x00]);
        check(&field.admin().send(method, path, &[], binary), 400, "bad_input");
        let deep = "[".repeat(200_000);
        let deep = Payload::Bytes("application/json", deep.as_bytes());
        check(&field.admin().send(method, path, &[], deep), 400, "bad_input");
    }
}

#[test]
fn a_field_nobody_knows_is_refused_with_the_nearest() {
    let field = Field::new();
    let cases = [
        ("POST", "/rollouts", json!({ "selct": "all" }), "select"),
        ("POST", "/rollouts", json!({ "select": "all", "waves": [{ "tke": { "percent": 1 } }] }), "take"),
        ("POST", "/rollouts", json!({ "select": "all", "waves": [{ "take": { "percant": 1 } }] }), "percent"),
        ("POST", "/rollouts", json!({ "select": "all", "push": "sofd" }), "soft"),
        ("POST", "/releases", json!({ "name": "a", "versoin": "1" }), "version"),
        ("POST", "/uploads", json!({ "name": "a", "sise": 1 }), "size"),
        ("POST", "/tokens", json!({ "name": "a", "scopes": ["devices:wirte"] }), "devices:write"),
        ("PATCH", "/devices/sn-1", json!({ "lables": {} }), "labels"),
        ("PATCH", "/project", json!({ "registration": "acept" }), "accept"),
        ("POST", "/actions/1/cancel", json!({ "forse": true }), "force"),
        ("PUT", "/channels/stable", json!({ "relaese": "a@1" }), "release"),
    ];
    for (method, path, body, meant) in cases {
        let refused = field.admin().send(method, path, &[], Payload::Json(&body));
        check(&refused, 400, "bad_input");
        assert!(refused.text().contains(&format!("did you mean `{meant}`")), "{refused}");
    }
}

#[test]
fn a_body_of_another_kind_is_refused() {
    let field = Field::new();
    for (method, path) in BODIES {
        for kind in ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp", "multipart/form-data"]
        {
            check(&field.admin().send(method, path, &[], Payload::Bytes(kind, b"{}")), 415, "not_json");
        }
    }
    let label = Payload::Bytes("application/merge-patch+json; charset=utf-8", b"{\"labels\":{\"a\":\"b\"}}");
    let _ = field.admin().send("PATCH", "/devices/sn-1", &[], label).expect(200);
}

#[test]
fn an_address_nobody_knows_is_404() {
    let server = Server::start();
    let unknown = [
        "",
        "/",
        "/nothing",
        "/devices/",
        "/devices/sn-1/",
        "/devices/sn-1/nothing",
        "/devices:nothing",
        "/device",
        "/devices/%FF",
        "/releases/os",
        "/releases/os/1/2/3",
        "/rollouts/r-1/explode",
        "//devices",
        "/devices//why",
        "/Devices",
        "/../../metrics",
        "/devices/..%2F..%2Fetc",
    ];
    for path in unknown {
        check(&server.admin().get(path), 404, "not_found");
        check(&server.anonymous().get("/nothing"), 404, "not_found");
    }
}

#[test]
fn a_thing_that_is_not_there_is_404_by_name() {
    let server = Server::start();
    let digest = format!("sha256:{}", "0".repeat(64));
    let missing = [
        "/devices/ghost".to_owned(),
        "/devices/ghost/why".into(),
        "/devices/ghost/timeline".into(),
        "/rollouts/r-77".into(),
        "/rollouts/ghost".into(),
        "/rollouts/r-99999999999999999999".into(),
        "/actions/77".into(),
        "/actions/-1".into(),
        "/actions/x".into(),
        "/actions/77/reports".into(),
        "/releases/os/77".into(),
        "/channels/ghost".into(),
        "/uploads/ghost".into(),
        "/uploads/..%2f..%2fmuster.db".into(),
        format!("/artifacts/{digest}"),
        format!("/artifacts/{digest}/content"),
        "/artifacts/sha256:xyz".into(),
    ];
    for path in missing {
        check(&server.admin().get(&path), 404, "not_found");
    }
    for path in ["/rollouts/r-77/start", "/rollouts/r-77/retry", "/actions/77/cancel", "/devices/ghost/accept"] {
        check(&server.admin().post(path, &json!({})), 404, "not_found");
    }
    for path in ["/tokens/t-77", "/tokens/x", "/accounts/ghost", "/uploads/ghost", "/devices/ghost"] {
        check(&server.admin().delete(path), 404, "not_found");
    }
}

#[test]
fn a_method_an_address_does_not_take_is_405_and_says_which_it_takes() {
    let server = Server::start();
    let wrong = [
        ("PUT", "/devices", "GET"),
        ("DELETE", "/rollouts", "POST"),
        ("PATCH", "/rollouts/r-1", "GET"),
        ("POST", "/whoami", "GET"),
        ("GET", "/login", "POST"),
        ("GET", "/rollouts/r-1/start", "POST"),
        ("POST", "/events", "GET"),
        ("BREW", "/devices", "GET"),
    ];
    for (method, path, taken) in wrong {
        let refused = server.admin().send(method, path, &[], Payload::None);
        check(&refused, 405, "wrong_method");
        assert!(refused.header("allow").is_some_and(|allow| allow.contains(taken)), "{refused} {:?}", refused.headers);
    }
}

#[test]
fn a_body_of_more_than_a_mebibyte_is_413() {
    let field = Field::new();
    let label = json!({ "labels": { "a": "x".repeat(1024 * 1024) } });
    check(&field.admin().patch("/devices/sn-1", &label), 413, "too_large");
    let mut line = Line::open(field.server.address()).unwrap();
    let token = field.admin().token().unwrap();
    let head =
        "POST /api/v1/rollouts HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked";
    line.send(format!("{head}\r\nauthorization: Bearer {token}\r\n\r\n").as_bytes());
    for _ in 0..20 {
        line.send(format!("10000\r\n{}\r\n", "x".repeat(0x10000)).as_bytes());
    }
    assert_eq!(line.status(), Some(413));
}

#[test]
fn a_request_id_given_is_given_back() {
    let server = Server::start();
    let answer = server.admin().send("GET", "/whoami", &[("x-request-id", "trace-4711")], Payload::None).expect(200);
    assert_eq!(answer.header("x-request-id"), Some("trace-4711"));
    let long = "x".repeat(200);
    let answer = server.admin().send("GET", "/whoami", &[("x-request-id", &long)], Payload::None).expect(200);
    assert!(answer.header("x-request-id").is_some_and(|id| id.len() < 100), "{answer}");
}

#[test]
fn a_refusal_does_not_cost_the_connection() {
    let server = Server::start();
    let mut line = Line::open(server.address()).unwrap();
    let head =
        "POST /api/v1/rollouts HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n";
    for _ in 0..2 {
        line.send(head.as_bytes());
        assert!(!line.is_cut(std::time::Duration::from_millis(200)).unwrap(), "refused before the body was there");
        line.send(b"{}");
        let answer = line.read_head();
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer:?}");
        let length = answer.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let _ = line.read(length.parse().unwrap());
    }
}
