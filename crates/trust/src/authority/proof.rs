//! Has somebody who has a key signed this?

use rustls_pki_types::{SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer};
use sha2::{Digest, Sha256};
use webpki::{RawPublicKeyEntity, aws_lc_rs};

/// Which way of signing, by its number in TLS (RFC 8446, 4.2.3).
fn algorithm(scheme: u16) -> Option<&'static dyn SignatureVerificationAlgorithm> {
    Some(match scheme {
        0x0403 => aws_lc_rs::ECDSA_P256_SHA256,
        0x0503 => aws_lc_rs::ECDSA_P384_SHA384,
        0x0804 => aws_lc_rs::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
        0x0807 => aws_lc_rs::ED25519,
        _ => return None,
    })
}

/// `public_key`: DER of the key with its kind (SubjectPublicKeyInfo), as certificates have it.
#[must_use]
pub fn is_signed_by(public_key: &[u8], scheme: u16, message: &[u8], signature: &[u8]) -> bool {
    let key = SubjectPublicKeyInfoDer::from(public_key);
    let Some(algorithm) = algorithm(scheme) else { return false };
    RawPublicKeyEntity::try_from(&key).is_ok_and(|key| key.verify_signature(algorithm, message, signature).is_ok())
}

/// What keys are known by here: SHA-256 of the same DER.
#[must_use]
pub fn key_digest(public_key: &[u8]) -> [u8; 32] {
    Sha256::digest(public_key).into()
}

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, PublicKeyData, SigningKey};

    use super::*;

    #[test]
    fn a_signature_is_good_for_its_key_its_scheme_and_its_message() {
        let key = KeyPair::generate().unwrap();
        let signature = key.sign(b"message").unwrap();
        let public = key.subject_public_key_info();
        assert!(is_signed_by(&public, 0x0403, b"message", &signature));
        assert!(!is_signed_by(&public, 0x0403, b"another", &signature));
        assert!(!is_signed_by(&public, 0x0807, b"message", &signature));
        assert!(!is_signed_by(&public, 0xffff, b"message", &signature));
        assert!(!is_signed_by(&KeyPair::generate().unwrap().subject_public_key_info(), 0x0403, b"message", &signature));
        for byte in 0..signature.len() {
            let mut flipped = signature.clone();
            flipped[byte] ^= 1;
            assert!(!is_signed_by(&public, 0x0403, b"message", &flipped), "byte {byte}");
        }
        assert!(!is_signed_by(b"no key", 0x0403, b"message", &signature));
    }
}
