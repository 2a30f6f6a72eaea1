//! How does an operator get to a device that nobody can reach from outside?
//!
//! The device connects to its server and asks for the connection to be switched over (`Upgrade: muster-session`,
//! RFC 9110 7.8); the server joins it with the operator's. For a shell, frames come from the operator,
//! `[kind: u8][bytes: u16, big endian][data]`, with kind 0 for input, 1 for the size of the window (columns and rows,
//! u16 each) and 2 for the end of the input; what the shell says goes back as it is. A forwarded connection is passed
//! on both ways as it is. Off unless the device's own file allows it: `commands::begin` has asked by then.

mod frames;
mod local;
mod pump;
mod wire;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use muster_vocab::limit;
use muster_wire::agent::SessionKind;
use rustls::pki_types::CertificateDer;

use super::identity::Identity;

use self::local::Local;
use self::wire::Wire;

/// Each holds two connections and a shell.
const SESSIONS_MAX: usize = 4;
/// Whatever the server says.
const TIME_MAX: Duration = Duration::from_secs(limit::SESSION_SECONDS_MAX as u64);

/// What is needed to reach the server.
#[derive(Debug, Clone)]
pub struct Server {
    /// `https://host[:port]`; without TLS only if it says `http`.
    pub address: String,
    pub token: String,
    /// Nothing else is trusted; empty: the authorities that browsers trust.
    pub roots: Vec<CertificateDer<'static>>,
    /// What the device shows, if it has no token.
    pub identity: Option<Identity>,
}

#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("this device has {SESSIONS_MAX} sessions open already")]
    TooMany,
    #[error("reaching the server")]
    Server(#[source] io::Error),
    #[error("the server answered {0}")]
    Refused(String),
    #[error("reaching what the session is for")]
    Local(#[source] io::Error),
}

/// Sessions that are open.
#[derive(Debug, Default, Clone)]
pub struct Sessions(Arc<AtomicUsize>);

/// One less when it is dropped.
struct Seat(Arc<AtomicUsize>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Sessions {
    /// Connects both ends, and passes bytes between them in a thread of its own until the session is over.
    pub fn open(
        &self,
        server: &Server,
        session: &str,
        kind: &SessionKind,
        time_max: Duration,
    ) -> Result<thread::JoinHandle<()>, SessionError> {
        let seat = Seat(Arc::clone(&self.0));
        if self.0.fetch_add(1, Ordering::Relaxed) >= SESSIONS_MAX {
            return Err(SessionError::TooMany);
        }
        let wire = Wire::connect(server, session)?;
        let local = match kind {
            SessionKind::Shell => Local::shell(),
            SessionKind::Forward { host, port } => Local::forward(host, *port),
        };
        let local = local.map_err(SessionError::Local)?;
        let name = "session".to_owned();
        let passing = move || {
            let _seat = seat;
            // However it ends, both ends are closed by then; the server records how.
            let _ = pump::pump(wire, local, time_max.min(TIME_MAX), limit::SESSION_IDLE);
        };
        thread::Builder::new().name(name).spawn(passing).map_err(SessionError::Local)
    }
}

#[cfg(test)]
mod tests;
