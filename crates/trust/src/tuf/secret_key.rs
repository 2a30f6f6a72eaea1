//! How does a key in a file sign?
//!
//! Ed25519 as PKCS#8 in PEM, which `openssl genpkey -algorithm ed25519` makes as well.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use muster_vocab::digest::hex;
use ring::signature::{Ed25519KeyPair, KeyPair};

use crate::tuf::document::Signature;
use crate::tuf::key::{Key, KeyValue};
use crate::tuf::make::{Draft, key_id};

/// PKCS#8, version 1, of an Ed25519 key: all but the 32 bytes at the end.
const HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// A secret key in memory.
pub struct SecretKey {
    seed: [u8; 32],
    pair: Ed25519KeyPair,
}

#[derive(Debug, thiserror::Error)]
pub enum SecretKeyError {
    #[error("it is no Ed25519 key as PKCS#8 in PEM (openssl genpkey -algorithm ed25519 makes one)")]
    Unreadable,
    #[error("the operating system gave no random bytes")]
    NoChance,
}

impl SecretKey {
    /// A new one.
    ///
    /// # Errors
    /// If there is no chance to be had.
    #[cfg(feature = "people")]
    pub fn generate() -> Result<Self, SecretKeyError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|_| SecretKeyError::NoChance)?;
        Self::from_seed(seed)
    }

    /// The key of these 32 bytes.
    ///
    /// # Errors
    /// Never for 32 bytes; the library's word for it is kept.
    pub fn from_seed(seed: [u8; 32]) -> Result<Self, SecretKeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| SecretKeyError::Unreadable)?;
        Ok(Self { seed, pair })
    }

    /// # Errors
    /// If it is anything else than one key of this kind.
    pub fn parse(pem: &str) -> Result<Self, SecretKeyError> {
        let body = pem.trim().strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END));
        let lines: String = body.ok_or(SecretKeyError::Unreadable)?.split_ascii_whitespace().collect();
        let der = STANDARD.decode(lines).map_err(|_| SecretKeyError::Unreadable)?;
        let seed = der.strip_prefix(&HEAD).ok_or(SecretKeyError::Unreadable)?;
        Self::from_seed(seed.try_into().map_err(|_| SecretKeyError::Unreadable)?)
    }

    /// What goes into a file that nobody else can read.
    #[must_use]
    pub fn pem(&self) -> String {
        let der = [HEAD.as_slice(), &self.seed].concat();
        format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(der))
    }

    #[must_use]
    pub fn public(&self) -> Key {
        let public = hex(self.pair.public_key().as_ref());
        Key { keytype: "ed25519".into(), scheme: "ed25519".into(), keyval: KeyValue { public } }
    }

    #[must_use]
    pub fn sign(&self, draft: &Draft) -> Signature {
        Signature { keyid: key_id(&self.public()), sig: hex(self.sign_bytes(draft.message()).as_slice()) }
    }

    #[must_use]
    pub fn sign_bytes(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretKey").field("public", &self.public().keyval.public).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_from_its_file() {
        let key = SecretKey::generate().unwrap();
        assert_eq!(SecretKey::parse(&key.pem()).unwrap().public(), key.public());
        assert!(SecretKey::parse(&key.pem().replace("PRIVATE", "PUBLIC")).is_err());
    }

    #[test]
    fn a_key_that_openssl_made_is_read() {
        let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        assert_eq!(
            SecretKey::parse(pem).unwrap().public().keyval.public,
            "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1"
        );
    }

    #[test]
    fn a_secret_key_is_not_shown() {
        let key = SecretKey::from_seed([0xab; 32]).unwrap();
        assert!(!format!("{key:?}").contains("abab"));
    }
}
