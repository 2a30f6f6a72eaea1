//! Join tokens: secrets that let new devices in, bounded in number and time.

use std::collections::BTreeMap;

use muster_vocab::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JoinToken {
    #[schema(example = "line-3")]
    pub name: String,
    /// Devices that came in with it.
    pub uses: u64,
    /// Devices that still may; any number if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses_left: Option<u64>,
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// Given to each device that comes in with it.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    pub created_by: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinTokenCreate {
    /// Unique in the project.
    pub name: String,
    /// Devices it lets in, at least 1; any number if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u64>,
    /// 60 s to 2 years.
    pub life_s: u64,
    /// Given to each device that comes in with it.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// A new join token and its secret, shown only now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JoinTokenCreated {
    pub join_token: JoinToken,
    pub secret: String,
}
