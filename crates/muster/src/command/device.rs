//! `device …`, `label`, `action …`.

use clap::{Args, Subcommand};
use muster_wire::action::{Action, ActionCancel, Report};
use muster_wire::configuration::{DeviceConfiguration, Twin};
use muster_wire::device::{
    AutoConfirmSet, Device, DeviceBulk, DeviceBulkDone, DeviceCreate, DeviceCreated, DevicePatch, DeviceToken,
    TimelineEntry,
};
use serde_json::json;

use super::Here;
use super::configuration::file_text;
use super::departure::{self, DecommissionArgs, TransferArgs};
use super::kind::confirm;
use super::order::{self, LogsArgs, RebootArgs, RunArgs};
use super::remote::{self, ForwardArgs, ShellArgs};
use crate::client::part;
use crate::exit::{Failed, Outcome};
use crate::output::{self, Format};
use crate::read;
use crate::show::{time, word};

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  muster device accept --select 'attribute.hw == box-2'
  muster device create sn-0001 --label site=berlin
  muster device timeline sn-0001
  muster device configuration sn-0001
  muster device logs sn-0001 --unit app.service")]
pub enum DeviceCommand {
    /// Let waiting devices in.
    Accept(WhichArgs),
    /// Turn waiting devices away.
    Reject(WhichArgs),
    /// Add a device; prints its token, which is shown only once.
    Create {
        name: String,
        #[arg(long, value_name = "KEY=VALUE", value_parser = read::label)]
        label: Vec<(String, Option<String>)>,
    },
    /// Take away what it proves itself by: its certificate and its token. It may join again.
    Revoke {
        name: String,
        /// Don't ask.
        #[arg(long)]
        yes: bool,
    },
    /// Make a new token; the old one stops working.
    Token {
        name: String,
    },
    /// What happened to it, newest first.
    Timeline {
        name: String,
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// How it stands with its configuration.
    Configuration {
        name: String,
    },
    /// What it shall have and what it has: release, components, configuration.
    Twin {
        name: String,
    },
    /// Let it out of quarantine, after you have looked at why it is there (muster why device NAME).
    Release {
        name: String,
    },
    /// Void its credentials, and have it destroy its key and the data named.
    Decommission(DecommissionArgs),
    /// Hand it over to another project.
    Transfer(TransferArgs),
    Run(RunArgs),
    Reboot(RebootArgs),
    Logs(LogsArgs),
    Shell(ShellArgs),
    Forward(ForwardArgs),
    /// Ask for its attributes at its next poll.
    RequestAttributes {
        name: String,
    },
    /// Give or take back a standing consent to its updates.
    AutoConfirm {
        name: String,
        #[arg(value_enum)]
        switch: Switch,
        #[arg(long, default_value = "")]
        remark: String,
    },
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum Switch {
    On,
    Off,
}

#[derive(Debug, Args)]
pub struct WhichArgs {
    #[arg(required_unless_present = "select", conflicts_with = "select")]
    name: Option<String>,
    /// All waiting devices that match.
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    select: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum LabelCommand {
    /// Set labels (key=value) and take them away (key-).
    #[command(after_help = "Examples:
  muster label device sn-0001 site=berlin ring-
  muster label device --select 'name like lab-*' ring=lab")]
    Device {
        /// The device's name, unless --select is given; then labels.
        #[arg(required = true)]
        words: Vec<String>,
        /// Every device that matches.
        #[arg(long, short = 'l', value_name = "SELECTOR")]
        select: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum ActionCommand {
    /// Stop one device's part of a rollout.
    Cancel {
        id: i64,
        /// End it at once without waiting for the device to agree.
        #[arg(long)]
        force: bool,
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Turn a soft action into a forced one.
    Force { id: i64 },
    /// What the device said about it.
    Reports { id: i64 },
}

pub fn run(here: &Here, command: DeviceCommand) -> Outcome<()> {
    match command {
        DeviceCommand::Accept(which) => decide(here, which, "accept"),
        DeviceCommand::Reject(which) => decide(here, which, "reject"),
        DeviceCommand::Create { name, label } => create(here, name, &label),
        DeviceCommand::Revoke { name, yes } => {
            if !yes {
                confirm(&format!("Refuse {name} from its next request on, until it joins again?"))?;
            }
            let _: Device = here.client.post(&format!("/devices/{}/revoke", part(&name)), &json!({}))?;
            eprintln!("{name} is refused from now on.");
            Ok(())
        }
        DeviceCommand::Token { name } => {
            let made: DeviceToken = here.client.post(&format!("/devices/{}/token", part(&name)), &json!({}))?;
            output::print(&format!("{}\n", made.token))
        }
        DeviceCommand::Timeline { name, limit } => {
            let path = format!("/devices/{}/timeline", part(&name));
            let entries: Vec<TimelineEntry> = here.client.list(&path, None, Some(limit))?;
            output::rows(here.format, &entries)
        }
        DeviceCommand::Configuration { name } => standing(here, &name),
        DeviceCommand::Twin { name } => {
            let format = if here.format == Format::Table { Format::Yaml } else { here.format };
            let twin: Twin = here.client.get(&format!("/devices/{}/twin", part(&name)))?;
            output::document(format, &twin)
        }
        DeviceCommand::Release { name } => {
            let device: Device = here.client.post(&format!("/devices/{}/release", part(&name)), &json!({}))?;
            output::one(here.format, &device)
        }
        DeviceCommand::Decommission(args) => departure::decommission(here, args),
        DeviceCommand::Transfer(args) => departure::transfer(here, args),
        DeviceCommand::Run(args) => order::run(here, args),
        DeviceCommand::Reboot(args) => order::reboot(here, &args),
        DeviceCommand::Logs(args) => order::logs(here, args),
        DeviceCommand::Shell(args) => remote::shell(here, &args),
        DeviceCommand::Forward(args) => remote::forward(here, &args),
        DeviceCommand::RequestAttributes { name } => {
            here.client.post_nothing(&format!("/devices/{}/request-attributes", part(&name)), &json!({}))?;
            eprintln!("{name} is asked at its next poll.");
            Ok(())
        }
        DeviceCommand::AutoConfirm { name, switch, remark } => {
            let path = format!("/devices/{}/auto-confirm", part(&name));
            match switch {
                Switch::On => here.client.put_nothing(&path, &AutoConfirmSet { initiator: String::new(), remark }),
                Switch::Off => here.client.delete(&path),
            }
        }
    }
}

fn standing(here: &Here, name: &str) -> Outcome<()> {
    let found: DeviceConfiguration = here.client.get(&format!("/devices/{}/configuration", part(name)))?;
    if here.format != Format::Table {
        return output::document(here.format, &found);
    }
    let reported = found.reported.map_or_else(|| "nothing".to_owned(), |version| format!("version {version}"));
    let mut text = format!("{name}: {}\n  desired     version {}\n", word(&found.state), found.desired);
    text += &format!(
        "  reported    {reported}{}\n",
        found.reported_at.map(|at| format!(" at {}", time(at))).unwrap_or_default()
    );
    for line in found.error.iter().chain(&found.messages) {
        text += &format!("  {}\n", output::clean(line));
    }
    text += &found.files.iter().map(file_text).collect::<String>();
    output::print(&text)
}

fn decide(here: &Here, which: WhichArgs, verb: &str) -> Outcome<()> {
    if let Some(name) = which.name {
        let device: Device = here.client.post(&format!("/devices/{}/{verb}", part(&name)), &json!({}))?;
        return output::one(here.format, &device);
    }
    let select = which.select.unwrap_or_default();
    let done: DeviceBulkDone = here.client.post(&format!("/devices:{verb}"), &DeviceBulk { select })?;
    if here.format == Format::Json {
        return output::document(here.format, &done);
    }
    eprintln!("{verb}ed {} devices.", done.changed);
    Ok(())
}

fn create(here: &Here, name: String, labels: &[(String, Option<String>)]) -> Outcome<()> {
    let labels = labels.iter().filter_map(|(key, value)| Some((key.clone(), value.clone()?))).collect();
    let made: DeviceCreated = here.client.post("/devices", &DeviceCreate { name, labels })?;
    if here.format != Format::Table {
        return output::document(here.format, &made);
    }
    eprintln!("Added {}. Its token is shown only now:", made.device.name);
    output::print(&format!("{}\n", made.token))
}

pub fn label(here: &Here, command: LabelCommand) -> Outcome<()> {
    let LabelCommand::Device { words, select } = command;
    let (names, labels) = match &select {
        Some(select) => {
            let devices: Vec<Device> = here.client.list("/devices", Some(select), None)?;
            (devices.into_iter().map(|device| device.name).collect(), words.as_slice())
        }
        None => (vec![words[0].clone()], &words[1..]),
    };
    if labels.is_empty() {
        return Err(Failed::Usage("say which labels: key=value to set, key- to take away".into()));
    }
    let pairs = labels.iter().map(|text| read::label(text)).collect::<Result<Vec<_>, _>>().map_err(Failed::Usage)?;
    let patch = DevicePatch { labels: read::labels(&pairs) };
    let mut changed = Vec::new();
    for name in names {
        changed.push(here.client.patch::<Device>(&format!("/devices/{}", part(&name)), &patch)?);
    }
    eprintln!("Labelled {} devices.", changed.len());
    output::rows(here.format, &changed)
}

pub fn action(here: &Here, command: ActionCommand) -> Outcome<()> {
    match command {
        ActionCommand::Cancel { id, force, reason } => {
            let action: Action = here.client.post(&format!("/actions/{id}/cancel"), &ActionCancel { force, reason })?;
            output::one(here.format, &action)
        }
        ActionCommand::Force { id } => {
            let action: Action = here.client.post(&format!("/actions/{id}/force"), &json!({}))?;
            output::one(here.format, &action)
        }
        ActionCommand::Reports { id } => {
            let reports: Vec<Report> = here.client.list(&format!("/actions/{id}/reports"), None, None)?;
            output::rows(here.format, &reports)
        }
    }
}
