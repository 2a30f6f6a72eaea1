use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

/// The operator's end, once the device has called.
fn called(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head = String::new();
    let mut reader = BufReader::with_capacity(1, stream.try_clone().unwrap());
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0);
    }
    assert!(head.starts_with("GET /device/v1/sessions/s-1 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("Authorization: Bearer secret\r\n") && head.contains("Upgrade: muster-session\r\n"));
    let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: muster-session\r\n\r\n";
    stream.write_all(answer.as_bytes()).unwrap();
    stream
}

fn door(listener: &TcpListener, rules: SessionRules) -> Door {
    let address = format!("http://{}", listener.local_addr().unwrap());
    let tls = crate::io::net::tls(None).unwrap();
    Door::new(rules, Server { address, token: "secret".into(), tls })
}

fn open(door: &Door, listener: &TcpListener, kind: &SessionKind) -> TcpStream {
    std::thread::scope(|scope| {
        let operator = scope.spawn(|| called(listener));
        door.open("s-1", kind, 3600).unwrap();
        operator.join().unwrap()
    })
}

fn shells() -> SessionRules {
    SessionRules { shell: true, shell_command: vec!["/bin/sh".into()], ..SessionRules::default() }
}

fn say(operator: &mut TcpStream, kind: u8, data: &[u8]) {
    let mut frame = vec![kind];
    frame.extend((data.len() as u16).to_be_bytes());
    frame.extend(data);
    operator.write_all(&frame).unwrap();
}

fn read_to_end(operator: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    operator.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits for the session's thread.
fn all_closed(door: &Door) {
    let until = Instant::now() + PATIENCE;
    while door.sessions_open() > 0 {
        assert!(Instant::now() < until, "a session does not end");
        std::thread::yield_now();
    }
}

#[test]
fn a_shell_has_a_terminal_of_the_operators_size_and_ends_with_its_last_words() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let door = door(&listener, shells());
    let mut operator = open(&door, &listener, &SessionKind::Shell);
    say(&mut operator, 1, &[0, 99, 0, 33]);
    say(&mut operator, 0, b"stty size; tty; exit\n");
    let said = read_to_end(&mut operator);
    assert!(said.contains("33 99") && said.contains("/dev/pts/"), "{said}");
    all_closed(&door);
}

#[test]
fn the_end_of_input_ends_a_shell() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let door = door(&listener, shells());
    let mut operator = open(&door, &listener, &SessionKind::Shell);
    say(&mut operator, 0, b"echo so$((1 + 1))\n");
    say(&mut operator, 2, b"");
    assert!(read_to_end(&mut operator).contains("so2"));
    all_closed(&door);
}

#[test]
fn an_operator_who_leaves_takes_the_shell_along() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let door = door(&listener, shells());
    let mut operator = open(&door, &listener, &SessionKind::Shell);
    say(&mut operator, 0, b"exec sleep 3600\n");
    drop(operator);
    all_closed(&door);
}

#[test]
fn a_session_in_which_nothing_is_said_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let rules = SessionRules { shell_command: vec!["cat".into()], idle_s: 1, ..shells() };
    let door = door(&listener, rules);
    let mut operator = open(&door, &listener, &SessionKind::Shell);
    assert_eq!(read_to_end(&mut operator), "");
    all_closed(&door);
}

#[test]
fn a_forwarded_connection_passes_all_bytes_and_closes_one_way_at_a_time() {
    let (listener, target) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let port = target.local_addr().unwrap().port();
    let rules = SessionRules { forward: vec![format!("127.0.0.1:{port}")], ..SessionRules::default() };
    let door = door(&listener, rules);
    let mut operator = open(&door, &listener, &SessionKind::Forward { host: "127.0.0.1".into(), port });
    let (mut other, _) = target.accept().unwrap();
    // More than fits into all buffers on the way.
    let sent: Vec<u8> = (0..8_000_000_u32).map(|at| (at % 251) as u8).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            operator.write_all(&sent).unwrap();
            operator.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut received = Vec::new();
        other.read_to_end(&mut received).unwrap();
        assert!(received == sent, "{} bytes of {} came", received.len(), sent.len());
    });
    other.write_all(b"\0answer").unwrap();
    drop(other);
    assert_eq!(read_to_end(&mut operator), "\0answer");
    all_closed(&door);
}

#[test]
fn what_the_device_does_not_allow_is_refused_before_anything_is_opened() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let rules = SessionRules { forward: vec!["127.0.0.1:80".into()], ..SessionRules::default() };
    let door = door(&listener, rules);
    let forward = |host: &str, port| SessionKind::Forward { host: host.into(), port };
    for kind in [SessionKind::Shell, forward("127.0.0.1", 81), forward("localhost", 80), forward("::1", 80)] {
        assert!(matches!(door.open("s-1", &kind, 60), Err(SessionError::Refused(_))), "{kind:?}");
    }
    let odd = door.open("../x", &forward("127.0.0.1", 80), 60);
    assert!(matches!(odd, Err(SessionError::Refused(_))));
    assert!(listener.accept().is_err() && door.sessions_open() == 0);
}

#[test]
fn rules_that_mean_nothing_are_told() {
    let forward = |to: &str| SessionRules { forward: vec![to.into()], ..SessionRules::default() };
    for bad in ["", "host", "host:0", ":80", "host:99999"] {
        assert!(forward(bad).problem().is_some(), "{bad:?}");
    }
    assert_eq!(forward("host:22").problem(), None);
    assert_eq!(forward("[::1]:22").problem(), None);
    assert!(SessionRules { idle_s: 0, ..shells() }.problem().is_some());
}
