//! Configurations, and how devices stand with them.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use muster_domain::component::installed;
use muster_store::{Cursor, StoreError, View};
use muster_vocab::{ProjectId, limit};
use muster_wire::Page;
use muster_wire::configuration as wire;
use muster_wire::page::PageQuery;

use super::auth::Operator;
use super::body::{Asked, Json, Named};
use super::problem::{Refusal, Refusals};
use super::{etag, page, show_twin};
use crate::App;
use crate::flow::error::FlowError;
use crate::flow::twin::configurations;

/// What a preview is called that names none.
const PREVIEW: &str = "preview";

/// List configurations.
#[utoipa::path(get, path = "/configurations", operation_id = "list_configurations", tag = "configurations",
    params(PageQuery), responses((status = 200, body = Page<wire::Configuration>), Refusals))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    operator: Operator,
    Asked(query): Asked<PageQuery>,
) -> Result<JsonBody<Page<wire::Configuration>>, Refusal> {
    operator.may_read()?;
    let (cursor, limit) = page::plain(&query)?;
    let project = operator.project();
    let after = cursor.unwrap_or(Cursor(0));
    let paged = app.read::<_, StoreError>(move |view| view.configurations(project, after, limit)).await?;
    Ok(JsonBody(page::page(paged, show_twin::configuration)))
}

/// One configuration.
#[utoipa::path(get, path = "/configurations/{name}", operation_id = "get_configuration", tag = "configurations",
    params(("name" = String, Path)),
    responses((status = 200, body = wire::Configuration), (status = 304), Refusals))]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    operator.may_read()?;
    let project = operator.project();
    let found = app.read::<_, StoreError>(move |view| view.configuration(project, &name)).await?;
    Ok(etag::tagged(&headers, found.revision, &show_twin::configuration(found)))
}

/// Make or replace a configuration. Devices it matches get their files as soon as they ask.
#[utoipa::path(put, path = "/configurations/{name}", operation_id = "put_configuration", tag = "configurations",
    params(("name" = String, Path)), request_body = wire::ConfigurationPut,
    responses((status = 200, body = wire::Configuration), Refusals))]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
    headers: HeaderMap,
    body: Json<wire::ConfigurationPut>,
) -> Result<Response, Refusal> {
    let (now, revision) = (app.now(), etag::expected(&headers)?);
    let spec = show_twin::spec(body.value);
    let saved =
        app.write(move |tx| configurations::put(tx, now, &operator.actor, (name.as_str(), revision), spec)).await?;
    Ok(etag::tagged(&HeaderMap::new(), saved.revision, &show_twin::configuration(saved)))
}

/// Delete a configuration: its files are no longer desired on any device.
#[utoipa::path(delete, path = "/configurations/{name}", operation_id = "delete_configuration",
    tag = "configurations", params(("name" = String, Path)), responses((status = 204), Refusals))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Refusal> {
    let (now, revision) = (app.now(), etag::expected(&headers)?);
    app.write(move |tx| configurations::delete(tx, now, &operator.actor, (&name, revision))).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What would a device get? Nothing is saved and nothing is sent.
#[utoipa::path(post, path = "/configurations:preview", operation_id = "preview_configuration",
    tag = "configurations", request_body = wire::ConfigurationPreview,
    responses((status = 200, body = wire::ConfigurationPreviewed), Refusals))]
pub(super) async fn preview(
    State(app): State<Arc<App>>,
    operator: Operator,
    body: Json<wire::ConfigurationPreview>,
) -> Result<JsonBody<wire::ConfigurationPreviewed>, Refusal> {
    let wire::ConfigurationPreview { device, name, configuration } = body.value;
    if name.is_some() && configuration.is_none() {
        return Err(Refusal::bad("configuration", "a name alone previews nothing: send the configuration, too"));
    }
    let new = configuration.map(|new| (name.unwrap_or_else(|| PREVIEW.to_owned()), show_twin::spec(new)));
    let (now, asked) = (app.now(), device.clone());
    let rendered =
        app.read::<_, FlowError>(move |view| configurations::preview(view, now, &operator.actor, &asked, new)).await?;
    let (files, error) = match rendered.files {
        Ok(files) => (files.into_iter().map(show_twin::file).collect(), None),
        Err(cannot) => (Vec::new(), Some(cannot.to_string())),
    };
    Ok(JsonBody(wire::ConfigurationPreviewed { device, configurations: rendered.configurations, files, error }))
}

/// How a device stands with its configuration.
#[utoipa::path(get, path = "/devices/{name}/configuration", operation_id = "get_device_configuration",
    tag = "configurations", params(("name" = String, Path)),
    responses((status = 200, body = wire::DeviceConfiguration), Refusals))]
pub(super) async fn of_device(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
) -> Result<JsonBody<wire::DeviceConfiguration>, Refusal> {
    operator.may_read()?;
    let project = operator.project();
    let shown = app
        .read::<_, StoreError>(move |view| {
            let device = view.device(project, &name)?;
            let files = view.rendered_files(project, device.id)?;
            Ok(show_twin::device_configuration(name, view.twin(project, device.id)?, files))
        })
        .await?;
    Ok(JsonBody(shown))
}

/// What a device shall have and what it has: release, components, configuration.
#[utoipa::path(get, path = "/devices/{name}/twin", operation_id = "get_device_twin", tag = "devices",
    params(("name" = String, Path)), responses((status = 200, body = wire::Twin), Refusals))]
pub(super) async fn twin(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
) -> Result<JsonBody<wire::Twin>, Refusal> {
    operator.may_read()?;
    let project = operator.project();
    Ok(JsonBody(app.read::<_, StoreError>(move |view| twin_of(view, project, &name)).await?))
}

fn twin_of(view: &View<'_>, project: ProjectId, name: &str) -> Result<wire::Twin, StoreError> {
    let device = view.device(project, name)?;
    let actions = view.open_actions(project, device.id)?;
    let under_way = actions.iter().find(|action| action.state.holds_device());
    let release = wire::TwinRelease {
        desired: under_way.map(|action| view.release_label(project, action.release)).transpose()?,
        reported: device.installed.map(|had| view.release_label(project, had.release)).transpose()?,
    };
    let components = installed(&device.attributes).into_iter().map(|(name, found)| {
        let (version, digest) = (found.version.map(str::to_owned), found.digest.map(str::to_owned));
        (name.to_owned(), wire::InstalledComponent { version, digest })
    });
    Ok(wire::Twin {
        device: name.to_owned(),
        release,
        components: components.take(limit::ATTRIBUTES_PER_DEVICE_MAX).collect(),
        configuration: show_twin::configuration_of(&view.twin(project, device.id)?),
        revision: device.revision,
    })
}
