//! How does a receiver know that a webhook is this server's?
//!
//! By the signature of Standard Webhooks 1.0, for which there are verifying libraries in most languages: HMAC-SHA256
//! over id, time and body.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use muster_vocab::Timestamp;
use ring::hmac;

/// Before a key as text.
const KEY_PREFIX: &str = "whsec_";
/// What the specification asks for.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a webhook's key is whsec_ and 24 to 64 random bytes in base64: echo whsec_$(openssl rand -base64 32)")]
pub struct BadKey;

/// Shared with the receiver.
#[derive(Clone)]
pub struct Key(hmac::Key);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    pub fn parse(text: &str) -> Result<Self, BadKey> {
        let encoded = text.trim().strip_prefix(KEY_PREFIX).ok_or(BadKey)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| BadKey)?;
        match KEY_BYTES.contains(&bytes.len()) {
            true => Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes))),
            false => Err(BadKey),
        }
    }

    /// The value of `webhook-signature`. `webhook-timestamp` is `now` in whole seconds.
    #[must_use]
    pub fn sign(&self, id: &str, now: Timestamp, body: &str) -> String {
        let tag = hmac::sign(&self.0, format!("{id}.{}.{body}", seconds(now)).as_bytes());
        format!("v1,{}", STANDARD.encode(tag))
    }
}

/// The value of `webhook-timestamp`.
#[must_use]
pub fn seconds(now: Timestamp) -> i64 {
    now.0.div_euclid(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden: never edit; receivers verify it.
    #[test]
    fn a_signature_is_that_of_the_specification() {
        let key = Key::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature =
            key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", Timestamp(1_614_265_330_999), "{\"test\": 2432232314}");
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn weak_and_misspelt_keys_are_refused() {
        for text in ["", "whsec_", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_%%%"] {
            assert_eq!(Key::parse(text).err(), Some(BadKey), "{text}");
        }
    }
}
