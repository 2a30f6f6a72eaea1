//! Roles, and who has them over what.

use muster_vocab::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::token::Scope;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Role {
    pub name: String,
    pub scopes: Vec<Scope>,
    /// Every project has it; it can't be deleted.
    pub builtin: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleCreate {
    pub name: String,
    pub scopes: Vec<Scope>,
}

/// An account has a role over the project, or over some of its devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RoleBinding {
    #[schema(example = "b-3")]
    pub id: String,
    pub account: String,
    pub role: String,
    /// Devices by name, state and labels. Empty: everything in the project.
    pub select: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    pub created_by: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleBindingCreate {
    pub account: String,
    pub role: String,
    #[serde(default)]
    pub select: String,
}
