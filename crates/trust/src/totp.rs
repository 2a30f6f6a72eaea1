//! Does somebody hold the second factor? Codes by time, RFC 6238 with its defaults: SHA-1, 30 s, six digits.
//!
//! Authenticator apps know nothing else. HMAC-SHA-1 is not what collisions of SHA-1 break.

use muster_vocab::Timestamp;
use ring::hmac;
use zeroize::Zeroizing;

use crate::secret::NoChance;

/// RFC 4226, 4: at least 128 bits, better 160.
pub const SECRET_BYTES: usize = 20;
const STEP_MS: i64 = 30_000;
const DIGITS: usize = 6;
const MODULUS: u32 = 1_000_000;
/// Clocks of phones are this many steps off, either way.
const DRIFT_STEPS: u64 = 1;
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// 80 bits: nothing to guess, also for whoever has stolen the digests.
const RECOVERY_BYTES: usize = 10;

/// A new shared secret.
pub fn generate() -> Result<Zeroizing<Vec<u8>>, NoChance> {
    crate::secret::random(SECRET_BYTES).map(Zeroizing::new)
}

/// A code that works once instead of the second factor: four groups of four.
pub fn recovery_code() -> Result<String, NoChance> {
    let text = base32(&crate::secret::random(RECOVERY_BYTES)?).to_lowercase();
    let groups: Vec<&str> = (0..text.len()).step_by(4).map(|at| &text[at..at + 4]).collect();
    Ok(groups.join("-"))
}

/// What people type of it: without case, blanks and dashes.
#[must_use]
pub fn recovery_text(typed: &str) -> String {
    typed.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// The step of the code, if it is one of now and of no step up to `used`.
#[must_use]
pub fn check(secret: &[u8], typed: &str, now: Timestamp, used: u64) -> Option<u64> {
    let typed: String = typed.chars().filter(|c| !c.is_whitespace()).collect();
    if typed.len() != DIGITS || !typed.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let wanted: u32 = typed.parse().ok()?;
    let present = step(now);
    let mut found = None;
    for at in present.saturating_sub(DRIFT_STEPS)..=present + DRIFT_STEPS {
        // All are worked out, so that the time taken says nothing.
        let fits = code(secret, at) == wanted;
        if fits && at > used && found.is_none() {
            found = Some(at);
        }
    }
    found
}

/// As authenticator apps read it.
#[must_use]
pub fn uri(secret: &[u8], issuer: &str, account: &str) -> Zeroizing<String> {
    let secret = Zeroizing::new(base32(secret));
    Zeroizing::new(format!("otpauth://totp/{issuer}:{account}?secret={}&issuer={issuer}", secret.as_str()))
}

/// RFC 4648, without padding.
#[must_use]
pub fn base32(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for byte in bytes {
        held = held << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(BASE32[(held >> bits & 31) as usize]));
        }
    }
    if bits > 0 {
        text.push(char::from(BASE32[(held << (5 - bits) & 31) as usize]));
    }
    text
}

fn step(now: Timestamp) -> u64 {
    u64::try_from(now.0.max(0) / STEP_MS).expect("it is not negative")
}

/// The six digits of a step, as a number. Public for clients in tests.
#[must_use]
pub fn code(secret: &[u8], step: u64) -> u32 {
    truncated(secret, step) % MODULUS
}

/// RFC 4226, 5.3: dynamic truncation.
fn truncated(secret: &[u8], step: u64) -> u32 {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let bytes = tag.as_ref();
    let at = usize::from(bytes[bytes.len() - 1] & 15);
    let four = bytes[at..at + 4].first_chunk().expect("20 bytes have four from any of the first 16 on");
    u32::from_be_bytes(*four) & 0x7fff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"12345678901234567890";

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1000)
    }

    #[test]
    fn codes_are_those_of_rfc_6238_appendix_b() {
        let vectors = [
            (59, 94_287_082),
            (1_111_111_109, 7_081_804),
            (1_111_111_111, 14_050_471),
            (1_234_567_890, 89_005_924),
            (2_000_000_000, 69_279_037),
            (20_000_000_000, 65_353_130),
        ];
        for (seconds, digits) in vectors {
            assert_eq!(truncated(SECRET, step(at(seconds))) % 100_000_000, digits, "{seconds}");
        }
    }

    #[test]
    fn codes_are_those_of_rfc_4226_appendix_d() {
        let codes = [755_224, 287_082, 359_152, 969_429, 338_314, 254_676, 287_922, 162_583, 399_871, 520_489];
        for (count, wanted) in codes.into_iter().enumerate() {
            assert_eq!(code(SECRET, count as u64), wanted, "{count}");
        }
    }

    #[test]
    fn a_code_works_once_and_a_step_around_now() {
        let now = at(1_111_111_111);
        let present = step(now);
        let typed = |step| format!("{:06}", code(SECRET, step));
        assert_eq!(check(SECRET, &typed(present), now, 0), Some(present));
        assert_eq!(check(SECRET, &typed(present), now, present), None, "it was used");
        assert_eq!(check(SECRET, &typed(present - 1), now, present), None, "an older one after it, too");
        assert_eq!(check(SECRET, &typed(present + 1), now, present), Some(present + 1));
        assert_eq!(check(SECRET, &typed(present - 2), now, 0), None);
        assert_eq!(check(SECRET, &typed(present + 2), now, 0), None);
        for nonsense in ["", "12345", "1234567", "+12345", "abcdef", "１２３４５６"] {
            assert_eq!(check(SECRET, nonsense, now, 0), None, "{nonsense}");
        }
    }

    #[test]
    fn base32_is_that_of_rfc_4648() {
        let vectors = [("f", "MY"), ("fo", "MZXQ"), ("foo", "MZXW6"), ("foob", "MZXW6YQ"), ("foobar", "MZXW6YTBOI")];
        for (plain, text) in vectors {
            assert_eq!(base32(plain.as_bytes()), text);
        }
    }

    #[test]
    fn recovery_codes_are_read_as_people_type_them() {
        let code = recovery_code().unwrap();
        assert_eq!(code.len(), 19);
        assert_eq!(recovery_text(&code.to_uppercase().replace('-', " ")), recovery_text(&code));
        assert_ne!(recovery_code().unwrap(), code);
    }
}
