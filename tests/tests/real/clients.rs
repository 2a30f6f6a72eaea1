//! Are others served while some clients are slow, greedy or wrong?

use std::process::Command;
use std::time::Duration;

use muster_tests::field::{Field, NAME};
use muster_tests::raw::Line;
use muster_tests::server::{PASSWORD, Server};
use muster_tests::wait::until_true;
use serde_json::json;

/// Status and `Retry-After` of an answer to curl, from an address of its own on this machine.
fn curl(from: &str, url: &str, more: &[&str]) -> (u16, Option<u64>) {
    let format = "%{http_code} %header{retry-after}";
    let output = Command::new("curl")
        .args(["-s", "-o", "/dev/null", "-w", format, "--interface", from, "--max-time", "20"])
        .args(more)
        .arg(url)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let (status, wait) = said.split_once(' ').unwrap();
    (status.parse().unwrap(), wait.parse().ok())
}

#[test]
fn one_address_has_so_many_connections_and_others_have_theirs() {
    let server = Server::start_with(&["--connections-per-address", "5"]);
    let url = format!("{}/healthz", server.origin());
    let mut held: Vec<Line> = Vec::new();
    // The client that watched the server start may still have its connection: places come free only by and by.
    until_true("one address has all its connections", || {
        held.push(Line::open(server.address()).unwrap());
        held.retain_mut(|line| !line.is_cut(Duration::from_millis(50)).unwrap());
        held.len() == 5 && curl("127.0.0.1", &url, &[]).0 == 0
    });
    assert_eq!(curl("127.0.0.1", &url, &[]).0, 0, "a connection too many was served");
    assert_eq!(curl("127.0.0.2", &url, &[]).0, 200, "others are shut out");
    held.clear();
    until_true("who hangs up may come again", || curl("127.0.0.1", &url, &[]).0 == 200);
}

#[test]
fn clients_that_say_half_of_something_hold_up_nobody() {
    let field = Field::new();
    let address = field.server.address();
    let mut half: Vec<Line> = Vec::new();
    for _ in 0..200 {
        let mut headers = Line::open(address).unwrap();
        headers.send(b"GET /api/v1/whoami HTTP/1.1\r\nhost: x\r\nx-slow: ");
        let mut body = Line::open(address).unwrap();
        body.send(
            b"POST /api/v1/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{",
        );
        half.extend([headers, body]);
    }
    let _ = field.admin().get("/whoami").expect(200);
    // Whoever sends no whole head is cut within the time for it; the kernel's and the scheduler's delay come on top.
    let mut slow = half.swap_remove(0);
    assert!(slow.is_cut(Duration::from_secs(40)).unwrap(), "a head that never ends is waited for");
    let _ = field.admin().get("/whoami").expect(200);
}

#[test]
fn too_many_headers_are_refused() {
    let server = Server::start();
    let mut line = Line::open(server.address()).unwrap();
    line.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n");
    for number in 0..10_000 {
        line.send(format!("x-{number}: 1\r\n").as_bytes());
    }
    line.send(b"\r\n");
    assert!(matches!(line.status(), Some(431) | None));
    let _ = server.admin().get("/whoami").expect(200);
}

#[test]
fn who_guesses_passwords_waits_and_others_at_other_addresses_do_not() {
    let server = Server::start();
    let url = format!("{}/api/v1/login", server.origin());
    let body = |account: &str, password: &str| json!({ "account": account, "password": password }).to_string();
    let log_in = |from: &str, account: &str, password: &str| {
        curl(from, &url, &["-H", "content-type: application/json", "-d", &body(account, password)])
    };
    let mut answers = Vec::new();
    // One account each: the account's own bound is not what is meant here.
    for guess in 0..60 {
        answers.push(log_in("127.0.0.3", &format!("guess-{guess}"), "guessed"));
    }
    let (status, wait) = answers.last().copied().unwrap();
    assert!(status == 429 && wait.is_some_and(|wait| wait >= 1), "{answers:?}");
    assert!(answers.iter().filter(|(status, _)| *status == 401).count() >= 30, "{answers:?}");
    assert_eq!(log_in("127.0.0.3", "admin", PASSWORD).0, 429, "the right password passes where guessers wait");
    assert_eq!(log_in("127.0.0.1", "admin", PASSWORD).0, 200);
}

#[test]
fn a_device_that_asks_in_a_loop_is_told_to_wait_and_others_are_served() {
    let field = Field::new();
    let (name, path) = (NAME, "default/controller/v1");
    let _ = field.admin().post("/devices", &json!({ "name": "calm" })).expect(201);
    let token = |name: &str| {
        let made = field.admin().post(&format!("/devices/{name}/token"), &json!({})).expect(200);
        format!("TargetToken {}", made.at("/token").as_str().unwrap())
    };
    let (loud, calm) = (token(name), token("calm"));
    let mut line = Line::open(field.server.address()).unwrap();
    let request = format!("GET /{path}/{name} HTTP/1.1\r\nhost: x\r\nauthorization: {loud}\r\n\r\n");
    let slowed = (0..20_000).any(|_| {
        line.send(request.as_bytes());
        let head = line.read_head();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let _ = line.read(length.parse().unwrap());
        head.starts_with("HTTP/1.1 429 ")
    });
    assert!(slowed, "nothing slows a device down");
    let url = format!("{}/{path}/calm", field.server.origin());
    assert_eq!(curl("127.0.0.1", &url, &["-H", &format!("authorization: {calm}")]).0, 200);
}

#[test]
fn wrong_credentials_in_a_loop_are_told_to_wait_and_right_ones_from_there_are_served() {
    let server = Server::start();
    let mut line = Line::open(server.address()).unwrap();
    let request = "GET /api/v1/whoami HTTP/1.1\r\nhost: x\r\nauthorization: Bearer muster_wrong\r\n\r\n";
    let slowed = (0..20_000).any(|_| {
        line.send(request.as_bytes());
        let head = line.read_head();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let _ = line.read(length.parse().unwrap());
        head.starts_with("HTTP/1.1 429 ") && head.contains("retry-after: ")
    });
    assert!(slowed, "nothing slows a guesser down");
    let _ = server.admin().get("/whoami").expect(200);
}
