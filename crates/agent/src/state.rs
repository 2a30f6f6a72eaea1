//! What must a device remember across a power cut?

use std::collections::BTreeMap;

use muster_vocab::{ActionId, Sha256};
use muster_wire::agent::{ActionState, Deployment};
use serde::{Deserialize, Serialize};

use crate::install::Job;
use crate::queue::Queue;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub queue: Queue,
    /// What runs, by component.
    pub installed: BTreeMap<String, Installed>,
    /// `name@version` of the release that runs.
    pub release: Option<String>,
    /// Of the signed releases that ran here, the highest counter; no order goes below it.
    #[serde(default)]
    pub counter: u64,
    pub update: Option<Update>,
    /// Actions that ended, newest last: the same order is never taken twice.
    pub ended: Vec<Ended>,
    /// Starts of the machine that the agent has seen.
    pub boots: u64,
    pub boot_id: String,
    /// As the server knows them, or will once the queue is sent.
    pub attributes: BTreeMap<String, String>,
    pub configuration: Configured,
    /// Commands that were begun, newest last: none is carried out twice.
    pub commands: Vec<i64>,
    /// The one under way; a restart in the middle of it is told.
    pub command: Option<i64>,
    /// A restart that was ordered; the next start tells that it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reboot: Option<i64>,
    /// The action that somebody at the device has consented to or denied last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<ActionId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub action: ActionId,
    pub how: ActionState,
    pub why: Vec<String>,
}

/// One version of one component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    pub version: String,
    /// Of its artifacts, in the release's order.
    pub digests: Vec<Sha256>,
}

/// The configuration that was applied last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configured {
    pub version: u64,
    /// A version that was tried and taken back; it is not tried again.
    pub refused: Option<u64>,
    /// A version whose switch was cut off before it was through, and how often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interrupted: Option<(u64, u32)>,
    /// Digest of each file as it was written.
    pub files: BTreeMap<String, Sha256>,
    /// Files that were told to have drifted.
    pub drifted: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    pub order: Deployment,
    pub phase: Phase,
    /// Those that differ from what runs, in the order of their dependencies.
    pub parts: Vec<Part>,
    /// Why it ends other than well, with the last lines of the log.
    pub why: Vec<String>,
    /// As it was signed, if the device asks for signatures.
    #[serde(default)]
    pub counter: u64,
}

/// One component on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Index in the order.
    pub component: usize,
    /// What ran before; none if the component is new.
    pub previous: Option<Installed>,
    /// Its installer's.
    pub note: String,
    pub artifacts: Vec<Fetching>,
    pub is_staged: bool,
    /// What was switched runs after a restart only.
    pub restarts: bool,
}

/// How far an artifact has come. What was written beyond is not trusted after a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetching {
    /// Which of its routes is taken; those before have failed.
    pub route: usize,
    /// Bytes of that route that were fetched.
    pub fetched: u64,
    /// Bytes of the artifact that are durable at its place.
    pub written: u64,
    /// Times that it came out wrong.
    pub tries: u32,
    /// All of it is at its place, and its digest was read back from there.
    pub is_verified: bool,
    /// Where the decoder stands, if the route needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoder: Option<serde_json::Value>,
}

/// ```text
/// offered → accepted → downloading → staged → activating → [awaiting restart →] trial boot → healthy → (committed)
///     until staged: → (failed | canceled)      from activating on: → reverting → [awaiting restart back →] (reverted)
/// ```
/// The ends in brackets are no phases: the update is over, and a report of its end waits in the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    Offered,
    /// The device's policies agree; parts are being fetched, verified and staged.
    Downloading,
    /// All parts are ready. Nothing that runs was touched; waits until it may be installed.
    Staged,
    /// The switch may have happened, for none, some or all of the parts.
    Activating,
    /// Switched; the new parts run after the restart. `boot` is the boot before it.
    AwaitingRestart {
        boot: String,
    },
    /// The new parts run and have until then, by the uptime of this boot, to prove themselves.
    TrialBoot {
        boot: String,
        until_ms: u64,
        /// Restarts since the trial began.
        restarts: u32,
    },
    /// They have proven themselves: made permanent, whatever happens.
    Healthy,
    Reverting,
    /// Switched back; the old parts run after the restart.
    AwaitingRestartBack {
        boot: String,
    },
}

impl Phase {
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Downloading => "downloading",
            Self::Staged => "staged",
            Self::Activating => "activating",
            Self::AwaitingRestart { .. } => "awaiting_restart",
            Self::TrialBoot { .. } => "trial_boot",
            Self::Healthy => "healthy",
            Self::Reverting => "reverting",
            Self::AwaitingRestartBack { .. } => "awaiting_restart_back",
        }
    }

    /// Has nothing that runs been touched?
    #[must_use]
    pub fn is_before_switch(&self) -> bool {
        match self {
            Self::Offered | Self::Downloading | Self::Staged => true,
            Self::Activating
            | Self::AwaitingRestart { .. }
            | Self::TrialBoot { .. }
            | Self::Healthy
            | Self::Reverting
            | Self::AwaitingRestartBack { .. } => false,
        }
    }
}

impl Update {
    /// What an installer needs to know of a part.
    #[must_use]
    pub fn job(&self, part: usize) -> Job<'_> {
        let at = &self.parts[part];
        Job { component: self.component(part), previous: at.previous.as_ref(), note: &at.note }
    }

    #[must_use]
    pub fn component(&self, part: usize) -> &muster_wire::agent::Component {
        &self.order.components[self.parts[part].component]
    }

    /// `name@version`
    #[must_use]
    pub fn release(&self) -> String {
        format!("{}@{}", self.order.release, self.order.version)
    }
}
