//! How does the server speak TLS? Version 1.3 only, with tickets, and any client certificate may be shown.
//!
//! The handshake proves that the caller has the key of what he shows; what it is worth is judged per request
//! (`peer.rs`), so that a device that is revoked is refused on its next poll, also on a connection that it resumed.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use muster_trust::authority::issue::ServerName;
use muster_trust::authority::verify;
use muster_vocab::Timestamp;
use parking_lot::{Mutex, RwLock};
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
    now: RwLock<Shown>,
    /// Of the files as they were last looked at, whether they were taken or refused.
    seen: Mutex<Stamps>,
    tickets: Arc<dyn rustls::server::ProducesTickets>,
}

/// What callers are shown, and until when.
#[derive(Debug)]
struct Shown {
    config: Arc<ServerConfig>,
    not_after: Timestamp,
    /// When an own certificate is to be replaced; files are replaced by whoever brings them.
    renew_at: Option<Timestamp>,
}

/// Certificate and key, PEM.
type Pair = (String, String);
type Tickets = Arc<dyn rustls::server::ProducesTickets>;

/// When certificate and key were changed, how long they are and which files they are; none: not there.
type Stamps = [Option<(SystemTime, u64, u64)>; 2];

impl TlsSource {
    pub fn open(config: &Config, identity: &Identity, now: Timestamp) -> Result<Self, TlsError> {
        let tickets = aws_lc_rs::Ticketer::new()?;
        let seen = stamps(&config.tls);
        let shown = make(&config.tls, identity, now, tickets.clone())?;
        Ok(Self { now: RwLock::new(shown), seen: Mutex::new(seen), tickets })
    }

    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        self.now.read().config.clone()
    }

    /// When the certificate that is shown runs out.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.now.read().not_after
    }

    /// A new own certificate once two thirds of the present one's life are over, or the files' if they have changed.
    /// Answers whether there is a new one. After an error the present one stays, and files that are refused are not
    /// looked at again before they change. Connections that are open stay. Reads files: not for an event loop.
    pub fn renew(&self, tls: &Tls, identity: &Identity, now: Timestamp) -> Result<bool, TlsError> {
        let is_due = match tls {
            Tls::Own { .. } => self.now.read().renew_at.is_some_and(|due| now >= due),
            Tls::Files { .. } => {
                // Taken before the files are read: what is written meanwhile is noticed next time.
                let found = stamps(tls);
                std::mem::replace(&mut *self.seen.lock(), found) != found
            }
        };
        if is_due {
            let shown = make(tls, identity, now, self.tickets.clone())?;
            *self.now.write() = shown;
        }
        Ok(is_due)
    }
}

fn make(tls: &Tls, identity: &Identity, now: Timestamp, tickets: Tickets) -> Result<Shown, TlsError> {
    match tls {
        Tls::Own { names } => {
            let pair = identity.issue_server(&server_names(names), now)?;
            let (config, not_after) = configuration(pair, tickets)?;
            let renew_at = Some(now.plus(not_after.since(now) * 2 / 3));
            Ok(Shown { config, not_after, renew_at })
        }
        Tls::Files { certificate, key } => {
            let (config, not_after) = configuration((read(certificate)?, read(key)?), tickets)?;
            Ok(Shown { config, not_after, renew_at: None })
        }
    }
}

fn configuration((chain, key): Pair, tickets: Tickets) -> Result<(Arc<ServerConfig>, Timestamp), TlsError> {
    let bad = |what: &str, bad: rustls::pki_types::pem::Error| TlsError::File(what.to_owned(), bad.to_string());
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|found| bad("the certificate", found))?;
    let first = chain.first().ok_or_else(|| TlsError::File("the certificate".into(), "there is none in it".into()))?;
    let not_after = verify::not_after(first)
        .map_err(|unreadable| TlsError::File("the certificate".into(), unreadable.to_string()))?;
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
    Ok((Arc::new(made), not_after))
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

fn stamps(tls: &Tls) -> Stamps {
    let Tls::Files { certificate, key } = tls else { return [None, None] };
    [certificate, key].map(|path| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.modified().ok()?, found.len(), found.ino()))
    })
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use muster_store::Store;
    use muster_vocab::limit::SERVER_CERTIFICATE_LIFE;

    use super::*;
    use crate::clock;
    use crate::config::MasterKey;
    use crate::vault::Vault;

    struct Here {
        folder: tempfile::TempDir,
        identity: Identity,
    }

    fn here() -> Here {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Box::new(|_| ())).unwrap();
        let own = MasterKey::Own(folder.path().join("master.key"));
        let vault = Vault::open(&own).unwrap();
        let identity = Identity::open(&store, folder.path(), &vault, clock::now()).unwrap();
        Here { folder, identity }
    }

    impl Here {
        fn config(&self, tls: Tls) -> Config {
            let flags = crate::config::Flags { data: Some(self.folder.path().to_owned()), ..Default::default() };
            Config { tls, ..Config::resolve(flags).unwrap() }
        }

        fn files(&self) -> Tls {
            let [certificate, key] = ["server.pem", "server.key"].map(|name| self.folder.path().join(name));
            Tls::Files { certificate, key }
        }

        /// Writes a pair that is as old as that.
        fn write(&self, age: Duration) -> Pair {
            let names = [ServerName::Dns("muster.example".into())];
            let pair = self.identity.issue_server(&names, clock::now().minus(age)).unwrap();
            std::fs::write(self.folder.path().join("server.pem"), &pair.0).unwrap();
            std::fs::write(self.folder.path().join("server.key"), &pair.1).unwrap();
            pair
        }
    }

    #[test]
    fn an_own_certificate_is_made_anew_after_two_thirds_of_its_life_and_not_before() {
        let here = here();
        let (tls, start) = (Tls::Own { names: Vec::new() }, clock::now());
        let source = TlsSource::open(&here.config(tls.clone()), &here.identity, start).unwrap();
        let (first, shown) = (source.not_after(), source.config());
        let at = |share: f64| start.plus(SERVER_CERTIFICATE_LIFE.mul_f64(share));
        assert!(!source.renew(&tls, &here.identity, at(0.66)).unwrap());
        assert!(Arc::ptr_eq(&shown, &source.config()));
        assert!(source.renew(&tls, &here.identity, at(0.67)).unwrap());
        assert!(!Arc::ptr_eq(&shown, &source.config()));
        assert!(source.not_after() > first.plus(SERVER_CERTIFICATE_LIFE / 2));
        assert!(!source.renew(&tls, &here.identity, at(0.68)).unwrap(), "it was made anew twice");
    }

    #[test]
    fn files_are_taken_when_they_change_and_refused_once_when_they_are_broken() {
        let here = here();
        let tls = here.files();
        let old = here.write(Duration::from_secs(86_400));
        let source = TlsSource::open(&here.config(tls.clone()), &here.identity, clock::now()).unwrap();
        let (first, shown) = (source.not_after(), source.config());
        assert!(!source.renew(&tls, &here.identity, clock::now()).unwrap(), "nothing has changed");
        let new = here.write(Duration::ZERO);
        std::fs::write(here.folder.path().join("server.key"), &old.1).unwrap();
        let refused = source.renew(&tls, &here.identity, clock::now()).unwrap_err();
        assert!(matches!(refused, TlsError::Pair(_)), "{refused}");
        assert!(!source.renew(&tls, &here.identity, clock::now()).unwrap(), "what was refused is looked at again");
        std::fs::write(here.folder.path().join("server.pem"), "nonsense").unwrap();
        assert!(source.renew(&tls, &here.identity, clock::now()).is_err());
        std::fs::remove_file(here.folder.path().join("server.pem")).unwrap();
        assert!(source.renew(&tls, &here.identity, clock::now()).is_err());
        assert!(Arc::ptr_eq(&shown, &source.config()) && source.not_after() == first);
        std::fs::write(here.folder.path().join("server.pem"), &new.0).unwrap();
        std::fs::write(here.folder.path().join("server.key"), &new.1).unwrap();
        assert!(source.renew(&tls, &here.identity, clock::now()).unwrap());
        assert!(source.not_after() > first);
    }
}
