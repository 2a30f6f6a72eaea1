//! How is a machine switched on, watched, and cut off its power?
//!
//! `qemu` emulates it on one thread, without KVM. It sees nothing of the network but this host's loopback, at
//! 10.0.2.2: its own system sets up no route beyond.
//!
//! # What a power cut here is, and what it isn't
//!
//! [`Vm::kill`] ends the process by SIGKILL. Everything in the machine's memory is gone: what its programs held, and
//! what its kernel had not yet written to the disk. The disk is a file, opened with `cache=writeback`: what the machine
//! wrote to it lies at least in this host's page cache, which outlives the process. So writes are lost from some moment
//! on, but never reordered or torn as a real disk's own cache may do when it loses power before a flush.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::disk::Disk;
use super::grub::Slot;

const PROGRAM: &str = "qemu-system-x86_64";
const MEMORY_MIB: &str = "256";
/// With RDRAND: without a source of chance, a machine that has just started waits for one.
const CPU: &str = "qemu64,+rdrand";
/// Lines of the console shown when a test fails.
const CONSOLE_LINES_SHOWN: usize = 60;

/// What the machine said on its serial console, in all its lives.
#[derive(Debug, Default)]
struct Console {
    lines: Mutex<Vec<String>>,
    came: Condvar,
}

#[derive(Debug)]
pub struct Vm {
    disk: Disk,
    console: Arc<Console>,
    /// Lines before this one have been waited for.
    seen: usize,
    life: Option<Life>,
}

/// From power on to power off; restarts of its own are within one life.
#[derive(Debug)]
struct Life {
    child: Child,
    reader: JoinHandle<()>,
}

impl Vm {
    /// Switched off.
    #[must_use]
    pub fn on(disk: Disk) -> Self {
        Self { disk, console: Arc::default(), seen: 0, life: None }
    }

    /// Power on.
    ///
    /// # Panics
    /// If it is on already, or `qemu` can't be started.
    pub fn start(&mut self) {
        assert!(self.life.is_none(), "switch it off before it is switched on");
        self.life = Some(self.launch().expect("qemu starts"));
    }

    /// Power cut; nothing if it is off.
    pub fn kill(&mut self) {
        if let Some(mut life) = self.life.take() {
            let _ = life.child.kill();
            let _ = life.child.wait();
            let _ = life.reader.join();
        }
    }

    /// The disk, while the machine is off.
    ///
    /// # Panics
    /// If it is on.
    #[must_use]
    pub fn disk(&self) -> &Disk {
        assert!(self.life.is_none(), "a running machine's disk is its own");
        &self.disk
    }

    /// The first bytes of a slot as they are on the disk, also while the machine runs.
    ///
    /// # Panics
    /// If the disk's file can't be read.
    #[must_use]
    pub fn slot(&self, slot: Slot, bytes: usize) -> Vec<u8> {
        self.disk.slot(slot, bytes).expect("the disk's file is there")
    }

    /// Waits until the console says a line with this text, later than the one waited for before. Answers the line.
    ///
    /// # Panics
    /// If none comes in time, or the machine ends.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str, patience: Duration) -> String {
        let ends_at = Instant::now() + patience;
        let mut lines = lock(&self.console.lines);
        loop {
            if let Some(index) = lines[self.seen..].iter().position(|line| line.contains(text)) {
                self.seen += index + 1;
                return lines[self.seen - 1].clone();
            }
            let left = ends_at.saturating_duration_since(Instant::now());
            let is_over = self.life.as_ref().is_none_or(|life| life.reader.is_finished());
            assert!(!is_over, "the machine ended before it said {text:?}");
            assert!(!left.is_zero(), "waited {patience:?} in vain for {text:?}");
            let waited = self.console.came.wait_timeout(lines, left);
            (lines, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether the console has said this in any life.
    #[must_use]
    pub fn has_said(&self, text: &str) -> bool {
        lock(&self.console.lines).iter().any(|line| line.contains(text))
    }

    /// The last lines of the console.
    #[must_use]
    pub fn console(&self) -> String {
        shown(&lock(&self.console.lines))
    }

    fn launch(&self) -> anyhow::Result<Life> {
        let drive = format!("file={},format=raw,if=virtio,cache=writeback", self.disk.path().display());
        let mut command = Command::new(PROGRAM);
        command.args(["-accel", "tcg,thread=single", "-cpu", CPU, "-smp", "1", "-m", MEMORY_MIB]);
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-drive", &drive]);
        // Without romfile= the firmware would look for a system on the network first.
        command.args(["-netdev", "user,id=net,ipv6=off", "-device", "virtio-net-pci,netdev=net,romfile="]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().context("starting qemu; `cargo xtask test` installs it")?;
        let output = child.stdout.take().context("its output is piped")?;
        let console = Arc::clone(&self.console);
        let reader = std::thread::spawn(move || {
            read(output, &console);
            console.came.notify_all();
        });
        Ok(Life { child, reader })
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the machine's console ---\n{}\n---", self.console());
        }
        self.kill();
    }
}

fn read(output: impl Read, console: &Console) {
    for line in BufReader::new(output).split(b'\n') {
        let Ok(line) = line else { return };
        lock(&console.lines).push(plain(&line));
        console.came.notify_all();
    }
}

/// Without what terminals are told with: GRUB clears the screen before it says anything.
fn plain(line: &[u8]) -> String {
    let mut plain = String::new();
    let text = String::from_utf8_lossy(line);
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            // "ESC [ … letter", or "ESC" and one character.
            '\u{1b}' if characters.next() == Some('[') => {
                let _ = characters.by_ref().find(char::is_ascii_alphabetic);
            }
            character if character.is_control() => {}
            character => plain.push(character),
        }
    }
    plain
}

fn shown(lines: &[String]) -> String {
    lines[lines.len().saturating_sub(CONSOLE_LINES_SHOWN)..].join("\n")
}

fn lock(lines: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}
