//! How is the server itself?

use std::sync::Arc;

use axum::Router;

use crate::App;

pub fn routes(app: &Arc<App>) -> Router {
    Router::new().with_state(app.clone())
}
