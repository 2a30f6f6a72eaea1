//! How do systemd and the hardware learn that the agent is alive?
//!
//! `sd_notify` by its datagram socket (sd_notify(3)), told by the loop itself. `/dev/watchdog` wants a sign every few
//! seconds, also while the loop waits for the server or for an installation: a thread gives it, as long as the loop has
//! come round in the time that its longest single thing may take. Written with a `V` at an orderly end, so that
//! stopping the agent on purpose doesn't reset the machine.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The shortest time-outs of hardware are around 10 s.
const SIGN_EVERY: Duration = Duration::from_secs(3);

#[derive(Debug, Default)]
pub struct Watchdog {
    systemd: Option<UnixDatagram>,
    feeder: Option<Feeder>,
}

#[derive(Debug)]
struct Feeder {
    /// Dropped at an orderly end.
    alive: Sender<()>,
    thread: JoinHandle<()>,
}

impl Watchdog {
    /// Whoever isn't there isn't told. `patience`: a loop that hasn't come round for longer is stuck.
    pub fn open(device: Option<&Path>, patience: Duration) -> io::Result<Self> {
        let feeder = match device {
            Some(path) => {
                let device = OpenOptions::new().write(true).open(path)?;
                let (alive, told) = channel();
                let feed = move || feed(device, &told, patience);
                Some(Feeder { alive, thread: std::thread::Builder::new().name("watchdog".into()).spawn(feed)? })
            }
            None => None,
        };
        Ok(Self { systemd: systemd(std::env::var_os("NOTIFY_SOCKET").as_deref()), feeder })
    }

    pub fn ready(&self) {
        self.notify("READY=1");
    }

    pub fn status(&self, status: &str) {
        self.notify(&format!("STATUS={status}"));
    }

    /// Alive.
    pub fn feed(&self) {
        self.notify("WATCHDOG=1");
        if let Some(feeder) = &self.feeder {
            // It never ends before this is dropped.
            let _ = feeder.alive.send(());
        }
    }

    fn notify(&self, message: &str) {
        if let Some(systemd) = &self.systemd {
            // systemd that doesn't listen misses the next message as well, and acts by its own time-out.
            let _ = systemd.send(message.as_bytes());
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        if let Some(Feeder { alive, thread }) = self.feeder.take() {
            drop(alive);
            // It has nothing to tell.
            let _ = thread.join();
        }
    }
}

/// Until the loop ends.
fn feed(mut device: impl Write, told: &Receiver<()>, patience: Duration) {
    let mut alive_at = Instant::now();
    loop {
        if alive_at.elapsed() < patience {
            // A watchdog that can't be fed resets the machine, which is what it is for.
            let _ = device.write_all(b".");
        }
        match told.recv_timeout(SIGN_EVERY) {
            Ok(()) => {
                alive_at = Instant::now();
                // Signs that came meanwhile say nothing new.
                while told.try_recv().is_ok() {}
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                let _ = device.write_all(b"V");
                return;
            }
        }
    }
}

/// `@name` is a socket without a file.
fn systemd(address: Option<&std::ffi::OsStr>) -> Option<UnixDatagram> {
    let bytes = address?.as_encoded_bytes();
    let address = match bytes.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name).ok()?,
        None => SocketAddr::from_pathname(Path::new(address?)).ok()?,
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.connect_addr(&address).ok()?;
    Some(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_is_fed_and_told_of_an_orderly_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("watchdog");
        std::fs::write(&path, b"").unwrap();
        let watchdog = Watchdog::open(Some(&path), Duration::from_secs(3600)).unwrap();
        watchdog.feed();
        drop(watchdog);
        let written = std::fs::read_to_string(&path).unwrap();
        assert!(written.starts_with('.') && written.ends_with('V'), "{written:?}");
    }

    #[test]
    fn a_loop_that_is_stuck_is_not_covered_for() {
        let (alive, told) = channel::<()>();
        drop(alive);
        let mut written = Vec::new();
        // Its patience was over before it began.
        feed(&mut written, &told, Duration::ZERO);
        assert_eq!(written, b"V");
    }

    #[test]
    fn a_missing_device_is_told_and_no_device_is_fine() {
        let missing = Watchdog::open(Some(Path::new("/no/such/watchdog")), Duration::ZERO);
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
        Watchdog::open(None, Duration::ZERO).unwrap().feed();
    }

    #[test]
    fn systemd_is_told_by_either_kind_of_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("muster-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let sockets = [UnixDatagram::bind(&path).unwrap(), UnixDatagram::bind_addr(&address).unwrap()];
        let names = [path.to_str().unwrap().to_owned(), format!("@{name}")];
        for (socket, name) in sockets.iter().zip(&names) {
            let watchdog = Watchdog { systemd: systemd(Some(name.as_ref())), feeder: None };
            watchdog.ready();
            watchdog.status("idle");
            watchdog.feed();
            let mut buffer = [0; 64];
            for expected in ["READY=1", "STATUS=idle", "WATCHDOG=1"] {
                let count = socket.recv(&mut buffer).unwrap();
                assert_eq!(&buffer[..count], expected.as_bytes());
            }
        }
        assert!(systemd(None).is_none());
    }
}
