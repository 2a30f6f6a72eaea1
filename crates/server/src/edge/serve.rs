//! How are connections taken, bounded and let go?

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use muster_vocab::limit;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;
use tracing::{debug, warn};

use crate::App;
use crate::edge::address::{self, Client, Place};
use crate::edge::peer::{Peer, PeerCertificate};
use crate::edge::turn::InTurn;
use crate::edge::{agent, est, hawkbit, http, metrics};

/// How long open requests may take to end once the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// After an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// After so many tasks a thread looks who has sent something. A task may be a step of a handshake (0.2 ms): with tokio's 61,
/// devices that are connected would wait for 12 ms while a crowd comes back.
const EVENT_INTERVAL: u32 = 4;

/// What is not hawkBit's protocol, whose paths begin with a project.
const OTHERS: [&str; 3] = ["/api/", "/device/", "/.well-known/"];

/// A connection that may become a remote session.
type Upgradeable<I, S> = hyper::server::conn::http1::UpgradeableConnection<TokioIo<I>, S>;

/// Where the server is reached.
#[derive(Debug)]
pub struct Listeners {
    pub plain: TcpListener,
    pub tls: Option<TcpListener>,
}

/// Everything the server answers.
pub fn routes(app: &Arc<App>) -> Router {
    Router::new()
        .merge(metrics::routes(app))
        .merge(http::routes::routes(app))
        .merge(agent::routes(app))
        .merge(est::routes(app))
        .merge(hawkbit::routes(app))
}

/// Serves until `stop`, then lets open requests end.
///
/// One thread per core, each with its own event loop on the shared listener: a request is read, answered and written
/// by one thread, and none wakes another. Workers and blocking reads run elsewhere.
pub async fn serve(app: Arc<App>, listeners: Listeners, stop: impl Future<Output = ()> + Send) -> io::Result<()> {
    let plain = listeners.plain.into_std()?;
    let tls = listeners.tls.map(TcpListener::into_std).transpose()?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (tell_end, mut ended) = mpsc::channel(cores);
    for core in 0..cores {
        let (app, tell_end) = (app.clone(), tell_end.clone());
        let listeners = (plain.try_clone()?, tls.as_ref().map(std::net::TcpListener::try_clone).transpose()?);
        let serve = move || {
            let caught =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| serve_on_this_thread(app, listeners)));
            let outcome = caught.unwrap_or_else(|_| Err(io::Error::other("a thread that serves panicked")));
            // Nobody listens any more once the server has given up.
            let _ = tell_end.blocking_send(outcome);
        };
        std::thread::Builder::new().name(format!("serve-{core}")).spawn(serve)?;
    }
    drop(tell_end);
    let early = tokio::select! {
        early = ended.recv() => early,
        () = stop => None,
    };
    // Event streams end when they see this, and so do the threads; everything else ends by itself.
    let _ = app.stopping.send(true);
    let mut outcome = early.unwrap_or(Ok(()));
    while let Some(end) = ended.recv().await {
        outcome = outcome.and(end);
    }
    outcome
}

type StdListeners = (std::net::TcpListener, Option<std::net::TcpListener>);

fn serve_on_this_thread(app: Arc<App>, (plain, tls): StdListeners) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().event_interval(EVENT_INTERVAL).build()?;
    let served = runtime.block_on(async {
        // Each connection holds one end until it is over.
        let (open, mut all_over) = mpsc::channel::<()>(1);
        let here = Here {
            routes: routes(&app),
            app,
            _open: open,
            handshakes: Arc::new(Semaphore::new(limit::HANDSHAKES_PER_CORE_MAX)),
            steps: Arc::new(Semaphore::new(limit::HANDSHAKE_STEPS_PER_CORE_MAX)),
        };
        let plain = TcpListener::from_std(plain)?;
        match tls.map(TcpListener::from_std).transpose()? {
            Some(tls) => drop(tokio::join!(accept_plain(&here, plain), accept_tls(&here, tls))),
            None => accept_plain(&here, plain).await,
        }
        drop(here);
        if tokio::time::timeout(DRAIN_TIMEOUT, all_over.recv()).await.is_err() {
            warn!("some requests did not end in {} s and were cut", DRAIN_TIMEOUT.as_secs());
        }
        Ok(())
    });
    // Reads that still block have nobody to answer any more.
    runtime.shutdown_background();
    served
}

/// What the connections of one thread share.
#[derive(Clone)]
struct Here {
    app: Arc<App>,
    routes: Router,
    /// Dropped with the last connection.
    _open: mpsc::Sender<()>,
    /// Under way, most of them waiting for the other side; the others wait outside.
    handshakes: Arc<Semaphore>,
    /// Of handshakes, that are ready to be computed: whoever is connected is served in between.
    steps: Arc<Semaphore>,
}

/// The next connection; none once the server stops.
async fn accept_one(here: &Here, listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    let mut stopping = here.app.stopping.subscribe();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|stop| *stop) => return None,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Err(failed) = stream.set_nodelay(true) {
                    debug!(error = &failed as &dyn std::error::Error, "no TCP_NODELAY: {failed}");
                }
                return Some((stream, peer));
            }
            Err(failed) => {
                warn!(error = &failed as &dyn std::error::Error, "a connection could not be accepted: {failed}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn accept_plain(here: &Here, listener: TcpListener) {
    while let Some((stream, address)) = accept_one(here, &listener).await {
        let peer = Peer { address, is_tls: false, since: here.app.now(), certificate: None };
        let here = here.clone();
        let Some(place) = Place::take(&here.app, address.ip()) else {
            debug!("{address} has too many connections");
            continue;
        };
        tokio::spawn(async move {
            serve_one(&here, stream, peer).await;
            drop(place);
        });
    }
}

async fn accept_tls(here: &Here, listener: TcpListener) {
    let Some(source) = &here.app.tls else { return };
    loop {
        // Before the connection is taken: until then the kernel keeps it, at no cost to others.
        let Ok(seat) = here.handshakes.clone().acquire_owned().await else { return };
        let Some((stream, address)) = accept_one(here, &listener).await else { return };
        let Some(place) = Place::take(&here.app, address.ip()) else {
            debug!("{address} has too many connections");
            continue;
        };
        let (here, config) = (here.clone(), source.config());
        tokio::spawn(async move {
            let _place = place;
            // On the heap, and gone with the handshake: what a connection needs later is far smaller.
            let shaking = Box::pin(TlsAcceptor::from(config).accept(stream));
            let shaking = InTurn::new(shaking, here.steps.clone());
            let shaken = Box::pin(tokio::time::timeout(limit::HANDSHAKE_TIMEOUT, shaking)).await;
            drop(seat);
            let stream = match shaken {
                Ok(Ok(stream)) => stream,
                Ok(Err(failed)) => {
                    return debug!(error = &failed as &dyn std::error::Error, "a handshake failed: {failed}");
                }
                Err(_) => return debug!("a handshake took too long"),
            };
            let peer = shown(&here.app, address, stream.get_ref().1);
            serve_one(&here, Box::new(stream), peer).await;
        });
    }
}

fn shown(app: &App, address: SocketAddr, connection: &rustls::ServerConnection) -> Peer {
    let now = app.now();
    let chain = connection.peer_certificates().unwrap_or_default();
    let chain: Vec<Vec<u8>> = chain.iter().map(|der| der.to_vec()).collect();
    let certificate = PeerCertificate::read(app, &chain, now).map(Arc::new);
    Peer { address, is_tls: true, since: now, certificate }
}

async fn serve_one<I>(here: &Here, stream: I, peer: Peer)
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let connection = connection(here, stream, peer);
    if let Err(failed) = until_over(connection, here.app.stopping.subscribe()).await {
        debug!(error = &failed as &dyn std::error::Error, "a connection ended early: {failed}");
    }
}

/// Serves a connection; once the server stops, only the request that is under way.
async fn until_over<I, S>(connection: Upgradeable<I, S>, mut stopping: watch::Receiver<bool>) -> hyper::Result<()>
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    S: hyper::service::Service<
            hyper::Request<Incoming>,
            Response = axum::response::Response,
            Error = std::convert::Infallible,
            Future: Send,
        >,
{
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        over = connection.as_mut() => return over,
        _ = stopping.wait_for(|stop| *stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}

fn connection<I>(
    here: &Here,
    stream: I,
    peer: Peer,
) -> Upgradeable<
    I,
    impl hyper::service::Service<
        hyper::Request<Incoming>,
        Response = axum::response::Response,
        Error = std::convert::Infallible,
        Future: Send,
    > + use<I>,
>
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (app, routes) = (here.app.clone(), here.routes.clone());
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        // 999 of 1,000 requests are polls: they don't look for their route.
        let routes = (!hawkbit::is_poll(&request)).then(|| routes.clone());
        let is_ddi = !OTHERS.iter().any(|other| request.uri().path().starts_with(other));
        let app = app.clone();
        let client = Client::of(request.headers(), peer.address.ip(), &app.config.trusted_proxies);
        async move {
            let answer = match routes {
                None => hawkbit::poll(&app, request.into_parts().0).await,
                Some(routes) => routes.oneshot(request.map(axum::body::Body::new)).await?,
            };
            match answer.status() {
                StatusCode::UNAUTHORIZED => Ok(address::unauthenticated(&app, client, is_ddi, answer)),
                _ => Ok(answer),
            }
        }
    });
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limit::HEADER_READ_TIMEOUT)
        .max_buf_size(limit::HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
}
