//! Programs that issuers vouch for.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::extract::{FromRequest, Request, State};
use axum::http::{StatusCode, header};
use muster_store::StoreError;
use muster_store::workloads::Workload as Stored;
use muster_vocab::{AccountId, limit};
use muster_wire::Page;
use muster_wire::workload::{Exchange, Exchanged, Workload, WorkloadPut};

use super::auth::Operator;
use super::body::{Json, Named, read};
use super::problem::{Refusal, Refusals};
use super::show;
use crate::App;
use crate::flow::workloads;
use crate::oidc::Issuer;

/// RFC 8693, 2.1 and 3.
const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const SUBJECT_TYPES: [&str; 2] = ["urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token"];
const ISSUED: &str = "urn:ietf:params:oauth:token-type:access_token";

/// List workloads.
#[utoipa::path(get, path = "/workloads", operation_id = "list_workloads", tag = "workloads",
    responses((status = 200, body = Page<Workload>), Refusals))]
pub(super) async fn list(State(app): State<Arc<App>>, operator: Operator) -> Result<JsonBody<Page<Workload>>, Refusal> {
    operator.may_read()?;
    let project = operator.project();
    let all = app.read::<_, StoreError>(move |view| view.workloads(project)).await?;
    Ok(JsonBody(Page { items: all.into_iter().map(shown).collect(), next: None }))
}

/// Say which program is which service account here. Takes the place of one of the same name.
#[utoipa::path(put, path = "/workloads/{name}", operation_id = "put_workload", tag = "workloads",
    params(("name" = String, Path)), request_body = WorkloadPut, responses((status = 200, body = Workload), Refusals))]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
    body: Json<WorkloadPut>,
) -> Result<JsonBody<Workload>, Refusal> {
    let now = app.now();
    let WorkloadPut { issuer, audience, subject, account, scopes, life_s, certificates } = body.value;
    let new = Stored {
        project: operator.project(),
        name,
        issuer,
        audience,
        subject,
        certificates,
        account: AccountId(0),
        account_name: account,
        permissions: scopes.into_iter().map(show::permission).collect(),
        life_s: life_s.unwrap_or(limit::WORKLOAD_TOKEN_LIFE.as_secs()),
        created_at: now,
    };
    Ok(JsonBody(shown(app.write(move |tx| workloads::set(tx, now, &operator.actor, new)).await?)))
}

/// Delete a workload: its program gets no tokens any more; those it has end within the hour.
#[utoipa::path(delete, path = "/workloads/{name}", operation_id = "delete_workload", tag = "workloads",
    params(("name" = String, Path)), responses((status = 204), Refusals))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
) -> Result<StatusCode, Refusal> {
    let now = app.now();
    app.write(move |tx| workloads::delete(tx, now, &operator.actor, &name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Exchange what an issuer says of a program for a short token (RFC 8693).
#[utoipa::path(post, path = "/tokens/exchange", operation_id = "exchange_token", tag = "workloads", security(()),
    request_body(content((Exchange = "application/x-www-form-urlencoded"), (Exchange = "application/json"))),
    responses((status = 200, body = Exchanged), Refusals))]
pub(super) async fn exchange(State(app): State<Arc<App>>, body: Asking) -> Result<JsonBody<Exchanged>, Refusal> {
    let Exchange { grant_type, subject_token, subject_token_type, workload, project } = body.0;
    if grant_type != GRANT {
        return Err(Refusal::bad("grant_type", format!("it is {GRANT}")));
    }
    if !SUBJECT_TYPES.contains(&subject_token_type.as_str()) {
        return Err(Refusal::bad("subject_token_type", format!("it is {}", SUBJECT_TYPES.join(" or "))));
    }
    let tenant = app.table.tenant(project.as_deref().unwrap_or(crate::start::PROJECT));
    let found = match tenant {
        Some(tenant) => app.read::<_, StoreError>(move |view| view.workload(tenant.id, &workload)).await?,
        None => None,
    };
    // Names of workloads are told to nobody who can't show a token that fits.
    let refused = || Refusal::unauthenticated("exchange_refused", "the token is not that of this workload");
    let workload = found.ok_or_else(refused)?;
    let (now, oidc) = (app.now(), app.oidc.clone());
    let issuer = Issuer { url: workload.issuer.clone(), certificates: workload.certificates.clone() };
    let audience = workload.audience.clone();
    let asked = app.oidc.ask(move || oidc.check(&issuer, &subject_token, (&audience, None), now));
    let claims = asked.await?;
    let subject = claims.subject().to_owned();
    let (token, secret) = app.write(move |tx| workloads::exchange(tx, now, &workload, &subject)).await?;
    let scopes: Vec<String> = show::scopes(&token.permissions)
        .iter()
        .filter_map(|scope| serde_json::to_value(scope).ok()?.as_str().map(str::to_owned))
        .collect();
    Ok(JsonBody(Exchanged {
        access_token: secret,
        issued_token_type: ISSUED.to_owned(),
        token_type: "Bearer".to_owned(),
        expires_in: token.expires_at.since(now).as_secs(),
        scope: scopes.join(" "),
    }))
}

/// A form, as the standard has it, or JSON, as the rest of this API.
#[derive(Debug)]
pub(super) struct Asking(Exchange);

impl FromRequest<Arc<App>> for Asking {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Refusal> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if kind != "application/x-www-form-urlencoded" {
            return Ok(Self(Json::from_request(request, app).await?.value));
        }
        let bytes = read(request, app).await?;
        let value = serde_urlencoded::from_bytes(&bytes);
        value.map(Self).map_err(|bad: serde_urlencoded::de::Error| Refusal::bad("body", bad.to_string()))
    }
}

fn shown(workload: Stored) -> Workload {
    Workload {
        name: workload.name,
        issuer: workload.issuer,
        audience: workload.audience,
        subject: workload.subject,
        account: workload.account_name,
        scopes: show::scopes(&workload.permissions),
        life_s: workload.life_s,
        created_at: workload.created_at,
    }
}
