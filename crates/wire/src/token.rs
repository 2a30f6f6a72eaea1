//! API tokens: bearer secrets with scopes and an end.

use muster_vocab::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a token may do. `admin` includes all others, each write includes reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub enum Scope {
    #[serde(rename = "read")]
    Read,
    #[serde(rename = "devices:write")]
    DevicesWrite,
    #[serde(rename = "artifacts:write")]
    ArtifactsWrite,
    #[serde(rename = "releases:write")]
    ReleasesWrite,
    #[serde(rename = "rollouts:write")]
    RolloutsWrite,
    #[serde(rename = "rollouts:approve")]
    RolloutsApprove,
    #[serde(rename = "rollouts:break-glass")]
    RolloutsBreakGlass,
    #[serde(rename = "commands:write")]
    CommandsWrite,
    #[serde(rename = "sessions:write")]
    SessionsWrite,
    #[serde(rename = "secrets:write")]
    SecretsWrite,
    #[serde(rename = "admin")]
    Admin,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    #[schema(example = "t-3")]
    pub id: String,
    pub name: String,
    /// Whose it is; approvals count accounts, not tokens.
    pub account: String,
    pub scopes: Vec<Scope>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenCreate {
    pub name: String,
    pub scopes: Vec<Scope>,
    /// 60 s to 10 years.
    pub life_s: u64,
    /// A service account that one has made; one's own if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
}

/// A new token and its secret, shown only now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TokenCreated {
    pub token: Token,
    pub secret: String,
}
