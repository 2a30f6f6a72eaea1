//! How are bearer secrets made and recognised?
//!
//! A secret has 256 bits from the operating system, so a plain SHA-256 is enough to keep: there is nothing to guess.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// Prefix of operator tokens, so that scanners for leaked secrets can find them.
pub const TOKEN_PREFIX: &str = "muster_";
/// Prefix of join tokens, for the same reason.
pub const JOIN_TOKEN_PREFIX: &str = "mjt_";

#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no random bytes: {0}")]
pub struct NoChance(getrandom::Error);

/// A new secret with a prefix. Shown once, never stored.
pub fn generate(prefix: &str) -> Result<String, NoChance> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(NoChance)?;
    Ok(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// Random hex for names of things that nobody should guess.
pub fn random_hex(bytes: usize) -> Result<String, NoChance> {
    Ok(muster_vocab::digest::hex(&random(bytes)?))
}

/// Random bytes from the operating system.
pub fn random(bytes: usize) -> Result<Vec<u8>, NoChance> {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).map_err(NoChance)?;
    Ok(random)
}

/// What is stored of a secret.
#[must_use]
pub fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// Compares digests in a time that does not depend on where they differ.
#[must_use]
pub fn same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    let difference = one.iter().zip(other).fold(0, |sum, (a, b)| sum | (a ^ b));
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_differ_and_only_the_same_secret_has_the_same_digest() {
        let (one, other) = (generate(TOKEN_PREFIX).unwrap(), generate(TOKEN_PREFIX).unwrap());
        assert_ne!(one, other);
        assert!(one.starts_with(TOKEN_PREFIX) && one.len() == TOKEN_PREFIX.len() + 43);
        assert!(same(&digest(&one), &digest(&one)));
        assert!(!same(&digest(&one), &digest(&other)));
    }
}
