//! How does a device reach its server? HTTPS to one address, with a CA of its own if one is given.
//!
//! Who else answers – a captive portal, a proxy's error page – is taken for nobody: answers carry `Muster-Protocol`.

#[cfg(test)]
mod tests;

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use muster_vocab::limit;
use muster_wire::agent::SessionKind;
use rustls::pki_types::CertificateDer;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, http};

use super::session::{Server, Sessions};
use crate::world::{Call, Net, NetError, Reply};

/// On each answer of a Muster server under `/device/v1`.
const PROTOCOL: &str = "muster-protocol";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Without a single byte for this long, a download is broken off; what came is kept.
const FETCH_TIMEOUT: Duration = Duration::from_secs(300);
/// Read and written at a time.
const PIECE_BYTES: usize = 64 * 1024;

pub struct RealNet {
    agent: Agent,
    /// `https://host[:port]`
    server: String,
    token: String,
    /// The CA's certificates, if one was named.
    roots: Vec<CertificateDer<'static>>,
    sessions: Sessions,
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
}

impl RealNet {
    /// `ca`: a PEM file; then nothing else is trusted. Plain HTTP only if the address says so.
    pub fn new(server: &str, token: &str, ca: Option<&Path>) -> Result<Self, NetSetupError> {
        let server = server.trim_end_matches('/');
        if !is_address(server) {
            return Err(NetSetupError::Address(server.to_owned()));
        }
        let mut tls = TlsConfig::builder();
        let mut roots = Vec::new();
        if let Some(path) = ca {
            let found = certificates(path)?;
            roots.extend(found.iter().map(|found| CertificateDer::from(found.der().to_vec())));
            tls = tls.root_certs(RootCerts::Specific(Arc::new(found)));
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
        let (server, token) = (server.to_owned(), token.to_owned());
        Ok(Self { agent: config.build().new_agent(), server, token, roots, sessions: Sessions::default() })
    }

    /// The same connections with the token of another device: simulated fleets share them.
    #[must_use]
    pub fn sharing(&self, token: &str) -> Self {
        Self {
            agent: self.agent.clone(),
            server: self.server.clone(),
            token: token.to_owned(),
            roots: self.roots.clone(),
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
        let request = self.request(call.method, call.path);
        let bad = |bad: http::Error| ureq::Error::Http(bad);
        match call.body {
            Some(body) => {
                let request = request.header("content-type", "application/json").body(body).map_err(bad)?;
                let request = self.agent.configure_request(request).timeout_global(Some(call.timeout)).build();
                self.agent.run(request)
            }
            None => {
                let request = request.body(()).map_err(bad)?;
                let request = self.agent.configure_request(request).timeout_global(Some(call.timeout)).build();
                self.agent.run(request)
            }
        }
    }
}

impl Net for RealNet {
    fn call(&self, call: &Call<'_>) -> Result<Reply, NetError> {
        let mut response = self.send(call).map_err(|failed| unreachable(&failed))?;
        check_origin(&response)?;
        let limit = limit::API_BODY_BYTES_MAX as u64;
        let body = response.body_mut().with_config().limit(limit).read_to_vec();
        Ok(Reply { status: response.status().as_u16(), body: body.map_err(|failed| unreachable(&failed))? })
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
        let request = self.agent.configure_request(request).timeout_global(Some(FETCH_TIMEOUT)).build();
        let mut response = self.agent.run(request).map_err(|failed| unreachable(&failed))?;
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

    fn open_session(&self, session: &str, kind: &SessionKind, time_max: Duration) -> Result<(), NetError> {
        let server = Server { address: self.server.clone(), token: self.token.clone(), roots: self.roots.clone() };
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

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, NetSetupError> {
    let name = path.display().to_string();
    let pem = std::fs::read(path).map_err(|source| NetSetupError::Read { path: name.clone(), source })?;
    let items = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        Ok(_) | Err(_) => None,
    });
    let certificates: Vec<_> = items.collect();
    if certificates.is_empty() { Err(NetSetupError::NoCertificate(name)) } else { Ok(certificates) }
}

impl std::fmt::Debug for RealNet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RealNet").field("server", &self.server).finish_non_exhaustive()
    }
}
