//! How does the server come up, and how does it go down?

use std::net::SocketAddr;
use std::sync::Arc;

use muster_domain::Permission;
use muster_store::accounts::Account;
use muster_store::{StoreError, Tx};
use muster_trust::{password, secret};
use muster_vocab::{AccountId, Sha256, Timestamp};
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::app::OpenError;
use crate::edge::serve::Listeners;
use crate::flow::error::FlowError;
use crate::{App, Config, clock, edge, work};

pub const PROJECT: &str = "default";
pub const ADMIN: &str = "admin";

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("opening the data folder {folder}")]
    Store {
        folder: String,
        #[source]
        source: OpenError,
    },
    #[error("preparing the first start")]
    First(#[source] FlowError),
    #[error("listening on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("serving")]
    Serve(#[source] std::io::Error),
}

/// The password of the first start's admin account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminPassword {
    /// The account was there already.
    Kept,
    /// It was given.
    Given,
    /// It was made up: show it once.
    Made(String),
}

/// A server that listens and has not begun to serve.
#[derive(Debug)]
pub struct Ready {
    pub app: Arc<App>,
    pub admin: AdminPassword,
    listeners: Listeners,
}

/// Opens everything. `given` is the admin's password for a first start.
pub async fn prepare(config: Config, given: Option<String>) -> Result<Ready, StartError> {
    let folder = config.data.display().to_string();
    let address = config.listen;
    let opened = tokio::task::spawn_blocking(move || App::open(config)).await;
    let app =
        opened.unwrap_or(Err(StoreError::Stopped.into())).map_err(|source| StartError::Store { folder, source })?;
    let admin = first_start(&app, given).await.map_err(StartError::First)?;
    let plain = listen(address).await?;
    let tls = match app.config.tls_listen {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    if !address.ip().is_loopback() {
        warn!(%address, "{address} can be reached from other machines and is not encrypted: use --tls-listen");
    }
    Ok(Ready { app, admin, listeners: Listeners { plain, tls } })
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })
}

impl Ready {
    pub fn address(&self) -> Result<SocketAddr, StartError> {
        self.listeners.plain.local_addr().map_err(StartError::Serve)
    }

    /// Where HTTPS is spoken, if anywhere.
    pub fn tls_address(&self) -> Result<Option<SocketAddr>, StartError> {
        self.listeners.tls.as_ref().map(TcpListener::local_addr).transpose().map_err(StartError::Serve)
    }

    /// What the server's own root certificate is pinned by.
    #[must_use]
    pub fn pin(&self) -> Sha256 {
        self.app.identity.pin()
    }

    /// Serves until `stop` says so; then lets open requests end and writes down what is in memory only.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send) -> Result<(), StartError> {
        work::twins::end_left_sessions(&self.app).await.map_err(StartError::First)?;
        let excused = work::time::excuse_downtime(&self.app).await.map_err(StartError::First)?;
        if excused > 0 {
            info!(excused, "{excused} actions fell silent while the server was away and get their time again");
        }
        let (address, folder) = (self.address()?, self.app.config.data.display().to_string());
        info!(%address, folder, "serving {folder} on {address}");
        work::reseal::finish(&self.app).await;
        let workers = work::start(&self.app);
        let outcome = edge::serve::serve(self.app.clone(), self.listeners, stop).await;
        let _ = self.app.stopping.send(true);
        workers.finish().await;
        info!("stopped");
        outcome.map_err(StartError::Serve)
    }
}

/// Makes the project and the admin account if there are none.
async fn first_start(app: &App, given: Option<String>) -> Result<AdminPassword, FlowError> {
    if !app.read(|view| view.projects()).await?.is_empty() {
        return Ok(AdminPassword::Kept);
    }
    let (plain, admin) = match given {
        Some(plain) => (plain, AdminPassword::Given),
        None => {
            let made = secret::generate("")?;
            (made.clone(), AdminPassword::Made(made))
        }
    };
    let hash = tokio::task::spawn_blocking(move || password::hash(&plain))
        .await
        .map_err(|_| FlowError::Store(StoreError::Stopped))??;
    let now = clock::now();
    app.write(move |tx| set_up(tx, now, hash)).await?;
    Ok(admin)
}

fn set_up(tx: &mut Tx<'_>, now: Timestamp, hash: String) -> Result<(), FlowError> {
    let project = tx.insert_project(PROJECT, now)?;
    tx.insert_account(&Account {
        id: AccountId(0),
        project,
        name: ADMIN.to_owned(),
        password: Some(hash),
        permissions: vec![Permission::Admin],
        created_at: now,
    })?;
    let actor = muster_domain::Actor::Muster { project };
    let made = serde_json::json!({ "account": ADMIN });
    crate::flow::audit::record(tx, now, &actor, ("project.create", format!("project:{PROJECT}")), &made)
}
