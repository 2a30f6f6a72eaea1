//! How does a test get a whole machine that starts, updates itself and loses its power?
//!
//! [`Disk`] is built from Debian's kernel, GRUB and busybox by programs that need neither root nor a mount:
//! `sfdisk` makes the partitions, `mke2fs -d` fills the file systems, `grub-mkimage` makes GRUB's core. [`Vm`] starts
//! it in `qemu` without hardware help. GRUB boots by way of a BIOS, as on a PC: `boot.img` in the first sector,
//! `core.img` in the gap before the first partition.
//!
//! | partition | holds | in the machine |
//! |---|---|---|
//! | 1 | `grub/grub.cfg` and `grub/grubenv`, GRUB's memory of the slots | `/bootloader` |
//! | 2, 3 | slots A and B: a [`System`] each, with its own kernel | `/`, read-only |
//! | 4 | what outlives an update | `/data` |

mod cpio;
pub mod disk;
mod file_system;
pub mod grub;
pub mod ingredients;
mod initramfs;
pub mod system;
pub mod uefi;
pub mod vm;

use std::process::{Command, Output};

use anyhow::{Context, ensure};

/// One of the programs for disks, which Debian keeps where a person's search path doesn't lead.
fn tool(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
    command
}

/// Runs a program to its end; what it said is part of the error.
fn run(command: &mut Command) -> anyhow::Result<Output> {
    let what = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("starting {what}"))?;
    ensure!(output.status.success(), "{what} failed, {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(output)
}
