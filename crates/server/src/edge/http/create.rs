//! How is a create answered, also the second time? `Idempotency-Key` replays the first answer.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use muster_store::Tx;
use muster_store::idempotency::{Answered, Key};
use muster_vocab::{Timestamp, limit};
use muster_wire::Problem;
use muster_wire::problem::MEDIA_TYPE;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::auth::Operator;
use super::problem::Refusal;
use crate::App;
use crate::flow::error::FlowError;

/// The request as far as its answer depends on it.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub operator: &'a Operator,
    pub headers: &'a HeaderMap,
    /// Method, path and body; what the key must not be used for again with other contents.
    pub what: &'static str,
    pub body: &'a [u8],
}

/// What was made: the answer now, and the answer to the same request again.
#[derive(Debug)]
pub(super) struct Made {
    pub now: (StatusCode, String),
    pub again: (StatusCode, String),
}

impl Made {
    /// The same answer both times.
    pub(super) fn same(status: StatusCode, made: &impl Serialize) -> Result<Self, FlowError> {
        let answer = (status, text(made)?);
        Ok(Self { now: answer.clone(), again: answer })
    }

    /// A secret is shown once and not kept, so the second answer says that it was shown.
    pub(super) fn secret(made: &impl Serialize, name: &str) -> Result<Self, FlowError> {
        let status = StatusCode::CONFLICT;
        let problem = Problem {
            kind: "urn:muster:problem:already_created".into(),
            title: "Conflict".into(),
            status: status.as_u16(),
            code: "already_created".into(),
            detail: format!(
                "this request made {name} already; its secret was shown then: make a new one if it is lost"
            ),
            field: None,
        };
        Ok(Self { now: (StatusCode::CREATED, text(made)?), again: (status, text(&problem)?) })
    }
}

fn text(value: &impl Serialize) -> Result<String, FlowError> {
    serde_json::to_string(value).map_err(|bad| FlowError::Conflict(format!("the answer could not be written: {bad}")))
}

/// Creates something whose answer may be repeated.
pub(super) async fn create<W: Serialize>(
    app: &Arc<App>,
    request: Request<'_>,
    flow: impl FnOnce(&mut Tx<'_>, Timestamp) -> Result<W, FlowError> + Send + 'static,
) -> Result<Response, Refusal> {
    make(app, request, move |tx, now| Made::same(StatusCode::CREATED, &flow(tx, now)?)).await
}

/// Creates in one transaction with remembering the answer, so that a retry after a lost answer makes nothing twice.
pub(super) async fn make(
    app: &Arc<App>,
    request: Request<'_>,
    flow: impl FnOnce(&mut Tx<'_>, Timestamp) -> Result<Made, FlowError> + Send + 'static,
) -> Result<Response, Refusal> {
    let now = app.now();
    let key = key(&request)?;
    let digest = digest(&request);
    let ((status, body), replayed) = app
        .write(move |tx| {
            if let Some(key) = &key
                && let Some(answered) = tx.answered(key)?
            {
                let status = StatusCode::from_u16(answered.status).unwrap_or(StatusCode::CREATED);
                let same = answered.request == digest;
                return if same { Ok(((status, answered.body), true)) } else { Err(FlowError::IdempotencyMismatch) };
            }
            let made = flow(tx, now)?;
            if let Some(key) = &key {
                let (status, body) = made.again;
                tx.save_answer(key, &Answered { request: digest, status: status.as_u16(), body }, now)?;
            }
            Ok((made.now, false))
        })
        .await?;
    let mut response = (status, body).into_response();
    let kind = if status.is_success() { "application/json" } else { MEDIA_TYPE };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if replayed {
        response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

fn key(request: &Request<'_>) -> Result<Option<Key>, Refusal> {
    let Some(value) = request.headers.get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().unwrap_or_default();
    if key.is_empty() || key.len() > limit::IDEMPOTENCY_KEY_CHARS_MAX {
        let most = limit::IDEMPOTENCY_KEY_CHARS_MAX;
        return Err(Refusal::bad("Idempotency-Key", format!("a key has 1 to {most} visible characters")));
    }
    Ok(Some(Key { project: request.operator.project(), account: request.operator.account, key: key.to_owned() }))
}

fn digest(request: &Request<'_>) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(request.what.as_bytes());
    hasher.update([0]);
    hasher.update(request.body);
    hasher.finalize().into()
}
