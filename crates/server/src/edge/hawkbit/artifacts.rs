//! `…/softwaremodules/{module}/artifacts`: the bytes.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use muster_store::StoreError;
use muster_store::artifacts::Artifact as Stored;
use muster_vocab::{DeviceId, ModuleId, ProjectId};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::caller::{Caller, module_id};
use super::deployment::describe;
use super::refusal::Refusal;
use super::words::Artifact;
use crate::App;
use crate::edge::range::{Ranged, ranged};
use crate::flow::actions::history;

pub(super) async fn list(
    State(app): State<Arc<App>>,
    Path((_, _, module)): Path<(String, String, String)>,
    caller: Caller,
) -> Result<Json<Vec<Artifact>>, Refusal> {
    let module = module_id(&module)?;
    let found = readable(&app, (caller.project(), caller.polled.device), module).await?;
    let described = found.iter().map(|(stored, name)| describe(stored, name.clone(), (&caller.address, module.0)));
    Ok(Json(described.collect()))
}

/// Whole, in part, or only its head; or its `.MD5SUM`.
pub(super) async fn download(
    State(app): State<Arc<App>>,
    Path((_, _, module, file)): Path<(String, String, String, String)>,
    method: Method,
    headers: HeaderMap,
    caller: Caller,
) -> Result<Response, Refusal> {
    let (of, module) = ((caller.project(), caller.polled.device), module_id(&module)?);
    let found = readable(&app, of, module).await?;
    if let Some((stored, name)) = found.iter().find(|(_, name)| *name == file) {
        return content(&app, (of, module), (&method, &headers), (stored, name)).await;
    }
    let of_file = file.strip_suffix(".MD5SUM").and_then(|file| found.iter().find(|(_, name)| name == file));
    let (stored, name) = of_file.ok_or(Refusal::NotFound)?;
    let disposition = format!("attachment;filename={name}.MD5SUM");
    let text = format!("{}  {name}", stored.md5);
    let mut response = ([(header::CONTENT_TYPE, "text/plain")], text).into_response();
    if let Ok(value) = HeaderValue::try_from(disposition) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

/// Only what some action gave or gives to this device.
async fn readable(
    app: &Arc<App>,
    of: (ProjectId, DeviceId),
    module: ModuleId,
) -> Result<Vec<(Stored, String)>, Refusal> {
    app.read(move |view| {
        if !view.device_may_read_module(of.0, of.1, module)? {
            return Err(Refusal::NotFound);
        }
        let artifacts = view.module_artifacts(of.0, module)?;
        let stored = artifacts.into_iter().map(|one| Ok((view.artifact(of.0, one.digest)?, one.file_name)));
        Ok(stored.collect::<Result<Vec<_>, StoreError>>()?)
    })
    .await
}

async fn content(
    app: &Arc<App>,
    of: ((ProjectId, DeviceId), ModuleId),
    asked: (&Method, &HeaderMap),
    file: (&Stored, &str),
) -> Result<Response, Refusal> {
    let ((method, headers), (stored, name)) = (asked, file);
    let etag = format!("\"{}\"", stored.sha1);
    let matches = |value: &HeaderValue| {
        value.to_str().is_ok_and(|list| list.trim() == "*" || list.split(',').any(|one| one.trim() == etag))
    };
    if headers.get(header::IF_MATCH).is_some_and(|value| !matches(value)) {
        return Err(Refusal::PreconditionFailed);
    }
    let is_head = method == Method::HEAD;
    // RFC 9110, 14.2: Range means something for GET only.
    let asked = if is_head { Ranged::Whole } else { ranged(headers, stored.size, &etag) };
    let (status, range) = match asked {
        Ranged::Whole => (StatusCode::OK, 0..stored.size),
        Ranged::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Ranged::Unsatisfiable => return Err(Refusal::Range(stored.size)),
    };
    if status == StatusCode::OK && !is_head {
        note_download(app, of, name).await?;
    }
    let length = range.end - range.start;
    let body = if is_head { Body::empty() } else { stream(app, stored, range.clone()).await? };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    describe_content(response.headers_mut(), (stored, name, &etag), (status, &range, length));
    Ok(response)
}

async fn stream(app: &Arc<App>, stored: &Stored, range: Range<u64>) -> Result<Body, Refusal> {
    app.counters.downloads.fetch_add(1, Ordering::Relaxed);
    app.counters.download_bytes.fetch_add(range.end - range.start, Ordering::Relaxed);
    Ok(Body::from_stream(app.blobs.read(stored.digest, range).await?))
}

fn describe_content(headers: &mut HeaderMap, of: (&Stored, &str, &str), part: (StatusCode, &Range<u64>, u64)) {
    let ((stored, name, etag), (status, range, length)) = (of, part);
    let since_1970 = Duration::from_millis(stored.created_at.0.unsigned_abs());
    let file = utf8_percent_encode(name, NON_ALPHANUMERIC)
        .to_string()
        .replace("%2E", ".")
        .replace("%2D", "-")
        .replace("%5F", "_");
    let mut set = |key, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(key, value);
        }
    };
    set(header::CONTENT_TYPE, "application/octet-stream".into());
    set(header::CONTENT_LENGTH, length.to_string());
    set(header::ETAG, etag.to_owned());
    set(header::ACCEPT_RANGES, "bytes".into());
    set(header::CONTENT_DISPOSITION, format!("attachment;filename={file}"));
    set(header::LAST_MODIFIED, httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + since_1970));
    if status == StatusCode::PARTIAL_CONTENT {
        set(header::CONTENT_RANGE, format!("bytes {}-{}/{}", range.start, range.end - 1, stored.size));
    }
}

/// A whole download is worth a history entry; the parts of one are not.
async fn note_download(app: &Arc<App>, of: ((ProjectId, DeviceId), ModuleId), name: &str) -> Result<(), Refusal> {
    let (((project, device), module), now) = (of, app.now());
    let text = format!("downloads {name}");
    app.write(move |tx| {
        if let Some(action) = tx.action_of_module(project, device, module)?
            && tx.report_count(project, action)? < muster_vocab::limit::REPORTS_PER_ACTION_MAX
        {
            history(tx, now, project, action, text)?;
        }
        Ok::<_, crate::flow::error::FlowError>(())
    })
    .await?;
    Ok(())
}
