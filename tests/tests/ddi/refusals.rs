//! Requests that no honest client sends.

use muster_tests::exchange::Payload;
use muster_tests::field::Field;
use muster_tests::raw::Line;
use serde_json::json;

const BODY: &[u8] = br#"{"data":{"a":"b"}}"#;

#[test]
fn other_methods_are_405() {
    let field = Field::new();
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let _ = field.device.send(method, "", &[], Payload::None).expect(405);
    }
    for method in ["GET", "POST", "DELETE"] {
        let _ = field.device.send(method, "/configData", &[], Payload::None).expect(405);
    }
    let offer = field.running("1");
    let path = format!("/deploymentBase/{}/feedback", offer.action);
    for method in ["GET", "PUT", "DELETE"] {
        let _ = field.device.send(method, &path, &[], Payload::None).expect(405);
    }
    let _ = field.device.send("DELETE", &offer.link, &[], Payload::None).expect(405);
}

#[test]
fn answers_nobody_wants_are_406() {
    let field = Field::new();
    let poll = |accept: &str| field.device.send("GET", "", &[("accept", accept)], Payload::None).status;
    for accept in ["text/html", "image/png, text/css", "application/xml"] {
        assert_eq!(poll(accept), 406, "{accept}");
    }
    let known = [
        "*/*",
        "application/json",
        "application/hal+json",
        "application/*",
        "text/html, */*;q=0.1",
        "application/json;charset=UTF-8",
    ];
    for accept in known {
        assert_eq!(poll(accept), 200, "{accept}");
    }
}

#[test]
fn bodies_that_do_not_claim_to_be_json_are_415() {
    let field = Field::new();
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""] {
        let _ = field.device.send("PUT", "/configData", &[], Payload::Bytes(kind, BODY)).expect(415);
    }
    let offer = field.running("1");
    let path = format!("/deploymentBase/{}/feedback", offer.action);
    let _ = field.device.send("POST", &path, &[], Payload::Bytes("text/plain", b"{}")).expect(415);
    for kind in ["application/json", "application/json; charset=utf-8", "application/hal+json", "APPLICATION/JSON"] {
        let _ = field.device.send("PUT", "/configData", &[], Payload::Bytes(kind, BODY)).expect(200);
    }
}

#[test]
fn a_body_that_is_too_large_changes_nothing() {
    let field = Field::new();
    let length = 300 * 1024;
    let head = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n");
    let body = format!("{{\"data\":{{\"a\":\"b\"}}}}{}", " ".repeat(length));
    // It is refused by its length alone; while the bytes are still on their way, the refusal can be lost with the line.
    let status = put(&field, &head, &body.as_bytes()[..length]).status();
    assert!(matches!(status, None | Some(413)), "{status:?}");
    let device = field.admin().get("/devices/sn-1").expect(200);
    assert_eq!(device.at("/attributes"), json!({}));
}

#[test]
fn a_claim_of_ten_gibibytes_is_refused_before_the_bytes_come() {
    let field = Field::new();
    let claim = "Content-Type: application/json\r\nContent-Length: 10737418240\r\n";
    assert_eq!(put(&field, claim, b"").status(), Some(413));
}

#[test]
fn a_chunked_body_without_end_is_413() {
    let field = Field::new();
    let mut line = put(&field, "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n", b"");
    let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
    for _ in 0..4 {
        line.send(&chunk);
    }
    // 256 KiB are allowed; this byte is not.
    line.send(b"1\r\n \r\n");
    assert_eq!(line.status(), Some(413));
}

#[test]
fn who_waits_for_100_continue_is_told_at_once() {
    let field = Field::new();
    let length = BODY.len();
    let head = format!("Content-Type: application/json\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n");
    let mut line = put(&field, &head, b"");
    assert!(line.read_head().starts_with("HTTP/1.1 100"), "swupdate waits for it");
    line.send(BODY);
    assert_eq!(line.status(), Some(200));
}

#[test]
fn a_megabyte_of_headers_is_refused() {
    let field = Field::new();
    let huge = format!("X-Junk: {}\r\n", "x".repeat(1024 * 1024));
    // It may hang up before it has read everything, and then its answer can be lost.
    if let Some(status) = put(&field, &huge, b"").status() {
        assert_eq!(status, 431);
    }
    let _ = field.admin().get("/devices/sn-1").expect(200);
}

#[test]
fn half_a_body_changes_nothing() {
    let field = Field::new();
    let mut line = put(&field, "Content-Type: application/json\r\nContent-Length: 100\r\n", b"{\"data\":{\"a\"");
    line.end();
    assert_ne!(line.status(), Some(200));
    assert_eq!(field.admin().get("/devices/sn-1").expect(200).at("/attributes"), json!({}));
}

#[test]
fn bytes_that_are_no_http_end_the_connection_only() {
    let field = Field::new();
    for junk in [&b"\x16\x03\x01\x02\x00\x01"[..], b"hello\r\n\r\n", b"GET\r\n\r\n", b"\0\0\0\0\r\n\r\n"] {
        let mut line = Line::open(field.server.address()).unwrap();
        line.send(junk);
        line.end();
        assert!(matches!(line.status(), None | Some(400)));
    }
    let _ = field.device.poll().expect(200);
}

#[test]
fn unknown_paths_below_a_device_are_404() {
    let field = Field::new();
    for path in
        ["/nothing", "/deploymentBase", "/cancelAction/1/2/3", "/softwaremodules", "//", "/confirmationBase/x/y"]
    {
        let _ = field.device.get(path).expect(404);
    }
}

/// Begins `PUT …/configData` of the device by hand.
fn put(field: &Field, headers: &str, body: &[u8]) -> Line {
    let token = field.admin().post("/devices/sn-1/token", &json!({})).at("/token");
    let token = token.as_str().unwrap();
    let head = format!(
        "PUT /default/controller/v1/sn-1/configData HTTP/1.1\r\nHost: {}\r\nAuthorization: TargetToken {token}\r\n{headers}\r\n",
        field.server.address()
    );
    let mut line = Line::open(field.server.address()).unwrap();
    line.send(head.as_bytes());
    line.send(body);
    line
}
