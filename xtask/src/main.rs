//! The project's routines: each is one word after `cargo xtask`.

mod faults;
mod figure;
mod process;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Muster's routines")]
struct Arguments {
    #[command(subcommand)]
    routine: Routine,
}

#[derive(Debug, Subcommand)]
enum Routine {
    /// Build Muster and show a fleet of simulated devices being updated.
    Demo(Demo),
    Faults(faults::Faults),
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

fn main() -> anyhow::Result<()> {
    match Arguments::parse().routine {
        Routine::Demo(demo) => demo.run(),
        Routine::Faults(faults) => faults.run(),
    }
}
