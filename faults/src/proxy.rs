//! A proxy on a link: it can cut, go silent, and play tricks on single calls: cut before the
//! other side heard of them, or after it answered and before the answer arrived.
//!
//! It understands just enough of the two protocols to tell one call from the next: HTTP/1.1
//! with a length ([`http`]), and Postgres' messages ([`sql`]). What it does not understand it
//! passes on as it is.

mod http;
mod link;
mod sql;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Context as _;
use tokio::{
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    task::JoinHandle,
};

/// Calls whose bodies are kept; a trial makes some hundred of those that are looked at.
const KEPT_CALLS_MAX: usize = 10_000;

/// Where a link leads.
#[derive(Clone, Debug)]
pub(crate) enum Upstream {
    /// A sandbox.
    Sandbox(String),
    /// The socket of a Postgres.
    Store(PathBuf),
}

/// What happens to everything on a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It passes.
    #[default]
    Open,
    /// It waits, and nobody is told: half-open connections.
    Silent,
    /// Connections are cut and new ones refused.
    Closed,
}

/// When a call is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Moment {
    /// Before the other side heard of it.
    BeforeAccept,
    /// After the other side did it and before its answer arrived.
    AfterAccept,
}

/// One kind of call to cut off, so often.
#[derive(Clone, Debug)]
pub struct Trick {
    /// The operation, e.g. `StartJobRun`, or words of the statement, e.g. `save_runs`.
    pub call: &'static str,
    /// Calls of the kind that pass before.
    pub skip: u32,
    /// Calls that are cut off.
    pub times: u32,
    /// When.
    pub moment: Moment,
}

/// A call that went by.
#[derive(Clone, Debug)]
pub struct Call {
    /// The operation.
    pub operation: String,
    /// The body, as it was sent.
    pub body: String,
}

/// The part of a link that its connections share.
#[derive(Debug, Default)]
struct Control {
    mode: watch::Sender<Mode>,
    /// The number of the next connection.
    next: AtomicU64,
    /// Connections with smaller numbers are silent for good.
    forgotten: AtomicU64,
    tricks: Mutex<Vec<Trick>>,
    calls: Mutex<Vec<Call>>,
    /// Calls that were cut off.
    cuts: Mutex<Vec<(String, Moment)>>,
}

/// A running proxy; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Its port on loopback.
    pub port: u16,
    control: Arc<Control>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens on loopback.
    pub(crate) async fn start(upstream: Upstream) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("a proxy cannot listen")?;
        let port = listener.local_addr()?.port();
        let control = Arc::new(Control::default());
        let shared = Arc::clone(&control);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // Dropped at once, which the client sees as a connection that was reset.
                if *shared.mode.borrow() != Mode::Closed {
                    tokio::spawn(serve(client, upstream.clone(), Arc::clone(&shared)));
                }
            }
        });
        Ok(Self { port, control, accepting })
    }

    /// Changes what happens to everything.
    pub(crate) fn set(&self, mode: Mode) {
        self.control.mode.send_replace(mode);
    }

    /// Cuts every connection; new ones pass.
    pub(crate) fn cut(&self) {
        // Each connection sees every change, however short it was.
        self.set(Mode::Closed);
        self.set(Mode::Open);
    }

    /// Loses every connection without telling anybody, as a firewall does; new ones pass.
    pub(crate) fn forget(&self) {
        self.control.forgotten.store(self.control.next.load(Ordering::SeqCst), Ordering::SeqCst);
        self.set(Mode::Open);
    }

    /// Replaces the tricks, and forgets the calls that went by.
    pub(crate) fn play(&self, tricks: Vec<Trick>) {
        *lock(&self.control.tricks) = tricks;
        lock(&self.control.calls).clear();
        lock(&self.control.cuts).clear();
        self.set(Mode::Open);
    }

    /// The calls that went by since.
    pub(crate) fn calls(&self) -> Vec<Call> {
        lock(&self.control.calls).clone()
    }

    /// The calls that were cut off since.
    pub(crate) fn cuts(&self) -> Vec<(String, Moment)> {
        lock(&self.control.cuts).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.set(Mode::Closed);
    }
}

impl Control {
    /// Whether nothing of this connection passes now.
    fn is_silent(&self, connection: u64, mode: Mode) -> bool {
        let forgotten = connection < self.forgotten.load(Ordering::SeqCst);
        mode == Mode::Silent || (forgotten && mode == Mode::Open)
    }

    /// What happens to this call, which counts as made.
    fn judge(&self, is_meant: impl Fn(&str) -> bool) -> Option<Moment> {
        let mut tricks = lock(&self.tricks);
        let trick = tricks.iter_mut().find(|trick| trick.times > 0 && is_meant(trick.call))?;
        if trick.skip > 0 {
            trick.skip -= 1;
            return None;
        }
        trick.times -= 1;
        lock(&self.cuts).push((trick.call.to_owned(), trick.moment));
        Some(trick.moment)
    }

    fn note(&self, call: Call) {
        let mut calls = lock(&self.calls);
        if calls.len() < KEPT_CALLS_MAX {
            calls.push(call);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(client: TcpStream, upstream: Upstream, control: Arc<Control>) {
    // What cannot be reached is as good as cut: the client finds out by itself.
    match upstream {
        Upstream::Sandbox(authority) => {
            let Ok(server) = TcpStream::connect(authority).await else { return };
            link::pass(client, server, http::Reader::default(), control).await;
        }
        Upstream::Store(socket) => {
            let Ok(server) = UnixStream::connect(socket).await else { return };
            link::pass(client, server, sql::Reader::default(), control).await;
        }
    }
}

#[cfg(test)]
mod tests;
