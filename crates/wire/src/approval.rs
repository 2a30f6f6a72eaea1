//! Approvals: what a rollout needs before it starts, and reviews of those that started without.

use muster_vocab::{Sha256, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Rollouts that reach certain devices need the approval of several people who have a role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ApprovalRule {
    #[schema(example = "ar-3")]
    pub id: String,
    /// How many people, never the rollout's author.
    pub needed: u32,
    pub role: String,
    /// Devices by name, state and labels: covers rollouts that reach any of them. Empty: every rollout.
    pub select: String,
    /// How long an approval counts.
    pub expires_s: u32,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    pub created_by: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalRulePut {
    /// 1 to 16.
    pub needed: u32,
    /// A role with the scope `rollouts:approve`, held over the whole project.
    pub role: String,
    #[serde(default)]
    pub select: String,
    /// 60 s to 30 days; a day if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_s: Option<u32>,
}

/// One thing a rollout needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ApprovalNeed {
    /// Left out: the rollout's author asked for approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Left out: anybody who may approve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    pub needed: u32,
    pub missing: u32,
}

/// Somebody's word for a rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RolloutApproval {
    pub by: String,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Digest of the plan it is of.
    #[schema(value_type = String)]
    pub plan: Sha256,
    /// Why it doesn't count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub void: Option<String>,
}

/// Exactly what an approval is of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// SHA-256 of `text`.
    #[schema(value_type = String)]
    pub digest: Sha256,
    /// Release, artifacts' digests, devices, waves, gates and times: a line each.
    pub text: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Approve {
    /// Kept in the audit log.
    #[serde(default)]
    pub reason: String,
    /// Digest of the plan that was looked at: if it is another by now, the approval is refused.
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Sha256>,
}

/// A rollout was started without the approvals it needed; somebody else looks at it afterwards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Review {
    #[schema(example = "rv-3")]
    pub id: String,
    pub rollout: String,
    pub rollout_name: String,
    #[schema(value_type = String, format = DateTime)]
    pub opened_at: Timestamp,
    pub opened_by: String,
    pub reason: String,
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReviewClose {
    /// What was found.
    pub note: String,
}
