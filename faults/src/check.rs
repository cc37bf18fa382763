//! Evidence into violations. Pure, so that its own tests show that it can find something.
//!
//! The letters are those of the fault model: I1 each attempt has at most one accepted start, sent
//! as it was stored; I2 each accepted start belongs to an attempt and ends with it; I3 each
//! accepted trigger has one run; I4 every run ends; I5 only legal transitions; I6 at most one
//! live attempt; I7 nothing starts before its upstreams ended; I8 an ended attempt never changes;
//! I9 every notice is sent; I10 places (asked while the trial goes on); I11 counters equal
//! recounts; I12 no secret anywhere; I13 one line of history for each action of a person; I14 no
//! stop of somebody else's job.

use std::collections::{BTreeMap, HashMap, HashSet};

use trunkline_state::{
    machine::legal::{attempt_may, run_may, task_may},
    words::{AttemptState, RunState, TaskState},
};

use serde_json::Value;

use crate::{
    evidence::{Action, AttemptFact, Evidence, HistoryFact, RunFact},
    project,
    report::Carried,
};

mod outside;

/// Every promise that the evidence says was broken, in words.
pub fn check(evidence: &Evidence) -> Vec<String> {
    let mut found = Vec::new();
    outcomes(evidence, &mut found);
    attempts(evidence, &mut found);
    marked_starts(evidence, &mut found);
    crawls(evidence, &mut found);
    commands(evidence, &mut found);
    history(evidence, &mut found);
    order(evidence, &mut found);
    finality(evidence, &mut found);
    notices(evidence, &mut found);
    places(evidence, &mut found);
    outside::check(evidence, &mut found);
    found
}

/// Notices that were published more than once: allowed after a death, and counted.
pub fn repeated_notices(evidence: &Evidence) -> usize {
    let published = evidence.ledger.iter().filter(|start| start.operation == "Publish").count();
    published.saturating_sub(evidence.notices.len())
}

/// Accepted starts of jobs, and starts of commands.
pub fn starts(evidence: &Evidence) -> usize {
    evidence.ledger.iter().filter(|start| start.operation != "Publish").count() + evidence.commands.len()
}

/// What people asked for, and how often it was done.
pub fn operations(evidence: &Evidence) -> BTreeMap<String, Carried> {
    let mut operations: BTreeMap<String, Carried> = BTreeMap::new();
    for action in &evidence.actions {
        let told = evidence.audit.get(&action.user).is_some_and(|audit| audit.mentions > 0);
        let carried = operations.entry(action.operation.to_owned()).or_default();
        match (told || (action.confirmed && !leaves_history(action)), action.interrupted) {
            (true, _) => carried.done += 1,
            (false, true) => carried.cut_off += 1,
            (false, false) => carried.refused += 1,
        }
    }
    operations
}

/// Whether an action is in a run's history under the name of who asked.
fn leaves_history(action: &Action) -> bool {
    !["deploy", "backfill"].contains(&action.operation)
}

/// A person said that nobody can know what became of it: its job, if there is one, is nobody's.
fn is_declared_lost(attempt: &AttemptFact) -> bool {
    attempt.state == "lost" && attempt.failure.contains("declared lost by user:rig-")
}

/// Whether a line of history tells that a person marked a task failed, or cancelled it.
fn was_failed_by_a_person(row: &HistoryFact) -> bool {
    let told = row.changes.to_string();
    told.contains("marked failed") || (row.actor.starts_with("user:rig-") && told.contains("cancel"))
}

fn outcomes(evidence: &Evidence, found: &mut Vec<String>) {
    for run in &evidence.runs {
        let lost = evidence.attempts.iter().any(|attempt| attempt.run == run.id && is_declared_lost(attempt));
        let as_it_may = run.wanted.contains(&run.state.as_str()) || (lost && run.state == "failed");
        if !as_it_may {
            found.push(format!("I4: {} is {}, not {}", name(run), run.state, run.wanted.join(" or ")));
        }
        // A task that fails because it is denied says so.
        let own = |attempt: &&AttemptFact| attempt.run == run.id && attempt.state == "failed";
        let said = evidence
            .attempts
            .iter()
            .filter(own)
            .any(|attempt| attempt.failure.contains("AccessDenied") || attempt.failure.contains("exit"));
        let by_a_person = |row: &HistoryFact| row.run == run.id && was_failed_by_a_person(row);
        if run.state == "failed" && !said && !lost && !evidence.history.iter().any(by_a_person) {
            found.push(format!("I4: {} failed, and no attempt says why in the service's words", name(run)));
        }
    }
    let count = |pipeline: &str, key: Option<&str>| {
        let fits = |run: &&RunFact| {
            run.pipeline == pipeline && key.map_or(run.trigger == "schedule", |key| run.key == key)
        };
        evidence.runs.iter().filter(fits).count()
    };
    for (pipeline, key) in &evidence.accepted {
        let runs = count(pipeline, Some(key));
        if runs != 1 {
            found.push(format!("I3: {pipeline}@{key} was accepted and has {runs} runs"));
        }
    }
    if let Some(pipeline) = evidence.fires {
        let runs = count(pipeline, None);
        if runs != 1 {
            found.push(format!("I3: the fire of {pipeline} made {runs} runs"));
        }
    }
}

fn attempts(evidence: &Evidence, found: &mut Vec<String>) {
    for attempt in &evidence.attempts {
        match AttemptState::from_word(&attempt.state) {
            None => found.push(format!("I5: {} has the state {}", label(attempt), attempt.state)),
            Some(state) if !state.is_terminal() => {
                found.push(format!("I4: {} is {} at rest", label(attempt), attempt.state));
            }
            Some(AttemptState::Lost) if is_declared_lost(attempt) => {}
            Some(AttemptState::Lost) => found.push(format!("I4: {} ended as lost", label(attempt))),
            Some(_) => {}
        }
    }
    for task in &evidence.tasks {
        let of = |attempt: &&AttemptFact| attempt.run == task.run && attempt.position == task.position;
        let numbers: Vec<i32> = evidence.attempts.iter().filter(of).map(|attempt| attempt.number).collect();
        let wanted: Vec<i32> = (1..=task.attempts).collect();
        if numbers != wanted {
            let text = format!(
                "I11: task {} of {} counts {} attempts and has {numbers:?}",
                task.position, task.run, task.attempts
            );
            found.push(text);
        }
        let mut before: Option<&AttemptFact> = None;
        for attempt in evidence.attempts.iter().filter(of) {
            if let Some(earlier) = before.filter(|_| !evidence.clocks_jump)
                && earlier.ended_at.is_none_or(|ended| ended > attempt.intent_at)
            {
                found.push(format!("I6: {} was intended before {} ended", label(attempt), label(earlier)));
            }
            before = Some(attempt);
        }
    }
}

/// Jobs and queries carry the attempt's marker or token.
fn marked_starts(evidence: &Evidence, found: &mut Vec<String>) {
    let known: HashMap<&str, &AttemptFact> =
        evidence.attempts.iter().map(|attempt| (attempt.token.as_str(), attempt)).collect();
    let mut ids: HashMap<&str, Vec<&str>> = HashMap::new();
    let marked = ["StartJobRun", "StartQueryExecution"];
    for start in evidence.ledger.iter().filter(|start| marked.contains(&start.operation.as_str())) {
        let marker = start.marker.as_deref().unwrap_or_default();
        if !known.contains_key(marker) {
            found.push(format!("I2: {} {} ({marker}) belongs to no attempt", start.operation, start.id));
        }
        ids.entry(marker).or_default().push(&start.id);
    }
    for (marker, ids) in &ids {
        if ids.len() > 1 {
            let who = known.get(marker).map_or_else(|| (*marker).to_owned(), |attempt| label(attempt));
            found.push(format!("I1: {who} was started {} times: {}", ids.len(), ids.join(", ")));
        }
    }
    for attempt in evidence
        .attempts
        .iter()
        .filter(|attempt| ["glue_job", "athena_query"].contains(&attempt.operator.as_str()))
    {
        let own = ids.get(attempt.token.as_str()).and_then(|ids| ids.first()).copied();
        if attempt.external_id.is_some() && own != attempt.external_id.as_deref() {
            let text = format!(
                "I1: {} has the handle {:?}, the ledger {own:?}",
                label(attempt),
                attempt.external_id
            );
            found.push(text);
        }
        if attempt.external_id.is_none() && own.is_some() && !is_declared_lost(attempt) {
            found.push(format!("I2: {} ended without the job {own:?} that it started", label(attempt)));
        }
    }
}

/// Crawls carry nothing; each crawler belongs to one run, and each crawl must be an attempt's.
fn crawls(evidence: &Evidence, found: &mut Vec<String>) {
    for crawler in project::CRAWLERS {
        let runs: HashSet<&str> = evidence
            .runs
            .iter()
            .filter(|run| run.crawler.as_deref() == Some(crawler))
            .map(|run| run.id.as_str())
            .collect();
        let own = |attempt: &&AttemptFact| {
            attempt.operator == "glue_crawler" && runs.contains(attempt.run.as_str())
        };
        let attempts = evidence.attempts.iter().filter(own).count();
        // What was cancelled or denied may have ended before anything was sent.
        let idle = evidence
            .attempts
            .iter()
            .filter(own)
            .filter(|attempt| attempt.external_id.is_none() && attempt.state != "succeeded")
            .count();
        let crawls = evidence
            .ledger
            .iter()
            .filter(|start| start.operation == "StartCrawler" && start.subject == crawler)
            .count();
        if crawls > attempts || crawls + idle < attempts {
            found.push(format!("I1: {crawler} was started {crawls} times for {attempts} attempts"));
        }
    }
}

/// Commands write their attempt's id when they run.
fn commands(evidence: &Evidence, found: &mut Vec<String>) {
    let mut times: HashMap<&str, usize> = HashMap::new();
    for command in &evidence.commands {
        *times.entry(command).or_default() += 1;
    }
    for attempt in evidence.attempts.iter().filter(|attempt| attempt.operator == "command") {
        let ran = times.remove(attempt.token.as_str()).unwrap_or(0);
        let may_be_idle = ["cancelled", "timed_out", "lost"].contains(&attempt.state.as_str());
        if ran > 1 || (ran == 0 && !may_be_idle) {
            found.push(format!("I1: the command of {} ran {ran} times", label(attempt)));
        }
    }
    for (attempt, ran) in times {
        found.push(format!("I2: a command ran {ran} times for {attempt}, which is no attempt"));
    }
}

/// Every transition is legal and begins where the one before ended, and the last ones lead to
/// what the rows say. Numbers of history rows rise; a commit that changed no state leaves a gap.
fn history(evidence: &Evidence, found: &mut Vec<String>) {
    let mut states: HashMap<(String, Option<i64>, Option<i64>), String> = HashMap::new();
    let mut rows: HashMap<&str, i32> = HashMap::new();
    for row in &evidence.history {
        let before = rows.insert(&row.run, row.seq).unwrap_or(0);
        if row.seq <= before {
            found.push(format!("I5: history row {} of {} comes after {before}", row.seq, row.run));
        }
        for change in row.changes.as_array().into_iter().flatten() {
            let (task, attempt) = (change["task"].as_i64(), change["attempt"].as_i64());
            // Remarks name a task and no new state.
            let Some(to) = change["to"].as_str() else { continue };
            let from = change["from"].as_str();
            let before = states.insert((row.run.clone(), task, attempt), to.to_owned());
            if let (Some(before), Some(from)) = (&before, from)
                && before != from
            {
                found.push(format!("I5: {} goes on from {from} where it was {before}: {change}", row.run));
            }
            if from.or(before.as_deref()).is_some_and(|from| from != to)
                && !is_legal(task, attempt, from.or(before.as_deref()), to)
            {
                found.push(format!("I5: illegal transition in {}: {change}", row.run));
            }
        }
    }
    for run in &evidence.runs {
        let newest = rows.get(run.id.as_str()).copied().unwrap_or(0);
        if newest > run.event_seq {
            found.push(format!("I5: {} counts to {} and has history row {newest}", name(run), run.event_seq));
        }
        let last = states.get(&(run.id.clone(), None, None));
        if last != Some(&run.state) {
            found.push(format!(
                "I5: the history of {} ends at {last:?}, its state is {}",
                name(run),
                run.state
            ));
        }
    }
    for attempt in &evidence.attempts {
        let key = (attempt.run.clone(), Some(i64::from(attempt.position)), Some(i64::from(attempt.number)));
        if states.get(&key).is_some_and(|last| *last != attempt.state) {
            found.push(format!("I5: the history of {} does not end at {}", label(attempt), attempt.state));
        }
    }
}

fn is_legal(task: Option<i64>, attempt: Option<i64>, from: Option<&str>, to: &str) -> bool {
    match (task, attempt) {
        (None, _) => {
            let states = (from.and_then(RunState::from_word), RunState::from_word(to));
            matches!(states, (Some(from), Some(to)) if run_may(from, to))
        }
        (Some(_), None) => {
            let states = (from.and_then(TaskState::from_word), TaskState::from_word(to));
            matches!(states, (Some(from), Some(to)) if task_may(from, to))
        }
        (Some(_), Some(_)) => {
            let before = from.map(AttemptState::from_word);
            match (before, AttemptState::from_word(to)) {
                (Some(None), _) | (_, None) => false,
                (before, Some(to)) => attempt_may(before.flatten(), to),
            }
        }
    }
}

/// The last attempt of a task was intended after what it depends on had ended.
fn order(evidence: &Evidence, found: &mut Vec<String>) {
    if evidence.clocks_jump {
        return;
    }
    let ends: HashMap<(&str, i32), Option<i64>> =
        evidence.tasks.iter().map(|task| ((task.run.as_str(), task.position), task.ended_at)).collect();
    let runs: HashMap<&str, &RunFact> = evidence.runs.iter().map(|run| (run.id.as_str(), run)).collect();
    for attempt in &evidence.attempts {
        let Some(run) = runs.get(attempt.run.as_str()) else { continue };
        if attempt.generation != run.generation {
            continue;
        }
        let position = usize::try_from(attempt.position).unwrap_or(usize::MAX);
        for upstream in run.depends_on.get(position).into_iter().flatten() {
            match ends.get(&(attempt.run.as_str(), *upstream)) {
                Some(Some(ended)) if *ended <= attempt.intent_at => {}
                other => found.push(format!(
                    "I7: {} was intended before task {upstream} ended: {other:?}",
                    label(attempt)
                )),
            }
        }
    }
}

fn finality(evidence: &Evidence, found: &mut Vec<String>) {
    for (attempt, then) in &evidence.ended_then {
        if evidence.ended_now.get(attempt) != Some(then) {
            found.push(format!("I8: the ended attempt {attempt} changed"));
        }
    }
}

fn notices(evidence: &Evidence, found: &mut Vec<String>) {
    let published: HashSet<&str> = evidence
        .ledger
        .iter()
        .filter(|start| start.operation == "Publish")
        .map(|start| start.id.as_str())
        .collect();
    for notice in &evidence.notices {
        let provider_id = notice.provider_id.as_deref().unwrap_or_default();
        let sent = published.contains(provider_id);
        // One mail tells of all runs of a backfill, or of many that failed at once: itself a notice.
        let told =
            ["told by the digest of backfill", "told with "].iter().any(|how| provider_id.starts_with(how));
        if notice.state != "sent" || !(sent || told) {
            found.push(format!("I9: notice {} is {} and was published: {sent}", notice.key, notice.state));
        }
    }
    for run in &evidence.runs {
        let own = evidence.notices.iter().filter(|notice| notice.run == run.id).count();
        // Each generation that ended has one; a clear may have come before the first ended.
        if own == 0 && run.state != "cancelled" {
            found.push(format!("I9: {} ended without a notice", name(run)));
        }
    }
}

fn places(evidence: &Evidence, found: &mut Vec<String>) {
    for (who, taken) in evidence.places.iter().filter(|(_, taken)| *taken != 0) {
        found.push(format!("I11: {who} counts {taken} active runs at rest"));
    }
    found.extend(
        evidence.miscounted.iter().map(|run| format!("I11: the packed states of {run} are not its tasks'")),
    );
}

fn name(run: &RunFact) -> String {
    format!("{}@{}", run.pipeline, run.key)
}

fn label(attempt: &AttemptFact) -> String {
    format!(
        "attempt {} of task {} of {} ({})",
        attempt.number, attempt.position, attempt.run, attempt.operator
    )
}

#[cfg(test)]
mod tests;
