//! `show`: one run with its tasks, attempts and history.

use std::collections::BTreeSet;

use jiff::{Timestamp, tz::TimeZone};
use trunkline_state::{
    machine::Transition,
    store::{AttemptRow, HistoryRow, TaskRow},
    words::{AttemptState, TaskState},
};

use super::{
    context::Context,
    exit::Exit,
    output::{Field, bold, dim, state},
    summary::{cost, cost_text},
};
use crate::service::{
    Snapshot,
    elements::standing,
    find,
    snapshot::duration_text,
    views::{NoticeView, RunDetail},
    why::Situation,
};

/// History rows that are read; `--json` shows them all.
const HISTORY_MAX: i64 = 10_000;

/// History lines for people; the first ones are dropped.
const LINES_MAX: usize = 40;
/// Elements of one mapped task that are shown; `--elements` shows them all.
const ELEMENTS_MAX: usize = 20;
/// Characters of what was said about a task or an attempt, in the last column of a table.
const REMARK_MAX: usize = 120;

/// What `show` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// The run: an id, pipeline@date or pipeline@latest
    run: String,
    /// Also the exact request of each attempt
    #[arg(long)]
    requests: bool,
    /// Every element of mapped tasks, not only those that failed or are under way
    #[arg(long)]
    elements: bool,
}

/// Shows a run.
pub(crate) async fn show(cx: &Context, args: &ShowArgs) -> anyhow::Result<Exit> {
    let session = cx.open_to_look().await?;
    let run = find::run(&session.store, &args.run).await?;
    let snapshot = Snapshot::read(&session.store, run).await?;
    let history = session.store.history(run, 0, HISTORY_MAX).await?;
    let sent = session.store.parcels_of(run).await?.into_iter().map(NoticeView::new).collect::<Vec<_>>();
    if cx.output.json() {
        cx.output.value(&RunDetail::new(&snapshot, &history).with_notices(sent));
        return Ok(Exit::Done);
    }
    let now = cx.now();
    head(cx, &snapshot, now);
    if !snapshot.ended() {
        let situation = Situation::read(&session.store, snapshot.clone(), now).await?;
        cx.output.data(&format!("why      {}", situation.run()));
    }
    let shown = shown(&snapshot, args.elements);
    tasks(cx, &snapshot, &shown, now);
    attempts(cx, &snapshot, &shown, args.requests);
    notices(cx, &sent);
    transitions(cx, &snapshot, &history);
    Ok(Exit::Done)
}

fn head(cx: &Context, snapshot: &Snapshot, now: Timestamp) {
    let run = &snapshot.run;
    let mut lines = vec![
        format!("{}  {}  {}", bold(&snapshot.label()), state(&run.state), dim(&run.id.to_string())),
        format!("covers   {}", snapshot.covers().trim_start_matches("covers ")),
        format!(
            "version  {}, generation {}, {} by {}",
            run.version, run.generation, run.trigger, run.created_by
        ),
    ];
    if let Some(params) = run.params.as_object().filter(|params| !params.is_empty()) {
        let params: Vec<String> = params.iter().map(|(name, value)| format!("{name}={value}")).collect();
        lines.push(format!("params   {}", params.join(" ")));
    }
    if let Some(elapsed) = snapshot.elapsed(now) {
        let usual = snapshot.usual.get("").map(|usual| format!(", usually {}", duration_text(*usual)));
        lines.push(format!("took     {}{}", duration_text(elapsed), usual.unwrap_or_default()));
    }
    if let Some(cost) = cost_text(cost(snapshot)) {
        lines.push(format!("cost     {cost}"));
    }
    cx.output.data(&lines.join("\n"));
}

/// The rows to show: each task, and below a mapped one its elements, or those of them that are news.
fn shown(snapshot: &Snapshot, all_elements: bool) -> Vec<&TaskRow> {
    let mut shown = Vec::new();
    for row in snapshot.own_tasks() {
        shown.push(row);
        let news = |element: &&TaskRow| {
            all_elements
                || !matches!(
                    TaskState::from_word(&element.state),
                    Some(TaskState::Succeeded | TaskState::Waiting)
                )
        };
        let limit = if all_elements { usize::MAX } else { ELEMENTS_MAX };
        shown.extend(snapshot.elements(row.position).filter(news).take(limit));
    }
    shown
}

fn tasks(cx: &Context, snapshot: &Snapshot, shown: &[&TaskRow], now: Timestamp) {
    let run = snapshot.as_run();
    let rows = shown.iter().map(|row| {
        let operator = snapshot.task_of(row).map(|task| task.operator.clone());
        let standing = standing(&run, row.position);
        let took = snapshot.task_elapsed(row.position, now).map(duration_text);
        vec![
            Field::from(row.task.clone()),
            Field::from(operator.unwrap_or_default()),
            Field::State(row.state.clone()),
            Field::from(row.attempts.to_string()),
            Field::from(took.unwrap_or_default()),
            Field::from(said(
                row.failure.as_ref().map(|failure| failure.message.as_str()).or(standing.as_deref()),
                &row.warnings,
            )),
        ]
    });
    cx.output.data("");
    cx.output.table(&["task", "type", "state", "attempts", "took", ""], rows.collect(), "no tasks");
}

fn said(failure: Option<&str>, warnings: &[String]) -> String {
    let line = failure.or(warnings.first().map(String::as_str)).and_then(|text| text.lines().next());
    clipped(line.unwrap_or_default())
}

/// The beginning of a line that is too long for a table; `--json` and `why` have all of it.
fn clipped(line: &str) -> String {
    match line.char_indices().nth(REMARK_MAX) {
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
        None => line.to_owned(),
    }
}

fn attempts(cx: &Context, snapshot: &Snapshot, shown: &[&TaskRow], requests: bool) {
    let positions: BTreeSet<usize> = shown.iter().map(|row| row.position).collect();
    let attempts = || snapshot.attempts.iter().filter(|attempt| positions.contains(&attempt.position));
    if attempts().next().is_none() {
        return;
    }
    let zone = snapshot.zone();
    let name = |position: usize| snapshot.tasks.get(position).map(|row| row.task.clone()).unwrap_or_default();
    let rows = attempts().map(|attempt| {
        vec![
            Field::from(format!("{} #{}", name(attempt.position), attempt.number)),
            Field::State(attempt.state.clone()),
            Field::from(attempt.external_id.clone().unwrap_or_default()),
            Field::from(moment(&zone, attempt.intent_at)),
            Field::from(attempt.ended_at.map(|at| moment(&zone, at)).unwrap_or_default()),
            Field::from(remark(attempt)),
        ]
    });
    cx.output.data("");
    cx.output.table(
        &["attempt", "state", "external job", "intent", "ended", ""],
        rows.collect(),
        "no attempts",
    );
    for attempt in attempts().filter(|_| requests) {
        let request = attempt
            .request
            .read::<serde_json::Value>()
            .and_then(|request| serde_json::to_string_pretty(&request))
            .unwrap_or_default();
        cx.output.data(&format!("\n{} #{}\n{request}", bold(&name(attempt.position)), attempt.number));
    }
}

fn notices(cx: &Context, sent: &[NoticeView]) {
    if sent.is_empty() {
        return;
    }
    let rows = sent.iter().map(|notice| {
        let word = if notice.state == "dead" { "given up" } else { notice.state.as_str() };
        vec![
            Field::from(notice.notice.clone()),
            Field::from(word),
            Field::from(notice.tries.to_string()),
            Field::from(clipped(
                notice.error.as_deref().and_then(|text| text.lines().next()).unwrap_or_default(),
            )),
        ]
    });
    cx.output.data("");
    cx.output.table(&["notice", "state", "tries", ""], rows.collect(), "no notices");
}

fn remark(attempt: &AttemptRow) -> String {
    let meaning = match AttemptState::from_word(&attempt.state) {
        Some(state @ (AttemptState::Unknown | AttemptState::Lost)) => Some(state.meaning().to_owned()),
        _ => None,
    };
    let note =
        attempt.failure.as_ref().map(|failure| failure.message.clone()).or_else(|| attempt.note.clone());
    let found = attempt.reattached.then(|| "found again".to_owned());
    let parts: Vec<String> = [meaning, found, note].into_iter().flatten().collect();
    clipped(parts.join("; ").lines().next().unwrap_or_default())
}

fn transitions(cx: &Context, snapshot: &Snapshot, history: &[HistoryRow]) {
    let zone = snapshot.zone();
    let mut lines: Vec<String> = history
        .iter()
        .flat_map(|row| row.changes.iter().map(move |change| (row, change)))
        .map(|(row, change)| {
            format!("{}  {}", dim(&moment(&zone, change.at)), described(snapshot, row, change))
        })
        .collect();
    let dropped = lines.len().saturating_sub(LINES_MAX);
    lines.drain(..dropped);
    if dropped > 0 {
        lines.insert(0, dim(&format!("{dropped} earlier changes: --json shows them")));
    }
    cx.output.data(&format!("\nHISTORY\n{}", lines.join("\n")));
}

fn described(snapshot: &Snapshot, row: &HistoryRow, change: &Transition) -> String {
    let task = change.task.and_then(|position| snapshot.tasks.get(position)).map(|row| row.task.as_str());
    let subject = match (task, change.attempt) {
        (None, _) => "run".to_owned(),
        (Some(task), None) => task.to_owned(),
        (Some(task), Some(number)) => format!("{task} #{number}"),
    };
    let from = change.from.as_deref().map(|from| format!("{from} → ")).unwrap_or_default();
    let reason = change.reason.as_deref().and_then(|reason| reason.lines().next());
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    let actor =
        if row.actor.starts_with("replica:") { String::new() } else { format!("  {}", dim(&row.actor)) };
    format!("{subject}  {from}{}{reason}{actor}", state(&change.to))
}

fn moment(zone: &TimeZone, at: Timestamp) -> String {
    at.to_zoned(zone.clone()).strftime("%m-%d %H:%M:%S").to_string()
}
