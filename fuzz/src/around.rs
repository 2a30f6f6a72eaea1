//! What surrounds an agent whose programs, bus, server and files say whatever the bytes say?
//!
//! Each read of the clock is a second later, so everything that waits comes to its end at once.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use muster_agent::disk::Disk;
use muster_agent::world::{Call, Host, Net, NetError, Ran, Reply, Run, Stream, World};
use muster_sim::board::disk::VirtualDisk;
use muster_vocab::Timestamp;

pub struct Around {
    pub disk: VirtualDisk,
    seconds: AtomicU64,
    /// What is still to be said; every answer takes some of it.
    said: Mutex<Vec<u8>>,
}

impl Around {
    pub fn saying(data: &[u8]) -> Self {
        let mut said = data.to_vec();
        said.reverse();
        Self { disk: VirtualDisk::default(), seconds: AtomicU64::new(0), said: Mutex::new(said) }
    }

    fn next(&self, bytes_max: usize) -> Vec<u8> {
        let mut said = self.said.lock().expect("nobody panics with it");
        let from = said.len().saturating_sub(bytes_max);
        said.drain(from..).rev().collect()
    }

    /// One answer: its length in two bytes, then the bytes.
    fn answer(&self) -> Vec<u8> {
        let [low, high] = self.next(2)[..] else { return Vec::new() };
        self.next(usize::from(u16::from_le_bytes([low, high])))
    }
}

impl World for Around {
    fn disk(&self) -> &dyn Disk {
        &self.disk
    }

    fn net(&self) -> &dyn Net {
        self
    }

    fn host(&self) -> &dyn Host {
        self
    }
}

impl Net for Around {
    fn call(&self, _: &Call<'_>) -> Result<Reply, NetError> {
        let body = self.answer();
        if body.is_empty() {
            return Err(NetError::Unreachable("nothing more is said".into()));
        }
        // Refusals are read as well.
        let status = if body.first() == Some(&b'!') { 403 } else { 200 };
        Ok(Reply { status, body })
    }

    fn fetch(
        &self,
        _: &str,
        (_, count): (u64, u64),
        taken: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<u64, NetError> {
        let mut bytes = self.answer();
        bytes.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        taken(&bytes).map_err(NetError::Disk)?;
        Ok(bytes.len() as u64)
    }
}

impl Host for Around {
    fn now(&self) -> Timestamp {
        Timestamp(1_790_000_000_000)
    }

    fn uptime(&self) -> Duration {
        Duration::from_secs(self.seconds.fetch_add(1, Ordering::Relaxed))
    }

    fn boot_id(&self) -> String {
        "boot".into()
    }

    fn kernel_command_line(&self) -> String {
        "quiet muster.slot=a".into()
    }

    fn restart(&self) -> io::Result<()> {
        Ok(())
    }

    fn run(&self, _: &Run<'_>) -> io::Result<Ran> {
        let output = self.answer();
        Ok(Ran { exit_code: output.first().map(|byte| i32::from(*byte & 1)), output })
    }

    fn connect(&self, _: &Path, _: Duration) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(Spoken(self.answer().into())))
    }

    fn probe(&self, _: &str, _: Duration) -> io::Result<(u16, Vec<u8>)> {
        Ok((200, self.answer()))
    }

    fn battery_percent(&self) -> Option<u8> {
        None
    }

    fn chance(&self) -> u64 {
        7
    }

    fn log(&self, _: &str) {}
}

/// A stream whose other side says these bytes and takes everything.
struct Spoken(VecDeque<u8>);

impl Read for Spoken {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Spoken {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Spoken {
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}
