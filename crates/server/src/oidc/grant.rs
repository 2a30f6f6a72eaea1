//! How does a person come from a provider: by his browser (code and PKCE), or by a code that he types (RFC 8628)?

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use muster_store::oidc::Provider;
use muster_trust::jwt::{Claims, check_authorized_party};
use muster_trust::secret;
use muster_vocab::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Map, Value};
use ureq::RequestBuilder;
use ureq::typestate::WithBody;
use zeroize::Zeroizing;

use super::{Document, Issuer, Oidc, OidcError, agent, read, read_any};
use crate::flow::oidc::Person;

/// RFC 8628, 3.2: where the provider says nothing.
const INTERVAL_S: u64 = 5;
/// A provider that wants more is not waited for.
const INTERVAL_S_MAX: u64 = 60;
/// Groups of one person that are looked at.
const GROUPS_MAX: usize = 2000;
/// Of what a provider says in its refusals.
const SAID_CHARS_MAX: usize = 200;

/// A provider, and the secret that this server shows it.
#[derive(Debug)]
pub struct Client {
    pub provider: Provider,
    pub secret: Option<Zeroizing<String>>,
}

/// What a login in a browser is begun with.
#[derive(Debug)]
pub struct Begin<'a> {
    pub state: &'a str,
    pub nonce: &'a str,
    pub verifier: &'a str,
}

/// What a provider says to somebody who will type a code.
#[derive(Debug, Clone, Deserialize)]
pub struct DeviceCode {
    pub device_code: String,
    pub user_code: String,
    pub verification_uri: String,
    #[serde(default)]
    pub verification_uri_complete: Option<String>,
    pub expires_in: u64,
    #[serde(default)]
    interval: Option<u64>,
}

impl DeviceCode {
    #[must_use]
    pub fn interval_s(&self) -> u64 {
        self.interval.unwrap_or(INTERVAL_S).clamp(1, INTERVAL_S_MAX)
    }
}

#[derive(Debug, Deserialize)]
struct Tokens {
    id_token: String,
    #[serde(default)]
    access_token: Option<String>,
}

/// What asking for the tokens of a typed code came to.
#[derive(Debug)]
pub enum Typed {
    NotYet,
    SlowDown,
    Done(Person),
}

impl Client {
    #[must_use]
    pub fn issuer(&self) -> Issuer {
        Issuer { url: self.provider.issuer.clone(), certificates: self.provider.certificates.clone() }
    }

    /// Where the provider sends browsers back to.
    #[must_use]
    pub fn callback(provider: &Provider) -> Option<String> {
        let server = provider.server_url.as_ref()?;
        Some(format!("{server}/api/v1/login/oidc/{}/callback", provider.name))
    }

    /// Where to send a browser.
    pub fn authorization(&self, oidc: &Oidc, begin: &Begin<'_>, now: Timestamp) -> Result<String, OidcError> {
        let document = oidc.document(&self.issuer(), now)?;
        let endpoint = self.endpoint(document.authorization_endpoint, "authorization")?;
        let callback = Self::callback(&self.provider).unwrap_or_default();
        let challenge = URL_SAFE_NO_PAD.encode(secret::digest(begin.verifier));
        let query = form(&[
            ("response_type", "code"),
            ("client_id", &self.provider.client_id),
            ("redirect_uri", &callback),
            ("scope", &self.provider.scopes),
            ("state", begin.state),
            ("nonce", begin.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        let joint = if endpoint.contains('?') { '&' } else { '?' };
        Ok(format!("{endpoint}{joint}{query}"))
    }

    /// The person for whom a browser brought this code.
    pub fn redeem(
        &self,
        oidc: &Oidc,
        code: &str,
        (verifier, nonce): (&str, &str),
        now: Timestamp,
    ) -> Result<Person, OidcError> {
        let document = oidc.document(&self.issuer(), now)?;
        let callback = Self::callback(&self.provider).unwrap_or_default();
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &callback),
            ("code_verifier", verifier),
        ];
        let (status, said) = self.post(self.endpoint(document.token_endpoint.clone(), "token")?, &fields)?;
        self.person(oidc, &document, tokens(status, said)?, (Some(nonce), now))
    }

    /// Asks for a code that somebody types.
    pub fn device_code(&self, oidc: &Oidc, now: Timestamp) -> Result<DeviceCode, OidcError> {
        let document = oidc.document(&self.issuer(), now)?;
        let endpoint = self.endpoint(document.device_authorization_endpoint, "device authorization")?;
        let (status, said) = self.post(endpoint, &[("scope", &self.provider.scopes)])?;
        if status != 200 {
            return Err(refused(&said));
        }
        serde_json::from_value(said).map_err(|bad| OidcError::Refused(format!("its device code makes no sense: {bad}")))
    }

    /// Has the person typed it?
    pub fn typed(&self, oidc: &Oidc, device_code: &str, now: Timestamp) -> Result<Typed, OidcError> {
        let document = oidc.document(&self.issuer(), now)?;
        let fields = [("grant_type", "urn:ietf:params:oauth:grant-type:device_code"), ("device_code", device_code)];
        let (status, said) = self.post(self.endpoint(document.token_endpoint.clone(), "token")?, &fields)?;
        match said.get("error").and_then(Value::as_str) {
            Some("authorization_pending") => Ok(Typed::NotYet),
            Some("slow_down") => Ok(Typed::SlowDown),
            _ => Ok(Typed::Done(self.person(oidc, &document, tokens(status, said)?, (None, now))?)),
        }
    }

    /// Believes the ID token, and asks the provider what it doesn't say about groups.
    fn person(
        &self,
        oidc: &Oidc,
        document: &Document,
        tokens: Tokens,
        (nonce, now): (Option<&str>, Timestamp),
    ) -> Result<Person, OidcError> {
        let (issuer, client) = (self.issuer(), &self.provider.client_id);
        let mut claims = oidc.check(&issuer, &tokens.id_token, (client, nonce), now)?;
        check_authorized_party(&claims, client)?;
        let wanted = [&self.provider.groups_claim, &self.provider.name_claim];
        if let (Some(endpoint), Some(token)) = (&document.userinfo_endpoint, &tokens.access_token)
            && wanted.iter().any(|name| claims.get(name).is_none())
        {
            let request = agent(&issuer).get(endpoint).header("Authorization", format!("Bearer {token}"));
            let more: Map<String, Value> = read(&issuer, request.call())?;
            // OpenID Connect Core 5.3.2: or it could be about somebody else.
            if more.get("sub").and_then(Value::as_str) != Some(claims.subject()) {
                return Err(OidcError::Refused("its user information is about somebody else".into()));
            }
            claims = claims.with(more);
        }
        Ok(person(&self.provider, &claims))
    }

    fn post(&self, endpoint: String, fields: &[(&str, &str)]) -> Result<(u16, Value), OidcError> {
        let issuer = self.issuer();
        let mut fields = fields.to_vec();
        let mut request: RequestBuilder<WithBody> = agent(&issuer).post(endpoint);
        match &self.secret {
            Some(secret) => {
                let both = Zeroizing::new(format!("{}:{}", encoded(&self.provider.client_id), encoded(secret)));
                request = request.header("Authorization", format!("Basic {}", STANDARD.encode(both.as_bytes())));
            }
            None => fields.push(("client_id", &self.provider.client_id)),
        }
        let request = request.header("Content-Type", "application/x-www-form-urlencoded");
        read_any(&issuer, request.send(form(&fields)))
    }

    fn endpoint(&self, found: Option<String>, what: &str) -> Result<String, OidcError> {
        found.ok_or_else(|| OidcError::Document {
            issuer: self.provider.issuer.clone(),
            why: format!("it names no {what} endpoint"),
        })
    }
}

fn tokens(status: u16, said: Value) -> Result<Tokens, OidcError> {
    if status != 200 {
        return Err(refused(&said));
    }
    serde_json::from_value(said)
        .map_err(|_| OidcError::Refused("it gave no ID token: is openid among the scopes?".into()))
}

fn refused(said: &Value) -> OidcError {
    let text = |name: &str| said.get(name).and_then(Value::as_str).unwrap_or_default();
    let whole = format!("{} {}", text("error"), text("error_description"));
    OidcError::Refused(whole.trim().chars().filter(|c| !c.is_control()).take(SAID_CHARS_MAX).collect())
}

/// Whom the provider means, by what it calls him; an e-mail address is a name only if the provider has verified it.
fn person(provider: &Provider, claims: &Claims) -> Person {
    let is_verified = claims.get("email_verified") == Some(&Value::Bool(true));
    let name = claims.text(&provider.name_claim).filter(|_| provider.name_claim != "email" || is_verified);
    let groups = match claims.get(&provider.groups_claim) {
        Some(Value::Array(several)) => {
            several.iter().take(GROUPS_MAX).filter_map(Value::as_str).map(str::to_owned).collect()
        }
        Some(Value::String(one)) => vec![one.clone()],
        _ => Vec::new(),
    };
    Person {
        issuer: provider.issuer.clone(),
        subject: claims.subject().to_owned(),
        name: name.map(str::to_owned),
        groups,
    }
}

fn form(fields: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    pairs.join("&")
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
