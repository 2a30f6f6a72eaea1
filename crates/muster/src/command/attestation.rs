//! `release attach|detach|attestations|policy`, `keys ring`: what is said of releases, by whom, and what is demanded.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use muster_vocab::Sha256;
use muster_wire::Page;
use muster_wire::attestation::{Attestation, AttestationCreate, ReleasePolicy, RingKey, RingKeyCreate};

use super::{Here, artifact, release};
use crate::client::part;
use crate::exit::{Failed, Outcome};
use crate::output;

/// Attach a bill of materials or provenance.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster release attach gateway@1.1 sbom.cdx.json
  muster release attach gateway@1.1 provenance.intoto.json
  muster release attach gateway@1.1 sbom.spdx.json --artifact sha256:9f86d0…

CycloneDX and SPDX JSON, as they are or in a DSSE envelope; SLSA provenance in an envelope. An envelope says itself what it
is about, and is signed by a key of the ring (muster keys ring add).")]
pub struct AttachArgs {
    /// name@version
    release: String,
    file: PathBuf,
    /// What it is about, if it doesn't say so and the release has several artifacts.
    #[arg(long, value_name = "DIGEST")]
    artifact: Option<Sha256>,
}

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  muster release policy show
  muster release policy set --sbom --provenance --builder https://ci.example/runner
  muster release policy set            nothing is demanded any more")]
pub enum PolicyCommand {
    /// What releases need before they are published.
    Show,
    /// Say what they need from now on; what is not named is not needed.
    Set {
        /// A bill of materials of each artifact.
        #[arg(long)]
        sbom: bool,
        /// It has to be signed by a key of the ring.
        #[arg(long)]
        signed_sbom: bool,
        /// Provenance of each artifact, signed by a key of the ring.
        #[arg(long)]
        provenance: bool,
        /// Who may have built it; repeat for more.
        #[arg(long, value_name = "ID")]
        builder: Vec<String>,
        /// Images of SWUpdate, RAUC and Mender and archives of containers (OCI) are signed by a key of the ring.
        #[arg(long)]
        inner_signature: bool,
    },
}

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  muster keys ring add ci ci.pub
  muster keys ring list")]
pub enum RingCommand {
    /// Believe a key's signatures on bills of materials, provenance and images, or a certificate's on images.
    Add {
        name: String,
        /// PEM as `openssl pkey -pubout` writes it, a certificate in PEM, or a file with 64 hex digits.
        file: PathBuf,
    },
    /// Whose signatures count.
    List,
    /// Believe it no more; what it signed counts as signed by nobody.
    Remove { name: String },
}

pub fn attach(here: &Here, args: &AttachArgs) -> Outcome<()> {
    let path = release::path(&args.release)?;
    let document = artifact::push(here, &args.file, None)?.digest;
    let new = AttestationCreate { document, artifact: args.artifact };
    let all: Page<Attestation> = here.client.post(&format!("{path}/attestations"), &new)?;
    let new: Vec<Attestation> = all.items.into_iter().filter(|one| one.document == document).collect();
    if new.iter().any(|one| one.signed && one.signer.is_none()) {
        eprintln!("No key of the ring has signed it: muster keys ring add, then attach it again.");
    }
    output::rows(here.format, &new)
}

pub fn detach(here: &Here, of: &str, document: Sha256) -> Outcome<()> {
    here.client.delete(&format!("{}/attestations/{document}", release::path(of)?))?;
    eprintln!("Detached {document}.");
    Ok(())
}

pub fn list(here: &Here, of: &str) -> Outcome<()> {
    let all: Page<Attestation> = here.client.get(&format!("{}/attestations", release::path(of)?))?;
    output::rows(here.format, &all.items)
}

pub fn policy(here: &Here, command: PolicyCommand) -> Outcome<()> {
    let policy: ReleasePolicy = match command {
        PolicyCommand::Show => here.client.get("/release-policy")?,
        PolicyCommand::Set { sbom, signed_sbom, provenance, builder: builders, inner_signature } => {
            let policy = ReleasePolicy { sbom, signed_sbom, provenance, builders, inner_signature };
            here.client.put("/release-policy", &policy)?
        }
    };
    output::one(here.format, &policy)
}

pub fn ring(here: &Here, command: RingCommand) -> Outcome<()> {
    match command {
        RingCommand::Add { name, file } => {
            let made: RingKey = here.client.create("/key-ring", &RingKeyCreate { name, public: text(&file)? })?;
            output::one(here.format, &made)
        }
        RingCommand::List => output::rows(here.format, &here.client.get::<Page<RingKey>>("/key-ring")?.items),
        RingCommand::Remove { name } => {
            here.client.delete(&format!("/key-ring/{}", part(&name)))?;
            eprintln!("Removed {name}.");
            Ok(())
        }
    }
}

fn text(file: &Path) -> Outcome<String> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    if text.contains("PRIVATE KEY") {
        let what = format!("{} is a secret key: give its public half (muster keys public FILE)", file.display());
        return Err(Failed::Usage(what));
    }
    Ok(text)
}
