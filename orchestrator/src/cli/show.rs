//! `show`: one run with its tasks, attempts and history.

use std::{collections::BTreeSet, time::Duration};

use jiff::{Timestamp, tz::TimeZone};
use trunkline_state::words::{AttemptState, TaskState};

use super::{
    context::Context,
    exit::Exit,
    output::{Field, bold, dim, state},
    server::Server,
    validate::counted,
};
use crate::service::{
    Snapshot,
    cost::{cost, cost_text},
    find,
    snapshot::duration_text,
    views::{AttemptView, ChangeView, HistoryView, NoticeView, RunDetail, RunWithTasks, TaskView},
    why::Situation,
};

/// History rows that are read; `--json` shows them all.
const HISTORY_MAX: i64 = 10_000;

/// History lines for people; the first ones are dropped.
const LINES_MAX: usize = 40;
/// Elements of one mapped task that are shown; `--elements` shows them all.
const ELEMENTS_MAX: usize = 20;
/// Objects that are named of those that made a run; `--json` names them all.
const THINGS_MAX: usize = 3;
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
    let (detail, why) = match cx.server()? {
        Some(server) => there(&server, &args.run).await?,
        None => here(cx, &args.run).await?,
    };
    if cx.output.json() {
        cx.output.value(&detail);
        return Ok(Exit::Done);
    }
    let now = cx.now();
    head(cx, &detail, now);
    if let Some(why) = why {
        cx.output.data(&format!("why      {why}"));
    }
    let shown = shown(&detail.run, args.elements);
    tasks(cx, &shown, now);
    attempts(cx, &detail, &shown, args.requests);
    notices(cx, &detail.notices);
    transitions(cx, &detail);
    Ok(Exit::Done)
}

/// From the store; with the reason why it is not further, while it lives.
async fn here(cx: &Context, name: &str) -> anyhow::Result<(RunDetail, Option<String>)> {
    let session = cx.open_to_look().await?;
    let run = find::run(&session.store, name).await?;
    let snapshot = Snapshot::read(&session.store, run).await?;
    let history = session.store.history(run, 0, HISTORY_MAX).await?;
    let sent = session.store.parcels_of(run).await?.into_iter().map(NoticeView::new).collect::<Vec<_>>();
    let detail = RunDetail::new(&snapshot, &history, &session.registry).with_notices(sent);
    if snapshot.ended() {
        return Ok((detail, None));
    }
    let situation = Situation::read(&session.store, snapshot, cx.now()).await?;
    Ok((detail, Some(situation.run())))
}

/// From a server.
async fn there(server: &Server, name: &str) -> anyhow::Result<(RunDetail, Option<String>)> {
    let detail = server.run(name).await?;
    let ended = detail.run.state().is_some_and(trunkline_state::words::RunState::is_terminal);
    let why = if ended { None } else { Some(server.why(&detail.run.run.id, None).await?.why) };
    Ok((detail, why))
}

fn head(cx: &Context, detail: &RunDetail, now: Timestamp) {
    let run = &detail.run.run;
    let mut lines = vec![
        format!("{}  {}  {}", bold(&run.run), state(&run.state), dim(&run.id)),
        format!("covers   {}", detail.run.covers.trim_start_matches("covers ")),
        format!(
            "version  {}, generation {}, {} by {}",
            run.version, run.generation, run.trigger, run.created_by
        ),
    ];
    if let Some(params) = run.params.as_object().filter(|params| !params.is_empty()) {
        let params: Vec<String> =
            params.iter().map(|(name, value)| format!("{name}={}", clipped(&value.to_string()))).collect();
        lines.push(format!("params   {}", params.join(" ")));
    }
    if let Some(told) = &detail.run.told {
        lines.push(format!("trigger  {}", occasion(told)));
    }
    if let Some(elapsed) = run.elapsed(now) {
        let usual = detail.run.usual_seconds.and_then(|usual| Duration::try_from_secs_f64(usual).ok());
        let usual = usual.map(|usual| format!(", usually {}", duration_text(usual)));
        lines.push(format!("took     {}{}", duration_text(elapsed), usual.unwrap_or_default()));
    }
    if let Some(cost) = cost_text(cost(&detail.attempt_list)) {
        lines.push(format!("cost     {cost}"));
    }
    cx.output.data(&lines.join("\n"));
}

/// What made a run, in one line: the other run, or the first objects or datasets and how many there are.
fn occasion(told: &serde_json::Value) -> String {
    let of_run = |name: &str| told.get("run")?.get(name)?.as_str();
    if let (Some(name), Some(state)) = (of_run("name"), of_run("state")) {
        return format!("{name} {state}");
    }
    let list = |name: &str| told.get(name).and_then(serde_json::Value::as_array);
    let text = |one: &serde_json::Value, name: &str| {
        one.get(name).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    };
    if let Some(updates) = list("datasets") {
        return first_of(updates, "update", |one| {
            format!("{} by {} {}", text(one, "name"), text(one, "run"), text(one, "task"))
        });
    }
    let objects = list("objects").map(Vec::as_slice).unwrap_or_default();
    first_of(objects, "object", |one| format!("s3://{}/{}", text(one, "bucket"), text(one, "key")))
}

/// How many things there are, and the first of them.
fn first_of(things: &[serde_json::Value], noun: &str, show: impl Fn(&serde_json::Value) -> String) -> String {
    let first: Vec<String> = things.iter().take(THINGS_MAX).map(show).collect();
    let more = if things.len() > THINGS_MAX { ", …" } else { "" };
    format!("{}: {}{more}", counted(things.len(), noun), first.join(", "))
}

/// What to show: each task, and below a mapped one its elements, or those of them that are news.
fn shown(run: &RunWithTasks, all_elements: bool) -> Vec<&TaskView> {
    let mut shown = Vec::new();
    for task in run.own_tasks() {
        shown.push(task);
        let news = |element: &&TaskView| {
            all_elements
                || !matches!(
                    TaskState::from_word(&element.state),
                    Some(TaskState::Succeeded | TaskState::Waiting)
                )
        };
        let limit = if all_elements { usize::MAX } else { ELEMENTS_MAX };
        if task.elements.is_some() {
            shown.extend(run.elements(&task.task).filter(news).take(limit));
        }
    }
    shown
}

fn tasks(cx: &Context, shown: &[&TaskView], now: Timestamp) {
    let rows = shown.iter().map(|task| {
        vec![
            Field::from(task.task.clone()),
            Field::from(task.operator.clone()),
            Field::State(task.state.clone()),
            Field::from(task.attempts.to_string()),
            Field::from(task.elapsed(now).map(duration_text).unwrap_or_default()),
            Field::from(said(
                task.failure.as_ref().map(|failure| failure.message.as_str()).or(task.standing.as_deref()),
                &task.warnings,
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

fn attempts(cx: &Context, detail: &RunDetail, shown: &[&TaskView], requests: bool) {
    let names: BTreeSet<&str> = shown.iter().map(|task| task.task.as_str()).collect();
    let attempts = || detail.attempt_list.iter().filter(|attempt| names.contains(attempt.task.as_str()));
    if attempts().next().is_none() {
        return;
    }
    let zone = detail.run.zone();
    let rows = attempts().map(|attempt| {
        vec![
            Field::from(format!("{} #{}", attempt.task, attempt.number)),
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
        let request = serde_json::to_string_pretty(&attempt.request).unwrap_or_default();
        cx.output.data(&format!("\n{} #{}\n{request}", bold(&attempt.task), attempt.number));
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

fn remark(attempt: &AttemptView) -> String {
    let meaning = match AttemptState::from_word(&attempt.state) {
        Some(AttemptState::Unknown | AttemptState::Lost) => Some(attempt.meaning.clone()),
        _ => None,
    };
    let note =
        attempt.failure.as_ref().map(|failure| failure.message.clone()).or_else(|| attempt.note.clone());
    let found = attempt.reattached.then(|| "found again".to_owned());
    let parts: Vec<String> = [meaning, found, note].into_iter().flatten().collect();
    clipped(parts.join("; ").lines().next().unwrap_or_default())
}

fn transitions(cx: &Context, detail: &RunDetail) {
    let zone = detail.run.zone();
    let changes = detail.history.iter().flat_map(|row| row.changes.iter().map(move |change| (row, change)));
    let mut lines: Vec<String> = changes
        .map(|(row, change)| format!("{}  {}", dim(&moment(&zone, change.at)), described(row, change)))
        .collect();
    let dropped = lines.len().saturating_sub(LINES_MAX);
    lines.drain(..dropped);
    if dropped > 0 {
        lines.insert(0, dim(&format!("{dropped} earlier changes: --json shows them")));
    }
    cx.output.data(&format!("\nHISTORY\n{}", lines.join("\n")));
}

/// One line of history.
fn described(row: &HistoryView, change: &ChangeView) -> String {
    let subject = match (&change.task, change.attempt) {
        (None, _) => "run".to_owned(),
        (Some(task), None) => task.clone(),
        (Some(task), Some(number)) => format!("{task} #{number}"),
    };
    let from = change.from.as_deref().map(|from| format!("{from} → ")).unwrap_or_default();
    let reason = change.reason.as_deref().and_then(|reason| reason.lines().next());
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    let actor =
        if row.actor.starts_with("replica:") { String::new() } else { format!("  {}", dim(&row.actor)) };
    format!("{subject}  {from}{}{reason}{actor}", state(&change.to))
}

/// A moment as people read it in a table.
fn moment(zone: &TimeZone, at: Timestamp) -> String {
    at.to_zoned(zone.clone()).strftime("%m-%d %H:%M:%S").to_string()
}
