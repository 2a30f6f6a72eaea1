//! What is in a slot? A kernel, an initramfs, busybox, perhaps the agent – and perhaps something broken.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use super::file_system::{self, Kind};
use super::ingredients::Ingredients;
use super::{grub, initramfs, run, tool};

const INIT: &[u8] = include_bytes!("files/system-init");
const REBOOT: &[u8] = include_bytes!("files/reboot");
const FOLDERS: [&str; 14] =
    ["bin", "boot", "bootloader", "data", "dev", "etc", "lib", "proc", "run", "sbin", "sys", "tmp", "usr", "usr/bin"];
/// The applets that scripts and people use.
const APPLETS: [&str; 22] = [
    "cat",
    "cp",
    "cut",
    "date",
    "dd",
    "df",
    "dmesg",
    "grep",
    "ip",
    "kill",
    "ls",
    "mkdir",
    "mount",
    "mv",
    "ps",
    "rm",
    "sh",
    "sha256sum",
    "sleep",
    "sync",
    "umount",
    "wget",
];
const AGENT: &str = "usr/bin/muster-agent";
/// What the release adds to its kernel's command line.
const COMMAND_LINE: &str = "quiet";
/// The file system's own share, beside the files.
const SPARE_BYTES: u64 = 1024 * 1024;
const MIB: u64 = 1024 * 1024;
const BLOCK_BYTES: u64 = 4096;

/// What is wrong with a release, if anything is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Nothing,
    /// Its first program ends at once, which makes the kernel panic.
    Init,
    /// Its kernel's command line names a disk that isn't there.
    CommandLine,
    /// Its kernel's file is none.
    Kernel,
    /// It starts, but its agent ends at once.
    Agent,
}

/// One release of the whole system, as it fills a slot.
#[derive(Debug, Clone)]
pub struct System {
    pub version: String,
    pub agent: Option<PathBuf>,
    pub fault: Fault,
}

impl System {
    /// Builds it as a file system, which is the release's artifact, beside a folder of the same name in `folder`.
    /// Answers the file.
    pub fn build(&self, ingredients: &Ingredients, folder: &Path) -> anyhow::Result<PathBuf> {
        let root = folder.join(format!("system-{}", self.version));
        self.fill(ingredients, &root).with_context(|| format!("filling {}", root.display()))?;
        let image = root.with_extension("img");
        let bytes = (size_of(&root)? + SPARE_BYTES).next_multiple_of(MIB);
        file_system::make(Kind::System, &root, &image, bytes)?;
        Ok(image)
    }

    fn fill(&self, ingredients: &Ingredients, root: &Path) -> anyhow::Result<()> {
        for folder in FOLDERS {
            fs::create_dir_all(root.join(folder))?;
        }
        fs::write(root.join("etc/version"), format!("{}\n", self.version))?;
        self.fill_boot(ingredients, &root.join("boot"))?;
        fs::copy(&ingredients.busybox, root.join("bin/busybox")).context("copying busybox")?;
        for applet in APPLETS {
            symlink("busybox", root.join("bin").join(applet))?;
        }
        let init = if self.fault == Fault::Init { b"#!/bin/busybox sh\nexit 1\n" } else { INIT };
        write_program(&root.join("sbin/init"), init)?;
        write_program(&root.join("sbin/reboot"), REBOOT)?;
        match (&self.agent, self.fault) {
            (_, Fault::Agent) => write_program(&root.join(AGENT), b"#!/bin/busybox sh\nexit 1\n"),
            (Some(agent), _) => install(agent, root),
            (None, _) => Ok(()),
        }
    }

    fn fill_boot(&self, ingredients: &Ingredients, boot: &Path) -> anyhow::Result<()> {
        if self.fault == Fault::Kernel {
            fs::write(boot.join("vmlinuz"), "this is no kernel\n")?;
        } else {
            fs::copy(&ingredients.kernel, boot.join("vmlinuz")).context("copying the kernel")?;
        }
        fs::write(boot.join("initrd.img"), initramfs::build(ingredients)?)?;
        let more = if self.fault == Fault::CommandLine { " root=/dev/nosuch" } else { "" };
        fs::write(boot.join("cmdline"), grub::environment(&[("cmdline", &format!("{COMMAND_LINE}{more}"))])?)?;
        Ok(())
    }
}

/// Copies a program without its debug information, and the libraries it is linked with.
fn install(agent: &Path, root: &Path) -> anyhow::Result<()> {
    run(tool("strip").arg("-o").arg(root.join(AGENT)).arg(agent))?;
    let output = Command::new("ldd").arg(agent).output().context("starting ldd")?;
    // A statically linked program makes ldd fail with this sentence.
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if said.contains("not a dynamic executable") || said.contains("statically linked") {
        return Ok(());
    }
    ensure!(output.status.success() && !said.contains("not found"), "ldd {}: {said}", agent.display());
    for library in said.split_whitespace().filter(|word| word.starts_with('/')) {
        let target = root.join(library.trim_start_matches('/'));
        let folder = target.parent().context("a library lies in a folder")?;
        fs::create_dir_all(folder)?;
        fs::copy(library, &target).with_context(|| format!("copying {library}"))?;
    }
    Ok(())
}

/// Writes a file that can be run.
pub fn write_program(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    fs::write(path, content)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// The bytes of all blocks that the files below take, and one block for everything else.
fn size_of(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let data = entry.metadata()?;
        bytes += match data.is_dir() {
            true => BLOCK_BYTES + size_of(&entry.path())?,
            false if data.is_file() => data.len().next_multiple_of(BLOCK_BYTES),
            false => 0,
        };
    }
    Ok(bytes)
}
