//! `schemathesis`: requests made up from the server's own OpenAPI document.
//!
//! It lives in a Python environment under `target/parts/schemathesis`, made by `cargo xtask test` or, if that has not
//! run, here.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// The version the tests were written with; others have other options.
const VERSION: &str = "4.32.5";

/// One run and what it said.
#[derive(Debug)]
pub struct Verdict {
    pub passed: bool,
    pub text: String,
}

/// The program, installed if it is missing.
pub fn program() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("asking for the test program's path")?;
    let target = own.ancestors().nth(3).context("the test program lies in target/PROFILE/deps")?;
    let folder = target.join("parts/schemathesis");
    let program = folder.join("bin/schemathesis");
    if !program.is_file() {
        install(&folder).context("schemathesis is not installed; `cargo xtask test` installs what the tests need")?;
    }
    Ok(program)
}

fn install(folder: &Path) -> anyhow::Result<()> {
    run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    let wanted = format!("schemathesis=={VERSION}");
    run(Command::new(folder.join("bin/pip")).args(["install", "--quiet", "--disable-pip-version-check", &wanted]))
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let what = format!("{command:?}");
    let output = command.output().with_context(|| what.clone())?;
    ensure!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Fuzzes the operator API of a server for a bounded number of requests.
///
/// `known` are ids that exist, as `(path expression, parameter, value)`: requests to such a path use them, so that they
/// get beyond "not found"; deletions are left out then. Always left out: the event stream, which never ends; and logging
/// out, which would take the run's own token away.
pub fn fuzz(origin: &str, token: &str, folder: &Path, known: &[(&str, &str, &str)]) -> anyhow::Result<Verdict> {
    let mut settings = String::new();
    for (path, parameter, value) in known {
        // A number stays a number: the document may say that the parameter is one.
        let value = if value.parse::<i64>().is_ok() { (*value).to_owned() } else { format!("{value:?}") };
        writeln!(
            settings,
            "[[operations]]\ninclude-path-regex = {path:?}\nparameters = {{ {parameter:?} = {value} }}"
        )?;
    }
    std::fs::write(folder.join("schemathesis.toml"), settings).context("writing its settings")?;
    let mut command = Command::new(program()?);
    command.current_dir(folder).args(["--no-color", "run"]).arg(format!("{origin}/api/v1/openapi.json"));
    command.args(["--header", &format!("Authorization: Bearer {token}")]);
    command.args(["--checks", "not_a_server_error,content_type_conformance,status_code_conformance,ignored_auth"]);
    command.args(["--phases", "examples,coverage,fuzzing", "--max-examples", "15"]);
    command.args(["--generation-deterministic", "--suppress-health-check", "all"]);
    // One worker: Debian's Python 3.11.2 counts the depth of syntax trees for all threads together, and sometimes
    // stops with "AST constructor recursion depth mismatch" where two read them (CPython issue 106905).
    command.args(["--request-timeout", "20", "--continue-on-failure", "--workers", "1"]);
    command.args(["--exclude-path-regex", "/(events|logout|openapi\\.json)$"]);
    if !known.is_empty() {
        command.args(["--exclude-method", "DELETE"]);
    }
    let output = command.output().context("running schemathesis")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Ok(Verdict { passed: output.status.success(), text })
}
