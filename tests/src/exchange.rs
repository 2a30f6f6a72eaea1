//! One HTTP exchange, without opinion: whatever status comes back is an answer.

use std::fmt;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use ureq::http::{HeaderMap, Method, Request, StatusCode};

/// No honest answer takes longer.
const TIMEOUT: Duration = Duration::from_secs(60);
/// More than any artifact of the tests.
const BODY_BYTES_MAX: u64 = 256 * 1024 * 1024;

#[derive(Debug, Clone)]
pub struct Answer {
    /// What was asked, for messages.
    pub asked: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// What travels with a request.
#[derive(Debug, Clone, Copy)]
pub enum Payload<'a> {
    None,
    Json(&'a Value),
    /// Content type and bytes.
    Bytes(&'a str, &'a [u8]),
}

/// Asks once.
pub fn exchange(
    agent: &ureq::Agent,
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    payload: Payload<'_>,
) -> anyhow::Result<Answer> {
    let asked = format!("{method} {url}");
    let mut request = Request::builder().method(Method::from_bytes(method.as_bytes())?).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let sent = match payload {
        Payload::None if method == "POST" || method == "PUT" || method == "PATCH" => {
            agent.run(request.body(Vec::new())?)
        }
        Payload::None => agent.run(request.body(())?),
        Payload::Json(body) => {
            agent.run(request.header("content-type", "application/json").body(serde_json::to_vec(body)?)?)
        }
        Payload::Bytes("", bytes) => agent.run(request.body(bytes.to_vec())?),
        Payload::Bytes(kind, bytes) => agent.run(request.header("content-type", kind).body(bytes.to_vec())?),
    };
    let mut response = sent.with_context(|| asked.clone())?;
    let body = response.body_mut().with_config().limit(BODY_BYTES_MAX).read_to_vec().with_context(|| asked.clone())?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Answer { asked, status, headers, body })
}

/// An HTTP client that takes refusals as answers and follows nothing by itself.
#[must_use]
pub fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .allow_non_standard_methods(true)
        .timeout_global(Some(TIMEOUT))
        .build()
        .into()
}

impl Answer {
    /// # Panics
    /// If the status is another one; the message holds the whole answer.
    #[track_caller]
    #[must_use]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }

    /// # Panics
    /// If the body is no JSON.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(bad) => panic!("no JSON ({bad}) in {self}"),
        }
    }

    /// A member of the JSON body by JSON pointer; null if it is missing.
    #[track_caller]
    #[must_use]
    pub fn at(&self, pointer: &str) -> Value {
        self.json().pointer(pointer).cloned().unwrap_or(Value::Null)
    }

    /// The stable code of a problem document, or nothing.
    #[must_use]
    pub fn code(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }

    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[must_use]
    pub fn is_success(&self) -> bool {
        StatusCode::from_u16(self.status).is_ok_and(|status| status.is_success())
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: String = self.text().chars().take(2000).collect();
        write!(f, "{} → {} {text}", self.asked, self.status)
    }
}
