//! What do the four roles of TUF say, and how is it read?
//!
//! Fields that are not named here are kept out of sight but stay part of what is signed (TUF 4).

use std::collections::{BTreeMap, BTreeSet};

use muster_vocab::Timestamp;
use muster_vocab::digest::{from_hex, hex};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use sha2::Digest;

use crate::tuf::canonical;
use crate::tuf::key::Key;

/// Names that no delegation may take.
pub const TOP_LEVEL: [&str; 4] = ["root", "snapshot", "targets", "timestamp"];

#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error("it is not readable as JSON of this kind")]
    Json(#[source] serde_json::Error),
    #[error("it has no canonical form")]
    Canonical(#[source] canonical::CanonicalError),
    #[error("it says that it is {said:?} instead of {wanted:?}")]
    Kind { said: String, wanted: &'static str },
    #[error("its spec_version is {0:?}, and this program knows 1.x only")]
    Specification(String),
    #[error("{0}")]
    Rule(&'static str),
}

/// How a document has to be spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// Any JSON with enough good signatures: the standard's rule, for repositories of others.
    Any,
    /// [`canonical::document`] byte for byte, and no signature in it that doesn't hold: what Muster writes. No byte can be
    /// changed in it without notice.
    Exact,
}

/// A document as it was read: nothing is believed yet.
#[derive(Debug, Clone)]
pub struct Document<T> {
    pub signed: T,
    pub signatures: Vec<Signature>,
    /// The bytes that the signatures are over.
    pub message: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Signature {
    pub keyid: String,
    /// Hexadecimal; anything else is a signature that doesn't hold.
    pub sig: String,
}

impl Signature {
    /// Empty if it is not hexadecimal.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        from_hex(&self.sig).unwrap_or_default()
    }
}

/// A role that can be read.
pub trait Role: DeserializeOwned {
    const KIND: &'static str;
    /// What serde can't see.
    ///
    /// # Errors
    /// The rule that is broken.
    fn check(&self) -> Result<(), DocumentError>;
}

#[derive(Debug, Clone, Deserialize)]
pub struct RootRole {
    pub version: u64,
    #[serde(deserialize_with = "moment")]
    pub expires: Timestamp,
    #[serde(default)]
    pub consistent_snapshot: bool,
    pub keys: BTreeMap<String, Key>,
    pub roles: BTreeMap<String, Authority>,
}

/// Whose signatures count for a role, and how many are needed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Authority {
    pub keyids: Vec<String>,
    pub threshold: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub struct TimestampRole {
    pub version: u64,
    #[serde(deserialize_with = "moment")]
    pub expires: Timestamp,
    pub meta: BTreeMap<String, Pin>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct SnapshotRole {
    pub version: u64,
    #[serde(deserialize_with = "moment")]
    pub expires: Timestamp,
    pub meta: BTreeMap<String, Pin>,
}

/// What a document has to be like.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Pin {
    pub version: u64,
    pub length: Option<u64>,
    pub hashes: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct TargetsRole {
    pub version: u64,
    #[serde(deserialize_with = "moment")]
    pub expires: Timestamp,
    pub targets: BTreeMap<String, Target>,
    pub delegations: Option<Delegations>,
    /// The one device that a director's document is for: `project/device`.
    pub device: Option<String>,
}

/// What a target has to be like.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Target {
    pub length: u64,
    pub hashes: BTreeMap<String, String>,
    /// What the signer says about it.
    #[serde(default)]
    pub custom: Value,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Delegations {
    pub keys: BTreeMap<String, Key>,
    pub roles: Vec<Delegation>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Delegation {
    pub name: String,
    #[serde(flatten)]
    pub authority: Authority,
    #[serde(default)]
    pub terminating: bool,
    pub paths: Option<Vec<String>>,
    pub path_hash_prefixes: Option<Vec<String>>,
}

impl<T: Role> Document<T> {
    /// Reads a document.
    ///
    /// # Errors
    /// If it is not one of this role, is of another major version of the standard, or breaks a rule that needs no key.
    pub fn read(bytes: &[u8], spelling: Spelling) -> Result<Self, DocumentError> {
        #[derive(Deserialize)]
        struct Envelope {
            signed: Value,
            signatures: Vec<Signature>,
        }
        #[derive(Deserialize)]
        struct Head {
            #[serde(rename = "_type")]
            kind: String,
            spec_version: String,
        }
        let whole: Value = serde_json::from_slice(bytes).map_err(DocumentError::Json)?;
        if spelling == Spelling::Exact && canonical::document(&whole).map_err(DocumentError::Canonical)? != bytes {
            return Err(DocumentError::Rule("it is not spelled as it was written"));
        }
        let envelope = Envelope::deserialize(whole).map_err(DocumentError::Json)?;
        let head = Head::deserialize(&envelope.signed).map_err(DocumentError::Json)?;
        if head.kind != T::KIND {
            return Err(DocumentError::Kind { said: head.kind, wanted: T::KIND });
        }
        if head.spec_version.split('.').next() != Some("1") {
            return Err(DocumentError::Specification(head.spec_version));
        }
        let message = canonical::bytes(&envelope.signed).map_err(DocumentError::Canonical)?;
        let signed = T::deserialize(envelope.signed).map_err(DocumentError::Json)?;
        signed.check()?;
        let signatures = envelope.signatures;
        // TUF 4.2.1: key ids are unique among the signatures.
        let ids: BTreeSet<&str> = signatures.iter().map(|signature| signature.keyid.as_str()).collect();
        if ids.len() != signatures.len() {
            return Err(DocumentError::Rule("it has two signatures of one key"));
        }
        if spelling == Spelling::Exact && signatures.iter().any(|signature| signature.sig != hex(&signature.bytes())) {
            return Err(DocumentError::Rule("a signature is not spelled as it was written"));
        }
        Ok(Self { signed, signatures, message })
    }
}

impl Role for RootRole {
    const KIND: &'static str = "root";

    fn check(&self) -> Result<(), DocumentError> {
        positive(self.version)?;
        if TOP_LEVEL.iter().any(|role| !self.roles.contains_key(*role)) {
            return Err(DocumentError::Rule("it doesn't name the keys of every role"));
        }
        self.roles.values().try_for_each(Authority::check)
    }
}

impl Role for TimestampRole {
    const KIND: &'static str = "timestamp";

    fn check(&self) -> Result<(), DocumentError> {
        positive(self.version)?;
        let pin = self.meta.get("snapshot.json").ok_or(DocumentError::Rule("it names no snapshot"))?;
        positive(pin.version)
    }
}

impl Role for SnapshotRole {
    const KIND: &'static str = "snapshot";

    fn check(&self) -> Result<(), DocumentError> {
        positive(self.version)?;
        self.meta.values().try_for_each(|pin| positive(pin.version))
    }
}

impl Role for TargetsRole {
    const KIND: &'static str = "targets";

    fn check(&self) -> Result<(), DocumentError> {
        positive(self.version)?;
        if self.targets.values().any(|target| target.hashes.is_empty()) {
            return Err(DocumentError::Rule("a target has no hash"));
        }
        let Some(delegations) = &self.delegations else { return Ok(()) };
        let mut names = BTreeSet::new();
        for role in &delegations.roles {
            role.authority.check()?;
            // A delegated document lies in the same folder as those of the four roles.
            if role.name.is_empty() || TOP_LEVEL.contains(&role.name.as_str()) {
                return Err(DocumentError::Rule("it delegates to a role with a reserved name"));
            }
            if role.paths.is_some() == role.path_hash_prefixes.is_some() {
                return Err(DocumentError::Rule("a delegation needs paths or path_hash_prefixes, and not both"));
            }
            if !names.insert(&role.name) {
                return Err(DocumentError::Rule("it delegates to one role twice"));
            }
        }
        Ok(())
    }
}

impl Authority {
    fn check(&self) -> Result<(), DocumentError> {
        positive(self.threshold)?;
        let ids: BTreeSet<&String> = self.keyids.iter().collect();
        if ids.len() == self.keyids.len() { Ok(()) } else { Err(DocumentError::Rule("a role names one key twice")) }
    }
}

/// Whether bytes have this length and all of these hashes. A kind of hash that this program doesn't know fails.
#[must_use]
pub fn matches(bytes: &[u8], length: Option<u64>, hashes: &BTreeMap<String, String>) -> bool {
    length.is_none_or(|length| length == bytes.len() as u64)
        && hashes.iter().all(|(kind, wanted)| {
            let found = match kind.as_str() {
                "sha256" => hex(&sha2::Sha256::digest(bytes)),
                "sha512" => hex(&sha2::Sha512::digest(bytes)),
                _ => return false,
            };
            found == *wanted
        })
}

fn positive(number: u64) -> Result<(), DocumentError> {
    if number > 0 { Ok(()) } else { Err(DocumentError::Rule("a version or threshold is 0")) }
}

/// TUF 4.2: seconds in UTC, `2026-11-23T08:00:00Z`.
fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.len() != "2026-11-23T08:00:00Z".len() || !text.ends_with('Z') {
        return Err(serde::de::Error::custom(format!("{text:?} is not a time such as 2026-11-23T08:00:00Z")));
    }
    Timestamp::parse(&text).map_err(serde::de::Error::custom)
}
