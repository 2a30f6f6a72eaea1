//! Remote sessions: how does an operator get a shell on this device, or a connection to something that it can reach?
//!
//! Off unless the device's own file allows it. The device calls out; nobody can connect to it. One thread per session,
//! which ends with the session; nothing of a session survives a restart of the agent.

mod end;
mod frames;
pub mod line;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use muster_wire::agent::SessionKind;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use end::{End, is_nothing};
use frames::{Frame, Frames};
use line::{Line, Server};

/// Each has a thread and buffers.
const SESSIONS_MAX: usize = 4;
/// Held for each direction while the other side takes nothing.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
const CHUNK_BYTES: usize = 16 * 1024;
/// What was said last is passed on for no longer than this once one side has ended.
const LINGER: Duration = Duration::from_secs(5);

/// What this device allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRules {
    /// May an operator have a shell?
    pub shell: bool,
    /// Words that start it.
    pub shell_command: Vec<String>,
    /// `host:port` that connections may be forwarded to.
    pub forward: Vec<String>,
    /// Ends a session, whatever the server says.
    pub seconds_max: u32,
    /// Ends a session in which nothing is said for so long.
    pub idle_s: u32,
}

impl Default for SessionRules {
    fn default() -> Self {
        let shell_command = ["/bin/sh", "-l"].map(str::to_owned).to_vec();
        Self { shell: false, shell_command, forward: Vec::new(), seconds_max: 3600, idle_s: 600 }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The device's own file says so.
    #[error("{0}")]
    Refused(String),
    #[error("{SESSIONS_MAX} sessions are open already")]
    TooMany,
    #[error("{what}")]
    Io {
        what: &'static str,
        #[source]
        source: io::Error,
    },
}

/// Opens sessions.
pub struct Door {
    rules: SessionRules,
    server: Server,
    open: Arc<AtomicUsize>,
}

/// One of the places for sessions; given back when dropped.
#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl SessionRules {
    /// Is this allowed?
    pub fn check(&self, kind: &SessionKind) -> Result<(), SessionError> {
        match kind {
            SessionKind::Shell if self.shell && !self.shell_command.is_empty() => Ok(()),
            SessionKind::Shell => Err(SessionError::Refused(
                "this device allows no shells (`shell = true` under [commands] in its file does)".into(),
            )),
            SessionKind::Forward { host, port } => {
                let wanted = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
                if self.forward.contains(&wanted) {
                    return Ok(());
                }
                Err(SessionError::Refused(format!(
                    "this device allows no connections to {wanted} (see `forward` under [commands] in its file)"
                )))
            }
        }
    }

    /// Words for the agent's file.
    pub fn problem(&self) -> Option<String> {
        if self.seconds_max == 0 || self.idle_s == 0 {
            return Some("session_seconds_max and session_idle_s are at least 1".into());
        }
        let bad = self.forward.iter().find(|to| !matches!(line::split(to, 0), Ok((host, 1..)) if !host.is_empty()))?;
        Some(format!("{bad:?} in forward is not of the form host:port"))
    }
}

impl Door {
    #[must_use]
    pub fn new(rules: SessionRules, server: Server) -> Self {
        Self { rules, server, open: Arc::default() }
    }

    /// Connects to the server and to the shell or the other host, then passes bytes on a thread of its own. Takes as
    /// long as connecting does.
    pub fn open(&self, session: &str, kind: &SessionKind, seconds_max: u32) -> Result<(), SessionError> {
        self.rules.check(kind)?;
        if session.is_empty() || !session.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
            return Err(SessionError::Refused("the session's name is none".into()));
        }
        let place = Place::take(&self.open).ok_or(SessionError::TooMany)?;
        let failed = |what| move |source| SessionError::Io { what, source };
        let end = match kind {
            SessionKind::Shell => End::shell(&self.rules.shell_command).map_err(failed("starting a shell"))?,
            SessionKind::Forward { host, port } => End::forward(host, *port).map_err(failed("connecting"))?,
        };
        let line = Line::open(&self.server, session).map_err(failed("connecting to the server"))?;
        let until = Instant::now() + Duration::from_secs(seconds_max.min(self.rules.seconds_max).into());
        let idle_max = Duration::from_secs(self.rules.idle_s.into());
        let passing =
            Passing { line, end, frames: Frames::default(), inward: Flow::default(), outward: Flow::default() };
        let pass = move || {
            // How a session ended is known to the server, which has the other end.
            let _ = passing.pass(until, idle_max);
            drop(place);
        };
        std::thread::Builder::new().name("session".into()).spawn(pass).map_err(failed("starting a thread"))?;
        Ok(())
    }

    #[must_use]
    pub fn sessions_open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }
}

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Option<Self> {
        let more = |count: usize| (count < SESSIONS_MAX).then_some(count + 1);
        open.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Self(Arc::clone(open)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Bytes on their way in one direction.
#[derive(Debug, Default)]
struct Flow {
    held: Vec<u8>,
    /// Its source has ended.
    is_over: bool,
    /// Its target was told.
    is_told: bool,
}

impl Flow {
    fn has_room(&self) -> bool {
        !self.is_over && self.held.len() < BUFFER_BYTES_MAX
    }
}

struct Passing {
    line: Line,
    end: End,
    frames: Frames,
    inward: Flow,
    outward: Flow,
}

impl Passing {
    /// Until both sides have ended, a shell has, or the time is over.
    fn pass(mut self, until: Instant, idle_max: Duration) -> io::Result<()> {
        let (mut said_at, mut until) = (Instant::now(), until);
        loop {
            let now = Instant::now();
            if now >= until || now.duration_since(said_at) >= idle_max {
                return self.line.finish();
            }
            let was_over = self.outward.is_over;
            let is_moved = self.receive()? | self.deliver()? | self.collect()? | self.send()?;
            let is_shell = self.end.is_shell();
            // An operator who left needs no shell.
            if (is_shell && self.inward.is_over) || (self.inward.is_told && self.outward.is_told) {
                return self.line.finish();
            }
            // A shell that ended has nothing left to be told, but the operator still reads what it said.
            if is_shell && self.outward.is_told {
                return Ok(());
            }
            if is_shell && self.outward.is_over && !was_over {
                until = until.min(now + LINGER);
            }
            if is_moved {
                said_at = now;
                continue;
            }
            self.wait(until.min(said_at + idle_max).saturating_duration_since(now))?;
        }
    }

    /// From the server.
    fn receive(&mut self) -> io::Result<bool> {
        if !self.inward.has_room() {
            return Ok(false);
        }
        let mut buffer = [0; CHUNK_BYTES];
        match self.line.read(&mut buffer) {
            Ok(0) => self.inward.is_over = true,
            Ok(count) if self.end.is_shell() => {
                for frame in self.frames.take(&buffer[..count]) {
                    match frame {
                        Frame::Input(bytes) => self.inward.held.extend(bytes),
                        Frame::Window { columns, rows } => self.end.resize(columns, rows),
                        Frame::End => self.inward.held.extend(self.end.end_of_input()),
                    }
                }
            }
            Ok(count) => self.inward.held.extend_from_slice(&buffer[..count]),
            Err(none) if is_nothing(&none) => return Ok(false),
            Err(failed) => return Err(failed),
        }
        Ok(true)
    }

    /// To the shell or the other host.
    fn deliver(&mut self) -> io::Result<bool> {
        let flow = &mut self.inward;
        if flow.held.is_empty() {
            if flow.is_over && !flow.is_told {
                self.end.finish();
                flow.is_told = true;
            }
            return Ok(false);
        }
        match self.end.write(&flow.held) {
            Ok(count) => {
                flow.held.drain(..count);
                Ok(true)
            }
            Err(full) if is_nothing(&full) => Ok(false),
            // Nobody takes it any more; what was said before may still be read.
            Err(_) => {
                flow.held.clear();
                flow.is_over |= !self.end.is_shell();
                Ok(true)
            }
        }
    }

    /// From the shell or the other host.
    fn collect(&mut self) -> io::Result<bool> {
        if !self.outward.has_room() {
            return Ok(false);
        }
        let mut buffer = [0; CHUNK_BYTES];
        match self.end.read(&mut buffer) {
            Ok(0) => self.outward.is_over = true,
            Ok(count) => self.outward.held.extend_from_slice(&buffer[..count]),
            Err(none) if is_nothing(&none) => return Ok(false),
            Err(_) => self.outward.is_over = true,
        }
        Ok(true)
    }

    /// To the server.
    fn send(&mut self) -> io::Result<bool> {
        self.line.flush()?;
        let flow = &mut self.outward;
        if flow.held.is_empty() {
            if flow.is_over && !flow.is_told && !self.line.wants_write() {
                self.line.finish()?;
                flow.is_told = true;
            }
            return Ok(false);
        }
        match self.line.write(&flow.held) {
            Ok(count) => {
                flow.held.drain(..count);
                Ok(true)
            }
            Err(full) if is_nothing(&full) => Ok(false),
            Err(failed) => Err(failed),
        }
    }

    /// Until one of the two can be read or written.
    fn wait(&self, time: Duration) -> io::Result<()> {
        let asked = |reads: bool, writes: bool| {
            let reads = if reads { PollFlags::IN } else { PollFlags::empty() };
            reads | if writes { PollFlags::OUT } else { PollFlags::empty() }
        };
        let writes = !self.outward.held.is_empty() || self.line.wants_write();
        let socket = asked(self.inward.has_room(), writes);
        let local = asked(self.outward.has_room(), !self.inward.held.is_empty());
        let (line, end) = (self.line.socket().as_fd(), self.end.fd());
        // A side that nothing is asked of would wake with its hang-up again and again.
        let all = [(line, socket), (end, local)].into_iter().filter(|(_, asked)| !asked.is_empty());
        let mut all: Vec<PollFd<'_>> = all.map(|(fd, asked)| PollFd::from_borrowed_fd(fd, asked)).collect();
        let time = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) };
        match poll(&mut all, Some(&time)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(failed) => Err(failed.into()),
        }
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("rules", &self.rules).finish_non_exhaustive()
    }
}
