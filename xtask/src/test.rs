//! Does everything work? The answer of `cargo xtask test`, and of every submission.
//!
//! Steps run in order, cheapest first; the first that fails ends the run and is named. What the steps print is
//! passed on as it comes, and the tests they report are counted into the last line.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail, ensure};

use crate::{arm64, parts, process, tidy};

/// How long each target of the fuzzer runs in a nightly run.
const NIGHTLY_FUZZ_SECONDS: &str = "120";

/// Run all checks and tests.
#[derive(Debug, clap::Args)]
pub struct Test {
    /// Leave out what needs programs of others, the kills and the demo.
    #[arg(long)]
    fast: bool,
    /// Also throw bytes at every parser, for two minutes each.
    #[arg(long, conflicts_with_all = ["fast", "filter"])]
    nightly: bool,
    /// Only tests with this in their name; the steps that are no tests are left out.
    filter: Option<String>,
}

/// How many tests ran, and how they ended.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Tidy,
    Inside,
    Parts,
    Arm64,
    Outside,
    Faults,
    Security,
    Demo,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Step::Tidy => "tidy",
            Step::Inside => "unit, property and in-process tests",
            Step::Parts => "programs of others",
            Step::Arm64 => "the agent on arm64",
            Step::Outside => "real clients against a real server",
            Step::Faults => "kills of the server",
            Step::Security => "attacks",
            Step::Demo => "demo",
        }
    }
}

impl Test {
    pub fn run(self) -> anyhow::Result<()> {
        let steps = steps(self.fast, self.filter.is_some());
        let mut tally = Tally::default();
        for (index, step) in steps.iter().enumerate() {
            let place = format!("[{}/{}] {}", index + 1, steps.len(), step.name());
            eprintln!("{place}");
            let begun = Instant::now();
            let counted = self.perform(*step).with_context(|| format!("{place} failed"))?;
            eprintln!("{place}: {:.1} s", begun.elapsed().as_secs_f64());
            tally = Tally { passed: tally.passed + counted.passed, failed: tally.failed + counted.failed };
        }
        ensure!(tally.passed > 0, "no test ran: nothing matches the filter");
        println!("{} passed, {} failed", tally.passed, tally.failed);
        Ok(())
    }

    fn perform(&self, step: Step) -> anyhow::Result<Tally> {
        let filter = self.filter.as_deref();
        match step {
            Step::Tidy => tidy::check().map(|()| Tally::default()),
            Step::Inside => {
                let mut cargo = process::cargo(&["test", "--workspace", "--exclude", "muster-tests"]);
                counted(cargo.args(filter), std::io::stdout())
            }
            Step::Parts => parts::for_tests().map(|()| Tally::default()),
            Step::Arm64 => arm64::check().map(|()| Tally::default()),
            Step::Outside => {
                process::run(&mut process::cargo(&["build", "--package", "muster", "--package", "muster-agent"]))?;
                let mut cargo = process::cargo(&["test", "--package", "muster-tests"]);
                cargo.args(filter);
                if self.fast {
                    cargo.args(["--", "--skip", "real::"]);
                }
                counted(&mut cargo, std::io::stdout())
            }
            Step::Faults => routine(&["faults", "--kills", "10", "--devices", "300"]),
            Step::Security if self.nightly => routine(&["security", "--fuzz", NIGHTLY_FUZZ_SECONDS]),
            Step::Security => routine(&["security"]),
            Step::Demo => routine(&["demo", "--exit"]),
        }
    }
}

fn steps(fast: bool, filtered: bool) -> Vec<Step> {
    match (fast, filtered) {
        (false, false) => {
            vec![
                Step::Tidy,
                Step::Inside,
                Step::Parts,
                Step::Arm64,
                Step::Outside,
                Step::Faults,
                Step::Security,
                Step::Demo,
            ]
        }
        (true, false) => vec![Step::Tidy, Step::Inside, Step::Outside],
        (false, true) => vec![Step::Inside, Step::Parts, Step::Outside],
        (true, true) => vec![Step::Inside, Step::Outside],
    }
}

/// Another routine of this program, in a process of its own, so that what it leaves behind ends with it.
fn routine(arguments: &[&str]) -> anyhow::Result<Tally> {
    process::run(process::cargo(&["run", "--quiet", "--package", "xtask", "--"]).args(arguments))?;
    Ok(Tally::default())
}

/// Runs tests, passes their output on, and counts what they report.
fn counted(command: &mut Command, to: impl Write) -> anyhow::Result<Tally> {
    let line = process::line(command);
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("starting `{line}`"))?;
    let output = child.stdout.take().context("the output was not piped")?;
    let tally = pass_on(output, to);
    let status = child.wait().with_context(|| format!("waiting for `{line}`"))?;
    let tally = tally?;
    if !status.success() {
        bail!("`{line}` failed: {status}; {} passed, {} failed", tally.passed, tally.failed);
    }
    ensure!(tally.failed == 0, "`{line}` says that it passed, but {} tests failed", tally.failed);
    Ok(tally)
}

fn pass_on(from: impl Read, mut to: impl Write) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    for line in BufReader::new(from).split(b'\n') {
        let mut line = line.context("reading the output of the tests")?;
        if let Some(counted) = reported(&String::from_utf8_lossy(&line)) {
            tally = Tally { passed: tally.passed + counted.passed, failed: tally.failed + counted.failed };
        }
        line.push(b'\n');
        to.write_all(&line).context("passing on the output of the tests")?;
    }
    Ok(tally)
}

/// What `test result: ok. 6 passed; 0 failed; …` says, if the line is one.
fn reported(line: &str) -> Option<Tally> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |word: &str| {
        let part = counts.split(';').find_map(|part| part.trim().strip_suffix(word));
        part.and_then(|number| number.trim().parse().ok())
    };
    Some(Tally { passed: count("passed")?, failed: count("failed")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reported_result_is_counted_and_every_line_passed_on() {
        let said = "running 6 tests\n......\n\
            test result: ok. 6 passed; 0 failed; 0 ignored; 0 measured; 2 filtered out; finished in 0.01s\n\
            test result: FAILED. 12 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.01s\n";
        let mut passed_on = Vec::new();
        let tally = pass_on(said.as_bytes(), &mut passed_on).unwrap();
        assert_eq!(tally, Tally { passed: 18, failed: 1 });
        assert_eq!(String::from_utf8(passed_on).unwrap(), said);
    }

    #[test]
    fn a_test_that_prints_the_words_is_not_counted() {
        assert_eq!(reported("the server said: test result: ok. 6 passed; 0 failed"), None);
        assert_eq!(reported("test result: unknown"), None);
    }

    #[test]
    fn a_failing_run_is_an_error_that_tells_the_counts() {
        let script = "echo 'test result: FAILED. 3 passed; 2 failed; 0 ignored'; exit 101";
        let error = counted(process::command("sh").args(["-c", script]), Vec::new()).unwrap_err().to_string();
        assert!(error.ends_with("failed: exit status: 101; 3 passed, 2 failed"), "{error}");
    }

    #[test]
    fn fast_leaves_out_the_parts_the_kills_and_the_demo() {
        assert_eq!(steps(true, false), [Step::Tidy, Step::Inside, Step::Outside]);
        assert_eq!(steps(false, false).len(), 8);
    }
}
