//! What does a simulated device find in an artifact?

use serde::{Deserialize, Serialize};

use crate::chance::{Chance, number_of};

/// Bytes of an artifact that a device keeps to look for the line.
pub const FIRST_LINE_BYTES_MAX: usize = 4096;
const MARK: &str = "muster-sim ";

/// The first line of an artifact made for simulated devices: `muster-sim {json}`. Any other artifact installs just fine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Payload {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Share of devices on which it does not pass the boot check.
    pub fail_share: f64,
    pub install_ms: u64,
    /// Share of devices that are never heard of again.
    pub silent_share: f64,
}

impl Payload {
    /// Reads the first bytes of an artifact.
    #[must_use]
    pub fn read(first_bytes: &[u8]) -> Self {
        let line = first_bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let Ok(line) = std::str::from_utf8(line) else { return Self::default() };
        let Some(json) = line.strip_prefix(MARK) else { return Self::default() };
        serde_json::from_str(json).unwrap_or_default()
    }

    /// An artifact of this content, filled up to `size_bytes`.
    #[must_use]
    pub fn artifact(&self, size_bytes: usize) -> Vec<u8> {
        let json = serde_json::to_string(self).expect("plain numbers and a text always serialize");
        let mut bytes = format!("{MARK}{json}\n").into_bytes();
        let mut filling = Chance::keyed(number_of(&json), &[]);
        while bytes.len() < size_bytes {
            let missing = (size_bytes - bytes.len()).min(8);
            bytes.extend_from_slice(&filling.draw().to_le_bytes()[..missing]);
        }
        bytes
    }

    pub(crate) fn fails(&self, seed: u64, device: u32, digest: &str) -> bool {
        Chance::keyed(seed, &[u64::from(device), number_of(digest), 1]).happens(self.fail_share)
    }

    pub(crate) fn silences(&self, seed: u64, device: u32, digest: &str) -> bool {
        Chance::keyed(seed, &[u64::from(device), number_of(digest), 2]).happens(self.silent_share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifact_reads_back_as_it_was_made() {
        let payload = Payload { version: Some("1.2".into()), fail_share: 0.9, install_ms: 200, silent_share: 0.1 };
        let artifact = payload.artifact(1000);
        assert_eq!(artifact.len(), 1000);
        assert_eq!(Payload::read(&artifact), payload);
        assert_eq!(Payload::read(&payload.artifact(0)), payload);
    }

    #[test]
    fn any_other_artifact_installs_just_fine() {
        for bytes in [&b""[..], b"\x7fELF\x02\x01", b"muster-sim {oops\n", b"muster-sim", b"#!/bin/sh\nmuster-sim {}"] {
            assert_eq!(Payload::read(bytes), Payload::default());
        }
    }

    #[test]
    fn the_digest_decides_whom_a_bad_payload_hits() {
        let bad = Payload { fail_share: 0.5, ..Payload::default() };
        let hit = |digest| (0..64).map(|device| bad.fails(1, device, digest)).collect::<Vec<_>>();
        assert_eq!(hit("aa"), hit("aa"));
        assert_ne!(hit("aa"), hit("bb"));
    }
}
