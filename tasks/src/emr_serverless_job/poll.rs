//! States of runs: asked for one by one, since EMR Serverless has no call for several.

use aws_sdk_emrserverless::types::{JobRun, MonitoringConfiguration};
use serde_json::json;

use super::application_of_handle;
use crate::{
    aws::{
        error::Trouble,
        log_lines::{self, LogPlace},
    },
    clients::{Clients, Purpose},
    operator::{Cost, ErrorClass, Failure, Handle, Outcome, Status},
};

/// The log group of runs that send their logs to CloudWatch without naming one.
const GROUP: &str = "/aws/emr-serverless";

/// What EMR says of a run that took too long.
const TOO_LONG: &str = "timeout";

pub(super) async fn poll(clients: &Clients, handles: &[Handle]) -> Vec<Status> {
    let Some(first) = handles.first() else { return Vec::new() };
    let emr = match clients.emr_serverless(&first.connection, Purpose::Read).await {
        Ok(emr) => emr,
        Err(failure) => return handles.iter().map(|_| Status::Unavailable(failure.clone())).collect(),
    };
    let (mut statuses, mut places) = (Vec::with_capacity(handles.len()), Vec::with_capacity(handles.len()));
    for handle in handles {
        let asked = emr.get_job_run().application_id(application_of_handle(handle)).job_run_id(&handle.id);
        let (status, place) = match asked.send().await.map_err(Trouble::from) {
            Ok(answer) => match answer.job_run {
                Some(run) => (read(handle, &run), place_of(handle, &run)),
                None => (Status::Unavailable(nothing(handle)), None),
            },
            Err(trouble) => (trouble.into_status(), None),
        };
        statuses.push(status);
        places.push(place);
    }
    log_lines::add(clients, &first.connection, &mut statuses, &places).await;
    statuses
}

/// Asks for the end; a run that has ended is left as it is.
pub(super) async fn cancel(clients: &Clients, handle: &Handle) -> Result<(), Failure> {
    let emr = clients.emr_serverless(&handle.connection, Purpose::Read).await?;
    let asked = emr.cancel_job_run().application_id(application_of_handle(handle)).job_run_id(&handle.id);
    match asked.send().await.map_err(Trouble::from) {
        Ok(_) => Ok(()),
        Err(trouble) if trouble.is_not_there() => Ok(()),
        // A run that has ended cannot be cancelled; a poll says how it ended.
        Err(trouble) if trouble.code() == "ValidationException" => Ok(()),
        Err(trouble) => Err(trouble.into_failure()),
    }
}

fn nothing(handle: &Handle) -> Failure {
    Failure::new(ErrorClass::System, format!("EMR gave an answer without the run `{}`", handle.id))
}

fn read(handle: &Handle, run: &JobRun) -> Status {
    let state = run.state.as_str();
    let cost = cost_of(run);
    let failure = |class: ErrorClass| {
        let text = run.state_details.trim();
        let text =
            if text.is_empty() { format!("EMR says {state} and nothing more") } else { text.to_owned() };
        Failure { cost, ..Failure::new(class, text).with_code(state) }
    };
    match state {
        "SUCCESS" => Status::Succeeded(outcome(handle, run, cost)),
        "FAILED" if run.state_details.to_lowercase().contains(TOO_LONG) => {
            Status::Failed(failure(ErrorClass::Timeout))
        }
        "FAILED" => Status::Failed(failure(ErrorClass::Failed)),
        "CANCELLED" => Status::Cancelled(failure(ErrorClass::Cancelled)),
        // SUBMITTED, PENDING, SCHEDULED, QUEUED, RUNNING, CANCELLING, and words not known.
        other => Status::Running { remote_state: other.to_owned(), poll_at: None },
    }
}

/// What EMR bills; while it does not tell yet, what was used.
fn cost_of(run: &JobRun) -> Cost {
    let billed = run.billed_resource_utilization.as_ref();
    let used = run.total_resource_utilization.as_ref();
    Cost {
        vcpu_hours: billed.and_then(|it| it.v_cpu_hour).or(used.and_then(|it| it.v_cpu_hour)),
        memory_gb_hours: billed.and_then(|it| it.memory_gb_hour).or(used.and_then(|it| it.memory_gb_hour)),
        ..Cost::default()
    }
}

fn outcome(handle: &Handle, run: &JobRun, cost: Cost) -> Outcome {
    let mut outcome = Outcome { cost, ..Outcome::default() };
    outcome.outputs.insert("job_run_id".into(), handle.id.clone().into());
    if let Some(seconds) = run.total_execution_duration_seconds {
        outcome.outputs.insert("execution_seconds".into(), json!(seconds));
    }
    for (name, hours) in [("vcpu_hours", cost.vcpu_hours), ("memory_gb_hours", cost.memory_gb_hours)] {
        if let Some(hours) = hours {
            outcome.outputs.insert(name.into(), json!(hours));
        }
    }
    outcome
}

/// Where the driver's errors go, if the run sends them to CloudWatch.
fn place_of(handle: &Handle, run: &JobRun) -> Option<LogPlace> {
    let overrides = run.configuration_overrides.as_ref()?;
    let monitoring: &MonitoringConfiguration = overrides.monitoring_configuration.as_ref()?;
    let logging = monitoring.cloud_watch_logging_configuration.as_ref().filter(|found| found.enabled)?;
    let group = logging.log_group_name.as_deref().unwrap_or(GROUP);
    let prefix =
        logging.log_stream_name_prefix.as_ref().map(|prefix| format!("{prefix}/")).unwrap_or_default();
    let application = application_of_handle(handle);
    let stream = format!("{prefix}applications/{application}/jobs/{}/SPARK_DRIVER/stderr", handle.id);
    Some(LogPlace::new(group, stream))
}
