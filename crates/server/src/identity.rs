//! Who signs for devices and for this server, and whose signatures are believed?
//!
//! Read from the store at start and after each change of an authority; everybody else asks here, without the disk.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use muster_store::identity::{Authority, AuthorityKind};
use muster_store::{Store, StoreError};
use muster_trust::authority::issue::{IssueError, Issued, Issuer, ServerName, make_root, request_issuing};
use muster_trust::authority::request::Request;
use muster_trust::authority::verify::{Anchor, Anchors, BadChain, Leaf, Proven};
use muster_trust::authority::{DeviceName, pem};
use muster_vocab::{ProjectId, Sha256, Timestamp, limit};
use parking_lot::RwLock;
use sha2::Digest;

use crate::flow::error::FlowError;
use crate::proven::ProvenBefore;
use crate::vault::{Vault, VaultError};

/// The root's key, sealed, in the data folder until somebody takes it away. Needed to make issuing authorities only.
pub const ROOT_KEY: &str = "root.key";

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("the root's key is needed and not there: {0}")]
    NoRootKey(String),
    #[error("the key of issuing authority {0} is not text")]
    BadKey(String),
    #[error("the server has no root certificate: its database was changed by hand")]
    NoRoot,
}

#[derive(Debug)]
pub struct Identity {
    now: RwLock<Arc<Known>>,
    /// Counts changes: connections from before are looked at anew.
    generation: AtomicU64,
    proven: ProvenBefore,
}

/// All authorities as of the last change.
#[derive(Debug)]
struct Known {
    root: String,
    issuer: Issuer,
    issuing: String,
    anchors: Anchors,
}

impl Identity {
    /// Makes root and issuing authority at the first start.
    pub fn open(store: &Store, data: &Path, vault: &Vault, now: Timestamp) -> Result<Self, IdentityError> {
        if store.read(|view| view.authorities())?.is_empty() {
            first(store, data, vault, now)?;
        }
        let now = RwLock::new(Arc::new(read(store, vault)?));
        Ok(Self { now, generation: AtomicU64::new(1), proven: ProvenBefore::default() })
    }

    /// After a change of an authority.
    pub fn reload(&self, store: &Store, vault: &Vault) -> Result<(), IdentityError> {
        *self.now.write() = Arc::new(read(store, vault)?);
        self.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }

    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The root's certificate, PEM: what devices and people pin.
    #[must_use]
    pub fn root(&self) -> String {
        self.known().root.clone()
    }

    /// SHA-256 of the root's certificate.
    #[must_use]
    pub fn pin(&self) -> Sha256 {
        let der = pem::ders(&self.root()).into_iter().next().unwrap_or_default();
        Sha256(sha2::Sha256::digest(&der).into())
    }

    /// Issuing authority and root, PEM: what EST calls CA certificates.
    #[must_use]
    pub fn chain(&self) -> String {
        let known = self.known();
        format!("{}{}", known.issuing, known.root)
    }

    #[must_use]
    pub fn anchors(&self) -> impl std::ops::Deref<Target = Anchors> {
        AnchorsNow(self.known())
    }

    /// Has somebody who is believed signed for this chain? With its first certificate, read.
    pub fn prove(&self, shown: (&Leaf, &[Vec<u8>]), now: Timestamp) -> Result<Proven, BadChain> {
        self.proven.prove(&self.known().anchors, shown, now)
    }

    pub fn issue_device(
        &self,
        request: &Request,
        (project, device): (&str, &str),
        now: Timestamp,
    ) -> Result<Issued, IssueError> {
        let name = DeviceName { project: project.to_owned(), device: device.to_owned() };
        self.known().issuer.issue_device(request, &name, now, limit::DEVICE_CERTIFICATE_LIFE)
    }

    /// A certificate with its chain, and its key, both PEM.
    pub fn issue_server(&self, names: &[ServerName], now: Timestamp) -> Result<(String, String), IssueError> {
        let (issued, key) = self.known().issuer.issue_server(names, now, limit::SERVER_CERTIFICATE_LIFE)?;
        Ok((issued.chain, key))
    }

    /// A new issuing authority, to be written down. Needs the root's key.
    pub fn make_issuing(
        &self,
        store: &Store,
        (data, vault): (&Path, &Vault),
        now: Timestamp,
    ) -> Result<Authority, IdentityError> {
        let path = data.join(ROOT_KEY);
        let missing = || IdentityError::NoRootKey(path.display().to_string());
        let key = vault.read_file(&path)?.ok_or_else(missing)?;
        let key = std::str::from_utf8(&key).map_err(|_| missing())?;
        let all = store.read(|view| view.authorities())?;
        let number = all.iter().filter(|one| one.kind == AuthorityKind::Issuing).count() + 1;
        issuing(&Issuer::open(&self.root(), key, true)?, number, vault, now)
    }

    fn known(&self) -> Arc<Known> {
        self.now.read().clone()
    }
}

struct AnchorsNow(Arc<Known>);

impl std::ops::Deref for AnchorsNow {
    type Target = Anchors;

    fn deref(&self) -> &Anchors {
        &self.0.anchors
    }
}

fn read(store: &Store, vault: &Vault) -> Result<Known, IdentityError> {
    let all: Vec<Authority> =
        store.read(|view| view.authorities())?.into_iter().filter(|one| !one.is_retired).collect();
    let root = all.iter().find(|one| one.kind == AuthorityKind::Root).ok_or(IdentityError::NoRoot)?;
    let newest = all.iter().rev().find(|one| one.kind == AuthorityKind::Issuing).ok_or(IdentityError::NoRoot)?;
    let key = newest.key.as_deref().ok_or(IdentityError::NoRoot)?;
    let opened = vault.unseal(&purpose(&newest.name), key);
    let key = opened.map_err(|source| VaultError::Sealed { what: format!("the key of {}", newest.name), source })?;
    let key = std::str::from_utf8(&key).map_err(|_| IdentityError::BadKey(newest.name.clone()))?;
    let believed = all.iter().filter_map(|one| {
        let whose = match one.kind {
            AuthorityKind::Root | AuthorityKind::Tpm => return None,
            AuthorityKind::Issuing => Anchor::Own(one.id),
            AuthorityKind::Device => Anchor::Foreign { project: one.project?.0, authority: one.id },
        };
        Some((whose, pem::ders(&one.certificate).into_iter().next()?))
    });
    let (anchors, bad) = Anchors::new(believed);
    if bad > 0 {
        tracing::warn!(bad, "{bad} certificates of authorities can't be read and are not believed");
    }
    Ok(Known {
        root: root.certificate.clone(),
        issuer: Issuer::open(&newest.certificate, key, false)?,
        issuing: newest.certificate.clone(),
        anchors,
    })
}

fn first(store: &Store, data: &Path, vault: &Vault, now: Timestamp) -> Result<(), IdentityError> {
    let (root, root_key) = make_root("Muster root", now)?;
    // Durable before the certificate is.
    vault.write_file(&data.join(ROOT_KEY), root_key.as_bytes())?;
    let issuing = issuing(&Issuer::open(&root, &root_key, true)?, 1, vault, now)?;
    let root = authority((AuthorityKind::Root, "root".to_owned()), root, None, now);
    let writing = store.writer().submit(move |tx| {
        tx.insert_authority(&root)?;
        tx.insert_authority(&issuing)?;
        Ok::<_, FlowError>(())
    })?;
    let written = writing.blocking_recv().map_err(|_| StoreError::Stopped)?;
    written.map_err(|failed| match failed {
        FlowError::Store(failed) => IdentityError::Store(failed),
        _ => IdentityError::Store(StoreError::Stopped),
    })
}

fn issuing(root: &Issuer, number: usize, vault: &Vault, now: Timestamp) -> Result<Authority, IdentityError> {
    let (request, key) = request_issuing(&format!("Muster issuing {number}"))?;
    let certificate = root.sign_issuing(&request, now)?;
    let name = format!("issuing-{number}");
    let sealed = vault.seal(&purpose(&name), key.as_bytes());
    let sealed = sealed.map_err(|source| VaultError::Sealed { what: format!("the key of {name}"), source })?;
    Ok(authority((AuthorityKind::Issuing, name), certificate, Some(sealed), now))
}

/// What the key of an authority is sealed for.
#[must_use]
pub fn purpose(authority: &str) -> String {
    format!("authority {authority}")
}

fn authority(
    (kind, name): (AuthorityKind, String),
    certificate: String,
    key: Option<Vec<u8>>,
    now: Timestamp,
) -> Authority {
    Authority {
        id: 0,
        kind,
        project: None,
        name,
        certificate,
        key,
        is_retired: false,
        created_at: now,
        created_by: "muster".to_owned(),
    }
}

/// Which project a foreign authority speaks for.
#[must_use]
pub fn project_of(anchor: &Anchor) -> Option<ProjectId> {
    match anchor {
        Anchor::Own(_) => None,
        Anchor::Foreign { project, .. } => Some(ProjectId(*project)),
    }
}
