//! States, times and durations as pages show them. A state is always a sign, a word and a colour, so that
//! nobody depends on one of them.

use jiff::{Timestamp, tz::TimeZone};
use maud::{Markup, html};
use percent_encoding::utf8_percent_encode;
use trunkline_state::schedule::describe_instant;

pub(super) use crate::message::run_page;
use crate::{
    message::IN_PATH,
    service::snapshot::{between, duration_text},
};

/// The page of a task run.
pub(super) fn task_page(run: &str, task: &str) -> String {
    format!("{}/tasks/{}", run_page(run), utf8_percent_encode(task, IN_PATH))
}

/// A sentence of the program, with what it quotes set as code.
pub(super) fn sentence(text: &str) -> Markup {
    let parts = text.split('`').enumerate();
    html! {
        @for (position, part) in parts {
            @if position % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// What made a run, and who or what that was.
pub(super) fn maker(trigger: &str, created_by: &str) -> Markup {
    let backfill = created_by.strip_prefix("backfill:");
    html! {
        @if let Some(backfill) = backfill {
            a href=(format!("/backfills/{}", utf8_percent_encode(backfill, IN_PATH))) { "backfill" }
        } @else {
            (trigger) span.none { " · " (created_by) }
        }
    }
}

/// The sign of a state of a run, a task run or an attempt.
pub(super) fn sign(state: &str) -> &'static str {
    match state {
        "succeeded" => "✓",
        "failed" | "timed_out" => "✕",
        "running" => "▶",
        "starting" | "queued" => "◦",
        "retrying" => "↻",
        "awaiting_approval" => "!",
        "unknown" | "lost" => "?",
        "skipped" => "–",
        "upstream_failed" => "⊘",
        "cancelled" => "■",
        "cancelling" => "□",
        "paused" => "‖",
        _ => "·",
    }
}

/// A state's word for people.
pub(super) fn word(state: &str) -> String {
    match state {
        "unknown" => "start unconfirmed".to_owned(),
        "lost" => "outcome unknown".to_owned(),
        other => other.replace('_', " "),
    }
}

/// A state with its sign.
pub(super) fn state(of: &str) -> Markup {
    html! { span.state data-state=(of) { i aria-hidden="true" { (sign(of)) } (word(of)) } }
}

/// A state as a square: its word is read out, and shown when asked for.
pub(super) fn square(of: &str, about: &str) -> Markup {
    html! {
        span.square data-state=(of) title=(format!("{about}: {}", word(of))) {
            i aria-hidden="true" { (sign(of)) }
            span.unseen { (about) ": " (word(of)) }
        }
    }
}

/// A moment in a zone.
pub(super) fn moment(at: Timestamp, zone: &TimeZone) -> Markup {
    html! { time datetime=(at) { (describe_instant(zone, at)) } }
}

/// A moment, or that there is none.
pub(super) fn moment_or_none(at: Option<Timestamp>, zone: &TimeZone) -> Markup {
    html! { @if let Some(at) = at { (moment(at, zone)) } @else { span.none { "–" } } }
}

/// How far away a moment is: `in 3 h`, `5 min ago`, `now`.
pub(super) fn distance(at: Timestamp, now: Timestamp) -> String {
    let text = |from, to| between(Some(from), to).filter(|time| time.as_secs() > 0).map(duration_text);
    match (text(now, at), text(at, now)) {
        (Some(ahead), _) => format!("in {ahead}"),
        (None, Some(behind)) => format!("{behind} ago"),
        (None, None) => "now".to_owned(),
    }
}

/// How long something took, or has taken so far.
pub(super) fn took(from: Option<Timestamp>, until: Option<Timestamp>, now: Timestamp) -> Markup {
    let time = between(from, until.unwrap_or(now)).map(duration_text);
    html! {
        @if let Some(time) = time { span.took { (time) } @if until.is_none() { span.none { " so far" } } }
        @else { span.none { "–" } }
    }
}

#[cfg(test)]
mod tests {
    use trunkline_state::words::{AttemptState, RunState, TaskState};

    use super::*;

    #[test]
    fn every_state_has_a_sign_of_its_own_kind() {
        let runs = RunState::ALL.iter().map(|state| state.word());
        let tasks = TaskState::ALL.iter().map(|state| state.word());
        let attempts = AttemptState::ALL.iter().map(|state| state.word());
        let all: std::collections::BTreeSet<_> = runs.chain(tasks).chain(attempts).collect();
        let without: Vec<_> = all.into_iter().filter(|word| sign(word) == "·").collect();
        assert_eq!(without, ["waiting"]);
    }

    #[test]
    fn names_in_paths_stay_one_part() {
        assert_eq!(task_page("a@2026-11-19", "convert[17]"), "/runs/a@2026-11-19/tasks/convert%5B17%5D");
        assert_eq!(run_page("a@x/../y?#z"), "/runs/a@x%2F..%2Fy%3F%23z");
    }

    #[test]
    fn distances_are_ahead_or_behind() {
        let now = Timestamp::constant(1_800_000_000, 0);
        let at = |seconds| now + jiff::SignedDuration::from_secs(seconds);
        assert_eq!(distance(at(3 * 3_600), now), "in 3 h");
        assert_eq!(distance(at(-300), now), "5 min ago");
        assert_eq!(distance(now, now), "now");
    }
}
