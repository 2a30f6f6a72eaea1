//! `release create|publish|yank`, `channel set`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use muster_vocab::Sha256;
use muster_wire::channel::{Channel, ChannelPut};
use muster_wire::release::{Component, ComponentArtifact, Release, ReleaseCreate, Yank};
use serde_json::json;

use super::attestation::{self, AttachArgs, PolicyCommand};
use super::sign::{self, SignArgs};
use super::{Here, artifact};
use crate::client::part;
use crate::exit::{Failed, Outcome};
use crate::output;
use crate::read::{self, ComponentArgument};

#[derive(Debug, Subcommand)]
pub enum ReleaseCommand {
    Create(CreateArgs),
    /// From now on rollouts and channels can use it, and nothing in it can change.
    Publish {
        /// name@version
        release: String,
    },
    Sign(SignArgs),
    Attach(AttachArgs),
    /// Take a document off a release again.
    Detach {
        /// name@version
        release: String,
        /// Of the document.
        digest: Sha256,
    },
    /// What is said of a release, and by whom.
    Attestations {
        /// name@version
        release: String,
    },
    /// What a release needs before it is published.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// No new rollout can use it; devices that run it keep it.
    Yank {
        /// name@version
        release: String,
        /// Why; kept in the audit log.
        #[arg(long)]
        reason: String,
    },
}

/// Make a release from files or artifacts.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster release create gateway 1.1 --artifact image-1.1.swu --publish
  muster release create gateway 1.2 --component os=5.4:os.swu --component app/web=2.0:web.tar --notes 'new UI'")]
pub struct CreateArgs {
    name: String,
    version: String,
    /// Short for --component os=VERSION:FILE.
    #[arg(long, value_name = "FILE")]
    artifact: Vec<PathBuf>,
    /// NAME=VERSION:FILE_OR_DIGEST[,…]; files are uploaded.
    #[arg(long, value_name = "SPEC", value_parser = read::component)]
    component: Vec<ComponentArgument>,
    /// COMPONENT.KEY=VALUE, handed to the device's installer.
    #[arg(long, value_name = "PAIR", value_parser = read::metadata)]
    metadata: Vec<(String, String, String)>,
    #[arg(long, default_value = "")]
    notes: String,
    /// Publish it at once.
    #[arg(long)]
    publish: bool,
}

#[derive(Debug, Subcommand)]
pub enum ChannelCommand {
    /// Point a channel at a published release; makes the channel if it is new.
    Set {
        name: String,
        /// name@version
        release: String,
    },
}

pub fn run(here: &Here, command: ReleaseCommand) -> Outcome<()> {
    let release: Release = match command {
        ReleaseCommand::Create(args) => create(here, args)?,
        ReleaseCommand::Sign(args) => return sign::sign(here, &args),
        ReleaseCommand::Attach(args) => return attestation::attach(here, &args),
        ReleaseCommand::Detach { release, digest } => return attestation::detach(here, &release, digest),
        ReleaseCommand::Attestations { release } => return attestation::list(here, &release),
        ReleaseCommand::Policy(command) => return attestation::policy(here, command),
        ReleaseCommand::Publish { release } => here.client.post(&format!("{}/publish", path(&release)?), &json!({}))?,
        ReleaseCommand::Yank { release, reason } => {
            here.client.post(&format!("{}/yank", path(&release)?), &Yank { reason })?
        }
    };
    output::one(here.format, &release)
}

pub fn path(release: &str) -> Outcome<String> {
    match release.split_once('@') {
        Some((name, version)) => Ok(format!("/releases/{}/{}", part(name), part(version))),
        None => Err(Failed::Usage(format!("{release:?} is no release: write name@version"))),
    }
}

fn create(here: &Here, args: CreateArgs) -> Outcome<Release> {
    let mut wanted = args.component;
    if !args.artifact.is_empty() {
        let sources = args.artifact.iter().map(|path| path.display().to_string()).collect();
        wanted.push(ComponentArgument { name: "os".into(), version: args.version.clone(), sources });
    }
    if wanted.is_empty() {
        return Err(Failed::Usage("say what is in it: --artifact FILE, or --component NAME=VERSION:FILE".into()));
    }
    let mut components = Vec::new();
    for one in wanted {
        let mut artifacts = Vec::new();
        for source in &one.sources {
            artifacts.push(ComponentArtifact { digest: digest_of(here, source)?, name: None });
        }
        let metadata: BTreeMap<String, String> = args
            .metadata
            .iter()
            .filter(|(component, _, _)| *component == one.name)
            .map(|(_, key, value)| (key.clone(), value.clone()))
            .collect();
        components.push(Component { name: one.name, version: one.version, artifacts, metadata });
    }
    if let Some((component, ..)) = args.metadata.iter().find(|(name, ..)| !components.iter().any(|c| c.name == *name)) {
        return Err(Failed::Usage(format!("--metadata names the component {component:?}, which the release has not")));
    }
    let new = ReleaseCreate { name: args.name, version: args.version, components, notes: args.notes };
    let release: Release = here.client.create("/releases", &new)?;
    if !args.publish {
        return Ok(release);
    }
    let path = path(&format!("{}@{}", release.name, release.version))?;
    here.client.post(&format!("{path}/publish"), &json!({}))
}

/// A digest, or a file that is uploaded.
fn digest_of(here: &Here, source: &str) -> Outcome<Sha256> {
    match source.parse() {
        Ok(digest) => Ok(digest),
        Err(_) => Ok(artifact::push(here, Path::new(source), None)?.digest),
    }
}

pub fn channel(here: &Here, command: ChannelCommand) -> Outcome<()> {
    let ChannelCommand::Set { name, release } = command;
    let channel: Channel = here.client.put(&format!("/channels/{}", part(&name)), &ChannelPut { release })?;
    output::one(here.format, &channel)
}
