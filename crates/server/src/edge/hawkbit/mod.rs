//! hawkBit DDI v1: devices that were in the field before Muster.
//!
//! hawkBit's words stay in this folder. Contract: docs/ddi.md. Here requests are read, checked, and turned into flows;
//! nothing is decided.

mod artifacts;
mod caller;
mod cancel;
mod config_data;
mod confirmation;
mod deployment;
mod feedback;
mod refusal;
mod root;
mod words;

use std::sync::Arc;

use axum::Router;
use axum::http::request::Parts;
use axum::http::{Method, Request};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};

use crate::App;

/// Is it a plain poll, `GET /{tenant}/controller/v1/{controllerId}`? The router gives the same answer, slower.
pub fn is_poll<B>(request: &Request<B>) -> bool {
    let mut parts = request.uri().path().split('/').skip(1);
    let is_root = parts.next().is_some_and(|tenant| !tenant.is_empty())
        && parts.next() == Some("controller")
        && parts.next() == Some("v1")
        && parts.next().is_some_and(|name| !name.is_empty())
        && parts.next().is_none();
    is_root && request.method() == Method::GET
}

/// Answers a plain poll.
pub async fn poll(app: &Arc<App>, mut parts: Parts) -> Response {
    match caller::identify_counted(&mut parts, app).await {
        Ok(caller) => root::answer_poll(app, &caller, &parts.headers).unwrap_or_else(IntoResponse::into_response),
        Err(refusal) => refusal.into_response(),
    }
}

/// Too much of what comes from an address is refused.
pub(super) fn too_many() -> Response {
    refusal::Refusal::TooMany.into_response()
}

pub fn routes(app: &Arc<App>) -> Router {
    const R: &str = "/{tenant}/controller/v1/{controller}";
    let at = |rest: &str| format!("{R}{rest}");
    Router::new()
        .route(R, get(root::poll))
        .route(&at("/configData"), put(config_data::report))
        .route(&at("/deploymentBase/{action}"), get(deployment::fetch))
        .route(&at("/deploymentBase/{action}/feedback"), post(feedback::report))
        .route(&at("/installedBase/{action}"), get(deployment::installed))
        .route(&at("/cancelAction/{action}"), get(cancel::read))
        .route(&at("/cancelAction/{action}/feedback"), post(cancel::report))
        .route(&at("/confirmationBase"), get(confirmation::state))
        .route(&at("/confirmationBase/activateAutoConfirm"), post(confirmation::activate))
        .route(&at("/confirmationBase/deactivateAutoConfirm"), post(confirmation::deactivate))
        .route(&at("/confirmationBase/{action}"), get(confirmation::read))
        .route(&at("/confirmationBase/{action}/feedback"), post(confirmation::report))
        .route(&at("/softwaremodules/{module}/artifacts"), get(artifacts::list))
        .route(&at("/softwaremodules/{module}/artifacts/{file}"), get(artifacts::download))
        .with_state(app.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_poll_of(method: Method, path: &str) -> bool {
        let request = Request::builder().method(method).uri(path).body(()).unwrap();
        is_poll(&request)
    }

    #[test]
    fn only_the_root_of_a_device_is_a_poll() {
        assert!(is_poll_of(Method::GET, "/default/controller/v1/sn-1"));
        assert!(is_poll_of(Method::GET, "/default/controller/v1/sn%2F1?x=1"));
        for path in [
            "/default/controller/v1/",
            "/default/controller/v1/sn-1/configData",
            "/api/v1/devices/a",
            "/",
            "//controller/v1/x",
        ] {
            assert!(!is_poll_of(Method::GET, path), "{path}");
        }
        assert!(!is_poll_of(Method::HEAD, "/default/controller/v1/sn-1"));
    }
}
