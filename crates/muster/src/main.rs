//! The program people start.

mod server;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "muster", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Server(server::Server),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Server(server) => server.run(),
    }
}
