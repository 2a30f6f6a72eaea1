//! Which packages of Debian do tests take apart without installing them?
//!
//! A test machine has a kernel, a bootloader and a shell of its own; they are nothing to this one. Each package is
//! unpacked into `target/parts/machine/FOLDER` once, whole or not at all.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use crate::{parts, process};

#[derive(Debug)]
struct Package {
    /// Under `target/parts/machine`.
    folder: &'static str,
    /// The packages that bring it, best first.
    names: &'static [&'static str],
    why: &'static str,
}

const MACHINE: [Package; 5] = [
    // Built for virtual machines: a third of the modules of the usual kernel, and a faster start.
    Package { folder: "kernel", names: &["linux-image-cloud-amd64", "linux-image-amd64"], why: "test machines run it" },
    Package { folder: "busybox-static", names: &["busybox-static"], why: "test machines have it for a shell" },
    Package { folder: "ovmf", names: &["ovmf"], why: "it is the firmware of test machines with UEFI" },
    Package { folder: "systemd-boot-efi", names: &["systemd-boot-efi"], why: "those are started by it" },
    Package { folder: "grub-pc-bin", names: &["grub-pc-bin"], why: "test machines are started by it" },
];

/// Unpacks what machines are made of, where it is missing.
pub fn for_machines() -> anyhow::Result<()> {
    let folder = process::root().join("target/parts/machine");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    for package in &MACHINE {
        unpack(package, &folder).with_context(|| format!("unpacking {}", package.names.join(" or ")))?;
    }
    Ok(())
}

fn unpack(package: &Package, folder: &Path) -> anyhow::Result<()> {
    let target = folder.join(package.folder);
    if target.is_dir() {
        return Ok(());
    }
    if process::find("apt-get").is_none() {
        bail!("{} is missing ({}) and there is no apt-get here", target.display(), package.why);
    }
    eprintln!("unpacking {}: {}", package.names.join(" or "), package.why);
    parts::update_package_lists()?;
    let unfinished = folder.join(format!("{}.unfinished", package.folder));
    empty(&unfinished)?;
    let file = download(package.names, &unfinished)?;
    let content = unfinished.join("content");
    process::run(process::command("dpkg-deb").arg("--extract").arg(&file).arg(&content))?;
    fs::rename(&content, &target).with_context(|| format!("moving to {}", target.display()))?;
    fs::remove_dir_all(&unfinished).with_context(|| format!("removing {}", unfinished.display()))
}

/// Downloads the first of the packages that can be had into `folder`.
fn download(names: &[&str], folder: &Path) -> anyhow::Result<PathBuf> {
    let mut outcome = Ok(());
    for name in names {
        outcome = try_download(name, folder);
        if outcome.is_ok() {
            break;
        }
    }
    outcome?;
    let mut packages = packages(folder)?;
    ensure!(packages.len() == 1, "apt-get left {} packages, not one", packages.len());
    packages.pop().context("there is one")
}

/// The files of packages that lie in `folder`.
pub fn packages(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let files = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(files.filter(|file| file.extension().is_some_and(|extension| extension == "deb")).collect())
}

fn try_download(name: &str, folder: &Path) -> anyhow::Result<()> {
    let said = process::output(process::command("apt-cache").args(["depends", name]))?;
    // Root's own folders are closed to the user that apt-get becomes for downloads.
    let arguments = ["--quiet=2", "--option", "APT::Sandbox::User=root", "download", depended_on(&said, name)];
    process::run(process::command("apt-get").current_dir(folder).args(arguments))
}

/// A kernel's package has a name with its version; the one without only depends on it.
fn depended_on<'a>(said: &'a str, name: &'a str) -> &'a str {
    let mut depends = said.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    depends.find(|package| package.starts_with("linux-image-")).unwrap_or(name)
}

/// Makes a folder anew, without what was in it.
pub fn empty(folder: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_the_package_that_its_nameless_one_depends_on() {
        let said = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n";
        assert_eq!(depended_on(said, "linux-image-cloud-amd64"), "linux-image-6.1.0-56-cloud-amd64");
    }

    #[test]
    fn any_other_package_is_itself() {
        assert_eq!(depended_on("grub-pc-bin\n  Depends: grub-common\n", "grub-pc-bin"), "grub-pc-bin");
        assert_eq!(depended_on("busybox-static\n", "busybox-static"), "busybox-static");
    }
}
