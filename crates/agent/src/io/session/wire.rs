//! How is a connection to the server switched over to a session?

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};

use super::super::tpm;
use super::local::connect;
use super::{Server, SessionError};

const TIMEOUT: Duration = Duration::from_secs(15);
/// Real servers say far less before a session begins.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Of an answer that refuses, for the report.
const DETAIL_BYTES_MAX: usize = 512;
/// Names of sessions are random and short.
const SESSION_CHARS_MAX: usize = 128;
const PROTOCOL: &str = "muster-session";

/// A connection that is a session's; neither reading nor writing waits.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    tls: Option<ClientConnection>,
    /// Not sent yet, without TLS.
    unsent: Vec<u8>,
    /// The server ended the session in an orderly way, or the connection is gone.
    is_over: bool,
}

impl Wire {
    pub(super) fn connect(server: &Server, session: &str) -> Result<Self, SessionError> {
        let is_name = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
        if session.is_empty() || session.len() > SESSION_CHARS_MAX || !session.chars().all(is_name) {
            return Err(SessionError::Refused(format!("with a session of the name {session:?}")));
        }
        let (host, port, is_tls) = parts(&server.address).map_err(SessionError::Server)?;
        let stream = connect((host, port), TIMEOUT).map_err(SessionError::Server)?;
        let tls = if is_tls { Some(tls(server, host).map_err(SessionError::Server)?) } else { None };
        let mut wire = Self { stream, tls, unsent: Vec::new(), is_over: false };
        let head = wire.ask(server, session).map_err(SessionError::Server)?;
        let text = String::from_utf8_lossy(&head);
        let status = text.split(' ').nth(1).unwrap_or_default();
        if status != "101" || !text.to_ascii_lowercase().contains(PROTOCOL) {
            let line = text.lines().next().unwrap_or_default().chars().take(DETAIL_BYTES_MAX).collect();
            return Err(SessionError::Refused(line));
        }
        wire.stream.set_nonblocking(true).map_err(SessionError::Server)?;
        Ok(wire)
    }

    /// Sends the request; the head of the answer, and not a byte beyond it.
    fn ask(&mut self, server: &Server, session: &str) -> io::Result<Vec<u8>> {
        self.stream.set_read_timeout(Some(TIMEOUT))?;
        self.stream.set_write_timeout(Some(TIMEOUT))?;
        self.stream.set_nodelay(true)?;
        let host = server.address.split_once("://").map_or("", |(_, host)| host);
        let version = env!("CARGO_PKG_VERSION");
        let authorization = match server.token.as_str() {
            "" => String::new(),
            token => format!("Authorization: Bearer {token}\r\n"),
        };
        let request = format!(
            "GET /device/v1/sessions/{session} HTTP/1.1\r\nHost: {host}\r\n{authorization}\
             Connection: Upgrade\r\nUpgrade: {PROTOCOL}\r\nUser-Agent: muster-agent/{version}\r\n\r\n"
        );
        match &mut self.tls {
            Some(tls) => exchange(&mut Stream::new(tls, &mut self.stream), &request),
            None => exchange(&mut self.stream, &request),
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Appends what has come. False: nothing more will.
    pub(super) fn read(&mut self, taken: &mut Vec<u8>) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        let Some(tls) = &mut self.tls else {
            return match self.stream.read(&mut buffer) {
                Ok(0) => Ok(false),
                Ok(count) => {
                    taken.extend_from_slice(&buffer[..count]);
                    Ok(true)
                }
                Err(error) if is_later(&error) => Ok(true),
                Err(error) => Err(error),
            };
        };
        match tls.read_tls(&mut self.stream) {
            Ok(0) => self.is_over = true,
            Ok(_) => {}
            Err(error) if is_later(&error) => {}
            Err(error) => return Err(error),
        }
        let state = tls.process_new_packets().map_err(|bad| io::Error::new(ErrorKind::InvalidData, bad))?;
        let mut left = state.plaintext_bytes_to_read();
        while left > 0 {
            let count = tls.reader().read(&mut buffer[..left.min(16 * 1024)])?;
            taken.extend_from_slice(&buffer[..count]);
            left -= count;
        }
        Ok(!self.is_over && !state.peer_has_closed())
    }

    pub(super) fn queue(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => tls.writer().write_all(bytes),
            None => {
                self.unsent.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    pub(super) fn wants_write(&self) -> bool {
        self.tls.as_ref().map_or(!self.unsent.is_empty(), |tls| tls.wants_write())
    }

    /// Sends as much as goes without waiting.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.wants_write() {
            let sent = match &mut self.tls {
                Some(tls) => tls.write_tls(&mut self.stream),
                None => self.stream.write(&self.unsent).inspect(|count| drop(self.unsent.drain(..*count))),
            };
            match sent {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if is_later(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Says that nothing more will be sent, once all is.
    pub(super) fn close_output(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            return self.flush();
        }
        self.stream.shutdown(Shutdown::Write)
    }
}

pub(super) fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn exchange(stream: &mut (impl Read + Write), request: &str) -> io::Result<Vec<u8>> {
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
        if head.len() > HEAD_BYTES_MAX {
            return Err(io::Error::new(ErrorKind::InvalidData, "the answer isn't one of a Muster server"));
        }
    }
    Ok(head)
}

/// Host, port and whether TLS is meant.
fn parts(address: &str) -> io::Result<(&str, u16, bool)> {
    let bad =
        || io::Error::new(ErrorKind::InvalidInput, format!("the server's address {address:?} has no host or port"));
    let (scheme, rest) = address.split_once("://").ok_or_else(bad)?;
    let is_tls = scheme == "https";
    let (host, port) = match rest.rsplit_once(':').filter(|(_, port)| !port.contains(']')) {
        Some((host, port)) => (host, port.parse().map_err(|_| bad())?),
        None => (rest, if is_tls { 443 } else { 80 }),
    };
    Ok((host.trim_start_matches('[').trim_end_matches(']'), port, is_tls))
}

fn tls(server: &Server, host: &str) -> io::Result<ClientConnection> {
    let mut roots = RootCertStore::empty();
    for root in &server.roots {
        roots.add(root.clone()).map_err(io::Error::other)?;
    }
    if server.roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let config = ClientConfig::builder_with_provider(tpm::provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots);
    let config = match &server.identity {
        Some(identity) => {
            let (chain, key) =
                identity.rustls().ok_or_else(|| io::Error::other("the device's certificate is broken"))?;
            config.with_client_auth_cert(chain, key).map_err(io::Error::other)?
        }
        None => config.with_no_client_auth(),
    };
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_host_port_and_whether_it_is_encrypted() {
        assert_eq!(parts("https://fleet.example").unwrap(), ("fleet.example", 443, true));
        assert_eq!(parts("http://127.0.0.1:8080").unwrap(), ("127.0.0.1", 8080, false));
        assert_eq!(parts("https://[2001:db8::1]").unwrap(), ("2001:db8::1", 443, true));
        assert_eq!(parts("https://[2001:db8::1]:8443").unwrap(), ("2001:db8::1", 8443, true));
        for bad in ["fleet.example", "https://fleet.example:https"] {
            assert!(parts(bad).is_err(), "{bad}");
        }
    }
}
