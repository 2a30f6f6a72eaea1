//! Who holds the key? A file, a program that is given the bytes and gives back the signature, or a token.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use muster_trust::tuf::key::Key;
use muster_trust::tuf::secret_key::SecretKey;

use super::token::Token;

/// A file of a key is some hundred bytes; RSA keys of 8192 bits stay below.
const KEY_FILE_BYTES_MAX: u64 = 64 * 1024;

/// With which key to sign.
#[derive(Debug, Args)]
pub struct SignerArgs {
    /// A secret key in a file: Ed25519 as PKCS#8 in PEM, as `muster keys new` makes it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["signer", "public", "pkcs11"])]
    pub key: Option<PathBuf>,
    /// A program that gets the bytes to sign on stdin and writes the signature to stdout, run by sh.
    #[arg(long, value_name = "COMMAND", requires = "public")]
    pub signer: Option<String>,
    /// The public key of what the program signs with, in PEM.
    #[arg(long, value_name = "FILE", requires = "signer")]
    pub public: Option<PathBuf>,
    /// A PKCS#11 library; its PIN is taken from MUSTER_PKCS11_PIN.
    #[arg(long, value_name = "LIBRARY", requires = "key_label", conflicts_with = "signer")]
    pub pkcs11: Option<PathBuf>,
    /// The label of the key in the token: ECDSA on P-256.
    #[arg(long, value_name = "NAME", requires = "pkcs11")]
    pub key_label: Option<String>,
}

/// Something that can sign.
#[derive(Debug)]
pub enum Signer {
    File(SecretKey),
    Command { line: String, public: Key },
    Pkcs11(Box<Token>),
}

impl SignerArgs {
    pub fn open(&self) -> anyhow::Result<Signer> {
        if let (Some(library), Some(label)) = (&self.pkcs11, &self.key_label) {
            return Ok(Signer::Pkcs11(Box::new(Token::open(library, label)?)));
        }
        match (&self.key, &self.signer, &self.public) {
            (Some(file), ..) => Ok(Signer::File(secret(file)?)),
            (None, Some(line), Some(public)) => {
                Ok(Signer::Command { line: line.clone(), public: self::public(public)? })
            }
            _ => bail!(
                "say with which key: --key FILE, --signer COMMAND --public FILE, or --pkcs11 LIBRARY --key-label NAME"
            ),
        }
    }
}

impl Signer {
    pub fn public(&self) -> Key {
        match self {
            Self::File(key) => key.public(),
            Self::Command { public, .. } => public.clone(),
            Self::Pkcs11(token) => token.public().clone(),
        }
    }

    /// A signature that was checked.
    pub fn sign(&self, message: &[u8]) -> anyhow::Result<Vec<u8>> {
        let signature = match self {
            Self::File(key) => key.sign_bytes(message),
            Self::Command { line, .. } => run(line, message)?,
            Self::Pkcs11(token) => token.sign(message)?,
        };
        if self.public().signed(message, &signature) {
            return Ok(signature);
        }
        bail!("what the signer gave is no signature of this public key over these bytes");
    }
}

fn run(line: &str, message: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut child = Command::new("sh")
        .args(["-c", line])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the signer")?;
    let mut stdin = child.stdin.take().context("the signer has no stdin")?;
    let message = message.to_vec();
    // It may answer before it has read all; a pipe that is closed early shows in its exit code.
    let writer = std::thread::spawn(move || stdin.write_all(&message));
    let output = child.wait_with_output().context("waiting for the signer")?;
    let written = writer.join().map_err(|_| anyhow!("writing to the signer failed"))?;
    if !output.status.success() {
        bail!("the signer ended with {}", output.status);
    }
    written.context("writing to the signer")?;
    Ok(output.stdout)
}

pub fn secret(file: &Path) -> anyhow::Result<SecretKey> {
    SecretKey::parse(&text(file)?).with_context(|| format!("reading {}", file.display()))
}

/// A public key in PEM, or the 64 hexadecimal digits of an Ed25519 key, in a file or as they are.
pub fn public(file: &Path) -> anyhow::Result<Key> {
    let given = file.to_string_lossy();
    let text = if is_hex_key(&given) { given.into_owned() } else { text(file)? };
    let text = text.trim();
    if is_hex_key(text) {
        let keyval = muster_trust::tuf::key::KeyValue { public: text.to_ascii_lowercase() };
        return Ok(Key { keytype: "ed25519".into(), scheme: "ed25519".into(), keyval });
    }
    Key::from_pem(text)
        .with_context(|| format!("{} is no public key: PEM, or 64 hexadecimal digits of Ed25519", file.display()))
}

fn is_hex_key(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn text(file: &Path) -> anyhow::Result<String> {
    let reading = || format!("reading {}", file.display());
    if fs::metadata(file).with_context(reading)?.len() > KEY_FILE_BYTES_MAX {
        bail!("{} is too large for a key", file.display());
    }
    fs::read_to_string(file).with_context(reading)
}
