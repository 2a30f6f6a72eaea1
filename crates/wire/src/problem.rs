//! How is a refusal said? RFC 9457 problem details with a stable `code`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The media type of every refusal of the operator API.
pub const MEDIA_TYPE: &str = "application/problem+json";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `urn:muster:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// What went wrong in general, the same for each occurrence of `code`.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Stable and safe to compare: programs branch on it.
    #[schema(example = "not_found")]
    pub code: String,
    /// What went wrong here and what to do about it.
    pub detail: String,
    /// Where in the request: a JSON pointer, a parameter or a header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}
