//! The mail about a run that failed.

use std::time::Duration;

use super::{
    Mail, RunReport,
    amounts::duration_text,
    lines::{BODY_LINES_MAX, clean, cost_fact, fact, next_fact, subject_line, time_facts, trimmed},
};

/// So many failed tasks are shown with their errors; the rest are named.
const FAILED_SHOWN_MAX: usize = 3;

/// So many names stand in one line before the rest is only counted.
const NAMES_SHOWN_MAX: usize = 6;

/// What a mail says about a failure, beside the run itself.
#[derive(Clone, Debug)]
pub struct FailureDetail {
    /// The tasks that failed, in the pipeline's order; empty if the run failed as a whole.
    pub failed: Vec<FailedTask>,
    /// Why the run failed as a whole, as one sentence; printed when no task failed.
    pub reason: String,
    /// The tasks that did not run because of it.
    pub not_run: Vec<String>,
    /// The last run that succeeded.
    pub last_success: LastSuccess,
    /// What is still going on outside.
    pub external: ExternalState,
}

/// A task that failed.
#[derive(Clone, Debug)]
pub struct FailedTask {
    /// Its name.
    pub name: String,
    /// What it is, in the service's words: `Glue job cdrDailyETL`; may be empty.
    pub label: String,
    /// How its last attempt ended.
    pub kind: FailureKind,
    /// The number of the last attempt, from 1, within this generation.
    pub attempt: u32,
    /// How many attempts it had.
    pub attempts: u32,
    /// The service's own words; any number of lines.
    pub error: String,
    /// Where: a place in a script, the external id; may be empty.
    pub place: Vec<String>,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// It failed.
    Failed,
    /// It ran longer than this.
    TimedOut(Duration),
    /// It was stopped by somebody.
    Cancelled,
    /// Nobody can tell how it ended.
    Lost,
}

/// The last run that succeeded before this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LastSuccess {
    /// The run with this key.
    Run(String),
    /// There is none.
    Never,
    /// Nobody can tell.
    Unknown,
}

/// What is still going on outside after the run's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExternalState {
    /// Each attempt has ended, confirmed by its service.
    AllEnded,
    /// Nothing was started.
    NothingStarted,
    /// These may still be running; each as `task (id)`.
    Running(Vec<String>),
    /// Of these nobody can tell; each as `task (id)`.
    Unknown(Vec<String>),
}

/// The mail about a run that failed.
pub fn failure_mail(report: &RunReport, detail: &FailureDetail) -> Mail {
    let closing = closing_lines(report, detail);
    let room = BODY_LINES_MAX.saturating_sub(closing.len());
    let mut lines = what_failed(report, detail, room);
    lines.extend(closing);
    Mail {
        subject: subject(report, detail),
        body: lines.join("\n") + "\n",
        attributes: report.attributes("error"),
    }
}

fn subject(report: &RunReport, detail: &FailureDetail) -> String {
    let start = format!("[{}] FAILED {} {}", report.environment, report.pipeline, report.label);
    match &detail.failed[..] {
        [] => subject_line(&start),
        [only] => subject_line(&format!("{start}: {}", only.name)),
        [first, rest @ ..] => subject_line(&format!("{start}: {} and {} more", first.name, rest.len())),
    }
}

/// Headlines and errors, with an empty line after each.
fn what_failed(report: &RunReport, detail: &FailureDetail, room: usize) -> Vec<String> {
    let logs = |task: &FailedTask| {
        format!("trunkline logs {} {}{}", report.run(), task.name, report.environment_flag())
    };
    match &detail.failed[..] {
        [] => vec![clean(&detail.reason), String::new()],
        [only] => {
            let mut lines = vec![headline(only), String::new()];
            let place = place_line(only);
            let left = room.saturating_sub(lines.len() + place.iter().len() + 1);
            lines.extend(trimmed(&only.error, left, &logs(only)));
            lines.extend(place);
            lines.push(String::new());
            lines
        }
        several => {
            let shown = several.len().min(FAILED_SHOWN_MAX);
            let unnamed = &several[shown..];
            let room = room.saturating_sub(if unnamed.is_empty() { 0 } else { 2 });
            let mut lines = Vec::new();
            for task in &several[..shown] {
                lines.push(headline(task));
                let left = (room / shown).saturating_sub(2);
                lines.extend(trimmed(&task.error, left, &logs(task)).iter().map(|line| format!("  {line}")));
                lines.push(String::new());
            }
            if !unnamed.is_empty() {
                let names: Vec<&str> = unnamed.iter().map(|task| task.name.as_str()).collect();
                lines.extend([format!("Failed too: {}", names_text(&names)), String::new()]);
            }
            lines
        }
    }
}

fn headline(task: &FailedTask) -> String {
    let label = if task.label.is_empty() { String::new() } else { format!(" ({})", clean(&task.label)) };
    let ended = match task.kind {
        FailureKind::Failed => "failed".to_owned(),
        FailureKind::TimedOut(limit) => format!("ran longer than its timeout of {}", duration_text(limit)),
        FailureKind::Cancelled => "was stopped".to_owned(),
        FailureKind::Lost => "has an unknown outcome".to_owned(),
    };
    format!("{}{label} {ended}, attempt {} of {}.", task.name, task.attempt, task.attempts.max(task.attempt))
}

fn place_line(task: &FailedTask) -> Option<String> {
    let parts: Vec<String> =
        task.place.iter().filter(|part| !part.is_empty()).map(|part| clean(part)).collect();
    (!parts.is_empty()).then(|| format!("  {}", parts.join(", ")))
}

fn closing_lines(report: &RunReport, detail: &FailureDetail) -> Vec<String> {
    let mut lines = time_facts(report, "failed");
    lines.push(fact("History", &history(report, detail)));
    if !detail.not_run.is_empty() {
        let names: Vec<&str> = detail.not_run.iter().map(String::as_str).collect();
        lines.push(fact("Not run", &names_text(&names)));
    }
    lines.push(fact("AWS", &external(&detail.external)));
    lines.push(cost_fact(report));
    lines.push(next_fact(report, ", unaffected"));
    lines.push(String::new());
    lines.push("Fix, then:".to_owned());
    let which = if detail.failed.is_empty() { "" } else { " --failed" };
    lines.push(format!("  trunkline clear {}{which}{}", report.run(), report.environment_flag()));
    lines.extend(super::lines::closing(report));
    lines
}

fn history(report: &RunReport, detail: &FailureDetail) -> String {
    let last = match &detail.last_success {
        LastSuccess::Run(key) => format!("last success {}", without_year(key, &report.label)),
        LastSuccess::Never => "no success yet".to_owned(),
        LastSuccess::Unknown => "last success unknown".to_owned(),
    };
    let usual = report.usual.map_or_else(
        || "usual duration unknown".to_owned(),
        |usual| format!("usually {}", duration_text(usual)),
    );
    format!("{last}; {usual}")
}

/// Drops the year of a key where it is that of the run itself.
fn without_year<'a>(key: &'a str, label: &str) -> &'a str {
    let year = key.get(..5).filter(|year| year.ends_with('-') && label.starts_with(year));
    match (year, key.get(5..)) {
        // Of `2026-10`, only a bare number would be left.
        (Some(_), Some(rest)) if rest.len() > 3 => rest,
        _ => key,
    }
}

fn external(state: &ExternalState) -> String {
    let listed = |jobs: &[String]| names_text(&jobs.iter().map(String::as_str).collect::<Vec<_>>());
    match state {
        ExternalState::AllEnded => "all attempts ended; nothing running".to_owned(),
        ExternalState::NothingStarted => "nothing was started".to_owned(),
        ExternalState::Running(jobs) => format!("still running: {}", listed(jobs)),
        ExternalState::Unknown(jobs) => format!("unknown whether running: {}", listed(jobs)),
    }
}

fn names_text(names: &[&str]) -> String {
    let shown = names.iter().take(NAMES_SHOWN_MAX).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_SHOWN_MAX) {
        0 => clean(&shown),
        rest => clean(&format!("{shown} and {rest} more")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{
        Link, NextFire, Origin, RunCost,
        lines::BODY_LINES_MAX,
        success::tests::{at, report},
    };

    fn detail() -> FailureDetail {
        FailureDetail {
            failed: vec![failed("convert")],
            reason: String::new(),
            not_run: vec!["crawl_processed".to_owned()],
            last_success: LastSuccess::Run("2026-11-18".to_owned()),
            external: ExternalState::AllEnded,
        }
    }

    fn failed(name: &str) -> FailedTask {
        FailedTask {
            name: name.to_owned(),
            label: "Glue job cdrDailyETL".to_owned(),
            kind: FailureKind::Failed,
            attempt: 3,
            attempts: 3,
            error: "AnalysisException: Column 'partition_2' does not exist".to_owned(),
            place: vec!["cdr_etl.py:41".to_owned(), "jr_8c1f".to_owned()],
        }
    }

    fn shown(report: &RunReport, detail: &FailureDetail) -> String {
        let mail = failure_mail(report, detail);
        assert!(mail.body.lines().count() <= BODY_LINES_MAX, "{}", mail.body);
        assert!(mail.subject.is_ascii() && mail.subject.len() <= 99, "{}", mail.subject);
        format!("Subject: {}\n\n{}", mail.subject, mail.body)
    }

    #[test]
    fn the_mail_at_three_in_the_morning() {
        let mail = failure_mail(&report(), &detail());
        let attributes: Vec<String> =
            mail.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            attributes.join(" "),
            "pipeline=daily_cdr_etl env=prod owner=telephony-data severity=error"
        );
        insta::assert_snapshot!(shown(&report(), &detail()));
    }

    #[test]
    fn a_long_traceback_keeps_the_mail_short() {
        let frames: Vec<String> =
            (1..40).map(|n| format!("  File \"cdr_etl.py\", line {n}, in f{n}\n    g()\n")).collect();
        let frames = frames.concat();
        let error = format!("Traceback (most recent call last):\n{frames}KeyError: 'partition_2'");
        let task = FailedTask { error, ..failed("convert") };
        insta::assert_snapshot!(shown(&report(), &FailureDetail { failed: vec![task], ..detail() }));
    }

    #[test]
    fn what_is_not_proved_is_unknown() {
        let report = RunReport {
            environment: "local".to_owned(),
            origin: Origin::Person { name: String::new(), at: at("2026-11-20T23:50Z") },
            ended_at: at("2026-11-21T00:10Z"),
            interval: None,
            usual: None,
            cost: None,
            next: NextFire::Unknown,
            links: Vec::new(),
            owner: String::new(),
            ..report()
        };
        let task = FailedTask {
            kind: FailureKind::Lost,
            label: String::new(),
            place: Vec::new(),
            ..failed("convert")
        };
        let detail = FailureDetail {
            failed: vec![task],
            not_run: Vec::new(),
            last_success: LastSuccess::Unknown,
            external: ExternalState::Unknown(vec!["convert (jr_8c1f)".to_owned()]),
            ..detail()
        };
        insta::assert_snapshot!(shown(&report, &detail));
    }

    #[test]
    fn many_failures_are_named() {
        let mut tasks: Vec<FailedTask> = (1..=12).map(|n| failed(&format!("load_table_{n}"))).collect();
        tasks[1].kind = FailureKind::TimedOut(Duration::from_hours(6));
        tasks[2].error = "first line\nsecond line\nthird line".to_owned();
        let detail = FailureDetail {
            failed: tasks,
            not_run: (1..=9).map(|n| format!("check_{n}")).collect(),
            last_success: LastSuccess::Never,
            external: ExternalState::Running(vec!["load_table_2 (jr_1)".to_owned()]),
            ..detail()
        };
        let report = RunReport { next: NextFire::Paused, ..report() };
        insta::assert_snapshot!(shown(&report, &detail));
    }

    #[test]
    fn a_run_can_fail_as_a_whole() {
        let detail = FailureDetail {
            failed: Vec::new(),
            reason: "The run took longer than its run_timeout of 8 h.".to_owned(),
            external: ExternalState::NothingStarted,
            ..detail()
        };
        let report = RunReport {
            cost: Some(RunCost::default()),
            next: NextFire::ByHand,
            links: vec![Link {
                label: "Logs".to_owned(),
                url: "https://example.com/".to_owned() + &"x".repeat(300),
            }],
            ..report()
        };
        let text = shown(&report, &detail);
        assert!(text.contains(&"x".repeat(300)), "addresses are not cut");
        insta::assert_snapshot!(text.replace(&"x".repeat(300), "[long]"));
    }
}
