//! Did it change in between? ETag, If-Match and If-None-Match (RFC 9110, section 13).

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::problem::Refusal;

/// The revision a client saw. `*` and an absent header are no condition.
pub(super) fn expected(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let revision = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).and_then(|text| text.parse().ok());
    // A tag that was never given out matches nothing.
    revision.map(Some).ok_or_else(|| {
        Refusal::new(StatusCode::PRECONDITION_FAILED, "revision_mismatch", "If-Match is not an ETag of this resource")
    })
}

/// A resource with its ETag; 304 if the client has it.
pub(super) fn tagged(headers: &HeaderMap, revision: u64, body: &impl Serialize) -> Response {
    let tag = format!("\"{revision}\"");
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let mut response = match known {
        Some(known) if known.split(',').any(|one| one.trim() == tag) => StatusCode::NOT_MODIFIED.into_response(),
        _ => axum::Json(body).into_response(),
    };
    if let Ok(tag) = HeaderValue::try_from(tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}
