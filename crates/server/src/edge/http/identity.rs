//! Keys told in advance, authorities, and devices whose credentials are taken away.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::extract::State;
use axum::http::StatusCode;
use muster_domain::Permission;
use muster_store::identity::AuthorityKind;
use muster_store::{Cursor, StoreError, identity as store};
use muster_vocab::Sha256;
use muster_wire::Page;
use muster_wire::device::Device;
use muster_wire::identity::{
    Authority, AuthorityCreate, Claim, ClaimsCreate, ClaimsCreated, IssuingAccept, IssuingRequest, ServerIdentity,
};
use muster_wire::page::PageQuery;

use super::auth::Operator;
use super::body::{Asked, Json, Named};
use super::page;
use super::problem::{Refusal, Refusals};
use super::show;
use crate::App;
use crate::flow::identity;

/// Keys of devices that will come, as a factory knows them.
#[utoipa::path(get, path = "/claims", operation_id = "list_claims", tag = "identity", params(PageQuery),
    responses((status = 200, body = Page<Claim>), Refusals))]
pub(super) async fn list_claims(
    State(app): State<Arc<App>>,
    operator: Operator,
    Asked(query): Asked<PageQuery>,
) -> Result<JsonBody<Page<Claim>>, Refusal> {
    operator.may_read()?;
    let project = operator.project();
    let (cursor, limit) = page::plain(&query)?;
    let found = app.read::<_, StoreError>(move |view| view.claims(project, cursor.unwrap_or(Cursor(0)), limit)).await?;
    Ok(JsonBody(page::page(found, show_claim)))
}

/// Tell keys in advance: all of them are taken, or none.
#[utoipa::path(post, path = "/claims", operation_id = "create_claims", tag = "identity", request_body = ClaimsCreate,
    responses((status = 201, body = ClaimsCreated), Refusals))]
pub(super) async fn post_claims(
    State(app): State<Arc<App>>,
    operator: Operator,
    body: Json<ClaimsCreate>,
) -> Result<(StatusCode, JsonBody<ClaimsCreated>), Refusal> {
    let now = app.now();
    let claims = body.value.claims.into_iter();
    let claims: Vec<_> =
        claims.map(|one| identity::NewClaim { name: one.name, key: one.key.0, labels: one.labels }).collect();
    let created = app.write(move |tx| identity::claim(tx, now, &operator.actor, claims)).await?;
    Ok((StatusCode::CREATED, JsonBody(ClaimsCreated { created: created as u64 })))
}

/// Forget a key; a device that came in with it stays.
#[utoipa::path(delete, path = "/claims/{name}", operation_id = "delete_claim", tag = "identity",
    params(("name" = String, Path)), responses((status = 204), Refusals))]
pub(super) async fn delete_claim(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
) -> Result<StatusCode, Refusal> {
    let now = app.now();
    app.write(move |tx| identity::delete_claim(tx, now, &operator.actor, &name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Authorities of others whose devices the project believes.
#[utoipa::path(get, path = "/authorities", operation_id = "list_authorities", tag = "identity",
    responses((status = 200, body = Page<Authority>), Refusals))]
pub(super) async fn list_authorities(
    State(app): State<Arc<App>>,
    operator: Operator,
) -> Result<JsonBody<Page<Authority>>, Refusal> {
    operator.may_read()?;
    let project = operator.project();
    let found = app.read::<_, StoreError>(move |view| view.project_authorities(project)).await?;
    Ok(JsonBody(Page { items: found.into_iter().map(show_authority).collect(), next: None }))
}

/// Believe the devices of another authority: the common name of its certificates is the device's name.
#[utoipa::path(post, path = "/authorities", operation_id = "create_authority", tag = "identity",
    request_body = AuthorityCreate, responses((status = 201, body = Authority), Refusals))]
pub(super) async fn post_authority(
    State(app): State<Arc<App>>,
    operator: Operator,
    body: Json<AuthorityCreate>,
) -> Result<(StatusCode, JsonBody<Authority>), Refusal> {
    let now = app.now();
    let AuthorityCreate { name, certificate, tpm } = body.value;
    let kind = if tpm { AuthorityKind::Tpm } else { AuthorityKind::Device };
    let made = app
        .write(move |tx| identity::register_authority(tx, now, &operator.actor, (&name, kind), &certificate))
        .await?;
    reload(&app).await?;
    Ok((StatusCode::CREATED, JsonBody(show_authority(made))))
}

/// Believe it no more; its devices are refused on their next request.
#[utoipa::path(delete, path = "/authorities/{name}", operation_id = "delete_authority", tag = "identity",
    params(("name" = String, Path)), responses((status = 204), Refusals))]
pub(super) async fn delete_authority(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
) -> Result<StatusCode, Refusal> {
    let now = app.now();
    app.write(move |tx| identity::delete_authority(tx, now, &operator.actor, &name)).await?;
    reload(&app).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The server's root certificate and its pin.
#[utoipa::path(get, path = "/identity", operation_id = "get_identity", tag = "identity",
    responses((status = 200, body = ServerIdentity), Refusals))]
pub(super) async fn get(State(app): State<Arc<App>>, operator: Operator) -> Result<JsonBody<ServerIdentity>, Refusal> {
    operator.may_read()?;
    show_identity(&app).await.map(JsonBody)
}

/// Make a new issuing authority; certificates of those before stay good until they end.
#[utoipa::path(post, path = "/identity/rotate", operation_id = "rotate_issuing", tag = "identity",
    responses((status = 200, body = ServerIdentity), Refusals))]
pub(super) async fn rotate(
    State(app): State<Arc<App>>,
    operator: Operator,
) -> Result<JsonBody<ServerIdentity>, Refusal> {
    operator.actor.may(Permission::Admin).map_err(crate::flow::error::FlowError::from)?;
    let now = app.now();
    let made = app
        .identity
        .make_issuing(&app.store, (&app.config.data, &app.vault), now)
        .map_err(|failed| Refusal::new(StatusCode::CONFLICT, "no_root_key", failed.to_string()))?;
    app.write(move |tx| identity::rotate(tx, now, &operator.actor, made)).await?;
    reload(&app).await?;
    show_identity(&app).await.map(JsonBody)
}

/// Ask for an issuing authority whose root is elsewhere: a new key, and the request that the root is to sign.
#[utoipa::path(post, path = "/identity/issuing-request", operation_id = "request_issuing", tag = "identity",
    responses((status = 200, body = IssuingRequest), Refusals))]
pub(super) async fn request_issuing(
    State(app): State<Arc<App>>,
    operator: Operator,
) -> Result<JsonBody<IssuingRequest>, Refusal> {
    let (now, here) = (app.now(), app.clone());
    let request = app.write(move |tx| identity::request_issuing(tx, now, &operator.actor, &here.vault)).await?;
    Ok(JsonBody(IssuingRequest { request }))
}

/// Take the certificate that the root has signed for the newest request: it signs for devices from now on.
#[utoipa::path(post, path = "/identity/issuing", operation_id = "accept_issuing", tag = "identity",
    request_body = IssuingAccept, responses((status = 200, body = ServerIdentity), Refusals))]
pub(super) async fn accept_issuing(
    State(app): State<Arc<App>>,
    operator: Operator,
    body: Json<IssuingAccept>,
) -> Result<JsonBody<ServerIdentity>, Refusal> {
    let (now, root) = (app.now(), app.identity.root());
    let (certificate, here) = (body.value.certificate, app.clone());
    app.write(move |tx| identity::accept_issuing(tx, now, &operator.actor, (&root, &certificate), &here.vault)).await?;
    reload(&app).await?;
    show_identity(&app).await.map(JsonBody)
}

/// Take away what a device proves itself by. It keeps its place and may join again.
#[utoipa::path(post, path = "/devices/{name}/revoke", operation_id = "revoke_device", tag = "devices",
    params(("name" = String, Path)), responses((status = 200, body = Device), Refusals))]
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
) -> Result<JsonBody<Device>, Refusal> {
    let (now, project) = (app.now(), operator.project());
    let device = app.write(move |tx| identity::revoke(tx, now, &operator.actor, &name)).await?;
    let tenant = app.table.tenant_by_id(project).ok_or_else(|| Refusal::not_found("the project is gone"))?;
    let shown = app.read::<_, StoreError>(move |view| show::device(view, &tenant, device)).await?;
    Ok(JsonBody(shown))
}

/// Let a device out of quarantine, after a person has looked at why it is there.
#[utoipa::path(post, path = "/devices/{name}/release", operation_id = "release_device", tag = "devices",
    params(("name" = String, Path)), responses((status = 200, body = Device), Refusals))]
pub(super) async fn release(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
) -> Result<JsonBody<Device>, Refusal> {
    let (now, project) = (app.now(), operator.project());
    let device = app.write(move |tx| identity::release(tx, now, &operator.actor, &name)).await?;
    let tenant = app.table.tenant_by_id(project).ok_or_else(|| Refusal::not_found("the project is gone"))?;
    let shown = app.read::<_, StoreError>(move |view| show::device(view, &tenant, device)).await?;
    Ok(JsonBody(shown))
}

async fn reload(app: &Arc<App>) -> Result<(), Refusal> {
    let (store, here) = (app.store.clone(), app.clone());
    let reloaded = tokio::task::spawn_blocking(move || here.identity.reload(&store, &here.vault)).await;
    match reloaded {
        Ok(Ok(())) => Ok(()),
        Ok(Err(failed)) => Err(Refusal::internal(&failed)),
        Err(panicked) => Err(Refusal::internal(&panicked)),
    }
}

async fn show_identity(app: &App) -> Result<ServerIdentity, Refusal> {
    let all = app.read::<_, StoreError>(|view| view.authorities()).await?;
    let issuing = all.into_iter().filter(|one| one.kind == AuthorityKind::Issuing && !one.is_retired);
    Ok(ServerIdentity {
        root: app.identity.root(),
        pin: app.identity.pin(),
        root_key_is_here: app.config.data.join(crate::identity::ROOT_KEY).exists(),
        issuing: issuing.map(|one| one.name).collect(),
    })
}

fn show_claim(claim: store::Claim) -> Claim {
    Claim {
        name: claim.name,
        key: Sha256(claim.key),
        labels: claim.labels,
        created_at: claim.created_at,
        created_by: claim.created_by,
        claimed_at: claim.claimed_at,
    }
}

fn show_authority(found: store::Authority) -> Authority {
    Authority {
        name: found.name,
        tpm: found.kind == AuthorityKind::Tpm,
        certificate: found.certificate,
        created_at: found.created_at,
        created_by: found.created_by,
    }
}
