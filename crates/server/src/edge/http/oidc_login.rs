//! Logging in by an OpenID provider: begun here, done there, redeemed here.
//!
//! Whoever begins keeps a secret and tells its digest; what comes back is a ticket that only the secret redeems. A
//! browser's way is bound to that browser by a cookie as well.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use muster_store::StoreError;
use muster_trust::secret;
use muster_vocab::{ProjectId, Sha256, limit};
use muster_wire::account::LoggedIn;
use muster_wire::oidc::{OidcDevice, OidcDeviceStarted, OidcLink, OidcPoll, OidcPolled, OidcRedeem};
use serde::Deserialize;
use tracing::warn;
use utoipa::IntoParams;
use zeroize::Zeroizing;

use super::auth::Operator;
use super::body::{Asked, Json, Named};
use super::problem::{Refusal, Refusals};
use super::return_to::ReturnTo;
use super::session::{own_password, unfactored};
use super::show;
use crate::App;
use crate::flow::error::FlowError;
use crate::flow::oidc::{self, NoRole, Person};
use crate::flow::totp::{self, Shown};
use crate::oidc::OidcError;
use crate::oidc::grant::{Begin, Client, Typed};
use crate::oidc::pending::{At, Browser, Device, Due, Ticket, TooMany};

const COOKIE: &str = "muster_login";

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Start {
    /// The only project if left out.
    project: Option<String>,
    /// Where the browser goes with the ticket: a path of this server, or `http://127.0.0.1:PORT/…`.
    return_to: String,
    /// SHA-256 of a secret that the caller keeps and shows when it redeems its ticket.
    #[param(value_type = String, example = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    challenge: Sha256,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Back {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
    /// RFC 9207.
    iss: Option<String>,
}

/// Send a browser to the provider.
#[utoipa::path(get, path = "/login/oidc/{provider}/start", operation_id = "start_oidc_login", tag = "oidc",
    params(("provider" = String, Path), Start), security(()), responses((status = 303), Refusals))]
pub(super) async fn start(
    State(app): State<Arc<App>>,
    Named(provider): Named<String>,
    Asked(query): Asked<Start>,
) -> Result<Response, Refusal> {
    let return_to = ReturnTo::parse(&query.return_to).ok_or_else(|| {
        Refusal::bad("return_to", "a login returns to a path of this server, or to http://127.0.0.1:PORT/…")
    })?;
    let (at, client) = client(&app, query.project.as_deref(), &provider).await?;
    let server_url = client.provider.server_url.clone().ok_or_else(|| {
        Refusal::new(StatusCode::CONFLICT, "conflict", "the provider has no server_url: set it, or log in by a code")
    })?;
    let now = app.now();
    let [state, nonce, verifier, cookie] = random()?;
    let (oidc, begun) = (app.oidc.clone(), (state.clone(), nonce.clone(), verifier.clone()));
    let asked = app.oidc.ask(move || {
        let begin = Begin { state: &begun.0, nonce: &begun.1, verifier: &begun.2 };
        client.authorization(&oidc, &begin, now)
    });
    let next = asked.await?;
    let return_to = return_to.text().to_owned();
    let browser =
        Browser { at, cookie: secret::digest(&cookie), nonce, verifier, return_to, challenge: query.challenge };
    app.oidc.pending.lock().put_browser(&state, browser, now)?;
    let secure = if server_url.starts_with("https:") { "; Secure" } else { "" };
    let life = limit::LOGIN_PENDING.as_secs();
    let path = format!("/api/v1/login/oidc/{provider}");
    let cookie = format!("{COOKIE}={cookie}; Path={path}; Max-Age={life}; HttpOnly; SameSite=Lax{secure}");
    let headers = [(header::LOCATION, next), (header::SET_COOKIE, cookie)];
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}

/// Where the provider sends the browser back to.
#[utoipa::path(get, path = "/login/oidc/{provider}/callback", operation_id = "finish_oidc_login", tag = "oidc",
    params(("provider" = String, Path), Back), security(()), responses((status = 303), Refusals))]
pub(super) async fn callback(
    State(app): State<Arc<App>>,
    Named(provider): Named<String>,
    Asked(query): Asked<Back>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let now = app.now();
    let waiting = query.state.and_then(|state| app.oidc.pending.lock().take_browser(&state, now));
    let shown = cookie(&headers).map(|cookie| secret::digest(&cookie));
    // The same answer for each, so that nobody learns which of them was right.
    let waiting = waiting.filter(|waiting| {
        waiting.at.provider == provider && shown.is_some_and(|shown| secret::same(&shown, &waiting.cookie))
    });
    let waiting = waiting.ok_or_else(|| refused("no login waits for this in this browser: begin again"))?;
    let client = client_of(&app, waiting.at.clone()).await?;
    if query.iss.is_some_and(|issuer| issuer != client.provider.issuer) {
        return Err(refused("the answer is of another provider: begin again"));
    }
    if let Some(error) = query.error {
        let error: String = error.chars().filter(|c| c.is_ascii_graphic()).take(100).collect();
        return Err(refused(&format!("the provider refused: {error}")));
    }
    let code = query.code.ok_or_else(|| refused("the provider sent no code: begin again"))?;
    let (oidc, Browser { at, nonce, verifier, return_to, challenge, .. }) = (app.oidc.clone(), waiting);
    let asked = app.oidc.ask(move || client.redeem(&oidc, &code, (&verifier, &nonce), now));
    let ticket = new_ticket(&app, Ticket { at, person: asked.await?, challenge })?;
    let next = ReturnTo::parse(&return_to).ok_or_else(|| refused("begin again"))?.with_ticket(&ticket);
    let gone = format!("{COOKIE}=; Path=/api/v1/login/oidc/{provider}; Max-Age=0; HttpOnly; SameSite=Lax");
    let headers = [(header::LOCATION, next), (header::SET_COOKIE, gone)];
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}

/// Begin a login by a code that is typed in any browser (RFC 8628).
#[utoipa::path(post, path = "/login/oidc/{provider}/device", operation_id = "start_oidc_device_login", tag = "oidc",
    params(("provider" = String, Path)), request_body = OidcDevice, security(()),
    responses((status = 200, body = OidcDeviceStarted), Refusals))]
pub(super) async fn device(
    State(app): State<Arc<App>>,
    Named(provider): Named<String>,
    body: Json<OidcDevice>,
) -> Result<JsonBody<OidcDeviceStarted>, Refusal> {
    let (at, client) = client(&app, body.value.project.as_deref(), &provider).await?;
    let (now, oidc) = (app.now(), app.oidc.clone());
    let code = app.oidc.ask(move || client.device_code(&oidc, now)).await?;
    let [login] = random()?;
    let interval_s = code.interval_s();
    let life = std::time::Duration::from_secs(code.expires_in).min(limit::LOGIN_PENDING);
    let challenge = body.value.challenge;
    let next_at = now.plus(std::time::Duration::from_secs(interval_s));
    let waiting = Device { at, device_code: code.device_code, interval_s, next_at, challenge };
    app.oidc.pending.lock().put_device(&login, waiting, now.plus(life), now)?;
    Ok(JsonBody(OidcDeviceStarted {
        login,
        user_code: code.user_code,
        verification_uri: code.verification_uri,
        verification_uri_complete: code.verification_uri_complete,
        interval_s,
        expires_in_s: life.as_secs(),
    }))
}

/// Has the person typed it? The answer holds a ticket once he has.
#[utoipa::path(post, path = "/login/oidc/poll", operation_id = "poll_oidc_login", tag = "oidc",
    request_body = OidcPoll, security(()), responses((status = 200, body = OidcPolled), Refusals))]
pub(super) async fn poll(State(app): State<Arc<App>>, body: Json<OidcPoll>) -> Result<JsonBody<OidcPolled>, Refusal> {
    let (now, login) = (app.now(), body.value.login);
    let due = app.oidc.pending.lock().due_device(&login, now);
    let device = match due {
        Due::Unknown => return Err(refused("no such login waits: it has ended, begin again")),
        Due::Later(interval_s) => return Ok(JsonBody(OidcPolled { ticket: None, interval_s })),
        Due::Now(device) => device,
    };
    let client = client_of(&app, device.at.clone()).await?;
    let (oidc, device_code, interval_s) = (app.oidc.clone(), device.device_code, device.interval_s);
    let person = match app.oidc.ask(move || client.typed(&oidc, &device_code, now)).await {
        Ok(Typed::NotYet) => return Ok(JsonBody(OidcPolled { ticket: None, interval_s })),
        Ok(Typed::SlowDown) => {
            app.oidc.pending.lock().slow_down(&login);
            return Ok(JsonBody(OidcPolled { ticket: None, interval_s: interval_s + 5 }));
        }
        // It may answer the next time.
        Err(away @ OidcError::Unreachable { .. }) => return Err(away.into()),
        Err(over) => {
            let _ = app.oidc.pending.lock().take_device(&login, now);
            return Err(over.into());
        }
        Ok(Typed::Done(person)) => person,
    };
    let done = app.oidc.pending.lock().take_device(&login, now);
    let device = done.ok_or_else(|| refused("no such login waits: it has ended, begin again"))?;
    let ticket = new_ticket(&app, Ticket { at: device.at, person, challenge: device.challenge })?;
    Ok(JsonBody(OidcPolled { ticket: Some(ticket), interval_s }))
}

/// Redeem a ticket: the answer holds a token for half a day.
#[utoipa::path(post, path = "/login/oidc/redeem", operation_id = "redeem_oidc_login", tag = "oidc",
    request_body = OidcRedeem, security(()), responses((status = 200, body = LoggedIn), Refusals))]
pub(super) async fn redeem(State(app): State<Arc<App>>, body: Json<OidcRedeem>) -> Result<JsonBody<LoggedIn>, Refusal> {
    let (at, person) = taken(&app, &body.value.ticket, &body.value.verifier)?;
    let now = app.now();
    let tenant = app.table.tenant_by_id(at.project).ok_or_else(|| Refusal::not_found("the project is gone"))?;
    let logged_in = app.write(move |tx| oidc::log_in(tx, now, (at.project, &at.provider), &person)).await?;
    let (account, token, secret) = logged_in.map_err(|NoRole| {
        let detail = "the provider knows you, but none of your groups has a role in this project: ask its admin";
        Refusal::new(StatusCode::FORBIDDEN, "no_role", detail)
    })?;
    Ok(JsonBody(LoggedIn {
        token: secret,
        account: account.name,
        project: tenant.name.clone(),
        scopes: show::scopes(&token.permissions),
        expires_at: token.expires_at,
    }))
}

/// Make a provider's login one's own: from now on it opens the account that asks.
#[utoipa::path(post, path = "/login/oidc/link", operation_id = "link_oidc_login", tag = "oidc",
    request_body = OidcLink, responses((status = 204), Refusals))]
pub(super) async fn link(
    State(app): State<Arc<App>>,
    operator: Operator,
    body: Json<OidcLink>,
) -> Result<StatusCode, Refusal> {
    let OidcLink { ticket, verifier, password, code } = body.value;
    let hash = own_password(&app, &operator, password).await?;
    let (now, vault, actor) = (app.now(), app.vault.clone(), operator.actor.clone());
    let (project, account) = (operator.project(), operator.account);
    // A login that is linked opens the account without its second factor: whoever links shows it first.
    let shown = app.write(move |tx| {
        let account = tx.account_by_id(project, account)?;
        totp::show(tx, now, &vault, &account, code.as_deref())
    });
    let shown = shown.await?;
    if shown != Shown::Passed {
        return Err(unfactored(&shown, now));
    }
    let (at, person) = taken(&app, &ticket, &verifier)?;
    if at.project != operator.project() {
        return Err(refused("the login is for another project: begin again with --project"));
    }
    app.write(move |tx| oidc::link(tx, now, &actor, (&at.provider, &person), &hash)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn taken(app: &App, ticket: &str, verifier: &str) -> Result<(At, Person), Refusal> {
    let found = app.oidc.pending.lock().take_ticket(ticket, verifier, app.now());
    let found = found.ok_or_else(|| refused("the ticket was used, has ended, or is somebody else's: begin again"))?;
    Ok((found.at, found.person))
}

fn new_ticket(app: &App, ticket: Ticket) -> Result<String, Refusal> {
    let [name] = random()?;
    app.oidc.pending.lock().put_ticket(&name, ticket, app.now())?;
    Ok(name)
}

async fn client(app: &Arc<App>, project: Option<&str>, provider: &str) -> Result<(At, Client), Refusal> {
    // A project that isn't there looks like one without this provider.
    let tenant = app.table.tenant(project.unwrap_or(crate::start::PROJECT));
    let project = tenant.map_or(ProjectId(0), |tenant| tenant.id);
    let at = At { project, provider: provider.to_owned() };
    Ok((at.clone(), client_of(app, at).await?))
}

async fn client_of(app: &Arc<App>, at: At) -> Result<Client, Refusal> {
    let At { project, provider } = at;
    let provider = app.read::<_, StoreError>(move |view| view.oidc_provider(project, &provider)).await?;
    let purpose = oidc::purpose(project, &provider.name);
    let opened = provider.client_secret.as_ref().map(|sealed| app.vault.unseal(&purpose, sealed)).transpose();
    let secret = opened.map_err(FlowError::from)?;
    let secret = secret.map(|bytes| Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned()));
    Ok(Client { provider, secret })
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value.to_owned())
}

fn random<const N: usize>() -> Result<[String; N], Refusal> {
    let mut all = [const { String::new() }; N];
    for one in &mut all {
        *one = secret::generate("").map_err(FlowError::from)?;
    }
    Ok(all)
}

fn refused(detail: &str) -> Refusal {
    Refusal::unauthenticated("login_refused", detail)
}

impl From<OidcError> for Refusal {
    fn from(failed: OidcError) -> Self {
        match failed {
            OidcError::Unreachable { .. } | OidcError::Document { .. } => {
                warn!(error = %failed, "an issuer can't be asked: {failed}");
                Self::new(StatusCode::BAD_GATEWAY, "issuer_failed", failed.to_string())
            }
            OidcError::Refused(_) | OidcError::Token(_) => refused(&failed.to_string()),
            OidcError::Stopped => StoreError::Stopped.into(),
        }
    }
}

impl From<TooMany> for Refusal {
    fn from(too_many: TooMany) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", too_many.to_string())
            .with(header::RETRY_AFTER, axum::http::HeaderValue::from_static("60"))
    }
}
