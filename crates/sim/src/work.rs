//! How far has a device come with the action it is carrying out?

use muster_vocab::ActionId;

use crate::ddi::{Artifact, Deployment, Handling};
use crate::faults::Fate;
use crate::payload::Payload;

/// Parts of a download after which progress is reported.
pub const PROGRESS_PARTS: u32 = 4;

#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    pub action: ActionId,
    /// The link it was read from; another one means that something about it changed.
    pub url: String,
    pub deployment: Deployment,
    pub fate: Fate,
    pub stage: Stage,
    /// Artifacts that are downloaded and verified, by what is known of their content.
    pub payloads: Vec<Payload>,
    pub parts_reported: u32,
    /// How often in a row the server refused an artifact that it offers.
    pub refusals: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The server does not know yet that the device has begun.
    Announcing,
    Downloading,
    /// Everything is verified; the server does not know yet.
    Verified,
    /// Verified and told so, but it must not be installed yet.
    Staged,
    Installing {
        until_ms: u64,
    },
    /// The install broke the device: nobody hears of it again.
    Dark,
}

impl Work {
    pub fn new(action: ActionId, url: String, deployment: Deployment, fate: Fate) -> Self {
        let stage = Stage::Announcing;
        Self { action, url, deployment, fate, stage, payloads: Vec::new(), parts_reported: 0, refusals: 0 }
    }

    pub fn is_installing(&self) -> bool {
        matches!(self.stage, Stage::Installing { .. } | Stage::Dark)
    }

    pub fn next_artifact(&self) -> Option<&Artifact> {
        self.deployment.artifacts.get(self.payloads.len())
    }

    pub fn may_install(&self) -> bool {
        self.deployment.update != Handling::Skip
    }

    /// How many of [`PROGRESS_PARTS`] are downloaded, counting `received` bytes of the current artifact.
    pub fn parts_done(&self, received: u64) -> u32 {
        let sizes = self.deployment.artifacts.iter().map(|artifact| artifact.size_bytes);
        let total = sizes.clone().sum::<u64>().max(1);
        let done = sizes.take(self.payloads.len()).sum::<u64>().saturating_add(received);
        u32::try_from(done.saturating_mul(u64::from(PROGRESS_PARTS)) / total).unwrap_or(PROGRESS_PARTS)
    }

    /// The version that an install brings: what an artifact says of itself, or the deployment's.
    pub fn version(&self) -> String {
        let said = self.payloads.iter().find_map(|payload| payload.version.clone());
        said.unwrap_or_else(|| self.deployment.version.clone())
    }

    pub fn install_ms(&self) -> u64 {
        self.payloads.iter().map(|payload| payload.install_ms).sum()
    }

    pub fn fails(&self, seed: u64, device: u32) -> bool {
        self.fate.install_fails || self.contents().any(|(payload, digest)| payload.fails(seed, device, digest))
    }

    pub fn silences(&self, seed: u64, device: u32) -> bool {
        self.fate.silent || self.contents().any(|(payload, digest)| payload.silences(seed, device, digest))
    }

    fn contents(&self) -> impl Iterator<Item = (&Payload, &str)> {
        let digests = self.deployment.artifacts.iter().map(|artifact| artifact.sha256.as_str());
        self.payloads.iter().zip(digests)
    }
}
