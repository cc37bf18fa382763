//! A run as it goes: one moving line per task on a terminal, plain lines of what changed
//! elsewhere. Always on stderr; with `--json` nothing.

use std::{collections::HashMap, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use trunkline_state::{
    store::TaskRow,
    words::{AttemptState, TaskState},
};

use super::output::{Output, dim, state_style};
use crate::service::{Snapshot, snapshot::duration_text};

/// Moving lines at once; a run of thousands of tasks shows those that move.
const LINES_MAX: usize = 24;

/// Redraws in a second.
const REDRAWS: u8 = 8;

/// Shows a run's progress.
pub(crate) struct Progress {
    output: Output,
    lines: Vec<ProgressBar>,
    group: Option<MultiProgress>,
    /// What was said last of each task, for plain lines.
    said: HashMap<usize, String>,
    name_width: usize,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress").field("lines", &self.lines.len()).finish_non_exhaustive()
    }
}

impl Progress {
    /// For a run; what is already done is not announced again.
    pub(crate) fn new(output: Output, snapshot: &Snapshot) -> Self {
        let group = output.live().then(|| {
            let group = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(REDRAWS));
            group.set_move_cursor(true);
            group
        });
        let name_width = snapshot.own_tasks().map(|row| row.task.len()).max().unwrap_or(0);
        let said = snapshot
            .tasks
            .iter()
            .filter(|row| is_quiet(row))
            .map(|row| (row.position, headline(snapshot, row)))
            .collect();
        Self { output, lines: Vec::new(), group, said, name_width }
    }

    /// The newest state.
    pub(crate) fn show(&mut self, snapshot: &Snapshot, remote: &HashMap<usize, String>, now: Timestamp) {
        if self.group.is_some() {
            self.draw(snapshot, remote, now);
        } else if !self.output.json() {
            self.print(snapshot, now);
        }
    }

    /// A sentence between the lines.
    pub(crate) fn say(&self, text: &str) {
        match &self.group {
            Some(group) => {
                let _ = group.println(text);
            }
            None if self.output.json() => {}
            None => self.output.note(text),
        }
    }

    /// Takes the moving lines away for a question.
    pub(crate) fn suspend(&self) {
        if let Some(group) = &self.group {
            let _ = group.clear();
            group.set_draw_target(ProgressDrawTarget::hidden());
        }
    }

    /// Brings them back.
    pub(crate) fn go_on(&self) {
        if let Some(group) = &self.group {
            group.set_draw_target(ProgressDrawTarget::stderr_with_hz(REDRAWS));
        }
    }

    /// Leaves the last state standing.
    pub(crate) fn finish(&self) {
        for line in &self.lines {
            line.abandon();
        }
    }

    fn draw(&mut self, snapshot: &Snapshot, remote: &HashMap<usize, String>, now: Timestamp) {
        let Some(group) = &self.group else { return };
        let own: Vec<&TaskRow> = snapshot.own_tasks().collect();
        let shown = visible(&own);
        let hidden = own.len() - shown.len();
        let mut texts: Vec<String> =
            shown.iter().map(|row| self.line(snapshot, row, remote.get(&row.position), now)).collect();
        if hidden > 0 {
            texts.push(dim(&format!("  and {hidden} more: {}", counts(&own))));
        }
        while self.lines.len() < texts.len() {
            let line = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
                line.set_style(style);
            }
            self.lines.push(group.add(line));
        }
        for (position, line) in self.lines.iter().enumerate() {
            line.set_message(texts.get(position).cloned().unwrap_or_default());
        }
    }

    fn print(&mut self, snapshot: &Snapshot, now: Timestamp) {
        let zone = snapshot.zone();
        for row in &snapshot.tasks {
            if row.element.is_some() && !is_trouble(row) {
                continue;
            }
            let headline = headline(snapshot, row);
            if self.said.get(&row.position) == Some(&headline) {
                continue;
            }
            let took = if TaskState::from_word(&row.state).is_some_and(TaskState::is_terminal) {
                times(snapshot, row, now)
            } else {
                String::new()
            };
            let at = now.to_zoned(zone.clone()).strftime("%H:%M:%S").to_string();
            self.output.note(&format!(
                "{at}  {:width$}  {headline}{took}",
                row.task,
                width = self.name_width
            ));
            self.said.insert(row.position, headline);
        }
    }

    fn line(&self, snapshot: &Snapshot, row: &TaskRow, remote: Option<&String>, now: Timestamp) -> String {
        let style = state_style(&row.state);
        let mark = mark(&row.state);
        let mut text = format!(
            "{style}{mark}{style:#} {:width$}  {style}{:<15}{style:#}",
            row.task,
            row.state,
            width = self.name_width
        );
        text.push_str(&times(snapshot, row, now));
        if row.tries > 1 {
            text.push_str(&format!("  attempt {}", row.tries));
        }
        if let Some(attempt) =
            snapshot.newest_attempt(row.position).filter(|attempt| attempt.generation == row.generation)
        {
            if let Some(id) = &attempt.external_id {
                text.push_str(&format!("  {}", dim(id)));
            }
            if let Some(remote) = remote.filter(|_| attempt.ended_at.is_none()) {
                text.push_str(&format!("  {remote}"));
            }
        }
        if let Some(reason) = elements_text(snapshot, row).or_else(|| reason(snapshot, row)) {
            text.push_str(&format!("  {}", dim(&reason)));
        }
        text
    }
}

/// `412/1000, 3 failed` while a mapped task runs.
fn elements_text(snapshot: &Snapshot, row: &TaskRow) -> Option<String> {
    let count = row.elements.filter(|_| row.state == TaskState::Running.word())?;
    let with = |wanted: fn(TaskState) -> bool| {
        let states = snapshot.elements(row.position).filter_map(|row| TaskState::from_word(&row.state));
        states.filter(|state| wanted(*state)).count()
    };
    let failed = with(|state| state == TaskState::Failed);
    let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
    Some(format!("{}/{count}{failed}", with(TaskState::is_terminal)))
}

/// What is worth a line of its own: state, attempt, external id.
fn headline(snapshot: &Snapshot, row: &TaskRow) -> String {
    let job = snapshot.newest_attempt(row.position).and_then(|attempt| attempt.external_id.as_deref());
    let mut text = match (row.state == TaskState::Running.word(), job) {
        (true, None) if row.elements.is_some() => {
            format!("running over {} elements", row.elements.unwrap_or(0))
        }
        (true, None) => "starting".to_owned(),
        _ => row.state.clone(),
    };
    if row.tries > 1 {
        text.push_str(&format!(", attempt {}", row.tries));
    }
    if let Some(job) = job.filter(|_| row.state == TaskState::Running.word()) {
        text.push_str(&format!("  {job}"));
    }
    if let Some(reason) = reason(snapshot, row) {
        text.push_str(&format!(": {reason}"));
    }
    text
}

/// Why it is where it is, where that is not ordinary.
fn reason(snapshot: &Snapshot, row: &TaskRow) -> Option<String> {
    let failure = || {
        let message =
            row.failure.as_ref().map(|failure| failure.message.lines().next().unwrap_or_default().to_owned());
        message.filter(|message| !message.is_empty())
    };
    match TaskState::from_word(&row.state)? {
        TaskState::Failed | TaskState::Retrying => failure(),
        TaskState::AwaitingApproval => Some(format!(
            "answer with `trunkline approve {} {}`, or with --reject",
            snapshot.label(),
            row.task
        )),
        TaskState::Running => {
            let attempt = snapshot.newest_attempt(row.position)?;
            match AttemptState::from_word(&attempt.state)? {
                AttemptState::Unknown => Some("start unconfirmed".to_owned()),
                AttemptState::Starting if attempt.deferred_until.is_some() => attempt.note.clone(),
                _ => None,
            }
        }
        _ => None,
    }
}

/// `  12 s (usually 21 min)`.
fn times(snapshot: &Snapshot, row: &TaskRow, now: Timestamp) -> String {
    let Some(elapsed) = snapshot.task_elapsed(row.position, now) else { return String::new() };
    let usual = snapshot.usual.get(&row.task).filter(|usual| **usual >= Duration::from_secs(1));
    let usual = usual.map(|usual| format!(" (usually {})", duration_text(*usual))).unwrap_or_default();
    format!("  {}{usual}", duration_text(elapsed))
}

/// An element is worth a line of its own only then.
fn is_trouble(row: &TaskRow) -> bool {
    matches!(
        TaskState::from_word(&row.state),
        Some(TaskState::Failed | TaskState::Retrying | TaskState::AwaitingApproval)
    )
}

fn is_quiet(row: &TaskRow) -> bool {
    let state = TaskState::from_word(&row.state);
    state == Some(TaskState::Waiting) || state.is_some_and(TaskState::is_terminal)
}

fn mark(state: &str) -> char {
    match state {
        "succeeded" => '✓',
        "failed" => '✗',
        "running" | "retrying" => '●',
        "awaiting_approval" => '?',
        "upstream_failed" | "skipped" | "cancelled" => '–',
        _ => '·',
    }
}

/// All tasks, or those that move and as many others as there is room for.
fn visible<'a>(rows: &[&'a TaskRow]) -> Vec<&'a TaskRow> {
    if rows.len() <= LINES_MAX {
        return rows.to_vec();
    }
    let mut shown: Vec<&TaskRow> =
        rows.iter().copied().filter(|row| !is_quiet(row)).take(LINES_MAX).collect();
    if shown.is_empty() {
        shown = rows.iter().copied().rev().take(LINES_MAX).collect();
        shown.reverse();
    }
    shown
}

fn counts(rows: &[&TaskRow]) -> String {
    let states = TaskState::ALL.iter().filter_map(|state| {
        let count = rows.iter().filter(|row| row.state == state.word()).count();
        (count > 0).then(|| format!("{count} {state}"))
    });
    states.collect::<Vec<_>>().join(", ")
}
