//! Artifacts and their resumable uploads.

use muster_vocab::{Sha256, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Artifact {
    /// `sha256:` and 64 hex digits; the artifact's name everywhere.
    #[schema(value_type = String)]
    pub digest: Sha256,
    /// The file name given at the first upload.
    pub name: String,
    pub size: u64,
    /// Hex; DDI clients check these older digests.
    pub sha1: String,
    pub md5: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    pub created_by: String,
    /// Ways to it beside its own bytes, made by the server for Muster's own agents. Only in the answer about one
    /// artifact.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<ArtifactRoute>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ArtifactRoute {
    /// The version that a delta starts from; absent: the whole, compressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub from: Option<Sha256>,
    pub state: RouteState,
    /// Bytes over the air, once made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Why making it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub made_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RouteState {
    Made,
    /// It would have spared devices nothing.
    NotSmaller,
    /// It is tried again when the server starts.
    Failed,
}

/// Begins an upload. If the bytes are stored already, the answer is the artifact at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UploadCreate {
    /// A file name without folders.
    pub name: String,
    /// Bytes that will follow, 1 to 8 GiB.
    pub size: u64,
    /// What they must hash to.
    #[schema(value_type = String)]
    pub digest: Sha256,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Upload {
    pub id: String,
    pub name: String,
    pub size: u64,
    #[schema(value_type = String)]
    pub digest: Sha256,
    /// Bytes stored durably: continue from here with `PATCH` and `Upload-Offset`.
    pub offset: u64,
    /// Set once complete; the upload itself is gone then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Artifact>,
}
