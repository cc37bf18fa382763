//! `glue_crawler`: one crawl of an AWS Glue crawler.
//!
//! **Safe start**: `StartCrawler` has no token and gives no id, but a crawler runs one crawl at
//! a time, and all its crawls are alike: whatever crawl begins after the intent has the effect
//! that the task needs. So what existed before the intent is remembered (the baseline), and
//! ours is the first crawl that is not in it. A lost answer is settled by looking for such a
//! crawl; if none has appeared when the signature of the start has expired
//! ([`Options::quarantine`]), there is none and there will be none.
//!
//! A crawler that says `READY` right after a start still shows its previous crawl. An attempt
//! has ended only when **our** crawl has ended and the crawler is `READY`.
//!
//! What can stay open: somebody else's crawl may be taken for ours. It does the same work.

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    access::{Finding, Needs, Place},
    aws::{SignedAt, console_host, error::Trouble, exact_body, url_part},
    clients::{Clients, Purpose},
    clock::Clock,
    operator::{
        Call, ErrorClass, Failure, Found, Handle, Intent, Operator, PrepareContext, Rate, Request, Sent,
        Status,
    },
    registry::Options,
    released::Released,
};

mod access;
mod crawls;
mod poll;

#[cfg(test)]
mod tests;

/// A crawl has no limit of its own at the service; one that takes longer than a day is stuck.
const CRAWL_TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Most names that `BatchGetCrawlers` takes.
const BATCH_MAX: usize = 100;

/// The operator.
#[derive(Debug)]
pub struct GlueCrawler {
    clock: Clock,
    quarantine: Duration,
    /// Crawls of somebody else that were joined and then let go: they are not ours to stop.
    released: Released,
}

/// Settings of a `glue_crawler` task.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GlueCrawlerConfig {
    /// The crawler's name.
    pub crawler: String,
    /// What to do when it already runs: wait and then start it, because the running crawl may
    /// have missed our data; join the running crawl; or fail.
    #[serde(default)]
    pub if_running: IfRunning,
}

/// What to do with a crawler that already runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IfRunning {
    /// Wait, then start.
    #[default]
    WaitThenStart,
    /// Take the running crawl as this task's.
    Join,
    /// Fail.
    Fail,
}

/// What was there before the intent.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub(crate) struct Baseline {
    /// The newest crawls.
    #[serde(default)]
    crawls: Vec<String>,
    /// When the newest one began, by AWS's clock.
    #[serde(default)]
    last_start: Option<Timestamp>,
}

/// What a handle says.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Detail {
    crawler: String,
    /// When the start was intended.
    since: Timestamp,
    baseline: Baseline,
    /// Our crawl, where it is known already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crawl: Option<String>,
    /// Whether the crawl is somebody else's.
    #[serde(default)]
    joined: bool,
}

impl GlueCrawler {
    /// Takes the clock and the quarantine of the options.
    pub fn new(options: &Options) -> Self {
        Self { clock: options.clock.clone(), quarantine: options.quarantine, released: Released::default() }
    }

    /// What a start means that was refused because the crawler runs.
    async fn already_running(&self, clients: &Clients, intent: &Intent<'_>, trouble: Trouble) -> Sent {
        let mut failure = trouble.into_failure();
        failure.class = ErrorClass::Capacity;
        failure.message = format!("crawler `{}` is running: {}", crawler_of(intent.request), failure.message);
        match if_running(intent.request) {
            IfRunning::WaitThenStart => Sent::Throttled(failure),
            IfRunning::Fail => Sent::Refused(failure),
            IfRunning::Join => match crawls::running(clients, intent).await {
                Ok(Some(crawl)) => Sent::Accepted(handle(intent, Some(crawl), true)),
                // It has just ended: the next try starts a crawl of our own.
                Ok(None) => Sent::Throttled(failure),
                Err(failure) => Sent::Throttled(failure),
            },
        }
    }
}

impl Operator for GlueCrawler {
    const TYPE: &'static str = "glue_crawler";
    const EXAMPLE: &'static str = "type: glue_crawler\ncrawler: cdr-raw\nif_running: wait_then_start\n";
    const GUARANTEE: &'static str = "A crawler never runs twice at once; ours is the first crawl that was \
         not there before the intent, so a lost answer is settled by looking.";
    type Config = GlueCrawlerConfig;

    fn default_timeout(&self) -> Duration {
        CRAWL_TIME_MAX
    }

    fn needs_baseline(&self) -> bool {
        true
    }

    fn prepare(&self, config: &GlueCrawlerConfig, cx: &PrepareContext<'_>) -> Result<Request, Failure> {
        if config.crawler.is_empty() {
            return Err(Failure::new(ErrorClass::Config, "crawler: the name of a Glue crawler is missing"));
        }
        Ok(Request {
            token: cx.attempt_id.to_string(),
            connection: cx.connection.to_owned(),
            body: json!({
                "StartCrawler": { "Name": config.crawler },
                "IfRunning": config.if_running,
            }),
        })
    }

    async fn baseline(&self, clients: &Clients, request: &Request) -> Result<Value, Failure> {
        let baseline = crawls::baseline(clients, request).await?;
        Ok(serde_json::to_value(baseline).unwrap_or_default())
    }

    async fn send(&self, clients: &Clients, intent: &Intent<'_>) -> Sent {
        let request = intent.request;
        let glue = match clients.glue(&request.connection, Purpose::Start).await {
            Ok(glue) => glue,
            Err(failure) => return Sent::Refused(failure),
        };
        let answer = glue
            .start_crawler()
            .name(crawler_of(request))
            .customize()
            .config_override(aws_sdk_glue::config::Builder::new().time_source(SignedAt(intent.intent_at)))
            .mutate_request(exact_body(&request.body["StartCrawler"]))
            .send()
            .await;
        match answer.map_err(Trouble::from) {
            Ok(_) => Sent::Accepted(handle(intent, None, false)),
            Err(trouble) if trouble.code() == "CrawlerRunningException" => {
                self.already_running(clients, intent, trouble).await
            }
            Err(trouble) if trouble.is_not_there() => {
                Sent::Refused(crawls::no_such_crawler(clients, request, trouble).await)
            }
            Err(trouble) => trouble.into_sent(),
        }
    }

    async fn find(&self, clients: &Clients, intent: &Intent<'_>) -> Found {
        crawls::find(clients, intent, self.quarantine).await
    }

    async fn poll(&self, clients: &Clients, handles: &[Handle]) -> Vec<Status> {
        let mut statuses = poll::poll(clients, handles, &self.clock, self.quarantine).await;
        for (handle, status) in handles.iter().zip(&mut statuses) {
            if !self.released.contains(&release_key(handle)) {
                continue;
            }
            if matches!(status, Status::Running { .. }) {
                let text = "the joined crawl was let go; it is somebody else's and goes on";
                *status = Status::Cancelled(Failure::new(ErrorClass::Cancelled, text));
            } else {
                self.released.remove(&release_key(handle));
            }
        }
        statuses
    }

    async fn cancel(&self, clients: &Clients, handle: &Handle) -> Result<(), Failure> {
        if handle.detail["joined"] == json!(true) {
            self.released.add(&release_key(handle));
            return Ok(());
        }
        poll::cancel(clients, handle).await
    }

    fn batch_size(&self) -> usize {
        BATCH_MAX
    }

    fn rate(&self, call: Call) -> Option<Rate> {
        Some(match call {
            Call::Start => Rate { api: "glue:StartCrawler".into(), per_second: 3.0, burst: 10.0 },
            Call::Read => Rate { api: "glue:BatchGetCrawlers".into(), per_second: 10.0, burst: 20.0 },
        })
    }

    fn label(&self, request: &Request) -> String {
        format!("Glue crawler {}", crawler_of(request))
    }

    fn handle_of(&self, intent: &Intent<'_>, id: &str) -> Option<Handle> {
        Some(handle(intent, Some(id.to_owned()), false))
    }

    fn console_url(&self, region: &str, handle: &Handle) -> Option<String> {
        let crawler = url_part(handle.detail["crawler"].as_str()?);
        let host = console_host(region);
        Some(format!("https://{host}/glue/home?region={region}#/v2/data-catalog/crawlers/view/{crawler}"))
    }

    fn needs(&self, request: &Request, place: &Place) -> Option<Needs> {
        Some(access::needs(request, place))
    }

    async fn check(&self, clients: &Clients, request: &Request, _: &Place) -> Vec<Finding> {
        access::check(clients, request).await
    }
}

fn handle(intent: &Intent<'_>, crawl: Option<String>, joined: bool) -> Handle {
    let crawler = crawler_of(intent.request).to_owned();
    let baseline = serde_json::from_value(intent.baseline.clone()).unwrap_or_default();
    let detail = Detail { crawler: crawler.clone(), since: intent.intent_at, baseline, crawl, joined };
    Handle {
        connection: intent.request.connection.clone(),
        id: detail.crawl.clone().unwrap_or(crawler),
        detail: serde_json::to_value(detail).unwrap_or_default(),
    }
}

fn release_key(handle: &Handle) -> String {
    format!("{}\u{1f}{}\u{1f}{}", handle.connection, handle.id, handle.detail["since"])
}

fn crawler_of(request: &Request) -> &str {
    request.body["StartCrawler"]["Name"].as_str().unwrap_or_default()
}

fn if_running(request: &Request) -> IfRunning {
    serde_json::from_value(request.body["IfRunning"].clone()).unwrap_or_default()
}
