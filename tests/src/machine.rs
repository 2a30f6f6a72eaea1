//! A machine in a temporary folder: the real disk, and a kernel's command line from a file.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::time::Duration;

use muster_agent::Disk;
use muster_agent::io::disk::RealDisk;
use muster_agent::io::program::run;
use muster_agent::world::{Call, Host, Net, NetError, Ran, Reply, Run, World};
use muster_vocab::Timestamp;
use tempfile::TempDir;

#[derive(Debug)]
pub struct Machine {
    folder: TempDir,
}

impl Machine {
    /// One that was started from this slot.
    ///
    /// # Panics
    /// If there is no room for it.
    #[must_use]
    pub fn started_from(slot: &str) -> Self {
        let machine = Self { folder: tempfile::tempdir().expect("tests have a temporary folder") };
        machine.restart_from(slot);
        machine
    }

    /// # Panics
    /// If there is no room for it.
    pub fn restart_from(&self, slot: &str) {
        std::fs::write(self.path("cmdline"), format!("ro muster.slot={slot}\n")).expect("its folder is there");
    }

    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl World for Machine {
    fn disk(&self) -> &dyn Disk {
        &RealDisk
    }
    fn net(&self) -> &dyn Net {
        self
    }
    fn host(&self) -> &dyn Host {
        self
    }
}

impl Net for Machine {
    fn call(&self, _: &Call<'_>) -> Result<Reply, NetError> {
        Err(NetError::Unreachable("this machine has no network".into()))
    }
    fn fetch(&self, _: &str, _: (u64, u64), _: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<u64, NetError> {
        Err(NetError::Unreachable("this machine has no network".into()))
    }
}

impl Host for Machine {
    fn now(&self) -> Timestamp {
        Timestamp(0)
    }
    fn uptime(&self) -> Duration {
        Duration::ZERO
    }
    fn boot_id(&self) -> String {
        "first".into()
    }
    fn kernel_command_line(&self) -> String {
        std::fs::read_to_string(self.path("cmdline")).unwrap_or_default()
    }
    fn restart(&self) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }
    fn run(&self, what: &Run<'_>) -> io::Result<Ran> {
        run(what)
    }
    fn probe(&self, _: &str, _: Duration) -> io::Result<(u16, Vec<u8>)> {
        Err(ErrorKind::Unsupported.into())
    }
    fn battery_percent(&self) -> Option<u8> {
        None
    }
    fn chance(&self) -> u64 {
        0
    }
    fn log(&self, line: &str) {
        eprintln!("{line}");
    }
}
