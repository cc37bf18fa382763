//! What happens, as it happens: server-sent events, resumed from the stored history.
//!
//! One reader follows the store for all clients of this server, and only while there are any. A client that
//! comes back names the last event that it saw, and gets everything since, from whichever server.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header},
    response::Response,
};
use futures::{Stream, stream};
use serde::Serialize;
use tokio::{sync::broadcast, time::Interval};
use tokio_util::sync::CancellationToken;
use trunkline_state::{
    ids::RunId,
    store::{FollowPlace, FollowRow, Store, StoreError},
};

use super::{
    Api,
    guard::Visitor,
    problem::{Kind, Problem},
    routes::{Call, Nothing, Routes, outline},
    runs::RunPath,
};
use crate::service::{find, token::Scope, views::ChangeView};

/// Clients that follow along at once; each holds a connection.
const CLIENTS_MAX: usize = 200;
/// How often the store is asked for news, while anybody listens.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Rows of one look.
const ROWS_MAX: i64 = 200;
/// News that a slow client may be behind; then it reads them from the store itself.
const BEHIND_MAX: usize = 1_000;
/// A sign of life for proxies and clients, and how soon somebody hears nothing more who may not any longer.
const BEAT_EVERY: Duration = Duration::from_secs(15);

pub(super) fn add(routes: Routes) -> Routes {
    routes.stream(outline(Scope::Read, "/events", "follow", "What happens to all runs"), follow_all).stream(
        outline(Scope::Read, "/runs/{run}/events", "follow_run", "What happens to one run"),
        follow_run,
    )
}

/// One commit of one run, as it is sent.
#[derive(Debug, Serialize)]
struct EventView {
    /// The run's id.
    id: String,
    /// `pipeline@key`.
    run: String,
    /// Its number in the run's history.
    seq: i32,
    /// When.
    at: jiff::Timestamp,
    /// Who made it happen.
    actor: String,
    /// What changed.
    changes: Vec<ChangeView>,
}

/// An event, ready to be sent to any client.
#[derive(Debug)]
struct News {
    place: FollowPlace,
    /// Where the pipeline's file lies.
    folder: String,
    data: String,
}

/// The one reader of this server.
pub(super) struct Tail {
    store: Store,
    ending: CancellationToken,
    clients: AtomicUsize,
    news: broadcast::Sender<Arc<News>>,
    /// Where the reader is; none while nobody listens.
    reading: tokio::sync::Mutex<Option<FollowPlace>>,
}

impl Tail {
    pub(super) fn new(store: Store, ending: CancellationToken) -> Self {
        Self {
            store,
            ending,
            clients: AtomicUsize::new(0),
            news: broadcast::channel(BEHIND_MAX).0,
            reading: tokio::sync::Mutex::default(),
        }
    }

    /// Clients that follow at this moment.
    pub(super) fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    /// Takes a place, and begins reading if nobody listened before.
    async fn join(self: &Arc<Self>) -> Result<(Seat, FollowPlace), Problem> {
        if self.clients.fetch_add(1, Ordering::Relaxed) >= CLIENTS_MAX {
            self.clients.fetch_sub(1, Ordering::Relaxed);
            let detail = format!("{CLIENTS_MAX} clients follow along already; try again later");
            return Err(Problem::new(Kind::TooMany, detail));
        }
        // From here on the place is given back whatever happens.
        let seat = Seat { tail: Arc::clone(self), news: self.news.subscribe() };
        let mut reading = self.reading.lock().await;
        if let Some(place) = *reading {
            return Ok((seat, place));
        }
        let place = self.store.follow_from_now().await?;
        *reading = Some(place);
        tokio::spawn(Arc::clone(self).read());
        Ok((seat, place))
    }

    /// Reads for everybody, until nobody listens any more.
    async fn read(self: Arc<Self>) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = self.ending.cancelled() => return,
            }
            let mut reading = self.reading.lock().await;
            if self.news.receiver_count() == 0 {
                *reading = None;
                return;
            }
            let Some(mut place) = *reading else { return };
            match self.portion(place).await {
                Ok(news) => {
                    for entry in news {
                        place = entry.place;
                        let _ = self.news.send(entry);
                    }
                    *reading = Some(place);
                }
                Err(error) => tracing::debug!("no news: {error}"),
            }
        }
    }

    /// The events after a place.
    async fn portion(&self, after: FollowPlace) -> Result<Vec<Arc<News>>, StoreError> {
        let rows = self.store.follow(after, ROWS_MAX).await?;
        let told = |row: &FollowRow| {
            let run = row.run;
            let tasks: Vec<usize> = row.changes.iter().filter_map(|change| change.task).collect();
            tasks.into_iter().map(move |task| (run, task))
        };
        let concerned: BTreeSet<(RunId, usize)> = rows.iter().flat_map(told).collect();
        let names =
            if concerned.is_empty() { HashMap::new() } else { self.store.task_names(&concerned).await? };
        Ok(rows
            .into_iter()
            .map(|row| {
                Arc::new(News { place: row.place, folder: row.folder.clone(), data: written(row, &names) })
            })
            .collect())
    }
}

/// A client's place; given back when the client goes.
struct Seat {
    tail: Arc<Tail>,
    news: broadcast::Receiver<Arc<News>>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.tail.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

fn written(row: FollowRow, names: &HashMap<(RunId, usize), String>) -> String {
    let view = EventView {
        id: row.run.to_string(),
        run: format!("{}@{}", row.pipeline, row.key),
        seq: row.place.seq,
        at: row.at,
        actor: row.actor,
        changes: row
            .changes
            .iter()
            .map(|change| {
                let task = change.task.and_then(|position| names.get(&(row.run, position)).cloned());
                ChangeView::new(change, task)
            })
            .collect(),
    };
    serde_json::to_string(&view).unwrap_or_default()
}

async fn follow_all(call: Call<Nothing, Nothing, Nothing>) -> Result<Response, Problem> {
    begin(&call, None).await
}

async fn follow_run(call: Call<RunPath, Nothing, Nothing>) -> Result<Response, Problem> {
    let run = find::run(&call.store, &call.path.run).await?;
    begin(&call, Some(run)).await
}

async fn begin<P>(call: &Call<P, Nothing, Nothing>, run: Option<RunId>) -> Result<Response, Problem> {
    let api = &call.api;
    let seen =
        call.last_event.as_deref().filter(|text| !text.is_empty()).map(str::parse::<FollowPlace>).transpose();
    let seen = seen.map_err(|()| {
        Problem::invalid("Last-Event-ID is no id of these events; leave it out to begin with what comes now")
    })?;
    let (seat, here) = api.tail.join().await?;
    let mut beats = tokio::time::interval(BEAT_EVERY);
    // Its first one would be at once.
    beats.reset();
    let client = Client {
        seat,
        run,
        api: Arc::clone(api),
        visitor: call.visitor.clone(),
        seen: seen.unwrap_or(here),
        // Whatever lies between what the client saw and what the reader sends next.
        behind: true,
        ready: VecDeque::from([Bytes::from_static(b"retry: 2000\n\n")]),
        beats,
    };
    let mut response = Response::new(Body::from_stream(events(client)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    Ok(response)
}

/// One client that follows along.
struct Client {
    seat: Seat,
    /// Only of this run.
    run: Option<RunId>,
    api: Arc<Api>,
    /// Whoever listens. One reader reads for all, and each is told only of pipelines that they may look at.
    visitor: Visitor,
    /// Everything up to here was sent, or was not wanted.
    seen: FollowPlace,
    /// Whether there may be older events in the store than those that the reader sends next.
    behind: bool,
    ready: VecDeque<Bytes>,
    beats: Interval,
}

impl Client {
    fn take(&mut self, news: &News) {
        if news.place <= self.seen {
            return;
        }
        self.seen = news.place;
        let wanted = self.run.is_none_or(|run| run.0 == news.place.run);
        if wanted && self.visitor.rights.hold_in(&news.folder, Scope::Read) {
            self.ready.push_back(format!("id: {}\ndata: {}\n\n", news.place, news.data).into());
        }
    }

    /// Says that there is still somebody, and looks whether whoever listens still may: their token or account may
    /// be gone, or their roles be others.
    async fn beat(&mut self) -> Result<bool, Problem> {
        let still = self.api.guard.still(&self.api.whole, &self.visitor).await?;
        let Some(visitor) = still.filter(|visitor| visitor.rights.most().is_some()) else { return Ok(false) };
        self.visitor = visitor;
        self.ready.push_back(Bytes::from_static(b": still here\n\n"));
        Ok(true)
    }

    /// Reads a portion of what the client has not seen; the rest follows, or the reader has it.
    async fn catch_up(&mut self) -> Result<(), StoreError> {
        let news = self.seat.tail.portion(self.seen).await?;
        self.behind = news.len() == usize::try_from(ROWS_MAX).unwrap_or(usize::MAX);
        for entry in news {
            self.take(&entry);
        }
        Ok(())
    }
}

/// The stream of one client; ends with the server, and where the store fails: the client comes again.
fn events(client: Client) -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold(client, |mut client| async move {
        loop {
            if let Some(bytes) = client.ready.pop_front() {
                return Some((Ok(bytes), client));
            }
            if client.behind {
                if let Err(error) = client.catch_up().await {
                    tracing::debug!("a stream of events ends: {error}");
                    return None;
                }
                continue;
            }
            let api = Arc::clone(&client.api);
            let heard = tokio::select! {
                heard = client.seat.news.recv() => heard,
                _ = client.beats.tick() => match client.beat().await {
                    Ok(true) => continue,
                    Ok(false) | Err(_) => return None,
                },
                () = api.ending.cancelled() => return None,
            };
            match heard {
                Ok(news) => client.take(&news),
                Err(broadcast::error::RecvError::Lagged(_)) => client.behind = true,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    })
}
