//! How are connections taken, bounded and let go?

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use muster_vocab::limit;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tower::ServiceExt;
use tracing::{debug, warn};

use crate::App;
use crate::edge::{agent, hawkbit, http, metrics};

/// How long open requests may take to end once the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// After an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A connection that may become a remote session.
type Upgradeable<S> = hyper::server::conn::http1::UpgradeableConnection<TokioIo<TcpStream>, S>;

/// Everything the server answers.
pub fn routes(app: &Arc<App>) -> Router {
    Router::new()
        .merge(metrics::routes(app))
        .merge(http::routes::routes(app))
        .merge(agent::routes(app))
        .merge(hawkbit::routes(app))
}

/// Serves until `stop`, then lets open requests end.
///
/// One thread per core, each with its own event loop on the shared listener: a request is read, answered and written
/// by one thread, and none wakes another. Workers and blocking reads run elsewhere.
pub async fn serve(app: Arc<App>, listener: TcpListener, stop: impl Future<Output = ()> + Send) -> io::Result<()> {
    let listener = listener.into_std()?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (tell_end, mut ended) = mpsc::channel(cores);
    for core in 0..cores {
        let (app, listener, tell_end) = (app.clone(), listener.try_clone()?, tell_end.clone());
        let serve = move || {
            let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| serve_on_this_thread(app, listener)));
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

fn serve_on_this_thread(app: Arc<App>, listener: std::net::TcpListener) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(async {
        accept(app, TcpListener::from_std(listener)?).await;
        Ok(())
    });
    // Reads that still block have nobody to answer any more.
    runtime.shutdown_background();
    served
}

async fn accept_one(
    listener: &TcpListener,
    stopping: &mut watch::Receiver<bool>,
) -> Option<io::Result<(TcpStream, SocketAddr)>> {
    tokio::select! {
        accepted = listener.accept() => Some(accepted),
        _ = stopping.wait_for(|stop| *stop) => None,
    }
}

async fn accept(app: Arc<App>, listener: TcpListener) {
    let routes = routes(&app);
    // Each connection holds one end until it is over.
    let (open, mut all_over) = mpsc::channel::<()>(1);
    let mut stopping = app.stopping.subscribe();
    while let Some(accepted) = accept_one(&listener, &mut stopping).await {
        match accepted {
            Ok((stream, peer)) => {
                let connection = connection(&app, &routes, stream, peer);
                let (open, stopping) = (open.clone(), app.stopping.subscribe());
                tokio::spawn(async move {
                    if let Err(failed) = until_over(connection, stopping).await {
                        debug!(error = &failed as &dyn std::error::Error, "a connection ended early: {failed}");
                    }
                    drop(open);
                });
            }
            Err(failed) => {
                warn!(error = &failed as &dyn std::error::Error, "a connection could not be accepted: {failed}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(open);
    if tokio::time::timeout(DRAIN_TIMEOUT, all_over.recv()).await.is_err() {
        warn!("some requests did not end in {} s and were cut", DRAIN_TIMEOUT.as_secs());
    }
}

/// Serves a connection; once the server stops, only the request that is under way.
async fn until_over<S>(connection: Upgradeable<S>, mut stopping: watch::Receiver<bool>) -> hyper::Result<()>
where
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

fn connection(
    app: &Arc<App>,
    routes: &Router,
    stream: TcpStream,
    peer: SocketAddr,
) -> Upgradeable<
    impl hyper::service::Service<
        hyper::Request<Incoming>,
        Response = axum::response::Response,
        Error = std::convert::Infallible,
        Future: Send,
    > + use<>,
> {
    if let Err(failed) = stream.set_nodelay(true) {
        debug!(error = &failed as &dyn std::error::Error, "no TCP_NODELAY: {failed}");
    }
    let (app, routes) = (app.clone(), routes.clone());
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        // 999 of 1,000 requests are polls: they don't look for their route.
        let is_poll = hawkbit::is_poll(&request);
        let (app, routes) = (is_poll.then(|| app.clone()), (!is_poll).then(|| routes.clone()));
        async move {
            match (app, routes) {
                (Some(app), _) => Ok(hawkbit::poll(&app, request.into_parts().0).await),
                (None, Some(routes)) => routes.oneshot(request.map(axum::body::Body::new)).await,
                (None, None) => Ok(axum::http::StatusCode::NOT_FOUND.into_response()),
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
