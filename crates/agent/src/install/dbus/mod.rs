//! How does the agent speak with a program of the device over D-Bus?
//!
//! Calls methods, reads properties, listens to signals: what RAUC needs, written here because the smallest library
//! costs more than two of the three megabytes that the agent may have (docs/decisions/2026-11-agent-dbus.md).
//! Authentication is EXTERNAL: the socket tells the bus who is asking.

pub mod read;
pub mod write;

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::time::Duration;

use read::Value;
use write::Argument;

use crate::world::{Host, Stream};

/// The largest answer of RAUC (the state of all its slots) has some thousand bytes; the standard would allow 128 MiB.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Signals that arrive while an answer is waited for. RAUC tells some dozens of steps of its progress.
const SIGNALS_WAITING_MAX: usize = 64;
const LINE_BYTES_MAX: usize = 1024;
const READ_BYTES: usize = 4096;
/// How long one read waits before it is asked whether all of the time is over.
const QUIET: Duration = Duration::from_secs(1);

const BUS: Object<'static> =
    Object { destination: "org.freedesktop.DBus", path: "/org/freedesktop/DBus", interface: "org.freedesktop.DBus" };
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

#[derive(Debug, thiserror::Error)]
pub enum BusError {
    #[error("D-Bus")]
    Io(#[from] io::Error),
    /// The other side said no.
    #[error("{name}: {text}")]
    Refused { name: String, text: String },
    #[error("no answer on D-Bus in time")]
    Silence,
    #[error("D-Bus: {0}")]
    Broken(&'static str),
}

/// Whom a call is for.
#[derive(Debug, Clone, Copy)]
pub struct Object<'a> {
    pub destination: &'a str,
    pub path: &'a str,
    pub interface: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    Call,
    Return,
    Error,
    Signal,
}

#[derive(Debug, Clone)]
pub struct Message {
    pub kind: MessageKind,
    pub reply_to: Option<u32>,
    /// Unique name of who sent it; the bus vouches for it.
    pub sender: String,
    pub interface: String,
    pub member: String,
    pub error: String,
    pub body: Vec<Value>,
}

/// A connection to the bus.
pub struct Bus<'a> {
    host: &'a dyn Host,
    stream: Box<dyn Stream>,
    serial: u32,
    received: Vec<u8>,
    signals: VecDeque<Message>,
}

impl<'a> Bus<'a> {
    pub fn connect(host: &'a dyn Host, socket: &Path, timeout: Duration) -> Result<Self, BusError> {
        let stream = host.connect(socket, QUIET)?;
        let mut bus = Self { host, stream, serial: 0, received: Vec::new(), signals: VecDeque::new() };
        let ends_at = host.uptime() + timeout;
        bus.stream.write_all(b"\0AUTH EXTERNAL\r\n")?;
        bus.expect_line("DATA", ends_at)?;
        bus.stream.write_all(b"DATA\r\n")?;
        bus.expect_line("OK", ends_at)?;
        bus.stream.write_all(b"BEGIN\r\n")?;
        bus.call(&BUS, "Hello", &[], timeout)?;
        Ok(bus)
    }

    /// The whole answer, of which one may want to know the sender.
    pub fn call(
        &mut self,
        object: &Object<'_>,
        member: &str,
        arguments: &[Argument<'_>],
        timeout: Duration,
    ) -> Result<Message, BusError> {
        self.serial += 1;
        let bytes = write::call(self.serial, object, member, arguments);
        self.stream.write_all(&bytes)?;
        let ends_at = self.host.uptime() + timeout;
        loop {
            let message = self.next(ends_at)?.ok_or(BusError::Silence)?;
            if message.reply_to == Some(self.serial) {
                return answer(message);
            }
            if message.kind == MessageKind::Signal && self.signals.len() < SIGNALS_WAITING_MAX {
                self.signals.push_back(message);
            }
        }
    }

    pub fn property(&mut self, object: &Object<'_>, name: &str, timeout: Duration) -> Result<Value, BusError> {
        let arguments = [Argument::Text(object.interface), Argument::Text(name)];
        let answer = self.call(&Object { interface: PROPERTIES, ..*object }, "Get", &arguments, timeout)?;
        answer.body.into_iter().next().map(Value::unwrapped).ok_or(BusError::Broken("a property without a value"))
    }

    /// From now on signals of this kind arrive.
    pub fn listen(&mut self, object: &Object<'_>, member: &str, timeout: Duration) -> Result<(), BusError> {
        let Object { destination, interface, .. } = object;
        let rule = format!("type='signal',sender='{destination}',interface='{interface}',member='{member}'");
        self.call(&BUS, "AddMatch", &[Argument::Text(&rule)], timeout).map(|_| ())
    }

    /// The next signal; none within this time.
    pub fn signal(&mut self, timeout: Duration) -> Result<Option<Message>, BusError> {
        let ends_at = self.host.uptime() + timeout;
        while self.signals.is_empty() {
            match self.next(ends_at)? {
                None => return Ok(None),
                Some(message) if message.kind == MessageKind::Signal => self.signals.push_back(message),
                Some(_) => {}
            }
        }
        Ok(self.signals.pop_front())
    }

    /// None: it stayed quiet until then.
    fn next(&mut self, ends_at: Duration) -> Result<Option<Message>, BusError> {
        loop {
            if let Some(bytes_used) = read::complete(&self.received)? {
                let message = read::message(&self.received[..bytes_used])?;
                self.received.drain(..bytes_used);
                return Ok(Some(message));
            }
            if !self.fill(ends_at)? {
                return Ok(None);
            }
        }
    }

    fn expect_line(&mut self, word: &str, ends_at: Duration) -> Result<(), BusError> {
        loop {
            if let Some(at) = self.received.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.received.drain(..at + 2).collect();
                let is_expected = line.starts_with(word.as_bytes());
                return if is_expected { Ok(()) } else { Err(BusError::Broken("the bus refuses to authenticate")) };
            }
            if self.received.len() > LINE_BYTES_MAX {
                return Err(BusError::Broken("an endless line"));
            }
            if !self.fill(ends_at)? {
                return Err(BusError::Silence);
            }
        }
    }

    /// Waits for more bytes; false: the time is over.
    fn fill(&mut self, ends_at: Duration) -> Result<bool, BusError> {
        let mut buffer = [0; READ_BYTES];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(BusError::Broken("the bus hung up")),
                Ok(count) => {
                    self.received.extend_from_slice(&buffer[..count]);
                    return Ok(true);
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut if self.host.uptime() >= ends_at => return Ok(false),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    _ => return Err(error.into()),
                },
            }
        }
    }
}

fn answer(message: Message) -> Result<Message, BusError> {
    if message.kind != MessageKind::Error {
        return Ok(message);
    }
    let text = message.body.first().and_then(Value::text).unwrap_or_default().to_owned();
    Err(BusError::Refused { name: message.error, text })
}

impl std::fmt::Debug for Bus<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus").field("serial", &self.serial).finish_non_exhaustive()
    }
}
