//! What lives as long as the server? Built here, in order, by hand.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use muster_store::blobs::Blobs;
use muster_store::{Changes, Store, StoreError, Tx, View};
use muster_trust::audit::checkpoint::Signer;
use muster_vocab::{DeviceId, ProjectId, Sha256, Timestamp, TokenId, limit};
use parking_lot::Mutex;
use tokio::sync::{Notify, RwLock, Semaphore, watch};

use crate::audit_key::{self, AuditKeyError};
use crate::config::Config;
use crate::edge::address::Addresses;
use crate::edge::tls::{TlsError, TlsSource};
use crate::identity::{Identity, IdentityError};
use crate::noticed::Noticed;
use crate::oidc::Oidc;
use crate::rate::Buckets;
use crate::sessions::Sessions;
use crate::signing::{Signing, SigningError};
use crate::table::Table;
use crate::tasks::Tasks;
use crate::vault::{Vault, VaultError};
use crate::waiting::Waiting;
use crate::work::audit_stream::{self, BadStream, Stream};
use crate::{clock, descriptors};

/// Standings read at a time when the device table is filled.
const FILL_BATCH: u32 = 10_000;

#[derive(Debug)]
pub struct App {
    pub config: Config,
    pub store: Arc<Store>,
    pub blobs: Blobs,
    /// Opens what is sealed.
    /// Who vouches for people and programs, and the logins that wait.
    pub oidc: Arc<Oidc>,
    pub vault: Arc<Vault>,
    /// Keys that are online.
    pub signing: Arc<Signing>,
    pub table: Arc<Table>,
    pub identity: Identity,
    /// Vouches for the audit log.
    pub audit_signer: Arc<Signer>,
    /// How the TLS listener speaks, if there is one.
    pub tls: Option<TlsSource>,
    /// The outbox got work.
    pub outbox: Arc<Notify>,
    /// Devices are to be rendered again.
    pub renders: Arc<Notify>,
    /// Releases are wanted that were not before.
    pub routes: Arc<Notify>,
    /// Remote sessions that wait or are open.
    pub sessions: Sessions,
    /// Secrets that were sealed for TPMs.
    pub tasks: Tasks,
    /// Counts commits that emitted events: whoever watches reads the store again.
    pub events: watch::Receiver<u64>,
    /// True once the server is to stop.
    pub stopping: watch::Sender<bool>,
    /// The master key changes once at a time.
    pub rotating: tokio::sync::Mutex<()>,
    /// Event streams that may still be opened.
    pub streams: Arc<Semaphore>,
    pub counters: Counters,
    /// Who is told of audit records, until the workers start.
    pub audit_streams: Mutex<Vec<Stream>>,
    /// Who was refused lately.
    pub noticed: Noticed,
    /// By token of the operator API.
    pub token_rates: Buckets<(ProjectId, TokenId)>,
    pub device_rates: Buckets<DeviceId>,
    pub addresses: Addresses,
    pub started_at: Timestamp,
    began: std::time::Instant,
    /// Read by an upload from giving its bytes their name until its row is durable; written while bytes are removed.
    pub keeping: RwLock<()>,
}

/// What the server did since it started.
#[derive(Debug, Default)]
pub struct Counters {
    pub polls: AtomicU64,
    pub reports: AtomicU64,
    pub downloads: AtomicU64,
    pub download_bytes: AtomicU64,
    pub api_requests: AtomicU64,
    pub refused: AtomicU64,
    pub effects: AtomicU64,
    pub silent: AtomicU64,
    pub audit_syslog_waiting: AtomicU64,
    pub audit_webhook_waiting: AtomicU64,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Signing(#[from] SigningError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    AuditKey(#[from] AuditKeyError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    AuditStream(#[from] BadStream),
}

impl App {
    /// Opens the data folder and fills the device table from it. Called where the server's event loop runs.
    pub fn open(config: Config) -> Result<Arc<Self>, OpenError> {
        let table = Arc::new(Table::new(Waiting::new(descriptors::places())));
        let outbox = Arc::new(Notify::new());
        let renders = Arc::new(Notify::new());
        let routes = Arc::new(Notify::new());
        let (tell_events, events) = watch::channel(0);
        let on_commit = {
            let (table, outbox) = (table.clone(), outbox.clone());
            let (renders, routes) = (renders.clone(), routes.clone());
            move |changes: &Changes| {
                table.apply(changes, clock::now());
                if changes.outbox {
                    outbox.notify_one();
                }
                if changes.renders {
                    renders.notify_one();
                }
                if changes.routes {
                    routes.notify_one();
                }
                if changes.events {
                    tell_events.send_modify(|commits| *commits += 1);
                }
            }
        };
        let store = Arc::new(Store::open(&config.data, Box::new(on_commit))?);
        let blobs = Blobs::open(&config.data)?;
        let vault = Arc::new(Vault::open(&config.master_key)?);
        let signing = Signing::open(&config.data, &vault)?;
        fill(&store, &table)?;
        let audit_signer = Arc::new(audit_key::load(&config.data, &vault)?);
        let identity = Identity::open(&store, &config.data, &vault, clock::now())?;
        let tls = config.tls_listen.map(|_| TlsSource::open(&config, &identity, clock::now())).transpose()?;
        let audit_streams = audit_stream::open(&config.audit)?;
        let (stopping, _) = watch::channel(false);
        let sessions = Sessions::new(&config.data);
        Ok(Arc::new(Self {
            config,
            store,
            blobs,
            oidc: Arc::default(),
            vault,
            signing: Arc::new(signing),
            table,
            identity,
            audit_signer,
            tls,
            outbox,
            renders,
            routes,
            sessions,
            tasks: Tasks::default(),
            events,
            stopping,
            rotating: tokio::sync::Mutex::new(()),
            streams: Arc::new(Semaphore::new(muster_vocab::limit::EVENT_STREAMS_MAX)),
            counters: Counters::default(),
            audit_streams: Mutex::new(audit_streams),
            noticed: Noticed::default(),
            token_rates: Buckets::new(limit::TOKEN_REQUEST_EVERY, limit::TOKEN_REQUESTS_BURST, limit::TOKENS_RATED_MAX),
            device_rates: Buckets::new(
                limit::DEVICE_REQUEST_EVERY,
                limit::DEVICE_REQUESTS_BURST,
                limit::DEVICES_RATED_MAX,
            ),
            addresses: Addresses::new(),
            started_at: clock::now(),
            began: std::time::Instant::now(),
            keeping: RwLock::new(()),
        }))
    }

    /// Runs a flow. When this answers `Ok`, the change is on the disk.
    pub async fn write<T, E>(&self, flow: impl FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.store.writer().submit(flow)?.await.map_err(|_| E::from(StoreError::Stopped))?
    }

    /// Asks the last committed state, off the event loop.
    pub async fn read<T, E>(&self, question: impl FnOnce(&View<'_>) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || store.read(question)).await.map_err(|_| E::from(StoreError::Stopped))?
    }

    /// Works a device's answer out again: time alone has changed it.
    pub async fn refresh(&self, device: DeviceId) -> Result<(), StoreError> {
        self.write(move |tx| {
            tx.touch_device(device);
            Ok(())
        })
        .await
    }

    /// Looks again while no upload can be half way, then removes.
    pub async fn remove_unused_blob(&self, digest: Sha256) -> Result<(), StoreError> {
        let _alone = self.keeping.write().await;
        if self.read(move |view| view.blob_is_used(digest)).await? {
            return Ok(());
        }
        self.blobs.delete(digest).await
    }

    /// Since the server began, on a clock that never jumps: for rates, and for nothing that is kept.
    #[must_use]
    pub fn uptime(&self) -> Timestamp {
        Timestamp(i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX))
    }

    #[must_use]
    pub fn now(&self) -> Timestamp {
        clock::now()
    }
}

fn fill(store: &Store, table: &Table) -> Result<(), StoreError> {
    let now = clock::now();
    for project in store.read(|view| view.projects())? {
        table.put_project(&project);
    }
    let mut after = DeviceId(0);
    loop {
        let standings = store.read(|view| view.standings_after(after, FILL_BATCH))?;
        let Some(last) = standings.last() else { return Ok(()) };
        after = last.device;
        for standing in &standings {
            if let Some(tenant) = table.tenant_by_id(standing.project) {
                tenant.put(standing, now);
            }
        }
    }
}
