//! What does the server show of itself, and whom does it keep waiting?

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_sim::certified::{Link, client};
use muster_tests::server::Server;
use muster_tests::wait::until_true;

/// More than handshakes ever were under way on one core at a time.
const SILENT: usize = 200;
/// Half of what a handshake may take.
const SOON: Duration = Duration::from_secs(5);

fn address(server: &Server) -> SocketAddr {
    server.tls_origin().strip_prefix("https://").unwrap().parse().unwrap()
}

/// A certificate for 127.0.0.1 that vouches for itself, and its key: both PEM.
fn pair(folder: &Path) -> (String, String) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"])
        .args(["-subj", "/CN=muster", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", "new.key", "-out", "new.pem"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    (read("new.pem"), read("new.key"))
}

#[test]
fn a_certificate_of_somebody_else_is_replaced_while_the_server_runs_and_a_broken_one_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let [certificate, key] = ["server.pem", "server.key"].map(|name| folder.path().join(name));
    let write = |pair: (&str, &str)| {
        std::fs::write(&certificate, pair.0).unwrap();
        std::fs::write(&key, pair.1).unwrap();
    };
    let (old, new) = (pair(folder.path()), pair(folder.path()));
    write((&old.0, &old.1));
    let [certificate_word, key_word] = [&certificate, &key].map(|path| path.to_str().unwrap());
    let server = Server::start_tls_with(&["--tls-certificate", certificate_word, "--tls-key", key_word]);
    let shows = |pair: &(String, String)| {
        let config = Arc::new(client(&pair.0, None).unwrap());
        Link::open(address(&server), &config).is_ok()
    };
    assert!(shows(&old) && !shows(&new));
    let config = Arc::new(client(&old.0, None).unwrap());
    let mut open = Link::open(address(&server), &config).unwrap();
    // Half of a new pair.
    std::fs::write(&certificate, &new.0).unwrap();
    until_true("the half pair is refused", || server.log().contains("was refused and the present one stays"));
    assert!(shows(&old) && !shows(&new));
    write((&new.0, &new.1));
    until_true("the new pair is shown", || shows(&new));
    assert!(!shows(&old));
    let answer = open.ask(("GET", "/device/v1/root"), "", b"").unwrap();
    assert_eq!(answer.status, 200, "a connection that was open is gone");
}

#[test]
fn who_connects_and_says_nothing_keeps_nobody_out() {
    let server = Server::start_tls();
    let root = server.admin().get("/identity").expect(200).at("/root").as_str().unwrap().to_owned();
    let silent: Vec<TcpStream> = (0..SILENT).map(|_| TcpStream::connect(address(&server)).unwrap()).collect();
    let began = Instant::now();
    let mut link = Link::open(address(&server), &Arc::new(client(&root, None).unwrap())).unwrap();
    assert_eq!(link.ask(("GET", "/device/v1/root"), "", b"").unwrap().status, 200);
    assert!(began.elapsed() < SOON, "it waited {:?} behind those who say nothing", began.elapsed());
    drop(silent);
}
