//! Who vouches that the audit log was this long and looked like this?
//!
//! A tree head, signed by the server's Ed25519 key, in the text of C2SP `tlog-checkpoint` and `signed-note`. Lines of
//! our own follow the root, as that format allows: the newest record's digest, the size of the checkpoint before, and
//! the time in ms since 1970.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use muster_vocab::digest::hex;
use muster_vocab::{Sha256, Timestamp};
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use sha2::Digest;

/// The type byte of Ed25519 in `signed-note`.
const ED25519_TYPE: u8 = 1;
const KEY_ID_BYTES: usize = 4;
/// The signer's name in notes.
const SIGNER: &str = "muster";
const SIGNATURE_START: &str = "\u{2014} ";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCheckpoint {
    #[error("it is not a signed checkpoint: {0}")]
    Form(&'static str),
    #[error("it was signed by another key")]
    OtherKey,
    #[error("its signature is wrong")]
    Signature,
    #[error("the key is not a public key of a checkpoint: muster+ID+BASE64")]
    Key,
    #[error("the file is not an Ed25519 key")]
    SigningKey,
    #[error("no random numbers are to be had")]
    Random,
}

/// What is vouched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: `muster/` and the project's name.
    pub origin: String,
    pub size: u64,
    /// How many records the checkpoint before was of, so that none can be left out; 0 before the first.
    pub after: u64,
    pub root: Sha256,
    /// Digest of record number `size`.
    pub head: Sha256,
    pub at: Timestamp,
}

/// The server's key. Its bytes never leave it but through `new_key`.
#[derive(Debug)]
pub struct Signer(Ed25519KeyPair);

/// A new key as PKCS#8, to be kept secret.
pub fn new_key() -> Result<Vec<u8>, BadCheckpoint> {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| BadCheckpoint::Random)?;
    Ok(document.as_ref().to_vec())
}

impl Signer {
    pub fn from_pkcs8(bytes: &[u8]) -> Result<Self, BadCheckpoint> {
        Ed25519KeyPair::from_pkcs8(bytes).map(Self).map_err(|_| BadCheckpoint::SigningKey)
    }

    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes"))
    }

    /// The signed text.
    #[must_use]
    pub fn sign(&self, checkpoint: &Checkpoint) -> String {
        let text = checkpoint.text();
        let mut signature = self.public().id().to_vec();
        signature.extend_from_slice(self.0.sign(text.as_bytes()).as_ref());
        format!("{text}\n{SIGNATURE_START}{SIGNER} {}\n", STANDARD.encode(signature))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    fn id(&self) -> [u8; KEY_ID_BYTES] {
        let mut hasher = sha2::Sha256::new();
        hasher.update(SIGNER);
        hasher.update([b'\n', ED25519_TYPE]);
        hasher.update(self.0);
        let digest: [u8; 32] = hasher.finalize().into();
        [digest[0], digest[1], digest[2], digest[3]]
    }

    /// Reads a signed checkpoint and believes it only with this key's signature.
    pub fn open(&self, note: &str) -> Result<Checkpoint, BadCheckpoint> {
        let (text, signatures) = note.split_once("\n\n").ok_or(BadCheckpoint::Form("it has no signature"))?;
        let text = format!("{text}\n");
        let signed = signatures
            .strip_suffix('\n')
            .and_then(|line| line.strip_prefix(SIGNATURE_START)?.strip_prefix(SIGNER)?.strip_prefix(' '))
            .and_then(|encoded| STANDARD.decode(encoded).ok())
            .ok_or(BadCheckpoint::Form("its signature can't be read"))?;
        let (id, signature) =
            signed.split_at_checked(KEY_ID_BYTES).ok_or(BadCheckpoint::Form("its signature is too short"))?;
        if id != self.id() {
            return Err(BadCheckpoint::OtherKey);
        }
        UnparsedPublicKey::new(&ED25519, self.0)
            .verify(text.as_bytes(), signature)
            .map_err(|_| BadCheckpoint::Signature)?;
        Checkpoint::parse(&text).ok_or(BadCheckpoint::Form("its lines can't be read"))
    }
}

/// The verifier key of `signed-note`.
impl std::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut bytes = vec![ED25519_TYPE];
        bytes.extend_from_slice(&self.0);
        write!(f, "{SIGNER}+{}+{}", hex(&self.id()), STANDARD.encode(bytes))
    }
}

impl std::str::FromStr for PublicKey {
    type Err = BadCheckpoint;

    fn from_str(text: &str) -> Result<Self, BadCheckpoint> {
        let encoded = text.trim().splitn(3, '+').nth(2).ok_or(BadCheckpoint::Key)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| BadCheckpoint::Key)?;
        let (kind, key) = bytes.split_first().ok_or(BadCheckpoint::Key)?;
        let key = Self(key.try_into().map_err(|_| BadCheckpoint::Key)?);
        if *kind != ED25519_TYPE || key.to_string() != text.trim() {
            return Err(BadCheckpoint::Key);
        }
        Ok(key)
    }
}

impl Checkpoint {
    fn text(&self) -> String {
        let root = STANDARD.encode(self.root.0);
        let Self { origin, size, after, head, at, .. } = self;
        format!("{origin}\n{size}\n{root}\nhead {head}\nafter {after}\nat {}\n", at.0)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let read = Self {
            origin: lines.next()?.to_owned(),
            size: lines.next()?.parse().ok()?,
            root: Sha256(STANDARD.decode(lines.next()?).ok()?.try_into().ok()?),
            head: lines.next()?.strip_prefix("head ")?.parse().ok()?,
            after: lines.next()?.strip_prefix("after ")?.parse().ok()?,
            at: Timestamp(lines.next()?.strip_prefix("at ")?.parse().ok()?),
        };
        (read.text() == text).then_some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        let (root, head) = (Sha256([7; 32]), Sha256([8; 32]));
        Checkpoint { origin: "muster/default".into(), size: 12, after: 7, root, head, at: Timestamp(5) }
    }

    #[test]
    fn a_checkpoint_is_believed_with_its_key_and_no_other() {
        let signer = Signer::from_pkcs8(&new_key().unwrap()).unwrap();
        let other = Signer::from_pkcs8(&new_key().unwrap()).unwrap();
        let note = signer.sign(&checkpoint());
        assert_eq!(signer.public().open(&note), Ok(checkpoint()));
        assert_eq!(other.public().open(&note), Err(BadCheckpoint::OtherKey));
        assert_eq!(signer.public().open(&note.replace("\n12\n", "\n13\n")), Err(BadCheckpoint::Signature));
    }

    #[test]
    fn a_public_key_reads_back_and_a_changed_one_is_refused() {
        let key = Signer::from_pkcs8(&new_key().unwrap()).unwrap().public();
        assert_eq!(key.to_string().parse(), Ok(key));
        assert_eq!(key.to_string().replace("muster+", "muster+0").parse::<PublicKey>(), Err(BadCheckpoint::Key));
        assert_eq!("nonsense".parse::<PublicKey>(), Err(BadCheckpoint::Key));
    }
}
