//! What changed, as it changes: server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use muster_store::StoreError;
use muster_store::events::EventRow;
use muster_vocab::{ProjectId, RolloutId};
use muster_wire::event::{Event, EventQuery};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::auth::Operator;
use super::body::Asked;
use super::problem::{Refusal, Refusals};
use crate::App;

/// What events are of.
const KINDS: [&str; 9] =
    ["rollout", "action", "device", "release", "artifact", "channel", "configuration", "command", "session"];
/// Events read at a time.
const BATCH: u32 = 500;
/// Events waiting for a slow client; the rest waits in the store.
const WAITING: usize = 64;
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Whose events, and which.
#[derive(Debug)]
struct Watch {
    project: ProjectId,
    kinds: Vec<String>,
    rollout: Option<String>,
    after: u64,
    _permit: OwnedSemaphorePermit,
}

/// Stream changes. Send `Last-Event-ID` to go on where you were; an event `reset` means that you were away too long.
#[utoipa::path(get, path = "/events", operation_id = "stream_events", tag = "events", params(EventQuery),
    responses((status = 200, body = Event, content_type = "text/event-stream"), Refusals))]
pub(super) async fn stream(
    State(app): State<Arc<App>>,
    operator: Operator,
    Asked(query): Asked<EventQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    operator.may_read()?;
    let kinds = kinds(query.kind.as_deref())?;
    if query.rollout.as_ref().is_some_and(|text| text.parse::<RolloutId>().is_err()) {
        return Err(Refusal::bad("rollout", "name the rollout by its id, such as r-12"));
    }
    let asked = last_event(&headers)?;
    let full = |_| {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many event streams are open: try again later")
            .with(header::RETRY_AFTER, HeaderValue::from_static("10"))
    };
    let permit = app.streams.clone().try_acquire_owned().map_err(full)?;
    let (newest, oldest) = app.read::<_, StoreError>(|view| view.event_range()).await?;
    let watch = Watch {
        project: operator.project(),
        kinds,
        rollout: query.rollout,
        after: asked.unwrap_or(newest).min(newest),
        _permit: permit,
    };
    let missed = asked.is_some_and(|asked| asked.saturating_add(1) < oldest || asked > newest);
    let (send, receive) = mpsc::channel(WAITING);
    tokio::spawn(follow(app, watch, missed, send));
    Ok(Sse::new(received(receive)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

/// A misspelt kind would be a stream on which nothing ever comes.
fn kinds(asked: Option<&str>) -> Result<Vec<String>, Refusal> {
    let kinds: Vec<String> = asked.iter().flat_map(|kinds| kinds.split(',')).map(str::to_owned).collect();
    match kinds.iter().find(|kind| !KINDS.contains(&kind.as_str())) {
        None => Ok(kinds),
        Some(unknown) => Err(Refusal::bad("kind", format!("{unknown:?} is none of {}", KINDS.join(", ")))),
    }
}

fn last_event(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let sequence = value.to_str().ok().and_then(|text| text.parse().ok());
    sequence.map(Some).ok_or_else(|| Refusal::bad("Last-Event-ID", "send the id of an event back as it came"))
}

fn received(receive: mpsc::Receiver<sse::Event>) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    futures_util::stream::unfold(receive, async |mut receive| {
        let event = receive.recv().await?;
        Some((Ok(event), receive))
    })
}

/// Reads the store again after each commit that emitted events, until the client goes or the server stops.
async fn follow(app: Arc<App>, mut watch: Watch, missed: bool, send: mpsc::Sender<sse::Event>) {
    let (mut commits, mut stopping) = (app.events.clone(), app.stopping.subscribe());
    if missed && send.send(sse::Event::default().event("reset").data("{}")).await.is_err() {
        return;
    }
    loop {
        commits.mark_unchanged();
        let (project, after) = (watch.project, watch.after);
        let Ok(rows) = app.read::<_, StoreError>(move |view| view.events_after(project, after, BATCH)).await else {
            return;
        };
        let is_all = rows.len() < BATCH as usize;
        for row in rows {
            watch.after = row.sequence;
            if wanted(&watch, &row) && send.send(event(row)).await.is_err() {
                return;
            }
        }
        if !is_all {
            continue;
        }
        tokio::select! {
            changed = commits.changed() => if changed.is_err() { return },
            _ = stopping.wait_for(|stop| *stop) => return,
            () = send.closed() => return,
        }
    }
}

fn wanted(watch: &Watch, row: &EventRow) -> bool {
    let of_rollout = || {
        let asked = watch.rollout.as_deref();
        asked.is_none_or(|asked| row.rollout.is_some_and(|rollout| rollout.to_string() == asked))
    };
    (watch.kinds.is_empty() || watch.kinds.contains(&row.kind)) && of_rollout()
}

fn event(row: EventRow) -> sse::Event {
    let event = Event {
        sequence: row.sequence,
        at: row.at,
        kind: row.kind,
        id: row.target,
        change: row.change,
        rollout: row.rollout.map(|id| id.to_string()),
    };
    let data = serde_json::to_string(&event).unwrap_or_default();
    sse::Event::default().id(event.sequence.to_string()).event(event.kind).data(data)
}
