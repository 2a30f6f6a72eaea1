//! By what does this device prove itself, and when does it need something newer?
//!
//! Key and certificate lie in one file that only the agent may read, and that is replaced as a whole: a power cut leaves
//! the old pair or the new one. A new certificate comes with a new key; the server counts it from its first use on.

use std::io;
use std::path::{Path, PathBuf};

use muster_vocab::Timestamp;
use muster_wire::agent::Certificate;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use ureq::tls::{Certificate as TlsCertificate, ClientCert, PemItem, PrivateKey, parse_pem};

use rustls::SignatureScheme;

use super::disk::RealDisk;
use super::tpm::{self, TpmKey};
use crate::config::{ConfigError, write_secret};
use crate::disk;
use crate::world::Proof;

/// In the agent's folder.
pub const FILE: &str = "identity.json";
/// While the device waits to be let in: the key that it waits with.
pub const WAITING_FILE: &str = "identity-waiting.json";
const FILE_BYTES_MAX: usize = 64 * 1024;

/// A key and the certificate for it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// PKCS #8, PEM. Empty: it lies in the TPM.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tpm: Option<TpmKey>,
    #[serde(flatten)]
    pub certificate: Certificate,
}

/// A key that has no certificate yet.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewKey {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tpm: Option<TpmKey>,
}

/// A key in the TPM, as requests are signed with it.
struct InTpm<'a> {
    key: &'a TpmKey,
    point: Vec<u8>,
}

impl PublicKeyData for InTpm<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for InTpm<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.key.sign(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("reading {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{0} has no key and certificate in it: join again")]
    Broken(PathBuf),
    #[error(transparent)]
    Write(#[from] ConfigError),
    #[error("making a key: {0}")]
    Key(String),
}

impl NewKey {
    pub fn make() -> Result<Self, IdentityError> {
        let key = KeyPair::generate().map_err(|bad| IdentityError::Key(bad.to_string()))?;
        Ok(Self { key: key.serialize_pem(), tpm: None })
    }

    #[must_use]
    pub fn in_tpm(key: &TpmKey) -> Self {
        Self { key: String::new(), tpm: Some(key.clone()) }
    }

    #[must_use]
    pub fn is_in_tpm(&self) -> bool {
        self.tpm.is_some()
    }

    /// PKCS #10, PEM. It names nobody: the server knows who asks.
    pub fn request(&self) -> Result<String, IdentityError> {
        let bad = |bad: rcgen::Error| IdentityError::Key(bad.to_string());
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let request = match &self.tpm {
            Some(key) => {
                let point = key.point().map_err(|bad| IdentityError::Key(bad.to_string()))?;
                params.serialize_request(&InTpm { key, point })
            }
            None => params.serialize_request(&KeyPair::from_pem(&self.key).map_err(bad)?),
        };
        request.and_then(|request| request.pem()).map_err(bad)
    }

    /// SHA-256 of the public key, as the server shows it.
    pub fn digest(&self) -> Result<[u8; 32], IdentityError> {
        let key = KeyPair::from_pem(&self.key).map_err(|bad| IdentityError::Key(bad.to_string()))?;
        Ok(Sha256::digest(key.subject_public_key_info()).into())
    }

    #[must_use]
    pub fn with(self, certificate: Certificate) -> Identity {
        Identity { key: self.key, tpm: self.tpm, certificate }
    }

    /// The key that a device waits with; it stays the same however often it asks.
    pub fn waiting(folder: &Path) -> Result<Self, IdentityError> {
        let path = folder.join(WAITING_FILE);
        if let Some(text) = read(&path)? {
            return serde_json::from_slice(&text).map_err(|_| IdentityError::Broken(path));
        }
        let made = Self::make()?;
        write(&path, &made)?;
        Ok(made)
    }

    pub fn forget_waiting(folder: &Path) -> io::Result<()> {
        disk::Disk::remove(&RealDisk, &folder.join(WAITING_FILE))
    }
}

impl Identity {
    /// Key and certificate that somebody else has made: both PEM.
    #[must_use]
    pub fn given(key: &str, certificate: &str) -> Self {
        let at = Timestamp(0);
        let (chain, root) = (certificate.to_owned(), String::new());
        Self { key: key.to_owned(), tpm: None, certificate: Certificate { chain, root, issued_at: at, not_after: at } }
    }

    /// The same key without its certificate, for one that says another name.
    #[must_use]
    pub fn key(&self) -> NewKey {
        NewKey { key: self.key.clone(), tpm: self.tpm.clone() }
    }

    /// What the device has; none before it has joined.
    pub fn read(folder: &Path) -> Result<Option<Self>, IdentityError> {
        let path = folder.join(FILE);
        let Some(text) = read(&path)? else { return Ok(None) };
        serde_json::from_slice(&text).map(Some).map_err(|_| IdentityError::Broken(path))
    }

    pub fn write(&self, folder: &Path) -> Result<(), IdentityError> {
        write(&folder.join(FILE), self)
    }

    /// Two thirds of its life are over. A clock that stands before its beginning says nothing.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        let Certificate { issued_at, not_after, .. } = &self.certificate;
        let life = not_after.0.saturating_sub(issued_at.0);
        now.0 >= issued_at.0.saturating_add(life / 3 * 2)
    }

    /// The same for a handshake without a client of HTTP.
    pub(super) fn rustls(&self) -> Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let chain = certificates(self.certificate.chain.as_bytes());
        let chain: Vec<_> = chain.iter().map(|found| CertificateDer::from(found.der().to_vec())).collect();
        (!chain.is_empty()).then_some((chain, self.private_key()?))
    }

    /// Signs as a handshake would.
    pub(super) fn prove(&self, message: &[u8]) -> Option<Proof> {
        const SCHEMES: [SignatureScheme; 4] = [
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::ED25519,
            SignatureScheme::RSA_PSS_SHA256,
        ];
        let key = tpm::provider().key_provider.load_private_key(self.private_key()?).ok()?;
        let signer = key.choose_scheme(&SCHEMES)?;
        let signature = signer.sign(message).ok()?;
        Some(Proof { public_key: key.public_key()?.to_vec(), scheme: signer.scheme().into(), signature })
    }

    /// As the handshake wants it. None: the file was changed by hand.
    pub(super) fn client(&self) -> Option<ClientCert> {
        let chain: Vec<TlsCertificate<'static>> = certificates(self.certificate.chain.as_bytes());
        let key = match &self.tpm {
            Some(key) => PrivateKey::from_pem(key.stand_in_pem().as_bytes()).ok()?,
            None => PrivateKey::from_pem(self.key.as_bytes()).ok()?,
        };
        (!chain.is_empty()).then(|| ClientCert::new_with_certs(&chain, key))
    }

    /// Or what stands for it, if it lies in the TPM.
    fn private_key(&self) -> Option<PrivateKeyDer<'static>> {
        match &self.tpm {
            Some(key) => Some(key.stand_in()),
            None => PrivateKeyDer::from_pem_slice(self.key.as_bytes()).ok(),
        }
    }
}

/// Certificates of a PEM text.
#[must_use]
pub fn certificates(pem: &[u8]) -> Vec<TlsCertificate<'static>> {
    let items = parse_pem(pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        Ok(_) | Err(_) => None,
    });
    items.collect()
}

/// What a certificate is pinned by.
#[must_use]
pub fn digest(der: &[u8]) -> muster_vocab::Sha256 {
    muster_vocab::Sha256(Sha256::digest(der).into())
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, IdentityError> {
    match disk::read(&RealDisk, path, FILE_BYTES_MAX) {
        Ok(text) => Ok(Some(text)),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(IdentityError::Read { path: path.to_owned(), source }),
    }
}

fn write(path: &Path, value: &impl Serialize) -> Result<(), IdentityError> {
    let text = serde_json::to_string_pretty(value).map_err(|bad| IdentityError::Key(bad.to_string()))?;
    Ok(write_secret(path, &text)?)
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("not_after", &self.certificate.not_after).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for NewKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewKey").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(issued_at: i64, not_after: i64) -> Certificate {
        Certificate {
            chain: String::new(),
            root: String::new(),
            issued_at: Timestamp(issued_at),
            not_after: Timestamp(not_after),
        }
    }

    #[test]
    fn a_certificate_is_renewed_at_two_thirds_of_its_life() {
        let identity = NewKey::make().unwrap().with(certificate(3_000, 6_000));
        assert!(!identity.is_due(Timestamp(0)), "a clock that has stopped is no reason");
        assert!(!identity.is_due(Timestamp(4_999)));
        assert!(identity.is_due(Timestamp(5_000)));
    }

    #[test]
    fn a_device_that_waits_keeps_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let key = NewKey::waiting(folder.path()).unwrap();
        assert_eq!(NewKey::waiting(folder.path()).unwrap(), key);
        NewKey::forget_waiting(folder.path()).unwrap();
        assert_ne!(NewKey::waiting(folder.path()).unwrap(), key);
    }

    #[test]
    fn an_identity_is_read_as_it_was_written_and_by_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Identity::read(folder.path()).unwrap(), None);
        let identity = NewKey::make().unwrap().with(certificate(1, 2));
        identity.write(folder.path()).unwrap();
        assert_eq!(Identity::read(folder.path()).unwrap(), Some(identity.clone()));
        let path = folder.path().join(FILE);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, "{}").unwrap();
        assert!(matches!(Identity::read(folder.path()), Err(IdentityError::Broken(_))));
        assert!(!format!("{identity:?}").contains("PRIVATE"));
    }
}
