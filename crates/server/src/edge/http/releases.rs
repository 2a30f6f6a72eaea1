//! Releases.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use muster_domain::Permission;
use muster_domain::release::{Component, ComponentArtifact};
use muster_store::{StoreError, Tx};
use muster_vocab::selector::schema::RELEASE_SCHEMA;
use muster_vocab::{ModuleId, Name};
use muster_wire::Page;
use muster_wire::page::PageQuery;
use muster_wire::release::{Release, ReleaseCreate, Yank};

use super::auth::Operator;
use super::body::{Asked, Json, Named};
use super::create::{Request, create};
use super::page::{Rows, page};
use super::problem::{Refusal, Refusals};
use super::{etag, show};
use crate::App;
use crate::flow::error::FlowError;
use crate::flow::releases::{self, NewRelease};
use crate::images;

/// `name@version` in its two parts.
pub(super) fn name_and_version(field: &str, text: &str) -> Result<(String, String), Refusal> {
    match text.split_once('@') {
        Some((name, version)) if !name.is_empty() && !version.is_empty() => Ok((name.to_owned(), version.to_owned())),
        _ => Err(Refusal::bad(field, format!("{text:?} is no release: write name@version"))),
    }
}

/// List releases, newest first.
#[utoipa::path(get, path = "/releases", operation_id = "list_releases", tag = "releases", params(PageQuery),
    responses((status = 200, body = Page<Release>), Refusals))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    operator: Operator,
    Asked(query): Asked<PageQuery>,
) -> Result<JsonBody<Page<Release>>, Refusal> {
    operator.may_read()?;
    let rows = Rows::of(&query, &RELEASE_SCHEMA)?;
    let (project, now) = (operator.project(), app.now());
    let paged = app
        .read::<_, StoreError>(move |view| view.releases(project, &rows.select, (rows.cursor, rows.limit), now))
        .await?;
    Ok(JsonBody(page(paged, show::release)))
}

/// Draft a release from uploaded artifacts.
#[utoipa::path(post, path = "/releases", operation_id = "create_release", tag = "releases",
    params(("Idempotency-Key" = Option<String>, Header)), request_body = ReleaseCreate,
    responses((status = 201, body = Release), Refusals))]
pub(super) async fn post(
    State(app): State<Arc<App>>,
    operator: Operator,
    headers: HeaderMap,
    body: Json<ReleaseCreate>,
) -> Result<Response, Refusal> {
    let asked = body.value;
    let components = asked.components.into_iter().enumerate();
    let components = components.map(|(at, one)| component(at, one)).collect::<Result<_, _>>()?;
    let new = NewRelease { name: asked.name, version: asked.version, components, notes: asked.notes };
    let actor = operator.actor.clone();
    let request = Request { operator: &operator, headers: &headers, what: "release", body: &body.bytes };
    create(&app, request, move |tx, now| Ok(show::release(releases::create(tx, now, &actor, new)?))).await
}

fn component(at: usize, asked: muster_wire::release::Component) -> Result<Component, Refusal> {
    let field = format!("components/{at}/version");
    let version = Name::parse(&asked.version).map_err(|bad| Refusal::bad(field, bad.to_string()))?;
    let artifact = |one: muster_wire::release::ComponentArtifact| ComponentArtifact {
        digest: one.digest,
        // Empty: the artifact's own name, which the flow looks up.
        file_name: one.name.unwrap_or_default(),
    };
    Ok(Component {
        module: ModuleId(0),
        name: asked.name,
        version,
        metadata: asked.metadata,
        artifacts: asked.artifacts.into_iter().map(artifact).collect(),
    })
}

/// One release.
#[utoipa::path(get, path = "/releases/{name}/{version}", operation_id = "get_release", tag = "releases",
    params(("name" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = Release), (status = 304), Refusals))]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named((name, version)): Named<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    operator.may_read()?;
    let project = operator.project();
    let release = app.read::<_, StoreError>(move |view| view.release_named(project, &name, &version)).await?;
    Ok(etag::tagged(&headers, release.revision, &show::release(release)))
}

/// Publish a release: rollouts and channels can use it, and nothing in it can change.
#[utoipa::path(post, path = "/releases/{name}/{version}/publish", operation_id = "publish_release", tag = "releases",
    params(("name" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = Release), Refusals))]
pub(super) async fn publish(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named((name, version)): Named<(String, String)>,
) -> Result<JsonBody<Release>, Refusal> {
    let now = app.now();
    operator.actor.may(Permission::ReleasesWrite).map_err(FlowError::from)?;
    let inner = images::look(&app, operator.project(), (name.clone(), version.clone())).await?;
    let publish = move |tx: &mut Tx<'_>| releases::publish(tx, now, &operator.actor, (&name, &version), &inner);
    Ok(JsonBody(show::release(app.write(publish).await?)))
}

/// Yank a release: no new rollout can use it; devices that run it keep it.
#[utoipa::path(post, path = "/releases/{name}/{version}/yank", operation_id = "yank_release", tag = "releases",
    params(("name" = String, Path), ("version" = String, Path)), request_body = Yank,
    responses((status = 200, body = Release), Refusals))]
pub(super) async fn yank(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named((name, version)): Named<(String, String)>,
    body: Json<Yank>,
) -> Result<JsonBody<Release>, Refusal> {
    let (now, reason) = (app.now(), body.value.reason);
    let release = app.write(move |tx| releases::yank(tx, now, &operator.actor, (&name, &version), &reason)).await?;
    Ok(JsonBody(show::release(release)))
}

/// Delete a release that nothing uses.
#[utoipa::path(delete, path = "/releases/{name}/{version}", operation_id = "delete_release", tag = "releases",
    params(("name" = String, Path), ("version" = String, Path)), responses((status = 204), Refusals))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named((name, version)): Named<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, Refusal> {
    let (now, revision) = (app.now(), etag::expected(&headers)?);
    app.write(move |tx| releases::delete(tx, now, &operator.actor, (&name, &version), revision)).await?;
    Ok(StatusCode::NO_CONTENT)
}
