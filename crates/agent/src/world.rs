//! What surrounds an agent: storage, the server, and the machine it runs on.
//!
//! Each has a real form in `io` and a virtual one in the simulator; the agent's code is the same.

use std::io;
use std::path::Path;
use std::time::Duration;

use muster_vocab::Timestamp;
use muster_wire::agent::SessionKind;

use crate::disk::Disk;

pub trait World: Send + Sync {
    fn disk(&self) -> &dyn Disk;
    fn net(&self) -> &dyn Net;
    fn host(&self) -> &dyn Host;
}

/// The way to the server. Every call ends in bounded time.
pub trait Net: Send + Sync {
    /// One exchange of messages.
    fn call(&self, call: &Call<'_>) -> Result<Reply, NetError>;
    /// Bytes of a file from an offset on, at most `bytes_max`, as they arrive. Returns how many came; fewer are no error.
    fn fetch(
        &self,
        path: &str,
        range: (u64, u64),
        taken: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<u64, NetError>;
    /// Signs with the key of the device's identity. None: it has no key.
    fn prove(&self, message: &[u8]) -> Option<Proof> {
        let _ = message;
        None
    }
    /// Connects an operator with this device, until one of them hangs up or the time is over; goes on by itself.
    fn open_session(&self, session: &str, kind: &SessionKind, time_max: Duration) -> Result<(), NetError> {
        let _ = (session, kind, time_max);
        Err(NetError::Unreachable("remote sessions are not supported here".into()))
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    pub method: &'static str,
    /// Below the server's address, with its query.
    pub path: &'a str,
    /// JSON.
    pub body: Option<&'a [u8]>,
    /// How long the server may think: long polls take most of a minute.
    pub timeout: Duration,
}

#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub body: Vec<u8>,
}

/// A signature by the device's own key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
    /// Its number in TLS (RFC 8446, 4.2.3).
    pub scheme: u16,
    pub signature: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// Nobody answered, or not all of the answer came, or it came from someone else.
    #[error("{0}")]
    Unreachable(String),
    /// The server answered and will answer so again.
    #[error("the server answered {status}: {detail}")]
    Refused { status: u16, detail: String },
    /// What was fetched could not be put away.
    #[error("writing what was fetched")]
    Disk(#[source] io::Error),
}

/// The machine: its clocks, its power, its programs.
pub trait Host: Send + Sync {
    /// Wall clock; may be wrong by decades.
    fn now(&self) -> Timestamp;
    /// Since this boot; never goes back.
    fn uptime(&self) -> Duration;
    /// Differs from boot to boot.
    fn boot_id(&self) -> String;
    /// What the bootloader passed to the kernel.
    fn kernel_command_line(&self) -> String;
    /// Restarts the machine. Returns if that takes a moment; nothing may be begun after it.
    fn restart(&self) -> io::Result<()>;
    fn run(&self, run: &Run<'_>) -> io::Result<Ran>;
    /// Calls a program of the device by its Unix socket. A single read or write takes no longer than the time-out.
    fn connect(&self, socket: &Path, timeout: Duration) -> io::Result<Box<dyn Stream>> {
        let _ = timeout;
        Err(io::Error::new(io::ErrorKind::Unsupported, format!("nobody listens at {}", socket.display())))
    }
    /// Lets a program that is waited for work on, before it is asked again. In a virtual machine none runs beside the agent.
    fn pause(&self, _duration: Duration) {}
    /// Status of an HTTP probe of something on the device, and the first bytes of its answer.
    fn probe(&self, url: &str, timeout: Duration) -> io::Result<(u16, Vec<u8>)>;
    /// Percent of charge; none without a battery.
    fn battery_percent(&self) -> Option<u8>;
    /// Evenly distributed; for jitter and names, not for keys.
    fn chance(&self) -> u64;
    /// One line in the device's own log.
    fn log(&self, line: &str);
}

/// Bytes both ways.
pub trait Stream: io::Read + io::Write + Send {
    /// Tells the other side that no more will come; it may still answer.
    fn finish(&mut self) -> io::Result<()>;
}

/// A program to run to its end.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    pub words: &'a [String],
    pub stdin: &'a [u8],
    /// Killed then.
    pub timeout: Duration,
    /// Output beyond is dropped.
    pub output_bytes_max: usize,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ran {
    /// None: killed, by the time-out or a signal.
    pub exit_code: Option<i32>,
    /// Both streams, as they came.
    pub output: Vec<u8>,
}

impl Ran {
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.exit_code == Some(0)
    }

    /// The last lines, for a report.
    #[must_use]
    pub fn last_lines(&self, count: usize) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.output);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(count)..].iter().map(|line| (*line).to_owned()).collect()
    }
}
