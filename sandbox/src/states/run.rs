//! Walking one execution through its definition: states, retries, catches.
//!
//! The walk is a function of the definition, the input and the journal. Whatever comes from outside (the time
//! of an event, the answer of a service) is recorded when it is first seen and read from the journal when the
//! walk is made again after the death of the process; chance follows from the execution's seed.

mod data;
mod group;
mod task;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::data::{DATA_MAX, keep_result, select};
use super::definition::{Amount, Kind, Machine, Retrier, Selection, State, Until, Words};
use super::failure::Failure;
use super::integration::Backend;
use super::intrinsic::{Dice, Scope};
use super::journal::{END, Event, Journal, JournalError, News, whole_text};
use super::record::{ExecutionRecord, Status};

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
}

/// What a state gave.
struct Done {
    output: Value,
    next: Option<String>,
    last: Mark,
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
        let place = Place { key: String::new(), previous: started, item: None };
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
            for number in 0_u64.. {
                let key = format!("{}/{number}", place.key);
                let Some((name_of, state)) = machine.states.get_key_value(&name) else {
                    return Err(Halt::Failed(Failure::runtime(format!("there is no state {name}")), last));
                };
                let done = self.visit(name_of, state, key, &input, &place, last).await?;
                (input, last) = (done.output, done.last);
                match done.next {
                    Some(next) => name = next,
                    None => break,
                }
            }
            Ok((input, last))
        })
    }

    async fn visit(
        &self,
        name: &str,
        state: &State,
        key: String,
        input: &Value,
        place: &Place,
        previous: Mark,
    ) -> Result<Done, Halt> {
        let kind = state.kind.name();
        let mut details = whole_text("input", &input.to_string());
        details.insert("name".to_owned(), name.into());
        let news = News::new(format!("{key}:in"), format!("{kind}StateEntered"), previous.id)
            .details("stateEnteredEventDetails", Value::Object(details));
        let entered = self.record(news)?;
        let exit_key = format!("{key}:out");
        if let Some(exited) = self.journal.get(&exit_key) {
            return Ok(Done {
                output: exited.data["output"].clone(),
                next: exited.data["next"].as_str().map(str::to_owned),
                last: Mark::of(&exited),
            });
        }
        let visit = Visit { name, state, key, entered, input, item: place.item.as_ref() };
        let done = self.tries(&visit).await?;
        let text = done.output.to_string();
        if text.len() > DATA_MAX {
            let cause = format!("The state '{name}' returned a result of more than {DATA_MAX} bytes");
            return Err(Halt::Failed(Failure::new("States.DataLimitExceeded", cause), done.last));
        }
        let mut details = whole_text("output", &text);
        details.insert("name".to_owned(), name.into());
        let news = News::new(exit_key, format!("{kind}StateExited"), done.last.id)
            .details("stateExitedEventDetails", Value::Object(details))
            .data(json!({ "output": done.output, "next": done.next }));
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
            last = mark;
            let named = |errors: &[String]| errors.iter().any(|name| failure.is_named(name));
            let retrier = visit.state.retry.iter().position(|retrier| named(&retrier.errors));
            if let Some(index) = retrier
                && used[index] < visit.state.retry[index].attempts_max
            {
                let dice = self.dice(&format!("{}#{number}:retry", visit.key));
                let delay = delay(&visit.state.retry[index], used[index], &dice);
                used[index] += 1;
                let scaled = self.backend.world.scaled(delay);
                self.until(Some(mark.at.checked_add(scaled).unwrap_or(Timestamp::MAX))).await;
                continue;
            }
            let Some(catcher) = visit.state.catch.iter().find(|catcher| named(&catcher.errors)) else {
                return Err(Halt::Failed(failure, mark));
            };
            let output = keep_result(&catcher.result, visit.input, failure.output())
                .map_err(|failure| Halt::Failed(failure, mark))?;
            return Ok(Done { output, next: Some(catcher.next.clone()), last });
        }
        Err(Halt::Failed(Failure::runtime("the state was tried too often"), last))
    }

    /// One try of one state.
    async fn attempt(&self, visit: &Visit<'_>, number: u64, last: Mark) -> Result<Done, Halt> {
        let failed = |failure| Halt::Failed(failure, last);
        let (state, flow) = (visit.state, &visit.state.flow);
        let context = self.context(visit, number);
        let dice = self.dice(&format!("{}#{number}", visit.key));
        let input = select("InputPath", &flow.input, visit.input, &context).map_err(failed)?;
        let parameters = match &flow.parameters {
            Some(template) => {
                template.fill(Scope { input: &input, context: &context, dice: &dice }).map_err(failed)?
            }
            None => input,
        };
        let scope = Scope { input: &parameters, context: &context, dice: &dice };
        let key = format!("{}#{number}", visit.key);
        let (result, last) = match &state.kind {
            Kind::Pass { result } => (result.clone().unwrap_or_else(|| parameters.clone()), last),
            Kind::Succeed => (parameters.clone(), last),
            Kind::Wait(until) => {
                let deadline = self.deadline(until, visit, scope).map_err(failed)?;
                self.until(Some(deadline)).await;
                (parameters.clone(), last)
            }
            Kind::Choice { rules, default } => {
                let next = choose(rules, default.as_ref(), &parameters, &context).map_err(failed)?;
                let output = select("OutputPath", &flow.output, &parameters, &context).map_err(failed)?;
                return Ok(Done { output, next: Some(next), last });
            }
            Kind::Fail { error, cause } => {
                let text = |words: &Words| fill_words(words, scope);
                let (error, cause) = (text(error).map_err(failed)?, text(cause).map_err(failed)?);
                return Err(failed(Failure::new(error.unwrap_or_default(), cause.unwrap_or_default())));
            }
            Kind::Task(task) => self.task(task, &key, &parameters, scope, last).await?,
            Kind::Parallel { branches } => self.parallel(branches, visit, &key, &parameters, last).await?,
            Kind::Map(map) => self.map(map, visit, &key, scope, last).await?,
        };
        let failed = |failure| Halt::Failed(failure, last);
        let result = match &flow.result_selector {
            Some(template) => {
                template.fill(Scope { input: &result, context: &context, dice: &dice }).map_err(failed)?
            }
            None => result,
        };
        let kept = keep_result(&flow.result, visit.input, result).map_err(failed)?;
        let output = select("OutputPath", &flow.output, &kept, &context).map_err(failed)?;
        Ok(Done { output, next: state.next.clone(), last })
    }

    fn dice(&self, key: &str) -> Dice {
        Dice::new(self.chance(), key)
    }

    /// What chance and request ids follow from. A redriven execution makes new calls.
    fn chance(&self) -> Uuid {
        Uuid::new_v5(&self.record.seed, &self.record.redrives.to_be_bytes())
    }

    /// The context object.
    fn context(&self, visit: &Visit<'_>, number: u64) -> Value {
        let record = &self.record;
        let mut context = json!({
            "Execution": {
                "Id": record.arn,
                "Input": serde_json::from_str::<Value>(&record.input).unwrap_or_default(),
                "Name": record.name,
                "RoleArn": record.role_arn,
                "StartTime": time_text(record.started),
                "RedriveCount": record.redrives,
            },
            "StateMachine": { "Id": record.machine_arn, "Name": record.machine },
            "State": { "Name": visit.name, "EnteredTime": time_text(visit.entered.at), "RetryCount": number },
        });
        if let Some(time) = record.redriven {
            context["Execution"]["RedriveTime"] = time_text(time).into();
        }
        if let Some(item) = visit.item {
            context["Map"] = json!({ "Item": item });
        }
        context
    }

    /// When a Wait state ends, on the sandbox's time scale.
    fn deadline(&self, until: &Until, visit: &Visit<'_>, scope: Scope<'_>) -> Result<Timestamp, Failure> {
        match until {
            Until::Seconds(amount) => {
                Ok(self.later(visit.entered.at, fill_amount("SecondsPath", amount, scope)?))
            }
            Until::Timestamp(words) => {
                let text = fill_words(words, scope)?.unwrap_or_default();
                let wrong =
                    || Failure::runtime(format!("The Timestamp '{text}' is no timestamp of RFC 3339"));
                let nominal = super::choice::time(&Value::from(text.as_str())).ok_or_else(wrong)?;
                let span = nominal.duration_since(visit.entered.at);
                let span = Duration::try_from(span).unwrap_or_default();
                let scaled = self.backend.world.scaled(span);
                Ok(visit.entered.at.checked_add(scaled).unwrap_or(Timestamp::MAX))
            }
        }
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

fn choose(
    rules: &[(super::choice::Condition, String)],
    default: Option<&String>,
    input: &Value,
    context: &Value,
) -> Result<String, Failure> {
    for (condition, next) in rules {
        if condition.holds(input, context)? {
            return Ok(next.clone());
        }
    }
    let cause =
        "Failed to transition out of the state: no rule of the Choice state holds, and it has no Default";
    default.cloned().ok_or_else(|| Failure::new("States.NoChoiceMatched", cause))
}

fn fill_words(words: &Words, scope: Scope<'_>) -> Result<Option<String>, Failure> {
    match words {
        Words::None => Ok(None),
        Words::Fixed(text) => Ok(Some(text.clone())),
        Words::Expression(expression) => match expression.evaluate(scope)? {
            Value::String(text) => Ok(Some(text)),
            other => Err(Failure::runtime(format!("a text is expected, not {other}"))),
        },
    }
}

fn fill_amount(field: &str, amount: &Amount, scope: Scope<'_>) -> Result<u64, Failure> {
    match amount {
        Amount::Fixed(number) => Ok(*number),
        Amount::Path(path) => {
            let value = path.get(scope.input, scope.context);
            let value = value.ok_or_else(|| Failure::missing(field, path, scope.input))?;
            let wrong =
                || Failure::runtime(format!("{field} '{path}' must give a whole number, not {value}"));
            value.as_u64().ok_or_else(wrong)
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

/// A time as the context object shows it: milliseconds and a capital Z.
fn time_text(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// Members of an object, for details of events.
fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

impl Selection {
    /// Whether it is `$`.
    fn is_whole(&self) -> bool {
        *self == Self::Whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_between_tries_grow() {
        let mut retrier = Retrier {
            errors: vec!["States.ALL".into()],
            interval_seconds: 2,
            attempts_max: 9,
            backoff: 1.5,
            delay_max_seconds: Some(4),
            jitter: false,
        };
        let dice = Dice::new(Uuid::nil(), "t");
        let pauses: Vec<f64> = (0..3).map(|used| delay(&retrier, used, &dice).as_secs_f64()).collect();
        assert_eq!(pauses, [2.0, 3.0, 4.0]);
        retrier.jitter = true;
        assert!(delay(&retrier, 0, &dice) < Duration::from_secs(2));
        retrier.delay_max_seconds = None;
        assert!(delay(&retrier, 100_000, &dice) > Duration::ZERO, "no pause is too long to be counted");
    }

    #[test]
    fn times_are_written_as_the_service_writes_them() {
        let at: Timestamp = "2026-11-19T10:00:00.5Z".parse().unwrap();
        assert_eq!(time_text(at), "2026-11-19T10:00:00.500Z");
    }
}
