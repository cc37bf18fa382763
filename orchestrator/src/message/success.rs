//! The mail about a run that succeeded.

use std::time::Duration;

use super::{
    Mail, RunReport,
    amounts::duration_text,
    lines::{BODY_LINES_MAX, clean, closing, cost_fact, fact, next_fact, subject_line, time_facts},
};

/// More values than these belong on a page, not in a mail.
const OUTPUTS_SHOWN_MAX: usize = 6;

/// More warnings than these are counted.
const WARNINGS_SHOWN_MAX: usize = 4;

/// What a mail says about a success, beside the run itself.
#[derive(Clone, Debug)]
pub struct SuccessDetail {
    /// How long the run took from its start to its end.
    pub duration: Duration,
    /// What its tasks put out, the most telling first.
    pub outputs: Vec<OutputValue>,
    /// What a person should know although it succeeded, each with its task's name in front.
    pub warnings: Vec<String>,
}

/// A value that a task put out.
#[derive(Clone, Debug)]
pub struct OutputValue {
    /// The task's name.
    pub task: String,
    /// The output's name, e.g. `rows`.
    pub name: String,
    /// The value as text.
    pub value: String,
}

/// The mail about a run that succeeded.
pub fn success_mail(report: &RunReport, detail: &SuccessDetail) -> Mail {
    let usual = report.usual.map(|usual| format!(" (usually {})", duration_text(usual))).unwrap_or_default();
    let took = duration_text(detail.duration);
    let mut lines =
        vec![format!("{} {} succeeded in {took}{usual}.", report.pipeline, report.label), String::new()];
    lines.extend(time_facts(report, "done"));
    lines.extend(output_lines(report, detail));
    lines.extend(warning_lines(detail));
    lines.push(cost_fact(report));
    lines.push(next_fact(report, ""));
    let closing = closing(report);
    if !closing.is_empty() {
        lines.push(String::new());
        lines.extend(closing);
    }
    debug_assert!(lines.len() <= BODY_LINES_MAX, "the limits above add up to less");
    let severity = if detail.warnings.is_empty() { "info" } else { "warning" };
    Mail {
        subject: subject(report, detail),
        body: lines.join("\n") + "\n",
        attributes: report.attributes(severity),
    }
}

/// The mail about a run that succeeded after people had been told of trouble.
pub fn recovery_mail(report: &RunReport, detail: &SuccessDetail) -> Mail {
    let subject = format!("[{}] RECOVERED {} {}", report.environment, report.pipeline, report.label);
    Mail { subject: subject_line(&subject), ..success_mail(report, detail) }
}

fn subject(report: &RunReport, detail: &SuccessDetail) -> String {
    let start = format!("[{}] OK {} {}", report.environment, report.pipeline, report.label);
    match detail.warnings.len() {
        0 => subject_line(&start),
        1 => subject_line(&format!("{start}: 1 warning")),
        count => subject_line(&format!("{start}: {count} warnings")),
    }
}

fn output_lines(report: &RunReport, detail: &SuccessDetail) -> Vec<String> {
    let shown = detail.outputs.iter().take(OUTPUTS_SHOWN_MAX).enumerate().map(|(position, output)| {
        let label = if position == 0 { "Output" } else { "" };
        clean(&fact(label, &format!("{}.{} {}", output.task, output.name, output.value)))
    });
    let mut lines: Vec<String> = shown.collect();
    if let Some(rest) = detail.outputs.len().checked_sub(OUTPUTS_SHOWN_MAX).filter(|rest| *rest > 0) {
        let command = format!("trunkline show {}{}", report.run(), report.environment_flag());
        lines.push(fact("", &format!("and {rest} more: {command}")));
    }
    lines
}

fn warning_lines(detail: &SuccessDetail) -> Vec<String> {
    let count = detail.warnings.len();
    let label = |position: usize| if position == 0 { "Warning" } else { "" };
    let shown = detail.warnings.iter().take(WARNINGS_SHOWN_MAX).enumerate();
    let mut lines: Vec<String> =
        shown.map(|(position, warning)| clean(&fact(label(position), warning))).collect();
    if let Some(rest) = count.checked_sub(WARNINGS_SHOWN_MAX).filter(|rest| *rest > 0) {
        lines.push(fact("", &format!("and {rest} more warnings")));
    }
    lines
}

#[cfg(test)]
pub(super) mod tests {
    use jiff::{Timestamp, tz::TimeZone};
    use trunkline_state::schedule::Interval;

    use super::*;
    use crate::message::{Link, NextFire, Origin, RunCost};

    pub(in crate::message) fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    pub(in crate::message) fn report() -> RunReport {
        RunReport {
            environment: "prod".to_owned(),
            pipeline: "daily_cdr_etl".to_owned(),
            label: "2026-11-19".to_owned(),
            zone: TimeZone::UTC,
            interval: Some(Interval { start: at("2026-11-19T00:00Z"), end: at("2026-11-20T00:00Z") }),
            origin: Origin::Schedule { fire: at("2026-11-20T09:00Z") },
            ended_at: at("2026-11-20T09:48:12Z"),
            usual: Some(Duration::from_mins(21)),
            cost: Some(RunCost { dpu_seconds: Some(14_760.0), ..RunCost::default() }),
            next: NextFire::At(at("2026-11-21T09:00Z")),
            links: vec![Link {
                label: "Logs".to_owned(),
                url: "https://console.aws.amazon.com/cloudwatch/home?region=us-east-1#logs".to_owned(),
            }],
            owner: "telephony-data".to_owned(),
        }
    }

    fn output(task: &str, name: &str, value: &str) -> OutputValue {
        OutputValue { task: task.to_owned(), name: name.to_owned(), value: value.to_owned() }
    }

    fn shown(report: &RunReport, detail: &SuccessDetail) -> String {
        let mail = success_mail(report, detail);
        assert!(mail.body.lines().count() <= BODY_LINES_MAX, "{}", mail.body);
        format!("Subject: {}\n\n{}", mail.subject, mail.body)
    }

    #[test]
    fn a_good_morning() {
        let detail = SuccessDetail {
            duration: Duration::from_secs(1_340),
            outputs: vec![output("convert", "rows", "60,000"), output("convert", "partitions", "48")],
            warnings: Vec::new(),
        };
        insta::assert_snapshot!(shown(&report(), &detail));
    }

    #[test]
    fn warnings_and_values_are_limited() {
        let detail = SuccessDetail {
            duration: Duration::from_secs(1_340),
            outputs: (0..9).map(|n| output("convert", &format!("value_{n}"), "7")).collect(),
            warnings: (1..=6).map(|n| format!("convert: corrupt file {n} quarantined")).collect(),
        };
        insta::assert_snapshot!(shown(&report(), &detail));
    }
}
