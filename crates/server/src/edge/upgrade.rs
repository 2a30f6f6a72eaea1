//! Does a request want to become a remote session? HTTP/1.1 Upgrade (RFC 9110, section 7.8).

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;

/// The protocol's name in both headers.
const PROTOCOL: &str = "muster-session";

/// The way to the connection's bytes, if the request asks for it.
#[derive(Debug)]
pub(super) struct Upgrade(pub Option<OnUpgrade>);

impl<S: Sync> FromRequestParts<S> for Upgrade {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let asked =
            lists(&parts.headers, header::CONNECTION, "upgrade") && lists(&parts.headers, header::UPGRADE, PROTOCOL);
        Ok(Self(if asked { parts.extensions.remove::<OnUpgrade>() } else { None }))
    }
}

fn lists(headers: &HeaderMap, name: header::HeaderName, wanted: &str) -> bool {
    let words =
        headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok()).flat_map(|all| all.split(','));
    words.into_iter().any(|word| word.trim().eq_ignore_ascii_case(wanted))
}

/// From here on the connection carries the session's bytes.
pub(super) fn switching() -> Response {
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::UPGRADE, HeaderValue::from_static(PROTOCOL)),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}
