//! Secrets, and the master key they are sealed with.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::extract::State;
use axum::http::StatusCode;
use muster_domain::{Actor, Permission};
use muster_store::secrets::SecretEntry;
use muster_store::{Cursor, StoreError};
use muster_vocab::{Timestamp, limit};
use muster_wire::Page;
use muster_wire::page::PageQuery;
use muster_wire::secret::{MasterKey, Secret, SecretPut};
use zeroize::Zeroizing;

use super::auth::Operator;
use super::body::{Asked, Json, Named};
use super::page;
use super::problem::{Refusal, Refusals};
use crate::App;
use crate::flow::error::FlowError;
use crate::flow::secrets;
use crate::start;
use crate::work::reseal::{ResealError, reseal, take_up_new};

/// List secrets. Their values can't be read.
#[utoipa::path(get, path = "/secrets", operation_id = "list_secrets", tag = "secrets",
    params(PageQuery), responses((status = 200, body = Page<Secret>), Refusals))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    operator: Operator,
    Asked(query): Asked<PageQuery>,
) -> Result<JsonBody<Page<Secret>>, Refusal> {
    operator.may_read()?;
    let (cursor, limit) = page::plain(&query)?;
    let project = operator.project();
    let after = cursor.unwrap_or(Cursor(0));
    let paged = app.read::<_, StoreError>(move |view| view.secrets(project, after, limit)).await?;
    Ok(JsonBody(page::page(paged, shown)))
}

/// Make a secret or give it a new value. Templates name it as `secret.NAME`.
#[utoipa::path(put, path = "/secrets/{name}", operation_id = "put_secret", tag = "secrets",
    params(("name" = String, Path)), request_body = SecretPut,
    responses((status = 200, body = Secret), Refusals))]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
    body: Json<SecretPut>,
) -> Result<JsonBody<Secret>, Refusal> {
    let value = Zeroizing::new(body.value.value);
    let (now, project, actor, asked) = (app.now(), operator.project(), operator.actor.clone(), name.clone());
    let version = app.read::<_, FlowError>(move |view| secrets::next_version(view, &actor, &asked)).await?;
    check(&value)?;
    let sealed = app.vault.seal(&secrets::purpose(project, &name, version), value.as_bytes());
    let new = secrets::NewSecret { name, version, sealed: sealed.map_err(FlowError::from)? };
    let saved = app.write(move |tx| secrets::put(tx, now, &operator.actor, &new)).await?;
    Ok(JsonBody(shown(saved)))
}

fn check(value: &str) -> Result<(), Refusal> {
    if value.is_empty() || value.len() > limit::SECRET_BYTES_MAX {
        let most = limit::SECRET_BYTES_MAX;
        return Err(Refusal::bad("value", format!("a secret has 1 to {most} bytes")));
    }
    if value.contains('\0') {
        return Err(Refusal::bad("value", "a secret is text without NUL"));
    }
    Ok(())
}

/// Delete a secret that no configuration uses.
#[utoipa::path(delete, path = "/secrets/{name}", operation_id = "delete_secret", tag = "secrets",
    params(("name" = String, Path)), responses((status = 204), Refusals))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
) -> Result<StatusCode, Refusal> {
    let now = app.now();
    app.write(move |tx| secrets::delete(tx, now, &operator.actor, &name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What the master key is called. For admins of the server's first project.
#[utoipa::path(get, path = "/master-key", operation_id = "get_master_key", tag = "secrets",
    responses((status = 200, body = MasterKey), Refusals))]
pub(super) async fn master_key(
    State(app): State<Arc<App>>,
    operator: Operator,
) -> Result<JsonBody<MasterKey>, Refusal> {
    check_server(&app, &operator).await?;
    Ok(JsonBody(shown_key(&app)))
}

/// Change the master key while the server runs: everything is sealed again. A key that somebody else keeps is read
/// again, with the new one first and the old one behind it.
#[utoipa::path(post, path = "/master-key/rotate", operation_id = "rotate_master_key", tag = "secrets",
    responses((status = 200, body = MasterKey), Refusals))]
pub(super) async fn rotate(State(app): State<Arc<App>>, operator: Operator) -> Result<JsonBody<MasterKey>, Refusal> {
    check_server(&app, &operator).await?;
    let _alone = app.rotating.lock().await;
    let before = app.vault.shown().0;
    take_up_new(&app).await.map_err(refused)?;
    if app.vault.shown().0 == before {
        let same = "the master key is still the same: put the new one first, the old one behind it, and ask again";
        return Err(Refusal::new(StatusCode::CONFLICT, "same_key", same));
    }
    reseal(&app).await.map_err(refused)?;
    let (now, id) = (app.now(), app.vault.shown().0);
    app.write(move |tx| secrets::rotated(tx, now, &operator.actor, &id)).await?;
    Ok(JsonBody(shown_key(&app)))
}

fn refused(failed: ResealError) -> Refusal {
    match failed {
        ResealError::Flow(failed) => failed.into(),
        ResealError::Vault(failed) => Refusal::new(StatusCode::CONFLICT, "master_key", told(&failed)),
    }
}

/// With its causes: who asks keeps the key and has to know what is wrong with it.
fn told(failed: &dyn std::error::Error) -> String {
    let cause = failed.source().map_or_else(String::new, |cause| format!(": {}", told(cause)));
    format!("{failed}{cause}")
}

/// The key is the whole server's, not one project's.
async fn check_server(app: &App, operator: &Operator) -> Result<(), Refusal> {
    let actor: &Actor = &operator.actor;
    actor.may(Permission::Admin).map_err(FlowError::from)?;
    let first = app.read::<_, StoreError>(|view| view.projects()).await?;
    let is_first = first.iter().any(|project| project.name == start::PROJECT && project.id == actor.project());
    if is_first { Ok(()) } else { Err(Refusal::not_found("the master key is the business of the server's admins")) }
}

fn shown(entry: SecretEntry) -> Secret {
    let SecretEntry { name, version, updated_at, updated_by, .. } = entry;
    let updated_at: Timestamp = updated_at;
    Secret { name, version, updated_at, updated_by }
}

fn shown_key(app: &App) -> MasterKey {
    let (id, older, own) = app.vault.shown();
    MasterKey { id, older: u32::try_from(older).unwrap_or(u32::MAX), own }
}
