//! How are passwords kept? As argon2id hashes in PHC text form, with OWASP's first parameters.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};

/// OWASP: 19 MiB, 2 passes, 1 lane. About 20 ms here: slow for a guesser, fine for a login.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

pub const PASSWORD_CHARS_MIN: usize = 12;
/// Hashing time grows with length; nobody types more.
pub const PASSWORD_BYTES_MAX: usize = 1024;

#[derive(Debug, thiserror::Error)]
pub enum BadPassword {
    #[error("a password has at least {PASSWORD_CHARS_MIN} characters")]
    TooShort,
    #[error("a password has at most {PASSWORD_BYTES_MAX} bytes")]
    TooLong,
    #[error("the password could not be hashed: {0}")]
    Hash(String),
}

/// A hash to store, with its own random salt.
pub fn hash(password: &str) -> Result<String, BadPassword> {
    if password.chars().count() < PASSWORD_CHARS_MIN {
        return Err(BadPassword::TooShort);
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(BadPassword::TooLong);
    }
    let hashed = argon2().hash_password(password.as_bytes()).map_err(|bad| BadPassword::Hash(bad.to_string()))?;
    Ok(hashed.to_string())
}

/// Is it the password the hash was made of? An unreadable hash matches nothing.
#[must_use]
pub fn verify(password: &str, hash: &str) -> bool {
    if password.len() > PASSWORD_BYTES_MAX {
        return false;
    }
    PasswordHash::new(hash).is_ok_and(|hash| argon2().verify_password(password.as_bytes(), &hash).is_ok())
}

/// Takes as long as a real check: an unknown account must not answer faster than a known one.
pub fn verify_nothing(password: &str) {
    const OF_NOBODY: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$eDfNlkqBTH0cCzk2ZEo0mSW4wMXjNkGCrKPQDPnzCqs";
    let _ = std::hint::black_box(verify(password, OF_NOBODY));
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("the constants above are in range");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_password_matches() {
        let hash = hash("correct horse battery").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(verify("correct horse battery", &hash));
        assert!(!verify("correct horse batterz", &hash));
        assert!(!verify("correct horse battery", "nonsense"));
    }

    #[test]
    fn short_passwords_are_refused() {
        assert!(matches!(hash("short"), Err(BadPassword::TooShort)));
    }
}
