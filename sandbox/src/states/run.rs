//! Walking one execution through its definition: states, retries, catches.
//!
//! The walk is a function of the definition, the input and the journal. Whatever comes from outside (the time
//! of an event, the answer of a service) is recorded when it is first seen and read from the journal when the
//! walk is made again after the death of the process; chance follows from the execution's seed.

mod attempt;
mod data;
mod fill;
mod group;
mod task;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::data::DATA_MAX;
use super::definition::{Machine, Retrier, State};
use super::failure::Failure;
use super::integration::Backend;
use super::journal::{END, Event, Journal, JournalError, News, whole_text};
use super::record::{ExecutionRecord, Status};
use super::scope::Dice;
use super::variables::Variables;

/// The longest name that an event of a retry gets; only a guard against counting for ever.
const TRIES_MAX: u64 = 100_000_000;

/// One execution being walked.
#[derive(Debug)]
pub(super) struct Run {
    pub backend: Arc<Backend>,
    pub journal: Journal,
    /// As it was when the walk began; what changes later is not looked at.
    pub record: ExecutionRecord,
    pub machine: Machine,
    /// Cancelled when the execution is stopped, or the sandbox.
    pub stop: CancellationToken,
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct End {
    pub status: Status,
    pub output: Option<String>,
    pub failure: Option<Failure>,
    pub at: Timestamp,
}

/// Why a walk does not go on.
#[derive(Debug)]
enum Halt {
    /// A state failed; the event after which it did.
    Failed(Failure, Mark),
    /// The execution has ended, or its history cannot be written.
    Stopped(String),
}

/// An event as far as what follows needs it.
#[derive(Debug, Clone, Copy)]
struct Mark {
    id: u64,
    /// When it happened, or, after a wait, when what follows it begins. Never read from the clock again.
    at: Timestamp,
}

/// Where a machine is walked.
#[derive(Debug, Clone)]
struct Place {
    /// The beginning of the keys of its events.
    key: String,
    /// The event that led here.
    previous: Mark,
    /// The item of the innermost map around it, as the context object shows it.
    item: Option<Value>,
    /// The variables around it, with which its own scope begins.
    variables: Variables,
}

/// One visit of one state.
struct Visit<'a> {
    name: &'a str,
    state: &'a State,
    key: String,
    entered: Mark,
    /// The raw input.
    input: &'a Value,
    item: Option<&'a Value>,
    /// As they were when the state was entered.
    variables: &'a Variables,
}

/// What a state gave.
struct Done {
    output: Value,
    next: Option<String>,
    last: Mark,
    /// The variables that it assigned.
    assigned: Map<String, Value>,
}

impl Mark {
    fn of(event: &Event) -> Self {
        Self { id: event.id, at: event.at }
    }
}

impl Run {
    /// Walks to the end. `None` if the walk was stopped from outside, and the record says how.
    pub(super) async fn perform(&self) -> Option<End> {
        if let Some(end) = self.recorded_end() {
            return Some(end);
        }
        let started = self.begin().ok()?;
        let limit = self.machine.timeout_seconds.map(|seconds| self.later(self.begun(started), seconds));
        let input: Value = serde_json::from_str(&self.record.input).unwrap_or_default();
        let place =
            Place { key: String::new(), previous: started, item: None, variables: Variables::default() };
        let walked = tokio::select! {
            walked = self.walk(&self.machine, place, input) => walked,
            () = self.until(limit) => return self.time_out(started).await,
            () = self.stop.cancelled() => return None,
        };
        let news = match walked {
            Ok((output, last)) => {
                let text = output.to_string();
                let details = Value::Object(whole_text("output", &text));
                News::new(END, "ExecutionSucceeded", last.id)
                    .details("executionSucceededEventDetails", details)
                    .data(json!({ "output": text }))
            }
            Err(Halt::Failed(failure, last)) => {
                let details = json!({ "error": failure.error, "cause": failure.cause });
                News::new(END, "ExecutionFailed", last.id)
                    .details("executionFailedEventDetails", details)
                    .data(json!(failure))
            }
            Err(Halt::Stopped(reason)) => {
                tracing::warn!(execution = self.record.arn, reason, "an execution was given up");
                return None;
            }
        };
        self.record(news).ok()?;
        self.recorded_end()
    }

    /// Records the beginning.
    fn begin(&self) -> Result<Mark, Halt> {
        let mut details = whole_text("input", &self.record.input);
        details.insert("roleArn".to_owned(), self.record.role_arn.clone().into());
        let details = Value::Object(details);
        let news = News::new("start", "ExecutionStarted", 0).details("executionStartedEventDetails", details);
        self.record(news)
    }

    /// When the clock of the whole execution began to run: a redrive sets it back.
    fn begun(&self, started: Mark) -> Timestamp {
        self.record.redriven.unwrap_or(started.at)
    }

    async fn time_out(&self, started: Mark) -> Option<End> {
        self.stop_jobs("").await;
        let news = News::new(END, "ExecutionTimedOut", started.id)
            .details("executionTimedOutEventDetails", json!({ "error": "States.Timeout" }))
            .data(json!({ "error": "States.Timeout", "cause": "" }));
        self.record(news).ok()?;
        self.recorded_end()
    }

    /// How the journal says that the execution ended.
    fn recorded_end(&self) -> Option<End> {
        let event = self.journal.get(END)?;
        let status = match event.kind.as_str() {
            "ExecutionSucceeded" => Status::Succeeded,
            "ExecutionTimedOut" => Status::TimedOut,
            "ExecutionAborted" => Status::Aborted,
            _ => Status::Failed,
        };
        let output = event.data["output"].as_str().map(str::to_owned);
        let failure = serde_json::from_value(event.data.clone()).ok();
        Some(End { status, output, failure, at: event.at })
    }

    /// Stops the jobs below a place that nobody waits for any more.
    pub(super) async fn stop_jobs(&self, below: &str) {
        for event in self.journal.open_submissions(below) {
            let resource = event.data["resource"].as_str().unwrap_or_default();
            if let Ok(integration) = super::integration::Integration::parse(resource) {
                self.backend.stop(&integration, &event.data["parameters"], &event.data["answer"]).await;
            }
        }
    }

    fn record(&self, news: News) -> Result<Mark, Halt> {
        let now = self.backend.world.clock.now();
        let previous = Mark { id: news.previous, at: now };
        match self.journal.record(news, now) {
            Ok(event) => Ok(Mark::of(&event)),
            Err(error @ JournalError::Full) => {
                Err(Halt::Failed(Failure::runtime(error.to_string()), previous))
            }
            Err(error) => Err(Halt::Stopped(error.to_string())),
        }
    }

    /// Walks a machine from its first state to its end. Boxed, because branches and maps hold machines.
    fn walk<'a>(
        &'a self,
        machine: &'a Machine,
        place: Place,
        mut input: Value,
    ) -> BoxFuture<'a, Result<(Value, Mark), Halt>> {
        Box::pin(async move {
            let mut name = machine.start_at.clone();
            let mut last = place.previous;
            let mut variables = place.variables.clone();
            for number in 0_u64.. {
                let key = format!("{}/{number}", place.key);
                let Some((name_of, state)) = machine.states.get_key_value(&name) else {
                    return Err(Halt::Failed(Failure::runtime(format!("there is no state {name}")), last));
                };
                let entered = self.enter(name_of, state, &key, &input, last)?;
                let item = place.item.as_ref();
                let visit =
                    Visit { name: name_of, state, key, entered, input: &input, item, variables: &variables };
                let done = self.visit(&visit).await?;
                let changed = variables.with(&done.assigned);
                variables = changed.map_err(|failure| Halt::Failed(failure, done.last))?;
                (input, last) = (done.output, done.last);
                match done.next {
                    Some(next) => name = next,
                    None => break,
                }
            }
            Ok((input, last))
        })
    }

    fn enter(
        &self,
        name: &str,
        state: &State,
        key: &str,
        input: &Value,
        previous: Mark,
    ) -> Result<Mark, Halt> {
        let mut details = whole_text("input", &input.to_string());
        details.insert("name".to_owned(), name.into());
        let kind = format!("{}StateEntered", state.kind.name());
        let news = News::new(format!("{key}:in"), kind, previous.id)
            .details("stateEnteredEventDetails", Value::Object(details));
        self.record(news)
    }

    /// Visits a state that was entered. What it gave and assigned is recorded with its exit, and taken from
    /// there when the walk is made again.
    async fn visit(&self, visit: &Visit<'_>) -> Result<Done, Halt> {
        let exit_key = format!("{}:out", visit.key);
        if let Some(exited) = self.journal.get(&exit_key) {
            return Ok(Done {
                output: exited.data["output"].clone(),
                next: exited.data["next"].as_str().map(str::to_owned),
                last: Mark::of(&exited),
                assigned: members(exited.data["assigned"].clone()),
            });
        }
        let done = self.tries(visit).await?;
        let text = done.output.to_string();
        if text.len() > DATA_MAX {
            let cause = format!("The state '{}' returned a result of more than {DATA_MAX} bytes", visit.name);
            return Err(Halt::Failed(Failure::new("States.DataLimitExceeded", cause), done.last));
        }
        let mut details = whole_text("output", &text);
        details.insert("name".to_owned(), visit.name.into());
        let mut data = json!({ "output": done.output, "next": done.next });
        if !done.assigned.is_empty() {
            let texts = done.assigned.iter().map(|(name, value)| (name.clone(), value.to_string().into()));
            details.insert("assignedVariables".to_owned(), Value::Object(texts.collect()));
            details.insert("assignedVariablesDetails".to_owned(), json!({ "truncated": false }));
            data["assigned"] = Value::Object(done.assigned.clone());
        }
        let news = News::new(exit_key, format!("{}StateExited", visit.state.kind.name()), done.last.id)
            .details("stateExitedEventDetails", Value::Object(details))
            .data(data);
        let last = self.record(news)?;
        Ok(Done { last, ..done })
    }

    /// Tries a state as often as its retriers allow, and then what its catchers say.
    async fn tries(&self, visit: &Visit<'_>) -> Result<Done, Halt> {
        let mut used = vec![0_u64; visit.state.retry.len()];
        let mut last = visit.entered;
        for number in 0..TRIES_MAX {
            let (failure, mark) = match self.attempt(visit, number, last).await {
                Err(Halt::Failed(failure, mark)) => (failure, mark),
                other => return other,
            };
            let named = |errors: &[String]| errors.iter().any(|name| failure.is_named(name));
            let retrier = visit.state.retry.iter().position(|retrier| named(&retrier.errors));
            if let Some(index) = retrier
                && used[index] < visit.state.retry[index].attempts_max
            {
                let dice = self.dice(&format!("{}#{number}:retry", visit.key));
                let delay = delay(&visit.state.retry[index], used[index], &dice);
                used[index] += 1;
                let scaled = self.backend.world.scaled(delay);
                last = Mark { at: mark.at.checked_add(scaled).unwrap_or(Timestamp::MAX), ..mark };
                self.until(Some(last.at)).await;
                continue;
            }
            return match visit.state.catch.iter().find(|catcher| named(&catcher.errors)) {
                Some(catcher) => self.caught(visit, number, catcher, &failure, mark),
                None => Err(Halt::Failed(failure, mark)),
            };
        }
        Err(Halt::Failed(Failure::runtime("the state was tried too often"), last))
    }

    fn dice(&self, key: &str) -> Dice {
        Dice::new(self.chance(), key)
    }

    /// What chance and request ids follow from. A redriven execution makes new calls.
    fn chance(&self) -> Uuid {
        Uuid::new_v5(&self.record.seed, &self.record.redrives.to_be_bytes())
    }

    /// `moment` plus nominal seconds.
    fn later(&self, moment: Timestamp, seconds: u64) -> Timestamp {
        let scaled = self.backend.world.scaled(Duration::from_secs(seconds));
        moment.checked_add(scaled).unwrap_or(Timestamp::MAX)
    }

    /// Waits for a moment; for ever where there is none.
    async fn until(&self, moment: Option<Timestamp>) {
        let Some(moment) = moment else { return std::future::pending().await };
        let span = moment.duration_since(self.backend.world.clock.now());
        if let Ok(span) = Duration::try_from(span) {
            self.backend.world.pause(span).await;
        }
    }
}

/// How long to wait before the next try.
fn delay(retrier: &Retrier, used: u64, dice: &Dice) -> Duration {
    #[expect(clippy::cast_precision_loss, reason = "seconds and counts of tries stay far below 2^53")]
    let nominal = retrier.interval_seconds as f64 * retrier.backoff.powf(used as f64);
    #[expect(clippy::cast_precision_loss, reason = "as above")]
    let most = retrier.delay_max_seconds.map_or(f64::MAX, |most| most as f64);
    let nominal = nominal.min(most) * if retrier.jitter { dice.unit() } else { 1.0 };
    Duration::try_from_secs_f64(nominal).unwrap_or(Duration::MAX)
}

/// Members of an object, for details of events.
fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests;
