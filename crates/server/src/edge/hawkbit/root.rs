//! `GET /{tenant}/controller/v1/{controllerId}`: what shall the device do next?
//!
//! The hot path: answered from the device table, without disk or lock.

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use muster_domain::standing::Link;

use super::caller::Caller;
use super::refusal::Refusal;
use super::words::{Href, Poll, PollLinks};
use crate::App;

pub(super) async fn poll(State(app): State<Arc<App>>, caller: Caller, headers: HeaderMap) -> Result<Response, Refusal> {
    answer_poll(&app, &caller, &headers)
}

pub(super) fn answer_poll(app: &App, caller: &Caller, headers: &HeaderMap) -> Result<Response, Refusal> {
    app.counters.polls.fetch_add(1, Ordering::Relaxed);
    let body = serde_json::to_vec(&answer(caller)).map_err(|_| Refusal::Internal)?;
    let etag = etag(&body);
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == etag.as_bytes());
    let mut response = Response::new(if known { Body::empty() } else { Body::from(body) });
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/hal+json"));
    }
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    Ok(response)
}

fn answer(caller: &Caller) -> Poll {
    let (polled, address) = (&caller.polled, &caller.address);
    let mut links = PollLinks::default();
    match polled.link {
        Link::Nothing => {}
        Link::Deployment { action, tag, .. } => {
            // hawkBit's SDK cuts the id between the last '/' and the '?', so the query has to be there.
            links.deployment_base = Some(Href::new(address.link(format_args!("deploymentBase/{action}?c={tag}"))));
        }
        Link::Cancel { action } => {
            links.cancel_action = Some(Href::new(address.link(format_args!("cancelAction/{action}"))));
        }
        Link::Confirmation { action } => {
            links.confirmation_base = Some(Href::new(address.link(format_args!("confirmationBase/{action}?c=1"))));
        }
    }
    if let Some(action) = polled.installed {
        links.installed_base = Some(Href::new(address.link(format_args!("installedBase/{action}?c=1"))));
    }
    if polled.attributes_requested {
        links.config_data = Some(Href::new(address.link(format_args!("configData"))));
    }
    Poll::new(polled.sleep_s, links)
}

fn etag(body: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(body);
    format!("\"{:016x}\"", hasher.finish())
}
