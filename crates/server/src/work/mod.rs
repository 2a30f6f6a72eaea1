//! What goes on by itself? Reconcilers that re-read the store and are safe to run at any time.

pub mod audit_stream;
pub mod certificate;
pub mod checkpoints;
pub mod collect;
pub mod intervals;
pub mod join;
pub mod metadata;
pub mod outbox;
pub mod reseal;
pub mod routes;
pub mod seen;
pub mod time;
pub mod twins;

use std::sync::Arc;
use std::time::Duration;

use muster_vocab::limit;
use tokio::task::JoinSet;

use crate::App;

/// How often rollouts and actions are asked whether time has moved them.
const TIME_INTERVAL: Duration = Duration::from_millis(500);
/// How often commands and sessions are asked whether their time is over.
const TWIN_INTERVAL: Duration = Duration::from_secs(1);
/// How often dynamic rollouts look for devices that match now.
const JOIN_INTERVAL: Duration = Duration::from_secs(10);
/// How often polling intervals are compared with the overrides.
const INTERVALS_INTERVAL: Duration = Duration::from_secs(10);
/// How often the server's certificate is looked at: two calls to the kernel, unless it has to be replaced.
const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(2);
/// How often what nobody needs is collected.
const COLLECT_INTERVAL: Duration = Duration::from_secs(300);
/// Deltas from what devices run now are looked for, even if no release was published.
const ROUTES_INTERVAL: Duration = Duration::from_secs(600);
/// How often timestamps are looked at; they live for days.
const METADATA_INTERVAL: Duration = Duration::from_secs(600);
/// The outbox is looked at even if nobody called, in case a batch failed.
const OUTBOX_INTERVAL: Duration = Duration::from_secs(5);

/// The running workers.
#[derive(Debug)]
pub struct Workers(JoinSet<()>);

/// Starts every worker. They end by themselves when the app stops.
pub fn start(app: &Arc<App>) -> Workers {
    let mut set = JoinSet::new();
    set.spawn(outbox::run(app.clone(), OUTBOX_INTERVAL));
    set.spawn(routes::run(app.clone(), ROUTES_INTERVAL));
    set.spawn(twins::run(app.clone(), OUTBOX_INTERVAL));
    set.spawn(twins::outlive_sessions(app.clone()));
    set.spawn(every(app.clone(), TWIN_INTERVAL, async |app| twins::pass_time(app).await));
    set.spawn(every(app.clone(), limit::CONFIGURATION_SWEEP_INTERVAL, async |app| twins::begin_sweeps(app).await));
    set.spawn(every(app.clone(), TIME_INTERVAL, async |app| time::pass(app).await));
    set.spawn(every(app.clone(), JOIN_INTERVAL, async |app| join::join_devices(app).await));
    set.spawn(every(app.clone(), INTERVALS_INTERVAL, async |app| intervals::settle_intervals(app).await));
    set.spawn(every(app.clone(), limit::SEEN_FLUSH_INTERVAL, async |app| seen::flush_seen(app).await));
    set.spawn(every(app.clone(), METADATA_INTERVAL, async |app| metadata::renew_timestamps(app).await));
    if app.tls.is_some() {
        set.spawn(certificate::run(app.clone(), CERTIFICATE_INTERVAL));
    }
    set.spawn(every(app.clone(), COLLECT_INTERVAL, async |app| collect::collect(app).await));
    set.spawn(every(app.clone(), limit::AUDIT_CHECKPOINT_INTERVAL, async |app| {
        checkpoints::sign_checkpoints(app).await
    }));
    for stream in app.audit_streams.lock().drain(..) {
        set.spawn(audit_stream::run(app.clone(), stream));
    }
    Workers(set)
}

impl Workers {
    /// Waits until each has ended its round.
    pub async fn finish(mut self) {
        while self.0.join_next().await.is_some() {}
    }
}

/// Runs one reconciler again and again, and once more when the server stops.
async fn every<T>(app: Arc<App>, interval: Duration, round: impl AsyncFn(&App) -> T) {
    let mut stopping = app.stopping.subscribe();
    loop {
        let stop = tokio::select! {
            () = tokio::time::sleep(interval) => false,
            _ = stopping.wait_for(|stop| *stop) => true,
        };
        let _ = round(&app).await;
        if stop {
            return;
        }
    }
}
