//! Does something on the device answer over HTTP?
//!
//! One GET in bounded time. The request is of HTTP/1.0, so that no server may answer in chunks.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// An answer that says it is well says so at its beginning.
const BODY_BYTES_MAX: usize = 4096;
const HEAD_BYTES_MAX: usize = 16 * 1024;
const READ_BYTES: usize = 4096;

/// Status and the first bytes of the answer.
pub fn probe(url: &str, timeout: Duration) -> io::Result<(u16, Vec<u8>)> {
    let ends_at = Instant::now() + timeout;
    let (host, path) = parts(url)?;
    let mut stream = connect(host, ends_at)?;
    stream.set_write_timeout(Some(left(ends_at)?))?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: muster-agent\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    read(&mut stream, ends_at)
}

fn parts(url: &str) -> io::Result<(&str, &str)> {
    let bad = |why| io::Error::new(io::ErrorKind::InvalidInput, format!("{url}: {why}"));
    let rest = url.strip_prefix("http://").ok_or_else(|| bad("a probe starts with http://"))?;
    let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    if host.is_empty() || url.chars().any(|letter| letter.is_control() || letter == ' ') {
        return Err(bad("not an address"));
    }
    Ok((host, path))
}

fn connect(host: &str, ends_at: Instant) -> io::Result<TcpStream> {
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let host = if has_port { host.to_owned() } else { format!("{host}:80") };
    let mut outcome = Err(io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address")));
    for address in host.to_socket_addrs()? {
        outcome = TcpStream::connect_timeout(&address, left(ends_at)?);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

fn left(ends_at: Instant) -> io::Result<Duration> {
    let left = ends_at.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")) } else { Ok(left) }
}

fn read(stream: &mut TcpStream, ends_at: Instant) -> io::Result<(u16, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; READ_BYTES];
    loop {
        let body = bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
        if body.is_some_and(|at| bytes.len() >= at + BODY_BYTES_MAX) || bytes.len() > HEAD_BYTES_MAX + BODY_BYTES_MAX {
            return answer(&bytes, body);
        }
        stream.set_read_timeout(Some(left(ends_at)?))?;
        match stream.read(&mut buffer) {
            Ok(0) => return answer(&bytes, body),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn answer(bytes: &[u8], body: Option<usize>) -> io::Result<(u16, Vec<u8>)> {
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "the answer is no HTTP");
    let body = body.ok_or_else(bad)?;
    let head = std::str::from_utf8(&bytes[..body]).map_err(|_| bad())?;
    let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.split_ascii_whitespace().nth(1)).ok_or_else(bad)?;
    let status = status.parse().map_err(|_| bad())?;
    let end = bytes.len().min(body + BODY_BYTES_MAX);
    Ok((status, bytes[body..end].to_vec()))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Answers one request with these bytes; the request is what it gives back.
    fn serve(answer: Vec<u8>) -> (String, std::thread::JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = vec![0; 1000];
            let count = stream.read(&mut request).unwrap();
            request.truncate(count);
            // A client that has seen enough hangs up.
            let _ = stream.write_all(&answer);
            request
        });
        (format!("http://{address}/health?deep=1"), server)
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn status_and_body_are_told() {
        let (url, server) = serve(b"HTTP/1.1 503 Service Unavailable\r\nServer: x\r\n\r\nno database".to_vec());
        assert_eq!(probe(&url, LONG).unwrap(), (503, b"no database".to_vec()));
        let request = String::from_utf8(server.join().unwrap()).unwrap();
        assert!(request.starts_with("GET /health?deep=1 HTTP/1.0\r\nHost: 127.0.0.1:"), "{request}");
    }

    #[test]
    fn a_long_answer_is_cut() {
        let mut long = b"HTTP/1.0 200 OK\r\n\r\n".to_vec();
        long.resize(1_000_000, b'x');
        let (url, server) = serve(long);
        let (status, body) = probe(&url, LONG).unwrap();
        assert_eq!((status, body.len()), (200, BODY_BYTES_MAX));
        server.join().unwrap();
    }

    #[test]
    fn silence_ends_in_bounded_time() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", silent.local_addr().unwrap());
        let error = probe(&url, Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "{error}");
    }

    #[test]
    fn what_is_no_http_address_is_refused() {
        for url in ["https://localhost/", "localhost", "http:///x", "http://localhost/a b", "http://localhost/\r\nX: y"]
        {
            assert_eq!(probe(url, LONG).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{url}");
        }
    }

    #[test]
    fn what_does_not_speak_http_is_an_error() {
        let (url, server) = serve(b"SSH-2.0-OpenSSH\r\n".to_vec());
        assert_eq!(probe(&url, LONG).unwrap_err().kind(), io::ErrorKind::InvalidData);
        server.join().unwrap();
    }
}
