//! How do the tests run the reference implementation of TUF, `tuf` of PyPI?
//!
//! In an environment of its own, `target/parts/tuf`; made at the first use if `cargo xtask test` has not done so.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// The release whose documents are known.
const VERSION: &str = "6.0.0";

/// The interpreter that has it.
///
/// # Errors
/// If it can't be installed.
pub fn interpreter() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("asking for the test program's path")?;
    let target = own.ancestors().nth(3).context("the test program lies in target/PROFILE/deps")?;
    let folder = target.join("parts/tuf");
    let python = folder.join("bin/python");
    let has_it = || Command::new(&python).args(["-c", "import tuf.ngclient, cryptography"]).status();
    if !has_it().is_ok_and(|status| status.success()) {
        install(&folder).context("python's tuf is not installed; `cargo xtask test` installs what the tests need")?;
    }
    Ok(python)
}

fn install(folder: &Path) -> anyhow::Result<()> {
    run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    let wanted = [format!("tuf=={VERSION}"), "securesystemslib[crypto]==1.3.1".to_owned()];
    let pip = ["install", "--quiet", "--disable-pip-version-check"];
    run(Command::new(folder.join("bin/pip")).args(pip).args(wanted))
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let ran = command.output().with_context(|| format!("starting {command:?}"))?;
    ensure!(ran.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ran.stderr));
    Ok(())
}
