//! How are documents written that devices will believe?
//!
//! From values to documents, in the canonical form: the same values give the same bytes. Who holds a key signs the bytes
//! of [`Draft::message`] wherever the key is, and [`Draft::document`] puts the signatures to it. Roots and targets are
//! signed offline; snapshot and timestamp by the server.

use std::collections::BTreeMap;

use muster_vocab::digest::hex;
use muster_vocab::{Timestamp, limit};
use serde_json::{Value, json};
use sha2::Digest;

use crate::tuf::canonical;
use crate::tuf::document::{Document, Role, Signature, Spelling, Target, TargetsRole};
use crate::tuf::key::Key;
use crate::tuf::statement::counter_of;

/// The version of the standard that is written.
const SPECIFICATION: &str = "1.0.31";

#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    #[error("the document can't be read")]
    Unreadable(#[source] crate::tuf::document::DocumentError),
    #[error("a value has no canonical form")]
    Canonical(#[source] canonical::CanonicalError),
    #[error("the signature of key {0} doesn't hold")]
    BadSignature(String),
    #[error("key {0} has nothing to do with this document")]
    ForeignKey(String),
}

/// Something to be signed.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    signed: Value,
    message: Vec<u8>,
}

/// Whose signatures a role needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    pub keys: Vec<Key>,
    pub threshold: u64,
}

/// Who signs what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootPlan {
    pub version: u64,
    pub expires: Timestamp,
    pub root: Keys,
    pub targets: Keys,
    pub snapshot: Keys,
    pub timestamp: Keys,
}

/// A role of targets: what it vouches for, and to whom it delegates.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetsPlan {
    pub version: u64,
    pub expires: Timestamp,
    pub targets: BTreeMap<String, TargetPlan>,
    pub delegations: Vec<DelegationPlan>,
    /// Of a director's document: the device it is for, `project/device`.
    pub device: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct TargetPlan {
    pub bytes: Vec<u8>,
    pub custom: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelegationPlan {
    pub role: String,
    pub keys: Keys,
    pub paths: Vec<String>,
}

impl Draft {
    /// What is written in the canonical form.
    ///
    /// # Errors
    /// If a number in it has a fraction.
    pub fn new(signed: Value) -> Result<Self, MakeError> {
        let message = canonical::bytes(&signed).map_err(MakeError::Canonical)?;
        Ok(Self { signed, message })
    }

    /// The bytes to sign.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// The document with these signatures, in the order of their keys' ids.
    #[must_use]
    pub fn document(&self, signatures: &[Signature]) -> Vec<u8> {
        let mut signatures = signatures.to_vec();
        signatures.sort_by(|a, b| a.keyid.cmp(&b.keyid));
        signatures.dedup_by(|a, b| a.keyid == b.keyid);
        let signatures: Vec<Value> =
            signatures.iter().map(|signature| json!({ "keyid": signature.keyid, "sig": signature.sig })).collect();
        let whole = json!({ "signatures": signatures, "signed": self.signed });
        canonical::document(&whole).expect("the signed part has a canonical form, and signatures are texts")
    }
}

/// A document with one more signature; one of the same key is replaced.
///
/// # Errors
/// If the document can't be read, or the signature is not one of this key over it.
pub fn add_signature<T: Role>(document: &[u8], key: &Key, signature: &[u8]) -> Result<Vec<u8>, MakeError> {
    let read: Document<T> = Document::read(document, Spelling::Exact).map_err(MakeError::Unreadable)?;
    let id = key_id(key);
    if !key.signed(&read.message, signature) {
        return Err(MakeError::BadSignature(id));
    }
    let mut signatures: Vec<Signature> = read.signatures.into_iter().filter(|other| other.keyid != id).collect();
    signatures.push(Signature { keyid: id, sig: hex(signature) });
    let mut whole: Value = serde_json::from_slice(document).expect("it was just read");
    Ok(Draft { signed: whole["signed"].take(), message: read.message }.document(&signatures))
}

/// A channel's next document: the one before with one release more, or, afresh, with that one only. Beyond [`limit::CHANNEL_RELEASES_MAX`] those with
/// the lowest counters go.
///
/// # Errors
/// If the one before can't be read.
pub fn next_channel(
    (before, is_afresh): (Option<&[u8]>, bool),
    expires: Timestamp,
    (path, plan): (&str, &TargetPlan),
) -> Result<Draft, MakeError> {
    let (version, mut targets) = match before {
        Some(before) => {
            let read: Document<TargetsRole> = Document::read(before, Spelling::Exact).map_err(MakeError::Unreadable)?;
            (read.signed.version, if is_afresh { BTreeMap::new() } else { read.signed.targets })
        }
        None => (0, BTreeMap::new()),
    };
    let hashes = BTreeMap::from([("sha256".to_owned(), hex(&sha2::Sha256::digest(&plan.bytes)))]);
    let target = Target { length: plan.bytes.len() as u64, hashes, custom: plan.custom.clone() };
    targets.insert(path.to_owned(), target);
    while targets.len() > limit::CHANNEL_RELEASES_MAX {
        let lowest = targets.iter().filter(|(known, _)| *known != path).min_by_key(|(_, target)| counter_of(target));
        let Some(lowest) = lowest.map(|(path, _)| path.clone()) else { break };
        targets.remove(&lowest);
    }
    let target = |target: &Target| json!({ "custom": target.custom, "hashes": target.hashes, "length": target.length });
    let targets: BTreeMap<&String, Value> = targets.iter().map(|(path, found)| (path, target(found))).collect();
    Draft::new(json!({
        "_type": "targets",
        "expires": moment(expires),
        "spec_version": SPECIFICATION,
        "targets": targets,
        "version": version + 1,
    }))
}

/// The highest counter that a channel's document gave to a release.
#[must_use]
pub fn highest_counter(document: &[u8]) -> u64 {
    let read: Option<Document<TargetsRole>> = Document::read(document, Spelling::Exact).ok();
    read.and_then(|read| read.signed.targets.values().filter_map(counter_of).max()).unwrap_or_default()
}

/// The id of a key as securesystemslib works it out. Readers don't have to.
#[must_use]
pub fn key_id(key: &Key) -> String {
    let bytes = canonical::bytes(&key_value(key)).expect("a key has texts only");
    hex(&sha2::Sha256::digest(bytes))
}

impl RootPlan {
    /// # Errors
    /// Never for times of this age; see [`Draft::new`].
    pub fn draft(&self) -> Result<Draft, MakeError> {
        let roles = [
            ("root", &self.root),
            ("snapshot", &self.snapshot),
            ("targets", &self.targets),
            ("timestamp", &self.timestamp),
        ];
        let keys = keys_value(roles.iter().map(|(_, keys)| *keys));
        let roles: BTreeMap<&str, Value> = roles.iter().map(|(name, keys)| (*name, authority(keys))).collect();
        Draft::new(json!({
            "_type": "root",
            "consistent_snapshot": true,
            "expires": moment(self.expires),
            "keys": keys,
            "roles": roles,
            "spec_version": SPECIFICATION,
            "version": self.version,
        }))
    }
}

impl TargetsPlan {
    /// # Errors
    /// See [`Draft::new`].
    pub fn draft(&self) -> Result<Draft, MakeError> {
        let target = |plan: &TargetPlan| {
            let hash = hex(&sha2::Sha256::digest(&plan.bytes));
            json!({ "custom": plan.custom, "hashes": { "sha256": hash }, "length": plan.bytes.len() })
        };
        let targets: BTreeMap<&String, Value> = self.targets.iter().map(|(path, plan)| (path, target(plan))).collect();
        let mut signed = json!({
            "_type": "targets",
            "expires": moment(self.expires),
            "spec_version": SPECIFICATION,
            "targets": targets,
            "version": self.version,
        });
        if let Some(device) = &self.device {
            signed["device"] = json!(device);
        }
        if !self.delegations.is_empty() {
            signed["delegations"] = self.delegations();
        }
        Draft::new(signed)
    }

    fn delegations(&self) -> Value {
        let keys = keys_value(self.delegations.iter().map(|delegation| &delegation.keys));
        let role = |delegation: &DelegationPlan| {
            let mut role = authority(&delegation.keys);
            role["name"] = json!(delegation.role);
            role["paths"] = json!(delegation.paths);
            // What one channel doesn't vouch for, no other may.
            role["terminating"] = json!(true);
            role
        };
        json!({ "keys": keys, "roles": self.delegations.iter().map(role).collect::<Vec<_>>() })
    }
}

/// A snapshot of roles of targets: version and bytes of each, by role.
///
/// # Errors
/// See [`Draft::new`].
pub fn snapshot(
    version: u64,
    expires: Timestamp,
    roles: &BTreeMap<String, (u64, Vec<u8>)>,
) -> Result<Draft, MakeError> {
    let meta: BTreeMap<String, Value> =
        roles.iter().map(|(role, (version, bytes))| (format!("{role}.json"), pin(*version, bytes))).collect();
    Draft::new(json!({
        "_type": "snapshot",
        "expires": moment(expires),
        "meta": meta,
        "spec_version": SPECIFICATION,
        "version": version,
    }))
}

/// A timestamp over the snapshot of this version and these bytes.
///
/// # Errors
/// See [`Draft::new`].
pub fn timestamp(version: u64, expires: Timestamp, snapshot: (u64, &[u8])) -> Result<Draft, MakeError> {
    Draft::new(json!({
        "_type": "timestamp",
        "expires": moment(expires),
        "meta": { "snapshot.json": pin(snapshot.0, snapshot.1) },
        "spec_version": SPECIFICATION,
        "version": version,
    }))
}

fn pin(version: u64, bytes: &[u8]) -> Value {
    let hash = hex(&sha2::Sha256::digest(bytes));
    json!({ "hashes": { "sha256": hash }, "length": bytes.len(), "version": version })
}

fn key_value(key: &Key) -> Value {
    json!({ "keytype": key.keytype, "keyval": { "public": key.keyval.public }, "scheme": key.scheme })
}

fn keys_value<'a>(of: impl Iterator<Item = &'a Keys>) -> BTreeMap<String, Value> {
    of.flat_map(|keys| &keys.keys).map(|key| (key_id(key), key_value(key))).collect()
}

fn authority(keys: &Keys) -> Value {
    let mut ids: Vec<String> = keys.keys.iter().map(key_id).collect();
    ids.sort();
    ids.dedup();
    json!({ "keyids": ids, "threshold": keys.threshold })
}

/// Whole seconds, as TUF 4.2 writes them; a part of a second is cut off.
#[must_use]
pub fn moment(at: Timestamp) -> String {
    let text = at.to_string();
    let seconds = text.split('.').next().unwrap_or_default();
    format!("{}Z", seconds.trim_end_matches('Z'))
}
