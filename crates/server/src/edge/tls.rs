//! How does the server speak TLS? Version 1.3 only, with tickets, and any client certificate may be shown.
//!
//! The handshake proves that the caller has the key of what he shows; what it is worth is judged per request
//! (`peer.rs`), so that a device that is revoked is refused on its next poll, also on a connection that it resumed.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use muster_trust::authority::issue::ServerName;
use muster_vocab::Timestamp;
use parking_lot::RwLock;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};

use crate::config::{Config, Tls};
use crate::identity::{Identity, IdentityError};

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("making the server's certificate")]
    Issue(#[from] muster_trust::authority::issue::IssueError),
    #[error("reading {0}: {1}")]
    File(String, String),
    #[error("the server's certificate and key don't go together: {0}")]
    Pair(#[from] rustls::Error),
}

/// The configuration of the listener; replaced when the certificate is.
#[derive(Debug)]
pub struct TlsSource {
    now: RwLock<Arc<ServerConfig>>,
    /// Of the files that the certificate came from.
    changed: RwLock<Option<SystemTime>>,
    tickets: Arc<dyn rustls::server::ProducesTickets>,
}

impl TlsSource {
    pub fn open(config: &Config, identity: &Identity, now: Timestamp) -> Result<Self, TlsError> {
        let tickets = aws_lc_rs::Ticketer::new()?;
        let (made, changed) = make(config, identity, (now, tickets.clone()))?;
        Ok(Self { now: RwLock::new(made), changed: RwLock::new(changed), tickets })
    }

    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        self.now.read().clone()
    }

    /// A new own certificate, or the files' if they have changed. Connections that are open stay.
    pub fn renew(&self, config: &Config, identity: &Identity, now: Timestamp) -> Result<bool, TlsError> {
        if let Tls::Files { certificate, .. } = &config.tls
            && modified(certificate) == *self.changed.read()
        {
            return Ok(false);
        }
        let (made, changed) = make(config, identity, (now, self.tickets.clone()))?;
        *self.now.write() = made;
        *self.changed.write() = changed;
        Ok(true)
    }
}

type Made = (Arc<ServerConfig>, Option<SystemTime>);

fn make(
    config: &Config,
    identity: &Identity,
    (now, tickets): (Timestamp, Arc<dyn rustls::server::ProducesTickets>),
) -> Result<Made, TlsError> {
    let (chain, key, changed) = match &config.tls {
        Tls::Own { names } => {
            let (chain, key) = identity.issue_server(&server_names(names), now)?;
            (chain, key, None)
        }
        Tls::Files { certificate, key } => (read(certificate)?, read(key)?, modified(certificate)),
    };
    let bad = |what: &str, bad: rustls::pki_types::pem::Error| TlsError::File(what.to_owned(), bad.to_string());
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|found| bad("the certificate", found))?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|found| bad("the key", found))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(AnyClient::new(&provider));
    let mut made = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    made.ticketer = tickets;
    // One is enough for a device, which has one connection.
    made.send_tls13_tickets = 1;
    made.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((Arc::new(made), changed))
}

/// The names that were asked for, and those by which this machine calls itself.
fn server_names(asked: &[String]) -> Vec<ServerName> {
    let own = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut names: Vec<ServerName> = Vec::new();
    for name in asked.iter().map(String::as_str).chain(["localhost", "127.0.0.1", "::1", own.as_str()]) {
        let name = name.parse::<IpAddr>().map_or_else(|_| ServerName::Dns(name.to_owned()), ServerName::Ip);
        if !names.contains(&name) && is_speakable(&name) {
            names.push(name);
        }
    }
    names
}

/// Host names that people give machines are not always names of the DNS.
fn is_speakable(name: &ServerName) -> bool {
    match name {
        ServerName::Dns(name) => rustls::pki_types::DnsName::try_from(name.as_str()).is_ok() || name.starts_with("*."),
        ServerName::Ip(_) => true,
    }
}

fn read(path: &Path) -> Result<String, TlsError> {
    std::fs::read_to_string(path).map_err(|failed| TlsError::File(path.display().to_string(), failed.to_string()))
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|found| found.modified()).ok()
}

/// Takes any certificate whose key the caller has, also none.
#[derive(Debug)]
struct AnyClient {
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnyClient {
    fn new(provider: &CryptoProvider) -> Self {
        Self { algorithms: provider.signature_verification_algorithms }
    }
}

impl ClientCertVerifier for AnyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
