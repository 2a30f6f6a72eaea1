//! How is an operator, or a device of Muster's own, refused? RFC 9457 with a stable code and a sentence that says what to do.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use muster_domain::action;
use muster_domain::actor::NotAllowed;
use muster_domain::rollout::step as rollout;
use muster_store::StoreError;
use muster_wire::Problem;
use muster_wire::problem::MEDIA_TYPE;
use tracing::error;
use utoipa::openapi::{Content, Ref, RefOr, ResponseBuilder};

use super::show;
use crate::flow::error::FlowError;

/// A refusal on its way to the client. Boxed, because most requests are not refused.
#[derive(Debug)]
pub(in crate::edge) struct Refusal(Box<Parts>);

#[derive(Debug)]
struct Parts {
    status: StatusCode,
    code: &'static str,
    detail: String,
    field: Option<String>,
    /// Headers besides the usual ones.
    header: Option<(header::HeaderName, HeaderValue)>,
}

impl Refusal {
    pub(in crate::edge) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self(Box::new(Parts { status, code, detail: detail.into(), field: None, header: None }))
    }

    pub(in crate::edge) fn bad(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_input", detail).at(field)
    }

    pub(in crate::edge) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    pub(in crate::edge) fn at(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    pub(in crate::edge) fn with(mut self, name: header::HeaderName, value: impl Into<HeaderValue>) -> Self {
        self.0.header = Some((name, value.into()));
        self
    }

    pub(in crate::edge) fn unauthenticated(code: &'static str, detail: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, detail)
            .with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"muster\""))
    }

    /// Logged where it happens; the client learns nothing of the inside.
    pub(in crate::edge) fn internal(failed: &(dyn std::error::Error + 'static)) -> Self {
        error!(error = failed, "a request failed: {failed}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "an error of the server; its log says more")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Parts { status, code, detail, field, header: extra } = *self.0;
        let problem = Problem {
            kind: format!("urn:muster:problem:{code}"),
            title: status.canonical_reason().unwrap_or("Refused").to_owned(),
            status: status.as_u16(),
            code: code.to_owned(),
            detail,
            field,
        };
        let mut response = (status, Json(problem)).into_response();
        if status == StatusCode::PAYLOAD_TOO_LARGE {
            // The rest of the body is not read, so the connection can't be used again.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some((name, value)) = extra {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl From<StoreError> for Refusal {
    fn from(failed: StoreError) -> Self {
        match failed {
            StoreError::NoDevice(_)
            | StoreError::NoAction(_)
            | StoreError::NoRollout(_)
            | StoreError::Missing { .. } => Self::not_found(failed.to_string()),
            StoreError::Exists { .. } => Self::new(StatusCode::CONFLICT, "exists", failed.to_string()),
            StoreError::InUse { .. } => Self::new(StatusCode::CONFLICT, "in_use", failed.to_string()),
            StoreError::BadCursor => Self::bad("cursor", failed.to_string()),
            StoreError::DiskFull => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "disk_full",
                "the server's disk is full: make room and try again; nothing was changed",
            ),
            StoreError::Busy | StoreError::Stopped => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too much is waiting to be written: try again")
                    .with(header::RETRY_AFTER, HeaderValue::from_static("5"))
            }
            other => Self::internal(&other),
        }
    }
}

impl From<FlowError> for Refusal {
    fn from(refused: FlowError) -> Self {
        let detail = refused.to_string();
        let bad = |field: &str| Self::bad(field, detail.clone());
        match refused {
            FlowError::Store(failed) => failed.into(),
            FlowError::NotAllowed(NotAllowed(permission)) => {
                let scope = serde_json::to_string(&show::scope(permission)).unwrap_or_default();
                let detail = format!("this needs the scope {scope}, which the token does not have");
                Self::new(StatusCode::FORBIDDEN, "not_allowed", detail)
            }
            FlowError::JoinRefused(_) => Self::unauthenticated("join_refused", &detail),
            FlowError::ExchangeRefused(_) => Self::unauthenticated("exchange_refused", &detail),
            FlowError::DeviceRejected => Self::new(StatusCode::FORBIDDEN, "rejected", detail),
            FlowError::WrongPassword => Self::unauthenticated("wrong_password", &detail),
            FlowError::Rollout(rollout::Refused::OwnRollout) => Self::new(StatusCode::FORBIDDEN, "own_rollout", detail),
            FlowError::OwnReview => Self::new(StatusCode::FORBIDDEN, "own_review", detail),
            FlowError::RoleNeeded(_) => Self::new(StatusCode::FORBIDDEN, "role_needed", detail),
            FlowError::Rollout(_) => Self::new(StatusCode::CONFLICT, "illegal_transition", detail),
            FlowError::Action(action::Refused::Closed) => Self::new(StatusCode::CONFLICT, "closed", detail),
            FlowError::Action(_) => Self::new(StatusCode::CONFLICT, "illegal_transition", detail),
            FlowError::Spec(_) => bad("waves"),
            FlowError::Release(_) => bad("components"),
            FlowError::Labels(_) => bad("labels"),
            FlowError::Attributes(_) => bad("attributes"),
            FlowError::Settings(_) => bad("poll_interval_s"),
            FlowError::Configuration(_) => bad("files"),
            FlowError::Command(_) => bad("what"),
            FlowError::UnknownVersion(_) => bad("version"),
            FlowError::Session(_) => Self::new(StatusCode::CONFLICT, "closed", detail),
            FlowError::Window(_) => bad("window"),
            FlowError::Password(_) => bad("password"),
            FlowError::Selector { ref field, ref source } => Self::bad(field.clone(), source.to_string()),
            FlowError::Name { field, .. } | FlowError::Invalid { field, .. } => bad(field),
            FlowError::Conflict(_) => Self::new(StatusCode::CONFLICT, "conflict", detail),
            FlowError::Revision => Self::new(StatusCode::PRECONDITION_FAILED, "revision_mismatch", detail),
            FlowError::IdempotencyMismatch => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_mismatch", detail)
            }
            FlowError::TooManyReports => Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many", detail),
            FlowError::Digest(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "digest_mismatch", detail),
            FlowError::Chance(ref failed) => Self::internal(failed),
            FlowError::Sealed(ref failed) => Self::internal(failed),
        }
    }
}

/// Every refusal has the same shape, so the document names it once per operation.
#[derive(Debug)]
pub(in crate::edge) struct Refusals;

impl utoipa::IntoResponses for Refusals {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let content = Content::new(Some(Ref::from_schema_name("Problem")));
        let response = ResponseBuilder::new()
            .description("Refused: a problem document (RFC 9457) with a stable code.")
            .content(MEDIA_TYPE, content)
            .build();
        BTreeMap::from([("default".to_owned(), response.into())])
    }
}
