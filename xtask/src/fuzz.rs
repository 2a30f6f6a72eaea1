//! Does any input make a parser of untrusted bytes crash, hang, or eat the memory?
//!
//! `fuzz/` is a program of its own with one target for each parser. It is built with libFuzzer and with coverage by the
//! compiler's own passes (`fuzz/rustc`), so that the usual toolchain does. What is found worth keeping stays in `target/fuzz/corpus`;
//! `fuzz/seeds` is where it begins.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail, ensure};

use crate::figure::{self, Figure};
use crate::process;

/// What runs while building is built without coverage: naming a target tells the two apart.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// A parser that takes this long for a few kilobytes hangs.
const HANG_S: u32 = 10;
/// An input of a few kilobytes that needs this much is a bomb.
const MEMORY_MIB: u32 = 1024;
const INPUT_BYTES_MAX: u32 = 16 * 1024;
/// Runs at a time: the machine's two cores.
const AT_A_TIME: usize = 2;
/// The figure that has to be zero.
pub const CRASHES: &str = "fuzz_crashes";

/// Throw bytes at every parser, and print how many and how often one fell over.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask fuzz                        every target for two minutes
  cargo xtask fuzz --seconds 10 selector  one of them for ten seconds
  cargo xtask fuzz --replay FILE selector what a file does that made it fall over")]
pub struct Fuzz {
    /// Only these
    targets: Vec<String>,
    /// How long each target runs
    #[arg(long, default_value_t = 120)]
    seconds: u32,
    /// Run one input again instead
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Print each figure as one JSON line
    #[arg(long)]
    json: bool,
}

/// What one target's run came to.
#[derive(Debug, PartialEq, Eq)]
struct Ran {
    executions: u64,
    has_crashed: bool,
}

impl Fuzz {
    pub fn run(self) -> anyhow::Result<()> {
        if let Some(input) = &self.replay {
            let [one] = self.targets.as_slice() else { bail!("name the one target that the file is for") };
            let input = input.canonicalize().with_context(|| format!("reading {}", input.display()))?;
            return process::run(Command::new(built()?).env("MUSTER_FUZZ", one).arg(input));
        }
        let figures = figures(&self.targets, self.seconds)?;
        figure::print(&figures, self.json)?;
        let crashes = figures.iter().any(|figure| figure.figure == CRASHES && figure.value > 0.0);
        ensure!(!crashes, "a target fell over; the inputs are in {}", folder("crashes", "").display());
        Ok(())
    }
}

/// Runs these targets, or all, for so long each, and says how often and how many fell over.
pub fn figures(targets: &[String], seconds: u32) -> anyhow::Result<Vec<Figure>> {
    let program = built()?;
    let all = listed(&program)?;
    if let Some(unknown) = targets.iter().find(|name| !all.contains(name)) {
        bail!("there is no target {unknown}; there are {}", all.join(", "));
    }
    let wanted = if targets.is_empty() { &all } else { targets };
    let (mut executions, mut crashes) = (0, 0);
    for some in wanted.chunks(AT_A_TIME) {
        let running = some.iter().map(|name| Ok((name, begin(&program, name, seconds)?)));
        for (name, running) in running.collect::<anyhow::Result<Vec<(&String, Running)>>>()? {
            let ran = running.end()?;
            eprintln!("{name}: {} executions{}", ran.executions, if ran.has_crashed { ", CRASHED" } else { "" });
            executions += ran.executions;
            crashes += u32::from(ran.has_crashed);
        }
    }
    Ok(vec![
        Figure::new("fuzz_targets", wanted.len() as f64, ""),
        Figure::new("fuzz_executions", executions as f64, ""),
        Figure::new(CRASHES, f64::from(crashes), ""),
    ])
}

fn begin(program: &Path, name: &str, seconds: u32) -> anyhow::Result<Running> {
    let scratch = scratch(name);
    let (corpus, crashes) = (folder("corpus", name), folder("crashes", name));
    for folder in [&corpus, &crashes, &scratch] {
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    let log = crashes.with_extension("log");
    let file = std::fs::File::create(&log).with_context(|| format!("making {}", log.display()))?;
    let mut fuzz = Command::new(program);
    fuzz.env("MUSTER_FUZZ", name).env("TMPDIR", &scratch).arg(&corpus);
    let seeds = process::root().join("fuzz/seeds").join(name);
    if seeds.is_dir() {
        fuzz.arg(seeds);
    }
    fuzz.arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={HANG_S}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .arg(format!("-artifact_prefix={}/", crashes.display()))
        .args(["-print_final_stats=1", "-verbosity=0"]);
    let child = fuzz.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn();
    Ok(Running { child: child.context("starting the fuzzer")?, log, scratch })
}

/// Where a target's server keeps its data, for as long as it runs: in memory where that can be had, because every
/// request waits for the disk.
fn scratch(name: &str) -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    let root = if memory.is_dir() { memory } else { std::env::temp_dir() };
    root.join(format!("muster-fuzz-{}-{name}", std::process::id()))
}

struct Running {
    child: Child,
    log: PathBuf,
    scratch: PathBuf,
}

impl Running {
    fn end(mut self) -> anyhow::Result<Ran> {
        let status = self.child.wait().context("waiting for the fuzzer")?;
        std::fs::remove_dir_all(&self.scratch).with_context(|| format!("removing {}", self.scratch.display()))?;
        let said = std::fs::read(&self.log).with_context(|| format!("reading {}", self.log.display()))?;
        let said = String::from_utf8_lossy(&said);
        if !status.success() {
            eprintln!("{said}");
        }
        Ok(Ran { executions: executions(&said), has_crashed: !status.success() })
    }
}

/// `stat::number_of_executed_units: 4711`
fn executions(said: &str) -> u64 {
    let told = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    told.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

fn folder(kind: &str, name: &str) -> PathBuf {
    process::root().join("target/fuzz").join(kind).join(name)
}

fn built() -> anyhow::Result<PathBuf> {
    eprintln!("building the parsers with coverage");
    let mut cargo = process::cargo(&["build", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--target", TARGET]);
    // What tells this program who it is would have some crates built anew for each who asks.
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|ours| name.to_string_lossy().starts_with(ours)) {
            cargo.env_remove(&name);
        }
    }
    let folder = process::root().join("target/fuzz/build");
    process::run(cargo.env("RUSTC_WRAPPER", process::root().join("fuzz/rustc")).env("CARGO_TARGET_DIR", &folder))?;
    Ok(folder.join(TARGET).join("debug/muster-fuzz"))
}

fn listed(program: &Path) -> anyhow::Result<Vec<String>> {
    let said = process::output(Command::new(program).env("MUSTER_FUZZ_LIST", "1"))?;
    Ok(said.lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_are_read_from_what_the_fuzzer_says() {
        let said = "INFO: seed\nstat::number_of_executed_units: 4711\nstat::average_exec_per_sec:     2\n";
        assert_eq!((executions(said), executions("crash")), (4711, 0));
    }
}
