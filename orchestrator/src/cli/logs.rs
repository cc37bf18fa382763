//! `logs`: what a task printed, and where else to look.

use std::time::Duration;

use trunkline_state::{machine::AttemptKey, run::Failure, store::AttemptRow};

use super::{
    context::{Context, Session},
    exit::{Exit, refuse},
    output::dim,
};
use crate::service::{Snapshot, find, views::LogView};

/// Pieces that are read at once.
const PIECES_AT_ONCE: i64 = 100;

/// How often `-f` looks for more.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What `logs` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct LogsArgs {
    /// The run: an id, pipeline@date or pipeline@latest
    pub(crate) run: String,
    /// The task
    pub(crate) task: String,
    /// Go on until the attempt ends
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// This attempt rather than the newest
    #[arg(long, value_name = "N")]
    pub(crate) attempt: Option<u32>,
}

/// Prints the output of an attempt.
pub(crate) async fn logs(cx: &Context, args: &LogsArgs) -> anyhow::Result<Exit> {
    let session = cx.open_to_look().await?;
    let run = find::run(&session.store, &args.run).await?;
    let mut snapshot = Snapshot::read(&session.store, run).await?;
    let task = find::task(&snapshot.as_run(), &args.task)?;
    let Some(attempt) = chosen(&snapshot, task, args.attempt) else {
        return refuse(nothing(&args.task, &snapshot.label(), args.attempt));
    };
    let key = AttemptKey { task, number: attempt.number };
    head(cx, attempt.number, &attempt.state, attempt.external_id.as_deref());
    let mut printed = Printed::new(cx);
    let mut next = 0;
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        looks.tick().await;
        snapshot.refresh(&session.store).await?;
        let ended =
            chosen(&snapshot, task, Some(key.number)).is_none_or(|attempt| attempt.ended_at.is_some());
        next = print_from(&mut printed, &session, &snapshot, key, next).await?;
        if ended || !args.follow {
            break;
        }
    }
    let ended = chosen(&snapshot, task, Some(key.number));
    printed.end(LogView {
        run: snapshot.label(),
        task: args.task.clone(),
        attempt: key.number,
        state: ended.as_ref().map(|attempt| attempt.state.clone()).unwrap_or_default(),
        text: String::new(),
        next,
        complete: ended.as_ref().is_some_and(|attempt| attempt.ended_at.is_some()),
    });
    tail(cx, ended.as_ref().and_then(|attempt| attempt.failure.as_ref()), next == 0);
    Ok(Exit::Done)
}

/// Output on its way: to a terminal as it comes, into one JSON value when all of it is there.
pub(crate) struct Printed<'a> {
    cx: &'a Context,
    kept: String,
}

impl<'a> Printed<'a> {
    /// Nothing so far.
    pub(crate) fn new(cx: &'a Context) -> Self {
        Self { cx, kept: String::new() }
    }

    /// More of it.
    pub(crate) fn more(&mut self, text: &str) {
        if self.cx.output.json() {
            self.kept.push_str(text);
        } else {
            self.cx.output.raw(text);
        }
    }

    /// The end: `about` says what it is the output of.
    pub(crate) fn end(self, about: LogView) {
        if self.cx.output.json() {
            self.cx.output.value(&LogView { text: self.kept, ..about });
        }
    }
}

/// Why there is no output to print.
pub(crate) fn nothing(task: &str, label: &str, attempt: Option<u32>) -> String {
    match attempt {
        Some(number) => format!("{task} of {label} has no attempt {number}"),
        None => format!("{task} of {label} has not started: `trunkline why {label} {task}`"),
    }
}

/// Which attempt it is.
pub(crate) fn head(cx: &Context, number: u32, state: &str, external_id: Option<&str>) {
    let id = external_id.map(|id| format!(", {id}")).unwrap_or_default();
    cx.output.note(&dim(&format!("attempt {number}, {state}{id}")));
}

/// How it failed, if it did; `silent`: nothing was captured of what it printed.
pub(crate) fn tail(cx: &Context, failure: Option<&Failure>, silent: bool) {
    let message = failure.map(|failure| failure.message.as_str()).unwrap_or_default();
    let (first, rest) = message.split_once('\n').unwrap_or((message, ""));
    if silent && rest.trim().is_empty() {
        cx.output.note("no output was captured; the service keeps this job's log");
    }
    let Some(failure) = failure else { return };
    cx.output.note(&format!("failed ({}): {first}", failure.class));
    // What was captured has been printed; without it the failure holds the end of the service's own log.
    if silent && !rest.trim().is_empty() && !cx.output.json() {
        cx.output.raw(rest.trim_start_matches('\n'));
        cx.output.raw("\n");
    }
}

async fn print_from(
    printed: &mut Printed<'_>,
    session: &Session,
    snapshot: &Snapshot,
    key: AttemptKey,
    mut next: u32,
) -> anyhow::Result<u32> {
    loop {
        let pieces = session.store.log_pieces(snapshot.run.id, key, next, PIECES_AT_ONCE).await?;
        let Some(last) = pieces.last() else { return Ok(next) };
        next = last.chunk.saturating_add(1);
        for piece in &pieces {
            printed.more(&piece.body);
        }
    }
}

fn chosen(snapshot: &Snapshot, task: usize, number: Option<u32>) -> Option<AttemptRow> {
    match number {
        None => snapshot.newest_attempt(task).cloned(),
        Some(number) => {
            let of_task = |attempt: &&AttemptRow| attempt.position == task && attempt.number == number;
            snapshot.attempts.iter().find(of_task).cloned()
        }
    }
}
