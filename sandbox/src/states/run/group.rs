//! Parallel and Map: many machines at once, with one result.

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

use super::attempt::Work;
use super::fill::fill_amount;
use super::{Halt, Mark, Place, Run, Visit};
use crate::states::definition::{Items, Machine, Map};
use crate::states::failure::Failure;
use crate::states::journal::News;
use crate::states::scope::Scope;
use crate::states::template::Template;

/// The most iterations of a map at once, where it names no limit (the service's own limit for inline maps).
const CONCURRENCY_MAX: usize = 40;

/// The names of the events of one kind of group.
struct Words {
    started: &'static str,
    succeeded: &'static str,
    failed: &'static str,
}

const PARALLEL: Words = Words {
    started: "ParallelStateStarted",
    succeeded: "ParallelStateSucceeded",
    failed: "ParallelStateFailed",
};

const MAP: Words =
    Words { started: "MapStateStarted", succeeded: "MapStateSucceeded", failed: "MapStateFailed" };

impl Run {
    pub(super) async fn parallel(
        &self,
        branches: &[Machine],
        visit: &Visit<'_>,
        key: &str,
        input: &Value,
        last: Mark,
    ) -> Result<Work, Halt> {
        let started = self.record(News::new(format!("{key}:started"), PARALLEL.started, last.id))?;
        if let Some(ended) = self.ended_group(key) {
            return ended;
        }
        let walks = branches.iter().enumerate().map(|(index, branch)| {
            let place = Place {
                key: format!("{key}/b{index}"),
                previous: started,
                item: visit.item.cloned(),
                variables: visit.variables.clone(),
            };
            self.walk(branch, place, input.clone())
        });
        let results = futures::future::try_join_all(walks).await;
        let outputs = results.map(|results| {
            let last = results.iter().map(|(_, mark)| *mark).max_by_key(|mark| mark.id).unwrap_or(started);
            Work { result: results.into_iter().map(|(output, _)| output).collect(), last }
        });
        self.end_group(key, &PARALLEL, outputs).await
    }

    pub(super) async fn map(
        &self,
        map: &Map,
        visit: &Visit<'_>,
        key: &str,
        given: &Value,
        scope: Scope<'_>,
        last: Mark,
    ) -> Result<Work, Halt> {
        let failed = |failure| Halt::Failed(failure, last);
        let items = map.items.fill(given, scope).map_err(failed)?;
        let limit = fill_amount("MaxConcurrencyPath", &map.concurrency, scope).map_err(failed)?;
        let limit = usize::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(CONCURRENCY_MAX);
        let news = News::new(format!("{key}:started"), MAP.started, last.id)
            .details("mapStateStartedEventDetails", json!({ "length": items.len() }));
        let started = self.record(news)?;
        if let Some(ended) = self.ended_group(key) {
            return ended;
        }
        let iterations = items.into_iter().enumerate().map(|(index, item)| {
            let iteration = Iteration { map, visit, key, scope, started, index };
            async move { self.iteration(&iteration, item).await.map(|(output, mark)| (index, output, mark)) }
        });
        let results: Result<Vec<(usize, Value, Mark)>, Halt> =
            stream::iter(iterations).buffer_unordered(limit.min(CONCURRENCY_MAX)).try_collect().await;
        let outputs = results.map(|mut results| {
            results.sort_by_key(|(index, ..)| *index);
            let last = results.iter().map(|(.., mark)| *mark).max_by_key(|mark| mark.id).unwrap_or(started);
            Work { result: results.into_iter().map(|(_, output, _)| output).collect(), last }
        });
        self.end_group(key, &MAP, outputs).await
    }

    async fn iteration(&self, iteration: &Iteration<'_>, item: Value) -> Result<(Value, Mark), Halt> {
        let Iteration { map, visit, key, scope, started, index } = iteration;
        let key = format!("{key}/i{index}");
        let details = json!({ "name": visit.name, "index": index });
        let news = News::new(format!("{key}:started"), "MapIterationStarted", started.id)
            .details("mapIterationStartedEventDetails", details.clone());
        let begun = self.record(news)?;
        if let Some(done) = self.journal.get(&format!("{key}:done")) {
            return Ok((done.data["output"].clone(), Mark::of(&done)));
        }
        let item = json!({ "Index": index, "Value": item });
        let input = match &map.selector {
            Some(template) => {
                let mut context = scope.context.clone();
                context["Map"] = json!({ "Item": item });
                // Chance of its own: iterations begin in any order.
                let dice = self.dice(&key);
                let scope = Scope { context: &context, dice: &dice, ..*scope };
                template.fill(scope).map_err(|failure| self.told(visit, &key, failure, begun))
            }
            None => Ok(item["Value"].clone()),
        };
        let variables = visit.variables.clone();
        let place = Place { key: key.clone(), previous: begun, item: Some(item), variables };
        let walked = match input {
            Ok(input) => self.walk(&map.processor, place, input).await,
            Err(halt) => Err(halt),
        };
        match walked {
            Ok((output, last)) => {
                let news = News::new(format!("{key}:done"), "MapIterationSucceeded", last.id)
                    .details("mapIterationSucceededEventDetails", details)
                    .data(json!({ "output": output }));
                Ok((output, self.record(news)?))
            }
            Err(Halt::Failed(failure, last)) => {
                let news = News::new(format!("{key}:failed"), "MapIterationFailed", last.id)
                    .details("mapIterationFailedEventDetails", details);
                Err(Halt::Failed(failure, self.record(news)?))
            }
            Err(stopped) => Err(stopped),
        }
    }

    /// What the journal says about a group that has ended already.
    fn ended_group(&self, key: &str) -> Option<Result<Work, Halt>> {
        if let Some(done) = self.journal.get(&format!("{key}:done")) {
            return Some(Ok(Work { result: done.data["output"].clone(), last: Mark::of(&done) }));
        }
        let failed = self.journal.get(&format!("{key}:failed"))?;
        let failure = serde_json::from_value(failed.data.clone()).ok()?;
        Some(Err(Halt::Failed(failure, Mark::of(&failed))))
    }

    async fn end_group(&self, key: &str, words: &Words, outputs: Result<Work, Halt>) -> Result<Work, Halt> {
        match outputs {
            Ok(Work { result, last }) => {
                let news = News::new(format!("{key}:done"), words.succeeded, last.id)
                    .data(json!({ "output": result }));
                Ok(Work { result, last: self.record(news)? })
            }
            Err(Halt::Failed(failure, last)) => {
                // The other branches end with the first that failed, and so do their jobs.
                self.stop_jobs(&format!("{key}/")).await;
                let news = News::new(format!("{key}:failed"), words.failed, last.id).data(json!(failure));
                Err(Halt::Failed(failure, self.record(news)?))
            }
            Err(stopped) => Err(stopped),
        }
    }
}

impl Items {
    /// The list. `given` is what the work is given.
    fn fill(&self, given: &Value, scope: Scope<'_>) -> Result<Vec<Value>, Failure> {
        match self {
            Self::Input => {
                list(given.clone(), || Failure::runtime("the input of a Map state must be a list"))
            }
            Self::Path(path) => {
                let found =
                    path.get(scope).ok_or_else(|| Failure::missing("ItemsPath", path, scope.input))?;
                list(found, || Failure::runtime("ItemsPath must point to a list"))
            }
            Self::Template(Template::Query(query)) => {
                query.evaluate_as(scope, "array", |value| value.as_array().cloned())
            }
            Self::Template(template) => {
                list(template.fill(scope)?, || Failure::query("Items", "Items must be a list"))
            }
        }
    }
}

fn list(value: Value, wrong: impl FnOnce() -> Failure) -> Result<Vec<Value>, Failure> {
    match value {
        Value::Array(items) => Ok(items),
        _ => Err(wrong()),
    }
}

/// One iteration of a map.
struct Iteration<'a> {
    map: &'a Map,
    visit: &'a Visit<'a>,
    key: &'a str,
    scope: Scope<'a>,
    started: Mark,
    index: usize,
}
