//! How does a secret get to one device, past everything that stands between?
//!
//! The device makes an X25519 key for one answer and signs it with the key of its identity ([`asked`] are the bytes).
//! The server makes one, too, and seals for it: HKDF-SHA256 over the shared secret with both public keys as info, then
//! AES-256-GCM with nonce zero, for no key is used twice. Both secret keys are gone afterwards: whoever
//! records the answer and steals the device later reads nothing.
//!
//! Sealed: the server's 32 bytes of public key, the ciphertext, 16 bytes of tag.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::{aead, agreement, hkdf};
use zeroize::Zeroizing;

pub const PUBLIC_BYTES: usize = 32;
const CONTEXT: &[u8] = b"muster secrets 1\0";

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    #[error("the operating system gave no random bytes")]
    NoChance,
    #[error("a key to seal for is an X25519 public key of 32 bytes")]
    BadKey,
    #[error("the sealed secrets don't open: they were changed, or are for another device or question")]
    Changed,
}

/// The device's half of one question.
pub struct Asking {
    secret: agreement::EphemeralPrivateKey,
    public: [u8; PUBLIC_BYTES],
}

impl std::fmt::Debug for Asking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asking").finish_non_exhaustive()
    }
}

impl Asking {
    pub fn new() -> Result<Self, DeliveryError> {
        let (secret, public) = pair()?;
        Ok(Self { secret, public })
    }

    #[must_use]
    pub fn public(&self) -> [u8; PUBLIC_BYTES] {
        self.public
    }

    /// What the server sealed for this question.
    pub fn open(self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, DeliveryError> {
        let (theirs, body) = sealed.split_first_chunk::<PUBLIC_BYTES>().ok_or(DeliveryError::Changed)?;
        let key = shared(self.secret, theirs, (&self.public, theirs)).map_err(|_| DeliveryError::Changed)?;
        let mut plain = Zeroizing::new(body.to_vec());
        let nonce = aead::Nonce::assume_unique_for_key([0; 12]);
        let opened = key.open_in_place(nonce, aead::Aad::empty(), &mut plain);
        let length = opened.map_err(|_| DeliveryError::Changed)?.len();
        plain.truncate(length);
        Ok(plain)
    }
}

/// What the device signs: that this key is for secrets.
#[must_use]
pub fn asked(public: &[u8]) -> Vec<u8> {
    [CONTEXT, public].concat()
}

/// Seals for the device that asked with this key.
pub fn seal(public: &[u8], plain: &[u8]) -> Result<Vec<u8>, DeliveryError> {
    let theirs: [u8; PUBLIC_BYTES] = public.try_into().map_err(|_| DeliveryError::BadKey)?;
    let (secret, ours) = pair()?;
    let key = shared(secret, &theirs, (&theirs, &ours))?;
    let mut body = Zeroizing::new(plain.to_vec());
    let nonce = aead::Nonce::assume_unique_for_key([0; 12]);
    let tag =
        key.seal_in_place_separate_tag(nonce, aead::Aad::empty(), &mut body).map_err(|_| DeliveryError::Changed)?;
    Ok([ours.as_slice(), &body, tag.as_ref()].concat())
}

fn pair() -> Result<(agreement::EphemeralPrivateKey, [u8; PUBLIC_BYTES]), DeliveryError> {
    let secret = agreement::EphemeralPrivateKey::generate(&agreement::X25519, &SystemRandom::new())
        .map_err(|_| DeliveryError::NoChance)?;
    let public = secret.compute_public_key().map_err(|_| DeliveryError::NoChance)?;
    let public = public.as_ref().try_into().map_err(|_| DeliveryError::BadKey)?;
    Ok((secret, public))
}

/// The key of one answer. A public key that makes the shared secret zero is refused by the agreement (RFC 7748, 6.1).
fn shared(
    secret: agreement::EphemeralPrivateKey,
    other: &[u8; PUBLIC_BYTES],
    (device_key, server_key): (&[u8; PUBLIC_BYTES], &[u8; PUBLIC_BYTES]),
) -> Result<aead::LessSafeKey, DeliveryError> {
    let other = agreement::UnparsedPublicKey::new(&agreement::X25519, other);
    let derive = |shared: &[u8]| {
        let pseudorandom = hkdf::Salt::new(hkdf::HKDF_SHA256, CONTEXT).extract(shared);
        let info = [device_key.as_slice(), server_key];
        let key = pseudorandom.expand(&info, &aead::AES_256_GCM).expect("32 bytes are less than HKDF can give");
        aead::LessSafeKey::new(key.into())
    };
    agreement::agree_ephemeral(secret, &other, derive).map_err(|_| DeliveryError::BadKey)
}

/// As messages carry keys, signatures and what is sealed: base64.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// None: it is not base64.
#[must_use]
pub fn bytes(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_asked_opens_the_answer() {
        let (asking, other) = (Asking::new().unwrap(), Asking::new().unwrap());
        let sealed = seal(&asking.public(), b"hunter2").unwrap();
        assert!(!sealed.windows(7).any(|some| some == b"hunter2"));
        assert_eq!(other.open(&sealed), Err(DeliveryError::Changed));
        assert_eq!(asking.open(&sealed).unwrap().as_slice(), b"hunter2");
    }

    #[test]
    fn an_answer_with_any_byte_changed_does_not_open() {
        for byte in 0..seal(&Asking::new().unwrap().public(), b"value").unwrap().len() {
            let asking = Asking::new().unwrap();
            let mut sealed = seal(&asking.public(), b"value").unwrap();
            sealed[byte] ^= 1;
            assert!(asking.open(&sealed).is_err(), "byte {byte} was changed and it opened");
        }
    }

    #[test]
    fn keys_that_share_nothing_are_refused() {
        assert_eq!(seal(&[0; 32], b"value"), Err(DeliveryError::BadKey));
        assert_eq!(seal(b"short", b"value"), Err(DeliveryError::BadKey));
        assert_eq!(Asking::new().unwrap().open(b"short"), Err(DeliveryError::Changed));
    }
}
