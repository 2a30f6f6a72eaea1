//! `authority offline`, `authority sign-issuing`: how does the root's key get into a safe, and sign from there?

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, anyhow};
use clap::Args;
use muster_server::config::{Config, Flags};
use muster_server::vault::Vault;
use muster_trust::authority::issue::{Issuer, request_issuing};
use muster_trust::authority::sealed::{is_sealed, open, seal};
use muster_trust::authority::verify::is_issued;
use muster_vocab::Timestamp;
use muster_wire::identity::ServerIdentity;

use super::Here;
use super::kind::confirm;
use crate::exit::{Failed, Outcome};

/// Where the passphrase is taken from, unless it is asked for.
const PASSPHRASE: &str = "MUSTER_ROOT_PASSPHRASE";
/// In the server's data folder.
const ROOT_KEY: &str = "root.key";

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster authority offline --data /var/lib/muster /media/safe/root.sealed
  MUSTER_ROOT_PASSPHRASE=… muster authority offline --data /var/lib/muster root.sealed --yes
  muster authority offline --data /var/lib/muster /media/hsm/root.pem --plain

Run it on the server's machine. The server runs on without the key; it is needed again only for the next issuing
authority: request-issuing, sign-issuing and accept-issuing.")]
pub struct OfflineArgs {
    /// The root's certificate and its sealed key; made, never overwritten.
    file: PathBuf,
    /// The server's data folder.
    #[arg(long, value_name = "FOLDER")]
    data: PathBuf,
    /// What the server's own keys are sealed with [default: master.key in the data folder], as for `muster server`.
    #[arg(long, env = "MUSTER_MASTER_KEY_FILE", value_name = "FILE", conflicts_with = "master_key_command")]
    master_key_file: Option<PathBuf>,
    #[arg(long, env = "MUSTER_MASTER_KEY_COMMAND", value_name = "COMMAND")]
    master_key_command: Option<String>,
    /// Without a passphrase.
    #[arg(long)]
    plain: bool,
    /// Don't ask.
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster authority request-issuing issuing.csr
  muster authority sign-issuing issuing.csr issuing.pem --root root.sealed     # on a machine without a network
  muster authority accept-issuing issuing.pem")]
pub struct SignIssuingArgs {
    request: PathBuf,
    /// The certificate; made, never overwritten.
    certificate: PathBuf,
    /// What `authority offline` has written.
    #[arg(long, value_name = "FILE")]
    root: PathBuf,
}

pub fn offline(here: &Here, args: &OfflineArgs) -> Outcome<()> {
    let path = args.data.join(ROOT_KEY);
    if !path.exists() {
        return Err(Failed::NotFound(format!("there is no {}: the root's key was taken away already", path.display())));
    }
    let key = unsealed(args, &path)?;
    let identity: ServerIdentity = here.client.get("/identity")?;
    if !fits(&identity.root, &key)? {
        return Err(Failed::Usage(format!("{} is not the key of this server's root", path.display())));
    }
    if !args.yes {
        confirm(&format!(
            "Move the root's key to {} and remove it from {}?",
            args.file.display(),
            args.data.display()
        ))?;
    }
    let kept = match args.plain {
        true => key.clone(),
        false => seal(&key, &passphrase(true)?).map_err(|bad| Failed::Usage(bad.to_string()))?,
    };
    write_new(&args.file, &format!("{}{kept}", identity.root), 0o600)?;
    // What can't be read back is not worth the key.
    if !read(&args.file)?.ends_with(&kept) {
        return Err(anyhow!("{} is not what was written; the key stays where it is", args.file.display()).into());
    }
    std::fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
    let folder = std::fs::File::open(&args.data).and_then(|folder| folder.sync_all());
    folder.with_context(|| format!("syncing {}", args.data.display()))?;
    eprintln!(
        "The root's key is in {} and nowhere else. Make a copy of that file, and keep both apart.",
        args.file.display()
    );
    Ok(())
}

pub fn sign_issuing(args: &SignIssuingArgs) -> Outcome<()> {
    let root = read(&args.root)?;
    let key = match is_sealed(&root) {
        true => {
            open(&root, &passphrase(false)?).map_err(|bad| Failed::Usage(format!("{}: {bad}", args.root.display())))?
        }
        // Behind the certificate.
        false => root.rsplit_once("-----END CERTIFICATE-----").map_or(root.as_str(), |(_, key)| key).trim().to_owned(),
    };
    let request = read(&args.request)?;
    let failed = |bad: muster_trust::authority::issue::IssueError| Failed::Usage(bad.to_string());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).context("asking for the time")?;
    let now = Timestamp(i64::try_from(now.as_millis()).context("asking for the time")?);
    let certificate =
        Issuer::open(&root, &key, true).and_then(|root| root.sign_issuing(&request, now)).map_err(failed)?;
    let is_good = is_issued(&root, &certificate, &request).map_err(|bad| Failed::Usage(bad.to_string()))?;
    if !is_good {
        return Err(Failed::Usage(format!("the key in {} is not the one of its certificate", args.root.display())));
    }
    write_new(&args.certificate, &certificate, 0o644)?;
    eprintln!("Take {} to the server: muster authority accept-issuing.", args.certificate.display());
    Ok(())
}

/// As the server would open it.
fn unsealed(args: &OfflineArgs, path: &Path) -> Outcome<String> {
    let flags = Flags {
        data: Some(args.data.clone()),
        master_key_file: args.master_key_file.clone(),
        master_key_command: args.master_key_command.clone(),
        ..Flags::default()
    };
    let config = Config::resolve(flags).context("finding the master key")?;
    let vault = Vault::open(&config.master_key).context("reading the master key")?;
    let key = vault.read_file(path).context("reading the root's key")?;
    let key = key.ok_or_else(|| Failed::NotFound(format!("there is no {}", path.display())))?;
    Ok(String::from_utf8(key.to_vec()).context("reading the root's key")?)
}

/// Is it the root's key? It signs something, and the certificate says whether it did.
fn fits(root: &str, key: &str) -> Outcome<bool> {
    let failed = |bad: muster_trust::authority::issue::IssueError| Failed::Usage(bad.to_string());
    let (request, _) = request_issuing("Muster test").map_err(failed)?;
    let signed = Issuer::open(root, key, true).and_then(|root| root.sign_issuing(&request, Timestamp(0)));
    Ok(is_issued(root, &signed.map_err(failed)?, &request).unwrap_or(false))
}

fn passphrase(is_new: bool) -> Outcome<String> {
    if let Some(given) = std::env::var(PASSPHRASE).ok().filter(|given| !given.is_empty()) {
        return Ok(given);
    }
    let ask = |prompt| rpassword::prompt_password(prompt).context("reading the passphrase");
    let given = ask("Passphrase of the root's key: ")?;
    if is_new && ask("The same again: ")? != given {
        return Err(Failed::Usage("the passphrases differ; nothing was changed".into()));
    }
    Ok(given)
}

fn read(path: &Path) -> Outcome<String> {
    Ok(std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?)
}

/// Durable when it returns; an existing file is not touched.
pub fn write_new(path: &Path, text: &str, mode: u32) -> Outcome<()> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    Ok(write().with_context(|| format!("writing {}", path.display()))?)
}
