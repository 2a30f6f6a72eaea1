//! Is it the device's key, its next one, or one that should not come back?
//!
//! A device renews its key with its certificate. The new key counts from its first use on, so that a lost answer locks
//! nobody out; the old one is remembered, because whoever shows it later has a copy of the device's identity.

use muster_vocab::Timestamp;

/// SHA-256 of the public keys of one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keys {
    pub key: [u8; 32],
    /// It has a certificate and was not seen in use.
    pub next: Option<[u8; 32]>,
    /// In use before `key`.
    pub past: Option<[u8; 32]>,
    /// `key` is in use since.
    pub changed_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recognised {
    Current,
    /// It becomes the current one.
    Next,
    /// A copy of the identity is in use beside the device: both are kept out until a person has looked.
    Copied,
    /// A connection from before the change: it has to connect again.
    Outdated,
    Unknown,
}

impl Keys {
    #[must_use]
    pub fn first(key: [u8; 32], now: Timestamp) -> Self {
        Self { key, next: None, past: None, changed_at: now }
    }

    /// `shown` on a connection that was opened at `connected_at`.
    #[must_use]
    pub fn recognise(&self, shown: &[u8; 32], connected_at: Timestamp) -> Recognised {
        if *shown == self.key {
            return Recognised::Current;
        }
        if self.next.as_ref() == Some(shown) {
            return Recognised::Next;
        }
        match self.past.as_ref() == Some(shown) {
            true if connected_at > self.changed_at => Recognised::Copied,
            true => Recognised::Outdated,
            false => Recognised::Unknown,
        }
    }

    /// The next key was used.
    #[must_use]
    pub fn promote(&self, now: Timestamp) -> Self {
        match self.next {
            Some(next) => Self { key: next, next: None, past: Some(self.key), changed_at: now },
            None => *self,
        }
    }

    /// The device asked for a certificate for another key. With the same key nothing changes.
    #[must_use]
    pub fn renew(&self, key: [u8; 32]) -> Self {
        if key == self.key { *self } else { Self { next: Some(key), ..*self } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [u8; 32] = [1; 32];
    const B: [u8; 32] = [2; 32];
    const C: [u8; 32] = [3; 32];

    #[test]
    fn a_new_key_counts_from_its_first_use_on() {
        let keys = Keys::first(A, Timestamp(10)).renew(B);
        assert_eq!(keys.recognise(&A, Timestamp(20)), Recognised::Current);
        assert_eq!(keys.recognise(&B, Timestamp(20)), Recognised::Next);
        // The answer was lost: the device asks again with a third key.
        let keys = keys.renew(C);
        assert_eq!(keys.recognise(&B, Timestamp(20)), Recognised::Unknown);
        let keys = keys.promote(Timestamp(30));
        assert_eq!(keys.recognise(&C, Timestamp(31)), Recognised::Current);
    }

    #[test]
    fn a_key_that_comes_back_is_a_copy() {
        let keys = Keys::first(A, Timestamp(10)).renew(B).promote(Timestamp(30));
        assert_eq!(keys.recognise(&A, Timestamp(31)), Recognised::Copied);
        assert_eq!(keys.recognise(&A, Timestamp(29)), Recognised::Outdated);
        assert_eq!(keys.recognise(&C, Timestamp(31)), Recognised::Unknown);
        assert_eq!(keys.promote(Timestamp(40)), keys);
    }
}
