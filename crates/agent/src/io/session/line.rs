//! The connection to the server that carries a session's bytes: how is it opened, and read and written without waiting?

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Stream};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// From the request to the server's answer, for each read.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The server's head is a few lines.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Where the server is, and how it is known.
#[derive(Clone)]
pub struct Server {
    /// `https://host[:port]`, or `http://`.
    pub address: String,
    pub token: String,
    /// For https.
    pub tls: Arc<ClientConfig>,
}

pub struct Line {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Line {
    /// Connects and turns the connection into the session's.
    pub fn open(server: &Server, session: &str) -> io::Result<Self> {
        let (is_tls, authority) = match server.address.strip_prefix("https://") {
            Some(authority) => (true, authority),
            None => (false, server.address.strip_prefix("http://").unwrap_or_default()),
        };
        let authority = authority.trim_end_matches('/');
        let (host, port) = split(authority, if is_tls { 443 } else { 80 })?;
        let socket = connect((host, port))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        socket.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        let tls = match is_tls {
            true => {
                let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
                let tls = ClientConnection::new(Arc::clone(&server.tls), name).map_err(io::Error::other)?;
                Some(Box::new(tls))
            }
            false => None,
        };
        let mut line = Self { socket, tls };
        line.upgrade(authority, &server.token, session)?;
        line.socket.set_nonblocking(true)?;
        Ok(line)
    }

    fn upgrade(&mut self, authority: &str, token: &str, session: &str) -> io::Result<()> {
        let request = format!(
            "GET /device/v1/sessions/{session} HTTP/1.1\r\nHost: {authority}\r\nAuthorization: Bearer {token}\r\n\
             Connection: Upgrade\r\nUpgrade: muster-session\r\n\r\n"
        );
        let head = match &mut self.tls {
            Some(tls) => ask(&mut Stream::new(tls.as_mut(), &mut self.socket), &request)?,
            None => ask(&mut self.socket, &request)?,
        };
        let is_ours = head.to_ascii_lowercase().lines().any(|line| line.trim() == "upgrade: muster-session");
        if head.starts_with("HTTP/1.1 101 ") && is_ours {
            return Ok(());
        }
        let first = head.lines().next().unwrap_or_default();
        Err(io::Error::other(format!("the server did not open the session: {first}")))
    }

    /// Never waits: `WouldBlock` if there is nothing. 0: the other side has ended.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.read(buffer) };
        loop {
            match tls.reader().read(buffer) {
                // An end without a goodbye is an end.
                Err(cut) if cut.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                Err(none) if none.kind() == ErrorKind::WouldBlock => {}
                outcome => return outcome,
            }
            tls.read_tls(&mut self.socket)?;
            tls.process_new_packets().map_err(io::Error::other)?;
        }
    }

    /// Never waits. Returns how much was taken.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.write(bytes) };
        let taken = tls.writer().write(bytes)?;
        self.flush()?;
        if taken == 0 && !bytes.is_empty() { Err(ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    /// What TLS holds back is sent as far as it goes.
    pub fn flush(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while tls.wants_write() {
            match tls.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(full) if full.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(failed) => return Err(failed),
            }
        }
        Ok(())
    }

    /// Is there something that waits for the socket to take it?
    pub fn wants_write(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// No more will be sent.
    pub fn finish(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        self.flush()?;
        match self.socket.shutdown(Shutdown::Write) {
            Err(gone) if gone.kind() == ErrorKind::NotConnected => Ok(()),
            outcome => outcome,
        }
    }

    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }
}

fn ask(stream: &mut (impl Read + Write), request: &str) -> io::Result<String> {
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    // Not a byte beyond the empty line: what follows is the session's.
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
        if head.len() > HEAD_BYTES_MAX {
            return Err(io::Error::other("the server's answer makes no sense"));
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// `host`, `host:port`, `[::1]:port`
pub fn split(authority: &str, port: u16) -> io::Result<(&str, u16)> {
    let bad = || io::Error::new(ErrorKind::InvalidInput, format!("{authority} is not of the form host:port"));
    let (host, rest) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or_else(bad)?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    match rest.strip_prefix(':') {
        Some(port) => Ok((host, port.parse().map_err(|_| bad())?)),
        None if rest.is_empty() => Ok((host, port)),
        None => Err(bad()),
    }
}

/// One address after the other, each for a bounded time.
pub fn connect(to: (&str, u16)) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(ErrorKind::NotFound, format!("{} has no address", to.0));
    for address in to.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(socket) => return Ok(socket),
            Err(refused) => failed = refused,
        }
    }
    Err(failed)
}

/// Without the token.
impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("socket", &self.socket).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_servers_are_split() {
        assert_eq!(split("muster.example.com", 443).unwrap(), ("muster.example.com", 443));
        assert_eq!(split("127.0.0.1:8080", 80).unwrap(), ("127.0.0.1", 8080));
        assert_eq!(split("[::1]:8080", 80).unwrap(), ("::1", 8080));
        assert_eq!(split("[::1]", 80).unwrap(), ("::1", 80));
        for bad in ["h:", "h:x", "h:70000", "[::1", "[::1]x"] {
            assert!(split(bad, 80).is_err(), "{bad}");
        }
    }
}
