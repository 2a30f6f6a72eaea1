//! Who outside is told of audit records as they are made?
//!
//! A syslog collector over TLS, a webhook, or both. Each gets every record of every project in order, at least once: how
//! far it was told lies in the store, and after a fault it goes on from there. A record's sequence and digest show a
//! repetition.

pub mod syslog;
pub mod webhook;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use muster_store::StoreError;
use muster_store::audit::{AuditRow, Untold};
use muster_trust::audit::export::Exported;
use muster_trust::webhook::{BadKey, Key};
use muster_vocab::{ProjectId, limit};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::App;
use crate::config::AuditStreams;
use syslog::Syslog;
use webhook::Webhook;

/// Records are looked for this often.
const INTERVAL: Duration = Duration::from_secs(1);
/// After a fault the next try waits so long, then twice as long, up to the second.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(300);

#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0} can't be reached")]
    Unreachable(String, #[source] std::io::Error),
    #[error("{0} hung up")]
    HungUp(String),
    #[error("{0} did not take it in time")]
    Slow(String),
    #[error("{0} answered {1}")]
    Refused(String, u16),
    #[error("{0} can't be asked: {1}")]
    Request(String, String),
}

/// One that is told.
#[derive(Debug)]
pub enum Stream {
    Syslog(Box<Syslog>),
    Webhook(Box<Webhook>),
}

/// Why a stream can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum BadStream {
    #[error("reading {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{}: {source}", path.display())]
    Key { path: PathBuf, source: BadKey },
    #[error("{} holds no certificate (PEM)", .0.display())]
    Certificates(PathBuf),
    #[error("TLS can't be set up")]
    Tls(#[from] rustls::Error),
}

/// Those that the configuration names.
pub fn open(config: &AuditStreams) -> Result<Vec<Stream>, BadStream> {
    let read =
        |path: &Path| std::fs::read_to_string(path).map_err(|source| BadStream::Read { path: path.to_owned(), source });
    let roots = config.certificates.as_deref().map(read).transpose()?;
    let mut streams = Vec::new();
    if let Some(collector) = &config.syslog {
        let mut store = RootCertStore::empty();
        match (&roots, &config.certificates) {
            (Some(pem), Some(path)) => {
                for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok) {
                    store.add(certificate)?;
                }
                if store.is_empty() {
                    return Err(BadStream::Certificates(path.clone()));
                }
            }
            _ => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store)
            .with_no_client_auth();
        streams.push(Stream::Syslog(Box::new(Syslog::new(collector.clone(), tls))));
    }
    if let Some(url) = &config.webhook {
        let key = match &config.webhook_key_file {
            Some(path) => {
                let key = Key::parse(&read(path)?);
                Some(key.map_err(|source| BadStream::Key { path: path.clone(), source })?)
            }
            None => None,
        };
        streams.push(Stream::Webhook(Box::new(Webhook::new(url.clone(), key, roots.as_deref()))));
    }
    Ok(streams)
}

/// How far it was told, beyond what the store knows.
type Told = HashMap<ProjectId, u64>;

/// What was delivered: whether it has certainly arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivered {
    Surely,
    /// It was handed to the network; [`Stream::confirmed`] tells later.
    Perhaps,
}

/// Tells until the server stops.
pub async fn run(app: Arc<App>, mut stream: Stream) {
    let mut stopping = app.stopping.subscribe();
    let (mut told, mut pause) = (Told::new(), None);
    loop {
        let round = tokio::select! {
            round = tell(&app, &mut stream, &mut told) => round,
            _ = stopping.wait_for(|stop| *stop) => return,
        };
        match round {
            Ok(()) => {
                if pause.take().is_some() {
                    info!("audit records go to {} again", stream.name());
                }
            }
            Err(failed) => {
                // What was perhaps delivered is delivered again.
                told.clear();
                stream.begin_again();
                if pause.is_none() {
                    let text = "audit records can't be told and are kept until they can";
                    warn!(error = &failed as &dyn std::error::Error, "{text}: {failed}");
                }
                pause = Some(pause.map_or(PAUSE, |pause: Duration| (pause * 2).min(PAUSE_MAX)));
            }
        }
        if wait(&mut stopping, pause.unwrap_or(INTERVAL)).await {
            return;
        }
    }
}

/// Whether the server stops.
async fn wait(stopping: &mut watch::Receiver<bool>, pause: Duration) -> bool {
    tokio::select! {
        () = tokio::time::sleep(pause) => false,
        _ = stopping.wait_for(|stop| *stop) => true,
    }
}

/// All that is new, project by project.
async fn tell(app: &App, stream: &mut Stream, told: &mut Told) -> Result<(), StreamError> {
    let name = stream.name();
    for (project, sequence) in stream.confirmed().await? {
        save(app, name, project, sequence).await?;
    }
    let behind = app.read(move |view| view.audit_untold(name)).await?;
    let waiting = behind.iter().map(|one| one.head - one.after.max(told.get(&one.project).copied().unwrap_or(0)));
    stream.waiting(app).store(waiting.sum(), Ordering::Relaxed);
    for one in behind {
        let Untold { project, name: log, after, head } = one;
        let mut after = after.max(told.get(&project).copied().unwrap_or(0));
        while after < head {
            let rows = app.read(move |view| view.audit_after(project, after, limit::AUDIT_STREAM_RECORDS)).await?;
            let Some(last) = rows.last().map(|row| row.sequence) else { break };
            if stream.deliver((project, &log), rows, app).await? == Delivered::Surely {
                save(app, name, project, last).await?;
            }
            told.insert(project, last);
            after = last;
        }
    }
    Ok(())
}

async fn save(app: &App, stream: &'static str, project: ProjectId, sequence: u64) -> Result<(), StoreError> {
    app.write(move |tx| tx.save_audit_streamed(stream, project, sequence)).await
}

impl Stream {
    fn name(&self) -> &'static str {
        match self {
            Self::Syslog(_) => "syslog",
            Self::Webhook(_) => "webhook",
        }
    }

    /// How many records it was not told yet.
    fn waiting<'a>(&self, app: &'a App) -> &'a AtomicU64 {
        match self {
            Self::Syslog(_) => &app.counters.audit_syslog_waiting,
            Self::Webhook(_) => &app.counters.audit_webhook_waiting,
        }
    }

    async fn deliver(
        &mut self,
        log: (ProjectId, &str),
        rows: Vec<AuditRow>,
        app: &App,
    ) -> Result<Delivered, StreamError> {
        let records: Vec<Exported> = rows.into_iter().map(exported).collect();
        match self {
            Self::Syslog(syslog) => syslog.deliver(log, &records).await.map(|()| Delivered::Perhaps),
            Self::Webhook(webhook) => webhook.deliver(log.1, &records, app.now()).await.map(|()| Delivered::Surely),
        }
    }

    /// What has arrived by now of what was perhaps delivered.
    async fn confirmed(&mut self) -> Result<Vec<(ProjectId, u64)>, StreamError> {
        match self {
            Self::Syslog(syslog) => syslog.confirmed().await,
            Self::Webhook(_) => Ok(Vec::new()),
        }
    }

    fn begin_again(&mut self) {
        match self {
            Self::Syslog(syslog) => syslog.hang_up(),
            Self::Webhook(_) => {}
        }
    }
}

/// A record as exports hold it.
#[must_use]
pub fn exported(row: AuditRow) -> Exported {
    Exported {
        sequence: row.sequence,
        at: row.at.0,
        actor: row.actor,
        action: row.action,
        target: row.target,
        detail: row.detail,
        context: row.context,
        previous: row.previous,
        digest: row.digest,
    }
}
