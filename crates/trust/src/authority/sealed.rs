//! How does a root's key lie in a file that may get lost? Sealed by a passphrase, beside its certificate.
//!
//! Argon2id (RFC 9106) makes a key of the passphrase, ChaCha20-Poly1305 (RFC 8439) seals with it. The costs are in the
//! file, bounded, so that they can grow.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

const BEGIN: &str = "-----BEGIN MUSTER SEALED KEY-----";
const END: &str = "-----END MUSTER SEALED KEY-----";
const SALT_BYTES: usize = 16;
const NONCE_BYTES: usize = 12;
/// RFC 9106 4, second recommended choice: 64 MiB and three passes.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
/// A file that asks for more is none of ours.
const MEMORY_KIB_MAX: u32 = 1024 * 1024;
const PASSES_MAX: u32 = 16;
/// Whoever has the file can try as long as he likes.
pub const PASSPHRASE_CHARS_MIN: usize = 12;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("a passphrase has at least {PASSPHRASE_CHARS_MIN} characters")]
    Short,
    #[error("there is no sealed key in it")]
    NoKey,
    #[error("the passphrase is wrong, or the file was changed")]
    Wrong,
    #[error("sealing: {0}")]
    Failed(String),
}

/// The text of a key, sealed, as text.
pub fn seal(text: &str, passphrase: &str) -> Result<String, SealError> {
    if passphrase.chars().count() < PASSPHRASE_CHARS_MIN {
        return Err(SealError::Short);
    }
    let mut chance = [0; SALT_BYTES + NONCE_BYTES];
    getrandom::fill(&mut chance).map_err(|failed| SealError::Failed(failed.to_string()))?;
    let (salt, nonce) = chance.split_at(SALT_BYTES);
    let head = format!("argon2id {MEMORY_KIB} {PASSES} {}", STANDARD.encode(salt));
    let key = key(passphrase, salt, (MEMORY_KIB, PASSES))?;
    let mut sealed = text.as_bytes().to_vec();
    let nonce_value = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::NoKey)?;
    key.seal_in_place_append_tag(nonce_value, Aad::from(head.as_bytes()), &mut sealed)
        .map_err(|_| SealError::Failed("the key is too long".into()))?;
    let body = [nonce, &sealed].concat();
    Ok(format!("{BEGIN}\n{head}\n{}\n{END}\n", STANDARD.encode(body)))
}

#[must_use]
pub fn is_sealed(text: &str) -> bool {
    text.contains(BEGIN)
}

/// The text of the sealed key that a file has in it, whatever lies beside it.
pub fn open(file: &str, passphrase: &str) -> Result<String, SealError> {
    let inside = file.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END)).ok_or(SealError::NoKey)?.0;
    let mut lines = inside.lines().map(str::trim).filter(|line| !line.is_empty());
    let (head, body) = (lines.next().ok_or(SealError::NoKey)?, lines.collect::<String>());
    let words: Vec<&str> = head.split(' ').collect();
    let ["argon2id", memory, passes, salt] = words.as_slice() else { return Err(SealError::NoKey) };
    let costs = (memory.parse().map_err(|_| SealError::NoKey)?, passes.parse().map_err(|_| SealError::NoKey)?);
    if costs.0 > MEMORY_KIB_MAX || costs.1 > PASSES_MAX {
        return Err(SealError::NoKey);
    }
    let salt = STANDARD.decode(salt).map_err(|_| SealError::NoKey)?;
    let body = STANDARD.decode(body).map_err(|_| SealError::NoKey)?;
    let (nonce, sealed) = body.split_at_checked(NONCE_BYTES).ok_or(SealError::NoKey)?;
    let mut sealed = sealed.to_vec();
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::NoKey)?;
    let opened = key(passphrase, &salt, costs)?
        .open_in_place(nonce, Aad::from(head.as_bytes()), &mut sealed)
        .map_err(|_| SealError::Wrong)?;
    String::from_utf8(opened.to_vec()).map_err(|_| SealError::Wrong)
}

fn key(passphrase: &str, salt: &[u8], (memory_kib, passes): (u32, u32)) -> Result<LessSafeKey, SealError> {
    let failed = |bad: argon2::Error| SealError::Failed(bad.to_string());
    let mut key = [0; 32];
    let params = Params::new(memory_kib, passes, 1, Some(key.len())).map_err(failed)?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, &mut key)
        .map_err(failed)?;
    let key = UnboundKey::new(&CHACHA20_POLY1305, &key).map_err(|_| SealError::Failed("the key's length".into()))?;
    Ok(LessSafeKey::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSPHRASE: &str = "correct horse battery";

    #[test]
    fn only_the_passphrase_opens_what_was_sealed() {
        let sealed = format!("a certificate\n{}", seal("the key", PASSPHRASE).unwrap());
        assert!(is_sealed(&sealed) && !sealed.contains("the key"));
        assert_eq!(open(&sealed, PASSPHRASE).unwrap(), "the key");
        assert_eq!(open(&sealed, "correct horse batterz"), Err(SealError::Wrong));
        assert_eq!(seal("the key", "short"), Err(SealError::Short));
    }

    #[test]
    fn a_file_that_was_changed_does_not_open() {
        let sealed = seal("the key", PASSPHRASE).unwrap();
        assert_eq!(open("nothing", PASSPHRASE), Err(SealError::NoKey));
        assert_eq!(open(&sealed.replace("65536 3", "32768 3"), PASSPHRASE), Err(SealError::Wrong));
        assert_eq!(open(&sealed.replace("65536 3", "99999999 3"), PASSPHRASE), Err(SealError::NoKey));
    }
}
