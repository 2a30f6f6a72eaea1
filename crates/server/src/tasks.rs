//! Which secrets were sealed for TPMs, and has somebody opened one?
//!
//! In memory only: who was given a task before a restart asks for another. Each is good for one answer.

use std::collections::HashMap;
use std::time::Duration;

use muster_trust::secret;
use muster_trust::tpm::Claimed;
use muster_vocab::{ProjectId, Timestamp, limit};
use parking_lot::Mutex;

/// A TPM takes a second or two.
const LIFE: Duration = Duration::from_secs(120);

#[derive(Debug, Default)]
pub struct Tasks {
    open: Mutex<HashMap<String, Task>>,
}

#[derive(Debug)]
struct Task {
    project: ProjectId,
    device: String,
    claimed: Claimed,
    /// SHA-256.
    secret: [u8; 32],
    until: Timestamp,
}

/// Who asks, and what he claims.
#[derive(Debug, Clone, Copy)]
pub struct Claimant<'a> {
    pub project: ProjectId,
    pub device: &'a str,
    pub claimed: &'a Claimed,
}

impl Tasks {
    /// Remembers a sealed secret. None: too many wait for their answers.
    pub fn set(&self, id: String, of: Claimant<'_>, secret: &[u8; 32], now: Timestamp) -> Option<()> {
        let mut open = self.open.lock();
        open.retain(|_, task| task.until > now);
        if open.len() >= limit::TPM_TASKS_MAX {
            return None;
        }
        let task = Task {
            project: of.project,
            device: of.device.to_owned(),
            claimed: of.claimed.clone(),
            secret: digest(secret),
            until: now.plus(LIFE),
        };
        open.insert(id, task);
        Some(())
    }

    /// Was this task set for just this claim, and is this its secret? Right or wrong, the task is over.
    #[must_use]
    pub fn take(&self, id: &str, of: Claimant<'_>, answer: &[u8], now: Timestamp) -> bool {
        let Some(task) = self.open.lock().remove(id) else { return false };
        task.until > now
            && (task.project, task.device.as_str(), &task.claimed) == (of.project, of.device, of.claimed)
            && secret::same(&task.secret, &digest(answer))
    }
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).into()
}
