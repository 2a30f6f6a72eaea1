//! How is a create answered, also the second time? `Idempotency-Key` replays the first answer.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use muster_store::Tx;
use muster_store::idempotency::{Answered, Key};
use muster_vocab::{Timestamp, limit};
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

/// Creates in one transaction with remembering the answer, so that a retry after a lost answer makes nothing twice.
pub(super) async fn create<W: Serialize>(
    app: &Arc<App>,
    request: Request<'_>,
    flow: impl FnOnce(&mut Tx<'_>, Timestamp) -> Result<W, FlowError> + Send + 'static,
) -> Result<Response, Refusal> {
    let now = app.now();
    let key = key(&request)?;
    let digest = digest(&request);
    let answer = app
        .write(move |tx| {
            if let Some(key) = &key
                && let Some(answered) = tx.answered(key)?
            {
                return if answered.request == digest {
                    Ok((answered, true))
                } else {
                    Err(FlowError::IdempotencyMismatch)
                };
            }
            let created = flow(tx, now)?;
            let body = serde_json::to_string(&created)
                .map_err(|bad| FlowError::Conflict(format!("the answer could not be written: {bad}")))?;
            let answered = Answered { request: digest, status: StatusCode::CREATED.as_u16(), body };
            if let Some(key) = &key {
                tx.save_answer(key, &answered, now)?;
            }
            Ok((answered, false))
        })
        .await?;
    let (answered, replayed) = answer;
    let status = StatusCode::from_u16(answered.status).unwrap_or(StatusCode::CREATED);
    let mut response = (status, answered.body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
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
