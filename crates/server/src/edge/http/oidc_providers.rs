//! Who vouches for people?

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::extract::State;
use axum::http::StatusCode;
use muster_domain::Permission;
use muster_store::StoreError;
use muster_store::oidc::Provider;
use muster_wire::Page;
use muster_wire::oidc::{OidcProvider, OidcProviderPut};
use zeroize::Zeroizing;

use super::auth::Operator;
use super::body::{Json, Named};
use super::problem::{Refusal, Refusals};
use crate::App;
use crate::flow::error::FlowError;
use crate::flow::oidc;
use crate::oidc::grant::Client;

/// No provider gives out longer ones.
const CLIENT_SECRET_BYTES_MAX: usize = 1024;

/// List OpenID providers; never their client secrets.
#[utoipa::path(get, path = "/oidc-providers", operation_id = "list_oidc_providers", tag = "oidc",
    responses((status = 200, body = Page<OidcProvider>), Refusals))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    operator: Operator,
) -> Result<JsonBody<Page<OidcProvider>>, Refusal> {
    operator.may_read()?;
    let project = operator.project();
    let all = app.read::<_, StoreError>(move |view| view.oidc_providers(project)).await?;
    Ok(JsonBody(Page { items: all.into_iter().map(shown).collect(), next: None }))
}

/// Say who vouches for people, and what their groups may. Takes the place of one of the same name.
#[utoipa::path(put, path = "/oidc-providers/{name}", operation_id = "put_oidc_provider", tag = "oidc",
    params(("name" = String, Path)), request_body = OidcProviderPut,
    responses((status = 200, body = OidcProvider), Refusals))]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
    body: Json<OidcProviderPut>,
) -> Result<JsonBody<OidcProvider>, Refusal> {
    operator.actor.may(Permission::Admin).map_err(FlowError::from)?;
    let now = app.now();
    let OidcProviderPut { issuer, client_id, client_secret, server_url, certificates, .. } = body.value.clone();
    let client_secret = match client_secret.map(Zeroizing::new) {
        Some(secret) if secret.is_empty() || secret.len() > CLIENT_SECRET_BYTES_MAX => {
            return Err(Refusal::bad("client_secret", format!("it has 1 to {CLIENT_SECRET_BYTES_MAX} bytes")));
        }
        Some(secret) => {
            let sealed = app.vault.seal(&oidc::purpose(operator.project(), &name), secret.as_bytes());
            Some(sealed.map_err(FlowError::from)?)
        }
        None => None,
    };
    let OidcProviderPut { scopes, name_claim, groups_claim, groups, .. } = body.value;
    let new = Provider {
        id: 0,
        project: operator.project(),
        name,
        issuer,
        client_id,
        client_secret,
        server_url,
        certificates,
        scopes: scopes.unwrap_or_else(|| "openid profile".into()),
        name_claim: name_claim.unwrap_or_else(|| "preferred_username".into()),
        groups_claim: groups_claim.unwrap_or_else(|| "groups".into()),
        groups,
        created_at: now,
    };
    Ok(JsonBody(shown(app.write(move |tx| oidc::set(tx, now, &operator.actor, new)).await?)))
}

/// Delete an OpenID provider: nobody logs in by it any more, and what its groups gave ends now.
#[utoipa::path(delete, path = "/oidc-providers/{name}", operation_id = "delete_oidc_provider", tag = "oidc",
    params(("name" = String, Path)), responses((status = 204), Refusals))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
) -> Result<StatusCode, Refusal> {
    let now = app.now();
    app.write(move |tx| oidc::delete(tx, now, &operator.actor, &name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn shown(provider: Provider) -> OidcProvider {
    OidcProvider {
        callback: Client::callback(&provider),
        name: provider.name,
        issuer: provider.issuer,
        client_id: provider.client_id,
        has_client_secret: provider.client_secret.is_some(),
        scopes: provider.scopes,
        name_claim: provider.name_claim,
        groups_claim: provider.groups_claim,
        groups: provider.groups,
        created_at: provider.created_at,
    }
}
