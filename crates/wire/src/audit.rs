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
