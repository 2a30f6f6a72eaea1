//! Bytes on a socket, for requests that no honest client sends.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context;

const TIMEOUT: Duration = Duration::from_secs(30);

/// One connection.
#[derive(Debug)]
pub struct Line {
    stream: TcpStream,
}

impl Line {
    pub fn open(server: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(server).context("connecting")?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self { stream })
    }

    /// Sends bytes as they are. A server that has hung up already is no error: its answer may still be read.
    pub fn send(&mut self, bytes: &[u8]) {
        let sent = self.stream.write_all(bytes).and_then(|()| self.stream.flush());
        if let Err(failed) = sent {
            eprintln!("the server stopped listening: {failed}");
        }
    }

    /// Nothing more will be sent.
    pub fn end(&mut self) {
        if let Err(failed) = self.stream.shutdown(Shutdown::Write) {
            eprintln!("the line was closed already: {failed}");
        }
    }

    /// Reads up to the empty line behind the headers, and not beyond.
    pub fn read_head(&mut self) -> String {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            match self.stream.read(&mut byte) {
                Ok(1..) => head.push(byte[0]),
                Ok(0) | Err(_) => break,
            }
        }
        String::from_utf8_lossy(&head).into_owned()
    }

    /// Reads so many bytes; fewer if the server hung up before.
    pub fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        let mut had = 0;
        while had < count {
            match self.stream.read(&mut bytes[had..]) {
                Ok(more @ 1..) => had += more,
                Ok(0) | Err(_) => break,
            }
        }
        bytes.truncate(had);
        bytes
    }

    /// Whether the server has hung up, or does so within this time. What it still says is thrown away.
    pub fn is_cut(&mut self, within: Duration) -> anyhow::Result<bool> {
        self.stream.set_read_timeout(Some(within))?;
        let mut bytes = [0; 1024];
        let cut = loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => break true,
                Ok(_) => {}
                Err(waited) if matches!(waited.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break false,
                Err(_) => break true,
            }
        };
        self.stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(cut)
    }

    /// Hangs up without a word.
    pub fn cut(self) {
        if let Err(failed) = self.stream.shutdown(Shutdown::Both) {
            eprintln!("the line was closed already: {failed}");
        }
    }

    /// The status of the next answer; none if the server hung up without one.
    pub fn status(&mut self) -> Option<u16> {
        self.read_head().split(' ').nth(1)?.parse().ok()
    }
}
