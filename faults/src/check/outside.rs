//! What the world says: calls on the wire, jobs at the service, history, logs.

use super::{AttemptFact, Evidence, HashMap, HashSet, Value, is_declared_lost, label, leaves_history};
use crate::evidence::{Audit, Start};

/// States in which a Glue job run is over.
const JOB_ENDS: [&str; 5] = ["SUCCEEDED", "FAILED", "STOPPED", "TIMEOUT", "ERROR"];
/// How long a start may be under way when the store goes away, in milliseconds: its limit is a
/// tenth of this in a trial, but machines are slow.
const LAST_STARTS_MS: i64 = 1_000;

pub(super) fn check(evidence: &Evidence, found: &mut Vec<String>) {
    requests(evidence, found);
    stops(evidence, found);
    leftovers(evidence, found);
    blind_starts(evidence, found);
    audit(evidence, found);
    for place in &evidence.canary {
        found.push(format!("I12: the secret is in {place}"));
    }
    if evidence.forgotten_transactions > 0 {
        let count = evidence.forgotten_transactions;
        found.push(format!("I5: {count} sessions hold a transaction open that nobody ends"));
    }
}

/// What goes out is what was stored with the intent.
fn requests(evidence: &Evidence, found: &mut Vec<String>) {
    let known: HashMap<&str, &AttemptFact> =
        evidence.attempts.iter().map(|attempt| (attempt.token.as_str(), attempt)).collect();
    for call in &evidence.calls {
        let Ok(sent) = serde_json::from_str::<Value>(&call.body) else { continue };
        let token = match call.operation.as_str() {
            "StartJobRun" => &sent["Arguments"]["--trunkline-attempt"],
            "StartQueryExecution" => &sent["ClientRequestToken"],
            _ => continue,
        };
        let Some(attempt) = token.as_str().and_then(|token| known.get(token)) else { continue };
        if attempt.body[&call.operation] != sent {
            let stored = &attempt.body[&call.operation];
            found.push(format!("I1: {} was sent as {sent} and stored as {stored}", label(attempt)));
        }
    }
}

fn stops(evidence: &Evidence, found: &mut Vec<String>) {
    let ours: HashSet<&str> =
        evidence.attempts.iter().filter_map(|attempt| attempt.external_id.as_deref()).collect();
    for call in &evidence.calls {
        let Ok(sent) = serde_json::from_str::<Value>(&call.body) else { continue };
        let ids: Vec<&Value> = match call.operation.as_str() {
            "BatchStopJobRun" => sent["JobRunIds"].as_array().into_iter().flatten().collect(),
            "StopQueryExecution" => vec![&sent["QueryExecutionId"]],
            _ => continue,
        };
        for id in ids.into_iter().filter_map(Value::as_str).filter(|id| !ours.contains(id)) {
            found.push(format!("I14: {} was called for {id}, which is not ours", call.operation));
        }
    }
}

/// Nothing runs on after its attempt ended.
fn leftovers(evidence: &Evidence, found: &mut Vec<String>) {
    let states: HashMap<&str, &str> =
        evidence.jobs.iter().map(|(id, state)| (id.as_str(), state.as_str())).collect();
    let given_up: HashSet<&str> = evidence
        .attempts
        .iter()
        .filter(|attempt| is_declared_lost(attempt))
        .map(|attempt| attempt.token.as_str())
        .collect();
    let watched = |start: &&Start| !start.marker.as_deref().is_some_and(|marker| given_up.contains(marker));
    for start in evidence.ledger.iter().filter(watched) {
        if let Some(state) = states.get(start.id.as_str()).filter(|state| !JOB_ENDS.contains(state)) {
            found.push(format!("I2: job run {} of {} is {state} at rest", start.id, start.subject));
        }
    }
}

/// While the store is away nothing is started: nobody could remember it.
fn blind_starts(evidence: &Evidence, found: &mut Vec<String>) {
    for (gone, back) in &evidence.away {
        for start in evidence.ledger.iter().filter(|start| start.operation != "Publish") {
            let Some(at) = start.at.filter(|at| at < back) else { continue };
            let after = at.as_millisecond() - gone.as_millisecond();
            if after > LAST_STARTS_MS {
                found.push(format!(
                    "I2: {} was accepted {after} ms after the store went away",
                    start.operation
                ));
            }
        }
    }
}

fn audit(evidence: &Evidence, found: &mut Vec<String>) {
    for action in evidence.actions.iter().filter(|action| leaves_history(action)) {
        let (user, what) = (&action.user, action.operation);
        let Audit { lines, mentions } = evidence.audit.get(user).copied().unwrap_or_default();
        if lines > 1 {
            found.push(format!("I13: `{what}` of {user} has {lines} lines in the history of one run"));
        }
        if action.confirmed && mentions == 0 {
            found.push(format!("I13: `{what}` of {user} was confirmed and is in no line of history"));
        }
    }
}
