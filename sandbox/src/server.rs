//! The HTTP server: accepts connections on loopback, finds out which service a request is for, applies the
//! fault script around it, answers.

pub(crate) mod accounts;
pub(crate) mod dispatch;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::accounts::Accounts;
use crate::world::World;
use crate::{Options, SandboxError, files};

/// Connections served at once; the rest wait to be accepted. SDK pools stay far below it, and each costs at
/// most a few file handles of the usual 1024.
const CONNECTIONS_MAX: usize = 400;

/// How long a connection may take to send a request's head, which is also how long an idle one is kept. Long,
/// because a client that reuses a connection just as it is closed sees a lost answer.
const HEAD_WAIT: Duration = Duration::from_mins(30);

/// How long a shutdown waits for requests in progress.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(3);

/// A bound port that does not answer yet.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

/// A server that answers.
#[derive(Debug)]
pub(crate) struct Server {
    accounts: Arc<Accounts>,
    stop: CancellationToken,
    accepting: JoinHandle<()>,
}

/// Binds the port asked for; without one, the port of the previous start, so that links and jobs that hold
/// the endpoint's URL go on working, or else any free one.
pub(crate) async fn bind(options: &Options) -> Result<Listener, SandboxError> {
    let remembered = options.root.join("port");
    let previous = || files::read_json::<u16>(&remembered).ok().flatten().unwrap_or(0);
    let port = options.port.unwrap_or_else(previous);
    let socket = match listen(port).await {
        Err(_) if options.port.is_none() => listen(0).await,
        bound => bound,
    };
    let socket = socket.map_err(|source| SandboxError::Port { port, source })?;
    let address = socket.local_addr().map_err(|source| SandboxError::Port { port: 0, source })?;
    Ok(Listener { socket, address })
}

impl Listener {
    /// The URL under which the server will answer.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Opens the services and begins to answer.
    pub(crate) async fn serve(self, world: Arc<World>) -> Result<Server, SandboxError> {
        let remembered = world.root.join("port");
        files::replace_json(&remembered, &self.address.port())
            .map_err(|error| SandboxError::files("write", &remembered, error))?;
        let accounts = Arc::new(Accounts::open(world).await?);
        let stop = CancellationToken::new();
        let accepting = tokio::spawn(accept(self.socket, Arc::clone(&accounts), stop.clone()));
        Ok(Server { accounts, stop, accepting })
    }
}

impl Server {
    /// Stops accepting, waits a little for requests in progress, and ends the services.
    pub(crate) async fn shutdown(self) {
        self.stop.cancel();
        if let Err(error) = self.accepting.await {
            tracing::warn!(%error, "the sandbox's server ended badly");
        }
        self.accounts.shutdown().await;
    }
}

async fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await
}

async fn accept(socket: TcpListener, accounts: Arc<Accounts>, stop: CancellationToken) {
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let slot = tokio::select! {
            slot = Arc::clone(&slots).acquire_owned() => slot,
            () = stop.cancelled() => break,
        };
        let Ok(slot) = slot else { break };
        let stream = tokio::select! {
            accepted = socket.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file handles, most likely: give connections in progress time to end.
                    tracing::warn!(%error, "cannot accept a connection");
                    accounts.first().world().pause(Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = stop.cancelled() => break,
        };
        let connection = graceful.watch(connection(stream, Arc::clone(&accounts)));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(slot);
        });
    }
    drop(socket);
    if tokio::time::timeout(SHUTDOWN_WAIT, graceful.shutdown()).await.is_err() {
        tracing::info!("some connections were still busy at shutdown");
    }
}

fn connection(
    stream: TcpStream,
    accounts: Arc<Accounts>,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> {
    // Small answers must not wait for more to come.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set nodelay");
    }
    let service = service_fn(move |request| {
        let accounts = Arc::clone(&accounts);
        // A connection that breaks must not leave a call half done: the call runs to its end in any case.
        async move { tokio::spawn(dispatch::answer(accounts, request)).await.map_err(io::Error::other)? }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .serve_connection(TokioIo::new(stream), service)
}
