//! The mail about a task that failed and is tried again.

use jiff::Timestamp;

use super::{
    Mail, RunReport,
    failure::FailedTask,
    lines::{clean, closing, fact, subject_line, trimmed},
};
use trunkline_state::schedule::describe_instant;

/// Lines of the error.
const ERROR_LINES_MAX: usize = 8;

/// The mail about a try that failed, and the one that follows; without a time it has begun already.
pub fn retry_mail(report: &RunReport, task: &FailedTask, again_at: Option<Timestamp>) -> Mail {
    let name =
        if task.label.is_empty() { task.name.clone() } else { format!("{} ({})", task.name, task.label) };
    let logs = format!("trunkline logs {} {}{}", report.run(), task.name, report.environment_flag());
    let mut lines = vec![clean(&format!(
        "{name} failed, attempt {} of {}, and is tried again.",
        task.attempt, task.attempts
    ))];
    lines.push(String::new());
    lines.extend(trimmed(&task.error, ERROR_LINES_MAX, &logs));
    lines.push(String::new());
    if let Some(at) = again_at {
        lines.push(fact("Again", &describe_instant(&report.zone, at)));
    }
    lines.push(fact("Run", &report.run()));
    lines.push(fact("Logs", &logs));
    lines.extend(closing(report));
    Mail {
        subject: subject_line(&format!(
            "[{}] RETRY {} {}: {}",
            report.environment, report.pipeline, report.label, task.name
        )),
        body: lines.join("\n") + "\n",
        attributes: report.attributes("warning"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{
        FailureKind,
        success::tests::{at, report},
    };

    #[test]
    fn a_first_try_that_failed() {
        let task = FailedTask {
            name: "convert".to_owned(),
            label: "Glue job cdrDailyETL".to_owned(),
            kind: FailureKind::Failed,
            attempt: 1,
            attempts: 3,
            error: "AnalysisException: Column 'partition_2' does not exist".to_owned(),
            place: Vec::new(),
        };
        let mail = retry_mail(&report(), &task, Some(at("2026-11-20T09:48Z")));
        insta::assert_snapshot!(format!("Subject: {}\n\n{}", mail.subject, mail.body));
    }
}
