//! `/device/v1/artifacts/{digest}`: the bytes, whole or in part.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use muster_store::artifacts::Artifact as Stored;
use muster_vocab::Sha256;
use muster_wire::agent::{Form, Route};

use super::caller::Caller;
use crate::App;
use crate::edge::http::problem::Refusal;
use crate::edge::range::{Ranged, ranged};

/// The ways to get an artifact, cheapest first; the whole as it is comes last and is always there.
pub(super) fn routes_for(stored: &Stored) -> Vec<Route> {
    let whole =
        Route { path: format!("/device/v1/artifacts/{}", stored.digest.hex()), size: stored.size, form: Form::Whole };
    vec![whole]
}

/// Whole, in part, or only its head.
pub(super) async fn download(
    State(app): State<Arc<App>>,
    Path(digest): Path<String>,
    (method, headers): (Method, HeaderMap),
    caller: Caller,
) -> Result<Response, Refusal> {
    let nothing = || Refusal::not_found("there is no such artifact for this device");
    let digest: Sha256 = digest.parse().map_err(|_| nothing())?;
    let (project, device) = (caller.project(), caller.polled.device);
    // Only what some action gave or gives to this device.
    let stored = app
        .read(move |view| {
            if !view.device_may_read_artifact(project, device, digest)? {
                return Err(nothing());
            }
            Ok(view.artifact(project, digest)?)
        })
        .await?;
    content(&app, (&method, &headers), &stored).await
}

async fn content(app: &Arc<App>, asked: (&Method, &HeaderMap), stored: &Stored) -> Result<Response, Refusal> {
    let (method, headers) = asked;
    let etag = format!("\"{}\"", stored.digest.hex());
    let is_head = method == Method::HEAD;
    // RFC 9110, 14.2: Range means something for GET only.
    let asked = if is_head { Ranged::Whole } else { ranged(headers, stored.size, &etag) };
    let (status, range) = match asked {
        Ranged::Whole => (StatusCode::OK, 0..stored.size),
        Ranged::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Ranged::Unsatisfiable => return Err(unsatisfiable(stored.size)),
    };
    let body = if is_head { Body::empty() } else { stream(app, stored, range.clone()).await? };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    // Compressed on the way, its parts would not fit together.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-transform"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    let mut set = |name, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    };
    set(header::ETAG, etag);
    if status == StatusCode::PARTIAL_CONTENT {
        set(header::CONTENT_RANGE, format!("bytes {}-{}/{}", range.start, range.end - 1, stored.size));
    }
    Ok(response)
}

fn unsatisfiable(size: u64) -> Refusal {
    let refusal = Refusal::new(
        StatusCode::RANGE_NOT_SATISFIABLE,
        "range",
        format!("the range lies outside the file, which has {size} bytes"),
    );
    match HeaderValue::try_from(format!("bytes */{size}")) {
        Ok(value) => refusal.with(header::CONTENT_RANGE, value),
        Err(_) => refusal,
    }
}

async fn stream(app: &Arc<App>, stored: &Stored, range: Range<u64>) -> Result<Body, Refusal> {
    app.counters.downloads.fetch_add(1, Ordering::Relaxed);
    app.counters.download_bytes.fetch_add(range.end - range.start, Ordering::Relaxed);
    Ok(Body::from_stream(app.blobs.read(stored.digest, range).await?))
}
