//! Does the agent also work on arm64?
//!
//! It is built for `aarch64-unknown-linux-gnu` and run in an emulator of the processor. Debian packages one compiler
//! with a standard library for either architecture; that, a cross linker and the emulator are unpacked into
//! `target/parts/arm64`, and nothing is installed. The package lists for arm64 are kept there too, so that the
//! machine's own apt learns no second architecture.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::{process, unpacked};

const TARGET: &str = "aarch64-unknown-linux-gnu";

/// About 220 MB to download. Those whose name has a release of the compiler in it are looked up.
const PACKAGES: [&str; 17] = [
    "rustc-web:amd64",
    "libstd-rust-web-dev:amd64",
    "libstd-rust-web-dev:arm64",
    "gcc-12-aarch64-linux-gnu:amd64",
    "cpp-12-aarch64-linux-gnu:amd64",
    "binutils-aarch64-linux-gnu:amd64",
    "libbinutils:amd64",
    "libjansson4:amd64",
    "libcc1-0:amd64",
    "libisl23:amd64",
    "libmpc3:amd64",
    "libmpfr6:amd64",
    "libgcc-12-dev-arm64-cross",
    "libgcc-s1-arm64-cross",
    "libc6-dev-arm64-cross",
    "libc6-arm64-cross",
    "linux-libc-dev-arm64-cross",
];
const EMULATOR: &str = "qemu-user-static:amd64";

/// Builds the agent for arm64 and lets it say its version.
pub fn check() -> anyhow::Result<()> {
    let root = toolchain()?;
    process::run(&mut build(&root))?;
    let agent = process::root().join("target/arm64").join(TARGET).join("debug/muster-agent");
    let said = process::output(emulated(&root, &agent).arg("--version"))?;
    ensure!(said.trim().ends_with(env!("CARGO_PKG_VERSION")), "the agent for arm64 says `{}`", said.trim());
    eprintln!("in an emulated arm64: {}", said.trim());
    Ok(())
}

/// Gives the folder that stands for `/`.
fn toolchain() -> anyhow::Result<PathBuf> {
    let folder = process::root().join("target/parts/arm64");
    if folder.is_dir() {
        return Ok(folder);
    }
    eprintln!("unpacking rustc-web and its standard library for arm64: the agent is built for it");
    let unfinished = folder.with_extension("unfinished");
    unpacked::empty(&unfinished)?;
    download(&unfinished).context("downloading a compiler for arm64")?;
    let content = unfinished.join("content");
    for package in unpacked::packages(&unfinished)? {
        process::run(process::command("dpkg-deb").arg("--extract").arg(&package).arg(&content))?;
    }
    fs::rename(&content, &folder).with_context(|| format!("moving to {}", folder.display()))?;
    fs::remove_dir_all(&unfinished).with_context(|| format!("removing {}", unfinished.display()))?;
    Ok(folder)
}

/// Downloads every package into `folder`.
fn download(folder: &Path) -> anyhow::Result<()> {
    for lists in ["state/lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(folder.join(lists)).with_context(|| format!("making {lists}"))?;
    }
    process::run(apt("apt-get", folder).args(["--quiet=2", "update"]))?;
    let library = depended_on(folder, "libstd-rust-web-dev:amd64", "libstd-rust-web-")?;
    let backend = depended_on(folder, &library, "libllvm")?;
    let named = [EMULATOR, &library, &backend];
    process::run(apt("apt-get", folder).args(["--quiet=2", "download"]).args(PACKAGES).args(named))
}

/// The one package that `name` depends on and that begins with `prefix`.
fn depended_on(folder: &Path, name: &str, prefix: &str) -> anyhow::Result<String> {
    let said = process::output(apt("apt-cache", folder).args(["depends", name]))?;
    let package = dependency(&said, prefix);
    package.with_context(|| format!("{name} depends on no {prefix}*"))
}

fn dependency(said: &str, prefix: &str) -> Option<String> {
    let mut depends = said.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    depends.find(|package| package.starts_with(prefix)).map(str::to_owned)
}

/// One of apt's programs, with lists of its own for both architectures.
fn apt(program: &str, folder: &Path) -> Command {
    let mut command = process::command(program);
    command.current_dir(folder);
    command.arg(format!("--option=Dir::State={}", folder.join("state").display()));
    command.arg(format!("--option=Dir::Cache={}", folder.join("cache").display()));
    command.args(["--option=Dir::State::status=/dev/null", "--option=APT::Architecture=amd64"]);
    command.args(["--option=APT::Architectures::=amd64", "--option=APT::Architectures::=arm64"]);
    // Root's own folders are closed to the user that apt-get becomes for downloads.
    command.arg("--option=APT::Sandbox::User=root");
    command
}

/// cargo with the unpacked compiler and linker, and a target folder of its own, because another compiler's output
/// would be thrown away each time.
fn build(root: &Path) -> Command {
    let programs = root.join("usr/bin");
    let gcc = programs.join("aarch64-linux-gnu-gcc-12");
    let mut path = std::ffi::OsString::from(&programs);
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut cargo = process::cargo(&["build", "--locked", "--package", "muster-agent", "--target", TARGET]);
    cargo
        .env("PATH", path)
        .env("RUSTC", programs.join("rustc"))
        .env("LD_LIBRARY_PATH", root.join("usr/lib/x86_64-linux-gnu"))
        .env("CARGO_TARGET_DIR", process::root().join("target/arm64"))
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CC_aarch64_unknown_linux_gnu", &gcc)
        .env("AR_aarch64_unknown_linux_gnu", programs.join("aarch64-linux-gnu-ar"))
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", &gcc)
        .env("CARGO_ENCODED_RUSTFLAGS", format!("-Clink-arg=--sysroot={}", root.display()));
    cargo
}

fn emulated(root: &Path, program: &Path) -> Command {
    let mut command = process::command(root.join("usr/bin/qemu-aarch64-static"));
    command.arg("-L").arg(root.join("usr/aarch64-linux-gnu")).arg(program);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_with_a_release_in_its_name_is_the_one_that_is_depended_on() {
        let said = "libstd-rust-web-1.96\n  Depends: libc6\n  Depends: libllvm22\n";
        assert_eq!(dependency(said, "libllvm").as_deref(), Some("libllvm22"));
        assert_eq!(dependency(said, "libstd-rust-web-"), None);
    }
}
