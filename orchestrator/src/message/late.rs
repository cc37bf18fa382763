//! The mail about a run that is not done by its deadline, or does not even exist.

use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};
use trunkline_state::schedule::{Interval, describe_instant, describe_range};

use super::{
    Mail,
    amounts::duration_text,
    attributes, environment_flag,
    lines::{BODY_LINES_MAX, clean, fact, subject_line},
};

/// What a mail says about a run that is late.
#[derive(Clone, Debug)]
pub struct LateReport {
    /// The environment, e.g. `prod`.
    pub environment: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// The run's key, e.g. `2026-11-19`.
    pub label: String,
    /// The pipeline's zone.
    pub zone: TimeZone,
    /// What the run covers.
    pub interval: Option<Interval>,
    /// When its schedule fired for it.
    pub fire: Timestamp,
    /// When it should have been done.
    pub due: Timestamp,
    /// Why it is not further, in one sentence; none if there is no run.
    pub why: Option<String>,
    /// Earlier runs whose deadlines passed as well since somebody looked.
    pub before: usize,
    /// How long its runs usually take.
    pub usual: Option<Duration>,
    /// The key of the last run that succeeded.
    pub last_success: Option<String>,
    /// Who is asked; may be empty.
    pub owner: String,
}

/// The mail about a run that is late.
pub fn late_mail(report: &LateReport) -> Mail {
    let LateReport { pipeline, label, environment, .. } = report;
    let flag = environment_flag(environment);
    let due = describe_instant(&report.zone, report.due);
    let mut lines = vec![format!("{pipeline} {label} is not done by its deadline, {due}."), String::new()];
    lines.push(match &report.why {
        Some(why) => clean(why),
        None => "There is no run of it: its schedule fired, and none was made.".to_owned(),
    });
    if report.before > 0 {
        lines.push(format!("{} earlier deadlines passed as well since anybody looked.", report.before));
    }
    lines.push(String::new());
    if let Some(interval) = report.interval {
        lines.push(fact("Covers", &describe_range(&report.zone, interval, "to")));
    }
    lines.push(fact("Fired", &describe_instant(&report.zone, report.fire)));
    let success =
        report.last_success.as_ref().map_or("no success yet".to_owned(), |key| format!("last success {key}"));
    let usual = report.usual.map(|usual| format!("; usually {}", duration_text(usual))).unwrap_or_default();
    lines.push(fact("History", &format!("{success}{usual}")));
    lines.push(String::new());
    lines.push(match &report.why {
        Some(_) => format!("Look:\n  trunkline show {pipeline}@{label}{flag}"),
        None => format!("Is a server running?  trunkline status{flag}\nRun it:\n  trunkline run {pipeline} --date {label}{flag}"),
    });
    if !report.owner.is_empty() {
        lines.push(clean(&format!("Owner {}", report.owner)));
    }
    debug_assert!(lines.len() <= BODY_LINES_MAX, "far fewer lines are written above");
    Mail {
        subject: subject_line(&format!("[{environment}] LATE {pipeline} {label}")),
        body: lines.join("\n") + "\n",
        attributes: attributes(pipeline, environment, &report.owner, "error"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::success::tests::at;

    #[test]
    fn a_run_that_never_began_and_one_that_takes_long() {
        let report = LateReport {
            environment: "prod".to_owned(),
            pipeline: "daily_cdr_etl".to_owned(),
            label: "2026-11-19".to_owned(),
            zone: TimeZone::UTC,
            interval: Some(Interval { start: at("2026-11-19T00:00Z"), end: at("2026-11-20T00:00Z") }),
            fire: at("2026-11-20T09:00Z"),
            due: at("2026-11-20T11:00Z"),
            why: None,
            before: 2,
            usual: Some(Duration::from_mins(21)),
            last_success: Some("2026-11-18".to_owned()),
            owner: "telephony-data".to_owned(),
        };
        let shown = |report: &LateReport| {
            let mail = late_mail(report);
            format!("Subject: {}\n\n{}", mail.subject, mail.body)
        };
        insta::assert_snapshot!(shown(&report));
        let why =
            Some("convert of daily_cdr_etl@2026-11-19 runs for 2 h, usually 20 min as jr_8c1f".to_owned());
        insta::assert_snapshot!(shown(&LateReport {
            why,
            before: 0,
            last_success: None,
            usual: None,
            ..report
        }));
    }
}
