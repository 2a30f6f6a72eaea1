//! How does a device reach its server? HTTPS to one address, with a CA of its own if one is given.
//!
//! Who else answers – a captive portal, a proxy's error page – is taken for nobody: answers carry `Muster-Protocol`.

#[cfg(test)]
mod tests;

use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use muster_vocab::{Timestamp, limit};
use muster_wire::agent::{Joined, Renewal, SessionKind, Transferred};
use rustls::pki_types::CertificateDer;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, http};

use super::identity::{Identity, IdentityError, NewKey, certificates};
use super::session::{Server, Sessions};
use super::tpm;
use crate::world::{Call, Net, NetError, Proof, Reply};

/// On each answer of a Muster server under `/device/v1`.
const PROTOCOL: &str = "muster-protocol";
/// In a refusal's body: the certificate has run out, whatever this device's clock says.
const OVER: &[u8] = b"certificate_over";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Without a single byte for this long, a download is broken off; what came is kept.
const FETCH_TIMEOUT: Duration = Duration::from_secs(300);
/// Read and written at a time.
const PIECE_BYTES: usize = 64 * 1024;

pub struct RealNet {
    /// Replaced when the device gets a new certificate.
    live: RwLock<Live>,
    /// `https://host[:port]`
    server: String,
    token: String,
    /// The CA's certificates, if one was named.
    roots: Vec<CertificateDer<'static>>,
    /// The server says that the certificate has run out.
    is_over: AtomicBool,
    sessions: Sessions,
}

/// Connections, and what the device shows on them.
#[derive(Clone)]
struct Live {
    agent: Agent,
    identity: Option<Identity>,
}

/// How a device reaches its server.
#[derive(Debug, Clone, Default)]
pub struct Reach<'a> {
    /// `https://host[:port]`; plain HTTP only if it says so.
    pub server: &'a str,
    /// Empty: it shows its certificate, or nothing.
    pub token: &'a str,
    /// A PEM file; then nothing else is trusted.
    pub ca: Option<&'a Path>,
    /// Trusts the server's own root, too, if there is no `ca`.
    pub identity: Option<Identity>,
}

#[derive(Debug, thiserror::Error)]
pub enum NetSetupError {
    #[error("the server's address {0:?} is not of the form https://host or https://host:port")]
    Address(String),
    #[error("reading the certificates in {path}")]
    Read {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("{0} has no certificate in PEM form (-----BEGIN CERTIFICATE-----)")]
    NoCertificate(String),
    #[error("this device's certificate and key can't be read: join again")]
    NoIdentity,
}

#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("asking for a new certificate")]
    Net(#[from] NetError),
    #[error("the server gave no new certificate (status {0})")]
    Refused(u16),
    #[error("the server's answer makes no sense")]
    Answer(#[source] serde_json::Error),
    #[error(transparent)]
    Setup(#[from] NetSetupError),
}

impl RealNet {
    pub fn new(reach: Reach<'_>) -> Result<Self, NetSetupError> {
        let server = reach.server.trim_end_matches('/');
        if !is_address(server) {
            return Err(NetSetupError::Address(server.to_owned()));
        }
        let roots = match (reach.ca, &reach.identity) {
            (Some(path), _) => ca_certificates(path)?,
            (None, Some(identity)) => certificates(identity.certificate.root.as_bytes()),
            (None, None) => Vec::new(),
        };
        let roots = roots.iter().map(|found| CertificateDer::from(found.der().to_vec())).collect::<Vec<_>>();
        let live = Live::new(&roots, reach.identity)?;
        let (server, token) = (server.to_owned(), reach.token.to_owned());
        let is_over = AtomicBool::new(false);
        Ok(Self { live: RwLock::new(live), server, token, roots, is_over, sessions: Sessions::default() })
    }

    /// The server's root certificate (PEM), from whoever answers: believed only by its digest.
    pub fn unproven_root(server: &str) -> Result<Vec<u8>, NetError> {
        let tls = TlsConfig::builder().disable_verification(true).build();
        let config = Agent::config_builder().max_redirects(0).timeout_global(Some(CONNECT_TIMEOUT)).tls_config(tls);
        let agent = config.build().new_agent();
        let path = format!("{}/device/v1/root", server.trim_end_matches('/'));
        let mut response = agent.get(path).call().map_err(|failed| unreachable(&failed))?;
        check_origin(&response)?;
        response.body_mut().with_config().limit(64 * 1024).read_to_vec().map_err(|failed| unreachable(&failed))
    }

    /// Gets a new certificate if it is time, and goes on with it. Returns when it ends.
    pub fn renew_if_due(&self, folder: &Path, now: Timestamp) -> Result<Option<Timestamp>, RenewError> {
        let current = self.live().identity;
        let is_due = |identity: &Identity| identity.is_due(now) || self.is_over.load(Ordering::Relaxed);
        if !current.as_ref().is_some_and(is_due) {
            return Ok(None);
        }
        // A key in a TPM can't be copied, so that there is nothing to gain by another one.
        let same = current.as_ref().map(Identity::key).filter(NewKey::is_in_tpm);
        let key = same.map_or_else(NewKey::make, Ok)?;
        let body = serde_json::to_vec(&Renewal { request: key.request()? }).map_err(RenewError::Answer)?;
        let call =
            Call { method: "POST", path: "/device/v1/certificate", body: Some(&body), timeout: CONNECT_TIMEOUT * 2 };
        let reply = self.call(&call)?;
        if reply.status >= 300 {
            return Err(RenewError::Refused(reply.status));
        }
        let identity = key.with(serde_json::from_slice(&reply.body).map_err(RenewError::Answer)?);
        let live = Live::new(&self.roots, Some(identity.clone()))?;
        // Before it is used: from then on the old one counts no more.
        identity.write(folder)?;
        let not_after = identity.certificate.not_after;
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = live;
        self.is_over.store(false, Ordering::Relaxed);
        Ok(Some(not_after))
    }

    /// What the device proves itself by in the project that it belongs to now. Its key stays the same.
    pub fn follow(&self) -> Result<(Joined, Option<Identity>), RenewError> {
        let key = self.live().identity.map(|identity| identity.key());
        let request = key.as_ref().map(NewKey::request).transpose()?;
        let body = serde_json::to_vec(&Transferred { request }).map_err(RenewError::Answer)?;
        let call =
            Call { method: "POST", path: "/device/v1/transfer", body: Some(&body), timeout: CONNECT_TIMEOUT * 2 };
        let reply = self.call(&call)?;
        if reply.status >= 300 {
            return Err(RenewError::Refused(reply.status));
        }
        let joined: Joined = serde_json::from_slice(&reply.body).map_err(RenewError::Answer)?;
        let identity = key.zip(joined.certificate.clone()).map(|(key, certificate)| key.with(certificate));
        Ok((joined, identity))
    }

    /// The server's root as the device's certificate came with it.
    #[must_use]
    pub fn root(&self) -> Option<String> {
        self.live().identity.map(|identity| identity.certificate.root).filter(|root| !root.is_empty())
    }

    fn live(&self) -> Live {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The same connections with the token of another device: simulated fleets share them.
    #[must_use]
    pub fn sharing(&self, token: &str) -> Self {
        Self {
            live: RwLock::new(self.live()),
            server: self.server.clone(),
            token: token.to_owned(),
            roots: self.roots.clone(),
            is_over: AtomicBool::new(false),
            sessions: self.sessions.clone(),
        }
    }

    fn request(&self, method: &str, path: &str) -> http::request::Builder {
        let request = http::Request::builder().method(method).uri(format!("{}{path}", self.server));
        match self.token.is_empty() {
            true => request,
            false => request.header("authorization", format!("Bearer {}", self.token)),
        }
    }

    fn send(&self, call: &Call<'_>) -> Result<http::Response<Body>, ureq::Error> {
        let agent = self.live().agent;
        let request = self.request(call.method, call.path);
        let bad = |bad: http::Error| ureq::Error::Http(bad);
        match call.body {
            Some(body) => {
                let request = request.header("content-type", "application/json").body(body).map_err(bad)?;
                let request = agent.configure_request(request).timeout_global(Some(call.timeout)).build();
                agent.run(request)
            }
            None => {
                let request = request.body(()).map_err(bad)?;
                let request = agent.configure_request(request).timeout_global(Some(call.timeout)).build();
                agent.run(request)
            }
        }
    }
}

impl Live {
    fn new(roots: &[CertificateDer<'static>], identity: Option<Identity>) -> Result<Self, NetSetupError> {
        let mut tls = TlsConfig::builder().unversioned_rustls_crypto_provider(tpm::provider());
        if !roots.is_empty() {
            let roots: Vec<_> = roots.iter().map(|root| Certificate::from_der(root).to_owned()).collect();
            tls = tls.root_certs(RootCerts::Specific(Arc::new(roots)));
        }
        if let Some(identity) = &identity {
            tls = tls.client_cert(Some(identity.client().ok_or(NetSetupError::NoIdentity)?));
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // A device talks to its server, and to nobody that somebody on the way names.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .max_idle_connections(1)
            .max_idle_connections_per_host(1)
            .input_buffer_size(PIECE_BYTES)
            .output_buffer_size(16 * 1024)
            .user_agent(concat!("muster-agent/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls.build());
        Ok(Self { agent: config.build().new_agent(), identity })
    }
}

impl Net for RealNet {
    fn call(&self, call: &Call<'_>) -> Result<Reply, NetError> {
        let mut response = self.send(call).map_err(|failed| unreachable(&failed))?;
        check_origin(&response)?;
        let limit = limit::API_BODY_BYTES_MAX as u64;
        let body = response.body_mut().with_config().limit(limit).read_to_vec();
        let reply = Reply { status: response.status().as_u16(), body: body.map_err(|failed| unreachable(&failed))? };
        if reply.status == 401 && reply.body.windows(OVER.len()).any(|part| part == OVER) {
            self.is_over.store(true, Ordering::Relaxed);
        }
        Ok(reply)
    }

    fn fetch(
        &self,
        path: &str,
        range: (u64, u64),
        taken: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<u64, NetError> {
        let (from, count) = range;
        let last = from + count.max(1) - 1;
        let request = self.request("GET", path).header("range", format!("bytes={from}-{last}")).body(());
        let request = request.map_err(|bad| NetError::Unreachable(bad.to_string()))?;
        let agent = self.live().agent;
        let request = agent.configure_request(request).timeout_global(Some(FETCH_TIMEOUT)).build();
        let mut response = agent.run(request).map_err(|failed| unreachable(&failed))?;
        check_origin(&response)?;
        let status = response.status().as_u16();
        // The whole file is an answer to a range from its start only.
        if status != 206 && !(status == 200 && from == 0) {
            let detail = response.body_mut().with_config().limit(4096).read_to_string().unwrap_or_default();
            return Err(NetError::Refused { status, detail });
        }
        let mut body = response.body_mut().as_reader();
        let mut buffer = vec![0; PIECE_BYTES];
        let mut sent = 0;
        while sent < count {
            let wanted = usize::try_from(count - sent).unwrap_or(usize::MAX).min(buffer.len());
            match body.read(&mut buffer[..wanted]) {
                Ok(0) => break,
                Ok(got) => {
                    taken(&buffer[..got]).map_err(NetError::Disk)?;
                    sent += got as u64;
                }
                Err(broken) => return Err(NetError::Unreachable(broken.to_string())),
            }
        }
        Ok(sent)
    }

    fn prove(&self, message: &[u8]) -> Option<Proof> {
        self.live().identity?.prove(message)
    }

    fn open_session(&self, session: &str, kind: &SessionKind, time_max: Duration) -> Result<(), NetError> {
        let identity = self.live().identity;
        let (address, token, roots) = (self.server.clone(), self.token.clone(), self.roots.clone());
        let server = Server { address, token, roots, identity };
        match self.sessions.open(&server, session, kind, time_max) {
            // It goes on by itself, and nobody waits for it.
            Ok(_) => Ok(()),
            Err(failed) => {
                let cause = std::error::Error::source(&failed).map_or_else(String::new, |cause| format!(": {cause}"));
                Err(NetError::Unreachable(format!("{failed}{cause}")))
            }
        }
    }
}

/// Is it `https://host[:port]`, or `http://`?
#[must_use]
pub fn is_address(server: &str) -> bool {
    let server = server.trim_end_matches('/');
    let host = server.strip_prefix("https://").or_else(|| server.strip_prefix("http://")).unwrap_or_default();
    !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ', '"'])
}

fn check_origin(response: &http::Response<Body>) -> Result<(), NetError> {
    if response.headers().contains_key(PROTOCOL) {
        return Ok(());
    }
    let status = response.status();
    Err(NetError::Unreachable(format!("somebody else answered ({status}): a captive portal, or not a Muster server")))
}

fn unreachable(failed: &ureq::Error) -> NetError {
    NetError::Unreachable(failed.to_string())
}

fn ca_certificates(path: &Path) -> Result<Vec<Certificate<'static>>, NetSetupError> {
    let name = path.display().to_string();
    let pem = std::fs::read(path).map_err(|source| NetSetupError::Read { path: name.clone(), source })?;
    let certificates = certificates(&pem);
    if certificates.is_empty() { Err(NetSetupError::NoCertificate(name)) } else { Ok(certificates) }
}

impl std::fmt::Debug for RealNet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RealNet").field("server", &self.server).finish_non_exhaustive()
    }
}
