//! A job that a person found at the service, as its operator would have remembered it.
//!
//! The operator's handle is made of the stored intent and the id alone, so that a person
//! types nothing but the id.

use serde_json::{Value, json};
use trunkline_state::store::AttemptRow;

/// The handle of an attempt's job with this id; none where an id alone names no job of the
/// operator's kind.
pub fn handle(attempt: &AttemptRow, id: &str) -> Option<Value> {
    let (request, body) = (&attempt.request, attempt.request.get("body")?);
    let detail = match attempt.operator.as_str() {
        "glue_job" => json!({ "job": body.pointer("/StartJobRun/JobName")?, "report": body.get("Report") }),
        "athena_query" => json!({ "workgroup": body.pointer("/StartQueryExecution/WorkGroup") }),
        "glue_crawler" => json!({
            "crawler": body.pointer("/StartCrawler/Name")?,
            "since": attempt.intent_at,
            "baseline": attempt.baseline,
            "crawl": id,
        }),
        _ => return None,
    };
    Some(json!({ "connection": request.get("connection")?, "id": id, "detail": detail }))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;

    fn attempt(operator: &str, body: Value) -> AttemptRow {
        AttemptRow {
            position: 0,
            number: 1,
            attempt_id: Uuid::nil(),
            generation: 1,
            state: "unknown".to_owned(),
            operator: operator.to_owned(),
            request: json!({ "token": "t", "connection": "aws", "body": body }),
            baseline: Value::Null,
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
        let job =
            attempt("glue_job", json!({ "StartJobRun": { "JobName": "etl" }, "Report": "s3://b/r.json" }));
        let found = handle(&job, "jr_1").unwrap();
        assert_eq!(found["detail"], json!({ "job": "etl", "report": "s3://b/r.json" }));
        assert_eq!((found["connection"].as_str(), found["id"].as_str()), (Some("aws"), Some("jr_1")));
        assert!(handle(&attempt("command", json!({})), "7").is_none());
        assert!(handle(&attempt("glue_job", json!({})), "jr_1").is_none());
    }
}
