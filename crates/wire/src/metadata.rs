//! Signed metadata, as operators put it on the server and read it.

use muster_vocab::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is on the server, and the keys that it signs with itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Metadata {
    /// Signs snapshot and timestamp: hexadecimal, Ed25519.
    pub online_key: String,
    /// Signs what is said to single devices: hexadecimal, Ed25519.
    pub director_key: String,
    /// The newest document of each role.
    pub roles: Vec<MetadataRole>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MetadataRole {
    /// `root`, `targets`, `channel-NAME`.
    pub role: String,
    pub version: u64,
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
    /// The document, byte for byte as it was signed.
    pub document: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MetadataPut {
    /// A document that was signed offline, byte for byte.
    pub document: String,
}
