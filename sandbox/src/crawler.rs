//! Crawlers: their definitions, their crawls, and the finding of tables in buckets.
//!
//! [`Crawlers`] keeps the records and decides what may start; [`crawl`] looks at the objects. A crawl that was
//! in progress when the sandbox's process died is done again under the same id. Schedules are kept and shown
//! but never fire: in the sandbox only calls start a crawl.

mod api;
mod crawl;
mod formats;
mod infer;
mod layout;
mod record;
mod shape;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::record::{CrawlState, CrawlerRecord, CrawlerState};
use crate::SandboxError;
use crate::catalog::{Catalog, entries, file_name};
use crate::files::{read_json, replace_json};
use crate::wire::ApiError;
use crate::world::World;

/// The least time that a crawl is RUNNING, before scaling, so that pollers see it.
const RUNNING_AT_LEAST: Duration = Duration::from_millis(200);
/// How long a crawler is STOPPING after its crawl has ended, before scaling.
const STOPPING: Duration = Duration::from_millis(100);
/// How long the shutdown waits for crawls to notice.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(5);

/// All crawlers.
#[derive(Debug)]
pub(crate) struct Crawlers {
    world: Arc<World>,
    catalog: Arc<Catalog>,
    state: Mutex<State>,
    /// Cancelled when the sandbox stops; crawls then end without a record, to be done again at the next start.
    closing: CancellationToken,
    tracker: TaskTracker,
}

#[derive(Debug, Default)]
struct State {
    crawlers: BTreeMap<String, CrawlerRecord>,
    /// How to stop the crawl of a crawler.
    live: HashMap<String, CancellationToken>,
}

impl Crawlers {
    /// Reads the records, and starts again what was running when the last process ended.
    pub(crate) fn open(world: Arc<World>, catalog: Arc<Catalog>) -> Result<Arc<Self>, SandboxError> {
        let mut state = State::default();
        for path in entries(&world.root.join("glue").join("crawlers"))? {
            if let Some(crawler) = read_json::<CrawlerRecord>(&path)? {
                state.crawlers.insert(crawler.name.clone(), crawler);
            }
        }
        let busy: Vec<_> = state
            .crawlers
            .values()
            .filter(|crawler| crawler.state != CrawlerState::Ready)
            .map(|crawler| {
                (crawler.name.clone(), crawler.state, crawler.running().map(|crawl| crawl.id.clone()))
            })
            .collect();
        let closing = CancellationToken::new();
        let crawlers =
            Arc::new(Self { world, catalog, state: Mutex::new(state), closing, tracker: TaskTracker::new() });
        for (name, was, crawl) in busy {
            match crawl {
                Some(id) if was == CrawlerState::Running => {
                    tracing::info!(crawler = name, crawl = id, "doing an interrupted crawl again");
                    crawlers.spawn(name, id);
                }
                Some(id) => crawlers.settle(&name, &id, CrawlState::Stopped, None)?,
                None => crawlers.settle(&name, "", CrawlState::Completed, None)?,
            }
        }
        Ok(crawlers)
    }

    /// Ends the crawls in progress without recording an end, so that the next start does them again.
    pub(crate) async fn shutdown(&self) {
        self.closing.cancel();
        self.tracker.close();
        if tokio::time::timeout(SHUTDOWN_WAIT, self.tracker.wait()).await.is_err() {
            tracing::warn!("crawls did not end in time");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.world.root.join("glue").join("crawlers").join(format!("{}.json", file_name(name)))
    }

    /// Changes a crawler's record on disk, then in memory.
    fn change<T>(&self, name: &str, change: impl FnOnce(&mut CrawlerRecord) -> T) -> Result<T, ApiError> {
        let mut state = self.lock();
        let Some(crawler) = state.crawlers.get_mut(name) else { return Err(no_crawler(name)) };
        let mut changed = crawler.clone();
        let result = change(&mut changed);
        replace_json(&self.file(name), &changed).map_err(ApiError::internal)?;
        *crawler = changed;
        Ok(result)
    }

    /// Records the end of a crawl that no task is working on.
    fn settle(
        &self,
        name: &str,
        id: &str,
        end: CrawlState,
        error: Option<String>,
    ) -> Result<(), SandboxError> {
        let now = self.world.clock.now();
        let settled = self.change(name, |crawler| {
            crawler.end_crawl(id, end, error, String::new(), now);
            crawler.state = CrawlerState::Ready;
        });
        settled.map_err(|error| SandboxError::files("write", &self.file(name), std::io::Error::other(error)))
    }

    /// Does a recorded crawl in the background.
    fn spawn(self: &Arc<Self>, name: String, id: String) {
        let stop = self.closing.child_token();
        self.lock().live.insert(name.clone(), stop.clone());
        let crawlers = Arc::clone(self);
        self.tracker.spawn(async move {
            if let Err(error) = crawlers.perform(&name, &id, stop).await {
                tracing::error!(crawler = name, crawl = id, %error, "a crawl could not be recorded");
            }
        });
    }

    async fn perform(&self, name: &str, id: &str, stop: CancellationToken) -> Result<(), ApiError> {
        let Some(crawler) = self.lock().crawlers.get(name).cloned() else { return Ok(()) };
        let work = {
            let (world, catalog) = (Arc::clone(&self.world), Arc::clone(&self.catalog));
            let (now, stop) = (world.clock.now(), stop.clone());
            tokio::task::spawn_blocking(move || crawl::crawl(&world.s3, &catalog, &crawler, now, &stop))
        };
        let visible = self.world.pause(self.world.scaled(RUNNING_AT_LEAST));
        let done = tokio::select! {
            (done, ()) = async { tokio::join!(work, visible) } => Some(done),
            () = stop.cancelled() => None,
        };
        if self.closing.is_cancelled() {
            return Ok(());
        }
        let (end, error, summary) = match done {
            None => (CrawlState::Stopped, None, String::new()),
            Some(Ok(Ok(summary))) => (CrawlState::Completed, None, summary.to_string()),
            Some(Ok(Err(error))) => (CrawlState::Failed, Some(error), String::new()),
            Some(Err(panic)) => {
                (CrawlState::Failed, Some(format!("Internal Service Exception: {panic}")), String::new())
            }
        };
        let now = self.world.clock.now();
        let line = match &error {
            Some(error) => format!("[{id}] ERROR : {error}"),
            None => format!("[{id}] INFO : Crawler has finished running and is in state READY"),
        };
        self.world.logs.append(shape::LOG_GROUP, name, line.as_bytes(), now);
        self.change(name, |crawler| {
            crawler.end_crawl(id, end, error, summary, now);
            crawler.state = CrawlerState::Stopping;
        })?;
        self.world.pause(self.world.scaled(STOPPING)).await;
        self.lock().live.remove(name);
        self.change(name, |crawler| crawler.state = CrawlerState::Ready)
    }
}

/// Glue's words for a crawler that is not there.
fn no_crawler(name: &str) -> ApiError {
    ApiError::new(400, "EntityNotFoundException", format!("Crawler with name {name} does not exist"))
}
