//! What is said of releases, and what is demanded.

use muster_vocab::{Sha256, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttestationKind {
    CycloneDx,
    Spdx,
    /// SLSA, v0.2 or v1.
    Provenance,
}

/// What a document says of one artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Attestation {
    /// What it is about.
    #[schema(value_type = String)]
    pub artifact: Sha256,
    /// The document: an artifact, too.
    #[schema(value_type = String)]
    pub document: Sha256,
    pub kind: AttestationKind,
    /// It has signatures.
    pub signed: bool,
    /// The key of the ring that signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// Of provenance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builder: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    pub created_by: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AttestationCreate {
    /// An uploaded artifact: CycloneDX or SPDX JSON, or a DSSE envelope around an in-toto statement.
    #[schema(value_type = String)]
    pub document: Sha256,
    /// What it is about: needed if it doesn't say so itself and the release has several artifacts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub artifact: Option<Sha256>,
}

/// A public key whose signatures on documents count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RingKey {
    pub name: String,
    /// PEM, or the 64 hex digits of an Ed25519 key.
    pub public: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    pub created_by: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RingKeyCreate {
    pub name: String,
    /// PEM as `openssl pkey -pubout` writes it, the 64 hex digits of an Ed25519 key, or a certificate (PEM): it vouches
    /// for images only.
    pub public: String,
}

/// What a release needs before it is published.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReleasePolicy {
    /// A bill of materials of each artifact.
    pub sbom: bool,
    /// It has to be signed by a key of the ring.
    pub signed_sbom: bool,
    /// Provenance of each artifact, signed by a key of the ring.
    pub provenance: bool,
    /// Who may have built it; empty: anybody whose signature counts.
    pub builders: Vec<String>,
    /// Images of SWUpdate and RAUC are signed by a key of the ring. A wrong signature is refused anyway, once the ring
    /// has a key.
    pub inner_signature: bool,
}
