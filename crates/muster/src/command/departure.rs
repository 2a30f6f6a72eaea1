//! `device decommission`, `device transfer`: how does a device leave?

use clap::Args;
use muster_wire::departure::{Decommission, DecommissionOrder, Decommissioned, TransferOrder};
use muster_wire::device::Device;

use super::Here;
use super::kind::confirm;
use crate::client::part;
use crate::context;
use crate::exit::{Failed, Outcome};
use crate::output::{self, Format};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster device decommission sn-0001 --wipe-defaults --reason 'sold'
  muster device decommission sn-0001 --wipe /data/customer --wipe /var/log/app --yes
  muster device decommission sn-0001 --show
  muster device decommission sn-0001 --force --yes     # it will never come back: don't wait for it

From now on its credentials open nothing but this order. Its agent destroys what you name and its own file allows
([wipe] paths), then its key and state, and says so. Other clients can't be told; what lies on them stays there.")]
pub struct DecommissionArgs {
    name: String,
    /// A file or folder on the device; repeat for more.
    #[arg(long, value_name = "PATH")]
    wipe: Vec<String>,
    /// All that the device's own file names.
    #[arg(long)]
    wipe_defaults: bool,
    #[arg(long, default_value = "")]
    reason: String,
    /// Don't wait for the device.
    #[arg(long)]
    force: bool,
    /// How far it has come.
    #[arg(long, conflicts_with_all = ["wipe", "wipe_defaults", "force"])]
    show: bool,
    /// Don't ask.
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster login https://muster.example.com --project plant-b     # once: you need the right in both projects
  muster device transfer sn-0001 --to plant-b
  MUSTER_TO_TOKEN=muster_… muster device transfer sn-0001 --to plant-b --drop-labels

It keeps its key. Its open actions end, its history stays here, and it begins anew there.")]
pub struct TransferArgs {
    name: String,
    /// The project.
    #[arg(long, value_name = "PROJECT")]
    to: String,
    /// By default its labels go along.
    #[arg(long)]
    drop_labels: bool,
    /// Don't ask.
    #[arg(long)]
    yes: bool,
}

pub fn decommission(here: &Here, args: DecommissionArgs) -> Outcome<()> {
    let DecommissionArgs { name, wipe, wipe_defaults, reason, force, show, yes } = args;
    let path = format!("/devices/{}/decommission", part(&name));
    let format = if here.format == Format::Table { Format::Yaml } else { here.format };
    if show {
        return output::document(format, &here.client.get::<Decommission>(&path)?);
    }
    if !yes {
        confirm(&format!(
            "Void all credentials of {name} and have it destroy its key and {}?",
            data(&wipe, wipe_defaults)
        ))?;
    }
    let done: Decommissioned = here.client.post(&path, &DecommissionOrder { wipe, wipe_defaults, reason, force })?;
    if here.format != Format::Table {
        return output::document(here.format, &done);
    }
    match done.waits_for_device {
        true => eprintln!(
            "{name} gets its order at its next poll; `muster device decommission {name} --show` tells how far it is."
        ),
        false => {
            eprintln!("{name} is retired. Nobody could tell it to destroy anything: what lies on it is still there.")
        }
    }
    Ok(())
}

fn data(wipe: &[String], defaults: bool) -> String {
    match (wipe.is_empty(), defaults) {
        (true, false) => "no data".to_owned(),
        (true, true) => "all data that its own file names".to_owned(),
        (false, false) => wipe.join(", "),
        (false, true) => format!("{}, and all data that its own file names", wipe.join(", ")),
    }
}

pub fn transfer(here: &Here, args: TransferArgs) -> Outcome<()> {
    let TransferArgs { name, to, drop_labels, yes } = args;
    let token = match std::env::var("MUSTER_TO_TOKEN").ok().filter(|token| !token.is_empty()) {
        Some(token) => token,
        None => token_in(here, &to)?,
    };
    if !yes {
        confirm(&format!("Hand {name} over to project {to}, with {} labels?", if drop_labels { "no" } else { "its" }))?;
    }
    let order = TransferOrder { to: to.clone(), token, drop_labels };
    let device: Device = here.client.post(&format!("/devices/{}/transfer", part(&name)), &order)?;
    eprintln!(
        "{name} belongs to {to}. Muster's agent follows at its next poll; point other clients to the new tenant."
    );
    output::one(here.format, &device)
}

/// Of a context of the same server: an account belongs to one project.
fn token_in(here: &Here, project: &str) -> Outcome<String> {
    let contexts = context::load(&context::path()?)?;
    let found = contexts.contexts.into_values();
    let mut fits = found.filter(|found| found.project == project && found.server == here.context.server);
    fits.next().map(|found| found.token).ok_or_else(|| {
        Failed::NotAllowed(format!(
            "no context for project {project} on this server: log in there (muster login … --project {project}), or set \
             MUSTER_TO_TOKEN"
        ))
    })
}
