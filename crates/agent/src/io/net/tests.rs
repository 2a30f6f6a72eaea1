use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread::{self, JoinHandle};

use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\nMuster-Protocol: 1\r\n";

/// Answers one connection per text, and returns the heads that were asked with.
fn serve(answers: Vec<Vec<u8>>) -> (SocketAddr, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = move || {
        let mut heads = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while !head.ends_with("\r\n\r\n") {
                assert!(reader.read_line(&mut head).unwrap() > 0, "the request ended in its head");
            }
            heads.push(head.to_lowercase());
            stream.write_all(&answer).unwrap();
        }
        heads
    };
    (address, thread::spawn(serving))
}

fn reach<'a>(server: &'a str, token: &'a str, ca: Option<&'a Path>) -> Reach<'a> {
    Reach { server, token, ca, identity: None }
}

fn net(address: SocketAddr) -> RealNet {
    RealNet::new(reach(&format!("http://{address}"), "secret", None)).unwrap()
}

fn get(net: &RealNet) -> Result<Reply, NetError> {
    net.call(&Call { method: "GET", path: "/device/v1/orders", body: None, timeout: Duration::from_secs(20) })
}

fn fetch(net: &RealNet, range: (u64, u64)) -> (Vec<u8>, Result<u64, NetError>) {
    let mut bytes = Vec::new();
    let outcome = net.fetch("/device/v1/artifacts/1", range, &mut |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    });
    (bytes, outcome)
}

#[test]
fn a_call_proves_itself_and_takes_the_answer_of_the_server_as_it_is() {
    let answer = "HTTP/1.1 401 Unauthorized\r\nMuster-Protocol: 1\r\nContent-Length: 2\r\n\r\n{}";
    let (address, served) = serve(vec![answer.into()]);
    let reply = get(&net(address)).unwrap();
    assert_eq!((reply.status, reply.body.as_slice()), (401, b"{}".as_slice()));
    let head = &served.join().unwrap()[0];
    assert!(head.contains("authorization: bearer secret") && head.contains("get /device/v1/orders"), "{head}");
}

#[test]
fn whoever_is_not_a_muster_server_is_nobody() {
    let portal = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nlogin";
    let moved = "HTTP/1.1 302 Found\r\nLocation: http://portal.example/login\r\nContent-Length: 0\r\n\r\n";
    let (address, served) = serve(vec![portal.into(), moved.into(), portal.into(), Vec::new()]);
    assert!(matches!(get(&net(address)), Err(NetError::Unreachable(_))));
    // The redirect isn't followed: its host would get the token.
    assert!(matches!(get(&net(address)), Err(NetError::Unreachable(_))));
    let (bytes, outcome) = fetch(&net(address), (0, 5));
    assert!(matches!(outcome, Err(NetError::Unreachable(_))) && bytes.is_empty());
    assert!(matches!(get(&net(address)), Err(NetError::Unreachable(_))), "an answer that never came");
    served.join().unwrap();
}

#[test]
fn a_range_is_asked_for_and_no_more_than_it_is_taken() {
    let part = "HTTP/1.1 206 Partial Content\r\nMuster-Protocol: 1\r\nContent-Length: 9\r\n\r\n456789abc";
    let (address, served) = serve(vec![part.into()]);
    let (bytes, outcome) = fetch(&net(address), (4, 6));
    assert_eq!((bytes.as_slice(), outcome.unwrap()), (b"456789".as_slice(), 6));
    assert!(served.join().unwrap()[0].contains("range: bytes=4-9\r\n"));
}

#[test]
fn a_server_without_ranges_is_taken_at_the_start_only() {
    let whole = format!("{OK}Content-Length: 4\r\n\r\n0123");
    let (address, served) = serve(vec![whole.clone().into(), whole.into()]);
    assert_eq!(fetch(&net(address), (0, 4)).0, b"0123");
    let (bytes, outcome) = fetch(&net(address), (2, 2));
    assert!(matches!(outcome, Err(NetError::Refused { status: 200, .. })) && bytes.is_empty());
    served.join().unwrap();
}

#[test]
fn what_came_before_a_connection_broke_is_kept() {
    let broken = "HTTP/1.1 206 Partial Content\r\nMuster-Protocol: 1\r\nContent-Length: 100\r\n\r\n0123";
    let (address, served) = serve(vec![broken.into()]);
    let (bytes, outcome) = fetch(&net(address), (0, 100));
    assert!(matches!(outcome, Err(NetError::Unreachable(_))));
    assert_eq!(bytes, b"0123");
    served.join().unwrap();
}

#[test]
fn a_disk_that_is_full_ends_a_download_and_is_told_as_such() {
    let part = format!("{OK}Content-Length: 4\r\n\r\n0123");
    let (address, served) = serve(vec![part.into()]);
    let outcome = net(address).fetch("/x", (0, 4), &mut |_| Err(io::ErrorKind::StorageFull.into()));
    assert!(matches!(outcome, Err(NetError::Disk(full)) if full.kind() == io::ErrorKind::StorageFull));
    served.join().unwrap();
}

#[test]
fn addresses_and_authorities_that_are_none_are_refused() {
    for server in ["", "muster.example.com", "ftp://x", "https://", "https://a/b", "https://u@h", "https://a b"] {
        assert!(matches!(RealNet::new(reach(server, "", None)), Err(NetSetupError::Address(_))), "{server:?}");
    }
    RealNet::new(reach("https://muster.example.com:8443/", "", None)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    assert!(matches!(RealNet::new(reach("https://h", "", Some(&ca))), Err(NetSetupError::Read { .. })));
    std::fs::write(&ca, "no certificate").unwrap();
    assert!(matches!(RealNet::new(reach("https://h", "", Some(&ca))), Err(NetSetupError::NoCertificate(_))));
}
