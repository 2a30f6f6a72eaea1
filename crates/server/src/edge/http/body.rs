//! How is a JSON body read? Bounded, in time, and refused by name where it is wrong.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use muster_vocab::limit;
use muster_vocab::nearest::nearest;
use serde::de::DeserializeOwned;

use super::problem::Refusal;
use crate::App;

/// A JSON body and the bytes it was read from.
#[derive(Debug)]
pub(super) struct Json<T> {
    pub value: T,
    pub bytes: Bytes,
}

impl<T: DeserializeOwned> FromRequest<Arc<App>> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Refusal> {
        check_content_type(&request)?;
        let bytes = read(request, app).await?;
        let value = parse(&bytes)?;
        Ok(Self { value, bytes })
    }
}

/// The same where the body may be left out.
#[derive(Debug)]
pub(super) struct MaybeJson<T>(pub T);

impl<T: DeserializeOwned + Default> FromRequest<Arc<App>> for MaybeJson<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Refusal> {
        let checked = check_content_type(&request);
        let bytes = read(request, app).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        checked?;
        parse(&bytes).map(Self)
    }
}

/// A query string whose unknown and wrong parameters are refused.
#[derive(Debug)]
pub(super) struct Asked<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Arc<App>> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        match Query::<T>::from_request_parts(parts, app).await {
            Ok(Query(query)) => Ok(Self(query)),
            Err(bad) => Err(Refusal::bad(
                "query",
                hinted(&std::error::Error::source(&bad).map_or_else(|| bad.to_string(), ToString::to_string)),
            )),
        }
    }
}

/// Names in the path; what is no UTF-8 names nothing.
#[derive(Debug)]
pub(super) struct Named<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<App>> for Named<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let found = Path::<T>::from_request_parts(parts, app).await;
        found.map(|Path(named)| Self(named)).map_err(|_| Refusal::not_found("there is nothing under this address"))
    }
}

fn check_content_type(request: &Request) -> Result<(), Refusal> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let is_json =
        kind.eq_ignore_ascii_case("application/json") || kind.eq_ignore_ascii_case("application/merge-patch+json");
    if is_json {
        return Ok(());
    }
    Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", "send Content-Type: application/json"))
}

pub(super) async fn read(request: Request, app: &Arc<App>) -> Result<Bytes, Refusal> {
    let request =
        request.map(|body| axum::body::Body::new(http_body_util::Limited::new(body, limit::API_BODY_BYTES_MAX)));
    let read = tokio::time::timeout(limit::BODY_READ_TIMEOUT, Bytes::from_request(request, app)).await;
    let late = || Refusal::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "the body did not arrive in time");
    let large = || {
        let most = limit::API_BODY_BYTES_MAX;
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", format!("a body has at most {most} bytes"))
    };
    read.map_err(|_| late())?.map_err(|_| large())
}

/// The request with its whole body, if that is small and its length is told.
pub(super) async fn taken(request: Request) -> Result<Request, Refusal> {
    let told = request.headers().get(header::CONTENT_LENGTH).and_then(|told| told.to_str().ok()?.parse::<u64>().ok());
    if !told.is_some_and(|told| (1..=limit::BODY_TAKEN_FIRST_BYTES).contains(&told)) {
        return Ok(request);
    }
    let (parts, body) = request.into_parts();
    // As long as was told: the connection sees to that.
    let taken = tokio::time::timeout(limit::BODY_READ_TIMEOUT, axum::body::to_bytes(body, usize::MAX)).await;
    let bytes = taken
        .map_err(|_| Refusal::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "the body did not arrive in time"))?
        .map_err(|_| Refusal::bad("body", "the body ended before it was whole"))?;
    Ok(Request::from_parts(parts, bytes.into()))
}

/// Serde would also read an object's fields from an array; the document promises objects only.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Refusal::bad("body", "the body is a JSON object: { … }"));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = T::deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    value.map_err(|bad| Refusal::bad("body", hinted(&bad.to_string())))
}

/// Serde lists the known names; the nearest is what was meant.
fn hinted(message: &str) -> String {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let is_unknown = message.starts_with("unknown field") || message.starts_with("unknown variant");
    match quoted.split_first() {
        Some((wrong, known)) if is_unknown => match nearest(wrong, known.iter().copied()) {
            Some(near) => format!("{message}; did you mean `{near}`?"),
            None => message.to_owned(),
        },
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use muster_wire::device::{DeviceCreate, DevicePatch};

    use super::*;

    #[test]
    fn an_unknown_field_is_refused_with_the_nearest_known_one() {
        let refused = parse::<DeviceCreate>(br#"{"name":"a","lables":{}}"#).unwrap_err();
        assert!(format!("{refused:?}").contains("did you mean `labels`?"), "{refused:?}");
    }

    #[test]
    fn a_list_of_values_is_no_object() {
        for text in ["[]", "[{}]", " [\"a\",{}]"] {
            assert!(parse::<DevicePatch>(text.as_bytes()).is_err(), "{text}");
            assert!(parse::<DeviceCreate>(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn malformed_truncated_and_trailing_json_is_refused() {
        for text in ["", "{", "{\"name\":\"a\"} x", "[]", "[\"a\",{}]", "null", "{\"name\":1}"] {
            assert!(parse::<DeviceCreate>(text.as_bytes()).is_err(), "{text}");
        }
    }
}
