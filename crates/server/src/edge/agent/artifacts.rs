//! `/device/v1/artifacts/{digest}`: the bytes, whole or in part; and below it deltas and the compressed whole.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use muster_store::artifacts::Artifact as Stored;
use muster_store::routes::Outcome;
use muster_store::{StoreError, View};
use muster_vocab::{ProjectId, Sha256};
use muster_wire::agent::{Form, Route};

use super::caller::Caller;
use crate::App;
use crate::edge::http::problem::Refusal;
use crate::edge::range::{Ranged, ranged};

/// The ways to get an artifact, cheapest first; the whole as it is comes last and is always there.
///
/// `runs`: the bytes that the device has of the version before.
pub(super) fn routes_for(
    view: &View<'_>,
    project: ProjectId,
    stored: &Stored,
    runs: Option<Sha256>,
) -> Result<Vec<Route>, StoreError> {
    let path = format!("/device/v1/artifacts/{}", stored.digest.hex());
    let mut routes = Vec::new();
    for made in view.routes(project, stored.digest)? {
        let Outcome::Made(_, size) = made.outcome else { continue };
        routes.extend(match made.from {
            None => Some(Route { path: format!("{path}/compressed"), size, form: Form::Compressed }),
            Some(from) if Some(from) == runs => {
                Some(Route { path: format!("{path}/from/{}", from.hex()), size, form: Form::Delta { from } })
            }
            Some(_) => None,
        });
    }
    routes.sort_by_key(|route| route.size);
    routes.push(Route { path, size: stored.size, form: Form::Whole });
    Ok(routes)
}

/// What is asked for of an artifact.
#[derive(Debug, Clone, Copy)]
enum Way {
    Whole,
    Compressed,
    From(Sha256),
}

/// Whole, in part, or only its head.
pub(super) async fn download(
    State(app): State<Arc<App>>,
    Path(digest): Path<String>,
    asked: (Method, HeaderMap),
    caller: Caller,
) -> Result<Response, Refusal> {
    by(&app, (&digest, Way::Whole), &asked, &caller).await
}

pub(super) async fn download_compressed(
    State(app): State<Arc<App>>,
    Path(digest): Path<String>,
    asked: (Method, HeaderMap),
    caller: Caller,
) -> Result<Response, Refusal> {
    by(&app, (&digest, Way::Compressed), &asked, &caller).await
}

pub(super) async fn download_delta(
    State(app): State<Arc<App>>,
    Path((digest, from)): Path<(String, String)>,
    asked: (Method, HeaderMap),
    caller: Caller,
) -> Result<Response, Refusal> {
    let from = from.parse().map_err(|_| nothing())?;
    by(&app, (&digest, Way::From(from)), &asked, &caller).await
}

fn nothing() -> Refusal {
    Refusal::not_found("there is no such artifact for this device")
}

async fn by(
    app: &Arc<App>,
    (digest, way): (&str, Way),
    (method, headers): &(Method, HeaderMap),
    caller: &Caller,
) -> Result<Response, Refusal> {
    let digest: Sha256 = digest.parse().map_err(|_| nothing())?;
    let (project, device) = (caller.project(), caller.polled.device);
    // Only what some action gave or gives to this device.
    let bytes = app
        .read(move |view| {
            if !view.device_may_read_artifact(project, device, digest)? {
                return Err(nothing());
            }
            let from = match way {
                Way::Whole => return Ok(Bytes { digest, size: view.artifact(project, digest)?.size }),
                Way::Compressed => None,
                Way::From(from) => Some(from),
            };
            match view.route(project, digest, from)?.map(|route| route.outcome) {
                Some(Outcome::Made(digest, size)) => Ok(Bytes { digest, size }),
                Some(Outcome::NotSmaller | Outcome::Failed(_)) | None => Err(nothing()),
            }
        })
        .await?;
    content(app, (method, headers), bytes).await
}

/// Something stored that is sent.
#[derive(Debug, Clone, Copy)]
struct Bytes {
    digest: Sha256,
    size: u64,
}

async fn content(app: &Arc<App>, asked: (&Method, &HeaderMap), stored: Bytes) -> Result<Response, Refusal> {
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

async fn stream(app: &Arc<App>, stored: Bytes, range: Range<u64>) -> Result<Body, Refusal> {
    app.counters.downloads.fetch_add(1, Ordering::Relaxed);
    app.counters.download_bytes.fetch_add(range.end - range.start, Ordering::Relaxed);
    Ok(Body::from_stream(app.blobs.read(stored.digest, range).await?))
}
