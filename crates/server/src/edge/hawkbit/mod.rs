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
use axum::routing::{get, post, put};

use crate::App;

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
