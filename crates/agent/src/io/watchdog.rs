//! How do systemd and the hardware learn that the agent is alive?
//!
//! `sd_notify` by its datagram socket (sd_notify(3)), and `/dev/watchdog` by a write per round; written with a `V` at
//! an orderly end, so that stopping the agent on purpose doesn't reset the machine.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

#[derive(Debug, Default)]
pub struct Watchdog {
    systemd: Option<UnixDatagram>,
    device: Option<File>,
}

impl Watchdog {
    /// Whoever isn't there isn't told.
    pub fn open(device: Option<&Path>) -> std::io::Result<Self> {
        let device = device.map(|path| OpenOptions::new().write(true).open(path)).transpose()?;
        Ok(Self { systemd: systemd(), device })
    }

    pub fn ready(&self) {
        self.notify("READY=1");
    }

    pub fn status(&self, status: &str) {
        self.notify(&format!("STATUS={status}"));
    }

    /// Alive.
    pub fn feed(&mut self) {
        self.notify("WATCHDOG=1");
        if let Some(device) = &mut self.device {
            // A watchdog that can't be fed resets the machine, which is what it is for.
            let _ = device.write_all(b".");
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
        if let Some(device) = &mut self.device {
            let _ = device.write_all(b"V");
        }
    }
}

fn systemd() -> Option<UnixDatagram> {
    let path = std::env::var_os("NOTIFY_SOCKET")?;
    let socket = UnixDatagram::unbound().ok()?;
    socket.connect(Path::new(&path)).ok()?;
    Some(socket)
}
