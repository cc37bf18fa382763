//! The accept loop, with a limit on everything that a client could hold on to.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request, Response, Version, header},
};
use hyper::{body::Incoming, service::Service as _};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    tls::HTTP_2,
    under_way::{Begun, UnderWay},
    way::Way,
};

/// Connections at once: people, probes, and clients that follow along.
const CONNECTIONS_MAX: usize = 1_024;
/// Of these, from one address: a browser opens six, and whoever opens more than this leaves room for others.
const CONNECTIONS_OF_ONE_MAX: u32 = 64;
/// How long the head of a request may take to arrive, from the first moment on, and a connection may be idle.
const HEAD_WAIT: Duration = Duration::from_secs(10);
/// Headers of one request.
const HEADERS_MAX: usize = 64;
/// Bytes of a request's head.
const HEAD_MAX: usize = 16 * 1024;
/// Requests at once on one connection of HTTP/2: a page asks for a dozen things.
const STREAMS_MAX: u32 = 32;
/// Bytes of answers that wait in memory for one stream of HTTP/2 whose client reads slowly.
const UNSENT_MAX: usize = 64 * 1024;
/// How long a graceful end waits for answers that are under way.
const END_WAIT: Duration = Duration::from_secs(5);
/// How long accepting rests after it failed: no file descriptors, most likely.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Where a request came from; of a proxy that is not known, the proxy's address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// How many connections each address has.
type Counts = Arc<Mutex<HashMap<IpAddr, u32>>>;

/// The connections that there may be at once.
#[derive(Debug)]
struct Places {
    all: Arc<Semaphore>,
    /// How many each address has; none where addresses are not told apart.
    of_each: Option<Counts>,
}

/// One connection's place; given back when it goes.
#[derive(Debug)]
struct OwnPlace {
    _one_of_all: OwnedSemaphorePermit,
    of_each: Option<(IpAddr, Counts)>,
}

impl Places {
    fn new(tell_apart: bool) -> Self {
        Self { all: Arc::new(Semaphore::new(CONNECTIONS_MAX)), of_each: tell_apart.then(Counts::default) }
    }

    /// A place for a connection from this address, unless it has too many already.
    fn take(&self, one_of_all: OwnedSemaphorePermit, address: IpAddr) -> Option<OwnPlace> {
        let address = address.to_canonical();
        if let Some(of_each) = &self.of_each {
            let mut counts = of_each.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(address).or_default();
            if *count >= CONNECTIONS_OF_ONE_MAX {
                return None;
            }
            *count += 1;
        }
        let of_each = self.of_each.as_ref().map(|of_each| (address, Arc::clone(of_each)));
        Some(OwnPlace { _one_of_all: one_of_all, of_each })
    }
}

impl Drop for OwnPlace {
    fn drop(&mut self) {
        let Some((address, of_each)) = &self.of_each else { return };
        let mut counts = of_each.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(address);
            }
        }
    }
}

/// Serves until told to end; streams end at once, answers that are under way are waited for.
pub(super) async fn serve(listener: TcpListener, router: Router, way: Way, ending: CancellationToken) {
    let (visits, places) = (TaskTracker::new(), Places::new(!way.is_proxied()));
    if let Way::Tls(tls) = &way {
        tokio::spawn(Arc::clone(tls).follow(ending.clone()));
    }
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places.all) => accepted,
            () = ending.cancelled() => break,
        };
        let (stream, from, one_of_all) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("the API accepts no connection: {error}");
                let _ = tokio::time::timeout(ACCEPT_REST, ending.cancelled()).await;
                continue;
            }
        };
        let from = from.ip().to_canonical();
        // Closed without a word: an answer would cost what is being saved.
        if !way.is_open_to(from) {
            continue;
        }
        let Some(place) = places.take(one_of_all, from) else { continue };
        let visit = Visit { router: router.clone(), way: way.clone(), from, ending: ending.clone() };
        visits.spawn(async move {
            visit.converse(stream).await;
            drop(place);
        });
    }
    visits.close();
    let _ = tokio::time::timeout(END_WAIT, visits.wait()).await;
}

async fn accept(
    listener: &TcpListener,
    all: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let one_of_all = Arc::clone(all).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, from) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, from, one_of_all))
}

/// One connection.
struct Visit {
    router: Router,
    way: Way,
    from: IpAddr,
    ending: CancellationToken,
}

impl Visit {
    async fn converse(self, stream: TcpStream) {
        let Way::Tls(tls) = &self.way else { return self.speak(stream, false).await };
        // Clients go away in all sorts of ways, and some never meant to speak TLS: nothing to be told.
        let handshake = tokio::time::timeout(HEAD_WAIT, tls.acceptor().accept(stream));
        let Some(Ok(Ok(stream))) = self.ending.run_until_cancelled(handshake).await else { return };
        let http_2 = stream.get_ref().1.alpn_protocol() == Some(HTTP_2);
        self.speak(stream, http_2).await;
    }

    async fn speak(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, http_2: bool) {
        let Self { router, way, from, ending } = self;
        let under_way = UnderWay::default();
        let service = hyper::service::service_fn(|request: Request<Incoming>| {
            answer(router.clone(), way.peer(from, request.headers()), request, under_way.begin())
        });
        let builder = if http_2 { http_2_builder() } else { http_1_builder() };
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            _ = connection.as_mut() => return,
            () = ending.cancelled() => {},
            // HTTP/1 times itself: the next head has to come.
            () = under_way.rests(HEAD_WAIT), if http_2 => {},
        }
        connection.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(END_WAIT, connection).await;
    }
}

fn http_1_builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_MAX);
    builder
}

/// A client that takes requests back faster than they can be turned away is cut off by `h2` itself.
fn http_2_builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new()).http2_only();
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEAD_MAX).unwrap_or(u32::MAX))
        .max_send_buf_size(UNSENT_MAX)
        .keep_alive_interval(HEAD_WAIT)
        .keep_alive_timeout(HEAD_WAIT);
    builder
}

async fn answer(
    router: Router,
    peer: Peer,
    request: Request<Incoming>,
    begun: Begun,
) -> Result<Response<Body>, std::convert::Infallible> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(peer);
    // HTTP/2 has the name in the request line (RFC 9113, section 8.3.1); whatever looks for it does so here.
    let name = request.uri().authority().map(|name| HeaderValue::from_str(name.as_str()));
    if let (true, Some(Ok(name))) = (request.version() == Version::HTTP_2, name)
        && !request.headers().contains_key(header::HOST)
    {
        request.headers_mut().insert(header::HOST, name);
    }
    let answer = TowerToHyperService::new(router).call(request).await?;
    Ok(answer.map(|body| begun.until_sent(body)))
}

/// The address that was bound, for people.
pub(super) fn url_of(address: SocketAddr, way: &Way) -> String {
    let scheme = if matches!(way, Way::Tls(_)) { "https" } else { "http" };
    format!("{scheme}://{address}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_leaves_room_for_others() {
        let take = |places: &Places, address: &str| {
            let one_of_all = Arc::clone(&places.all).try_acquire_owned().unwrap();
            places.take(one_of_all, address.parse().unwrap())
        };
        let places = Places::new(true);
        let mut held: Vec<_> = (0..CONNECTIONS_OF_ONE_MAX).map(|_| take(&places, "127.0.0.1")).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(take(&places, "127.0.0.1").is_none() && take(&places, "::ffff:127.0.0.1").is_none());
        assert!(take(&places, "127.0.0.2").is_some());
        held.pop();
        assert!(take(&places, "127.0.0.1").is_some(), "a place was given back");
        held.clear();
        assert!(places.of_each.as_ref().unwrap().lock().unwrap().is_empty());
        assert_eq!(places.all.available_permits(), CONNECTIONS_MAX);
        let proxied = Places::new(false);
        let held: Vec<_> = (0..=CONNECTIONS_OF_ONE_MAX).map(|_| take(&proxied, "10.0.0.1")).collect();
        assert!(held.iter().all(Option::is_some));
    }
}
