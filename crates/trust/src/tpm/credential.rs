//! How is a secret sealed so that only the TPM with both keys opens it? TPM2_MakeCredential, done without a TPM.
//!
//! Part 1, 24 (credential protection), for an endorsement key of the default template: RSA 2048, SHA-256, AES-128-CFB
//! (part 1, annex B.4 for OAEP; 11.4.10.2 for KDFa).

use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};

use super::BadTpm;

/// With the zero that ends it (part 1, B.4 and 11.4.10.2).
const IDENTITY: &[u8] = b"IDENTITY\0";
const STORAGE: &[u8] = b"STORAGE\0";
const INTEGRITY: &[u8] = b"INTEGRITY\0";
const AES_KEY_BYTES: usize = 16;

/// What the TPM takes for the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// TPM2B_ID_OBJECT.
    pub blob: Vec<u8>,
    /// TPM2B_ENCRYPTED_SECRET.
    pub seed: Vec<u8>,
}

/// `endorsement_key`: SubjectPublicKeyInfo, DER. `name`: of the key that the secret is for.
pub(super) fn make(endorsement_key: &[u8], name: &[u8], secret: &[u8; 32]) -> Result<Credential, BadTpm> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|_| BadTpm::Seal)?;
    let key = PublicEncryptingKey::from_der(endorsement_key).map_err(|_| BadTpm::EndorsementKey)?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|_| BadTpm::EndorsementKey)?;
    let mut sealed_seed = vec![0; key.ciphertext_size()];
    let sealed_seed = key
        .encrypt(&OAEP_SHA256_MGF1SHA256, &seed, &mut sealed_seed, Some(IDENTITY))
        .map_err(|_| BadTpm::Seal)?
        .to_vec();
    let mut identity = sized(secret);
    let storage = kdf_a(&seed, STORAGE, name);
    let unbound = UnboundCipherKey::new(&AES_128, &storage[..AES_KEY_BYTES]).map_err(|_| BadTpm::Seal)?;
    let start = EncryptionContext::Iv128(FixedLength::from([0; 16]));
    EncryptingKey::cfb128(unbound)
        .and_then(|cipher| cipher.less_safe_encrypt(&mut identity, start))
        .map_err(|_| BadTpm::Seal)?;
    let integrity = hmac::Key::new(hmac::HMAC_SHA256, &kdf_a(&seed, INTEGRITY, &[]));
    let mark = hmac::sign(&integrity, &[&identity, name].concat());
    let blob = [sized(mark.as_ref()), identity].concat();
    Ok(Credential { blob: sized(&blob), seed: sized(&sealed_seed) })
}

/// One block of it is enough for keys up to 256 bits. `label` ends with its zero.
fn kdf_a(seed: &[u8], label: &[u8], context: &[u8]) -> Vec<u8> {
    // The number of bits is part of what is hashed.
    let bits: u32 = if label == STORAGE { 128 } else { 256 };
    let key = hmac::Key::new(hmac::HMAC_SHA256, seed);
    let text = [&1_u32.to_be_bytes()[..], label, context, &bits.to_be_bytes()].concat();
    hmac::sign(&key, &text).as_ref().to_vec()
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    let count = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&count.to_be_bytes()[..], bytes].concat()
}
