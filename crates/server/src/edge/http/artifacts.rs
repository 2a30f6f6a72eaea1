//! Artifacts and their bytes.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use muster_store::StoreError;
use muster_vocab::Sha256;
use muster_vocab::selector::schema::ARTIFACT_SCHEMA;
use muster_wire::Page;
use muster_wire::artifact::Artifact;
use muster_wire::page::PageQuery;

use super::auth::Operator;
use super::body::{Asked, Named};
use super::page::{Rows, page};
use super::problem::{Refusal, Refusals};
use super::show;
use crate::App;
use crate::edge::range::{Ranged, ranged};
use crate::flow::artifacts;

fn digest(text: &str) -> Result<Sha256, Refusal> {
    text.parse().map_err(|_| Refusal::not_found(format!("no artifact {text:?}: its name is sha256: and 64 hex digits")))
}

/// List artifacts, newest first.
#[utoipa::path(get, path = "/artifacts", operation_id = "list_artifacts", tag = "artifacts", params(PageQuery),
    responses((status = 200, body = Page<Artifact>), Refusals))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    operator: Operator,
    Asked(query): Asked<PageQuery>,
) -> Result<JsonBody<Page<Artifact>>, Refusal> {
    operator.may_read()?;
    let rows = Rows::of(&query, &ARTIFACT_SCHEMA)?;
    let (project, now) = (operator.project(), app.now());
    let paged = app
        .read::<_, StoreError>(move |view| view.artifacts(project, &rows.select, (rows.cursor, rows.limit), now))
        .await?;
    Ok(JsonBody(page(paged, show::artifact)))
}

/// One artifact.
#[utoipa::path(get, path = "/artifacts/{digest}", operation_id = "get_artifact", tag = "artifacts",
    params(("digest" = String, Path)), responses((status = 200, body = Artifact), Refusals))]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
) -> Result<JsonBody<Artifact>, Refusal> {
    operator.may_read()?;
    let (project, digest) = (operator.project(), digest(&name)?);
    let (artifact, routes) = app
        .read::<_, StoreError>(move |view| Ok((view.artifact(project, digest)?, view.routes(project, digest)?)))
        .await?;
    let routes = routes.into_iter().map(show::artifact_route).collect();
    Ok(JsonBody(Artifact { routes, ..show::artifact(artifact) }))
}

/// An artifact's bytes, whole or in part.
#[utoipa::path(get, path = "/artifacts/{digest}/content", operation_id = "get_artifact_content", tag = "artifacts",
    params(("digest" = String, Path)),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 206, body = Vec<u8>, content_type = "application/octet-stream"), (status = 304), Refusals))]
pub(super) async fn content(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    operator.may_read()?;
    let (project, digest) = (operator.project(), digest(&name)?);
    let size = app.read::<_, StoreError>(move |view| Ok(view.artifact(project, digest)?.size)).await?;
    let etag = format!("\"{digest}\"");
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    if known.is_some_and(|known| known.split(',').any(|one| one.trim() == etag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let (status, range) = match ranged(&headers, size, &etag) {
        Ranged::Whole => (StatusCode::OK, 0..size),
        Ranged::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Ranged::Unsatisfiable => return Err(outside(size)),
    };
    let stream = app.blobs.read(digest, range.clone()).await?;
    let mut response = Response::new(Body::from_stream(stream));
    *response.status_mut() = status;
    let mut set = |name, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    };
    set(header::CONTENT_TYPE, "application/octet-stream".to_owned());
    set(header::CONTENT_LENGTH, (range.end - range.start).to_string());
    set(header::ETAG, etag);
    set(header::ACCEPT_RANGES, "bytes".to_owned());
    if status == StatusCode::PARTIAL_CONTENT {
        set(header::CONTENT_RANGE, format!("bytes {}-{}/{size}", range.start, range.end - 1));
    }
    Ok(response)
}

fn outside(size: u64) -> Refusal {
    let refusal = Refusal::new(
        StatusCode::RANGE_NOT_SATISFIABLE,
        "range",
        format!("the range lies outside the artifact's {size} bytes"),
    );
    match HeaderValue::try_from(format!("bytes */{size}")) {
        Ok(value) => refusal.with(header::CONTENT_RANGE, value),
        Err(_) => refusal,
    }
}

/// Delete an artifact that no release uses.
#[utoipa::path(delete, path = "/artifacts/{digest}", operation_id = "delete_artifact", tag = "artifacts",
    params(("digest" = String, Path)), responses((status = 204), Refusals))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
) -> Result<StatusCode, Refusal> {
    let (now, digest) = (app.now(), digest(&name)?);
    app.write(move |tx| artifacts::delete(tx, now, &operator.actor, digest)).await?;
    Ok(StatusCode::NO_CONTENT)
}
