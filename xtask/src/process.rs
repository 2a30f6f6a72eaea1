//! How does a routine start another program, and what does it say when that fails?
//!
//! Everything runs from the root of the repository, so that a routine does the same wherever it was called from.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

/// The root of the repository this program was built from.
pub fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().expect("xtask is a folder of the repository").to_path_buf()
}

/// A command that runs in the root of the repository.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// The cargo that started this program, with these arguments.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments);
    cargo
}

/// Runs a command whose output people should see; an exit code other than 0 is an error that names the command.
/// Its standard output becomes our standard error, because figures own ours.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    command.stdout(Stdio::from(std::io::stderr()));
    let status = command.status().with_context(|| format!("starting `{}`", line(command)))?;
    ensure!(status.success(), "`{}` failed: {status}", line(command));
    Ok(())
}

/// Runs a command and returns what it wrote to standard output; what it said on standard error is part of the error.
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("starting `{}`", line(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed: {}\n{}", line(command), output.status, said.trim_end());
    }
    String::from_utf8(output.stdout).with_context(|| format!("reading what `{}` wrote", line(command)))
}

/// Becomes another program; comes back only when that could not be started.
pub fn become_program(command: &mut Command) -> anyhow::Result<()> {
    let error = command.exec();
    Err(error).with_context(|| format!("starting `{}`", line(command)))
}

/// Where a program is on the search path, if it is there. The sbin folders are searched too, because Debian
/// keeps daemons there and leaves them out of a person's path.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// A command as a person would type it: the program without its folder.
pub fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_is_named_with_what_it_said() {
        let error = output(command("sh").args(["-c", "echo broken >&2; exit 3"])).unwrap_err().to_string();
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.ends_with("broken"), "{error}");
    }

    #[test]
    fn commands_read_as_typed() {
        assert_eq!(line(command("/somewhere/bin/cargo").args(["test", "--workspace"])), "cargo test --workspace");
    }

    #[test]
    fn programs_run_in_the_root_of_the_repository() {
        assert_eq!(output(&mut command("pwd")).unwrap().trim_end(), root().to_str().unwrap());
    }

    #[test]
    fn programs_are_found_or_said_to_be_missing() {
        assert!(find("sh").is_some());
        assert_eq!(find("no-such-program-anywhere"), None);
    }
}
