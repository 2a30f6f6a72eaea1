//! `device run|reboot|logs` and `command show`: commands to one device.

use std::time::{Duration, Instant};

use anyhow::anyhow;
use clap::{Args, Subcommand};
use muster_wire::command::{Command, CommandCreate, CommandKind, CommandState};

use super::Here;
use crate::client::part;
use crate::exit::{Failed, Outcome};
use crate::output::{self, Format};
use crate::read;
use crate::show::word;

/// How often a command is asked for while it is waited for.
const ASK_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  muster command show 17
  muster command list sn-0001")]
pub enum OrderCommand {
    /// One command, with its output.
    Show { id: i64 },
    /// A device's commands, newest first.
    List {
        device: String,
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
}

/// Run a script that the device's own configuration allows.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster device run sn-0001 --script fix-clock -- --now
  muster device run sn-0001 --script fix-clock --detach")]
pub struct RunArgs {
    name: String,
    /// The script's name in the device's configuration.
    #[arg(long)]
    script: String,
    #[command(flatten)]
    wait: WaitArgs,
    /// Handed to the script.
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Restart the device.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster device reboot sn-0001
  muster device reboot sn-0001 --deadline 2h --detach")]
pub struct RebootArgs {
    name: String,
    #[command(flatten)]
    wait: WaitArgs,
}

/// Fetch the newest lines of the device's log.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster device logs sn-0001 --lines 200
  muster device logs sn-0001 --unit app.service")]
pub struct LogsArgs {
    name: String,
    /// Of this service only.
    #[arg(long)]
    unit: Option<String>,
    #[arg(long, default_value_t = 500)]
    lines: u32,
    #[command(flatten)]
    wait: WaitArgs,
}

#[derive(Debug, Args)]
pub struct WaitArgs {
    /// The device doesn't begin it later than this.
    #[arg(long, default_value = "1h", value_parser = read::duration)]
    deadline: Duration,
    /// Don't wait for its end.
    #[arg(long)]
    detach: bool,
}

pub fn run(here: &Here, args: RunArgs) -> Outcome<()> {
    let what = CommandKind::RunScript { script: args.script, arguments: args.arguments };
    give(here, &args.name, what, &args.wait)
}

pub fn reboot(here: &Here, args: &RebootArgs) -> Outcome<()> {
    give(here, &args.name, CommandKind::Reboot, &args.wait)
}

pub fn logs(here: &Here, args: LogsArgs) -> Outcome<()> {
    let what = CommandKind::CollectLogs { unit: args.unit, lines: Some(args.lines) };
    give(here, &args.name, what, &args.wait)
}

pub fn command(here: &Here, command: OrderCommand) -> Outcome<()> {
    match command {
        OrderCommand::Show { id } => {
            let found: Command = here.client.get(&format!("/commands/{id}"))?;
            output::one(here.format, &found)?;
            if here.format == Format::Table { print_output(&found) } else { Ok(()) }
        }
        OrderCommand::List { device, limit } => {
            let path = format!("/devices/{}/commands", part(&device));
            let commands: Vec<Command> = here.client.list(&path, None, Some(limit))?;
            output::rows(here.format, &commands)
        }
    }
}

fn give(here: &Here, device: &str, what: CommandKind, wait: &WaitArgs) -> Outcome<()> {
    let new = CommandCreate { what, deadline_s: Some(wait.deadline.as_secs()) };
    let given: Command = here.client.create(&format!("/devices/{}/commands", part(device)), &new)?;
    if wait.detach {
        return output::one(here.format, &given);
    }
    eprintln!("Command {} waits for {device}; it goes on if you stop waiting.", given.id);
    // The server gives up a minute after the deadline; what has begun may take longer.
    let until = Instant::now() + wait.deadline + Duration::from_secs(120);
    let ended = loop {
        let now: Command = here.client.get(&format!("/commands/{}", given.id))?;
        if !matches!(now.state, CommandState::Pending | CommandState::Sent | CommandState::Started) {
            break now;
        }
        if Instant::now() >= until {
            return Err(Failed::TimedOut(format!("command {} is still {}", now.id, word(&now.state))));
        }
        std::thread::sleep(ASK_EVERY);
    };
    if here.format == Format::Table {
        print_output(&ended)?
    } else {
        output::one(here.format, &ended)?
    }
    outcome(&ended)
}

fn outcome(ended: &Command) -> Outcome<()> {
    let (id, device) = (ended.id, &ended.device);
    match ended.state {
        CommandState::Succeeded => Ok(()),
        CommandState::Refused => {
            Err(Failed::NotAllowed(format!("{device} refused command {id}: its own configuration doesn't allow it")))
        }
        CommandState::Late | CommandState::Expired => {
            Err(Failed::TimedOut(format!("{device} did not take command {id} before its deadline")))
        }
        CommandState::Pending | CommandState::Sent | CommandState::Started | CommandState::Failed => {
            let code = ended.exit_code.map_or_else(String::new, |code| format!(" with exit code {code}"));
            Err(Failed::Other(anyhow!("command {id} failed on {device}{code}")))
        }
    }
}

/// Line by line, so that the device's control characters don't reach the terminal.
fn print_output(command: &Command) -> Outcome<()> {
    let lines = command.output.lines().map(|line| output::clean(line) + "\n");
    output::print(&lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_can_branch_on_how_a_command_ended() {
        let command = |state: &str| -> Command {
            serde_json::from_value(serde_json::json!({
                "id": 7, "device": "sn-1", "what": { "command": "reboot" }, "state": state, "exit_code": 3,
                "deadline": "2026-11-23T08:00:00Z", "created_at": "2026-11-23T07:00:00Z", "created_by": "account:ann",
                "changed_at": "2026-11-23T07:00:00Z"
            }))
            .unwrap()
        };
        assert!(outcome(&command("succeeded")).is_ok());
        for (state, code) in [("failed", 1), ("refused", 4), ("late", 7), ("expired", 7)] {
            assert_eq!(outcome(&command(state)).unwrap_err().code(), code, "{state}");
        }
    }
}
