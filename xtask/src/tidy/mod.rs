//! Is the repository as STYLE asks, as far as a machine can tell?
//!
//! Each check is a pure function from text to findings in a file of its own; reading the files and starting cargo
//! happens here.

mod advisories;
mod api;
mod direction;
mod files;
mod finding;
mod forbidden;
mod length;
mod licences;
mod limits;
mod links;
mod lock;
mod names;
mod reexports;
mod source;
mod spdx;
mod sql;

use std::path::Path;

use anyhow::{Context, ensure};

use crate::process;
use files::Files;
use finding::{Finding, Weight};

const ADVISORIES: &str = "xtask/advisories.toml";
/// The workspace, and the program that is built with coverage and stands on its own.
const FORMATS: [&[&str]; 2] = [&["fmt", "--all"], &["fmt", "--manifest-path", "fuzz/Cargo.toml"]];

const FUZZ: [&str; 2] = ["--manifest-path", "fuzz/Cargo.toml"];
const UPDATE_FUZZ_LOCK: [&str; 4] = ["update", "--workspace", FUZZ[0], FUZZ[1]];

/// Check what STYLE asks and a machine can tell.
#[derive(Debug, clap::Args)]
pub struct Tidy {
    /// Format the code and write the generated documents first.
    #[arg(long)]
    fix: bool,
}

impl Tidy {
    pub fn run(self) -> anyhow::Result<()> {
        if self.fix {
            for format in FORMATS {
                process::run(&mut process::cargo(format))?;
            }
            process::run(&mut process::cargo(&UPDATE_FUZZ_LOCK))?;
            write_limits()?;
            write_api()?;
        }
        check()
    }
}

/// Writes the document of all limits from their source.
pub fn write_limits() -> anyhow::Result<()> {
    let source = read(limits::SOURCE)?;
    write(limits::DOCUMENT, &limits::document(&source))
}

/// Runs every check and prints what it finds; an error if one of the findings is a failure.
pub fn check() -> anyhow::Result<()> {
    let files = Files::read()?;
    let mut findings = formatting()?;
    findings.extend(texts(&files)?);
    findings.extend(dependencies()?);
    findings.extend(warnings());
    findings.extend(api::findings(&printed_api(), read(api::DOCUMENT).ok().as_deref()));
    for finding in &findings {
        println!("{finding}");
    }
    let failures = findings.iter().filter(|finding| finding.weight == Weight::Failure).count();
    ensure!(failures == 0, "{failures} findings; STYLE says why, `cargo xtask tidy --fix` repairs what it can");
    Ok(())
}

/// Everything that is known from the files alone.
fn texts(files: &Files) -> anyhow::Result<Vec<Finding>> {
    let mut findings: Vec<Finding> = files.paths().flat_map(names::path_findings).collect();
    for (file, source) in files.sources() {
        findings.extend(length::findings(file, source));
        findings.extend(names::type_findings(file, source));
        findings.extend(forbidden::findings(file, source));
        findings.extend(reexports::findings(file, source));
        if files::must_not_know_sql(file) {
            findings.extend(sql::findings(file, source));
        }
    }
    let tree = files.tree();
    for (file, text) in files.documents() {
        findings.extend(links::findings(file, text, &tree));
    }
    for (file, text) in files.manifests() {
        findings.extend(direction::findings(file, text)?);
    }
    findings.extend(limits::findings(&read(limits::SOURCE)?, read(limits::DOCUMENT).ok().as_deref()));
    Ok(findings)
}

/// Everything that we build from.
fn dependencies() -> anyhow::Result<Vec<Finding>> {
    let lock = read("Cargo.lock")?;
    let mut findings = lock::findings(&lock)?;
    findings.extend(advisories::findings(&read(ADVISORIES)?, &lock)?);
    findings.extend(licences::findings(&metadata(&[])?, &lock)?);
    if let Err(failed) = metadata(&FUZZ) {
        let text = format!("it does not fit what the fuzz targets are built from: {failed}");
        findings.push(Finding::failure("fuzz/Cargo.lock", 1, text));
    }
    Ok(findings)
}

/// Works without a network once all packages were fetched, also those for other platforms.
fn metadata(of: &[&str]) -> anyhow::Result<String> {
    let arguments = [&["metadata", "--format-version", "1", "--locked"], of].concat();
    process::output(process::cargo(&arguments).arg("--offline"))
        .or_else(|_| process::output(&mut process::cargo(&arguments)))
}

/// Files that are not formatted.
fn formatting() -> anyhow::Result<Vec<Finding>> {
    let found: Vec<Vec<Finding>> = FORMATS.into_iter().map(formatting_of).collect::<anyhow::Result<_>>()?;
    Ok(found.concat())
}

fn formatting_of(format: &[&str]) -> anyhow::Result<Vec<Finding>> {
    let mut format = process::cargo(format);
    format.args(["--", "--check", "--files-with-diff"]);
    let output = format.output().context("starting `cargo fmt`")?;
    let root = format!("{}/", process::root().display());
    let printed = String::from_utf8_lossy(&output.stdout);
    let unformatted = printed.lines().map(|file| file.strip_prefix(&root).unwrap_or(file));
    let findings: Vec<Finding> =
        unformatted.map(|file| Finding::failure(file, 1, "not formatted: run `cargo fmt`")).collect();
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() || !findings.is_empty(), "`{}` failed: {said}", process::line(&format));
    Ok(findings)
}

/// What the compiler and clippy say goes to people directly, with its places; here it counts as one finding.
fn warnings() -> Option<Finding> {
    let arguments = ["clippy", "--quiet", "--workspace", "--all-targets", "--keep-going", "--", "--deny", "warnings"];
    let error = process::run(&mut process::cargo(&arguments)).err()?;
    Some(Finding::failure("Cargo.toml", 1, format!("{error:#}: see above")))
}

fn printed_api() -> anyhow::Result<String> {
    process::output(&mut process::cargo(&["run", "--quiet", "--package", "muster", "--", "openapi"]))
}

/// Once there is a document, a server that can't print it is an error.
fn write_api() -> anyhow::Result<()> {
    match printed_api() {
        Ok(printed) => write(api::DOCUMENT, &printed),
        Err(error) if Path::new(&process::root().join(api::DOCUMENT)).exists() => Err(error),
        Err(_) => Ok(()),
    }
}

fn read(file: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(process::root().join(file)).with_context(|| format!("reading {file}"))
}

fn write(file: &str, text: &str) -> anyhow::Result<()> {
    std::fs::write(process::root().join(file), text).with_context(|| format!("writing {file}"))
}
