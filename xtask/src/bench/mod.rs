//! `cargo xtask bench`: how fast is Muster, and next to what?
//!
//! Every comparison runs on the same machine in the same run. Programs that are compared with are Debian's, started
//! in folders of their own and stopped afterwards.

mod agent;
mod checkin;
mod delta;
mod disk;
mod fleet;
mod folder;
mod nginx;
mod pairs;
mod postgresql;
mod proc;
mod server;
pub mod tls;
mod transitions;

use clap::{Args, ValueEnum};

use crate::{figure, process};

/// Measure the release build and print figures.
#[derive(Debug, Args)]
pub struct Bench {
    /// What to measure.
    #[arg(required = true)]
    names: Vec<Name>,
    /// Print one JSON line per figure.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// The agent's program and memory, idle and while it installs 1 GB.
    Agent,
    /// Polls that change nothing, next to nginx.
    Checkin,
    /// Deltas between real versions, next to zstd, xdelta3 and bsdiff.
    Delta,
    /// Connections with certificates, next to bare rustls; memory of idle ones; a crowd that comes back.
    Tls,
    /// Durable changes of state, next to the bare disk and to PostgreSQL.
    Transitions,
}

impl Bench {
    pub fn run(self) -> anyhow::Result<()> {
        if self.names.iter().any(|name| *name != Name::Delta) {
            process::run(&mut process::cargo(&["build", "--release", "--package", "muster"]))?;
        }
        if cfg!(debug_assertions) && self.names.contains(&Name::Tls) {
            // The clients and what is compared with run in this program, so it has to be as fast as the server.
            process::run(&mut process::cargo(&["build", "--release", "--package", "xtask"]))?;
            return process::become_program(process::command("target/release/xtask").args(std::env::args_os().skip(1)));
        }
        let mut figures = Vec::new();
        for name in self.names {
            figures.extend(match name {
                Name::Agent => agent::run()?,
                Name::Checkin => checkin::run()?,
                Name::Delta => delta::run()?,
                Name::Tls => tls::run()?,
                Name::Transitions => transitions::run()?,
            });
        }
        figure::print(&figures, self.json)
    }
}
