//! The project's routines: each is one word after `cargo xtask`.

mod arm64;
mod bench;
mod delta;
mod faults;
mod figure;
mod fuzz;
mod loader;
mod parts;
mod process;
mod security;
mod test;
mod tidy;
mod unpacked;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Muster's routines")]
struct Arguments {
    #[command(subcommand)]
    routine: Routine,
}

#[derive(Debug, Subcommand)]
enum Routine {
    /// Measure the release build and print figures.
    Bench(bench::Bench),
    /// Build Muster and show a fleet of simulated devices being updated.
    Demo(Demo),
    Test(test::Test),
    Faults(faults::Faults),
    Security(security::Security),
    Fuzz(fuzz::Fuzz),
    Tidy(tidy::Tidy),
    /// Build the agent for arm64 and run it in an emulator.
    Arm64,
    /// Make or apply one delta, to be measured.
    #[command(hide = true)]
    Delta(delta::Delta),
    #[command(hide = true)]
    BareTls(bench::tls::bare::BareTls),
    #[command(hide = true)]
    TlsStorm(bench::tls::storm::TlsStorm),
    /// Write docs/limits.md from the limits in the code.
    Limits,
}

#[derive(Debug, clap::Args)]
struct Demo {
    /// What `muster demo` gets, as --exit.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl Demo {
    fn run(self) -> anyhow::Result<()> {
        process::run(&mut process::cargo(&["build", "--package", "muster"]))?;
        process::become_program(process::command("target/debug/muster").arg("demo").args(self.arguments))
    }
}

fn main() -> ExitCode {
    let routine = Arguments::parse().routine;
    match run(routine) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(routine: Routine) -> anyhow::Result<()> {
    match routine {
        Routine::Demo(demo) => demo.run(),
        Routine::Test(test) => test.run(),
        Routine::Faults(faults) => faults.run(),
        Routine::Security(security) => security.run(),
        Routine::Fuzz(fuzz) => fuzz.run(),
        Routine::Tidy(tidy) => tidy.run(),
        Routine::Arm64 => arm64::check(),
        Routine::Delta(delta) => delta.run(),
        Routine::BareTls(bare) => bare.run(),
        Routine::TlsStorm(storm) => storm.run(),
        Routine::Limits => tidy::write_limits(),
        Routine::Bench(bench) => bench.run(),
    }
}
