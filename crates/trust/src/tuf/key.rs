//! Did the holder of this key sign these bytes?
//!
//! Keys as securesystemslib writes them: ed25519 as 32 bytes of hex, the others as PEM of a `SubjectPublicKeyInfo`. The
//! id of a key is whatever the document calls it; it is never worked out again (TUF 4.2).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use muster_vocab::digest::from_hex;
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use serde::Deserialize;

/// A public key in a document. Fields that are not named here are signed, but mean nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
pub struct Key {
    pub keytype: String,
    pub scheme: String,
    pub keyval: KeyValue,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
pub struct KeyValue {
    pub public: String,
}

impl Key {
    /// Whether the signature is one of this key over these bytes. A key that can't be read signs nothing.
    #[must_use]
    pub fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let public = self.keyval.public.trim();
        let (algorithm, public): (&'static dyn VerificationAlgorithm, _) = match self.scheme.as_str() {
            "ed25519" => (&signature::ED25519, from_hex(public).or_else(|| from_pem(public))),
            "ecdsa-sha2-nistp256" => (&signature::ECDSA_P256_SHA256_ASN1, from_pem(public)),
            "ecdsa-sha2-nistp384" => (&signature::ECDSA_P384_SHA384_ASN1, from_pem(public)),
            "rsassa-pss-sha256" => (&signature::RSA_PSS_2048_8192_SHA256, from_pem(public)),
            "rsassa-pss-sha384" => (&signature::RSA_PSS_2048_8192_SHA384, from_pem(public)),
            "rsassa-pss-sha512" => (&signature::RSA_PSS_2048_8192_SHA512, from_pem(public)),
            "rsa-pkcs1v15-sha256" => (&signature::RSA_PKCS1_2048_8192_SHA256, from_pem(public)),
            _ => return false,
        };
        let Some(public) = public else { return false };
        UnparsedPublicKey::new(algorithm, public).verify(message, signature).is_ok()
    }
}

/// The key inside of a PEM `SubjectPublicKeyInfo`: what its bit string holds. Which kind of key it is, is not looked
/// at: bytes of another kind don't verify.
fn from_pem(text: &str) -> Option<Vec<u8>> {
    let body = text.strip_prefix("-----BEGIN PUBLIC KEY-----")?.trim_end().strip_suffix("-----END PUBLIC KEY-----")?;
    let lines: String = body.split_ascii_whitespace().collect();
    let der = STANDARD.decode(lines).ok()?;
    let (info, rest) = element(&der, 0x30)?;
    let (_algorithm, bits) = element(info, 0x30)?;
    let (bits, after) = element(bits, 0x03)?;
    // The first byte counts unused bits, of which a key has none.
    (rest.is_empty() && after.is_empty() && bits.first() == Some(&0)).then(|| bits[1..].to_vec())
}

/// The content of the DER element of this tag at the start, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(*length), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => (usize::from(*rest.first()?) << 8 | usize::from(*rest.get(1)?), &rest[2..]),
        _ => return None,
    };
    (*first == tag && length <= rest.len()).then(|| rest.split_at(length))
}

#[cfg(test)]
mod tests {
    use ring::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    fn key(scheme: &str, public: &str) -> Key {
        Key { keytype: scheme.into(), scheme: scheme.into(), keyval: KeyValue { public: public.into() } }
    }

    #[test]
    fn only_the_key_that_signed_is_believed() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let public: String = pair.public_key().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let signature = pair.sign(b"bytes");
        assert!(key("ed25519", &public).signed(b"bytes", signature.as_ref()));
        assert!(!key("ed25519", &public).signed(b"Bytes", signature.as_ref()));
        assert!(!key("ed25519", &public.replace('a', "b")).signed(b"bytes", signature.as_ref()));
        assert!(!key("ecdsa-sha2-nistp256", &public).signed(b"bytes", signature.as_ref()));
        assert!(!key("of the future", &public).signed(b"bytes", signature.as_ref()));
    }

    #[test]
    fn the_key_inside_of_a_pem_is_found() {
        let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
        assert_eq!(from_pem(pem).map(|key| key.len()), Some(32));
        assert_eq!(from_pem(&pem.replace("MCow", "MCox")), None);
        assert_eq!(from_pem("-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----"), None);
    }
}
