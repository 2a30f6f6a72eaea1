//! Does a key lie in a real TPM, and in the same one as another? (TCG "TPM 2.0 Library", parts 1 to 3.)
//!
//! The maker of a TPM signs its endorsement key. With it a secret is sealed for an attestation key by its name: only the
//! TPM that holds both opens it (TPM2_ActivateCredential). The attestation key has certified the device's own key, so
//! that one lies there, too, and can't be copied out.

pub mod attest;
pub mod credential;
pub mod endorsement;
pub mod public;

use muster_vocab::Timestamp;
use sha2::{Digest, Sha256};

use self::credential::Credential;
use self::public::Public;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTpm {
    #[error("{0} can't be read")]
    Unreadable(&'static str),
    #[error("the endorsement key's certificate is of no maker that this project believes")]
    Maker,
    #[error("the endorsement key's certificate is not valid now")]
    Over,
    #[error("the endorsement key is none that is taken: RSA of 2048 bits is")]
    EndorsementKey,
    #[error("the attestation key is none: it has to be restricted, made in its TPM, and fixed there")]
    AttestationKey,
    #[error("the device's key is not fixed in a TPM")]
    Key,
    #[error("the attestation key has not certified this key")]
    NotCertified,
    #[error("the certificate request is for another key")]
    OtherKey,
    #[error("sealing a secret failed")]
    Seal,
}

/// What a device shows of its TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// DER: the endorsement key's certificate, then those of issuers that the maker uses.
    pub endorsement: Vec<Vec<u8>>,
    /// TPM2B_PUBLIC of the attestation key.
    pub attestation: Vec<u8>,
    /// TPM2B_PUBLIC of the device's own key.
    pub key: Vec<u8>,
    /// TPMS_ATTEST and its signature (DER), by the attestation key over the device's own.
    pub certified: Vec<u8>,
    pub signature: Vec<u8>,
}

/// Evidence that holds if the TPM opens a secret for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// SHA-256 of the endorsement key: which TPM it is.
    pub tpm: [u8; 32],
    /// SHA-256 of the device's key (SubjectPublicKeyInfo).
    pub key: [u8; 32],
    endorsement_key: Vec<u8>,
    attestation_name: Vec<u8>,
}

impl Evidence {
    /// `makers`: certificates (DER) that are believed.
    pub fn check(&self, makers: &[Vec<u8>], now: Timestamp) -> Result<Claimed, BadTpm> {
        let endorsement_key = endorsement::verify(&self.endorsement, makers, now)?;
        let attestation = Public::read(&self.attestation)?;
        if !attestation.attests() {
            return Err(BadTpm::AttestationKey);
        }
        let key = Public::read(&self.key)?;
        if !key.is_fixed_signer() {
            return Err(BadTpm::Key);
        }
        attest::verify(&self.certified, &self.signature, &attestation, &key)?;
        Ok(Claimed {
            tpm: Sha256::digest(&endorsement_key).into(),
            key: Sha256::digest(key.spki()).into(),
            endorsement_key,
            attestation_name: attestation.name(),
        })
    }
}

impl Claimed {
    /// Seals a secret for the attestation key in the TPM of the endorsement key.
    pub fn seal(&self, secret: &[u8; 32]) -> Result<Credential, BadTpm> {
        credential::make(&self.endorsement_key, &self.attestation_name, secret)
    }
}

/// Big-endian numbers and sized buffers, as a TPM writes them.
#[derive(Debug)]
struct Reader<'a> {
    left: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { left: bytes, what }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], BadTpm> {
        let (taken, left) = self.left.split_at_checked(count).ok_or(BadTpm::Unreadable(self.what))?;
        self.left = left;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, BadTpm> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> Result<u32, BadTpm> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn sized(&mut self) -> Result<&'a [u8], BadTpm> {
        let count = self.u16()?;
        self.take(usize::from(count))
    }

    fn end(&self) -> Result<(), BadTpm> {
        if self.left.is_empty() { Ok(()) } else { Err(BadTpm::Unreadable(self.what)) }
    }
}
