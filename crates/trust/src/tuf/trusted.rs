//! Which documents are believed, and by which rule is the next one taken or refused?
//!
//! The rules are those of the client workflow of TUF 1.0, chapter 5; the numbers beside them are its sections.

use std::collections::{BTreeMap, BTreeSet};

use muster_vocab::Timestamp;

use crate::tuf::document::{
    self, Authority, Document, DocumentError, Pin, RootRole, SnapshotRole, Spelling, TargetsRole, TimestampRole,
};
use crate::tuf::key::Key;

/// The role that says which release goes to which device.
pub const DIRECTOR: &str = "director";

/// Why a document is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("{role} can't be read")]
    Unreadable {
        role: String,
        #[source]
        source: DocumentError,
    },
    #[error("{role} has {valid} good signatures and needs {threshold}")]
    Unsigned { role: String, valid: u64, threshold: u64 },
    #[error("{role} has a signature that doesn't hold")]
    BadSignature { role: String },
    #[error("{role} goes back from version {trusted} to {offered}")]
    Rollback { role: String, trusted: u64, offered: u64 },
    #[error("root version {offered} doesn't follow on version {trusted}")]
    RootOrder { trusted: u64, offered: u64 },
    #[error("{role} expired at {at}")]
    Expired { role: String, at: Timestamp },
    #[error("{role} is not what was announced: {what}")]
    Mismatch { role: String, what: &'static str },
    #[error("the new snapshot doesn't know {0} any more")]
    Removed(String),
    #[error("the snapshot doesn't know {0}")]
    NotPinned(String),
    #[error("nobody delegates to {0}")]
    NotDelegated(String),
    #[error("{0} is needed and not there")]
    Absent(String),
    #[error("the director's document is for {0:?}")]
    OtherDevice(String),
}

/// What is believed so far.
#[derive(Debug, Clone)]
pub struct Trusted {
    spelling: Spelling,
    root: Document<RootRole>,
    timestamp: Option<Document<TimestampRole>>,
    snapshot: Option<Document<SnapshotRole>>,
    /// By role and the role that delegated to it: another may name other keys.
    targets: BTreeMap<(String, String), Document<TargetsRole>>,
}

/// What a new timestamp brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    New,
    /// The version that was believed already: its bytes are not kept again.
    Same,
}

impl Trusted {
    /// Starts from a root that came by a safe way.
    ///
    /// # Errors
    /// If it doesn't hold by its own keys.
    pub fn start(root: &[u8], spelling: Spelling) -> Result<Self, Refused> {
        let root: Document<RootRole> = read("root", root, spelling)?;
        by_root(&root.signed, "root", &root, spelling)?;
        Ok(Self { spelling, root, timestamp: None, snapshot: None, targets: BTreeMap::new() })
    }

    #[must_use]
    pub fn root(&self) -> &RootRole {
        &self.root.signed
    }

    #[must_use]
    pub fn timestamp(&self) -> Option<&TimestampRole> {
        self.timestamp.as_ref().map(|document| &document.signed)
    }

    #[must_use]
    pub fn snapshot(&self) -> Option<&SnapshotRole> {
        self.snapshot.as_ref().map(|document| &document.signed)
    }

    /// A role of targets as this delegator delegates to it; `targets` is delegated by `root`.
    #[must_use]
    pub fn targets(&self, role: &str, delegator: &str) -> Option<&TargetsRole> {
        self.targets.get(&(role.to_owned(), delegator.to_owned())).map(|document| &document.signed)
    }

    /// 5.3: the next root is signed by enough keys of the one before, and by enough of its own.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub fn take_root(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let next: Document<RootRole> = read("root", bytes, self.spelling)?;
        let trusted = self.root.signed.version;
        if trusted.checked_add(1) != Some(next.signed.version) {
            return Err(Refused::RootOrder { trusted, offered: next.signed.version });
        }
        // A root has signatures of both sets of keys, so whether each of them holds is asked of both together.
        by_root(&self.root.signed, "root", &next, Spelling::Any)?;
        by_root(&next.signed, "root", &next, Spelling::Any)?;
        if self.spelling == Spelling::Exact {
            let before = keys_of(&self.root.signed.keys, &self.root.signed.roles["root"]);
            let now = keys_of(&next.signed.keys, &next.signed.roles["root"]);
            all_hold("root", &next, before.iter().chain(&now).copied())?;
        }
        self.root = next;
        // 5.3.11: what older keys signed is looked at again under the new ones.
        (self.timestamp, self.snapshot) = (None, None);
        self.targets.clear();
        Ok(())
    }

    /// 5.3.10.
    ///
    /// # Errors
    /// If the root has expired.
    pub fn root_is_fresh(&self, now: Timestamp) -> Result<(), Refused> {
        fresh("root", self.root.signed.expires, now)
    }

    /// A kept timestamp: the floor that a new one may not go below, however old it is.
    ///
    /// # Errors
    /// If the keys of today didn't sign it: then it says nothing (5.3.11).
    pub fn remember_timestamp(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let kept: Document<TimestampRole> = read("timestamp", bytes, self.spelling)?;
        by_root(&self.root.signed, "timestamp", &kept, self.spelling)?;
        self.timestamp = Some(kept);
        Ok(())
    }

    /// 5.4.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub fn take_timestamp(&mut self, bytes: &[u8], now: Timestamp) -> Result<Taken, Refused> {
        let next: Document<TimestampRole> = read("timestamp", bytes, self.spelling)?;
        by_root(&self.root.signed, "timestamp", &next, self.spelling)?;
        if let Some(trusted) = &self.timestamp {
            let (trusted, offered) = (&trusted.signed, &next.signed);
            no_rollback("timestamp", trusted.version, offered.version)?;
            if trusted.version == offered.version {
                fresh("timestamp", trusted.expires, now)?;
                return Ok(Taken::Same);
            }
            no_rollback("snapshot", snapshot_pin(trusted).version, snapshot_pin(offered).version)?;
        }
        fresh("timestamp", next.signed.expires, now)?;
        self.timestamp = Some(next);
        Ok(Taken::New)
    }

    /// A kept snapshot: the floor for a new one. Says whether it is the one that the timestamp names, so that no other
    /// is needed.
    ///
    /// # Errors
    /// If the keys of today didn't sign it.
    pub fn remember_snapshot(&mut self, bytes: &[u8], now: Timestamp) -> Result<bool, Refused> {
        let kept: Document<SnapshotRole> = read("snapshot", bytes, self.spelling)?;
        by_root(&self.root.signed, "snapshot", &kept, self.spelling)?;
        let pin = self.snapshot_wanted()?;
        let current = pin.version == kept.signed.version
            && announced("snapshot", bytes, pin).is_ok()
            && kept.signed.expires > now;
        self.snapshot = Some(kept);
        Ok(current)
    }

    /// What the timestamp says that the snapshot is like.
    ///
    /// # Errors
    /// If there is no timestamp yet.
    pub fn snapshot_wanted(&self) -> Result<&Pin, Refused> {
        self.timestamp().map(snapshot_pin).ok_or_else(|| Refused::Absent("timestamp".into()))
    }

    /// 5.5.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub fn take_snapshot(&mut self, bytes: &[u8], now: Timestamp) -> Result<(), Refused> {
        let pin = self.snapshot_wanted()?;
        announced("snapshot", bytes, pin)?;
        let next: Document<SnapshotRole> = read("snapshot", bytes, self.spelling)?;
        by_root(&self.root.signed, "snapshot", &next, self.spelling)?;
        right_version("snapshot", pin, next.signed.version)?;
        if let Some(trusted) = &self.snapshot {
            for (name, pin) in &trusted.signed.meta {
                let offered = next.signed.meta.get(name).ok_or_else(|| Refused::Removed(name.clone()))?;
                no_rollback(name, pin.version, offered.version)?;
            }
        }
        fresh("snapshot", next.signed.expires, now)?;
        self.snapshot = Some(next);
        self.targets.clear();
        Ok(())
    }

    /// What the snapshot says that a role of targets is like.
    ///
    /// # Errors
    /// If it doesn't know it.
    pub fn targets_wanted(&self, role: &str) -> Result<&Pin, Refused> {
        let snapshot = self.snapshot().ok_or_else(|| Refused::Absent("snapshot".into()))?;
        snapshot.meta.get(&format!("{role}.json")).ok_or_else(|| Refused::NotPinned(role.to_owned()))
    }

    /// 5.6: a role of targets, delegated to by another one or, for `targets`, by `root`.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub fn take_targets(&mut self, bytes: &[u8], role: &str, delegator: &str, now: Timestamp) -> Result<(), Refused> {
        let pin = self.targets_wanted(role)?;
        announced(role, bytes, pin)?;
        let next: Document<TargetsRole> = read(role, bytes, self.spelling)?;
        if delegator == "root" {
            by_root(&self.root.signed, role, &next, self.spelling)?;
        } else {
            let delegations = self.targets_of(delegator).and_then(|targets| targets.delegations.as_ref());
            let found = delegations.and_then(|delegations| {
                let delegation = delegations.roles.iter().find(|delegation| delegation.name == role)?;
                Some((&delegations.keys, &delegation.authority))
            });
            let (keys, authority) = found.ok_or_else(|| Refused::NotDelegated(role.to_owned()))?;
            signed(role, &next, (keys, authority), self.spelling)?;
        }
        right_version(role, pin, next.signed.version)?;
        fresh(role, next.signed.expires, now)?;
        self.targets.insert((role.to_owned(), delegator.to_owned()), next);
        Ok(())
    }

    /// Whether somebody else than the channels has to say which release goes to which device. Signed offline, with the
    /// top of the targets.
    #[must_use]
    pub fn has_director(&self) -> bool {
        self.director().is_some()
    }

    /// What the director says to this device (Uptane's idea): a document like one of targets, signed by the key of the
    /// role `director`, which no channel has. It is in no snapshot, for it is made when the device asks.
    ///
    /// # Errors
    /// If it is not the director's, is for another device, older than the one kept, or expired.
    pub fn take_director(
        &self,
        bytes: &[u8],
        device: &str,
        kept: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<TargetsRole, Refused> {
        let (keys, authority) = self.director().ok_or_else(|| Refused::NotDelegated(DIRECTOR.into()))?;
        let read = |bytes: &[u8]| {
            let document: Document<TargetsRole> = read(DIRECTOR, bytes, self.spelling)?;
            signed(DIRECTOR, &document, (keys, authority), self.spelling)?;
            if document.signed.device.as_deref() == Some(device) {
                return Ok(document.signed);
            }
            Err(Refused::OtherDevice(document.signed.device.unwrap_or_default()))
        };
        let next = read(bytes)?;
        // One that today's key didn't sign is no floor.
        if let Some(Ok(kept)) = kept.map(read) {
            no_rollback(DIRECTOR, kept.version, next.version)?;
        }
        fresh(DIRECTOR, next.expires, now)?;
        Ok(next)
    }

    fn director(&self) -> Option<(&BTreeMap<String, Key>, &Authority)> {
        let delegations = self.targets("targets", "root")?.delegations.as_ref()?;
        let delegation = delegations.roles.iter().find(|delegation| delegation.name == DIRECTOR)?;
        Some((&delegations.keys, &delegation.authority))
    }

    /// A role under whoever delegated to it: a search comes to each role once.
    fn targets_of(&self, role: &str) -> Option<&TargetsRole> {
        self.targets.iter().find(|((name, _), _)| name == role).map(|(_, document)| &document.signed)
    }
}

fn read<T: document::Role>(role: &str, bytes: &[u8], spelling: Spelling) -> Result<Document<T>, Refused> {
    Document::read(bytes, spelling).map_err(|source| Refused::Unreadable { role: role.to_owned(), source })
}

fn snapshot_pin(timestamp: &TimestampRole) -> &Pin {
    timestamp.meta.get("snapshot.json").expect("a timestamp without it is not readable")
}

/// Signed as the root wants it for one of the four roles.
fn by_root<T>(root: &RootRole, role: &str, document: &Document<T>, spelling: Spelling) -> Result<(), Refused> {
    let authority = root.roles.get(role).expect("a root without all four roles is not readable");
    signed(role, document, (&root.keys, authority), spelling)
}

fn signed<T>(
    role: &str,
    document: &Document<T>,
    (keys, authority): (&BTreeMap<String, Key>, &Authority),
    spelling: Spelling,
) -> Result<(), Refused> {
    let keys = keys_of(keys, authority);
    if spelling == Spelling::Exact {
        all_hold(role, document, keys.iter().copied())?;
    }
    // One key under two ids counts once.
    let mut valid = BTreeSet::new();
    for signature in &document.signatures {
        let key = keys.iter().find(|(id, _)| **id == signature.keyid);
        if let Some((_, key)) = key.filter(|(_, key)| key.signed(&document.message, &signature.bytes())) {
            valid.insert(key.keyval.public.trim());
        }
    }
    let valid = valid.len() as u64;
    if valid >= authority.threshold {
        return Ok(());
    }
    Err(Refused::Unsigned { role: role.to_owned(), valid, threshold: authority.threshold })
}

fn keys_of<'a>(keys: &'a BTreeMap<String, Key>, authority: &'a Authority) -> Vec<(&'a String, &'a Key)> {
    authority.keyids.iter().filter_map(|id| Some((id, keys.get(id)?))).collect()
}

fn all_hold<'a, T>(
    role: &str,
    document: &Document<T>,
    keys: impl Iterator<Item = (&'a String, &'a Key)> + Clone,
) -> Result<(), Refused> {
    let holds = |signature: &document::Signature| {
        let bytes = signature.bytes();
        keys.clone().any(|(id, key)| *id == signature.keyid && key.signed(&document.message, &bytes))
    };
    if document.signatures.iter().all(holds) {
        return Ok(());
    }
    Err(Refused::BadSignature { role: role.to_owned() })
}

fn announced(role: &str, bytes: &[u8], pin: &Pin) -> Result<(), Refused> {
    let nothing = BTreeMap::new();
    if document::matches(bytes, pin.length, pin.hashes.as_ref().unwrap_or(&nothing)) {
        return Ok(());
    }
    Err(Refused::Mismatch { role: role.to_owned(), what: "its length or hash is another" })
}

fn right_version(role: &str, pin: &Pin, version: u64) -> Result<(), Refused> {
    if pin.version == version {
        return Ok(());
    }
    Err(Refused::Mismatch { role: role.to_owned(), what: "its version is another" })
}

fn no_rollback(role: &str, trusted: u64, offered: u64) -> Result<(), Refused> {
    if offered >= trusted {
        return Ok(());
    }
    Err(Refused::Rollback { role: role.to_owned(), trusted, offered })
}

fn fresh(role: &str, expires: Timestamp, now: Timestamp) -> Result<(), Refused> {
    if expires > now {
        return Ok(());
    }
    Err(Refused::Expired { role: role.to_owned(), at: expires })
}
