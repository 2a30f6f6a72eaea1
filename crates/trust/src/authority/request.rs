//! What does somebody ask a certificate for? A PKCS #10 request (RFC 2986), of which only the key is believed.

use sha2::{Digest, Sha256};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

/// Requests of honest clients are below 2 KiB, also with RSA keys of 4096 bits.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// NIST SP 800-131A: shorter RSA keys are no longer allowed.
const RSA_BITS_MIN: usize = 2048;
/// Longer ones only cost time.
const RSA_BITS_MAX: usize = 8192;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("the certificate request is longer than {REQUEST_BYTES_MAX} bytes")]
    TooLong,
    #[error("the certificate request can't be read: send PKCS #10 in PEM, or base64 of its DER")]
    Unreadable,
    #[error("the certificate request is not signed by the key that it names")]
    NotSigned,
    #[error(
        "the key of the certificate request is of no kind that is taken: use ECDSA P-256, P-384, Ed25519 or RSA of 2048 to 8192 bits"
    )]
    Key,
}

/// A key whose owner has shown that he has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// SubjectPublicKeyInfo, DER.
    pub(super) public_key: Vec<u8>,
    /// For people who look at a list of requests; nothing is decided by it.
    pub asked_name: Option<String>,
}

impl Request {
    /// PEM, or DER in base64 with or without line breaks (RFC 8951).
    pub fn parse(text: &[u8]) -> Result<Self, RequestError> {
        if text.len() > REQUEST_BYTES_MAX {
            return Err(RequestError::TooLong);
        }
        let text = std::str::from_utf8(text).map_err(|_| RequestError::Unreadable)?;
        let body: String = text.lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect();
        let der = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, body);
        Self::from_der(&der.map_err(|_| RequestError::Unreadable)?)
    }

    pub fn from_der(der: &[u8]) -> Result<Self, RequestError> {
        if der.len() > REQUEST_BYTES_MAX {
            return Err(RequestError::TooLong);
        }
        let (rest, request) = X509CertificationRequest::from_der(der).map_err(|_| RequestError::Unreadable)?;
        if !rest.is_empty() {
            return Err(RequestError::Unreadable);
        }
        let info = &request.certification_request_info;
        if let PublicKey::RSA(rsa) = info.subject_pki.parsed().map_err(|_| RequestError::Key)?
            && !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&rsa.key_size())
        {
            return Err(RequestError::Key);
        }
        request.verify_signature().map_err(|_| RequestError::NotSigned)?;
        let public_key = info.subject_pki.raw.to_vec();
        rcgen::SubjectPublicKeyInfo::from_der(&public_key).map_err(|_| RequestError::Key)?;
        let asked_name = info.subject.iter_common_name().next().and_then(|name| name.as_str().ok()).map(str::to_owned);
        Ok(Self { public_key, asked_name })
    }

    /// SHA-256 of the key: what the server keeps of a device.
    #[must_use]
    pub fn key_digest(&self) -> [u8; 32] {
        Sha256::digest(&self.public_key).into()
    }
}
