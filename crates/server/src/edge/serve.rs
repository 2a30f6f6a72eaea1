//! How are connections taken, bounded and let go?

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use muster_vocab::limit;
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;
use tracing::{debug, warn};

use crate::App;
use crate::edge::{hawkbit, http, metrics};

/// How long open requests may take to end once the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// After an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Everything the server answers.
pub fn routes(app: &Arc<App>) -> Router {
    Router::new().merge(metrics::routes(app)).merge(http::routes::routes(app)).merge(hawkbit::routes(app))
}

/// Serves until `stop`, then lets open requests end.
pub async fn serve(app: Arc<App>, listener: TcpListener, stop: impl Future<Output = ()> + Send) -> io::Result<()> {
    let routes = routes(&app);
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection = connection(&routes, stream, peer);
                let watched = graceful.watch(connection);
                tokio::spawn(async move {
                    if let Err(failed) = watched.await {
                        debug!(error = &failed as &dyn std::error::Error, "a connection ended early: {failed}");
                    }
                });
            }
            Err(failed) => {
                warn!(error = &failed as &dyn std::error::Error, "a connection could not be accepted: {failed}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Event streams end when they see this; everything else ends by itself.
    let _ = app.stopping.send(true);
    if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        warn!("some requests did not end in {} s and were cut", DRAIN_TIMEOUT.as_secs());
    }
    Ok(())
}

fn connection(
    routes: &Router,
    stream: TcpStream,
    peer: std::net::SocketAddr,
) -> hyper::server::conn::http1::Connection<
    TokioIo<TcpStream>,
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
    let routes = routes.clone();
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        routes.clone().oneshot(request)
    });
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limit::HEADER_READ_TIMEOUT)
        .max_buf_size(limit::HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
}
