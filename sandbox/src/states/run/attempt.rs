//! One try of one state: what it is given, its work, what it gives and assigns; and what a catcher makes of a
//! failed one. The work of Task, Parallel and Map states stands in modules of their own.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::fill::{fill_amount, fill_words, no_time};
use super::{Done, Halt, Mark, Run, Visit};
use crate::states::definition::{Catcher, Kind, Rule, Until};
use crate::states::failure::Failure;
use crate::states::journal::News;
use crate::states::scope::{Dice, Scope};

/// What the work of a state gave.
pub(super) struct Work {
    pub result: Value,
    pub last: Mark,
}

/// One try.
struct Try<'a> {
    visit: &'a Visit<'a>,
    /// The beginning of the keys of its events.
    key: String,
    context: Value,
    dice: Dice,
    last: Mark,
}

impl Try<'_> {
    /// What the fields are evaluated on that come before the work.
    fn scope(&self) -> Scope<'_> {
        Scope::new(self.visit.input, &self.context, self.visit.variables, &self.dice, self.last.at)
    }
}

impl Run {
    /// One try of one state. An evaluation that fails is told in the history once, with its state.
    pub(super) async fn attempt(&self, visit: &Visit<'_>, number: u64, last: Mark) -> Result<Done, Halt> {
        let key = format!("{}#{number}", visit.key);
        if let Some(failed) = self.failed_evaluation(&key) {
            return Err(failed);
        }
        let (context, dice) = (self.context(visit, number), self.dice(&key));
        let attempt = Try { visit, key, context, dice, last };
        match self.work_through(&attempt).await {
            Err(Halt::Failed(failure, mark)) => Err(self.told(visit, &attempt.key, failure, mark)),
            other => other,
        }
    }

    async fn work_through(&self, attempt: &Try<'_>) -> Result<Done, Halt> {
        let failed = |failure| Halt::Failed(failure, attempt.last);
        let (visit, before) = (attempt.visit, attempt.scope());
        let (state, flow) = (visit.state, &visit.state.flow);
        let given = flow.given(before).map_err(failed)?;
        let scope = flow.scope_on(before, &given);
        let unchanged = || Work { result: given.clone(), last: attempt.last };
        let (mut assign, mut output, mut next) = (&state.assign, flow.written_output(), state.next.clone());
        let work = match &state.kind {
            Kind::Pass { result } => {
                Work { result: result.clone().unwrap_or_else(|| given.clone()), ..unchanged() }
            }
            Kind::Succeed => unchanged(),
            Kind::Wait(until) => {
                let deadline = self.deadline(until, visit, scope).map_err(failed)?;
                self.until(Some(deadline)).await;
                Work { last: Mark { at: deadline.max(attempt.last.at), ..attempt.last }, ..unchanged() }
            }
            Kind::Choice { rules, default } => {
                let made = choose(rules, default.as_ref(), scope).map_err(failed)?;
                if let Some(rule) = made {
                    (assign, output, next) = (&rule.assign, rule.output.as_ref(), Some(rule.next.clone()));
                } else {
                    next.clone_from(default);
                }
                unchanged()
            }
            Kind::Fail { error, cause } => {
                let error = fill_words(error, scope).map_err(failed)?.unwrap_or_default();
                let cause = fill_words(cause, scope).map_err(failed)?.unwrap_or_default();
                return Err(failed(Failure::new(error, cause)));
            }
            Kind::Task(task) => self.task(task, &attempt.key, &given, scope, attempt.last).await?,
            Kind::Parallel { branches } => {
                self.parallel(branches, visit, &attempt.key, &given, attempt.last).await?
            }
            Kind::Map(map) => self.map(map, visit, &attempt.key, &given, scope, attempt.last).await?,
        };
        let Work { result, last } = work;
        let failed = |failure| Halt::Failed(failure, last);
        let after = Scope { now: last.at, result: Some(&result), ..before };
        let assigned = assign.fill(flow.scope_on(after, &result)).map_err(failed)?;
        visit.variables.with(&assigned).map_err(failed)?;
        let output = flow.output(output, after, &result).map_err(failed)?;
        Ok(Done { output, next, last, assigned })
    }

    /// What a catcher makes of a failure.
    pub(super) fn caught(
        &self,
        visit: &Visit<'_>,
        number: u64,
        catcher: &Catcher,
        failure: &Failure,
        last: Mark,
    ) -> Result<Done, Halt> {
        let key = format!("{}#{number}:catch", visit.key);
        if let Some(failed) = self.failed_evaluation(&key) {
            return Err(failed);
        }
        let (context, dice) = (self.context(visit, number), self.dice(&key));
        let error = failure.output();
        let scope = Scope::new(visit.input, &context, visit.variables, &dice, last.at);
        let scope = Scope { error: Some(&error), ..scope };
        let made = || {
            let assigned = catcher.assign.fill(catcher.output.scope_on(scope, &error))?;
            visit.variables.with(&assigned)?;
            let output = catcher.output.output(scope, &error)?;
            Ok(Done { output, next: Some(catcher.next.clone()), last, assigned })
        };
        made().map_err(|failure| self.told(visit, &key, failure, last))
    }

    /// A failure of an evaluation that an earlier walk has told already.
    pub(super) fn failed_evaluation(&self, key: &str) -> Option<Halt> {
        let told = self.journal.get(&format!("{key}:evaluation"))?;
        let failure = serde_json::from_value(told.data.clone()).ok()?;
        Some(Halt::Failed(failure, Mark::of(&told)))
    }

    /// A failure, which is told in the history first if it is one of an evaluation.
    pub(super) fn told(&self, visit: &Visit<'_>, key: &str, failure: Failure, last: Mark) -> Halt {
        let (failure, field) = failure.told(visit.name, visit.entered.id);
        let Some(field) = field else { return Halt::Failed(failure, last) };
        let details = json!({
            "error": failure.error, "cause": failure.cause, "location": field, "state": visit.name,
        });
        let news = News::new(format!("{key}:evaluation"), "EvaluationFailed", last.id)
            .details("evaluationFailedEventDetails", details)
            .data(json!(failure));
        match self.record(news) {
            Ok(mark) => Halt::Failed(failure, mark),
            Err(halt) => halt,
        }
    }

    /// The context object.
    pub(super) fn context(&self, visit: &Visit<'_>, number: u64) -> Value {
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
                let nominal = crate::states::choice::time(&Value::from(text.as_str()))
                    .ok_or_else(|| no_time(words, &text))?;
                let span = nominal.duration_since(visit.entered.at);
                let span = Duration::try_from(span).unwrap_or_default();
                let scaled = self.backend.world.scaled(span);
                Ok(visit.entered.at.checked_add(scaled).unwrap_or(Timestamp::MAX))
            }
        }
    }
}

/// The first rule that holds; nothing where the state has a default.
fn choose<'a>(
    rules: &'a [Rule],
    default: Option<&String>,
    scope: Scope<'_>,
) -> Result<Option<&'a Rule>, Failure> {
    for rule in rules {
        if rule.condition.holds(scope)? {
            return Ok(Some(rule));
        }
    }
    let cause =
        "Failed to transition out of the state: no rule of the Choice state holds, and it has no Default";
    match default {
        Some(_) => Ok(None),
        None => Err(Failure::new("States.NoChoiceMatched", cause)),
    }
}

/// A time as the context object shows it: milliseconds and a capital Z.
fn time_text(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_service_writes_them() {
        let at: Timestamp = "2026-11-19T10:00:00.5Z".parse().unwrap();
        assert_eq!(time_text(at), "2026-11-19T10:00:00.500Z");
    }
}
