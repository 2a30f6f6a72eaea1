//! Debian's `rauc`, unmodified, as the service of a board with two slots.
//!
//! The slots are files, the bus is a `dbus-daemon` of the board's own, and the bootloader's memory is in files that
//! RAUC changes by its "custom" backend. Bundles are signed with a key made here. RAUC mounts bundles by a loop device,
//! so this runs as root only.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use muster_agent::install::rauc::Rauc;
use tempfile::TempDir;

use crate::part::{TIMEOUT, run, word};
use crate::wait::until_true;

pub const BOARD: &str = "test-board";
const SLOT_BYTES: u64 = 1024 * 1024;

/// A key that signs bundles, with its certificate.
#[derive(Debug)]
pub struct Signer {
    key: PathBuf,
    certificate: PathBuf,
}

impl Signer {
    pub fn new(folder: &Path, name: &str) -> anyhow::Result<Self> {
        let (key, certificate) = (folder.join(format!("{name}.key")), folder.join(format!("{name}.crt")));
        let subject = format!("/CN={name}");
        let make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", &subject];
        let words = [make.as_slice(), &["-keyout", word(&key), "-out", word(&certificate)]].concat();
        run(&words);
        Ok(Self { key, certificate })
    }

    /// By an authority: `--key` and `--cert` of what it has signed, and what vouches for it.
    #[must_use]
    pub fn with(key: PathBuf, certificate: PathBuf) -> Self {
        Self { key, certificate }
    }

    #[must_use]
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }
}

/// A bundle with one image for the slots of class `rootfs`.
pub fn bundle(signer: &Signer, board: &str, version: &str, image: &[u8]) -> anyhow::Result<Vec<u8>> {
    bundle_of(signer, "plain", (board, version), image)
}

/// The same in a format: `plain`, or `verity`.
pub fn bundle_of(
    signer: &Signer,
    format: &str,
    (board, version): (&str, &str),
    image: &[u8],
) -> anyhow::Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("content"))?;
    fs::write(at("content/rootfs.img"), image)?;
    let manifest = format!(
        "[update]\ncompatible={board}\nversion={version}\n\n[bundle]\nformat={format}\n\n[image.rootfs]\nfilename=rootfs.img\n"
    );
    fs::write(at("content/manifest.raucm"), manifest)?;
    let (certificate, key) = (format!("--cert={}", word(&signer.certificate)), format!("--key={}", word(&signer.key)));
    run(&["rauc", "bundle", &certificate, &key, word(&at("content")), word(&at("packed.raucb"))]);
    Ok(fs::read(at("packed.raucb"))?)
}

/// The board, switched on or off.
#[derive(Debug)]
pub struct Board {
    folder: TempDir,
    bus: Child,
    service: Option<Child>,
    booted: &'static str,
}

impl Board {
    /// A board that trusts one signer and runs from slot A.
    pub fn new(signer: &Signer) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("rauc-").tempdir()?;
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("mounts"))?;
        for slot in ["A", "B"] {
            File::create(at(slot))?.set_len(SLOT_BYTES)?;
        }
        fs::copy(&signer.certificate, at("trusted.crt"))?;
        fs::write(at("bus.conf"), BUS.replace("FOLDER", word(folder.path())))?;
        fs::write(at("system.conf"), SYSTEM.replace("FOLDER", word(folder.path())).replace("BOARD", BOARD))?;
        fs::write(at("bootloader"), BOOTLOADER.replace("FOLDER", word(folder.path())))?;
        run(&["chmod", "755", word(&at("bootloader"))]);
        fs::write(at("primary"), "A")?;
        let mut daemon = Command::new("dbus-daemon");
        daemon.arg("--nofork").arg("--nopidfile").arg(format!("--config-file={}", word(&at("bus.conf"))));
        let bus = daemon.stdin(Stdio::null()).stderr(Stdio::null()).spawn().context("starting dbus-daemon")?;
        let mut board = Self { folder, bus, service: None, booted: "A" };
        until_true("the bus listens", || board.socket().exists());
        board.switch_on()?;
        Ok(board)
    }

    /// The agent's part for it.
    #[must_use]
    pub fn installer(&self) -> Rauc {
        let folder = self.path("bundles");
        Rauc { socket: self.socket(), folder, timeout: TIMEOUT, keeps_bundle: false }
    }

    /// Starts RAUC's service from the slot that the bootloader chooses.
    pub fn switch_on(&mut self) -> anyhow::Result<()> {
        ensure!(self.service.is_none(), "the board is on");
        self.booted = if self.state(self.primary()) == "good" { self.primary() } else { other(self.primary()) };
        let log = File::options().create(true).append(true).open(self.path("rauc.log"))?;
        let mut rauc = Command::new("rauc");
        rauc.arg(format!("--conf={}", word(&self.path("system.conf"))));
        rauc.args(["service", &format!("--override-boot-slot={}", self.booted)]);
        rauc.env("DBUS_SYSTEM_BUS_ADDRESS", self.address());
        rauc.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.service = Some(rauc.spawn().context("starting rauc")?);
        until_true("RAUC's service is on the bus", || self.is_there());
        Ok(())
    }

    /// From one moment to the next.
    pub fn cut_power(&mut self) {
        if let Some(mut service) = self.service.take() {
            // It may have ended by itself; nothing is left of it either way.
            let _ = service.kill();
            let _ = service.wait();
        }
        let mounted = self.path("mounts/bundle");
        while Command::new("umount").arg(&mounted).stderr(Stdio::null()).status().is_ok_and(|ended| ended.success()) {}
    }

    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.cut_power();
        self.switch_on()
    }

    /// From now on the bootloader's program doesn't end, so that an installation stays in its middle.
    pub fn hold(&self) {
        fs::write(self.path("hold"), "").expect("the board's folder can be written");
    }

    pub fn release(&self) {
        fs::remove_file(self.path("hold")).expect("it was held");
    }

    pub fn wait_until_held(&self) {
        until_true("the bootloader is asked", || self.path("held").exists());
    }

    #[must_use]
    pub fn booted(&self) -> &'static str {
        self.booted
    }

    #[must_use]
    pub fn primary(&self) -> &'static str {
        if self.word("primary") == "B" { "B" } else { "A" }
    }

    /// What the bootloader thinks of a slot.
    #[must_use]
    pub fn state(&self, slot: &str) -> String {
        self.word(&format!("state.{slot}"))
    }

    /// The beginning of a slot.
    #[must_use]
    pub fn slot(&self, slot: &str, bytes: usize) -> Vec<u8> {
        let mut content = fs::read(self.path(slot)).unwrap_or_default();
        content.truncate(bytes);
        content
    }

    /// Bundles that are kept.
    #[must_use]
    pub fn bundles(&self) -> usize {
        fs::read_dir(self.path("bundles")).map_or(0, Iterator::count)
    }

    /// Has RAUC install a bundle as a person at the board would; it runs in the background.
    pub fn install_by_hand(&self, bundle: &Path) -> anyhow::Result<Child> {
        let mut rauc = Command::new("rauc");
        rauc.arg(format!("--conf={}", word(&self.path("system.conf")))).arg("install").arg(bundle);
        rauc.env("DBUS_SYSTEM_BUS_ADDRESS", self.address());
        rauc.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("starting rauc")
    }

    /// A path in the board's own folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn word(&self, name: &str) -> String {
        let text = fs::read_to_string(self.path(name));
        text.map_or("good".to_owned(), |text| text.trim().to_owned())
    }

    fn socket(&self) -> PathBuf {
        self.path("bus")
    }

    fn address(&self) -> String {
        format!("unix:path={}", word(&self.socket()))
    }

    fn is_there(&self) -> bool {
        let bus = format!("--bus={}", self.address());
        let ask = ["--print-reply=literal", "--dest=org.freedesktop.DBus", "/", "org.freedesktop.DBus.NameHasOwner"];
        let words = [&["dbus-send", &bus], ask.as_slice(), &["string:de.pengutronix.rauc"]].concat();
        run(&words).contains("true")
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the log of rauc ---\n{}", fs::read_to_string(self.path("rauc.log")).unwrap_or_default());
        }
        // Nobody is left to hear of a failure here.
        let _ = fs::remove_file(self.path("hold"));
        self.cut_power();
        let _ = self.bus.kill();
        let _ = self.bus.wait();
    }
}

fn other(slot: &str) -> &'static str {
    if slot == "A" { "B" } else { "A" }
}

const BUS: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=FOLDER/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow send_type="signal"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
"#;

const SYSTEM: &str = "[system]
compatible=BOARD
bootloader=custom
statusfile=FOLDER/status
mountprefix=FOLDER/mounts
bundle-formats=plain

[handlers]
bootloader-custom-backend=FOLDER/bootloader

[keyring]
path=trusted.crt

[slot.rootfs.0]
device=FOLDER/A
type=raw
bootname=A

[slot.rootfs.1]
device=FOLDER/B
type=raw
bootname=B
";

/// RAUC's protocol for bootloaders that it doesn't know. A slot that becomes the primary one gets its starts back.
const BOOTLOADER: &str = r#"#!/bin/sh
while [ -e FOLDER/hold ]; do : > FOLDER/held; sleep 0.02; done
case "$1" in
get-primary) cat FOLDER/primary ;;
set-primary) echo "$2" > FOLDER/primary; echo good > "FOLDER/state.$2" ;;
get-state) cat "FOLDER/state.$2" 2>/dev/null || echo good ;;
set-state) echo "$3" > "FOLDER/state.$2" ;;
esac
"#;
