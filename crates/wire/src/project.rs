//! A project's settings: how its devices come in and how often they ask.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::identity::EnrollmentRule;

/// What happens when a device nobody knows authenticates with the gateway token or a certificate header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Registration {
    /// It is accepted at once.
    Accept,
    /// It waits in the list `state == pending`.
    Wait,
    /// It is turned away and not remembered.
    Refuse,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Project {
    pub name: String,
    pub registration: Registration,
    /// Whether a gateway token exists; `POST …/project/gateway-token` makes a new one.
    pub gateway_token: bool,
    pub target_token: bool,
    /// Issuer hashes or names that a trusted proxy may report in X-Authority; empty turns it off.
    pub certificate_authorities: Vec<String>,
    /// Devices consent to updates of rollouts that ask for it.
    pub confirmation: bool,
    pub poll_interval_s: u32,
    pub poll_overrides: Vec<PollOverride>,
    /// Whether remote sessions may be opened at all; off at first.
    pub sessions: bool,
    /// Who comes in by itself; see the guide on identity.
    pub enrollment: Vec<EnrollmentRule>,
    pub revision: u64,
}

/// A new project on the same server, with its first account, which may do everything in it and nothing outside.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProjectCreate {
    pub name: String,
    /// The account's name.
    pub account: String,
    /// At least 12 characters.
    pub password: String,
}

impl std::fmt::Debug for ProjectCreate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProjectCreate").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The first override whose selector matches sets the interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PollOverride {
    pub select: String,
    pub interval_s: u32,
}

/// Fields left out stay as they are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProjectPatch {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration: Option<Registration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_token: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_authorities: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll_interval_s: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll_overrides: Option<Vec<PollOverride>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrollment: Option<Vec<EnrollmentRule>>,
}

#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GatewayToken {
    /// For `Authorization: GatewayToken …`, shown only now.
    pub token: String,
}

impl std::fmt::Debug for GatewayToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatewayToken").finish_non_exhaustive()
    }
}
