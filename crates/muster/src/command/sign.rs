//! `release sign`: a release gets into a channel's signed document.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use muster_trust::tuf::make::{self, TargetPlan};
use muster_trust::tuf::statement::{self, SignedArtifact, SignedComponent, Statement};
use muster_vocab::Sha256;
use muster_wire::artifact::Artifact;
use muster_wire::metadata::Metadata;
use muster_wire::release::Release;

use super::Here;
use super::keys::signer::SignerArgs;
use super::keys::{self, ceremony};
use super::release::path;
use crate::client::part;
use crate::exit::{Failed, Outcome};
use crate::output;
use crate::read::duration;

/// Vouch for a release in a channel, with a key that is on no server.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster release sign gateway@1.1 --channel stable --key release.pem
  muster release sign gateway@1.1 --channel stable --to channel-stable.json   # signed on another machine:
  muster keys sign channel-stable.json --key release.pem
  muster keys publish channel-stable.json")]
pub struct SignArgs {
    /// name@version
    release: String,
    #[arg(long)]
    channel: String,
    #[command(flatten)]
    signer: SignerArgs,
    /// Write the document unsigned, for `muster keys sign`, and send nothing.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "signer", "pkcs11"])]
    to: Option<PathBuf>,
    /// Vouch for this release only, and for none that the channel had before: after its key was stolen.
    #[arg(long)]
    afresh: bool,
    /// Which release devices may not go back behind; one more than the highest if left out.
    #[arg(long)]
    counter: Option<u64>,
    /// How long devices believe the channel without another signature.
    #[arg(long, default_value = "180d", value_parser = duration)]
    life: Duration,
}

pub fn sign(here: &Here, args: &SignArgs) -> Outcome<()> {
    let found: Metadata = here.client.get("/metadata")?;
    let highest = found.roles.iter().map(|role| make::highest_counter(role.document.as_bytes())).max();
    let counter = args.counter.unwrap_or_else(|| highest.unwrap_or_default().saturating_add(1));
    let statement = statement(here, &args.release, counter)?;
    let role = statement::channel_role(&args.channel);
    let before = found.roles.iter().find(|known| known.role == role).map(|known| known.document.as_bytes());
    let place = statement::release_path(&args.channel, &statement.release, &statement.version);
    let plan = TargetPlan { bytes: statement.bytes(), custom: statement.custom() };
    let expires = ceremony::now()?.plus(args.life);
    let draft = make::next_channel((before, args.afresh), expires, (&place, &plan)).map_err(anyhow::Error::new)?;
    let text = String::from_utf8(statement.bytes()).map_err(|_| anyhow!("a statement is text"))?;
    eprintln!("What is signed, as counter {counter} of channel {}:", args.channel);
    output::print(&format!("{text}\n"))?;
    let document = draft.document(&[]);
    if let Some(file) = &args.to {
        keys::write(file, &document)?;
        return Ok(());
    }
    let signer = args.signer.open().map_err(|why| Failed::Usage(why.to_string()))?;
    let signed = keys::signed(&document, &signer).context("signing")?;
    keys::upload(here, &role, &signed)
}

fn statement(here: &Here, release: &str, counter: u64) -> Outcome<Statement> {
    let found: Release = here.client.get(&path(release)?)?;
    let mut components = Vec::new();
    for component in found.components {
        let mut artifacts = Vec::new();
        for artifact in component.artifacts {
            let known = artifact_of(here, artifact.digest)?;
            let file_name = artifact.name.unwrap_or(known.name);
            artifacts.push(SignedArtifact { file_name, size: known.size, digest: artifact.digest });
        }
        let (name, version, metadata) = (component.name, component.version, component.metadata);
        components.push(SignedComponent { name, version, metadata, artifacts });
    }
    Ok(Statement { release: found.name, version: found.version, counter, components })
}

fn artifact_of(here: &Here, digest: Sha256) -> Outcome<Artifact> {
    here.client.get(&format!("/artifacts/{}", part(&digest.to_string())))
}
