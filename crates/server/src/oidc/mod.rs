//! How does the server talk to OpenID providers and other issuers?
//!
//! Only over TLS, without redirects, and only to the addresses that the issuer's own document names. Blocking: called
//! off the event loop, a few at a time.

pub mod grant;
pub mod pending;

use std::collections::HashMap;

use muster_trust::jwt::{self, BadToken, Claims, Expected, Keys};
use muster_vocab::{Timestamp, limit};
use parking_lot::Mutex;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Semaphore;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, http};

use pending::Pending;

/// Issuers whose documents are kept; a server with more asks more often.
const KEPT_MAX: usize = 256;

#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    #[error("{issuer} can't be reached, or answers nonsense: {why}")]
    Unreachable { issuer: String, why: String },
    #[error("the document of {issuer} is not its own: {why}")]
    Document { issuer: String, why: String },
    #[error("the provider refused: {0}")]
    Refused(String),
    #[error("the provider's token is not believed: {0}")]
    Token(#[from] BadToken),
    #[error("the server stops")]
    Stopped,
}

/// An issuer, and whom to believe about its address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Issuer {
    pub url: String,
    /// PEM; the authorities that everybody trusts if none.
    pub certificates: Option<String>,
}

/// What an issuer says of itself (OpenID Connect Discovery 1.0).
#[derive(Debug, Clone, Deserialize)]
pub struct Document {
    issuer: String,
    jwks_uri: String,
    #[serde(default)]
    pub authorization_endpoint: Option<String>,
    #[serde(default)]
    pub token_endpoint: Option<String>,
    #[serde(default)]
    pub device_authorization_endpoint: Option<String>,
    #[serde(default)]
    pub userinfo_endpoint: Option<String>,
}

#[derive(Debug, Clone)]
struct Known {
    document: Document,
    keys: Keys,
    at: Timestamp,
}

/// What is known of issuers, and the logins that wait for them.
#[derive(Debug)]
pub struct Oidc {
    known: Mutex<HashMap<Issuer, Known>>,
    pub pending: Mutex<Pending>,
    requests: Semaphore,
}

impl Default for Oidc {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            pending: Mutex::default(),
            requests: Semaphore::new(limit::ISSUER_REQUESTS_MAX),
        }
    }
}

impl Oidc {
    /// Runs what talks to an issuer on a thread of its own.
    pub async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, OidcError> + Send + 'static,
    ) -> Result<T, OidcError> {
        let _permit = self.requests.acquire().await.map_err(|_| OidcError::Stopped)?;
        tokio::task::spawn_blocking(work).await.map_err(|_| OidcError::Stopped)?
    }

    /// Blocks, unless it is known.
    pub fn document(&self, issuer: &Issuer, now: Timestamp) -> Result<Document, OidcError> {
        Ok(self.known(issuer, now)?.document)
    }

    /// What a token says, once it is believed. Asks for the issuer's keys again if it has new ones. Blocks.
    pub fn check(
        &self,
        issuer: &Issuer,
        token: &str,
        (audience, nonce): (&str, Option<&str>),
        now: Timestamp,
    ) -> Result<Claims, OidcError> {
        let expected = Expected { issuer: &issuer.url, audience, nonce, now };
        let known = self.known(issuer, now)?;
        match jwt::check(token, &known.keys, &expected) {
            Err(BadToken::UnknownKey) if now.since(known.at) >= limit::ISSUER_ASKED_EVERY => {
                let known = self.learn(issuer, now)?;
                Ok(jwt::check(token, &known.keys, &expected)?)
            }
            other => Ok(other?),
        }
    }

    fn known(&self, issuer: &Issuer, now: Timestamp) -> Result<Known, OidcError> {
        let found = self.known.lock().get(issuer).cloned();
        match found {
            Some(known) if now.since(known.at) < limit::ISSUER_KEPT => Ok(known),
            _ => self.learn(issuer, now),
        }
    }

    fn learn(&self, issuer: &Issuer, now: Timestamp) -> Result<Known, OidcError> {
        let address = format!("{}/.well-known/openid-configuration", issuer.url.trim_end_matches('/'));
        let agent = agent(issuer);
        let document: Document = read(issuer, agent.get(&address).call())?;
        // Discovery 4.3: or anybody could speak for everybody.
        if document.issuer != issuer.url {
            let why = format!("it calls itself {}", document.issuer);
            return Err(OidcError::Document { issuer: issuer.url.clone(), why });
        }
        let keys: Value = read(issuer, agent.get(&document.jwks_uri).call())?;
        let known = Known { document, keys: Keys::of(&keys), at: now };
        let mut all = self.known.lock();
        if all.len() >= KEPT_MAX {
            all.clear();
        }
        all.insert(issuer.clone(), known.clone());
        Ok(known)
    }
}

fn agent(issuer: &Issuer) -> Agent {
    let mut tls = TlsConfig::builder();
    if let Some(pem) = &issuer.certificates {
        tls = tls.root_certs(RootCerts::Specific(std::sync::Arc::new(certificates(pem))));
    }
    let config = Agent::config_builder()
        .https_only(true)
        .max_redirects(0)
        .http_status_as_error(false)
        .timeout_global(Some(limit::ISSUER_TIMEOUT))
        .user_agent(concat!("muster/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls.build())
        .build();
    config.into()
}

/// Those that a PEM text holds.
#[must_use]
pub fn certificates(pem: &str) -> Vec<Certificate<'static>> {
    let items = parse_pem(pem.as_bytes());
    items.filter_map(|item| if let Ok(PemItem::Certificate(found)) = item { Some(found) } else { None }).collect()
}

type Answer = Result<http::Response<Body>, ureq::Error>;

/// A successful answer's JSON.
fn read<T: DeserializeOwned>(issuer: &Issuer, answer: Answer) -> Result<T, OidcError> {
    let (status, value): (u16, Value) = read_any(issuer, answer)?;
    if !(200..300).contains(&status) {
        return Err(unreachable(issuer, format!("it answered {status}")));
    }
    serde_json::from_value(value).map_err(|bad| unreachable(issuer, bad.to_string()))
}

/// The status and the JSON of any answer: refusals are JSON, too.
fn read_any<T: DeserializeOwned>(issuer: &Issuer, answer: Answer) -> Result<(u16, T), OidcError> {
    let mut response = answer.map_err(|failed| unreachable(issuer, failed.to_string()))?;
    let status = response.status().as_u16();
    let body = response.body_mut().with_config().limit(limit::ISSUER_ANSWER_BYTES_MAX).read_to_vec();
    let body = body.map_err(|failed| unreachable(issuer, failed.to_string()))?;
    let value = serde_json::from_slice(&body);
    Ok((status, value.map_err(|_| unreachable(issuer, format!("it answered {status} without JSON")))?))
}

fn unreachable(issuer: &Issuer, why: String) -> OidcError {
    OidcError::Unreachable { issuer: issuer.url.clone(), why }
}
