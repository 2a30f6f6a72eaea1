//! Who calls, by its certificate?
//!
//! The handshake has shown that the caller has the key (TLS 1.3 CertificateVerify); here is decided whether somebody
//! who is believed has signed for it.

use muster_vocab::Timestamp;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use sha2::{Digest, Sha256};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::DeviceName;

/// Has this root signed this issuing authority, for this key? All of it PEM.
pub fn is_issued(root: &str, issuing: &str, request: &str) -> Result<bool, BadChain> {
    let one = |text: &str| super::pem::ders(text).into_iter().next().ok_or(BadChain::Unreadable);
    let (root, issuing) = (one(root)?, one(issuing)?);
    let read = |der| x509_parser::certificate::X509Certificate::from_der(der).map_err(|_| BadChain::Unreadable);
    let ((_, root), (_, issuing)) = (read(&root)?, read(&issuing)?);
    let asked = super::request::Request::parse(request.as_bytes()).map_err(|_| BadChain::Unreadable)?;
    Ok(issuing.verify_signature(Some(root.public_key())).is_ok()
        && issuing.issuer() == root.subject()
        && issuing.is_ca()
        && issuing.public_key().raw == asked.public_key)
}

/// Certificates that a caller may show: leaf, issuing authorities, root.
const CHAIN_MAX: usize = 6;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadChain {
    #[error("the certificate can't be read")]
    Unreadable,
    #[error("the certificate is signed by nobody that this server believes: {0}")]
    Unknown(String),
    #[error("the certificate names no device of this server")]
    Nameless,
}

/// Somebody whose signature is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Anchor {
    /// Muster's own issuing authority with this number.
    Own(i64),
    /// An authority that a project has registered.
    Foreign { project: i64, authority: i64 },
}

/// All that are believed. Made anew when one comes or goes.
#[derive(Debug, Default)]
pub struct Anchors {
    anchors: Vec<TrustAnchor<'static>>,
    whose: Vec<Anchor>,
}

/// What a certificate says, whoever signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// SHA-256 of its public key.
    pub key: [u8; 32],
    pub common_name: Option<String>,
    /// If it names one of ours; to be believed only of our own authority's.
    device: Option<DeviceName>,
    not_after: Timestamp,
    /// SHA-256 of all of it.
    pub digest: [u8; 32],
}

/// A certificate that somebody who is believed has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    pub by: Anchor,
    /// Of certificates by the own authority only: nobody else names our devices.
    pub device: Option<DeviceName>,
    pub common_name: Option<String>,
    pub not_after: Timestamp,
    /// It has run out: it is good for being renewed, and for nothing else.
    pub is_over: bool,
}

impl Anchors {
    /// `certificates`: DER. What can't be read is left out and counted.
    pub fn new(certificates: impl IntoIterator<Item = (Anchor, Vec<u8>)>) -> (Self, usize) {
        let (mut made, mut bad) = (Self::default(), 0);
        for (whose, der) in certificates {
            let der = CertificateDer::from(der);
            match anchor_from_trusted_cert(&der) {
                Ok(anchor) => {
                    made.anchors.push(anchor.to_owned());
                    made.whose.push(whose);
                }
                Err(_) => bad += 1,
            }
        }
        (made, bad)
    }

    /// Is a signature that was believed once still believed?
    #[must_use]
    pub fn contains(&self, whose: &Anchor) -> bool {
        self.whose.contains(whose)
    }

    /// `chain`: the caller's certificate first, DER, as the handshake brought it.
    pub fn verify(&self, chain: &[Vec<u8>], now: Timestamp) -> Result<Proven, BadChain> {
        self.prove(&Leaf::read(chain.first().ok_or(BadChain::Unreadable)?)?, chain, now)
    }

    /// The same of a chain whose first certificate was read before.
    pub fn prove(&self, said: &Leaf, chain: &[Vec<u8>], now: Timestamp) -> Result<Proven, BadChain> {
        let (leaf, others) = chain.split_first().ok_or(BadChain::Unreadable)?;
        if others.len() >= CHAIN_MAX {
            return Err(BadChain::Unknown("the chain is too long".into()));
        }
        let at = |now: Timestamp| self.anchor_of(leaf, others, now);
        let (by, is_over) = match at(now) {
            Ok(by) => (by, false),
            Err(webpki::Error::CertExpired { .. }) if now > said.not_after => {
                (at(said.not_after).map_err(unknown)?, true)
            }
            Err(other) => return Err(unknown(other)),
        };
        said.proven(by, is_over)
    }

    fn anchor_of(&self, leaf: &[u8], others: &[Vec<u8>], now: Timestamp) -> Result<Anchor, webpki::Error> {
        let leaf = CertificateDer::from(leaf);
        let others: Vec<CertificateDer<'_>> = others.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        let leaf = EndEntityCert::try_from(&leaf)?;
        let seconds = u64::try_from(now.0.div_euclid(1000)).unwrap_or(0);
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let usage = KeyUsage::client_auth();
        let path =
            leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &self.anchors, &others, time, usage, None, None)?;
        let found = self.anchors.iter().position(|anchor| anchor == path.anchor());
        found.map(|at| self.whose[at].clone()).ok_or(webpki::Error::UnknownIssuer)
    }
}

impl Leaf {
    pub fn read(der: &[u8]) -> Result<Self, BadChain> {
        let (_, certificate) =
            x509_parser::certificate::X509Certificate::from_der(der).map_err(|_| BadChain::Unreadable)?;
        let common_name = certificate.subject().iter_common_name().next();
        let common_name = common_name.and_then(|name| name.as_str().ok()).map(str::to_owned);
        let names = certificate.subject_alternative_name().map_err(|_| BadChain::Unreadable)?;
        let mut uris = names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
            GeneralName::URI(uri) => DeviceName::from_uri(uri),
            _ => None,
        });
        Ok(Self {
            key: Sha256::digest(certificate.public_key().raw).into(),
            common_name,
            device: uris.next(),
            not_after: end_of(&certificate),
            digest: Sha256::digest(der).into(),
        })
    }

    /// What was proven of this very certificate before: only time goes on. `by` is still believed.
    pub fn prove_again(&self, by: Anchor, now: Timestamp) -> Result<Proven, BadChain> {
        self.proven(by, now > self.not_after)
    }

    fn proven(&self, by: Anchor, is_over: bool) -> Result<Proven, BadChain> {
        let device = match &by {
            Anchor::Own(_) => Some(self.device.clone().ok_or(BadChain::Nameless)?),
            Anchor::Foreign { .. } => None,
        };
        Ok(Proven { by, device, common_name: self.common_name.clone(), not_after: self.not_after, is_over })
    }
}

/// Is it a certificate that may sign others?
#[must_use]
pub fn is_authority(der: &[u8]) -> bool {
    x509_parser::certificate::X509Certificate::from_der(der).is_ok_and(|(_, certificate)| certificate.is_ca())
}

/// When a certificate runs out. `der`: the certificate.
pub fn not_after(der: &[u8]) -> Result<Timestamp, BadChain> {
    let (_, certificate) =
        x509_parser::certificate::X509Certificate::from_der(der).map_err(|_| BadChain::Unreadable)?;
    Ok(end_of(&certificate))
}

fn end_of(certificate: &x509_parser::certificate::X509Certificate<'_>) -> Timestamp {
    Timestamp(certificate.validity().not_after.timestamp().saturating_mul(1000))
}

fn unknown(bad: webpki::Error) -> BadChain {
    BadChain::Unknown(bad.to_string())
}
