//! A job that a person found at the service, as its operator would have remembered it: made of
//! the stored intent and the id alone, so that a person types nothing but the id.

use jiff::Timestamp;
use trunkline_state::{
    document::Document,
    machine::{Resolution, SeenStart},
    store::AttemptRow,
};
use trunkline_tasks::{Registry, operator::Intent};

use super::Snapshot;

/// The handle of an attempt's job with this id; none where an id alone names no job of the
/// operator's kind.
pub fn handle(registry: &Registry, attempt: &AttemptRow, id: &str, now: Timestamp) -> Option<Document> {
    let request = attempt.request.read().ok()?;
    let baseline = attempt.baseline.read().ok()?;
    let intent = Intent { request: &request, baseline: &baseline, intent_at: attempt.intent_at, now };
    let handle = registry.get(&attempt.operator)?.handle_of(&intent, id)?;
    Some(Document::of(&handle))
}

/// What a person knows about an unconfirmed start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The job exists and has this id at the service.
    Handle(String),
    /// No job exists.
    NotStarted,
    /// It cannot be found out.
    Lost,
}

/// The start of a task that a person's word is about: the one that stands there now, unless the person
/// says which one it was. What was true of that one says nothing of a later one.
pub fn seen(
    snapshot: &Snapshot,
    task: usize,
    attempt: Option<u32>,
    sent_at: Option<Timestamp>,
) -> Option<SeenStart> {
    snapshot.newest_attempt(task).map(|newest| SeenStart {
        number: attempt.unwrap_or(newest.number),
        intent_at: sent_at.unwrap_or(newest.intent_at),
    })
}

/// The resolution that a fact means for a task's newest attempt; none where an id alone names no job of its
/// kind.
pub fn resolution(
    registry: &Registry,
    snapshot: &Snapshot,
    task: usize,
    fact: Fact,
    now: Timestamp,
) -> Option<Resolution> {
    Some(match fact {
        Fact::Handle(id) => {
            let handle = handle(registry, snapshot.newest_attempt(task)?, &id, now)?;
            Resolution::Handle { handle, external_id: id }
        }
        Fact::NotStarted => Resolution::NotStarted,
        Fact::Lost => Resolution::Lost,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use trunkline_tasks::Options;
    use uuid::Uuid;

    use super::*;

    fn attempt(operator: &str, body: &Value) -> AttemptRow {
        AttemptRow {
            position: 0,
            number: 1,
            attempt_id: Uuid::nil(),
            generation: 1,
            state: "unknown".to_owned(),
            operator: operator.to_owned(),
            request: json!({ "token": "t", "connection": "aws", "body": body }).into(),
            baseline: Document::null(),
            intent_at: Timestamp::UNIX_EPOCH,
            deferred_until: None,
            handle: None,
            external_id: None,
            reattached: false,
            deadline_at: Timestamp::UNIX_EPOCH,
            note: None,
            started_at: None,
            ended_at: None,
            failure: None,
            result: None,
        }
    }

    #[test]
    fn a_handle_is_made_of_the_intent_and_the_id() {
        let registry = Registry::standard(&Options::for_looking());
        let found = |operator: &str, body: Value| {
            handle(&registry, &attempt(operator, &body), "jr_1", Timestamp::UNIX_EPOCH)
                .map(|handle| handle.read::<Value>().unwrap())
        };
        let job =
            found("glue_job", json!({ "StartJobRun": { "JobName": "etl" }, "Report": "s3://b/r.json" }));
        let job = job.unwrap();
        assert_eq!(job["detail"], json!({ "job": "etl", "report": "s3://b/r.json" }));
        assert_eq!((job["connection"].as_str(), job["id"].as_str()), (Some("aws"), Some("jr_1")));
        let crawl = found("glue_crawler", json!({ "StartCrawler": { "Name": "raw" } })).unwrap();
        assert_eq!((crawl["detail"]["crawler"].as_str(), crawl["id"].as_str()), (Some("raw"), Some("jr_1")));
        assert!(found("command", json!({})).is_none());
    }
}
