//! Muster's own agent, under `/device/v1`.
//!
//! The messages are `muster_wire::agent`, the contract is docs/agent-api.md. Here requests are read, checked, and turned
//! into flows; nothing is decided. Refusals are problem documents (RFC 9457) as on the operator API.

mod actions;
mod artifacts;
mod body;
mod caller;
mod certificate;
mod departure;
mod join;
mod metadata;
mod orders;
mod reports;
mod secrets;
mod sessions;
mod tpm;
mod twin;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::{any, get, post};

use crate::App;
use crate::edge::http::problem::Refusal;

pub fn routes(app: &Arc<App>) -> Router {
    Router::new()
        .route("/device/v1/join", post(join::join))
        .route("/device/v1/certificate", post(certificate::renew))
        .route("/device/v1/wipe", get(departure::order).post(departure::begin))
        .route("/device/v1/wipe/done", post(departure::done))
        .route("/device/v1/transfer", post(departure::follow))
        .route("/device/v1/root", get(certificate::root))
        .route("/device/v1/orders", get(orders::orders))
        .route("/device/v1/actions/{action}", get(actions::fetch))
        .route("/device/v1/artifacts/{digest}", get(artifacts::download))
        .route("/device/v1/artifacts/{digest}/compressed", get(artifacts::download_compressed))
        .route("/device/v1/artifacts/{digest}/from/{from}", get(artifacts::download_delta))
        .route("/device/v1/metadata/{name}", get(metadata::fetch))
        .route("/device/v1/reports", post(reports::take))
        .route("/device/v1", any(nothing))
        .route("/device/v1/", any(nothing))
        .route("/device/v1/configuration", get(twin::configuration))
        .route("/device/v1/secrets", post(secrets::answer))
        .route("/device/v1/sessions/{session}", get(sessions::connect))
        .route("/device/v1/{*rest}", any(nothing))
        .method_not_allowed_fallback(wrong_method)
        // Bodies are bounded where they are read.
        .layer(DefaultBodyLimit::disable())
        .layer(map_response(sign))
        .with_state(app.clone())
}

/// On each answer, so that a device tells a Muster server from whoever else answers on the way, and nobody on the way
/// keeps an answer for later.
async fn sign(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert("muster-protocol", HeaderValue::from_static("1"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn nothing() -> Refusal {
    Refusal::not_found("there is nothing under this address; docs/agent-api.md lists what is")
}

async fn wrong_method() -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", "this address does not take this method")
}
