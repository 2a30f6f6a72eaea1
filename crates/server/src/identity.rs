//! Who signs for devices and for this server, and whose signatures are believed?
//!
//! Read from the store at start and after each change of an authority; everybody else asks here, without the disk.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use muster_store::identity::{Authority, AuthorityKind};
use muster_store::{Store, StoreError};
use muster_trust::authority::issue::{IssueError, Issued, Issuer, ServerName, make_root, request_issuing};
use muster_trust::authority::request::Request;
use muster_trust::authority::verify::{Anchor, Anchors};
use muster_trust::authority::{DeviceName, pem};
use muster_vocab::{ProjectId, Sha256, Timestamp, limit};
use parking_lot::RwLock;
use sha2::Digest;

use crate::flow::error::FlowError;

/// The root's key, in the data folder until somebody takes it away. Needed to make issuing authorities only.
pub const ROOT_KEY: &str = "root.key";

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error("{what} {path}")]
    File {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the server has no root certificate: its database was changed by hand")]
    NoRoot,
}

#[derive(Debug)]
pub struct Identity {
    now: RwLock<Arc<Known>>,
    /// Counts changes: connections from before are looked at anew.
    generation: AtomicU64,
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
    pub fn open(store: &Store, data: &Path, now: Timestamp) -> Result<Self, IdentityError> {
        if store.read(|view| view.authorities())?.is_empty() {
            first(store, data, now)?;
        }
        Ok(Self { now: RwLock::new(Arc::new(read(store)?)), generation: AtomicU64::new(1) })
    }

    /// After a change of an authority.
    pub fn reload(&self, store: &Store) -> Result<(), IdentityError> {
        *self.now.write() = Arc::new(read(store)?);
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
    pub fn make_issuing(&self, store: &Store, data: &Path, now: Timestamp) -> Result<Authority, IdentityError> {
        let path = data.join(ROOT_KEY);
        let key = std::fs::read_to_string(&path).map_err(|source| IdentityError::File {
            what: "the root's key is needed and not there:",
            path,
            source,
        })?;
        let all = store.read(|view| view.authorities())?;
        let number = all.iter().filter(|one| one.kind == AuthorityKind::Issuing).count() + 1;
        issuing(&Issuer::open(&self.root(), &key, true)?, number, now)
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

fn read(store: &Store) -> Result<Known, IdentityError> {
    let all: Vec<Authority> =
        store.read(|view| view.authorities())?.into_iter().filter(|one| !one.is_retired).collect();
    let root = all.iter().find(|one| one.kind == AuthorityKind::Root).ok_or(IdentityError::NoRoot)?;
    let newest = all.iter().rev().find(|one| one.kind == AuthorityKind::Issuing).ok_or(IdentityError::NoRoot)?;
    let key = newest.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()).ok_or(IdentityError::NoRoot)?;
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

fn first(store: &Store, data: &Path, now: Timestamp) -> Result<(), IdentityError> {
    let (root, root_key) = make_root("Muster root", now)?;
    write_secret(&data.join(ROOT_KEY), &root_key)?;
    let issuing = issuing(&Issuer::open(&root, &root_key, true)?, 1, now)?;
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

fn issuing(root: &Issuer, number: usize, now: Timestamp) -> Result<Authority, IdentityError> {
    let (request, key) = request_issuing(&format!("Muster issuing {number}"))?;
    let certificate = root.sign_issuing(&request, now)?;
    Ok(authority((AuthorityKind::Issuing, format!("issuing-{number}")), certificate, Some(key), now))
}

fn authority(
    (kind, name): (AuthorityKind, String),
    certificate: String,
    key: Option<String>,
    now: Timestamp,
) -> Authority {
    Authority {
        id: 0,
        kind,
        project: None,
        name,
        certificate,
        key: key.map(String::into_bytes),
        is_retired: false,
        created_at: now,
        created_by: "muster".to_owned(),
    }
}

/// Readable by its owner only, and durable before the certificate is.
fn write_secret(path: &Path, text: &str) -> Result<(), IdentityError> {
    let failed = |source| IdentityError::File { what: "writing", path: path.to_owned(), source };
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    let folder = path.parent().map(std::fs::File::open).transpose().map_err(failed)?;
    folder.map_or(Ok(()), |folder| folder.sync_all().map_err(failed))
}

/// Which project a foreign authority speaks for.
#[must_use]
pub fn project_of(anchor: &Anchor) -> Option<ProjectId> {
    match anchor {
        Anchor::Own(_) => None,
        Anchor::Foreign { project, .. } => Some(ProjectId(*project)),
    }
}
