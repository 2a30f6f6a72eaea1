//! How are secrets kept where others may read the disk?
//!
//! Each value is sealed under a key of its own: HKDF-SHA256 (RFC 5869) of the master key with 32 random bytes as salt and
//! the value's purpose as info; then AES-256-GCM. A key is used once, so the nonce is zero and no count of messages can
//! run out. What was sealed for one purpose opens for no other: rows can't be swapped.
//!
//! Sealed: `MSL1`, 8 bytes that name the master key, 32 bytes of salt, the ciphertext, 16 bytes of tag.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::{aead, hkdf};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

const MAGIC: &[u8; 4] = b"MSL1";
const NAME_BYTES: usize = 8;
const SALT_BYTES: usize = 32;
const HEAD_BYTES: usize = MAGIC.len() + NAME_BYTES + SALT_BYTES;
pub const MASTER_KEY_BYTES: usize = 32;
/// A new one, and those from before that have yet to go.
const MASTER_KEYS_MAX: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadMasterKey {
    #[error("there is no master key in it: it holds a line of 44 characters, 32 random bytes in base64")]
    None,
    #[error("line {0} is no master key: that is 44 characters, 32 random bytes in base64")]
    Line(usize),
    #[error("more than {MASTER_KEYS_MAX} master keys: keep the newest and the one before")]
    TooMany,
    #[error("the operating system gave no random bytes")]
    NoChance,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("the operating system gave no random bytes")]
    NoChance,
    #[error("this was not sealed by Muster, or is damaged")]
    NotSealed,
    #[error("this was sealed with master key {0}, which the server does not have")]
    OtherKey(String),
    #[error("this does not open: it was changed, or sealed for something else")]
    Changed,
}

struct MasterKey {
    name: [u8; NAME_BYTES],
    secret: Zeroizing<[u8; MASTER_KEY_BYTES]>,
}

/// Master keys: the first seals, all open.
pub struct Keyring {
    first: MasterKey,
    before: Vec<MasterKey>,
}

impl Keyring {
    pub fn generate() -> Result<Self, BadMasterKey> {
        let mut secret = Zeroizing::new([0; MASTER_KEY_BYTES]);
        getrandom::fill(secret.as_mut()).map_err(|_| BadMasterKey::NoChance)?;
        Ok(Self { first: MasterKey::new(secret), before: Vec::new() })
    }

    /// One key a line, the newest first; empty lines and those that begin with `#` say nothing.
    pub fn parse(text: &str) -> Result<Self, BadMasterKey> {
        let mut keys = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bad = || BadMasterKey::Line(number + 1);
            let bytes = Zeroizing::new(STANDARD.decode(line).map_err(|_| bad())?);
            let mut secret = Zeroizing::new([0; MASTER_KEY_BYTES]);
            if bytes.len() != MASTER_KEY_BYTES {
                return Err(bad());
            }
            secret.copy_from_slice(&bytes);
            keys.push(MasterKey::new(secret));
        }
        if keys.len() > MASTER_KEYS_MAX {
            return Err(BadMasterKey::TooMany);
        }
        let mut keys = keys.into_iter();
        let first = keys.next().ok_or(BadMasterKey::None)?;
        Ok(Self { first, before: keys.collect() })
    }

    /// As [`Keyring::parse`] reads it. For the file it is kept in, and nothing else.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::new());
        for key in std::iter::once(&self.first).chain(&self.before) {
            let line = Zeroizing::new(STANDARD.encode(key.secret.as_ref()));
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    /// A new key first, these behind it.
    pub fn rotated(self) -> Result<Self, BadMasterKey> {
        let mut new = Self::generate()?;
        new.before.push(self.first);
        new.before.extend(self.before);
        new.before.truncate(MASTER_KEYS_MAX - 1);
        Ok(new)
    }

    /// The first alone.
    #[must_use]
    pub fn newest(self) -> Self {
        Self { before: Vec::new(), ..self }
    }

    /// What the key that seals is called: safe to show.
    #[must_use]
    pub fn name(&self) -> String {
        muster_vocab::digest::hex(&self.first.name)
    }

    /// How many older keys open.
    #[must_use]
    pub fn older(&self) -> usize {
        self.before.len()
    }

    pub fn seal(&self, purpose: &str, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut sealed = Vec::with_capacity(HEAD_BYTES + plain.len() + aead::AES_256_GCM.tag_len());
        sealed.extend_from_slice(MAGIC);
        sealed.extend_from_slice(&self.first.name);
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(|_| SealError::NoChance)?;
        sealed.extend_from_slice(&salt);
        let head: [u8; HEAD_BYTES] = sealed[..].try_into().map_err(|_| SealError::NotSealed)?;
        let mut body = Zeroizing::new(plain.to_vec());
        let key = self.first.key(&salt, purpose);
        let tag = key
            .seal_in_place_separate_tag(aead::Nonce::assume_unique_for_key([0; 12]), aead::Aad::from(head), &mut body)
            .map_err(|_| SealError::Changed)?;
        sealed.extend_from_slice(&body);
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (head, body) = sealed.split_first_chunk::<HEAD_BYTES>().ok_or(SealError::NotSealed)?;
        let name = name_of(sealed).ok_or(SealError::NotSealed)?;
        let salt = &head[MAGIC.len() + NAME_BYTES..];
        let known = std::iter::once(&self.first).chain(&self.before).find(|key| key.name == name);
        let master = known.ok_or_else(|| SealError::OtherKey(muster_vocab::digest::hex(&name)))?;
        let mut plain = Zeroizing::new(body.to_vec());
        let nonce = aead::Nonce::assume_unique_for_key([0; 12]);
        let opened = master.key(salt, purpose).open_in_place(nonce, aead::Aad::from(*head), &mut plain);
        let length = opened.map_err(|_| SealError::Changed)?.len();
        plain.truncate(length);
        Ok(plain)
    }

    /// Whether the newest key sealed it.
    #[must_use]
    pub fn is_newest(&self, sealed: &[u8]) -> bool {
        name_of(sealed) == Some(self.first.name)
    }
}

/// Whether it looks like something that was sealed.
#[must_use]
pub fn is_sealed(bytes: &[u8]) -> bool {
    name_of(bytes).is_some()
}

fn name_of(sealed: &[u8]) -> Option<[u8; NAME_BYTES]> {
    let rest = sealed.strip_prefix(MAGIC)?;
    (sealed.len() >= HEAD_BYTES).then(|| rest.first_chunk().copied()).flatten()
}

impl MasterKey {
    fn new(secret: Zeroizing<[u8; MASTER_KEY_BYTES]>) -> Self {
        let digest = Sha256::new().chain_update(b"muster master key name 1\0").chain_update(secret.as_ref()).finalize();
        let mut name = [0; NAME_BYTES];
        name.copy_from_slice(&digest[..NAME_BYTES]);
        Self { name, secret }
    }

    fn key(&self, salt: &[u8], purpose: &str) -> aead::LessSafeKey {
        let pseudorandom = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(self.secret.as_ref());
        let info = [b"muster seal 1\0".as_slice(), purpose.as_bytes()];
        let key = pseudorandom.expand(&info, &aead::AES_256_GCM).expect("32 bytes are less than HKDF can give");
        aead::LessSafeKey::new(key.into())
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring").field("name", &self.name()).field("older", &self.older()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_for_its_purpose_and_no_other() {
        let keyring = Keyring::generate().unwrap();
        let sealed = keyring.seal("secret 1/db/3", b"hunter2").unwrap();
        assert!(!sealed.windows(7).any(|some| some == b"hunter2"));
        assert_eq!(keyring.open("secret 1/db/3", &sealed).unwrap().as_slice(), b"hunter2");
        assert_eq!(keyring.open("secret 1/db/4", &sealed), Err(SealError::Changed));
        assert_ne!(keyring.seal("secret 1/db/3", b"hunter2").unwrap(), sealed, "the same value looks different");
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let keyring = Keyring::generate().unwrap();
        let sealed = keyring.seal("p", b"value").unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(keyring.open("p", &flipped).is_err(), "bit {bit} flipped and it opened");
        }
        for length in 0..sealed.len() {
            assert!(keyring.open("p", &sealed[..length]).is_err(), "{length} bytes opened");
        }
    }

    #[test]
    fn after_a_rotation_both_keys_open_and_the_new_one_seals() {
        let old = Keyring::generate().unwrap();
        let (name, sealed) = (old.name(), old.seal("p", b"value").unwrap());
        let new = old.rotated().unwrap();
        assert_ne!(new.name(), name);
        assert_eq!(new.open("p", &sealed).unwrap().as_slice(), b"value");
        assert!(!new.is_newest(&sealed) && new.is_newest(&new.seal("p", b"value").unwrap()));
        let read = Keyring::parse(&new.text()).unwrap();
        assert_eq!((read.name(), read.older()), (new.name(), 1));
        let alone = new.newest();
        assert_eq!(alone.open("p", &sealed), Err(SealError::OtherKey(name)));
    }

    #[test]
    fn what_is_no_master_key_is_refused_by_its_line() {
        assert_eq!(Keyring::parse("").unwrap_err(), BadMasterKey::None);
        assert_eq!(Keyring::parse("# note\n\n").unwrap_err(), BadMasterKey::None);
        assert_eq!(Keyring::parse("# note\nc2hvcnQ=\n").unwrap_err(), BadMasterKey::Line(2));
        assert_eq!(Keyring::parse("not base64").unwrap_err(), BadMasterKey::Line(1));
        let many = Keyring::generate().unwrap().text().repeat(9);
        assert_eq!(Keyring::parse(&many).unwrap_err(), BadMasterKey::TooMany);
    }

    #[test]
    fn keys_are_not_printed() {
        let keyring = Keyring::generate().unwrap();
        assert!(!format!("{keyring:?}").contains(keyring.text().trim()));
    }
}
