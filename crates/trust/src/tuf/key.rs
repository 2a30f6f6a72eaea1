//! Did the holder of this key sign these bytes?
//!
//! Keys as securesystemslib writes them: ed25519 as 32 bytes of hex, the others as PEM of a `SubjectPublicKeyInfo`. The
//! id of a key is whatever the document calls it; it is never worked out again (TUF 4.2).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use muster_vocab::digest::from_hex;
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use serde::{Deserialize, Serialize};

/// A public key in a document. Fields that are not named here are signed, but mean nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Key {
    pub keytype: String,
    pub scheme: String,
    pub keyval: KeyValue,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

impl Key {
    /// A public key on P-256 from its uncompressed point of 65 bytes.
    #[must_use]
    pub fn p256(point: &[u8]) -> Option<Self> {
        if point.len() != 65 || point[0] != 4 {
            return None;
        }
        let mut der = vec![0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
        der.extend([0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00]);
        der.extend(point);
        let text = STANDARD.encode(der);
        // Lines of 64, as openssl writes them: the text is part of the key's id.
        let (first, second) = text.split_at(64);
        Self::from_pem(&format!("-----BEGIN PUBLIC KEY-----\n{first}\n{second}\n-----END PUBLIC KEY-----\n"))
    }

    /// A public key as `openssl pkey -pubout` writes it: Ed25519, ECDSA on P-256 or P-384, or RSA (used with PSS).
    #[must_use]
    pub fn from_pem(text: &str) -> Option<Self> {
        let der = der(text)?;
        let (info, _) = element(&der, 0x30)?;
        let (algorithm, _) = element(info, 0x30)?;
        let key = from_pem(text.trim())?;
        let has = |part: &[u8]| algorithm.windows(part.len()).any(|window| window == part);
        let (keytype, scheme) = match () {
            () if has(&[0x06, 0x03, 0x2b, 0x65, 0x70]) => ("ed25519", "ed25519"),
            () if has(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]) => ("ecdsa", "ecdsa-sha2-nistp256"),
            () if has(&[0x2b, 0x81, 0x04, 0x00, 0x22]) => ("ecdsa", "ecdsa-sha2-nistp384"),
            () if has(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01]) => ("rsa", "rsassa-pss-sha256"),
            () => return None,
        };
        let public = if keytype == "ed25519" { muster_vocab::digest::hex(&key) } else { format!("{}\n", text.trim()) };
        Some(Self { keytype: keytype.into(), scheme: scheme.into(), keyval: KeyValue { public } })
    }
}

/// The key inside of a PEM `SubjectPublicKeyInfo`: what its bit string holds. Which kind of key it is, is not looked
/// at: bytes of another kind don't verify.
fn from_pem(text: &str) -> Option<Vec<u8>> {
    let der = der(text)?;
    let (info, rest) = element(&der, 0x30)?;
    let (_algorithm, bits) = element(info, 0x30)?;
    let (bits, after) = element(bits, 0x03)?;
    // The first byte counts unused bits, of which a key has none.
    (rest.is_empty() && after.is_empty() && bits.first() == Some(&0)).then(|| bits[1..].to_vec())
}

fn der(text: &str) -> Option<Vec<u8>> {
    let body = text.trim().strip_prefix("-----BEGIN PUBLIC KEY-----")?.strip_suffix("-----END PUBLIC KEY-----")?;
    let lines: String = body.split_ascii_whitespace().collect();
    STANDARD.decode(lines).ok()
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
        assert_eq!(Key::from_pem(pem).unwrap().keyval.public.len(), 64);
        assert_eq!(from_pem("-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----"), None);
    }
}
