//! Secrets as operators set them. No message holds a value on its way back.

use muster_vocab::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Secret {
    pub name: String,
    /// Goes up with each new value.
    pub version: u64,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    pub updated_by: String,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretPut {
    /// Text; it can't be read again.
    #[schema(min_length = 1, max_length = 65536, write_only)]
    pub value: String,
}

impl std::fmt::Debug for SecretPut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretPut").finish_non_exhaustive()
    }
}

/// The master key that secrets are sealed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MasterKey {
    /// What the key that seals is called. It says nothing of the key.
    #[schema(example = "5f1c0c9e7a3b2d41")]
    pub id: String,
    /// Older keys that still open.
    pub older: u32,
    /// The server keeps it in its data folder; otherwise somebody gives it to the server.
    pub own: bool,
}
