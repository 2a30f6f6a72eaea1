//! Who says that a key belongs to a device, or to this server? Muster's own certificate authority.
//!
//! A root, whose key may lie in a safe, signs issuing authorities; those sign servers and devices. A certificate says
//! what the server's records say: of a request nothing is taken but its public key. A device is known by that key's
//! digest, which the server keeps beside its name, so that taking it away revokes at once, without lists.
//!
//! Certificates are valid from 1975 on, because a device whose clock has stopped must still reach its server.

pub mod issue;
pub mod pem;
pub mod pkcs7;
pub mod proof;
pub mod request;
pub mod sealed;
#[cfg(test)]
mod tests;
pub mod verify;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What a device's certificate names it by: `muster://PROJECT/DEVICE`, both percent-encoded.
const SCHEME: &str = "muster://";
/// RFC 3986 unreserved characters stay readable.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A device as certificates name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceName {
    pub project: String,
    pub device: String,
}

impl DeviceName {
    #[must_use]
    pub fn uri(&self) -> String {
        let (project, device) =
            (utf8_percent_encode(&self.project, ENCODED), utf8_percent_encode(&self.device, ENCODED));
        format!("{SCHEME}{project}/{device}")
    }

    #[must_use]
    pub fn from_uri(uri: &str) -> Option<Self> {
        let (project, device) = uri.strip_prefix(SCHEME)?.split_once('/')?;
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned);
        Some(Self { project: decoded(project)?, device: decoded(device)? })
    }
}

/// A key's digest as people compare it: the first ten bytes in groups, as in `4f2a-91c0-…`.
#[must_use]
pub fn short_fingerprint(key: &[u8; 32]) -> String {
    let groups: Vec<String> = key[..10].chunks(2).map(|pair| format!("{:02x}{:02x}", pair[0], pair[1])).collect();
    groups.join("-")
}
