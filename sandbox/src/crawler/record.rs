//! The durable records of crawlers and their crawls.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Crawls that are remembered per crawler.
const CRAWLS_KEPT: usize = 1_000;

/// What a crawler is doing, in Glue's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum CrawlerState {
    Ready,
    Running,
    Stopping,
}

impl CrawlerState {
    /// Glue's word.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ready => "READY",
            Self::Running => "RUNNING",
            Self::Stopping => "STOPPING",
        }
    }
}

/// What became of a crawl, in Glue's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum CrawlState {
    Running,
    Completed,
    Failed,
    Stopped,
}

impl CrawlState {
    /// The word of the crawl's history.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Stopped => "STOPPED",
        }
    }

    /// The word of the crawler's last crawl.
    pub(super) fn last_crawl_status(self) -> &'static str {
        match self {
            Self::Running | Self::Completed => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Stopped => "CANCELLED",
        }
    }
}

/// One crawl.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct CrawlRecord {
    /// A UUID.
    pub id: String,
    /// State.
    pub state: CrawlState,
    /// When it was accepted.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// What it did to the catalog, as JSON text.
    pub summary: String,
    /// Why it failed.
    pub error: Option<String>,
}

/// A crawler.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct CrawlerRecord {
    /// The name.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// When its definition was last changed.
    pub updated: Timestamp,
    /// Number of changes, from 1.
    pub version: u64,
    /// The members of `CreateCrawler`, without `Name`.
    pub definition: Map<String, Value>,
    /// What it is doing.
    pub state: CrawlerState,
    /// Oldest first.
    pub crawls: Vec<CrawlRecord>,
}

impl CrawlerRecord {
    /// The crawl in progress.
    pub(super) fn running(&self) -> Option<&CrawlRecord> {
        self.crawls.iter().rev().find(|crawl| crawl.state == CrawlState::Running)
    }

    /// The last crawl that ended.
    pub(super) fn last_ended(&self) -> Option<&CrawlRecord> {
        self.crawls.iter().rev().find(|crawl| crawl.state != CrawlState::Running)
    }

    /// Adds a crawl in progress.
    pub(super) fn begin_crawl(&mut self, id: String, now: Timestamp) {
        if self.crawls.len() >= CRAWLS_KEPT {
            self.crawls.remove(0);
        }
        let state = CrawlState::Running;
        self.crawls.push(CrawlRecord {
            id,
            state,
            started: now,
            ended: None,
            summary: String::new(),
            error: None,
        });
        self.state = CrawlerState::Running;
    }

    /// Ends a crawl, unless it has ended.
    pub(super) fn end_crawl(
        &mut self,
        id: &str,
        state: CrawlState,
        error: Option<String>,
        summary: String,
        now: Timestamp,
    ) {
        let running =
            self.crawls.iter_mut().find(|crawl| crawl.id == id && crawl.state == CrawlState::Running);
        if let Some(crawl) = running {
            crawl.state = state;
            crawl.error = error;
            crawl.summary = summary;
            crawl.ended = Some(now);
        }
    }

    /// Whether only folders that are not in the catalog are looked at.
    pub(super) fn new_folders_only(&self) -> bool {
        self.policy("RecrawlPolicy", "RecrawlBehavior") == Some("CRAWL_NEW_FOLDERS_ONLY")
    }

    /// Whether tables that exist are brought up to date.
    pub(super) fn updates_tables(&self) -> bool {
        !self.new_folders_only() && self.policy("SchemaChangePolicy", "UpdateBehavior") != Some("LOG")
    }

    /// Whether partitions whose folders are gone are removed.
    pub(super) fn deletes_partitions(&self) -> bool {
        !self.new_folders_only()
            && self.policy("SchemaChangePolicy", "DeleteBehavior") == Some("DELETE_FROM_DATABASE")
    }

    fn policy(&self, member: &str, name: &str) -> Option<&str> {
        self.definition.get(member)?.get(name)?.as_str()
    }

    /// A member of the definition that is text.
    pub(super) fn text(&self, name: &str) -> &str {
        self.definition.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// Path and exclusions of each S3 target.
    pub(super) fn targets(&self) -> Vec<(String, Vec<String>)> {
        let targets = self.definition.get("Targets").and_then(|targets| targets.get("S3Targets"));
        let Some(Value::Array(targets)) = targets else { return Vec::new() };
        targets
            .iter()
            .map(|target| {
                let path = target.get("Path").and_then(Value::as_str).unwrap_or_default().to_owned();
                let exclusions = target.get("Exclusions").and_then(Value::as_array);
                let exclusions =
                    exclusions.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
                (path, exclusions)
            })
            .collect()
    }
}
