//! Health, readiness, and what Prometheus reads. Numbers are made when somebody asks; nothing here runs by
//! itself.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    extract::State,
    http::{HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use trunkline_state::store::StoreError;

use super::{Api, guard::Need, problem::Problem};
use crate::service::token::Scope;

/// How long readiness waits for the store.
const READY_WAIT: std::time::Duration = std::time::Duration::from_secs(3);

/// Answers by method and status: few of each, whatever clients send.
#[derive(Debug, Default)]
pub(super) struct HttpCounts(Mutex<BTreeMap<(&'static str, u16), u64>>);

impl HttpCounts {
    pub(super) fn answered(&self, method: &Method, status: StatusCode) {
        let method = match *method {
            Method::GET => "GET",
            Method::POST => "POST",
            _ => "other",
        };
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((method, status.as_u16())).or_default() += 1;
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoolLabel {
    pool: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PipelineLabel {
    pipeline: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueLabel {
    queue: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BudgetLabels {
    scope: String,
    api: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HttpLabels {
    method: &'static str,
    status: u16,
}

type FloatGauge = Gauge<f64, std::sync::atomic::AtomicU64>;

/// The process runs and answers.
pub(super) async fn healthy() -> &'static str {
    "ok\n"
}

/// The store answers, and it heard of this replica lately enough that it does its work.
pub(super) async fn ready(State(api): State<Arc<Api>>) -> Response {
    let reached = tokio::time::timeout(READY_WAIT, api.whole.now()).await;
    let reason = match reached {
        Ok(Ok(_)) if api.engine.is_alive() => return "ok\n".into_response(),
        Ok(Ok(_)) => "the store has not heard of this replica lately",
        Ok(Err(_)) | Err(_) => "the store cannot be reached",
    };
    (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response()
}

/// Everything in the text format of Prometheus.
pub(super) async fn metrics(State(api): State<Arc<Api>>, parts: Parts) -> Response {
    if let Err(problem) =
        api.guard.admit(&api.whole, &parts, Need { scope: Scope::Read, everywhere: true }).await
    {
        return problem.into_response();
    }
    match collected(&api).await {
        Ok(text) => {
            let mut response = text.into_response();
            let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        Err(error) => Problem::from(error).into_response(),
    }
}

async fn collected(api: &Api) -> Result<String, StoreError> {
    let mut registry = Registry::with_prefix("trunkline");
    runs(&mut registry, api).await?;
    engine(&mut registry, api);
    budgets(&mut registry, api);
    http(&mut registry, api);
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|error| StoreError::Broken { message: error.to_string() })?;
    Ok(text)
}

async fn runs(registry: &mut Registry, api: &Api) -> Result<(), StoreError> {
    let family: Family<StateLabel, Gauge> = Family::default();
    for (state, runs) in api.whole.live_counts().await? {
        family.get_or_create(&StateLabel { state: state.word().to_owned() }).set(runs);
    }
    registry.register("runs", "Runs in the store that have not ended", family);
    let (taken, waiting): (Family<PoolLabel, Gauge>, Family<PoolLabel, Gauge>) = Default::default();
    let slots: Family<PoolLabel, Gauge> = Family::default();
    for row in api.whole.pools().await? {
        let label = PoolLabel { pool: row.name };
        slots.get_or_create(&label).set(row.slots.into());
        taken.get_or_create(&label).set(row.taken.into());
        waiting.get_or_create(&label).set(row.waiting.into());
    }
    registry.register("pool_slots", "Slots of a pool", slots);
    registry.register("pool_slots_taken", "Slots of a pool that are taken", taken);
    registry.register("pool_waiting", "Tasks that wait for slots of a pool", waiting);
    triggers(registry, api).await?;
    let replicas = api.whole.live_replicas().await?.len();
    gauge(registry, "replicas", "Replicas that live, this one included", replicas);
    Ok(())
}

async fn triggers(registry: &mut Registry, api: &Api) -> Result<(), StoreError> {
    let waiting: Family<PipelineLabel, Gauge> = Family::default();
    for (pipeline, events) in api.whole.waiting_counts().await? {
        waiting.get_or_create(&PipelineLabel { pipeline }).set(events);
    }
    registry.register("trigger_waiting", "Events that wait for a run", waiting);
    let (received, unmatched): (Family<QueueLabel, Counter>, Family<QueueLabel, Counter>) =
        Default::default();
    let (poison, dead): (Family<QueueLabel, Gauge>, Family<QueueLabel, Gauge>) = Default::default();
    for row in api.whole.queue_rows().await? {
        let label = QueueLabel { queue: row.queue };
        received.get_or_create(&label).inc_by(u64::try_from(row.received).unwrap_or(0));
        unmatched.get_or_create(&label).inc_by(u64::try_from(row.unmatched).unwrap_or(0));
        poison.get_or_create(&label).set(row.poison);
        if let Some(depth) = row.asked.dead_letters {
            dead.get_or_create(&label).set(depth);
        }
    }
    registry.register("trigger_messages", "Messages that were read of a queue, by all servers", received);
    registry.register("trigger_unmatched", "Events of a queue that no pipeline wanted", unmatched);
    registry.register(
        "trigger_poison",
        "Messages of a queue that cannot be read, of the last 15 days",
        poison,
    );
    registry.register("trigger_dead_letters", "Messages in the dead-letter queue of a queue", dead);
    Ok(())
}

fn engine(registry: &mut Registry, api: &Api) {
    let counts = api.engine.counts();
    gauge(registry, "live_runs", "Live runs that this replica owns", api.engine.owned());
    gauge(registry, "waiting_jobs", "External jobs that this replica watches", counts.waiting);
    for (name, help, value) in [
        ("starts", "Starts of external jobs that were sent", counts.starts),
        ("polls", "Questions to services about jobs", counts.polls),
        ("polled_jobs", "Jobs that those questions were about", counts.polled),
        ("commits", "Group commits that succeeded", counts.commits),
        ("commit_failures", "Group commits that did not", counts.commit_failures),
        ("notices_sent", "Notices that were sent", counts.notices_sent),
        ("notice_failures", "Tries to send a notice that failed", counts.notices_failed),
    ] {
        registry.register(name, help, counter(value));
    }
    let age = FloatGauge::default();
    // Before the first one there is nothing fresh: an alarm on a large age is right then.
    age.set(api.engine.heartbeat_age().map_or(f64::INFINITY, |age| age.as_secs_f64()));
    registry.register("heartbeat_age_seconds", "Time since the store confirmed that this replica lives", age);
}

fn budgets(registry: &mut Registry, api: &Api) {
    let (calls, throttles): (Family<BudgetLabels, Counter>, Family<BudgetLabels, Counter>) =
        Default::default();
    let wait: Family<BudgetLabels, FloatGauge> = Family::default();
    for row in api.engine.budgets() {
        let labels = BudgetLabels { scope: row.scope, api: row.api };
        calls.get_or_create(&labels).inc_by(row.calls);
        throttles.get_or_create(&labels).inc_by(row.throttles);
        wait.get_or_create(&labels).set(row.stretch_seconds);
    }
    registry.register("budget_calls", "Calls to an API", calls);
    registry.register("budget_refusals", "Calls that the service refused as too many", throttles);
    registry.register(
        "budget_wait_seconds",
        "How much later than wanted the next call of an API comes",
        wait,
    );
}

fn http(registry: &mut Registry, api: &Api) {
    let requests: Family<HttpLabels, Counter> = Family::default();
    for ((method, status), count) in api.http.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        requests.get_or_create(&HttpLabels { method, status: *status }).inc_by(*count);
    }
    registry.register("http_requests", "Requests that were answered", requests);
    gauge(registry, "event_clients", "Clients that follow events", api.tail.clients());
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: usize) {
    let gauge: Gauge = Gauge::default();
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    registry.register(name, help, gauge);
}

fn counter(value: u64) -> Counter {
    let counter: Counter = Counter::default();
    counter.inc_by(value);
    counter
}
