//! Enrolment over Secure Transport (RFC 7030), for devices and tools that speak it: the same authority and the same
//! enrolment policy as `/device/v1/join`.
//!
//! The label in the path is the project's name; without one it is `default`. Who has no certificate yet shows a join
//! token by HTTP Basic: the device's name as user, the token as password. Bodies are base64 (RFC 8951).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use muster_domain::device::DeviceState;
use muster_trust::authority::request::{REQUEST_BYTES_MAX, Request as CertificateRequest};
use muster_trust::authority::{pem, pkcs7};
use muster_trust::secret;
use muster_vocab::limit;

use crate::App;
use crate::edge::http::problem::Refusal;
use crate::edge::peer::{Peer, Shown};
use crate::flow::identity;
use crate::flow::join::{self, Joined, Joining, Proof};
use crate::start::PROJECT;
use crate::table::Tenant;

const ENCODING: HeaderName = HeaderName::from_static("content-transfer-encoding");
/// While a person has not accepted the device.
const RETRY: Duration = Duration::from_secs(60);

pub fn routes(app: &Arc<App>) -> Router {
    Router::new()
        .route("/.well-known/est/cacerts", get(authorities))
        .route("/.well-known/est/csrattrs", get(attributes))
        .route("/.well-known/est/simpleenroll", post(enroll))
        .route("/.well-known/est/simplereenroll", post(renew))
        .route("/.well-known/est/{label}/cacerts", get(authorities))
        .route("/.well-known/est/{label}/csrattrs", get(attributes))
        .route("/.well-known/est/{label}/simpleenroll", post(enroll))
        .route("/.well-known/est/{label}/simplereenroll", post(renew))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(app.clone())
}

/// Which project is meant, and who asks, over TLS only.
struct Asked {
    project: String,
    peer: Peer,
    headers: HeaderMap,
}

impl FromRequestParts<Arc<App>> for Asked {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let label = Path::<String>::from_request_parts(parts, app).await.ok().map(|Path(label)| label);
        let peer = Peer::of(parts).filter(|peer| peer.is_tls).cloned();
        let peer = peer.ok_or_else(|| {
            Refusal::new(StatusCode::FORBIDDEN, "needs_tls", "EST is spoken over HTTPS: use the server's TLS address")
        })?;
        Ok(Self { project: label.unwrap_or_else(|| PROJECT.to_owned()), peer, headers: parts.headers.clone() })
    }
}

/// RFC 7030 4.1.
async fn authorities(State(app): State<Arc<App>>, _: Asked) -> Response {
    certificates(&app.identity.chain())
}

/// RFC 7030 4.5.
async fn attributes(_: Asked) -> Response {
    let body = STANDARD.encode(pkcs7::request_attributes());
    ([(header::CONTENT_TYPE, "application/csrattrs")], [(ENCODING, "base64")], body).into_response()
}

/// RFC 7030 4.2.1.
async fn enroll(State(app): State<Arc<App>>, asked: Asked, request: Request) -> Result<Response, Refusal> {
    let outcome = let_in(&app, &asked, request).await;
    if outcome.is_err() {
        app.counters.refused.fetch_add(1, Ordering::Relaxed);
    }
    outcome
}

async fn let_in(app: &Arc<App>, asked: &Asked, request: Request) -> Result<Response, Refusal> {
    let tenant = app.table.tenant(&asked.project).ok_or_else(unknown)?;
    let (device, proof) = shown(app, asked, &tenant).await?;
    let wanted = read(request, app).await?;
    let (now, project) = (app.now(), tenant.id);
    let joining = Joining {
        device: device.clone(),
        proof,
        key: Some(wanted.key_digest()),
        attributes: Default::default(),
        was_seen: tenant.last_seen(&device).is_some(),
        by_est: true,
        address: Some(asked.peer.address.ip()),
    };
    match app.write(move |tx| join::join(tx, now, project, joining)).await? {
        Joined::Certificate => issue(app, &wanted, (&tenant.name, &device)),
        Joined::Waits | Joined::Token(_) => {
            let retry = HeaderValue::from(RETRY.as_secs());
            Ok((StatusCode::ACCEPTED, [(header::RETRY_AFTER, retry)]).into_response())
        }
    }
}

/// By a join token, a key that was announced, or a certificate of an authority that the project believes.
async fn shown(app: &App, asked: &Asked, tenant: &Tenant) -> Result<(String, Proof), Refusal> {
    if let Some((device, token)) = basic(&asked.headers) {
        return Ok((device, Proof::Secret(secret::digest(&token))));
    }
    if let Some((project, name)) = asked.peer.foreign(app)
        && project == tenant.id
    {
        return Ok((name.to_owned(), Proof::Authority));
    }
    let key = asked.peer.certificate(app).map(|shown| shown.leaf.key).ok_or_else(unknown)?;
    let project = tenant.id;
    let claim = app.read::<_, muster_store::StoreError>(move |view| view.claim_by_key(project, &key)).await?;
    claim.map(|claim| (claim.name, Proof::Claimed(key))).ok_or_else(unknown)
}

/// RFC 7030 4.2.2: the device shows the certificate that it renews.
async fn renew(State(app): State<Arc<App>>, asked: Asked, request: Request) -> Result<Response, Refusal> {
    let (project, device) = asked.peer.named(&app).ok_or_else(unknown)?;
    let tenant = app.table.tenant(&project).ok_or_else(unknown)?;
    let polled = tenant.look(&device, app.now()).ok_or_else(unknown)?;
    if matches!(polled.state, DeviceState::Rejected | DeviceState::Quarantined) || polled.state.has_left() {
        return Err(unknown());
    }
    if !matches!(asked.peer.shows(&app, &tenant, &device, &polled).await, Shown::Device | Shown::Over) {
        return Err(unknown());
    }
    let wanted = read(request, &app).await?;
    let (now, of, key) = (app.now(), (tenant.id, polled.device), wanted.key_digest());
    app.write(move |tx| identity::renew(tx, now, of, key)).await?;
    issue(&app, &wanted, (&tenant.name, &device))
}

fn issue(app: &App, request: &CertificateRequest, name: (&str, &str)) -> Result<Response, Refusal> {
    let issued = app.identity.issue_device(request, name, app.now()).map_err(|failed| Refusal::internal(&failed))?;
    // RFC 7030 4.2.3: the device's certificate alone; its issuers come from /cacerts.
    let own = pem::ders(&issued.chain).into_iter().take(1).map(|der| pem::certificate(&der)).collect::<String>();
    Ok(certificates(&own))
}

/// One line: strongSwan takes no breaks.
fn certificates(text: &str) -> Response {
    let body = STANDARD.encode(pkcs7::certificates(&pem::ders(text)));
    let kind = "application/pkcs7-mime; smime-type=certs-only";
    ([(header::CONTENT_TYPE, kind)], [(ENCODING, "base64")], body).into_response()
}

async fn read(request: Request, app: &Arc<App>) -> Result<CertificateRequest, Refusal> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/pkcs10") {
        let detail = "send a certificate request as Content-Type: application/pkcs10";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_pkcs10", detail));
    }
    let large = || Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "certificate requests are shorter");
    let late = || Refusal::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "the body did not arrive in time");
    let request = request.map(|body| Body::new(http_body_util::Limited::new(body, REQUEST_BYTES_MAX)));
    let read = tokio::time::timeout(limit::BODY_READ_TIMEOUT, Bytes::from_request(request, app)).await;
    let bytes = read.map_err(|_| late())?.map_err(|_| large())?;
    CertificateRequest::parse(&bytes).map_err(|bad| Refusal::bad("request", bad.to_string()))
}

/// User and password of `Authorization: Basic`.
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok())?;
    let (kind, text) = shown.split_once(' ')?;
    let text = STANDARD.decode(text.trim()).ok().filter(|_| kind.eq_ignore_ascii_case("basic"))?;
    let text = String::from_utf8(text).ok()?;
    text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}

/// RFC 7030 3.2.3: the client may try again with a user and a password.
fn unknown() -> Refusal {
    let detail = "show a join token by HTTP Basic (user: the device's name), or a certificate that is believed";
    Refusal::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
        .with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"muster\""))
}
