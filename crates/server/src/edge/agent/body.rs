//! How is a device's JSON body read? Bounded, in time; members that nobody knows are ignored.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use muster_vocab::limit;
use serde::de::DeserializeOwned;

use crate::App;
use crate::edge::http::problem::Refusal;

/// Of at most so many bytes.
#[derive(Debug)]
pub(super) struct DeviceJson<T, const MOST: usize>(pub T);

impl<T: DeserializeOwned, const MOST: usize> FromRequest<Arc<App>> for DeviceJson<T, MOST> {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Refusal> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
            let detail = "send Content-Type: application/json";
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", detail));
        }
        let bytes = read(request, app, MOST).await?;
        // Serde would also read an object's members from an array.
        if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            return Err(Refusal::bad("body", "the body is a JSON object: { … }"));
        }
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|bad| Refusal::bad("body", format!("the body makes no sense: {bad}")))
    }
}

async fn read(request: Request, app: &Arc<App>, most: usize) -> Result<Bytes, Refusal> {
    let large = || Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", format!("a body has at most {most} bytes"));
    let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if declared.is_some_and(|bytes: usize| bytes > most) {
        return Err(large());
    }
    let request = request.map(|body| Body::new(http_body_util::Limited::new(body, most)));
    let read = tokio::time::timeout(limit::BODY_READ_TIMEOUT, Bytes::from_request(request, app)).await;
    let late = || Refusal::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "the body did not arrive in time");
    read.map_err(|_| late())?.map_err(|_| large())
}
