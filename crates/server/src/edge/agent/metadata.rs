//! `GET /device/v1/metadata/{name}`: signed metadata, byte for byte.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use muster_store::StoreError;

use super::caller::Caller;
use crate::App;
use crate::edge::http::problem::Refusal;
use crate::flow::metadata;

const DIRECTOR: &str = "director.json";

pub(super) async fn fetch(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    caller: Caller,
) -> Result<Response, Refusal> {
    let (project, device, now) = (caller.project(), caller.polled.device, app.now());
    let (asked, signing) = (name.clone(), app.signing.clone());
    let called = format!("{}/{}", caller.tenant.name, caller.name);
    let found = app
        .read::<_, StoreError>(move |view| {
            if asked == DIRECTOR {
                return metadata::director(view, now, (project, device, &called), &signing.director).map(Some);
            }
            view.metadata_file(project, &asked)
        })
        .await?;
    let bytes = found.ok_or_else(|| Refusal::not_found(format!("there is no signed document {name}")))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], bytes).into_response())
}
