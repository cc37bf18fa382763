//! The last lines of a failed job's log, fetched from CloudWatch beside its state.
//!
//! They are a help for people and nothing else: the fetch is bounded in time, number and size, its failure is
//! no failure of anything, and what a job's end means is decided without it.

use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use serde_json::json;

use crate::{
    clients::Clients,
    operator::{Failure, Status},
};

/// The longest that one poll waits for all its logs together: a state is never told much later for them.
const PATIENCE: Duration = Duration::from_secs(4);

/// Logs that are fetched at once. CloudWatch takes 25 calls a second of an account for these reads.
const AT_ONCE: usize = 8;

/// Failed jobs of one poll whose logs are fetched; what fails a hundredfold fails for one reason.
const JOBS_MAX: usize = 25;

/// Events that are asked for: a Python traceback with its causes.
const EVENTS: i32 = 60;

/// How much of the end of a log goes into a message.
const BYTES_MAX: usize = 4 * 1024;
const LINES_MAX: usize = 40;

/// The longest line; the middle of a dumped row helps nobody.
const LINE_MAX: usize = 500;

/// Where a job wrote, as far as the service tells.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LogPlace {
    /// The log group.
    pub(crate) group: String,
    /// The stream.
    pub(crate) stream: String,
    /// Only lines from then on.
    pub(crate) since: Option<Timestamp>,
    /// Only lines with these words, where several jobs write into one stream.
    pub(crate) with: Option<String>,
}

impl LogPlace {
    /// A stream that is the job's own.
    pub(crate) fn new(group: impl Into<String>, stream: impl Into<String>) -> Self {
        Self { group: group.into(), stream: stream.into(), since: None, with: None }
    }
}

/// Adds the last lines of their logs to the messages of those statuses that say that a job failed. `places` names
/// a log for the status at the same position.
pub(crate) async fn add(
    clients: &Clients,
    connection: &str,
    statuses: &mut [Status],
    places: &[Option<LogPlace>],
) {
    let failed = statuses.iter_mut().zip(places).filter_map(|(status, place)| match (status, place) {
        (Status::Failed(failure), Some(place)) => Some((failure, place)),
        _ => None,
    });
    let failed: Vec<(&mut Failure, &LogPlace)> = failed.take(JOBS_MAX).collect();
    if failed.is_empty() {
        return;
    }
    let work = futures::stream::iter(failed).for_each_concurrent(AT_ONCE, |(failure, place)| async move {
        // Some services put the last line of the log into what they say themselves.
        if let Some(lines) = last_lines(clients, connection, place).await
            && !failure.message.contains(lines.trim())
        {
            let text = format!(
                "{}\n\nthe end of its log ({} {}):\n{lines}",
                failure.message, place.group, place.stream
            );
            let with_lines = Failure::new(failure.class, text);
            failure.message = with_lines.message;
        }
    });
    // What has come by then stays, the rest is left out.
    drop(tokio::time::timeout(PATIENCE, work).await);
}

/// Waits for something that helps to find a log, and not for long.
pub(crate) async fn patiently<T>(work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(PATIENCE, work).await.ok()
}

async fn last_lines(clients: &Clients, connection: &str, place: &LogPlace) -> Option<String> {
    let mut asked = json!({
        "logGroupName": place.group, "logStreamName": place.stream, "limit": EVENTS, "startFromHead": false,
    });
    if let Some(since) = place.since {
        asked["startTime"] = json!(since.as_millisecond());
    }
    let answer = clients.json_call(connection, "logs", "Logs_20140328.GetLogEvents", &asked).await.ok()?;
    let events = answer["events"].as_array().map(Vec::as_slice).unwrap_or_default();
    let messages: Vec<&str> = events
        .iter()
        .filter_map(|event| event["message"].as_str())
        .filter(|text| place.with.as_ref().is_none_or(|with| text.contains(with.as_str())))
        .collect();
    tail(messages.iter().flat_map(|message| message.lines()).collect())
}

/// The last lines that fit, without trailing white space; `None` where nothing says anything.
fn tail(lines: Vec<&str>) -> Option<String> {
    let mut kept: Vec<String> = Vec::new();
    let mut size = 0;
    for line in lines.into_iter().rev() {
        let line = line.trim_end();
        let short = if line.chars().count() > LINE_MAX {
            line.chars().take(LINE_MAX - 1).chain(['…']).collect()
        } else {
            line.to_owned()
        };
        if short.is_empty() && kept.is_empty() {
            continue;
        }
        size += short.len() + 1;
        if size > BYTES_MAX || kept.len() == LINES_MAX {
            break;
        }
        kept.push(short);
    }
    kept.reverse();
    (!kept.is_empty()).then(|| kept.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        aws::double::{Answer, Double, service_error},
        operator::ErrorClass,
    };

    fn events(messages: &[&str]) -> Answer {
        let events: Vec<_> =
            messages.iter().map(|message| json!({ "timestamp": 1, "message": message })).collect();
        Answer::Json(200, json!({ "events": events }))
    }

    fn failed() -> Status {
        Status::Failed(Failure::new(ErrorClass::Failed, "exit code 1"))
    }

    fn message(status: &Status) -> &str {
        let Status::Failed(failure) = status else { panic!("{status:?}") };
        &failure.message
    }

    #[tokio::test]
    async fn the_end_of_a_log_stands_below_the_message() {
        let double = Double::start([events(&["Traceback:\n  line 1", "ValueError: no rows", ""])]).await;
        let mut statuses = [Status::Succeeded(crate::operator::Outcome::default()), failed()];
        let place = LogPlace { with: None, ..LogPlace::new("/g", "s") };
        add(&double.clients, "aws", &mut statuses, &[Some(place.clone()), Some(place)]).await;
        assert_eq!(
            message(&statuses[1]),
            "exit code 1\n\nthe end of its log (/g s):\nTraceback:\n  line 1\nValueError: no rows"
        );
        assert_eq!(double.operations(), ["GetLogEvents"], "only failures are worth a call");
        assert_eq!(double.received()[0].json()["startFromHead"], json!(false));
    }

    #[tokio::test]
    async fn a_log_that_cannot_be_read_changes_nothing() {
        let denied = service_error(400, "AccessDeniedException", "no");
        for answer in [denied, service_error(400, "ResourceNotFoundException", "no stream"), events(&[])] {
            let double = Double::start([answer]).await;
            let mut statuses = [failed()];
            add(&double.clients, "aws", &mut statuses, &[Some(LogPlace::new("/g", "s"))]).await;
            assert_eq!(message(&statuses[0]), "exit code 1");
        }
    }

    #[test]
    fn what_is_long_is_cut_at_its_beginning() {
        let line = "x".repeat(100);
        let lines: Vec<&str> = std::iter::repeat_n(line.as_str(), 1000).chain(["the end"]).collect();
        let kept = tail(lines).unwrap();
        assert!(kept.len() <= BYTES_MAX && kept.ends_with("the end"), "{}", kept.len());
        let long = "y".repeat(10_000);
        assert_eq!(tail(vec![long.as_str()]).unwrap().chars().count(), LINE_MAX);
        assert_eq!(tail(vec!["", " "]), None);
    }
}
