//! A device in a temporary folder, for tests: a real disk whose power can be cut, real programs, no network.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use muster_vocab::{Sha256, Timestamp};
use muster_wire::agent::{Artifact, Component};
use tempfile::TempDir;

use crate::disk::{Disk, Kind, Permissions};
use crate::install::{InstallError, Installer, Job};
use crate::io::disk::RealDisk;
use crate::io::program::run;
use crate::world::{Call, Host, Net, NetError, Ran, Reply, Run, World};

/// Power that is never cut.
const UNCUT: u32 = u32::MAX;

/// The disk of the machine; after so many changes the power is gone until [`Workbench::power_on`].
#[derive(Debug)]
pub struct CutDisk {
    left: AtomicU32,
    /// The folder whose names were made durable last, and what they were.
    synced: Mutex<Option<(PathBuf, Vec<String>)>>,
}

impl CutDisk {
    fn spend(&self) -> io::Result<RealDisk> {
        let left = self.left.load(Ordering::Relaxed);
        match left {
            UNCUT => Ok(RealDisk),
            0 => Err(io::Error::other("the power was cut")),
            left => {
                self.left.store(left - 1, Ordering::Relaxed);
                Ok(RealDisk)
            }
        }
    }
}

impl Disk for CutDisk {
    fn kind(&self, path: &Path) -> io::Result<Option<Kind>> {
        RealDisk.kind(path)
    }
    fn size(&self, path: &Path) -> io::Result<u64> {
        RealDisk.size(path)
    }
    fn modified(&self, path: &Path) -> io::Result<Timestamp> {
        RealDisk.modified(path)
    }
    fn read_at(&self, path: &Path, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        RealDisk.read_at(path, offset, buffer)
    }
    fn write_at(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.spend()?.write_at(path, offset, bytes)
    }
    fn set_size(&self, path: &Path, bytes: u64) -> io::Result<()> {
        self.spend()?.set_size(path, bytes)
    }
    fn sync(&self, path: &Path) -> io::Result<()> {
        self.spend()?.sync(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.spend()?.rename(from, to)
    }
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.spend()?.sync_folder(folder)?;
        *self.synced.lock().unwrap() = Some((folder.to_owned(), RealDisk.list(folder)?));
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.spend()?.remove(path)
    }
    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        self.spend()?.remove_folder(folder)
    }
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        self.spend()?.make_folder(folder)
    }
    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(folder)
    }
    fn make_link(&self, target: &Path, link: &Path) -> io::Result<()> {
        self.spend()?.make_link(target, link)
    }
    fn read_link(&self, link: &Path) -> io::Result<PathBuf> {
        RealDisk.read_link(link)
    }
    fn permissions(&self, path: &Path) -> io::Result<Permissions> {
        RealDisk.permissions(path)
    }
    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.spend()?.set_mode(path, mode)
    }
    fn set_owner(&self, path: &Path, user: u32, group: u32) -> io::Result<()> {
        self.spend()?.set_owner(path, user, group)
    }
    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        RealDisk.free_bytes(path)
    }
}

#[derive(Debug)]
pub struct Workbench {
    folder: TempDir,
    disk: CutDisk,
    log: Mutex<Vec<String>>,
}

impl Workbench {
    pub fn new() -> Self {
        let disk = CutDisk { left: AtomicU32::new(UNCUT), synced: Mutex::default() };
        Self { folder: tempfile::tempdir().unwrap(), disk, log: Mutex::new(Vec::new()) }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// A shell script. Written by another process: while a file is open for writing in ours, which it is for a moment
    /// also in whatever another test starts, the kernel refuses to run it.
    pub fn write_program(&self, name: &str, script: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let words = ["install", "-m", "755", "/dev/stdin", path.to_str().unwrap()].map(str::to_owned);
        let stdin = format!("#!/bin/sh\n{script}\n");
        let timeout = Duration::from_secs(60);
        let ran = run(&Run { words: &words, stdin: stdin.as_bytes(), timeout, output_bytes_max: 1000 }).unwrap();
        assert!(ran.succeeded(), "{ran:?}");
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    pub fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }

    pub fn names(&self, folder: &str) -> Vec<String> {
        RealDisk.list(&self.path(folder)).unwrap()
    }

    /// The sets of names that may be in a folder after a cut, if each name that came or went since they were made
    /// durable may be there or not. `before`: what they were at first.
    pub fn names_after_cut(&self, folder: &str, before: &[String]) -> Vec<Vec<String>> {
        let synced = self.disk.synced.lock().unwrap().clone();
        let durable = synced.filter(|(path, _)| *path == self.path(folder)).map_or(before.to_vec(), |(_, names)| names);
        let now = self.names(folder);
        let (sure, unsure): (Vec<String>, Vec<String>) =
            now.iter().chain(&durable).cloned().partition(|name| now.contains(name) && durable.contains(name));
        let chosen = |bits: usize| unsure.iter().enumerate().filter(move |(at, _)| bits >> at & 1 == 1);
        (0..1 << unsure.len())
            .map(|bits| sure.iter().chain(chosen(bits).map(|(_, name)| name)).cloned().collect())
            .collect()
    }

    /// The machine was started from this slot.
    pub fn started_from(&self, slot: &str) {
        self.write("cmdline", format!("root=/dev/sda2 muster.slot={slot} quiet"));
    }

    pub fn cut_power_after(&self, changes: u32) {
        self.disk.left.store(changes, Ordering::Relaxed);
    }

    pub fn power_on(&self) {
        self.disk.left.store(UNCUT, Ordering::Relaxed);
    }

    pub fn log_lines(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Does it with the power cut after 0, 1, 2, … changes, calling `between` after each cut, until it gets through.
    /// Returns the number of cuts.
    pub fn cut_everywhere(
        &self,
        mut act: impl FnMut() -> Result<(), InstallError>,
        mut between: impl FnMut(u32),
    ) -> u32 {
        for changes in 0.. {
            self.cut_power_after(changes);
            let outcome = act();
            self.power_on();
            match outcome {
                Ok(()) => return changes,
                Err(error) => {
                    assert!(error.sentence().ends_with("the power was cut"), "{}", error.sentence());
                    between(changes);
                }
            }
            assert!(changes < 10_000, "it never ends");
        }
        unreachable!("the numbers don't end")
    }

    /// Puts an artifact where its installer wants it, as the download does.
    pub fn deliver(&self, installer: &dyn Installer, job: Job<'_>, bytes: &[u8]) {
        let place = installer.place(self, job, 0).unwrap();
        assert!(place.bytes_max >= bytes.len() as u64);
        RealDisk.write_at(&place.path, 0, bytes).unwrap();
        RealDisk.sync(&place.path).unwrap();
    }
}

impl World for Workbench {
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

impl Net for Workbench {
    fn call(&self, _: &Call<'_>) -> Result<Reply, NetError> {
        Err(NetError::Unreachable("a workbench has no network".into()))
    }
    fn fetch(&self, _: &str, _: (u64, u64), _: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<u64, NetError> {
        Err(NetError::Unreachable("a workbench has no network".into()))
    }
}

impl Host for Workbench {
    fn now(&self) -> Timestamp {
        Timestamp(0)
    }
    fn uptime(&self) -> Duration {
        Duration::ZERO
    }
    fn boot_id(&self) -> String {
        "workbench".into()
    }
    fn kernel_command_line(&self) -> String {
        std::fs::read_to_string(self.path("cmdline")).unwrap_or_default()
    }
    fn restart(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn run(&self, what: &Run<'_>) -> io::Result<Ran> {
        run(what)
    }
    fn probe(&self, _: &str, _: Duration) -> io::Result<(u16, Vec<u8>)> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn battery_percent(&self) -> Option<u8> {
        None
    }
    fn chance(&self) -> u64 {
        4
    }
    fn log(&self, line: &str) {
        self.log.lock().unwrap().push(line.to_owned());
    }
}

/// A component with one artifact.
pub fn component(name: &str, file_name: &str, bytes: &[u8]) -> Component {
    let artifact =
        Artifact { file_name: file_name.into(), size: bytes.len() as u64, digest: digest(bytes), routes: vec![] };
    Component { name: name.into(), version: "1.0".into(), metadata: Default::default(), artifacts: vec![artifact] }
}

pub fn digest(bytes: &[u8]) -> Sha256 {
    use sha2::Digest;
    Sha256(sha2::Sha256::digest(bytes).into())
}
