//! One try of a Task state: schedule, call, and, where the job is waited for, follow it to its end.

use serde_json::{Value, json};
use uuid::Uuid;

use super::attempt::Work;
use super::fill::fill_amount;
use super::{Halt, Mark, Run, members};
use crate::states::definition::Task;
use crate::states::failure::Failure;
use crate::states::integration::{Pattern, TaskCall};
use crate::states::journal::{News, whole_text};
use crate::states::scope::Scope;

impl Run {
    pub(super) async fn task(
        &self,
        task: &Task,
        key: &str,
        parameters: &Value,
        scope: Scope<'_>,
        last: Mark,
    ) -> Result<Work, Halt> {
        let failed = |failure| Halt::Failed(failure, last);
        let timeout = task.timeout.as_ref().map(|amount| fill_amount("TimeoutSecondsPath", amount, scope));
        let timeout = timeout.transpose().map_err(failed)?;
        let mut details = members(self.names(task));
        details.insert("region".to_owned(), self.record.region.clone().into());
        details.insert("parameters".to_owned(), parameters.to_string().into());
        if let Some(seconds) = timeout {
            details.insert("timeoutInSeconds".to_owned(), seconds.into());
        }
        let news = News::new(format!("{key}:scheduled"), "TaskScheduled", last.id)
            .details("taskScheduledEventDetails", Value::Object(details));
        let scheduled = self.record(news)?;
        let started_key = format!("{key}:started");
        // Recorded before the call is made: whoever finds it here may be the second to make the call.
        let is_repeated = self.journal.get(&started_key).is_some();
        let news = News::new(started_key, "TaskStarted", scheduled.id)
            .details("taskStartedEventDetails", self.names(task));
        let started = self.record(news)?;
        if let Some(ended) = self.ended_task(key) {
            return ended;
        }
        let limit = timeout.map(|seconds| self.later(scheduled.at, seconds));
        tokio::select! {
            ended = self.call(task, key, parameters, started, is_repeated) => ended,
            () = self.until(limit) => {
                self.stop_jobs(key).await;
                let news = News::new(format!("{key}:failed"), "TaskTimedOut", started.id);
                self.fail(news, "taskTimedOutEventDetails", task, Failure::new("States.Timeout", ""))
            }
        }
    }

    async fn call(
        &self,
        task: &Task,
        key: &str,
        parameters: &Value,
        started: Mark,
        is_repeated: bool,
    ) -> Result<Work, Halt> {
        let integration = &task.integration;
        let submitted_key = format!("{key}:submitted");
        let submitted = self.journal.get(&submitted_key);
        let answer = if let Some(submitted) = &submitted {
            Ok(submitted.data["answer"].clone())
        } else {
            let request_id = Uuid::new_v5(&self.chance(), key.as_bytes());
            let region = &self.record.region;
            let call = TaskCall { integration, parameters, request_id, region, is_repeated };
            self.backend.call(&call).await
        };
        let (kind, name) = match integration.pattern {
            Pattern::Request => ("TaskFailed", "taskFailedEventDetails"),
            Pattern::Sync => ("TaskSubmitFailed", "taskSubmitFailedEventDetails"),
        };
        let failed_key = format!("{key}:failed");
        let answer = match answer {
            Ok(answer) => answer,
            Err(failure) => return self.fail(News::new(failed_key, kind, started.id), name, task, failure),
        };
        if integration.pattern == Pattern::Request {
            return self.succeed(key, task, answer, started);
        }
        let mut details = whole_text("output", &answer.to_string());
        details.extend(members(self.names(task)));
        let data = json!({ "answer": answer, "parameters": parameters, "resource": resource_of(task) });
        let news = News::new(submitted_key, "TaskSubmitted", started.id)
            .details("taskSubmittedEventDetails", Value::Object(details))
            .data(data);
        let submitted = self.record(news)?;
        match self.backend.follow(integration, parameters, &answer).await {
            Ok(output) => self.succeed(key, task, output, submitted),
            Err(failure) => {
                let news = News::new(failed_key, "TaskFailed", submitted.id);
                self.fail(news, "taskFailedEventDetails", task, failure)
            }
        }
    }

    /// What the journal says about a try that has ended already.
    fn ended_task(&self, key: &str) -> Option<Result<Work, Halt>> {
        if let Some(done) = self.journal.get(&format!("{key}:done")) {
            return Some(Ok(Work { result: done.data["output"].clone(), last: Mark::of(&done) }));
        }
        let failed = self.journal.get(&format!("{key}:failed"))?;
        let failure = serde_json::from_value(failed.data.clone()).ok()?;
        Some(Err(Halt::Failed(failure, Mark::of(&failed))))
    }

    fn succeed(&self, key: &str, task: &Task, output: Value, last: Mark) -> Result<Work, Halt> {
        let mut details = whole_text("output", &output.to_string());
        details.extend(members(self.names(task)));
        let news = News::new(format!("{key}:done"), "TaskSucceeded", last.id)
            .details("taskSucceededEventDetails", Value::Object(details))
            .data(json!({ "output": output }));
        Ok(Work { result: output, last: self.record(news)? })
    }

    fn fail(&self, news: News, name: &str, task: &Task, failure: Failure) -> Result<Work, Halt> {
        let mut details = members(self.names(task));
        details.insert("error".to_owned(), failure.error.clone().into());
        details.insert("cause".to_owned(), failure.cause.clone().into());
        let news = news.details(name, Value::Object(details)).data(json!(failure));
        Err(Halt::Failed(failure, self.record(news)?))
    }

    #[expect(clippy::unused_self, reason = "details of events are made by the walk")]
    fn names(&self, task: &Task) -> Value {
        let (kind, resource) = &task.integration.names;
        json!({ "resourceType": kind, "resource": resource })
    }
}

/// The resource as the definition writes it.
fn resource_of(task: &Task) -> String {
    let (kind, resource) = &task.integration.names;
    format!("arn:aws:states:::{kind}:{resource}")
}
