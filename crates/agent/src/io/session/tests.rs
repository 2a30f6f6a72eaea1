use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Instant;

use super::*;

const LONG: Duration = Duration::from_secs(60);

/// The server's side of sessions that begin, for as many as the test has.
fn listen() -> (TcpListener, Server) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    (listener, Server { address, token: "mdt_x".into(), roots: vec![], identity: None })
}

/// Takes the request and gives this answer; the request, and the connection.
fn accept(listener: &TcpListener, answer: &str) -> (String, TcpStream) {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut request).unwrap() > 0);
    }
    (&stream).write_all(answer.as_bytes()).unwrap();
    (request, stream)
}

const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: muster-session\r\n\r\n";

/// Opens a session, whose server is the other thread.
fn open(
    kind: &SessionKind,
    time_max: Duration,
    answer: &'static str,
) -> (Result<thread::JoinHandle<()>, SessionError>, String, TcpStream) {
    let (listener, server) = listen();
    let other = thread::spawn(move || accept(&listener, answer));
    let opened = Sessions::default().open(&server, "s-1", kind, time_max);
    let (request, stream) = other.join().unwrap();
    (opened, request, stream)
}

fn frame(kind: u8, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap().to_be_bytes();
    [&[kind][..], &length, data].concat()
}

#[test]
fn a_shell_has_a_terminal_of_its_own_whose_window_follows_the_operators() {
    let (opened, request, mut stream) = open(&SessionKind::Shell, LONG, SWITCHED);
    assert!(request.starts_with("GET /device/v1/sessions/s-1 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("Authorization: Bearer mdt_x\r\n") && request.contains("Upgrade: muster-session\r\n"));
    stream.write_all(&frame(1, &[0, 101, 0, 33])).unwrap();
    stream
        .write_all(&frame(0, b"stty size; test -t 0 && tty; echo $((6*7)).; ps -o tty= -p $$ >/dev/null; exit 3\n"))
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.contains("33 101\r\n") && text.contains("42.\r\n") && text.contains("/dev/pts/"), "{text}");
    opened.unwrap().join().unwrap();
}

#[test]
fn the_end_of_the_input_ends_a_shell() {
    let (opened, _, mut stream) = open(&SessionKind::Shell, LONG, SWITCHED);
    stream.write_all(&frame(0, b"echo one\n")).unwrap();
    stream.write_all(&frame(2, b"")).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.contains("one\r\n"), "{text}");
    opened.unwrap().join().unwrap();
}

#[test]
fn a_shell_dies_with_its_operator() {
    let (opened, _, mut stream) = open(&SessionKind::Shell, LONG, SWITCHED);
    stream.write_all(&frame(0, b"echo pid=$$.; exec sleep 1000\n")).unwrap();
    let mut text = Vec::new();
    let pid = loop {
        let mut piece = [0; 256];
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0);
        text.extend_from_slice(&piece[..count]);
        let all = String::from_utf8_lossy(&text).into_owned();
        let digits = |rest: &str| rest.split('.').next().filter(|pid| pid.parse::<u32>().is_ok()).map(str::to_owned);
        if let Some(pid) = all.split("pid=").find_map(digits) {
            break pid;
        }
    };
    drop(stream);
    opened.unwrap().join().unwrap();
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "process {pid} still runs");
}

#[test]
fn a_session_ends_when_its_time_is_over() {
    let began = Instant::now();
    let (opened, _, mut stream) = open(&SessionKind::Shell, Duration::from_millis(300), SWITCHED);
    stream.write_all(&frame(0, b"while :; do echo y; done\n")).unwrap();
    let mut text = Vec::new();
    // A reset is an end as well: the shell was still being spoken to.
    let _ = stream.read_to_end(&mut text);
    opened.unwrap().join().unwrap();
    assert!(began.elapsed() < LONG);
}

#[test]
fn a_connection_is_passed_on_both_ways_and_closed_one_way() {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = target.local_addr().unwrap().port();
    let kind = SessionKind::Forward { host: "127.0.0.1".into(), port };
    let echo = thread::spawn(move || {
        let (mut stream, _) = target.accept().unwrap();
        let mut asked = Vec::new();
        stream.read_to_end(&mut asked).unwrap();
        stream.write_all(&asked).unwrap();
    });
    let (opened, _, mut stream) = open(&kind, LONG, SWITCHED);
    // More than all buffers on the way together.
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let mut half = stream.try_clone().unwrap();
    let sent = bytes.clone();
    let sender = thread::spawn(move || {
        half.write_all(&sent).unwrap();
        half.shutdown(Shutdown::Write).unwrap();
    });
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer == bytes, "{} of {} bytes came back", answer.len(), bytes.len());
    sender.join().unwrap();
    echo.join().unwrap();
    opened.unwrap().join().unwrap();
}

#[test]
fn what_came_together_with_the_answer_is_not_lost() {
    let answer =
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: muster-session\r\n\r\n\0\0\x0aecho $((1+\0\0\x082)).exit";
    let (opened, _, mut stream) = open(&SessionKind::Shell, LONG, answer);
    stream.write_all(&frame(0, b"\nexit\n")).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.contains("3.exit\r\n"), "{text}");
    opened.unwrap().join().unwrap();
}

#[test]
fn an_answer_that_switches_nothing_is_told() {
    let refusal = "HTTP/1.1 409 Conflict\r\ncontent-length: 0\r\n\r\n";
    let (opened, _, _stream) = open(&SessionKind::Shell, LONG, refusal);
    assert_eq!(opened.unwrap_err().to_string(), "the server answered HTTP/1.1 409 Conflict");
    let portal = "HTTP/1.1 200 OK\r\n\r\n<html>";
    let (opened, _, _stream) = open(&SessionKind::Shell, LONG, portal);
    assert!(matches!(opened, Err(SessionError::Refused(_))));
}

#[test]
fn a_device_has_a_bounded_number_of_sessions() {
    let (listener, server) = listen();
    let sessions = Sessions::default();
    let other = thread::spawn(move || (0..SESSIONS_MAX).map(|_| accept(&listener, SWITCHED)).collect::<Vec<_>>());
    let open = || sessions.open(&server, "s", &SessionKind::Shell, LONG);
    let opened: Vec<_> = (0..SESSIONS_MAX).map(|_| open().unwrap()).collect();
    assert!(matches!(open(), Err(SessionError::TooMany)));
    drop(other.join().unwrap());
    opened.into_iter().for_each(|session| session.join().unwrap());
    assert_eq!(sessions.0.load(Ordering::Relaxed), 0);
}

#[test]
fn a_session_of_a_strange_name_is_not_asked_for() {
    let (_listener, server) = listen();
    for name in ["", "../orders", "a b", "x\r\nHost: y"] {
        let opened = Sessions::default().open(&server, name, &SessionKind::Shell, LONG);
        assert!(matches!(opened, Err(SessionError::Refused(_))), "{name:?}");
    }
}
