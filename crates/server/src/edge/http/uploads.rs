//! Resumable uploads: announce, append from where it was cut, done when the digest fits.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Json as JsonBody;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use muster_domain::Permission;
use muster_store::StoreError;
use muster_store::artifacts::Upload as Stored;
use muster_vocab::limit;
use muster_wire::artifact::{Upload, UploadCreate};
use parking_lot::Mutex;

use super::auth::Operator;
use super::body::{Json, Named};
use super::create::{Made, Request, make};
use super::problem::{Refusal, Refusals};
use super::show;
use crate::App;
use crate::flow::artifacts::{self, Announced, Begun};
use crate::flow::error::FlowError;

const OFFSET: HeaderName = HeaderName::from_static("upload-offset");

/// Uploads that some request appends to at this moment.
static APPENDING: Mutex<Option<HashSet<String>>> = Mutex::new(None);

/// The right to append to one upload; given back when dropped.
#[derive(Debug)]
struct Appending(String);

impl Appending {
    fn begin(id: &str) -> Result<Self, Refusal> {
        let mut held = APPENDING.lock();
        if held.get_or_insert_default().insert(id.to_owned()) {
            return Ok(Self(id.to_owned()));
        }
        Err(Refusal::new(StatusCode::CONFLICT, "conflict", "another request is appending to this upload"))
    }
}

impl Drop for Appending {
    fn drop(&mut self) {
        if let Some(held) = APPENDING.lock().as_mut() {
            held.remove(&self.0);
        }
    }
}

/// Announce an upload. If the bytes are here already, the answer holds the artifact.
#[utoipa::path(post, path = "/uploads", operation_id = "create_upload", tag = "artifacts",
    params(("Idempotency-Key" = Option<String>, Header)), request_body = UploadCreate,
    responses((status = 200, body = Upload, description = "The bytes are here already."),
        (status = 201, body = Upload), Refusals))]
pub(super) async fn post(
    State(app): State<Arc<App>>,
    operator: Operator,
    headers: HeaderMap,
    body: Json<UploadCreate>,
) -> Result<Response, Refusal> {
    let UploadCreate { name, size, digest } = body.value;
    let announced = Announced { name: name.clone(), size, digest };
    let actor = operator.actor.clone();
    let request = Request { operator: &operator, headers: &headers, what: "upload", body: &body.bytes };
    let (tell, told) = std::sync::mpsc::channel();
    let mut response = make(&app, request, move |tx, now| match artifacts::begin(tx, now, &actor, announced)? {
        Begun::Known(artifact) => {
            let artifact = Some(show::artifact(artifact));
            Made::same(StatusCode::OK, &Upload { id: String::new(), name, size, digest, offset: size, artifact })
        }
        Begun::Upload(stored) => {
            // Nobody listens to a request that was cut.
            let _ = tell.send(stored.id.clone());
            Made::same(StatusCode::CREATED, &upload(&stored, 0))
        }
    })
    .await?;
    if let Some(location) =
        told.try_recv().ok().and_then(|id| HeaderValue::try_from(format!("/api/v1/uploads/{id}")).ok())
    {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

fn upload(stored: &Stored, offset: u64) -> Upload {
    let (id, name) = (stored.id.clone(), stored.name.clone());
    Upload { id, name, size: stored.size, digest: stored.digest, offset, artifact: None }
}

/// How far is an upload?
#[utoipa::path(get, path = "/uploads/{id}", operation_id = "get_upload", tag = "artifacts",
    params(("id" = String, Path)), responses((status = 200, body = Upload), Refusals))]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(id): Named<String>,
) -> Result<Response, Refusal> {
    operator.may_read()?;
    let project = operator.project();
    let stored = app.read::<_, StoreError>(move |view| view.upload(project, &id)).await?;
    let offset = app.blobs.staged_size(&stored.id).await?;
    Ok(with_offset(JsonBody(upload(&stored, offset)).into_response(), offset))
}

fn with_offset(mut response: Response, offset: u64) -> Response {
    response.headers_mut().insert(OFFSET, HeaderValue::from(offset));
    response
}

/// Append bytes from `Upload-Offset` on. The last byte makes it an artifact, if the digest fits.
#[utoipa::path(patch, path = "/uploads/{id}", operation_id = "append_upload", tag = "artifacts",
    params(("id" = String, Path), ("Upload-Offset" = u64, Header, description = "Where these bytes begin.")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = Upload), Refusals))]
pub(super) async fn patch(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(id): Named<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    operator.actor.may(Permission::ArtifactsWrite).map_err(FlowError::from)?;
    let (project, wanted) = (operator.project(), id.clone());
    app.read::<_, StoreError>(move |view| view.upload(project, &wanted)).await?;
    let appending = Appending::begin(&id)?;
    let (actor, now, touched) = (operator.actor.clone(), app.now(), id.clone());
    let stored = app.write(move |tx| artifacts::touch(tx, now, &actor, &touched)).await?;
    let at = app.blobs.staged_size(&id).await?;
    check_offset(&headers, at)?;
    let size = append(&app, &stored, at, body).await?;
    let done = if size == stored.size { complete(&app, &operator, &stored).await? } else { upload(&stored, size) };
    drop(appending);
    Ok(with_offset(JsonBody(done).into_response(), size))
}

fn check_offset(headers: &HeaderMap, at: u64) -> Result<(), Refusal> {
    let asked = headers.get(OFFSET).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let Some(asked) = asked else {
        return Err(Refusal::bad("Upload-Offset", "say where these bytes begin: Upload-Offset: 0"));
    };
    if asked == at {
        return Ok(());
    }
    let refusal = Refusal::new(StatusCode::CONFLICT, "offset_mismatch", format!("continue at byte {at}, not {asked}"));
    Err(refusal.with(OFFSET, HeaderValue::from(at)))
}

/// Writes what comes until the body ends, is cut, or pauses for too long. What was synced stays.
async fn append(app: &Arc<App>, stored: &Stored, at: u64, body: Body) -> Result<u64, Refusal> {
    let mut staged = app.blobs.append(&stored.id, at).await?;
    let mut chunks = body.into_data_stream();
    loop {
        let next = tokio::time::timeout(limit::BODY_READ_TIMEOUT, chunks.next()).await;
        let Ok(next) = next else {
            staged.sync().await?;
            return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "no more bytes came: continue later"));
        };
        let Some(chunk) = next else { break };
        let Ok(bytes) = chunk else {
            staged.sync().await?;
            return Err(Refusal::bad("body", "the connection was cut: continue at the upload's offset"));
        };
        let after = staged.size() + bytes.len() as u64;
        if after > stored.size {
            staged.sync().await?;
            let detail = format!("{after} bytes came and {} were announced; the last ones were not kept", stored.size);
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail));
        }
        staged.write(&bytes).await?;
    }
    staged.sync().await?;
    Ok(staged.size())
}

async fn complete(app: &Arc<App>, operator: &Operator, stored: &Stored) -> Result<Upload, Refusal> {
    let (blobs, id) = (app.blobs.clone(), stored.id.clone());
    let hashed = tokio::task::spawn_blocking(move || blobs.digest_staged(&id)).await;
    let digests = hashed.map_err(|failed| Refusal::internal(&failed))??;
    let (actor, id) = (operator.actor.clone(), stored.id.clone());
    if digests.sha256 != stored.digest {
        app.write(move |tx| artifacts::give_up(tx, &actor, &id)).await?;
        app.blobs.discard(&stored.id).await?;
        let detail = format!("{} came and {} was announced; upload it again", digests.sha256, stored.digest);
        return Err(FlowError::Digest(detail).into());
    }
    let _keeping = app.keeping.read().await;
    app.blobs.keep(&stored.id, digests.sha256).await?;
    let now = app.now();
    let artifact = app.write(move |tx| artifacts::complete(tx, now, &actor, &id, digests)).await?;
    Ok(Upload { artifact: Some(show::artifact(artifact)), ..upload(stored, stored.size) })
}

/// Give an upload up.
#[utoipa::path(delete, path = "/uploads/{id}", operation_id = "delete_upload", tag = "artifacts",
    params(("id" = String, Path)), responses((status = 204), Refusals))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(id): Named<String>,
) -> Result<StatusCode, Refusal> {
    operator.actor.may(Permission::ArtifactsWrite).map_err(FlowError::from)?;
    let (project, wanted) = (operator.project(), id.clone());
    app.read::<_, StoreError>(move |view| view.upload(project, &wanted)).await?;
    let _appending = Appending::begin(&id)?;
    // Bytes first: on a full disk there is no room to write the row until they are gone.
    app.blobs.discard(&id).await?;
    app.write(move |tx| artifacts::give_up(tx, &operator.actor, &id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
