//! Whose signatures on images count?

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo, X509Certificate};

/// A key, or an authority that vouches for keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trusted {
    /// SubjectPublicKeyInfo, DER.
    Key(Vec<u8>),
    /// DER.
    Certificate(Vec<u8>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is neither a public key (BEGIN PUBLIC KEY) nor a certificate (BEGIN CERTIFICATE) in PEM")]
pub struct BadTrusted;

/// How something was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    RsaSha256,
    RsaSha384,
    RsaSha512,
    RsaPssSha256,
    EcdsaSha256,
    /// r and s one behind the other, not in ASN.1.
    EcdsaSha256Fixed,
    EcdsaSha384,
    Ed25519,
}

impl Trusted {
    pub fn parse(pem: &str) -> Result<Self, BadTrusted> {
        let (_, found) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|_| BadTrusted)?;
        match found.label.as_str() {
            "PUBLIC KEY" if SubjectPublicKeyInfo::from_der(&found.contents).is_ok() => Ok(Self::Key(found.contents)),
            "CERTIFICATE" if X509Certificate::from_der(&found.contents).is_ok() => {
                Ok(Self::Certificate(found.contents))
            }
            _ => Err(BadTrusted),
        }
    }

    /// SubjectPublicKeyInfo, DER.
    pub(super) fn key(&self) -> Option<Vec<u8>> {
        match self {
            Self::Key(key) => Some(key.clone()),
            Self::Certificate(der) => {
                X509Certificate::from_der(der).ok().map(|(_, found)| found.public_key().raw.to_vec())
            }
        }
    }
}

/// The name of the ring's key that signed this in one of these ways.
pub(super) fn signer<'r>(
    ring: &'r [(String, Trusted)],
    algorithms: &[Algorithm],
    message: &[u8],
    signature: &[u8],
) -> Option<&'r str> {
    let is_by = |key: &[u8]| algorithms.iter().any(|algorithm| is_signed(key, *algorithm, message, signature));
    let found = ring.iter().find(|(_, trusted)| trusted.key().is_some_and(|key| is_by(&key)));
    found.map(|(name, _)| name.as_str())
}

/// Is it this key's signature over the message?
pub(super) fn is_signed(key: &[u8], algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
    let Ok((_, info)) = SubjectPublicKeyInfo::from_der(key) else { return false };
    let by: &'static dyn VerificationAlgorithm = match algorithm {
        Algorithm::RsaSha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RsaSha384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RsaSha512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::RsaPssSha256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::EcdsaSha256 => &signature::ECDSA_P256_SHA256_ASN1,
        Algorithm::EcdsaSha256Fixed => &signature::ECDSA_P256_SHA256_FIXED,
        Algorithm::EcdsaSha384 => &signature::ECDSA_P384_SHA384_ASN1,
        Algorithm::Ed25519 => &signature::ED25519,
    };
    UnparsedPublicKey::new(by, info.subject_public_key.data.as_ref()).verify(message, signature).is_ok()
}
