//! `bench delta`: how small are deltas, and what do they cost the server and the device?
//!
//! Every program runs by itself under `time`, ours like the others, on the same files in the same run. What each has
//! made is applied and compared with what was wanted.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use super::pairs::{self, Pair};
use crate::figure::Figure;
use crate::{parts, process};

/// What a program has used.
#[derive(Debug, Clone, Copy)]
struct Cost {
    cpu_s: f64,
    memory_bytes: f64,
}

/// What one program did for one pair.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    bytes: f64,
    make: Cost,
    apply: Cost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    Ours,
    Whole,
    PatchFrom,
    Xdelta3,
    Bsdiff,
}

impl Program {
    const ALL: [Program; 5] = [Program::Ours, Program::Whole, Program::PatchFrom, Program::Xdelta3, Program::Bsdiff];

    fn name(self) -> &'static str {
        match self {
            Program::Ours => "muster",
            Program::Whole => "zstd -19",
            Program::PatchFrom => "zstd --patch-from",
            Program::Xdelta3 => "xdelta3 -9",
            Program::Bsdiff => "bsdiff",
        }
    }

    fn make(self, pair: &Pair, delta: &Path) -> Command {
        let (old, new) = (&pair.old, &pair.new);
        let mut command = process::command("zstd");
        match self {
            Program::Ours => {
                command = process::command(itself());
                command.args(["delta", "make"]).args([old, new]).arg(delta);
            }
            Program::Whole => {
                command.args(["-19", "--single-thread", "-qf"]).arg(new).arg("-o").arg(delta);
            }
            Program::PatchFrom => {
                let from = patch_from(old);
                command.args(["-19", "--single-thread", "--long=27", "-qf", &from]).arg(new).arg("-o").arg(delta);
            }
            Program::Xdelta3 => {
                command = process::command("xdelta3");
                // The window over the old file is by default smaller than the kernel.
                command.args(["-e", "-9", "-f", "-B", "268435456", "-s"]).args([old, new]).arg(delta);
            }
            Program::Bsdiff => {
                command = process::command("bsdiff");
                command.args([old, new]).arg(delta);
            }
        }
        command
    }

    fn apply(self, pair: &Pair, delta: &Path, new: &Path) -> Command {
        let old = &pair.old;
        let mut command = process::command("zstd");
        match self {
            Program::Ours => {
                command = process::command(itself());
                command.args(["delta", "apply"]).arg(old).args([new, delta]);
            }
            Program::Whole => {
                command.args(["-d", "-qf"]).arg(delta).arg("-o").arg(new);
            }
            Program::PatchFrom => {
                command.args(["-d", "--long=27", "-qf", &patch_from(old)]).arg(delta).arg("-o").arg(new);
            }
            Program::Xdelta3 => {
                command = process::command("xdelta3");
                command.args(["-d", "-f", "-B", "268435456", "-s"]).arg(old).args([delta, new]);
            }
            Program::Bsdiff => {
                command = process::command("bspatch");
                command.arg(old).args([new, delta]);
            }
        }
        command
    }
}

/// This program, which makes and applies deltas too.
fn itself() -> PathBuf {
    std::env::current_exe().expect("a running program has a file")
}

fn patch_from(old: &Path) -> String {
    format!("--patch-from={}", old.display())
}

pub fn run() -> anyhow::Result<Vec<Figure>> {
    let time = parts::for_deltas()?;
    let work = tempfile::tempdir().context("making a folder for deltas")?;
    let mut table = format!(
        "{:10} {:18} {:>11} {:>9} {:>9} {:>9} {:>9}\n",
        "pair", "program", "bytes", "make s", "make MB", "apply s", "apply MB"
    );
    let mut outcomes = Vec::new();
    let pairs = pairs::fetch()?;
    for pair in &pairs {
        eprintln!("{}: {}", pair.name, pair.what);
        let mut row = Vec::new();
        for program in Program::ALL {
            let outcome = measure(&time, program, pair, work.path())?;
            write_row(&mut table, pair, program, &outcome);
            row.push(outcome);
        }
        outcomes.push(row);
    }
    eprint!("{table}");
    Ok(figures(&pairs, &outcomes))
}

fn measure(time: &Path, program: Program, pair: &Pair, work: &Path) -> anyhow::Result<Outcome> {
    eprintln!("{} with {}", pair.name, program.name());
    let (delta, new) = (work.join("delta"), work.join("new"));
    let make = cost(time, &program.make(pair, &delta), work)?;
    let apply = cost(time, &program.apply(pair, &delta, &new), work)?;
    ensure!(are_same(&new, &pair.new)?, "{} did not make {} again", program.name(), pair.new.display());
    let bytes = std::fs::metadata(&delta).with_context(|| format!("reading {}", delta.display()))?.len() as f64;
    Ok(Outcome { bytes, make, apply })
}

/// Runs a command to its end under `time`.
fn cost(time: &Path, command: &Command, work: &Path) -> anyhow::Result<Cost> {
    let report = work.join("time");
    let mut timed = process::command(time);
    timed.args(["--format=%U %S %M", "--quiet", "--output"]).arg(&report);
    process::run(timed.arg(command.get_program()).args(command.get_args()))?;
    let text = std::fs::read_to_string(&report).context("reading what `time` measured")?;
    parse(&text).with_context(|| format!("`time` wrote {text:?}"))
}

/// Seconds of user and system time, and KiB of memory.
fn parse(text: &str) -> Option<Cost> {
    let numbers: Vec<f64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let [user, system, kib] = numbers[..] else { return None };
    // Less than `time` can tell still is something to divide by.
    Some(Cost { cpu_s: (user + system).max(0.005), memory_bytes: kib * 1024.0 })
}

fn are_same(one: &Path, other: &Path) -> anyhow::Result<bool> {
    let open = |path: &Path| File::open(path).with_context(|| format!("opening {}", path.display()));
    let (one, other) = (open(one)?, open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    for (one, other) in BufReader::new(one).bytes().zip(BufReader::new(other).bytes()) {
        if one? != other? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn write_row(table: &mut String, pair: &Pair, program: Program, outcome: &Outcome) {
    let mb = |cost: Cost| cost.memory_bytes / 1e6;
    let Outcome { bytes, make, apply } = *outcome;
    writeln!(
        table,
        "{:10} {:18} {bytes:>11} {:>9.2} {:>9.1} {:>9.2} {:>9.1}",
        pair.name,
        program.name(),
        make.cpu_s,
        mb(make),
        apply.cpu_s,
        mb(apply)
    )
    .expect("writing to a string does not fail");
}

/// What is compared: the figure's name, the other program, and the number taken of both.
type Comparison = (&'static str, Program, fn(&Outcome) -> f64);

const COMPARISONS: [Comparison; 8] = [
    ("delta_ratio_to_whole", Program::Whole, |outcome| outcome.bytes),
    ("delta_ratio_to_patch_from", Program::PatchFrom, |outcome| outcome.bytes),
    ("delta_ratio_to_xdelta3", Program::Xdelta3, |outcome| outcome.bytes),
    ("delta_ratio_to_bsdiff", Program::Bsdiff, |outcome| outcome.bytes),
    ("delta_make_cpu_ratio_to_bsdiff", Program::Bsdiff, |outcome| outcome.make.cpu_s),
    ("delta_make_memory_ratio_to_bsdiff", Program::Bsdiff, |outcome| outcome.make.memory_bytes),
    ("delta_apply_cpu_ratio_to_bspatch", Program::Bsdiff, |outcome| outcome.apply.cpu_s),
    ("delta_apply_memory_ratio_to_bspatch", Program::Bsdiff, |outcome| outcome.apply.memory_bytes),
];

/// Geometric means over the pairs, then each pair.
fn figures(pairs: &[Pair], outcomes: &[Vec<Outcome>]) -> Vec<Figure> {
    let of = |row: &[Outcome], program: Program| row[Program::ALL.iter().position(|p| *p == program).unwrap_or(0)];
    let bytes: Vec<f64> = outcomes.iter().map(|row| of(row, Program::Ours).bytes).collect();
    let mut figures = vec![Figure::new("delta_bytes", geometric_mean(&bytes), "B")];
    let mut single: Vec<Figure> = pairs
        .iter()
        .zip(&bytes)
        .map(|(pair, bytes)| Figure::new(&format!("delta_bytes_{}", pair.name), *bytes, "B"))
        .collect();
    for (name, program, number) in COMPARISONS {
        let ratio = |row: &Vec<Outcome>| number(&of(row, Program::Ours)) / number(&of(row, program));
        let ratios: Vec<f64> = outcomes.iter().map(ratio).collect();
        figures.push(Figure::new(name, geometric_mean(&ratios), "1"));
        let named = pairs.iter().zip(ratios);
        single.extend(named.map(|(pair, ratio)| Figure::new(&format!("{name}_{}", pair.name), ratio, "1")));
    }
    figures.extend(single);
    figures
}

fn geometric_mean(values: &[f64]) -> f64 {
    let sum: f64 = values.iter().map(|value| value.ln()).sum();
    (sum / values.len() as f64).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_time_says_is_read() {
        let cost = parse("1.50 0.25 2048\n").unwrap();
        assert!((cost.cpu_s - 1.75).abs() < 1e-9 && (cost.memory_bytes - 2_097_152.0).abs() < 1e-9);
        assert!(parse("Command exited with status 1\n").is_none());
    }

    #[test]
    fn ratios_are_averaged_so_that_their_order_does_not_matter() {
        assert!((geometric_mean(&[0.5, 2.0]) - 1.0).abs() < 1e-9);
        let cost = |cpu_s| Cost { cpu_s, memory_bytes: 1.0 };
        let outcome = |bytes| Outcome { bytes, make: cost(bytes), apply: cost(1.0) };
        let row: Vec<Outcome> = [1.0, 10.0, 8.0, 4.0, 2.0].map(outcome).into();
        let pair = pair_named("a");
        let figures = figures(&[pair], &[row]);
        let value = |name: &str| figures.iter().find(|figure| figure.figure == name).unwrap().value;
        assert!((value("delta_ratio_to_xdelta3") - 0.25).abs() < 1e-9);
        assert!((value("delta_make_cpu_ratio_to_bsdiff_a") - 0.5).abs() < 1e-9);
    }

    fn pair_named(name: &'static str) -> Pair {
        Pair { name, what: String::new(), old: PathBuf::new(), new: PathBuf::new() }
    }
}
