//! Channels.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use muster_store::{Cursor, StoreError};
use muster_wire::Page;
use muster_wire::channel::{Channel, ChannelPut};
use muster_wire::page::PageQuery;

use super::auth::Operator;
use super::body::{Asked, Json, Named};
use super::problem::{Refusal, Refusals};
use super::releases::name_and_version;
use super::{etag, page, show};
use crate::App;
use crate::flow::channels;
use crate::flow::error::FlowError;

/// List channels.
#[utoipa::path(get, path = "/channels", operation_id = "list_channels", tag = "channels", params(PageQuery),
    responses((status = 200, body = Page<Channel>), Refusals))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    operator: Operator,
    Asked(query): Asked<PageQuery>,
) -> Result<JsonBody<Page<Channel>>, Refusal> {
    operator.may_read()?;
    let (cursor, limit) = page::plain(&query)?;
    let project = operator.project();
    let page = app
        .read::<_, StoreError>(move |view| {
            let paged = view.channels(project, cursor.unwrap_or(Cursor(0)), limit)?;
            let next = paged.next.map(|cursor| cursor.to_string());
            let shown = paged.rows.into_iter().map(|channel| show::channel(view, project, channel));
            Ok(Page { items: shown.collect::<Result<_, _>>()?, next })
        })
        .await?;
    Ok(JsonBody(page))
}

/// One channel.
#[utoipa::path(get, path = "/channels/{name}", operation_id = "get_channel", tag = "channels",
    params(("name" = String, Path)), responses((status = 200, body = Channel), (status = 304), Refusals))]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    operator.may_read()?;
    let project = operator.project();
    let shown =
        app.read::<_, StoreError>(move |view| show::channel(view, project, view.channel(project, &name)?)).await?;
    Ok(etag::tagged(&headers, shown.revision, &shown))
}

/// Point a channel at a published release; makes the channel if it is new.
#[utoipa::path(put, path = "/channels/{name}", operation_id = "put_channel", tag = "channels",
    params(("name" = String, Path)), request_body = ChannelPut,
    responses((status = 200, body = Channel), Refusals))]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
    headers: HeaderMap,
    body: Json<ChannelPut>,
) -> Result<Response, Refusal> {
    let (now, revision, project) = (app.now(), etag::expected(&headers)?, operator.project());
    let (release, version) = name_and_version("release", &body.value.release)?;
    let shown = app
        .write::<_, FlowError>(move |tx| {
            let of = (name.as_str(), revision);
            let channel = channels::put(tx, now, &operator.actor, of, (&release, &version))?;
            Ok(show::channel(tx, project, channel)?)
        })
        .await?;
    Ok(etag::tagged(&HeaderMap::new(), shown.revision, &shown))
}

/// Delete a channel; its release stays.
#[utoipa::path(delete, path = "/channels/{name}", operation_id = "delete_channel", tag = "channels",
    params(("name" = String, Path)), responses((status = 204), Refusals))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Refusal> {
    let (now, revision) = (app.now(), etag::expected(&headers)?);
    app.write(move |tx| channels::delete(tx, now, &operator.actor, (&name, revision))).await?;
    Ok(StatusCode::NO_CONTENT)
}
