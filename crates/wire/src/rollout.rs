//! Rollouts: waves, gates, and how far they are.

use muster_vocab::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::approval::{ApprovalNeed, RolloutApproval};

/// What a wave takes, of the devices no earlier wave took. Exactly one field is set; the last wave always takes the rest too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Take {
    /// Share of all devices of the rollout, 1 to 100, rounded up.
    Percent(u8),
    Count(u32),
    /// Those a selector matches.
    Select(String),
    /// All that are left (write `"rest"`).
    Rest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Threshold {
    /// Of the wave's devices, 0 to 100.
    Percent(u8),
    Count(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// Open no further wave until a person decides.
    Pause,
    /// Bring each device that took the release back to the one it ran before.
    RollBack,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Advance {
    Auto,
    /// The next wave waits for `next-wave`.
    Manual,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WaveCreate {
    pub take: Take,
    /// Succeeded devices needed for the next wave; default 95 %.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success: Option<Threshold>,
    /// Failed devices tolerated; one more and `on_error` happens. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<Threshold>,
    /// Default: the rollout's `on_error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_error: Option<OnError>,
    /// Wait this long after the success threshold before the next wave.
    #[serde(default)]
    pub soak_s: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advance: Option<Advance>,
}

/// How hard a device is pushed; hawkBit's action types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Push {
    Forced,
    /// The device or its user may put it off.
    Soft,
    /// Download and verify now, install later.
    DownloadOnly,
    /// Soft until this moment, forced from then on.
    ForcedFrom {
        #[schema(value_type = String, format = DateTime)]
        at: Timestamp,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RolloutCreate {
    /// For people; unique in the project. Made from the release when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `name@version` of a published release; or give `channel`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// The release this channel names now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Which devices; `all` for every accepted device.
    pub select: String,
    /// One wave with everything if left out.
    #[serde(default)]
    pub waves: Vec<WaveCreate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_error: Option<OnError>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<Push>,
    /// Start by itself as soon as it may; otherwise `start` starts it.
    #[serde(default)]
    pub start: bool,
    /// Not before this moment. Implies `start`.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_at: Option<Timestamp>,
    /// When devices may install: `sat,sun 02:00-05:00 Europe/Berlin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
    /// Somebody other than its author has to approve it before it starts.
    #[serde(default)]
    pub approval: bool,
    /// Each device (or its user) has to consent.
    #[serde(default)]
    pub confirmation: bool,
    /// 0 to 1000; of two rollouts that want the same device the higher goes first. Default 500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u16>,
    /// Devices that match later join the last wave.
    #[serde(default)]
    pub dynamic: bool,
    /// Devices that know which version is older install it all the same. A rollback is always allowed.
    #[serde(default)]
    pub allow_downgrade: bool,
    /// A device silent about its action for this long counts as failed. Default 24 h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence_s: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    Draft,
    AwaitingApproval,
    Denied,
    /// Approved or not in need of it; waits for its start.
    Ready,
    /// Devices are being put into waves.
    Filling,
    Running,
    Paused,
    RollingBack,
    RolledBack,
    Aborting,
    Aborted,
    Finished,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counts {
    pub total: u32,
    pub scheduled: u32,
    pub queued: u32,
    pub awaiting_confirmation: u32,
    pub offered: u32,
    pub running: u32,
    pub canceling: u32,
    pub finished: u32,
    pub downloaded: u32,
    pub failed: u32,
    /// Silent for too long; counts as failed.
    pub lost: u32,
    pub canceled: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaveState {
    Waiting,
    /// Its devices are being offered the release.
    Open,
    /// Its gate let the next wave go.
    Passed,
    /// More failures than allowed.
    Stopped,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Wave {
    /// Counted from 1.
    pub number: u32,
    pub take: Take,
    pub success: Threshold,
    pub errors: Threshold,
    pub on_error: OnError,
    pub soak_s: u32,
    pub advance: Advance,
    pub state: WaveState,
    pub counts: Counts,
    /// Of the way back, where this wave is rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<Counts>,
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Rollout {
    #[schema(example = "r-12")]
    pub id: String,
    pub name: String,
    pub release: String,
    pub select: String,
    pub state: RolloutState,
    /// What it waits for or why it stopped, as a sentence with the next step.
    pub text: String,
    pub waves: Vec<Wave>,
    pub push: Push,
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
    pub approval: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// What it needs before it starts; nothing once it has started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals_needed: Vec<ApprovalNeed>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<RolloutApproval>,
    /// Who started it without the approvals it needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broke_glass: Option<String>,
    pub confirmation: bool,
    pub priority: u16,
    pub dynamic: bool,
    #[serde(default)]
    pub allow_downgrade: bool,
    pub silence_s: u32,
    /// The rollout whose failed devices this one tries again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    pub created_by: String,
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    pub revision: u64,
}

/// Why, in a person's words; kept in the audit log.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Remark {
    #[serde(default)]
    pub reason: String,
}
