//! How do the two ends of a remote session find each other?
//!
//! The device and the operator each connect to the server and ask for an upgrade. Whoever comes first waits here; with
//! the second the bytes begin to pass (`pipe`) and are recorded (`recorder`). Runs on the server's own event loop, not
//! on the threads that serve requests.

pub mod pipe;
pub mod recorder;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use muster_domain::command::SessionKind;
use muster_domain::session::{End, Ended, Session};
use muster_vocab::{ProjectId, Timestamp, limit};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tracing::{debug, error, info};

use crate::flow::error::FlowError;
use crate::flow::twin::sessions;
use crate::{App, clock};
use pipe::{Line, pipe};
use recorder::Recorder;

/// Below the data folder.
const FOLDER: &str = "sessions";

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Device,
    Operator,
}

/// Ends that wait for the other, and places for sessions.
#[derive(Debug)]
pub struct Sessions {
    /// `None` once the server stops: nobody comes any more.
    waiting: Mutex<Option<HashMap<String, Waiting>>>,
    /// Open ones, and how they are told to end.
    open: Mutex<HashMap<String, Arc<Notify>>>,
    places: Arc<Semaphore>,
    folder: PathBuf,
    runtime: Handle,
}

#[derive(Debug)]
struct Waiting {
    side: Side,
    io: Upgraded,
    until: Timestamp,
    place: OwnedSemaphorePermit,
}

/// All places are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many remote sessions are open: end some")]
pub struct Full;

impl Sessions {
    /// Made where the server's event loop runs.
    #[must_use]
    pub fn new(data: &std::path::Path) -> Self {
        Self {
            waiting: Mutex::new(Some(HashMap::new())),
            open: Mutex::default(),
            places: Arc::new(Semaphore::new(limit::SESSIONS_MAX)),
            folder: data.join(FOLDER),
            runtime: Handle::current(),
        }
    }

    /// Where a session's recording lies, if it has one.
    #[must_use]
    pub fn recording(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.cast"))
    }

    #[must_use]
    pub fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// Ends that waited too long hang up.
    pub fn drop_late(&self, now: Timestamp) {
        if let Some(waiting) = self.waiting.lock().as_mut() {
            waiting.retain(|_, waiting| waiting.until >= now);
        }
    }

    /// Sessions whose bytes pass now.
    #[must_use]
    pub fn open(&self) -> Vec<String> {
        self.open.lock().keys().cloned().collect()
    }

    /// Ends an open session that is not allowed any more.
    pub fn forbid(&self, id: &str) {
        if let Some(forbidden) = self.open.lock().get(id) {
            forbidden.notify_one();
        }
    }

    /// All sessions have ended. Asked for once the server stops, when no new ones begin.
    pub async fn all_ended(&self) {
        *self.waiting.lock() = None;
        let places = u32::try_from(limit::SESSIONS_MAX).unwrap_or(u32::MAX);
        // The places are never closed.
        let _ = self.places.acquire_many(places).await;
    }

    /// Puts an end in, or takes the other out.
    fn meet(&self, id: &str, mine: Waiting) -> Option<(Waiting, Waiting)> {
        let mut waiting = self.waiting.lock();
        let waiting = waiting.as_mut()?;
        match waiting.remove(id) {
            Some(other) if other.side != mine.side => Some((mine, other)),
            // The same end again: its connection broke, and the new one counts.
            Some(_) | None => {
                waiting.insert(id.to_owned(), mine);
                None
            }
        }
    }
}

/// One end comes. Answered by the edge with 101 at once; the rest happens when the connection is upgraded.
pub fn join(app: &Arc<App>, project: ProjectId, of: (Session, Side), upgrade: OnUpgrade) -> Result<(), Full> {
    let (session, side) = of;
    let place = app.sessions.places.clone().try_acquire_owned().map_err(|_| Full)?;
    let app = app.clone();
    app.sessions.runtime.clone().spawn(async move {
        let io = match upgrade.await {
            Ok(io) => io,
            Err(failed) => {
                debug!(session = session.id, "an end of session {} was not upgraded: {failed}", session.id);
                return;
            }
        };
        let mine = Waiting { side, io, until: session.waits_until(), place };
        let Some((one, other)) = app.sessions.meet(&session.id, mine) else { return };
        let (device, operator) = if one.side == Side::Device { (one, other) } else { (other, one) };
        // One place for both ends from here on.
        drop(operator.place);
        run(&app, project, &session.id, (device.io, operator.io)).await;
        drop(device.place);
    });
    Ok(())
}

async fn run(app: &Arc<App>, project: ProjectId, id: &str, ends: (Upgraded, Upgraded)) {
    let (now, name) = (clock::now(), id.to_owned());
    let session = match app.write(move |tx| sessions::connected(tx, now, project, &name)).await {
        Ok(session) => session,
        Err(refused) => {
            info!(session = id, "session {id} does not begin: {refused}");
            return;
        }
    };
    let how = passed(app, &session, ends).await;
    let (now, name) = (clock::now(), id.to_owned());
    let saved: Result<(), FlowError> = app.write(move |tx| sessions::ended(tx, now, project, &name, how)).await;
    if let Err(failed) = saved {
        error!(
            session = id,
            error = &failed as &dyn std::error::Error,
            "the end of session {id} was not kept: {failed}"
        );
    }
}

async fn passed(app: &Arc<App>, session: &Session, ends: (Upgraded, Upgraded)) -> Ended {
    let is_shell = session.kind == SessionKind::Shell;
    let recorder = match Recorder::begin(app.sessions.recording(&session.id), clock::now(), is_shell).await {
        Ok(recorder) => recorder,
        Err(failed) => {
            error!(
                session = session.id,
                error = &failed as &dyn std::error::Error,
                "session {} can't be recorded: {failed}",
                session.id
            );
            return Ended { end: End::RecordingFailed, to_device: 0, to_operator: 0, recording: None };
        }
    };
    let mut stopping = app.stopping.subscribe();
    let forbidden = Arc::new(Notify::new());
    app.sessions.open.lock().insert(session.id.clone(), forbidden.clone());
    let stop = async move {
        tokio::select! {
            // A sender that is gone means that the server is gone.
            _ = stopping.wait_for(|stop| *stop) => End::ServerStopped,
            () = forbidden.notified() => End::Refused,
        }
    };
    let line = Line { time_max: session.time_max(), idle_max: limit::SESSION_IDLE, is_shell };
    let (device, operator) = (TokioIo::new(ends.0), TokioIo::new(ends.1));
    let (end, counts) = pipe(line, (device, operator), &recorder, stop).await;
    // A server that stops closes connections too, which may be seen before its word.
    let is_stopping = *app.stopping.borrow();
    let end = if is_stopping && matches!(end, End::DeviceLeft | End::OperatorLeft) { End::ServerStopped } else { end };
    app.sessions.open.lock().remove(&session.id);
    let (recording, end) = match recorder.finish().await {
        Ok(recording) => (Some(recording), end),
        Err(failed) => {
            error!(
                session = session.id,
                error = &failed as &dyn std::error::Error,
                "the recording of session {} is broken: {failed}",
                session.id
            );
            (None, End::RecordingFailed)
        }
    };
    Ended { end, to_device: counts.to_device, to_operator: counts.to_operator, recording }
}
