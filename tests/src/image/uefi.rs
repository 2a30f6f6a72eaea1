//! How does a machine with UEFI start, and what does systemd-boot leave behind?
//!
//! One FAT file system without a partition table, which OVMF takes as well: systemd-boot where firmware looks first, a
//! kernel, and a userspace that says which entry started it and switches itself off.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use tempfile::TempDir;

use super::cpio::Archive;
use super::ingredients::Ingredients;
use super::{run, tool};

/// Room for a kernel; the smallest that FAT32 takes.
const PARTITION_MIB: u64 = 64;
const ENTRIES: &str = "loader/entries";
const SAYS: &str = "MUSTER-BOOTED slot=";
/// Some 5 s on an idle machine, without hardware help.
const START_S: &str = "120";
const INIT: &[u8] = b"#!/bin/busybox sh\n/bin/busybox mount -t proc proc /proc\n\
    for word in $(/bin/busybox cat /proc/cmdline); do\n\
    case $word in muster.slot=*) echo \"MUSTER-BOOTED slot=${word#muster.slot=} \";; esac\ndone\n\
    /bin/busybox poweroff -f\n";

#[derive(Debug)]
pub struct Uefi {
    folder: TempDir,
    ovmf: PathBuf,
}

impl Uefi {
    /// `entries`: names of files, and the slot that each starts.
    ///
    /// # Errors
    /// If a program for file systems is missing or fails.
    pub fn build(ingredients: &Ingredients, entries: &[(&str, &str)]) -> anyhow::Result<Self> {
        let machine = Self { folder: tempfile::tempdir()?, ovmf: ingredients.ovmf.clone() };
        let partition = machine.partition();
        std::fs::File::create_new(&partition)?.set_len(PARTITION_MIB * 1024 * 1024)?;
        run(tool("mkfs.vfat").args(["-F", "32"]).arg(&partition))?;
        machine.mtools("mmd", &["::/EFI", "::/EFI/BOOT", "::/loader", &format!("::/{ENTRIES}")])?;
        machine.put(&ingredients.systemd_boot, "EFI/BOOT/BOOTX64.EFI")?;
        machine.put(&ingredients.kernel, "linux")?;
        machine.write("initrd", &initrd(ingredients)?)?;
        machine.write("loader/loader.conf", b"timeout 0\ndefault muster-*\n")?;
        for (name, slot) in entries {
            machine.write(&format!("{ENTRIES}/{name}"), entry(slot).as_bytes())?;
        }
        std::fs::copy(machine.ovmf.join("OVMF_VARS.fd"), machine.folder.path().join("vars.fd"))?;
        Ok(machine)
    }

    /// Starts the machine once. Answers which slot came up.
    ///
    /// # Errors
    /// If none came up in time.
    pub fn start(&self) -> anyhow::Result<String> {
        let drive = |file: &Path, more: &str| format!("file={},format=raw,{more}", file.display());
        let mut qemu = Command::new("timeout");
        qemu.args([START_S, "qemu-system-x86_64", "-accel", "tcg,thread=single", "-cpu", "qemu64,+rdrand"]);
        qemu.args(["-m", "256", "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio"]);
        qemu.args(["-drive", &drive(&self.ovmf.join("OVMF_CODE.fd"), "if=pflash,readonly=on")]);
        qemu.args(["-drive", &drive(&self.folder.path().join("vars.fd"), "if=pflash")]);
        qemu.args(["-drive", &drive(&self.partition(), "if=virtio"), "-net", "none"]);
        let said = run(&mut qemu)?.stdout;
        let said = String::from_utf8_lossy(&said);
        let slot = said.split(SAYS).nth(1).and_then(|rest| rest.split_whitespace().next());
        slot.map(str::to_owned).with_context(|| format!("nothing came up: {said}"))
    }

    /// The files of systemd-boot, as a folder that stands for the mounted partition.
    ///
    /// # Errors
    /// If they can't be read.
    pub fn take_loader(&self, to: &Path) -> anyhow::Result<()> {
        let _ = std::fs::remove_dir_all(to.join("loader"));
        std::fs::create_dir_all(to)?;
        self.mtools("mcopy", &["-s", "-n", "::/loader", &to.to_string_lossy()])
    }

    /// The folder's files take the place of those on the partition.
    ///
    /// # Errors
    /// If they can't be written.
    pub fn give_loader(&self, from: &Path) -> anyhow::Result<()> {
        self.mtools("mdeltree", &["::/loader"])?;
        self.mtools("mcopy", &["-s", &from.join("loader").to_string_lossy(), "::/"])
    }

    /// Names of the entries, sorted.
    ///
    /// # Errors
    /// If they can't be read.
    pub fn entries(&self) -> anyhow::Result<Vec<String>> {
        let listed = run(self.command("mdir").args(["-b", &format!("::/{ENTRIES}")]))?;
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let mut names: Vec<String> =
            listed.lines().filter_map(|line| Some(line.trim().rsplit_once('/')?.1.to_owned())).collect();
        names.sort();
        Ok(names)
    }

    fn partition(&self) -> PathBuf {
        self.folder.path().join("efi.img")
    }

    fn write(&self, name: &str, content: &[u8]) -> anyhow::Result<()> {
        let file = self.folder.path().join("put");
        std::fs::write(&file, content)?;
        self.put(&file, name)
    }

    fn put(&self, file: &Path, name: &str) -> anyhow::Result<()> {
        self.mtools("mcopy", &["-o", &file.to_string_lossy(), &format!("::/{name}")])
    }

    fn mtools(&self, program: &str, words: &[&str]) -> anyhow::Result<()> {
        run(self.command(program).args(words)).map(drop)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = tool(program);
        command.env("MTOOLSRC", "/dev/null").arg("-i").arg(self.partition());
        command
    }
}

fn entry(slot: &str) -> String {
    format!("title Slot {slot}\nlinux /linux\ninitrd /initrd\noptions console=ttyS0 quiet muster.slot={slot}\n")
}

fn initrd(ingredients: &Ingredients) -> anyhow::Result<Vec<u8>> {
    let busybox = std::fs::read(&ingredients.busybox).context("reading busybox")?;
    ensure!(!busybox.is_empty(), "busybox is empty");
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "proc"] {
        archive.folder(folder);
    }
    archive.console();
    archive.program("bin/busybox", &busybox);
    archive.program("init", INIT);
    Ok(archive.finish())
}
