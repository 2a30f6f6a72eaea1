//! Every address of the operator API, and the document that describes them.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use muster_trust::secret;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes as documented;

use super::auth::REQUEST_ID;
use super::body::taken;
use super::problem::Refusal;
use super::{
    accounts, actions, approvals, artifacts, attestations, audit, channels, commands, configurations, departures,
    devices, enrollment, events, identity, join_tokens, metadata, oidc_login, oidc_providers, projects, releases,
    remote_sessions, roles, rollouts, secrets, session, tokens, totp, uploads, workloads,
};
use crate::App;

#[derive(OpenApi)]
#[openapi(
    info(title = "Muster operator API", description = "Fleets, releases and rollouts. Lists are paged by cursor and filtered by selectors; refusals are problem documents (RFC 9457)."),
    components(schemas(muster_wire::Problem)),
    modifiers(&Bearer),
    security(("bearer" = []))
)]
struct Document;

struct Bearer;

impl utoipa::Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        document.components.get_or_insert_default().add_security_scheme("bearer", scheme);
    }
}

fn api() -> OpenApiRouter<Arc<App>> {
    let routes = people()
        .merge(devices_and_identity())
        .merge(releases())
        .merge(rollouts())
        .merge(twins())
        .merge(records())
        .merge(signed());
    OpenApiRouter::with_openapi(Document::openapi()).nest("/api/v1", routes)
}

/// Who operates, and with what right?
fn people() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(documented!(session::login))
        .routes(documented!(oidc_login::start))
        .routes(documented!(oidc_login::callback))
        .routes(documented!(oidc_login::device))
        .routes(documented!(oidc_login::poll))
        .routes(documented!(oidc_login::redeem))
        .routes(documented!(oidc_login::link))
        .routes(documented!(oidc_providers::list))
        .routes(documented!(oidc_providers::put, oidc_providers::delete))
        .routes(documented!(workloads::list))
        .routes(documented!(workloads::put, workloads::delete))
        .routes(documented!(workloads::exchange))
        .routes(documented!(session::logout))
        .routes(documented!(session::whoami))
        .routes(documented!(session::change_password))
        .routes(documented!(totp::get, totp::begin))
        .routes(documented!(totp::confirm))
        .routes(documented!(totp::disable))
        .routes(documented!(totp::reset))
        .routes(documented!(projects::list, projects::post))
        .routes(documented!(projects::get, projects::patch))
        .routes(documented!(projects::new_gateway_token, projects::delete_gateway_token))
        .routes(documented!(accounts::list, accounts::post))
        .routes(documented!(accounts::delete))
        .routes(documented!(roles::list, roles::post))
        .routes(documented!(roles::delete))
        .routes(documented!(roles::list_bindings, roles::post_binding))
        .routes(documented!(roles::delete_binding))
        .routes(documented!(tokens::list, tokens::post))
        .routes(documented!(tokens::delete))
}

/// Devices, and how they come in.
fn devices_and_identity() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(documented!(join_tokens::list, join_tokens::post))
        .routes(documented!(join_tokens::delete))
        .routes(documented!(devices::list, devices::post))
        .routes(documented!(devices::count))
        .routes(documented!(devices::accept_many))
        .routes(documented!(devices::reject_many))
        .routes(documented!(devices::get, devices::patch, devices::delete))
        .routes(documented!(identity::list_claims, identity::post_claims))
        .routes(documented!(identity::delete_claim))
        .routes(documented!(identity::list_authorities, identity::post_authority))
        .routes(documented!(identity::delete_authority))
        .routes(documented!(identity::get))
        .routes(documented!(identity::rotate))
        .routes(documented!(identity::request_issuing))
        .routes(documented!(identity::accept_issuing))
        .routes(documented!(identity::revoke))
        .routes(documented!(identity::release))
        .routes(documented!(enrollment::get, enrollment::put))
        .routes(documented!(enrollment::test))
        .routes(documented!(departures::decommission, departures::get))
        .routes(documented!(departures::transfer))
        .routes(documented!(devices::accept))
        .routes(documented!(devices::reject))
        .routes(documented!(devices::token))
        .routes(documented!(devices::request_attributes))
        .routes(documented!(devices::put_auto_confirm, devices::delete_auto_confirm))
        .routes(documented!(devices::why))
        .routes(documented!(devices::timeline))
}

/// What devices can run.
fn releases() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(documented!(uploads::post))
        .routes(documented!(uploads::get, uploads::patch, uploads::delete))
        .routes(documented!(artifacts::list))
        .routes(documented!(artifacts::get, artifacts::delete))
        .routes(documented!(artifacts::content))
        .routes(documented!(releases::list, releases::post))
        .routes(documented!(releases::get, releases::delete))
        .routes(documented!(releases::publish))
        .routes(documented!(releases::yank))
        .routes(documented!(attestations::list, attestations::post))
        .routes(documented!(attestations::delete))
        .routes(documented!(attestations::keys, attestations::add_key))
        .routes(documented!(attestations::remove_key))
        .routes(documented!(attestations::policy, attestations::put_policy))
        .routes(documented!(channels::list))
        .routes(documented!(channels::get, channels::put, channels::delete))
}

/// How it gets to them.
fn rollouts() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(documented!(rollouts::list, rollouts::post))
        .routes(documented!(rollouts::get, rollouts::delete))
        .routes(documented!(rollouts::start))
        .routes(documented!(rollouts::break_glass))
        .routes(documented!(approvals::plan))
        .routes(documented!(approvals::list_rules, approvals::put_rule))
        .routes(documented!(approvals::delete_rule))
        .routes(documented!(approvals::list_open))
        .routes(documented!(approvals::list_all))
        .routes(documented!(approvals::close))
        .routes(documented!(rollouts::approve))
        .routes(documented!(rollouts::deny))
        .routes(documented!(rollouts::pause))
        .routes(documented!(rollouts::resume))
        .routes(documented!(rollouts::abort))
        .routes(documented!(rollouts::roll_back))
        .routes(documented!(rollouts::next_wave))
        .routes(documented!(rollouts::retry))
        .routes(documented!(actions::list))
        .routes(documented!(actions::get))
        .routes(documented!(actions::reports))
        .routes(documented!(actions::cancel))
        .routes(documented!(actions::force))
}

/// What else devices shall have and do.
fn twins() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(documented!(configurations::list))
        .routes(documented!(configurations::get, configurations::put, configurations::delete))
        .routes(documented!(configurations::preview))
        .routes(documented!(secrets::list))
        .routes(documented!(secrets::put, secrets::delete))
        .routes(documented!(secrets::master_key))
        .routes(documented!(secrets::rotate))
        .routes(documented!(configurations::of_device))
        .routes(documented!(configurations::twin))
        .routes(documented!(commands::list, commands::post))
        .routes(documented!(commands::get))
        .routes(documented!(remote_sessions::list))
        .routes(documented!(remote_sessions::get))
        .routes(documented!(remote_sessions::recording))
}

/// What happened.
fn records() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(documented!(audit::list))
        .routes(documented!(audit::verify))
        .routes(documented!(audit::export))
        .routes(documented!(audit::proof))
        .routes(documented!(audit::state))
        .routes(documented!(audit::prune))
        .routes(documented!(events::stream))
}

/// Signed metadata.
fn signed() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(documented!(metadata::get)).routes(documented!(metadata::put))
}

/// The OpenAPI 3.1 document, as served and as kept in docs/openapi.json.
#[must_use]
pub fn openapi() -> String {
    let (_, document) = api().split_for_parts();
    document.to_pretty_json().unwrap_or_default()
}

pub fn routes(app: &Arc<App>) -> Router {
    let (routes, _) = api().split_for_parts();
    let document: &'static str = openapi().leak();
    let serve_document = get(async move || ([(header::CONTENT_TYPE, "application/json")], document));
    routes
        .route("/api/v1/openapi.json", serve_document)
        .route("/api/v1", axum::routing::any(nothing))
        .route("/api/v1/", axum::routing::any(nothing))
        .route("/api/v1/{*rest}", axum::routing::any(nothing))
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn(headers))
        .with_state(app.clone())
}

async fn nothing() -> Refusal {
    Refusal::not_found("there is nothing under this address; /api/v1/openapi.json lists what is")
}

async fn wrong_method() -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", "this address does not take this method")
}

/// What every answer of the API carries.
async fn headers(mut request: Request, next: Next) -> Response {
    const REQUEST_ID_CHARS_MAX: usize = 128;
    let given = request.headers().get(REQUEST_ID).filter(|id| id.len() <= REQUEST_ID_CHARS_MAX).cloned();
    let made = || secret::random_hex(8).ok().and_then(|id| HeaderValue::try_from(id).ok());
    let id = given.or_else(made);
    // The audit log names it.
    match &id {
        Some(id) => drop(request.headers_mut().insert(REQUEST_ID, id.clone())),
        None => drop(request.headers_mut().remove(REQUEST_ID)),
    }
    let mut response = match taken(request).await {
        Ok(request) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if let Some(id) = id {
        headers.insert(REQUEST_ID, id);
    }
    response
}
