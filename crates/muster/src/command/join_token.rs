//! `join-token …`: what lets devices of Muster's own agent in.

use std::time::Duration;

use clap::Subcommand;
use muster_wire::join_token::{JoinToken, JoinTokenCreate, JoinTokenCreated};

use super::Here;
use super::kind::confirm;
use crate::client::part;
use crate::exit::{Failed, Outcome};
use crate::output::{self, Format};
use crate::read;

#[derive(Debug, Subcommand)]
pub enum JoinTokenCommand {
    /// Make a join token; prints its secret, which is shown only once.
    #[command(after_help = "Examples:
  muster join-token create line-3 --uses 500 --life 7d --label site=berlin
  muster join-token create lab --life 90d")]
    Create {
        name: String,
        /// Devices it lets in; any number if left out.
        #[arg(long)]
        uses: Option<u64>,
        /// How long it works.
        #[arg(long, default_value = "7d", value_parser = read::duration)]
        life: Duration,
        /// Given to each device that comes in with it; repeat for more.
        #[arg(long, value_name = "KEY=VALUE", value_parser = read::label)]
        label: Vec<(String, Option<String>)>,
    },
    /// All of them, with how often they were used; never their secrets.
    List,
    /// Nobody comes in with it any more; devices that did stay.
    Delete {
        name: String,
        /// Don't ask.
        #[arg(long)]
        yes: bool,
    },
}

pub fn run(here: &Here, command: JoinTokenCommand) -> Outcome<()> {
    match command {
        JoinTokenCommand::Create { name, uses, life, label } => create(here, name, (uses, life), &label),
        JoinTokenCommand::List => {
            let rows: Vec<JoinToken> = here.client.list("/join-tokens", None, None)?;
            output::rows(here.format, &rows)
        }
        JoinTokenCommand::Delete { name, yes } => {
            if !yes {
                confirm(&format!("Delete join token {name}?"))?;
            }
            here.client.delete(&format!("/join-tokens/{}", part(&name)))?;
            eprintln!("Deleted {name}.");
            Ok(())
        }
    }
}

fn create(
    here: &Here,
    name: String,
    bounds: (Option<u64>, Duration),
    labels: &[(String, Option<String>)],
) -> Outcome<()> {
    let (uses, life) = bounds;
    if let Some((key, _)) = labels.iter().find(|(_, value)| value.is_none()) {
        return Err(Failed::Usage(format!("{key}-: a new token has no labels to take away; write {key}=VALUE")));
    }
    let labels = labels.iter().filter_map(|(key, value)| Some((key.clone(), value.clone()?))).collect();
    let new = JoinTokenCreate { name, uses, life_s: life.as_secs(), labels };
    let made: JoinTokenCreated = here.client.post("/join-tokens", &new)?;
    if here.format != Format::Table {
        return output::document(here.format, &made);
    }
    eprintln!("Made {}. Its secret is shown only now; devices join with it:", made.join_token.name);
    output::print(&format!("{}\n", made.secret))
}
