//! `POST /device/v1/reports`: what does the device say?
//!
//! Each report is understood by itself: one that this server does not know is skipped, so that a newer agent is never
//! stuck behind it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use muster_domain::action::{CancelSaid, Progress, Said as DomainSaid};
use muster_vocab::{Timestamp, limit};
use muster_wire::agent::{ActionSaid, ActionState, Counters, DISTRUSTED, Said, Taken};
use serde::Deserialize;
use serde_json::Value;

use super::body::DeviceJson;
use super::caller::Caller;
use super::twin;
use crate::App;
use crate::edge::http::problem::Refusal;
use crate::edge::peer::Peer;
use crate::flow::reports::{self, Answer, Batch, News, Report, Told};

/// `muster_wire::agent::Reports`, its reports not understood yet.
#[derive(Debug, Deserialize)]
pub(super) struct Sent {
    queue: String,
    reports: Vec<Value>,
    #[serde(default)]
    counters: Option<Counters>,
}

pub(super) async fn take(
    State(app): State<Arc<App>>,
    caller: Caller,
    Extension(peer): Extension<Peer>,
    DeviceJson(sent): DeviceJson<Sent, { limit::REPORTS_BYTES_MAX }>,
) -> Result<Json<Taken>, Refusal> {
    let Sent { queue, reports, counters } = sent;
    let most = limit::QUEUE_NAME_CHARS_MAX;
    if queue.is_empty() || queue.chars().count() > most {
        return Err(Refusal::bad("queue", format!("a queue's name has 1 to {most} characters")));
    }
    let most = limit::REPORTS_PER_BATCH_MAX;
    if reports.len() > most {
        let detail = format!("a batch has at most {most} reports: send the rest afterwards");
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many", detail));
    }
    app.counters.reports.fetch_add(reports.len() as u64, Ordering::Relaxed);
    let reports = reports.into_iter().map(understand).collect::<Result<Vec<_>, _>>()?;
    let (now, project) = (app.now(), caller.project());
    let batch = Batch {
        device: caller.polled.device,
        queue,
        reports,
        counters: counters.map(|Counters { taken, boots }| Told { taken, boots, connected_at: peer.since }),
    };
    let through = app.write(move |tx| reports::take(tx, now, project, batch)).await?;
    Ok(Json(Taken { through }))
}

fn understand(sent: Value) -> Result<Report, Refusal> {
    let sequence = sent.get("sequence").and_then(Value::as_u64).filter(|it| *it > 0 && i64::try_from(*it).is_ok());
    let sequence = sequence.ok_or_else(|| Refusal::bad("sequence", "each report has a sequence, from 1 upwards"))?;
    let at = sent.get("at").and_then(Value::as_str).and_then(|at| Timestamp::parse(at).ok());
    let news = match Said::deserialize(sent) {
        Ok(Said::Action(said)) => action(said),
        Ok(Said::Attributes(said)) => News::Attributes { all: said.all, set: said.set, removed: said.removed },
        Ok(Said::Configuration(said)) => News::Configuration(twin::configuration_said(said)),
        Ok(Said::Command(said)) => News::Command(twin::command_said(said)),
        Err(bad) => News::Unknown(format!("it makes no sense: {bad}")),
    };
    Ok(Report { sequence, at, news })
}

fn action(said: ActionSaid) -> News {
    let ActionSaid { action, state, messages, progress } = said;
    let progress = progress.map(|progress| Progress { done: progress.done, of: progress.of });
    let working = Answer::Progress(DomainSaid::Working, progress);
    let failed = |otherwise: &str| DomainSaid::Failed { words: last_words(&messages, otherwise) };
    let (answer, text) = match state {
        ActionState::Accepted => (working, "accepted it"),
        ActionState::Downloading => (working, "downloads"),
        ActionState::Downloaded => (Answer::Progress(DomainSaid::Downloaded, progress), "has downloaded"),
        ActionState::Staged => (working, "has staged it"),
        ActionState::AwaitingRestart => (working, "waits for its restart"),
        ActionState::TrialBoot => (working, "runs it on trial"),
        ActionState::Committed => (Answer::Progress(DomainSaid::Installed, progress), "runs it and keeps it"),
        ActionState::Reverted => {
            (Answer::Progress(failed("the device went back by itself"), progress), "went back to what it ran before")
        }
        ActionState::Failed => (Answer::Progress(failed(""), progress), "reported failure"),
        ActionState::Canceled => (Answer::Cancel(CancelSaid::Stopped), "stopped it"),
        ActionState::CancelRefused => (Answer::Cancel(CancelSaid::Refused), "can't stop it any more"),
        ActionState::Consented => (Answer::Consent(true), "consented"),
        ActionState::Denied => (Answer::Consent(false), "denied consent"),
    };
    let distrust = messages.iter().find_map(|line| line.strip_prefix(DISTRUSTED)).map(str::to_owned);
    News::Action { action, answer, text: text.to_owned(), messages, distrust }
}

/// The end of what it said: the reason is seldom in the very last line.
fn last_words(messages: &[String], otherwise: &str) -> String {
    const LINES: usize = 3;
    let spoken: Vec<&str> = messages.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect();
    let words = spoken[spoken.len().saturating_sub(LINES)..].join("; ");
    let words = if words.is_empty() { otherwise.to_owned() } else { words };
    words.chars().take(limit::MESSAGE_CHARS_MAX).collect()
}
