//! Who signed what is in the envelope? DSSE v1 (protocol.md: the signature is over PAE of type and payload).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::Deserialize;

use super::{BadAttestation, json};
use crate::tuf::key::Key;

const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// More signatures than that are no use to anybody, and each costs a check by each key.
const SIGNATURES_MAX: usize = 16;

/// What was signed, and the signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    signed: Vec<u8>,
    signatures: Vec<Vec<u8>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    payload: Option<String>,
    payload_type: Option<String>,
    #[serde(default)]
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    sig: String,
}

impl Envelope {
    /// The first of these keys that signed it. Key ids in envelopes are hints, and not looked at.
    #[must_use]
    pub fn signer<'a, T>(&self, keys: &'a [(T, Key)]) -> Option<&'a T> {
        let signed = |key: &Key| self.signatures.iter().any(|signature| key.signed(&self.signed, signature));
        keys.iter().find(|(_, key)| signed(key)).map(|(whose, _)| whose)
    }
}

/// The envelope and its payload. None: it is no envelope.
pub(super) fn read(bytes: &[u8]) -> Result<Option<(Envelope, Vec<u8>)>, BadAttestation> {
    let written: Written = json(bytes)?;
    let (Some(payload), Some(kind)) = (written.payload, written.payload_type) else { return Ok(None) };
    if kind != PAYLOAD_TYPE {
        return Err(BadAttestation::PayloadType(kind.chars().take(80).collect()));
    }
    let payload = decoded(&payload).ok_or(BadAttestation::Payload)?;
    let signatures = written.signatures.iter().take(SIGNATURES_MAX);
    let signatures = signatures.filter_map(|signature| decoded(&signature.sig)).collect();
    Ok(Some((Envelope { signed: pae(&kind, &payload), signatures }, payload)))
}

/// Either alphabet: the protocol allows both.
fn decoded(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}

/// Pre-authentication encoding.
pub(super) fn pae(kind: &str, payload: &[u8]) -> Vec<u8> {
    let mut text = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    text.extend_from_slice(payload);
    text
}
