//! How are certificates made? With ECDSA P-256 throughout, which every TLS library has.

use std::net::IpAddr;
use std::time::Duration;

use muster_vocab::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
    SubjectPublicKeyInfo,
};
use time::OffsetDateTime;

use super::DeviceName;
use super::request::Request;

/// A root outlives the devices that were built with it: RFC 5280 allows no end, devices in the field need one far off.
const ROOT_LIFE: Duration = Duration::from_secs(30 * 365 * 86_400);
/// An issuing authority is replaced long before.
const ISSUING_LIFE: Duration = Duration::from_secs(5 * 365 * 86_400);
/// RFC 5280 4.1.2.2: at most 20 octets, positive.
const SERIAL_BYTES: usize = 16;

/// Making a certificate failed: a key that can't be read, or a library that refuses.
#[derive(Debug, thiserror::Error)]
#[error("making a certificate: {0}")]
pub struct IssueError(pub String);

impl From<rcgen::Error> for IssueError {
    fn from(bad: rcgen::Error) -> Self {
        Self(bad.to_string())
    }
}

/// A name that clients reach the server by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerName {
    Dns(String),
    Ip(IpAddr),
}

/// A certificate and what to write down of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate, then those of its issuers without the root; PEM.
    pub chain: String,
    /// Hex.
    pub serial: String,
    pub not_after: Timestamp,
    /// SHA-256 of the public key.
    pub key: [u8; 32],
}

/// An authority with its key: a root, or an issuing one.
pub struct Issuer {
    issuer: rcgen::Issuer<'static, KeyPair>,
    certificate: String,
    is_root: bool,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer").field("is_root", &self.is_root).finish_non_exhaustive()
    }
}

/// A new root: its certificate and its key (PKCS #8), both PEM.
pub fn make_root(name: &str, now: Timestamp) -> Result<(String, String), IssueError> {
    let key = KeyPair::generate()?;
    let mut params = authority(name, BasicConstraints::Constrained(1))?;
    params.not_after = date(now.plus(ROOT_LIFE))?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// A key and a request for it, for an issuing authority whose root is elsewhere: request and key, both PEM.
pub fn request_issuing(name: &str) -> Result<(String, String), IssueError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    let request = params.serialize_request(&key)?;
    Ok((request.pem()?, key.serialize_pem()))
}

impl Issuer {
    pub fn open(certificate: &str, key: &str, is_root: bool) -> Result<Self, IssueError> {
        let key = KeyPair::from_pem(key)?;
        let issuer = rcgen::Issuer::from_ca_cert_pem(certificate, key)?;
        Ok(Self { issuer, certificate: certificate.to_owned(), is_root })
    }

    /// The certificate of a new issuing authority, PEM. Only a root may.
    pub fn sign_issuing(&self, request: &str, now: Timestamp) -> Result<String, IssueError> {
        if !self.is_root {
            return Err(IssueError("only a root makes issuing authorities".into()));
        }
        let asked = CertificateSigningRequestParams::from_pem(request)?;
        let name = match asked.params.distinguished_name.get(&DnType::CommonName) {
            Some(rcgen::DnValue::Utf8String(name)) => name.clone(),
            Some(rcgen::DnValue::PrintableString(name)) => name.as_str().to_owned(),
            Some(_) | None => return Err(IssueError("the request names no authority".into())),
        };
        let mut params = authority(&name, BasicConstraints::Constrained(0))?;
        params.not_after = date(now.plus(ISSUING_LIFE))?;
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(&asked.public_key, &self.issuer)?.pem())
    }

    /// A device's certificate, for clients only. Name and life come from the server's records.
    pub fn issue_device(
        &self,
        request: &Request,
        name: &DeviceName,
        now: Timestamp,
        life: Duration,
    ) -> Result<Issued, IssueError> {
        let mut params = leaf(&name.device, now.plus(life), ExtendedKeyUsagePurpose::ClientAuth)?;
        params.subject_alt_names = vec![SanType::URI(name.uri().try_into()?)];
        self.issue(params, request, now.plus(life))
    }

    /// A server's certificate for these names, with a new key: the chain and the key, both PEM.
    pub fn issue_server(
        &self,
        names: &[ServerName],
        now: Timestamp,
        life: Duration,
    ) -> Result<(Issued, String), IssueError> {
        let mut params = leaf("muster server", now.plus(life), ExtendedKeyUsagePurpose::ServerAuth)?;
        for name in names {
            params.subject_alt_names.push(match name {
                ServerName::Dns(name) => SanType::DnsName(name.clone().try_into()?),
                ServerName::Ip(address) => SanType::IpAddress(*address),
            });
        }
        let key = KeyPair::generate()?;
        let request = Request { public_key: key.subject_public_key_info(), asked_name: None };
        Ok((self.issue(params, &request, now.plus(life))?, key.serialize_pem()))
    }

    fn issue(&self, params: CertificateParams, request: &Request, not_after: Timestamp) -> Result<Issued, IssueError> {
        let key = SubjectPublicKeyInfo::from_der(&request.public_key)?;
        let serial = params.serial_number.as_ref().map(|serial| muster_vocab::digest::hex(&serial.to_bytes()));
        let chain = params.signed_by(&key, &self.issuer)?.pem() + &self.certificate;
        Ok(Issued { chain, serial: serial.unwrap_or_default(), not_after, key: request.key_digest() })
    }
}

fn authority(name: &str, depth: BasicConstraints) -> Result<CertificateParams, IssueError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    params.serial_number = Some(serial()?);
    params.is_ca = IsCa::Ca(depth);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    Ok(params)
}

fn leaf(name: &str, not_after: Timestamp, purpose: ExtendedKeyUsagePurpose) -> Result<CertificateParams, IssueError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    params.serial_number = Some(serial()?);
    params.not_after = date(not_after)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// RFC 5280 appendix A bounds common names at 64 characters; whom it is about stands in the URI.
fn common_name(name: &str) -> DistinguishedName {
    const COMMON_NAME_CHARS_MAX: usize = 64;
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name.chars().take(COMMON_NAME_CHARS_MAX).collect::<String>());
    names
}

fn serial() -> Result<SerialNumber, IssueError> {
    let mut bytes = [0; SERIAL_BYTES];
    getrandom::fill(&mut bytes).map_err(|failed| IssueError(failed.to_string()))?;
    // Positive, and as long whatever chance says.
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn date(at: Timestamp) -> Result<OffsetDateTime, IssueError> {
    OffsetDateTime::from_unix_timestamp(at.0.div_euclid(1000)).map_err(|bad| IssueError(bad.to_string()))
}
