//! Does an issuer vouch for somebody? Signed tokens (RFC 7519), checked as OpenID Connect Core 3.1.3.7 and RFC 8725 say.
//!
//! Only signatures by public keys count: neither `none`, nor a shared secret, which a public key would pass for. Each
//! check is made against what is expected, and never against what the token says of itself.

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use muster_vocab::Timestamp;
use serde_json::{Map, Value};

/// The largest token that is looked at: many groups, and a long signature.
pub const TOKEN_BYTES_MAX: usize = 32 * 1024;
/// Clocks of issuers are this far off.
const LEEWAY_S: i64 = 60;
/// Keys without a name that are tried.
const TRIED_MAX: usize = 8;
/// OpenID Connect Core 2: a subject has at most 255 characters.
const SUBJECT_CHARS_MAX: usize = 255;

const ALLOWED: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    #[error("it is no signed token (three parts in base64url)")]
    Shape,
    #[error("it is signed by {0}: only signatures by RSA, ECDSA and Ed25519 keys count")]
    Algorithm(String),
    /// The issuer may have new keys by now.
    #[error("it is signed with a key that its issuer doesn't have")]
    UnknownKey,
    #[error("its signature is wrong")]
    Signature,
    #[error("it is of another issuer: {0}")]
    Issuer(String),
    #[error("it is for somebody else: {0}")]
    Audience(String),
    #[error("it has expired, or doesn't say when")]
    Expired,
    #[error("it begins to count later: compare the clocks")]
    NotYet,
    #[error("it answers another login")]
    Nonce,
    #[error("it names nobody")]
    Subject,
    #[error("it is of another kind: {0}")]
    Kind(String),
}

/// What a token must say.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    pub issuer: &'a str,
    pub audience: &'a str,
    /// The nonce of the login that it answers, where one was sent.
    pub nonce: Option<&'a str>,
    pub now: Timestamp,
}

/// An issuer's public keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys(Vec<Jwk>);

impl Keys {
    /// Of a JWK set (RFC 7517). Keys of kinds that are not known are left out, and so are shared secrets.
    #[must_use]
    pub fn of(set: &Value) -> Self {
        let keys = set.get("keys").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let known = keys.iter().filter_map(|key| serde_json::from_value::<Jwk>(key.clone()).ok());
        Self(known.filter(is_for_signatures).collect())
    }

    /// Those that may have signed: the one with the name, or all without.
    fn candidates(&self, name: Option<&str>) -> Vec<&Jwk> {
        let has_name = |key: &&Jwk| name.is_none() || key.common.key_id.as_deref() == name;
        self.0.iter().filter(has_name).take(TRIED_MAX).collect()
    }
}

fn is_for_signatures(key: &Jwk) -> bool {
    let is_public = matches!(
        key.algorithm,
        AlgorithmParameters::RSA(_) | AlgorithmParameters::EllipticCurve(_) | AlgorithmParameters::OctetKeyPair(_)
    );
    is_public && key.common.public_key_use.as_ref().is_none_or(|what| *what == PublicKeyUse::Signature)
}

/// What a token says, all of it checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Claims(Map<String, Value>);

impl Claims {
    /// Never empty.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.text("sub").unwrap_or_default()
    }

    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// From the issuer's own mouth, about the same subject; what the token says goes first.
    #[must_use]
    pub fn with(mut self, more: Map<String, Value>) -> Self {
        for (name, value) in more {
            self.0.entry(name).or_insert(value);
        }
        self
    }
}

/// What it says, if it is signed by one of the keys and says what is expected.
pub fn check(token: &str, keys: &Keys, expected: &Expected<'_>) -> Result<Claims, BadToken> {
    let claims = verified(token, keys)?;
    let seconds = |name: &str| claims.0.get(name).and_then(Value::as_f64).map(|at| at as i64);
    if claims.text("iss") != Some(expected.issuer) {
        return Err(BadToken::Issuer(claims.text("iss").unwrap_or("none").to_owned()));
    }
    check_audience(&claims, expected.audience)?;
    let now = expected.now.0 / 1000;
    if seconds("exp").is_none_or(|end| end.saturating_add(LEEWAY_S) <= now) {
        return Err(BadToken::Expired);
    }
    for name in ["nbf", "iat"] {
        if seconds(name).is_some_and(|begin| begin.saturating_sub(LEEWAY_S) > now) {
            return Err(BadToken::NotYet);
        }
    }
    if expected.nonce.is_some() && claims.text("nonce") != expected.nonce {
        return Err(BadToken::Nonce);
    }
    let subject = claims.subject();
    if subject.is_empty() || subject.len() > SUBJECT_CHARS_MAX || subject.contains(char::is_control) {
        return Err(BadToken::Subject);
    }
    Ok(claims)
}

fn verified(token: &str, keys: &Keys) -> Result<Claims, BadToken> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(BadToken::Shape);
    }
    let header = header(token)?;
    let text = |name: &str| header.get(name).and_then(Value::as_str);
    let said = text("alg").unwrap_or("nothing");
    let algorithm: Algorithm = said.parse().map_err(|_| BadToken::Algorithm(said.to_owned()))?;
    if !ALLOWED.contains(&algorithm) {
        return Err(BadToken::Algorithm(said.to_owned()));
    }
    // RFC 7515, 4.1.11: what must be understood and isn't is refused.
    if header.contains_key("crit") {
        return Err(BadToken::Kind("it has critical extensions".into()));
    }
    if let Some(kind) = text("typ").filter(|kind| !kind.eq_ignore_ascii_case("JWT")) {
        return Err(BadToken::Kind(kind.to_owned()));
    }
    let mut validation = Validation::new(algorithm);
    // Times are compared with the caller's clock, and the rest with what he expects.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let mut outcome = Err(BadToken::UnknownKey);
    for key in keys.candidates(text("kid")) {
        if key.common.key_algorithm.is_some_and(|own| own.to_string() != said) {
            continue;
        }
        let Ok(decoding) = DecodingKey::from_jwk(key) else { continue };
        if decoding.family() != algorithm.family() {
            continue;
        }
        match jsonwebtoken::decode::<Map<String, Value>>(token, &decoding, &validation) {
            Ok(data) => return Ok(Claims(data.claims)),
            Err(_) => outcome = Err(BadToken::Signature),
        }
    }
    outcome
}

/// Read here, because the library knows no header with an algorithm that it doesn't know.
fn header(token: &str) -> Result<Map<String, Value>, BadToken> {
    use base64::Engine;
    let parts: Vec<&str> = token.split('.').collect();
    let [head, _, _] = parts[..] else { return Err(BadToken::Shape) };
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(head).map_err(|_| BadToken::Shape)?;
    serde_json::from_slice(&bytes).map_err(|_| BadToken::Shape)
}

/// `aud` is one name or several; if it is several, `azp` says whom it was given to.
fn check_audience(claims: &Claims, wanted: &str) -> Result<(), BadToken> {
    let audience = claims.0.get("aud");
    let is_wanted = match audience {
        Some(Value::String(one)) => one == wanted,
        Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(wanted)),
        _ => false,
    };
    if !is_wanted {
        return Err(BadToken::Audience(audience.map_or_else(|| "nobody".to_owned(), ToString::to_string)));
    }
    Ok(())
}

/// Whether an ID token was given to this client (OpenID Connect Core 3.1.3.7, 4 and 5).
pub fn check_authorized_party(claims: &Claims, client: &str) -> Result<(), BadToken> {
    let has_several = matches!(claims.0.get("aud"), Some(Value::Array(several)) if several.len() > 1);
    match claims.text("azp") {
        Some(party) if party == client => Ok(()),
        None if !has_several => Ok(()),
        other => Err(BadToken::Audience(other.unwrap_or("several, and nobody in particular").to_owned())),
    }
}

#[cfg(test)]
mod tests;
