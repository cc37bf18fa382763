//! The accept loop, with a limit on everything that a client could hold on to.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Request, Response},
};
use hyper::{body::Incoming, service::Service as _};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;

/// Connections at once: people, probes, and clients that follow along.
const CONNECTIONS_MAX: usize = 512;
/// How long the head of a request may take to arrive, and a connection may be idle.
const HEAD_WAIT: Duration = Duration::from_secs(15);
/// Headers of one request.
const HEADERS_MAX: usize = 64;
/// Bytes of a request's head.
const HEAD_MAX: usize = 16 * 1024;
/// How long a graceful end waits for answers that are under way.
const END_WAIT: Duration = Duration::from_secs(5);
/// How long accepting rests after it failed: no file descriptors, most likely.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Serves until told to end; streams end at once, answers that are under way are waited for.
pub(super) async fn serve(listener: TcpListener, router: Router, ending: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = ending.cancelled() => break,
        };
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("the API accepts no connection: {error}");
                let _ = tokio::time::timeout(ACCEPT_REST, ending.cancelled()).await;
                continue;
            }
        };
        let router = router.clone();
        let service =
            hyper::service::service_fn(move |request: Request<Incoming>| answer(router.clone(), request));
        let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WAIT)
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_MAX);
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let watched = graceful.watch(connection);
        tokio::spawn(async move {
            // Clients go away in all sorts of ways: nothing to be told.
            let _ = watched.await;
            drop(place);
        });
    }
    let _ = tokio::time::timeout(END_WAIT, graceful.shutdown()).await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, place))
}

async fn answer(
    router: Router,
    request: Request<Incoming>,
) -> Result<Response<Body>, std::convert::Infallible> {
    TowerToHyperService::new(router).call(request.map(Body::new)).await
}

/// The address that was bound, for people.
pub(super) fn url_of(address: SocketAddr) -> String {
    format!("http://{address}")
}
