//! `POST …/deploymentBase/{id}/feedback`: how far is the device?

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Bytes;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::{StatusCode, header};
use muster_domain::action::{CancelSaid, Progress, Said};
use muster_vocab::limit;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::caller::{Caller, action_id};
use super::refusal::Refusal;
use super::words::Feedback;
use crate::App;
use crate::flow::actions::{self, Word};

/// A device's JSON body, within its limits and in its time.
#[derive(Debug)]
pub(super) struct DeviceJson<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<App>> for DeviceJson<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Refusal> {
        if !is_json(&request) {
            return Err(Refusal::NotJson);
        }
        let bytes = bounded(request, app).await?;
        object(&bytes).map(Self)
    }
}

/// Serde would also read an object's fields from an array.
fn object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Refusal::Bad("the body is a JSON object".into()));
    }
    serde_json::from_slice(bytes).map_err(|bad| Refusal::Bad(format!("the body makes no sense: {bad}")))
}

/// The same where the body may be left out.
#[derive(Debug)]
pub(super) struct MaybeJson<T>(pub T);

impl<T: DeserializeOwned + Default> FromRequest<Arc<App>> for MaybeJson<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Refusal> {
        let is_json = is_json(&request);
        let bytes = bounded(request, app).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        if !is_json {
            return Err(Refusal::NotJson);
        }
        object(&bytes).map(Self)
    }
}

fn is_json(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json") || kind.eq_ignore_ascii_case("application/hal+json")
}

async fn bounded(request: Request, app: &Arc<App>) -> Result<Bytes, Refusal> {
    let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if declared.is_some_and(|bytes: u64| bytes > limit::DEVICE_BODY_BYTES_MAX as u64) {
        return Err(Refusal::TooLarge);
    }
    let request =
        request.map(|body| axum::body::Body::new(http_body_util::Limited::new(body, limit::DEVICE_BODY_BYTES_MAX)));
    let read = tokio::time::timeout(limit::BODY_READ_TIMEOUT, Bytes::from_request(request, app)).await;
    read.map_err(|_| Refusal::Bad("the body did not arrive in time".into()))?.map_err(|_| Refusal::TooLarge)
}

pub(super) async fn report(
    State(app): State<Arc<App>>,
    Path((_, _, id)): Path<(String, String, String)>,
    caller: Caller,
    DeviceJson(sent): DeviceJson<Feedback>,
) -> Result<StatusCode, Refusal> {
    app.counters.reports.fetch_add(1, Ordering::Relaxed);
    let said = said(&sent)?;
    let progress = sent.status.result.progress.as_ref().and_then(progress);
    let word = word(&caller, &id, sent)?;
    let (now, project) = (app.now(), caller.project());
    app.write(move |tx| actions::report(tx, now, project, word, (said, progress))).await?;
    Ok(StatusCode::OK)
}

/// What was reported, for the history and the flow.
pub(super) fn word(caller: &Caller, id: &str, sent: Feedback) -> Result<Word, Refusal> {
    let status = sent.status;
    Ok(Word {
        device: caller.polled.device,
        action: action_id(id)?,
        text: sentence(&status.execution, &status.result.finished).to_owned(),
        code: status.code.as_ref().and_then(code),
        messages: messages(status.details),
    })
}

/// Details may be missing, empty, or hold "" and things that are no strings.
pub(super) fn messages(details: Option<Vec<Value>>) -> Vec<String> {
    let texts = details.unwrap_or_default().into_iter().map(|detail| match detail {
        Value::String(text) => text,
        other => other.to_string(),
    });
    texts.filter(|text| !text.is_empty()).collect()
}

pub(super) fn code(code: &Value) -> Option<i32> {
    code.as_i64().and_then(|code| i32::try_from(code).ok())
}

fn said(sent: &Feedback) -> Result<Said, Refusal> {
    let failed = failed(sent)?;
    Ok(match sent.status.execution.as_str() {
        "closed" if failed => Said::Failed { words: last_words(sent) },
        // Also with `none`: clients leave the result open and mean success.
        "closed" => Said::Succeeded,
        "downloaded" => Said::Downloaded,
        "canceled" | "rejected" | "download" | "proceeding" | "scheduled" | "resumed" => Said::Working,
        other => return Err(unknown_execution(other)),
    })
}

/// What was said on the cancel channel. `canceled` is no answer to a cancel: the right one is closed and success.
pub(super) fn cancel_said(sent: &Feedback) -> Result<CancelSaid, Refusal> {
    let failed = failed(sent)?;
    Ok(match sent.status.execution.as_str() {
        "closed" if !failed => CancelSaid::Stopped,
        "closed" | "rejected" => CancelSaid::Refused,
        "canceled" | "download" | "downloaded" | "proceeding" | "scheduled" | "resumed" => CancelSaid::Working,
        other => return Err(unknown_execution(other)),
    })
}

fn failed(sent: &Feedback) -> Result<bool, Refusal> {
    match sent.status.result.finished.as_str() {
        "failure" => Ok(true),
        "success" | "none" => Ok(false),
        other => Err(Refusal::Bad(format!("finished is success, failure or none, not {other:?}"))),
    }
}

fn unknown_execution(execution: &str) -> Refusal {
    Refusal::Bad(format!("execution {execution:?} is unknown"))
}

/// The end of what it said: the reason is seldom in the very last line.
fn last_words(sent: &Feedback) -> String {
    const LINES: usize = 3;
    let details = sent.status.details.as_deref().unwrap_or_default();
    let spoken: Vec<&str> = details.iter().filter_map(Value::as_str).filter(|text| !text.trim().is_empty()).collect();
    let words = match (spoken.is_empty(), sent.status.code.as_ref().and_then(code)) {
        (false, _) => spoken[spoken.len().saturating_sub(LINES)..].join("; "),
        (true, Some(code)) => format!("code {code}"),
        (true, None) => String::new(),
    };
    words.chars().take(limit::MESSAGE_CHARS_MAX).collect()
}

fn progress(value: &Value) -> Option<Progress> {
    let number = |key: &str| value.get(key)?.as_u64();
    Some(Progress { done: number("cnt")?, of: number("of")? })
}

fn sentence(execution: &str, finished: &str) -> &'static str {
    match (execution, finished) {
        ("closed", "failure") => "reported failure",
        ("closed", _) => "reported success",
        ("download", _) => "downloads",
        ("downloaded", _) => "has downloaded",
        ("rejected", _) => "refused for now",
        ("canceled", _) => "reported itself canceled",
        ("scheduled", _) => "has scheduled it",
        ("resumed", _) => "has resumed it",
        _ => "works on it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feedback(execution: &str, finished: &str) -> Feedback {
        let text = format!(
            r#"{{"id":"","time":"x","status":{{"execution":"{execution}","result":{{"finished":"{finished}",
            "progress":[1]}},"details":["first","",  "last"],"code":4}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn every_execution_and_result_has_its_meaning() {
        for execution in ["canceled", "rejected", "download", "proceeding", "scheduled", "resumed"] {
            for finished in ["success", "failure", "none"] {
                assert_eq!(said(&feedback(execution, finished)).unwrap(), Said::Working);
            }
        }
        assert_eq!(said(&feedback("closed", "none")).unwrap(), Said::Succeeded);
        assert_eq!(said(&feedback("closed", "success")).unwrap(), Said::Succeeded);
        assert_eq!(said(&feedback("closed", "failure")).unwrap(), Said::Failed { words: "first; last".into() });
        assert_eq!(said(&feedback("downloaded", "success")).unwrap(), Said::Downloaded);
        assert!(said(&feedback("exploded", "none")).is_err());
        assert!(said(&feedback("closed", "maybe")).is_err());
    }

    #[test]
    fn a_cancel_is_answered_by_closed_and_success_only() {
        assert_eq!(cancel_said(&feedback("closed", "success")).unwrap(), CancelSaid::Stopped);
        assert_eq!(cancel_said(&feedback("closed", "failure")).unwrap(), CancelSaid::Refused);
        assert_eq!(cancel_said(&feedback("rejected", "none")).unwrap(), CancelSaid::Refused);
        assert_eq!(cancel_said(&feedback("canceled", "success")).unwrap(), CancelSaid::Working);
    }

    #[test]
    fn progress_of_any_shape_is_taken_or_ignored() {
        assert_eq!(progress(&serde_json::json!({ "cnt": 3, "of": 9 })), Some(Progress { done: 3, of: 9 }));
        assert_eq!(progress(&serde_json::json!(42)), None);
        assert_eq!(progress(&serde_json::json!({ "cnt": -1, "of": "x" })), None);
    }
}
