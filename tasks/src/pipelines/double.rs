//! A double of Trunkline for tests: runs by key, in memory, and everything that was asked.

use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use serde_json::json;
use uuid::Uuid;

use super::{Again, AwaitedRun, Pipelines, PlannedRun, RunEnd, RunStatus, WantedRun};
use crate::operator::{ErrorClass, Failure, Outputs};

/// What the double holds.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) runs: Vec<RunStatus>,
    pub(crate) asked: Vec<String>,
    /// The store does not answer.
    pub(crate) is_down: bool,
    /// The next start is carried out and its answer lost.
    pub(crate) loses_answer: bool,
}

/// One pipeline, `child`, with days; every other name is unknown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Double(pub(crate) Arc<Mutex<Held>>);

impl Double {
    pub(crate) fn set(&self, change: impl FnOnce(&mut Held)) {
        change(&mut self.0.lock().unwrap());
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.0.lock().unwrap().asked.clone()
    }

    fn note(&self, what: String) -> Result<(), Failure> {
        let mut held = self.0.lock().unwrap();
        held.asked.push(what);
        if held.is_down { Err(Failure::new(ErrorClass::System, "the store is down")) } else { Ok(()) }
    }

    fn by_key(&self, pipeline: &str, key: &str) -> Option<RunStatus> {
        let label = format!("{pipeline}@{key}");
        self.0.lock().unwrap().runs.iter().find(|run| run.label == label).cloned()
    }
}

impl Pipelines for Double {
    fn plan<'a>(&'a self, wanted: WantedRun<'a>) -> BoxFuture<'a, Result<PlannedRun, Failure>> {
        Box::pin(async move {
            self.note(format!("plan {}", wanted.pipeline))?;
            if wanted.pipeline != "child" {
                return Err(Failure::new(ErrorClass::Config, format!("no pipeline `{}`", wanted.pipeline)));
            }
            let key = wanted.date.unwrap_or(wanted.own_key).to_owned();
            Ok(PlannedRun {
                pipeline: "child".into(),
                version: 1,
                existing: self.by_key("child", &key),
                key,
                logical_date: jiff::Timestamp::UNIX_EPOCH,
                interval: None,
                fire_at: None,
                params: wanted.params.clone(),
            })
        })
    }

    fn key_of<'a>(&'a self, _: &'a str, date: &'a str) -> BoxFuture<'a, Result<String, Failure>> {
        Box::pin(async move { Ok(date.to_owned()) })
    }

    fn start<'a>(
        &'a self,
        planned: &'a PlannedRun,
        by: &'a str,
    ) -> BoxFuture<'a, Result<RunStatus, Failure>> {
        Box::pin(async move {
            self.note(format!("start {} by {by}", planned.key))?;
            if let Some(run) = self.by_key(&planned.pipeline, &planned.key) {
                return Ok(run);
            }
            let mut held = self.0.lock().unwrap();
            let run = RunStatus {
                id: Uuid::from_u128(held.runs.len() as u128 + 1),
                label: format!("{}@{}", planned.pipeline, planned.key),
                state: "queued".into(),
                generation: 1,
                ended_at: None,
            };
            held.runs.push(run.clone());
            if std::mem::take(&mut held.loses_answer) {
                return Err(Failure::new(ErrorClass::System, "connection lost"));
            }
            Ok(run)
        })
    }

    fn holder<'a>(
        &'a self,
        pipeline: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<RunStatus>, Failure>> {
        Box::pin(async move {
            self.note(format!("holder {key}"))?;
            Ok(self.by_key(pipeline, key))
        })
    }

    fn again<'a>(&'a self, run: Uuid, what: Again, by: &'a str) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            self.note(format!("again {what:?} by {by}"))?;
            let mut held = self.0.lock().unwrap();
            let found = held.runs.iter_mut().find(|held| held.id == run).unwrap();
            found.generation += 1;
            found.state = "running".into();
            Ok(())
        })
    }

    fn states<'a>(&'a self, runs: &'a [Uuid]) -> BoxFuture<'a, Result<Vec<Option<RunStatus>>, Failure>> {
        Box::pin(async move {
            self.note(format!("states of {}", runs.len()))?;
            let held = self.0.lock().unwrap();
            Ok(runs.iter().map(|id| held.runs.iter().find(|run| run.id == *id).cloned()).collect())
        })
    }

    fn awaited<'a>(
        &'a self,
        wanted: &'a [AwaitedRun],
    ) -> BoxFuture<'a, Result<Vec<Option<RunStatus>>, Failure>> {
        Box::pin(async move {
            self.note(format!("awaited {}", wanted.len()))?;
            let found = |one: &AwaitedRun| self.by_key(&one.pipeline, one.key.as_deref()?);
            Ok(wanted.iter().map(found).collect())
        })
    }

    fn end_of(&self, run: Uuid) -> BoxFuture<'_, Result<RunEnd, Failure>> {
        Box::pin(async move {
            self.note(format!("end of {run}"))?;
            let mut outputs = Outputs::new();
            outputs.insert("load".into(), json!({ "rows": 3 }));
            Ok(RunEnd { outputs, failure: Some("load: no such table".into()) })
        })
    }

    fn cancel<'a>(&'a self, _: Uuid, by: &'a str) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move { self.note(format!("cancel by {by}")) })
    }
}
