//! Which programs of others is a machine made of?
//!
//! `cargo xtask test` unpacks Debian's packages into `target/parts/machine`; none of them is installed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

#[derive(Debug, Clone)]
pub struct Ingredients {
    /// A Linux kernel, as `linux` in GRUB takes it.
    pub kernel: PathBuf,
    /// `/lib/modules/VERSION` of that kernel.
    pub modules: PathBuf,
    /// Statically linked.
    pub busybox: PathBuf,
    /// GRUB's modules and images for a BIOS.
    pub grub: PathBuf,
    /// The firmware of a machine with UEFI: its code, and its memory before the first start.
    pub ovmf: PathBuf,
    /// systemd-boot for UEFI.
    pub systemd_boot: PathBuf,
}

impl Ingredients {
    /// # Errors
    /// If they have not been unpacked.
    pub fn find() -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("asking for the test program's path")?;
        let target = own.ancestors().nth(3).context("the test program lies in target/PROFILE/deps")?;
        let folder = target.join("parts/machine");
        Self::in_folder(&folder).with_context(|| {
            format!("{} lacks a part; `cargo xtask test` installs what the tests need", folder.display())
        })
    }

    fn in_folder(folder: &Path) -> anyhow::Result<Self> {
        let found = Self {
            kernel: only_child(&folder.join("kernel/boot"), "vmlinuz-")?,
            modules: only_child(&folder.join("kernel/lib/modules"), "")?,
            busybox: folder.join("busybox-static/bin/busybox"),
            grub: folder.join("grub-pc-bin/usr/lib/grub/i386-pc"),
            ovmf: folder.join("ovmf/usr/share/OVMF"),
            systemd_boot: folder.join("systemd-boot-efi/usr/lib/systemd/boot/efi/systemd-bootx64.efi"),
        };
        for part in [&found.busybox, &found.grub, &found.ovmf, &found.systemd_boot] {
            ensure!(part.exists(), "there is no {}", part.display());
        }
        Ok(found)
    }
}

/// The one entry whose name begins so.
fn only_child(folder: &Path, prefix: &str) -> anyhow::Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("reading {}", folder.display()))?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            found.push(entry.path());
        }
    }
    ensure!(found.len() == 1, "{} has {} entries {prefix}*, not one", folder.display(), found.len());
    found.pop().context("one was found")
}
