//! Who is at the other end of a connection, as far as the connection itself shows?

use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::request::Parts;
use muster_domain::identity::Recognised;
use muster_trust::authority::verify::{BadChain, Leaf, Proven};
use muster_vocab::{ProjectId, Timestamp};

use crate::App;
use crate::flow::identity;
use crate::table::{Polled, Tenant};

/// One connection; in the extensions of each request on it.
#[derive(Debug, Clone)]
pub struct Peer {
    pub address: SocketAddr,
    pub is_tls: bool,
    pub since: Timestamp,
    /// The handshake has shown that the caller has its key.
    pub certificate: Option<Arc<PeerCertificate>>,
}

#[derive(Debug)]
pub struct PeerCertificate {
    pub leaf: Leaf,
    pub proven: Result<Proven, BadChain>,
    /// Of the authorities when it was checked.
    generation: u64,
}

/// What a certificate says about the device that a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// It is the device.
    Device,
    /// It is the device, but its certificate is over: it may renew it and nothing else.
    Over,
    /// It is a copy of the device, or the device after somebody else renewed its key.
    Copied,
    Nothing,
}

impl PeerCertificate {
    pub fn read(app: &App, chain: &[Vec<u8>], now: Timestamp) -> Option<Self> {
        let leaf = Leaf::read(chain.first()?).ok()?;
        let generation = app.identity.generation();
        let proven = app.identity.prove((&leaf, chain), now);
        Some(Self { leaf, proven, generation })
    }
}

impl Peer {
    #[must_use]
    pub fn of(parts: &Parts) -> Option<&Self> {
        parts.extensions.get()
    }

    /// The certificate. If authorities have changed since it was checked, only as long as the one that has signed it
    /// is among them: a device whose authority is gone is refused on its next poll, and a new one disturbs nobody.
    #[must_use]
    pub fn certificate(&self, app: &App) -> Option<&PeerCertificate> {
        self.certificate.as_deref().filter(|found| {
            let is_believed = |by| app.identity.anchors().contains(by);
            found.generation == app.identity.generation()
                || found.proven.as_ref().is_ok_and(|proven| is_believed(&proven.by))
        })
    }

    /// The device that a certificate of our own names.
    #[must_use]
    pub fn named(&self, app: &App) -> Option<(String, String)> {
        let proven = self.certificate(app)?.proven.as_ref().ok()?;
        proven.device.as_ref().map(|name| (name.project.clone(), name.device.clone()))
    }

    /// The project whose own authority has signed for the caller, and the name that it gave him.
    #[must_use]
    pub fn foreign(&self, app: &App) -> Option<(ProjectId, &str)> {
        let proven = self.certificate(app)?.proven.as_ref().ok().filter(|proven| !proven.is_over)?;
        Some((crate::identity::project_of(&proven.by)?, proven.common_name.as_deref()?))
    }

    /// Does the caller's certificate speak for this device?
    pub async fn shows(&self, app: &App, tenant: &Tenant, name: &str, polled: &Polled) -> Shown {
        let Some(certificate) = self.certificate(app) else { return Shown::Nothing };
        let Ok(proven) = &certificate.proven else { return Shown::Nothing };
        if self.foreign(app).is_some_and(|(project, named)| project == tenant.id && named == name) {
            return Shown::Device;
        }
        let is_named = proven
            .device
            .as_ref()
            .is_some_and(|own| own.device == name && own.project.eq_ignore_ascii_case(&tenant.name));
        let Some(keys) = polled.keys.filter(|_| is_named) else { return Shown::Nothing };
        let (project, device, now, key) = (tenant.id, polled.device, app.now(), certificate.leaf.key);
        match keys.recognise(&key, self.since) {
            Recognised::Current if proven.not_after < now => Shown::Over,
            Recognised::Current => Shown::Device,
            Recognised::Next => {
                let promoted = app.write(move |tx| identity::promote(tx, now, (project, device), key)).await;
                if promoted.is_ok() { Shown::Device } else { Shown::Nothing }
            }
            Recognised::Copied => {
                // Whoever it is hears the same either way.
                let _ = app.write(move |tx| identity::noticed_copy(tx, now, (project, device), key)).await;
                Shown::Copied
            }
            Recognised::Outdated | Recognised::Unknown => Shown::Nothing,
        }
    }
}
