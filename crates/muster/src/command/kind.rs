//! `get`, `describe`, `delete`: the same for every kind of thing.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use muster_wire::account::Account;
use muster_wire::action::{Action, Report};
use muster_wire::artifact::Artifact;
use muster_wire::audit::AuditRecord;
use muster_wire::channel::Channel;
use muster_wire::device::{Device, TimelineEntry, Why};
use muster_wire::release::Release;
use muster_wire::rollout::Rollout;
use muster_wire::token::Token;
use serde::de::DeserializeOwned;

use super::Here;
use super::rollout::waves_table;
use crate::client::part;
use crate::exit::{Failed, Outcome};
use crate::output::{self, Format, Row, clean};
use crate::show;

/// History lines that `describe` shows.
const DESCRIBED_ENTRIES: u32 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    #[value(alias = "device")]
    Devices,
    #[value(alias = "artifact")]
    Artifacts,
    #[value(alias = "release")]
    Releases,
    #[value(alias = "channel")]
    Channels,
    #[value(alias = "rollout")]
    Rollouts,
    #[value(alias = "action")]
    Actions,
    #[value(alias = "token")]
    Tokens,
    #[value(alias = "account")]
    Accounts,
    Audit,
}

impl Kind {
    fn path(self) -> &'static str {
        match self {
            Self::Devices => "/devices",
            Self::Artifacts => "/artifacts",
            Self::Releases => "/releases",
            Self::Channels => "/channels",
            Self::Rollouts => "/rollouts",
            Self::Actions => "/actions",
            Self::Tokens => "/tokens",
            Self::Accounts => "/accounts",
            Self::Audit => "/audit",
        }
    }

    fn path_of(self, name: &str) -> Outcome<String> {
        if self != Self::Releases {
            return Ok(format!("{}/{}", self.path(), part(name)));
        }
        match name.split_once('@') {
            Some((name, version)) => Ok(format!("/releases/{}/{}", part(name), part(version))),
            None => Err(Failed::Usage(format!("{name:?} is no release: write name@version"))),
        }
    }
}

/// Show one thing or many.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster get devices --select 'label.site == berlin and last_seen < -2d'
  muster get rollout r-12 -o yaml
  muster get devices -o name --all")]
pub struct GetArgs {
    kind: Kind,
    /// One by its name or id; all that --select matches if left out.
    name: Option<String>,
    /// Which: see docs/selectors.md.
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    select: Option<String>,
    /// At most this many.
    #[arg(long, default_value_t = 100, conflicts_with = "all")]
    limit: u32,
    /// Every one, however many.
    #[arg(long)]
    all: bool,
}

pub fn get(here: &Here, args: &GetArgs) -> Outcome<()> {
    match args.kind {
        Kind::Devices => get_of::<Device>(here, args),
        Kind::Artifacts => get_of::<Artifact>(here, args),
        Kind::Releases => get_of::<Release>(here, args),
        Kind::Channels => get_of::<Channel>(here, args),
        Kind::Rollouts => get_of::<Rollout>(here, args),
        Kind::Actions => get_of::<Action>(here, args),
        Kind::Tokens => get_of::<Token>(here, args),
        Kind::Accounts => get_of::<Account>(here, args),
        Kind::Audit => get_of::<AuditRecord>(here, args),
    }
}

fn get_of<T: Row + DeserializeOwned>(here: &Here, args: &GetArgs) -> Outcome<()> {
    if let Some(name) = &args.name {
        return output::one(here.format, &one::<T>(here, args.kind, name)?);
    }
    let limit = (!args.all).then_some(args.limit);
    let rows: Vec<T> = here.client.list(args.kind.path(), args.select.as_deref(), limit)?;
    if limit.is_some_and(|limit| rows.len() >= limit as usize) {
        eprintln!("The first {}: there may be more, see --limit and --all.", rows.len());
    }
    output::rows(here.format, &rows)
}

/// Tokens, accounts and audit records have no page of their own, so their list is searched.
fn one<T: Row + DeserializeOwned>(here: &Here, kind: Kind, name: &str) -> Outcome<T> {
    if !matches!(kind, Kind::Tokens | Kind::Accounts | Kind::Audit) {
        return here.client.get(&kind.path_of(name)?);
    }
    let rows: Vec<T> = here.client.list(kind.path(), None, None)?;
    let found = rows.into_iter().find(|row| row.name() == name);
    found.ok_or_else(|| Failed::NotFound(format!("no {name:?}")))
}

/// Tell all about one thing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster describe device sn-0001
  muster describe rollout r-12")]
pub struct DescribeArgs {
    kind: Kind,
    name: String,
}

pub fn describe(here: &Here, args: &DescribeArgs) -> Outcome<()> {
    let format = if here.format == Format::Table { Format::Yaml } else { here.format };
    match args.kind {
        Kind::Tokens => return output::one(format, &one::<Token>(here, args.kind, &args.name)?),
        Kind::Accounts => return output::one(format, &one::<Account>(here, args.kind, &args.name)?),
        Kind::Audit => return output::one(format, &one::<AuditRecord>(here, args.kind, &args.name)?),
        Kind::Devices | Kind::Artifacts | Kind::Releases | Kind::Channels | Kind::Rollouts | Kind::Actions => {}
    }
    let path = args.kind.path_of(&args.name)?;
    if here.format != Format::Table {
        return output::document(here.format, &here.client.get::<serde_json::Value>(&path)?);
    }
    match args.kind {
        Kind::Devices => describe_device(here, &path),
        Kind::Rollouts => describe_rollout(here, &path),
        Kind::Actions => {
            let action: Action = here.client.get(&path)?;
            output::one(Format::Wide, &action)?;
            let reports: Vec<Report> = here.client.list(&format!("{path}/reports"), None, Some(DESCRIBED_ENTRIES))?;
            output::print("\n")?;
            output::rows(Format::Table, &reports)
        }
        Kind::Artifacts | Kind::Releases | Kind::Channels | Kind::Tokens | Kind::Accounts | Kind::Audit => {
            output::document(Format::Yaml, &here.client.get::<serde_json::Value>(&path)?)
        }
    }
}

fn describe_device(here: &Here, path: &str) -> Outcome<()> {
    let device: Device = here.client.get(path)?;
    let why: Why = here.client.get(&format!("{path}/why"))?;
    let timeline: Vec<TimelineEntry> = here.client.list(&format!("{path}/timeline"), None, Some(DESCRIBED_ENTRIES))?;
    let mut text = format!("{} ({})\n", device.name, show::word(&device.state));
    text += &format!("  release     {}\n", device.release.as_deref().unwrap_or("-"));
    text += &format!("  last seen   {}\n", device.last_seen.map_or_else(|| "never".into(), show::time));
    text += &format!("  polls       every {} s\n", device.poll_interval_s);
    for (title, map) in [("Labels", &device.labels), ("Attributes", &device.attributes)] {
        text += &format!("{title}\n");
        let lines = map.iter().map(|(key, value)| format!("  {key} = {}\n", clean(value)));
        text += &if map.is_empty() { "  none\n".to_owned() } else { lines.collect::<String>() };
    }
    text += "Why\n";
    text += &why.reasons.iter().map(|reason| format!("  {}\n", clean(&reason.text))).collect::<String>();
    output::print(&text)?;
    output::print("Timeline\n")?;
    output::rows(Format::Table, &timeline)
}

fn describe_rollout(here: &Here, path: &str) -> Outcome<()> {
    let rollout: Rollout = here.client.get(path)?;
    let mut text = format!("{} {} ({})\n  {}\n", rollout.id, rollout.name, show::word(&rollout.state), rollout.text);
    text += &format!("  release     {}\n  select      {}\n", rollout.release, rollout.select);
    text += &format!("  by          {} at {}\n", rollout.created_by, show::time(rollout.created_at));
    if let Some(window) = &rollout.window {
        text += &format!("  window      {window}\n");
    }
    if rollout.approval {
        text += &format!("  approval    {}\n", rollout.approved_by.as_deref().unwrap_or("waited for"));
    }
    output::print(&text)?;
    output::print(&waves_table(&rollout))
}

/// Delete one thing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster delete device sn-0001
  muster delete token t-3 --yes")]
pub struct DeleteArgs {
    kind: Kind,
    name: String,
    /// Don't ask.
    #[arg(long)]
    yes: bool,
}

pub fn delete(here: &Here, args: &DeleteArgs) -> Outcome<()> {
    if matches!(args.kind, Kind::Actions | Kind::Audit) {
        return Err(Failed::Usage("actions and audit records are history and can't be deleted".into()));
    }
    if !args.yes {
        confirm(&format!("Delete {}?", args.name))?;
    }
    here.client.delete(&args.kind.path_of(&args.name)?)?;
    eprintln!("Deleted {}.", args.name);
    Ok(())
}

/// Asks a person; a program has to say --yes.
pub fn confirm(question: &str) -> Outcome<()> {
    if !std::io::stdin().is_terminal() {
        return Err(Failed::Usage(format!("{question} Say --yes to do it without being asked.")));
    }
    eprint!("{question} [y/N] ");
    std::io::stderr().flush().context("asking")?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("reading the answer")?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failed::Usage("nothing was changed".into())),
    }
}
