//! Actions: one device's part of a rollout.

use muster_vocab::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActionState {
    /// Its wave is not open.
    Scheduled,
    /// Another action of the device goes first.
    Queued,
    AwaitingConfirmation,
    /// The device may fetch it.
    Offered,
    /// The device has fetched it.
    Running,
    Canceling,
    Finished,
    Downloaded,
    Failed,
    Lost,
    Canceled,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Action {
    pub id: i64,
    pub device: String,
    pub rollout: String,
    /// Counted from 1.
    pub wave: u32,
    /// True on the way back to the release before.
    pub rollback: bool,
    pub state: ActionState,
    pub release: String,
    /// What the device ran before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_release: Option<String>,
    /// Why it failed or was canceled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub changed_at: Timestamp,
    pub revision: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// In the device's own unit; bytes from Muster's agent.
    pub done: u64,
    pub of: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Report {
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What was reported, in Muster's words.
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    pub messages: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ActionCancel {
    /// End it at once without waiting for the device to agree.
    #[serde(default)]
    pub force: bool,
    #[serde(default)]
    pub reason: String,
}
