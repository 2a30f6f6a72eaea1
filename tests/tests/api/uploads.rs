//! Artifacts arrive whole or not at all, however often the line is cut.

use muster_tests::api::Api;
use muster_tests::exchange::{Answer, Payload};
use muster_tests::field::{CONTENT, FILE};
use muster_tests::operator::{digest, upload};
use muster_tests::raw::Line;
use muster_tests::server::Server;
use muster_tests::wait::{until, until_true};
use serde_json::{Value, json};

const BYTES: usize = 5_000_000;
const HALF: usize = BYTES / 2;

/// Bytes that repeat nowhere near, so that a piece in the wrong place shows.
fn image() -> Vec<u8> {
    (0..BYTES / 4).flat_map(|number| (number as u32).wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

#[track_caller]
fn announce(admin: &Api, bytes: &[u8]) -> String {
    let upload = json!({ "name": "image.raucb", "size": bytes.len(), "digest": digest(bytes) });
    let begun = admin.post("/uploads", &upload).expect(201);
    assert_eq!(begun.at("/offset"), json!(0), "{begun}");
    begun.at("/id").as_str().unwrap().to_owned()
}

#[track_caller]
fn append(admin: &Api, id: &str, offset: usize, bytes: &[u8]) -> Answer {
    let sent = Payload::Bytes("application/octet-stream", bytes);
    admin.send("PATCH", &format!("/uploads/{id}"), &[("upload-offset", &offset.to_string())], sent)
}

/// Sends part of a body that was announced longer; the line stays open.
fn send_part(server: &Server, id: &str, offset: usize, part: &[u8], announced: usize) -> Line {
    let mut line = Line::open(server.address()).unwrap();
    let token = server.admin().token().unwrap();
    let head = format!("PATCH /api/v1/uploads/{id} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n");
    line.send(format!("{head}upload-offset: {offset}\r\ncontent-length: {announced}\r\n\r\n").as_bytes());
    line.send(part);
    line
}

fn offset(admin: &Api, id: &str) -> usize {
    let answer = admin.get(&format!("/uploads/{id}")).expect(200);
    let offset = answer.at("/offset").as_u64().unwrap();
    assert_eq!(answer.header("upload-offset"), Some(offset.to_string().as_str()), "{answer}");
    usize::try_from(offset).unwrap()
}

/// Goes on where the server says; waits while it has not noticed yet that the line was cut.
#[track_caller]
fn finish(admin: &Api, id: &str, bytes: &[u8]) -> Answer {
    until("the upload goes on", || {
        let from = offset(admin, id);
        // A refusal may come before all bytes are sent, and then ends the line.
        let sent = Payload::Bytes("application/octet-stream", &bytes[from..]);
        let headers = [("upload-offset", &*from.to_string())];
        let answer = admin.try_send("PATCH", &format!("/uploads/{id}"), &headers, sent).ok()?;
        (answer.status != 409).then_some(answer)
    })
}

#[track_caller]
fn check_content(admin: &Api, bytes: &[u8]) {
    let content = admin.get(&format!("/artifacts/{}/content", digest(bytes))).expect(200);
    assert!(content.body == bytes, "other bytes came back than were sent");
}

#[test]
fn an_upload_goes_on_where_its_line_was_cut() {
    let server = Server::start();
    let bytes = image();
    let id = announce(server.admin(), &bytes);
    let line = send_part(&server, &id, 0, &bytes[..HALF], bytes.len());
    until_true("the server has kept what came", || offset(server.admin(), &id) == HALF);
    drop(line);
    let done = finish(server.admin(), &id, &bytes).expect(200);
    assert_eq!(done.at("/artifact/digest"), json!(digest(&bytes)), "{done}");
    assert_eq!(done.at("/artifact/size"), json!(BYTES), "{done}");
    let _ = server.admin().get(&format!("/uploads/{id}")).expect(404);
    check_content(server.admin(), &bytes);
}

#[test]
fn an_upload_survives_cuts_at_any_place() {
    let server = Server::start();
    let bytes = image();
    let id = announce(server.admin(), &bytes);
    for part in [1, 4096, 70_000, 1_000_000, 7, 300_000] {
        let from = until("the line is free", || {
            let from = offset(server.admin(), &id);
            let line = send_part(&server, &id, from, &bytes[from..from + part], bytes.len() - from);
            drop(line);
            Some(from)
        });
        assert!(offset(server.admin(), &id) >= from, "kept bytes are not lost again");
    }
    let _ = finish(server.admin(), &id, &bytes).expect(200);
    check_content(server.admin(), &bytes);
}

#[test]
fn an_upload_goes_on_after_a_kill() {
    let mut server = Server::start();
    let bytes = image();
    let id = announce(server.admin(), &bytes);
    assert_eq!(append(server.admin(), &id, 0, &bytes[..HALF]).expect(200).at("/offset"), json!(HALF));
    server.kill();
    server.restart();
    assert_eq!(offset(server.admin(), &id), HALF, "acknowledged bytes are durable");
    let line = send_part(&server, &id, HALF, &bytes[HALF..HALF + 1_000_000], BYTES - HALF);
    server.kill();
    drop(line);
    server.restart();
    assert!(offset(server.admin(), &id) >= HALF);
    let _ = finish(server.admin(), &id, &bytes).expect(200);
    check_content(server.admin(), &bytes);
}

#[test]
fn bytes_for_another_place_are_refused_with_the_right_one() {
    let server = Server::start();
    let id = announce(server.admin(), CONTENT);
    let _ = append(server.admin(), &id, 0, &CONTENT[..5]).expect(200);
    for wrong in [0, 4, 6, 100] {
        let refused = append(server.admin(), &id, wrong, &CONTENT[5..]).expect(409);
        assert_eq!(refused.code(), "offset_mismatch", "{refused}");
        assert_eq!(refused.header("upload-offset"), Some("5"), "{refused}");
    }
    for nonsense in [None, Some("-1"), Some("x"), Some("")] {
        let headers: Vec<_> = nonsense.iter().map(|value| ("upload-offset", *value)).collect();
        let sent = Payload::Bytes("application/octet-stream", &CONTENT[5..]);
        let refused = server.admin().send("PATCH", &format!("/uploads/{id}"), &headers, sent).expect(400);
        assert_eq!((refused.code().as_str(), refused.at("/field")), ("bad_input", json!("Upload-Offset")), "{refused}");
    }
    let _ = append(server.admin(), &id, 5, &CONTENT[5..]).expect(200);
}

#[test]
fn other_bytes_than_announced_are_refused_and_the_upload_is_gone() {
    let server = Server::start();
    let id = announce(server.admin(), CONTENT);
    let refused = append(server.admin(), &id, 0, b"HELLO FLEET").expect(422);
    assert_eq!(refused.code(), "digest_mismatch", "{refused}");
    let _ = server.admin().get(&format!("/uploads/{id}")).expect(404);
    let _ = append(server.admin(), &id, 0, CONTENT).expect(404);
    let _ = server.admin().get(&format!("/artifacts/{}", digest(CONTENT))).expect(404);
    assert_eq!(upload(server.admin(), FILE, CONTENT), digest(CONTENT));
}

#[test]
fn more_bytes_than_announced_are_refused() {
    let server = Server::start();
    let id = announce(server.admin(), CONTENT);
    let refused = append(server.admin(), &id, 0, b"hello fleet and more").expect(413);
    assert_eq!(refused.code(), "too_large", "{refused}");
    let _ = server.admin().get(&format!("/artifacts/{}", digest(CONTENT))).expect(404);
    let _ = finish(server.admin(), &id, CONTENT).expect(200);
    check_content(server.admin(), CONTENT);
}

#[test]
fn an_artifact_has_between_1_byte_and_8_gibibytes() {
    let server = Server::start();
    for size in
        [json!(0), json!(10_u64 << 30), json!((8_u64 << 30) + 1), json!(u64::MAX), json!(-1), json!(1.5), json!("11")]
    {
        let refused =
            server.admin().post("/uploads", &json!({ "name": FILE, "size": size, "digest": digest(CONTENT) }));
        assert_eq!((refused.status, refused.code().as_str()), (400, "bad_input"), "{refused}");
    }
    let largest = json!({ "name": FILE, "size": 8_u64 << 30, "digest": digest(CONTENT) });
    let _ = server.admin().post("/uploads", &largest).expect(201);
}

#[test]
fn a_name_that_is_a_path_is_refused() {
    let server = Server::start();
    let long = "n".repeat(129);
    let names = ["", ".", "..", "../a", "/etc/passwd", "a/b", "a\\b", "a\nb", "a\u{0}b", "a\"b", long.as_str()];
    for name in names {
        let upload = json!({ "name": name, "size": 11, "digest": digest(CONTENT) });
        let refused = server.admin().post("/uploads", &upload).expect(400);
        assert_eq!(refused.code(), "bad_input", "{name:?}: {refused}");
    }
    for name in ["a b.swu", "ünï.swu", "..swu", "a..b", "-rf", "%2e%2e%2f"] {
        let upload = json!({ "name": name, "size": 11, "digest": digest(CONTENT) });
        let begun = server.admin().post("/uploads", &upload).expect(201);
        assert_eq!(begun.at("/name"), json!(name));
    }
}

#[test]
fn a_digest_that_is_none_is_refused() {
    let server = Server::start();
    let hex = "a".repeat(64);
    for digest in [
        String::new(),
        hex[1..].to_owned(),
        format!("md5:{hex}"),
        format!("sha256:{hex}a"),
        format!("sha256:{}", "g".repeat(64)),
    ] {
        let refused =
            server.admin().post("/uploads", &json!({ "name": FILE, "size": 11, "digest": digest })).expect(400);
        assert_eq!(refused.code(), "bad_input", "{refused}");
    }
}

#[test]
fn known_bytes_are_not_sent_again() {
    let server = Server::start();
    let _ = upload(server.admin(), FILE, CONTENT);
    let again = json!({ "name": "other.swu", "size": CONTENT.len(), "digest": digest(CONTENT) });
    let known = server.admin().post("/uploads", &again).expect(200);
    assert_eq!(known.at("/artifact/digest"), json!(digest(CONTENT)), "{known}");
    assert_eq!(known.at("/artifact/name"), json!(FILE), "{known}");
    assert_eq!(known.at("/offset"), json!(CONTENT.len()), "{known}");
}

#[test]
fn of_two_uploads_of_the_same_bytes_both_end_well() {
    let server = Server::start();
    let (first, second) = (announce(server.admin(), CONTENT), announce(server.admin(), CONTENT));
    assert_ne!(first, second);
    let _ = append(server.admin(), &first, 0, CONTENT).expect(200);
    let done = append(server.admin(), &second, 0, CONTENT).expect(200);
    assert_eq!(done.at("/artifact/digest"), json!(digest(CONTENT)), "{done}");
    check_content(server.admin(), CONTENT);
}

#[test]
fn an_upload_given_up_leaves_nothing() {
    let server = Server::start();
    let id = announce(server.admin(), CONTENT);
    let _ = append(server.admin(), &id, 0, &CONTENT[..5]).expect(200);
    let _ = server.admin().delete(&format!("/uploads/{id}")).expect(204);
    let _ = server.admin().get(&format!("/uploads/{id}")).expect(404);
    let _ = server.admin().delete(&format!("/uploads/{id}")).expect(404);
    let staged = std::fs::read_dir(server.data().join("blobs/staging")).unwrap();
    assert_eq!(staged.count(), 0);
}

#[test]
fn two_who_append_at_once_are_kept_apart() {
    let server = Server::start();
    let bytes = image();
    let id = announce(server.admin(), &bytes);
    let line = send_part(&server, &id, 0, &bytes[..1000], bytes.len());
    until_true("the first is heard", || offset(server.admin(), &id) == 1000);
    let refused = append(server.admin(), &id, 1000, &bytes[1000..1010]).expect(409);
    assert_eq!(refused.code(), "conflict", "{refused}");
    let gone = server.admin().delete(&format!("/uploads/{id}")).expect(409);
    assert_eq!(gone.code(), "conflict", "{gone}");
    drop(line);
    let _ = finish(server.admin(), &id, &bytes).expect(200);
}

#[test]
fn parts_of_an_artifact_can_be_read() {
    let server = Server::start();
    let path = format!("/artifacts/{}/content", upload(server.admin(), FILE, CONTENT));
    let part = |range: &str| server.admin().send("GET", &path, &[("range", range)], Payload::None);
    for (range, bytes, told) in [
        ("bytes=0-4", "hello", "bytes 0-4/11"),
        ("bytes=6-", "fleet", "bytes 6-10/11"),
        ("bytes=-5", "fleet", "bytes 6-10/11"),
    ] {
        let answer = part(range).expect(206);
        assert_eq!((answer.text().as_str(), answer.header("content-range")), (bytes, Some(told)), "{answer}");
    }
    let beyond = part("bytes=11-").expect(416);
    assert_eq!((beyond.code().as_str(), beyond.header("content-range")), ("range", Some("bytes */11")), "{beyond}");
}

#[test]
fn an_artifact_in_use_stays() {
    let server = Server::start();
    let _ = muster_tests::operator::publish(server.admin(), "os", "1", (FILE, CONTENT));
    let refused = server.admin().delete(&format!("/artifacts/{}", digest(CONTENT))).expect(409);
    assert!(refused.text().contains("os@1"), "{refused}");
    let unused = upload(server.admin(), "unused.swu", b"unused");
    let _ = server.admin().delete(&format!("/artifacts/{unused}")).expect(204);
    assert_eq!(server.admin().get(&format!("/artifacts/{unused}")).at("/code"), Value::from("not_found"));
}
