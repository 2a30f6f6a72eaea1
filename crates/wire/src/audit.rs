//! The audit log: every write, chained by digests.

use muster_vocab::{Sha256, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditRecord {
    /// Counted from 1 without gaps.
    pub sequence: u64,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// `account:admin`, `device:sn-1` or `muster`.
    pub actor: String,
    /// `rollout.start`, `device.accept` …
    pub action: String,
    /// What it was done to: `rollout:r-12`.
    pub target: String,
    /// What was said or changed, without secrets.
    pub detail: serde_json::Value,
    /// By what right: what the actor showed, and the roles that made it enough. `token:t-7 by role:operator`. Records of
    /// older servers have none, nor the next four.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// `X-Request-Id` of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// In the actor's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Digest of the target's state before; none if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub before: Option<Sha256>,
    /// Digest of the target's state after; none if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub after: Option<Sha256>,
    #[schema(value_type = String)]
    pub previous: Sha256,
    /// Over all of the above.
    #[schema(value_type = String)]
    pub digest: Sha256,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditVerdict {
    pub records: u64,
    pub intact: bool,
    /// The first record whose digest does not fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken_at: Option<u64>,
    /// Digest of the newest record: write it down elsewhere to notice a cut-off tail.
    #[schema(value_type = String)]
    pub head: Sha256,
}

/// Which record is to be proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ProofQuery {
    pub sequence: u64,
}

/// What a state is asked of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct StateQuery {
    /// As audit records name it: `role:fitter`, `device:sn-1`.
    pub target: String,
}

/// What a thing is like now, next to what the newest record about it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditState {
    pub target: String,
    /// None: there is no such thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub now: Option<Sha256>,
    /// After the newest record about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub recorded: Option<Sha256>,
    /// Number of that record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Whether both are the same.
    pub as_recorded: bool,
}

/// Which records are to be dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditPrune {
    /// Those made before this, up to the last checkpoint that covers none made later.
    #[schema(value_type = String, format = DateTime)]
    pub before: Timestamp,
    /// No further than this record: the last of an export that was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditPruned {
    /// How many records were dropped now.
    pub records: u64,
    /// The oldest record that is left.
    pub first: u64,
}
