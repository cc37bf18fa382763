//! The sandbox's ledger: what it accepted, and what of that twice. Pure.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One accepted start, in the sandbox's own words.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Start {
    /// 1 for the first one ever.
    pub sequence: u64,
    /// When it was accepted.
    pub at: Timestamp,
    /// `glue`, `athena`, `sns` and so on.
    pub service: String,
    /// The operation in the API's own words.
    pub operation: String,
    /// The name of the job, crawler, workgroup or topic.
    pub subject: String,
    /// The client's token or marker: one per attempt.
    pub marker: Option<String>,
    /// The id that the service gave.
    pub id: String,
    /// Access key of the caller.
    pub caller: String,
    /// The account that owns what was started.
    pub account: String,
    /// ARN of the assumed role, where the caller had the credentials of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The date that the caller signed.
    pub signed_at: Option<Timestamp>,
    /// Request id of the answer.
    pub request_id: String,
}

/// The starts of which there are several with one token at one service and subject of one
/// account, in their order. Without a token nobody can tell a duplicate from a second wish, so such starts are
/// never among them.
pub fn duplicates(starts: Vec<Start>) -> Vec<Start> {
    let key = |start: &Start| {
        let marker = start.marker.clone().filter(|marker| !marker.is_empty())?;
        let place = (start.account.clone(), start.service.clone(), start.operation.clone());
        Some((place, start.subject.clone(), marker))
    };
    let mut counts: HashMap<_, usize> = HashMap::new();
    for key in starts.iter().filter_map(key) {
        *counts.entry(key).or_default() += 1;
    }
    let mut twice: Vec<Start> = starts
        .into_iter()
        .filter(|start| key(start).is_some_and(|key| counts.get(&key).is_some_and(|count| *count > 1)))
        .collect();
    twice.sort_by(|one, other| (&one.marker, one.sequence).cmp(&(&other.marker, other.sequence)));
    twice
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(sequence: u64, operation: &str, subject: &str, marker: Option<&str>) -> Start {
        Start {
            sequence,
            at: Timestamp::UNIX_EPOCH,
            service: "glue".into(),
            operation: operation.into(),
            subject: subject.into(),
            marker: marker.map(str::to_owned),
            id: format!("jr_{sequence}"),
            caller: "sandbox".into(),
            account: "000000000000".into(),
            session: None,
            signed_at: None,
            request_id: String::new(),
        }
    }

    #[test]
    fn only_one_token_makes_a_duplicate() {
        let starts = vec![
            start(1, "StartJobRun", "etl", Some("a")),
            start(2, "StartJobRun", "etl", None),
            start(3, "StartJobRun", "etl", None),
            start(4, "StartJobRun", "other", Some("a")),
            start(5, "StartCrawler", "etl", Some("a")),
            start(6, "StartJobRun", "etl", Some("b")),
            Start { account: "111111111111".into(), ..start(8, "StartJobRun", "etl", Some("a")) },
        ];
        assert_eq!(duplicates(starts.clone()), []);
        let with = [starts, vec![start(7, "StartJobRun", "etl", Some("a"))]].concat();
        let found: Vec<u64> = duplicates(with).iter().map(|start| start.sequence).collect();
        assert_eq!(found, [1, 7]);
    }
}
