//! `keys …`: keys that are never on a server, and what is signed with them.

pub mod ceremony;
pub mod signer;
mod token;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap::Subcommand;
use muster_trust::tuf::document::{Document, RootRole, Spelling, TargetsRole};
use muster_trust::tuf::make::{self, key_id};
use muster_trust::tuf::secret_key::SecretKey;
use muster_wire::metadata::{Metadata, MetadataPut};

use self::ceremony::CeremonyCommand;
use self::signer::Signer;
use super::Here;
use super::attestation::{self, RingCommand};
use crate::client::part;
use crate::exit::{Failed, Outcome};
use crate::output;

#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a secret key in a file, and print its public half.
    New {
        /// Made, never overwritten; readable by its owner only.
        file: PathBuf,
    },
    /// The public half of a key.
    Public {
        /// A secret key, or a public one; or name a token by --pkcs11.
        file: Option<PathBuf>,
        #[command(flatten)]
        signer: signer::SignerArgs,
    },
    /// The public keys with which the server signs by itself: a ceremony names them.
    Server,
    /// Make and check what is signed offline: the root, and which keys each channel has.
    #[command(subcommand)]
    Ceremony(CeremonyCommand),
    /// Add a signature to documents; needs no server.
    #[command(after_help = "Examples:
  muster keys sign ceremony/root.json --key /media/ann/root.pem
  muster keys sign channel-stable.json --signer 'openssl dgst -sha256 -sign key.pem' --public key.pub")]
    Sign {
        documents: Vec<PathBuf>,
        #[command(flatten)]
        signer: signer::SignerArgs,
    },
    /// Put signed documents on the server; each file is named after its role: root.json, targets.json, channel-NAME.json.
    Publish { documents: Vec<PathBuf> },
    /// Whose signatures on bills of materials and provenance count.
    #[command(subcommand)]
    Ring(RingCommand),
}

pub fn run(here: impl Fn() -> Outcome<Here>, command: KeysCommand) -> Outcome<()> {
    match command {
        KeysCommand::New { file } => Ok(new(&file)?),
        KeysCommand::Public { file, signer } => {
            let found = match file {
                Some(file) => signer::secret(&file).map(|key| key.public()).or_else(|_| signer::public(&file))?,
                None => signer.open()?.public(),
            };
            output::print(&format!("{}\n", found.keyval.public.trim_end()))
        }
        KeysCommand::Server => {
            let here = here()?;
            let found: Metadata = here.client.get("/metadata")?;
            output::print(&format!("online   {}\ndirector {}\n", found.online_key, found.director_key))
        }
        KeysCommand::Ceremony(command) => ceremony::run(command),
        KeysCommand::Sign { documents, signer } => Ok(sign(&documents, &signer.open()?)?),
        KeysCommand::Publish { documents } => publish(&here()?, &documents),
        KeysCommand::Ring(command) => attestation::ring(&here()?, command),
    }
}

fn new(file: &Path) -> anyhow::Result<()> {
    let key = SecretKey::generate()?;
    let writing = || format!("making {}", file.display());
    let mut made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).with_context(writing)?;
    made.write_all(key.pem().as_bytes()).with_context(writing)?;
    made.sync_all().with_context(writing)?;
    println!("{}", key.public().keyval.public);
    Ok(())
}

fn sign(documents: &[PathBuf], signer: &Signer) -> anyhow::Result<()> {
    if documents.is_empty() {
        bail!("say which documents to sign");
    }
    for file in documents {
        let bytes = read(file)?;
        let signed = signed(&bytes, signer).with_context(|| format!("signing {}", file.display()))?;
        write(file, &signed)?;
        eprintln!("Signed {} with key {}.", file.display(), key_id(&signer.public()));
    }
    Ok(())
}

/// The document with one signature more.
pub fn signed(document: &[u8], signer: &Signer) -> anyhow::Result<Vec<u8>> {
    let public = signer.public();
    let message = message(document)?;
    let signature = signer.sign(&message)?;
    let root = make::add_signature::<RootRole>(document, &public, &signature);
    Ok(root.or_else(|_| make::add_signature::<TargetsRole>(document, &public, &signature))?)
}

fn message(document: &[u8]) -> anyhow::Result<Vec<u8>> {
    let root = Document::<RootRole>::read(document, Spelling::Exact).map(|read| read.message);
    root.or_else(|_| Document::<TargetsRole>::read(document, Spelling::Exact).map(|read| read.message))
        .context("it is no document of root or targets as Muster writes them")
}

fn publish(here: &Here, documents: &[PathBuf]) -> Outcome<()> {
    if documents.is_empty() {
        return Err(Failed::Usage("say which documents: root.json targets.json".into()));
    }
    for file in documents {
        let role = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        upload(here, &role, &read(file)?)?;
    }
    Ok(())
}

pub fn upload(here: &Here, role: &str, bytes: &[u8]) -> Outcome<()> {
    let document = String::from_utf8(bytes.to_vec()).map_err(|_| anyhow!("the document isn't UTF-8"))?;
    here.client.put_nothing(&format!("/metadata/{}", part(role)), &MetadataPut { document })?;
    eprintln!("Published {role}.");
    Ok(())
}

pub fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("reading {}", file.display()))
}

/// Beside it first, so that a stick that is pulled out leaves one whole document.
pub fn write(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let writing = || format!("writing {}", file.display());
    let beside = file.with_extension("new");
    let mut made = fs::File::create(&beside).with_context(writing)?;
    made.write_all(bytes).with_context(writing)?;
    made.sync_all().with_context(writing)?;
    fs::rename(&beside, file).with_context(writing)
}
