//! How do many flows share one durable commit?
//!
//! One thread owns the only connection that writes. It takes what waits, runs each flow inside a savepoint,
//! commits once, and only then answers: an answer means that the change is on the disk. A flow that refuses or
//! fails leaves nothing behind and harms no other flow of its group.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use muster_vocab::limit;
use rusqlite::Connection;
use tokio::sync::oneshot;
use tracing::error;

use crate::error::Doing;
use crate::tx::{Held, Touched, write_held};
use crate::{Changes, StoreError, Tx, View};

/// Called after each commit, on the writer's thread.
pub type OnCommit = Box<dyn Fn(&Changes) + Send>;

/// A flow and its way to answer.
struct Job {
    run: Box<dyn FnOnce(&mut Tx<'_>) -> Ran + Send>,
}

/// What is left of a flow once it ran: whether to keep it, and how to tell.
struct Ran {
    keep: bool,
    broke: bool,
    answer: Box<dyn FnOnce(Result<(), StoreError>) + Send>,
}

/// What the writer did so far.
#[derive(Debug, Default)]
pub struct Counters {
    pub commits: AtomicU64,
    pub flows: AtomicU64,
    pub refused: AtomicU64,
    /// Invariants of our own that broke; each stopped its flow only.
    pub broken: AtomicU64,
}

#[derive(Debug)]
pub struct Writer {
    queue: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    counters: Arc<Counters>,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

impl Writer {
    /// `past` sees the last commit.
    pub(crate) fn start(conn: Connection, past: Connection, on_commit: OnCommit) -> Self {
        let (queue, jobs) = sync_channel(limit::WRITER_QUEUE_MAX);
        let counters = Arc::new(Counters::default());
        let counted = counters.clone();
        let thread = std::thread::Builder::new()
            .name("writer".into())
            .spawn(move || write_all((&conn, &past), &jobs, &on_commit, &counted))
            .expect("the operating system starts a thread");
        Self { queue: Some(queue), thread: Some(thread), counters }
    }

    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Hands a flow to the writer. The receiver answers once the change is durable, or the flow was refused.
    pub fn submit<T, E>(
        &self,
        flow: impl FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, E>>, StoreError>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        let run = Box::new(move |tx: &mut Tx<'_>| {
            // A broken invariant stops this flow, not the server.
            let caught = std::panic::catch_unwind(AssertUnwindSafe(|| flow(tx)));
            let broke = caught.is_err();
            let outcome = caught.unwrap_or_else(|_| Err(E::from(StoreError::Invariant)));
            let keep = outcome.is_ok();
            let answer = Box::new(move |committed: Result<(), StoreError>| {
                // Nobody may be waiting any more; the change stands all the same.
                let _ = tell.send(committed.map_err(E::from).and(outcome));
            });
            Ran { keep, broke, answer: answer as Box<dyn FnOnce(Result<(), StoreError>) + Send> }
        });
        let queue = self.queue.as_ref().ok_or(StoreError::Stopped)?;
        match queue.try_send(Job { run }) {
            Ok(()) => Ok(told),
            Err(TrySendError::Full(_)) => Err(StoreError::Busy),
            Err(TrySendError::Disconnected(_)) => Err(StoreError::Stopped),
        }
    }

    /// The same for callers that may block: start-up and tests.
    pub fn write<T, E>(&self, flow: impl FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.submit(flow)?.blocking_recv().map_err(|_| E::from(StoreError::Stopped))?
    }
}

/// Waits for what is queued to be written.
impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("the writer thread ended by a panic");
        }
    }
}

type Both<'c> = (&'c Connection, &'c Connection);

fn write_all(conns: Both<'_>, jobs: &Receiver<Job>, on_commit: &OnCommit, counters: &Counters) {
    while let Ok(first) = jobs.recv() {
        let mut group = vec![first];
        while group.len() < limit::GROUP_COMMIT_FLOWS_MAX
            && let Ok(job) = jobs.try_recv()
        {
            group.push(job);
        }
        write_group(conns, group, on_commit, counters);
    }
}

fn write_group(conns: Both<'_>, group: Vec<Job>, on_commit: &OnCommit, counters: &Counters) {
    let flows = u64::try_from(group.len()).unwrap_or(u64::MAX);
    let mut answers = Vec::with_capacity(group.len());
    let (conn, _) = conns;
    let outcome = run_group(conns, group, &mut answers);
    match &outcome {
        Ok(changes) => {
            counters.commits.fetch_add(1, Ordering::Relaxed);
            counters.flows.fetch_add(flows, Ordering::Relaxed);
            on_commit(changes);
        }
        Err(failed) => {
            error!(error = failed as &dyn std::error::Error, flows, "a commit of {flows} flows failed: {failed}");
            if !conn.is_autocommit()
                && let Err(failed) = conn.execute_batch("ROLLBACK")
            {
                error!(error = &failed as &dyn std::error::Error, "rolling back failed: {failed}");
            }
        }
    }
    for ran in answers {
        if ran.broke {
            counters.broken.fetch_add(1, Ordering::Relaxed);
        }
        if !ran.keep {
            counters.refused.fetch_add(1, Ordering::Relaxed);
        }
        (ran.answer)(match &outcome {
            Ok(_) => Ok(()),
            Err(StoreError::DiskFull) => Err(StoreError::DiskFull),
            Err(_) => Err(StoreError::Stopped),
        });
    }
}

fn run_group(conns: Both<'_>, group: Vec<Job>, answers: &mut Vec<Ran>) -> Result<Changes, StoreError> {
    let (conn, _) = conns;
    let mut held = Held::default();
    let mut touched = Touched::default();
    conn.execute_batch("BEGIN IMMEDIATE").doing("beginning a commit")?;
    for job in group {
        conn.prepare_cached("SAVEPOINT flow").and_then(|mut it| it.execute([])).doing("a savepoint")?;
        let mut tx = Tx::new(conns, &mut held);
        let ran = (job.run)(&mut tx);
        if ran.keep {
            touched.join(tx.settle());
        } else {
            conn.prepare_cached("ROLLBACK TO flow").and_then(|mut it| it.execute([])).doing("a savepoint")?;
        }
        conn.prepare_cached("RELEASE flow").and_then(|mut it| it.execute([])).doing("a savepoint")?;
        answers.push(ran);
    }
    write_held(conn, &mut held)?;
    let changes = changes(&View::new(conn), touched)?;
    conn.execute_batch("COMMIT").doing("committing")?;
    Ok(changes)
}

/// Read before the commit, told after it: nobody else writes in between.
fn changes(view: &View<'_>, touched: Touched) -> Result<Changes, StoreError> {
    let mut devices = Vec::with_capacity(touched.devices.len());
    for device in touched.devices {
        devices.extend(view.standing(device)?);
    }
    let projects = touched.projects.into_iter().map(|project| view.project(project)).collect::<Result<_, _>>()?;
    Ok(Changes {
        devices,
        gone: touched.gone,
        projects,
        tokens: touched.tokens,
        outbox: touched.outbox,
        renders: touched.renders,
        routes: touched.routes,
        events: touched.events,
    })
}

#[cfg(test)]
mod tests;
