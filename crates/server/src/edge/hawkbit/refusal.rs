//! How is a device refused? By the status its client acts on, with a body for the person who reads its log.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use muster_domain::action;
use muster_store::StoreError;
use serde::Serialize;
use tracing::error;

use crate::flow::error::FlowError;

#[derive(Debug)]
pub(super) enum Refusal {
    /// 401: nothing valid was shown. rauc-hawkbit-updater names this one to its user.
    Unauthenticated,
    /// 403: it is known and was turned away by a person.
    Rejected,
    /// 404: unknown, somebody else's, or not in a state in which it can be read.
    NotFound,
    /// 410: it was closed.
    Closed,
    /// 400: what was sent makes no sense.
    Bad(String),
    /// 406
    NotAcceptable,
    /// 409
    Conflict(String),
    /// 412
    PreconditionFailed,
    /// 413
    TooLarge,
    /// 415
    NotJson,
    /// 416 with the size there is.
    Range(u64),
    /// 429
    TooMany,
    /// 503
    Busy,
    /// 500; logged where it is made.
    Internal,
}

/// The members of hawkBit's error answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorBody<'a> {
    error_code: &'a str,
    message: &'a str,
}

impl Refusal {
    fn parts(&self) -> (StatusCode, &'static str, &str) {
        match self {
            Self::Unauthenticated => {
                (StatusCode::UNAUTHORIZED, "muster.unauthenticated", "no valid token or certificate header")
            }
            Self::Rejected => (StatusCode::FORBIDDEN, "muster.rejected", "this device was rejected"),
            Self::NotFound => (StatusCode::NOT_FOUND, "muster.not_found", "there is no such thing for this device"),
            Self::Closed => (StatusCode::GONE, "muster.closed", "this action is closed"),
            Self::Bad(detail) => (StatusCode::BAD_REQUEST, "muster.bad_request", detail),
            Self::NotAcceptable => {
                (StatusCode::NOT_ACCEPTABLE, "muster.not_acceptable", "answers are application/hal+json")
            }
            Self::Conflict(detail) => (StatusCode::CONFLICT, "muster.conflict", detail),
            Self::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, "muster.changed", "the ETag is another one"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "muster.too_large", "the body is too large"),
            Self::NotJson => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "muster.not_json", "send application/json"),
            Self::Range(_) => (StatusCode::RANGE_NOT_SATISFIABLE, "muster.range", "the range lies outside the file"),
            Self::TooMany => (StatusCode::TOO_MANY_REQUESTS, "muster.too_many", "this action has too many reports"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "muster.busy", "try again later"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "muster.internal", "an error of the server"),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, error_code, message) = self.parts();
        let mut response = (status, Json(ErrorBody { error_code, message })).into_response();
        let headers = response.headers_mut();
        match &self {
            Self::Busy => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
            }
            // The rest of the body is not read, so the connection can't be used again.
            Self::TooLarge => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Self::Unauthenticated => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("TargetToken, GatewayToken"));
            }
            Self::Range(size) => {
                if let Ok(value) = HeaderValue::try_from(format!("bytes */{size}")) {
                    headers.insert(header::CONTENT_RANGE, value);
                }
            }
            _ => {}
        }
        response
    }
}

impl From<StoreError> for Refusal {
    fn from(failed: StoreError) -> Self {
        match failed {
            StoreError::NoDevice(_) | StoreError::NoAction(_) | StoreError::Missing { .. } => Self::NotFound,
            StoreError::Busy | StoreError::Stopped | StoreError::DiskFull => Self::Busy,
            other => {
                error!(error = &other as &dyn std::error::Error, "a device's request failed: {other}");
                Self::Internal
            }
        }
    }
}

impl From<FlowError> for Refusal {
    fn from(refused: FlowError) -> Self {
        match refused {
            FlowError::Store(failed) => failed.into(),
            FlowError::Action(action::Refused::Closed) => Self::Closed,
            FlowError::Action(_) => Self::NotFound,
            FlowError::TooManyReports => Self::TooMany,
            FlowError::Conflict(detail) => Self::Conflict(detail),
            FlowError::Attributes(bad) => Self::Bad(bad.to_string()),
            FlowError::Invalid { detail, .. } => Self::Bad(detail),
            other => {
                error!(error = &other as &dyn std::error::Error, "a device's request failed: {other}");
                Self::Internal
            }
        }
    }
}
