//! `secret …` and `master-key …`: what devices need and nobody else shall read.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;
use muster_vocab::limit;
use muster_wire::secret::{MasterKey, Secret, SecretPut};

use super::Here;
use super::kind::confirm;
use crate::client::part;
use crate::exit::{Failed, Outcome};
use crate::output;

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  pass show plant/db | muster secret set db-password
  muster secret set api-key --file api.key
  muster secret list

Templates of configurations name it: password = {{ secret[\"db-password\"] }}. Its value can't be read again by anybody;
a device gets it sealed for its own key (docs/secrets.md).")]
pub enum SecretCommand {
    /// Make a secret or give it a new value, from standard input or a file; a last line break is left out.
    Set {
        name: String,
        #[arg(long, short, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Names and versions.
    List,
    /// Delete a secret that no configuration uses.
    Delete {
        name: String,
        /// Don't ask.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  muster master-key show
  muster master-key rotate

The server's own key lies in master.key of its data folder. One that you keep (--master-key-file, --master-key-command)
changes like this: put the new key first and the old one on a line behind it, then rotate, then take the old one out.")]
pub enum MasterKeyCommand {
    /// What the key is called, and whether older ones still open.
    Show,
    /// Take up a new key and seal everything again, while the server runs.
    Rotate,
}

pub fn run(here: &Here, command: SecretCommand) -> Outcome<()> {
    match command {
        SecretCommand::Set { name, file } => {
            let value = value(file.as_deref())?;
            let saved: Secret = here.client.put(&format!("/secrets/{}", part(&name)), &SecretPut { value })?;
            output::one(here.format, &saved)
        }
        SecretCommand::List => {
            let all: Vec<Secret> = here.client.list("/secrets", None, None)?;
            output::rows(here.format, &all)
        }
        SecretCommand::Delete { name, yes } => {
            if !yes {
                confirm(&format!("Delete secret {name}? Its value is gone then."))?;
            }
            here.client.delete(&format!("/secrets/{}", part(&name)))?;
            eprintln!("Deleted {name}.");
            Ok(())
        }
    }
}

pub fn master_key(here: &Here, command: &MasterKeyCommand) -> Outcome<()> {
    match command {
        MasterKeyCommand::Show => output::one(here.format, &here.client.get::<MasterKey>("/master-key")?),
        MasterKeyCommand::Rotate => {
            let key: MasterKey = here.client.post("/master-key/rotate", &serde_json::json!({}))?;
            eprintln!("Everything is sealed with the new key.");
            output::one(here.format, &key)
        }
    }
}

fn value(file: Option<&std::path::Path>) -> Outcome<String> {
    let most = limit::SECRET_BYTES_MAX as u64 + 2;
    let mut text = String::new();
    match file {
        Some(path) => {
            let reading = || format!("reading {}", path.display());
            let file = std::fs::File::open(path).with_context(reading)?;
            file.take(most).read_to_string(&mut text).with_context(reading)?;
        }
        None => {
            let stdin = std::io::stdin();
            if stdin.is_terminal() {
                let how = "give the value on standard input or in a --file: what is typed here would be seen";
                return Err(Failed::Usage(how.into()));
            }
            stdin.lock().take(most).read_to_string(&mut text).context("reading the value")?;
        }
    }
    let value = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    Ok(value.to_owned())
}
