//! `keys ceremony …`: the root and the targets, made from public keys, signed by several people, checked before use.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use muster_trust::tuf::document::{Authority, Document, RootRole, Spelling, TargetsRole};
use muster_trust::tuf::key::Key;
use muster_trust::tuf::make::{DelegationPlan, Keys, RootPlan, TargetsPlan, key_id};
use muster_trust::tuf::statement;
use muster_trust::tuf::trusted::{DIRECTOR, Trusted};
use muster_vocab::{Name, Timestamp};

use super::signer::{self, SignerArgs};
use super::{read, sign, write};
use crate::exit::{Failed, Outcome};
use crate::output;
use crate::read::duration;

#[derive(Debug, Subcommand)]
pub enum CeremonyCommand {
    Init(InitArgs),
    /// Add one person's signature to all documents in which their key counts.
    Sign {
        folder: PathBuf,
        #[command(flatten)]
        signer: SignerArgs,
    },
    /// Would devices believe it? Says who has signed and what is missing.
    Check {
        folder: PathBuf,
        /// The root that devices have; the first one needs none.
        #[arg(long, value_name = "FILE")]
        previous: Option<PathBuf>,
    },
}

/// Write the root and the targets into a folder, unsigned.
#[derive(Debug, Args)]
#[command(after_help = "Example: three people, two of whom sign together; the channel stable is signed offline
  muster keys ceremony init ceremony --root ann.pub --root bob.pub --root eve.pub --threshold 2 \\
      --targets ann.pub --channel stable=release.pub --online 64…DIGITS --director 64…DIGITS")]
pub struct InitArgs {
    folder: PathBuf,
    /// Public key of a person who signs roots: PEM in a file, or 64 digits; repeat for more.
    #[arg(long, required = true, value_name = "KEY")]
    root: Vec<PathBuf>,
    /// How many of them have to sign.
    #[arg(long, default_value_t = 2)]
    threshold: u64,
    /// Public key that signs which keys the channels have; repeat for more.
    #[arg(long, required = true, value_name = "KEY")]
    targets: Vec<PathBuf>,
    /// How many of those have to sign.
    #[arg(long, default_value_t = 1)]
    targets_threshold: u64,
    /// A channel and the public key that signs its releases; repeat for more channels, or more keys of one.
    #[arg(long, required = true, value_name = "NAME=KEY")]
    channel: Vec<String>,
    /// The server's key for snapshot and timestamp; `muster keys server` prints it.
    #[arg(long, value_name = "KEY")]
    online: PathBuf,
    /// The server's key for what it says to single devices; without it channels alone decide.
    #[arg(long, value_name = "KEY")]
    director: Option<PathBuf>,
    /// How long devices believe the root.
    #[arg(long, default_value = "730d", value_parser = duration)]
    root_life: Duration,
    /// How long devices believe the channels' keys.
    #[arg(long, default_value = "365d", value_parser = duration)]
    targets_life: Duration,
    /// The version to give to both; one more than what devices have.
    #[arg(long = "version-number", default_value_t = 1)]
    version: u64,
}

pub fn run(command: CeremonyCommand) -> Outcome<()> {
    match command {
        CeremonyCommand::Init(args) => Ok(init(&args)?),
        CeremonyCommand::Sign { folder, signer } => Ok(add(&folder, &signer)?),
        CeremonyCommand::Check { folder, previous } => check(&folder, previous.as_deref()),
    }
}

fn init(args: &InitArgs) -> anyhow::Result<()> {
    let now = now()?;
    let online = one(&args.online)?;
    let root = several(&args.root, args.threshold)?;
    let targets = several(&args.targets, args.targets_threshold)?;
    let server: Vec<&Key> = online.keys.iter().collect();
    if root.keys.iter().chain(&targets.keys).any(|key| server.contains(&key)) {
        bail!("a key of the server can't be one that signs offline");
    }
    let plan = RootPlan {
        version: args.version,
        expires: now.plus(args.root_life),
        root,
        targets,
        snapshot: online.clone(),
        timestamp: online,
    };
    let top = TargetsPlan {
        version: args.version,
        expires: now.plus(args.targets_life),
        targets: Default::default(),
        delegations: delegations(args)?,
        device: None,
    };
    fs::create_dir_all(&args.folder).with_context(|| format!("making {}", args.folder.display()))?;
    for (name, draft) in [("root.json", plan.draft()?), ("targets.json", top.draft()?)] {
        let file = args.folder.join(name);
        if file.exists() {
            bail!("{} is there already: a ceremony begins in an empty folder", file.display());
        }
        write(&file, &draft.document(&[]))?;
    }
    eprintln!(
        "Wrote root.json and targets.json. Next, each person: muster keys ceremony sign {}",
        args.folder.display()
    );
    Ok(())
}

fn delegations(args: &InitArgs) -> anyhow::Result<Vec<DelegationPlan>> {
    let mut found: Vec<DelegationPlan> = Vec::new();
    for given in &args.channel {
        let (channel, file) = given.split_once('=').with_context(|| format!("{given:?}: write NAME=KEY"))?;
        Name::parse(channel).with_context(|| format!("{channel:?} is no name of a channel"))?;
        let key = signer::public(Path::new(file))?;
        let role = statement::channel_role(channel);
        match found.iter_mut().find(|known| known.role == role) {
            Some(known) => known.keys.keys.push(key),
            None => {
                let keys = Keys { keys: vec![key], threshold: 1 };
                found.push(DelegationPlan { role, keys, paths: vec![format!("{channel}/*")] });
            }
        }
    }
    if let Some(director) = &args.director {
        let paths = vec![format!("{DIRECTOR}/*")];
        found.push(DelegationPlan { role: DIRECTOR.into(), keys: one(director)?, paths });
    }
    Ok(found)
}

fn one(file: &Path) -> anyhow::Result<Keys> {
    Ok(Keys { keys: vec![signer::public(file)?], threshold: 1 })
}

fn several(files: &[PathBuf], threshold: u64) -> anyhow::Result<Keys> {
    let keys: Vec<Key> = files.iter().map(|file| signer::public(file)).collect::<Result<_, _>>()?;
    let distinct: std::collections::BTreeSet<String> = keys.iter().map(key_id).collect();
    if threshold == 0 || distinct.len() != keys.len() || (keys.len() as u64) < threshold {
        bail!("{} different keys can't give {threshold} signatures, or one is named twice", distinct.len());
    }
    Ok(Keys { keys, threshold })
}

fn add(folder: &Path, args: &SignerArgs) -> anyhow::Result<()> {
    let signer = args.open()?;
    let id = key_id(&signer.public());
    let (root, _) = documents(folder)?;
    let counts = |role: &str| root.signed.roles.get(role).is_some_and(|role| role.keyids.contains(&id));
    let files = [("root.json", counts("root")), ("targets.json", counts("targets"))];
    let files: Vec<PathBuf> = files.iter().filter(|(_, counts)| *counts).map(|(name, _)| folder.join(name)).collect();
    if files.is_empty() {
        bail!("key {id} has no say in this ceremony");
    }
    sign(&files, &signer)
}

fn documents(folder: &Path) -> anyhow::Result<(Document<RootRole>, Document<TargetsRole>)> {
    let root = Document::read(&read(&folder.join("root.json"))?, Spelling::Exact).context("reading root.json")?;
    let top = Document::read(&read(&folder.join("targets.json"))?, Spelling::Exact).context("reading targets.json")?;
    Ok((root, top))
}

fn check(folder: &Path, previous: Option<&Path>) -> Outcome<()> {
    let (root, top) = documents(folder)?;
    let keys = &root.signed.keys;
    let mut said = String::new();
    let mut missing = Vec::new();
    let parts = [
        ("root", &root.signed.roles["root"], &root.signatures, &root.message),
        ("targets", &root.signed.roles["targets"], &top.signatures, &top.message),
    ];
    for (role, authority, signatures, message) in parts {
        let Authority { keyids, threshold } = authority;
        let holds = |id: &&String| {
            let signature = signatures.iter().find(|signature| signature.keyid == **id);
            signature.is_some_and(|signature| keys.get(*id).is_some_and(|key| key.signed(message, &signature.bytes())))
        };
        let signed = keyids.iter().filter(holds).count() as u64;
        said.push_str(&format!("{role:8} {signed} of {} keys signed, {threshold} needed\n", keyids.len()));
        if signed < *threshold {
            missing.push(format!("{role} needs {} more", threshold - signed));
        }
    }
    for role in top.signed.delegations.iter().flat_map(|delegations| &delegations.roles) {
        said.push_str(&format!("{:8} {} key(s)\n", role.name, role.authority.keyids.len()));
    }
    output::print(&said)?;
    if !missing.is_empty() {
        return Err(Failed::Differs(missing.join(", ")));
    }
    let bytes = read(&folder.join("root.json"))?;
    believed(&bytes, previous).context("devices would refuse this root")?;
    Ok(())
}

fn believed(root: &[u8], previous: Option<&Path>) -> anyhow::Result<()> {
    match previous {
        Some(file) => Trusted::start(&read(file)?, Spelling::Exact)?.take_root(root)?,
        None => Trusted::start(root, Spelling::Exact).map(|_| ())?,
    }
    Ok(())
}

/// The clock of this machine, which a ceremony has to have right.
pub fn now() -> anyhow::Result<Timestamp> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    Ok(Timestamp(i64::try_from(since.as_millis())?))
}
