//! The project's settings.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use muster_domain::project::{self, Settings};
use muster_store::StoreError;
use muster_trust::password;
use muster_wire::Page;
use muster_wire::project::{GatewayToken, Project, ProjectCreate, ProjectPatch, Registration};

use super::auth::Operator;
use super::body::Json;
use super::enrollment::rule;
use super::problem::{Refusal, Refusals};
use super::session::hashing;
use super::{etag, show};
use crate::App;
use crate::flow::error::FlowError;
use crate::flow::projects;

/// The project's settings.
#[utoipa::path(get, path = "/project", operation_id = "get_project", tag = "project",
    responses((status = 200, body = Project), (status = 304), Refusals))]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    operator: Operator,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    operator.may_read()?;
    let id = operator.project();
    let project = app.read::<_, StoreError>(move |view| view.project(id)).await?;
    Ok(etag::tagged(&headers, project.revision, &show::project(project)))
}

/// Change settings; what is left out stays.
#[utoipa::path(patch, path = "/project", operation_id = "patch_project", tag = "project",
    request_body = ProjectPatch, responses((status = 200, body = Project), Refusals))]
pub(super) async fn patch(
    State(app): State<Arc<App>>,
    operator: Operator,
    headers: HeaderMap,
    body: Json<ProjectPatch>,
) -> Result<Response, Refusal> {
    let (now, revision) = (app.now(), etag::expected(&headers)?);
    let change = move |settings| apply(settings, body.value);
    let project = app.write(move |tx| projects::save_settings(tx, now, &operator.actor, revision, change)).await?;
    Ok(etag::tagged(&HeaderMap::new(), project.revision, &show::project(project)))
}

fn apply(settings: Settings, patch: ProjectPatch) -> Settings {
    let registration = patch.registration.map(|registration| match registration {
        Registration::Accept => project::Registration::Accept,
        Registration::Wait => project::Registration::Wait,
        Registration::Refuse => project::Registration::Refuse,
    });
    let overrides = patch.poll_overrides.map(|overrides| {
        let over = |over: muster_wire::project::PollOverride| project::PollOverride {
            select: over.select,
            interval_s: over.interval_s,
        };
        overrides.into_iter().map(over).collect()
    });
    Settings {
        registration: registration.unwrap_or(settings.registration),
        target_token: patch.target_token.unwrap_or(settings.target_token),
        certificate_authorities: patch.certificate_authorities.unwrap_or(settings.certificate_authorities),
        confirmation: patch.confirmation.unwrap_or(settings.confirmation),
        poll_interval_s: patch.poll_interval_s.unwrap_or(settings.poll_interval_s),
        poll_overrides: overrides.unwrap_or(settings.poll_overrides),
        sessions: patch.sessions.unwrap_or(settings.sessions),
        enrollment: patch.enrollment.map_or(settings.enrollment, |rules| rules.into_iter().map(rule).collect()),
    }
}

/// All projects of the server. For admins of its first one, `default`.
#[utoipa::path(get, path = "/projects", operation_id = "list_projects", tag = "project",
    responses((status = 200, body = Page<Project>), Refusals))]
pub(super) async fn list(State(app): State<Arc<App>>, operator: Operator) -> Result<JsonBody<Page<Project>>, Refusal> {
    let all = app.read::<_, FlowError>(move |view| projects::all(view, &operator.actor)).await?;
    Ok(JsonBody(Page { items: all.into_iter().map(show::project).collect(), next: None }))
}

/// Make a project with its first account. For admins of the server's first one, `default`.
#[utoipa::path(post, path = "/projects", operation_id = "create_project", tag = "project",
    request_body = ProjectCreate, responses((status = 201, body = Project), Refusals))]
pub(super) async fn post(
    State(app): State<Arc<App>>,
    operator: Operator,
    body: Json<ProjectCreate>,
) -> Result<(StatusCode, JsonBody<Project>), Refusal> {
    operator.actor.may(muster_domain::Permission::Admin).map_err(FlowError::from)?;
    let ProjectCreate { name, account, password: plain } = body.value;
    let hash = hashing(move || password::hash(&plain)).await?.map_err(FlowError::from)?;
    let now = app.now();
    let made = app.write(move |tx| projects::create(tx, now, &operator.actor, &name, (&account, hash))).await?;
    Ok((StatusCode::CREATED, JsonBody(show::project(made))))
}

/// Make a new gateway token; the old one stops working.
#[utoipa::path(post, path = "/project/gateway-token", operation_id = "create_gateway_token", tag = "project",
    responses((status = 200, body = GatewayToken), Refusals))]
pub(super) async fn new_gateway_token(
    State(app): State<Arc<App>>,
    operator: Operator,
) -> Result<JsonBody<GatewayToken>, Refusal> {
    let now = app.now();
    let token = app.write(move |tx| projects::new_gateway_token(tx, now, &operator.actor)).await?;
    Ok(JsonBody(GatewayToken { token }))
}

/// Turn the gateway token off.
#[utoipa::path(delete, path = "/project/gateway-token", operation_id = "delete_gateway_token", tag = "project",
    responses((status = 204), Refusals))]
pub(super) async fn delete_gateway_token(
    State(app): State<Arc<App>>,
    operator: Operator,
) -> Result<StatusCode, Refusal> {
    let now = app.now();
    app.write(move |tx| projects::delete_gateway_token(tx, now, &operator.actor)).await?;
    Ok(StatusCode::NO_CONTENT)
}
