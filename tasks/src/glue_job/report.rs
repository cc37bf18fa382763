//! The report that a job may leave in S3: outputs and warnings for people and later tasks.

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use jiff::{Timestamp, ToSpan};
use serde::Deserialize;

use crate::{
    aws::{address::Address, error::Trouble, timestamp},
    clients::Clients,
    operator::{ErrorClass, Failure, Handle, Outcome, Outputs},
};

/// The largest report that is read: outputs are values, not data.
const REPORT_BYTES_MAX: usize = 256 * 1024;

/// Most warnings that are kept.
const WARNINGS_MAX: usize = 100;

#[derive(Deserialize)]
struct Report {
    #[serde(default)]
    outputs: Outputs,
    #[serde(default)]
    warnings: Vec<String>,
}

/// Reads the report and adds it to the outcome. A report that is missing, older than the run or
/// unreadable is a warning: the job itself did succeed. Only a failure that passes is an error.
pub(super) async fn merge_into(
    outcome: &mut Outcome,
    clients: &Clients,
    handle: &Handle,
    address: &str,
    since: Option<Timestamp>,
) -> Result<(), Failure> {
    match read(clients, handle, address, since).await? {
        Ok(report) => {
            for (name, value) in report.outputs {
                outcome.outputs.entry(name).or_insert(value);
            }
            outcome.warnings.extend(report.warnings.into_iter().take(WARNINGS_MAX));
        }
        Err(warning) => outcome.warnings.push(format!("report {address}: {warning}")),
    }
    Ok(())
}

async fn read(
    clients: &Clients,
    handle: &Handle,
    address: &str,
    since: Option<Timestamp>,
) -> Result<Result<Report, String>, Failure> {
    let Ok(Address { bucket, key }) = Address::object(address, "report") else {
        return Ok(Err("no address of an object".to_owned()));
    };
    let s3 = clients.s3(&handle.connection).await?;
    let answer = match s3.get_object().bucket(bucket).key(key).send().await.map_err(Trouble::from) {
        Ok(answer) => answer,
        Err(trouble) if trouble.is_not_there() || trouble.class() == ErrorClass::Config => {
            let code = trouble.code.clone().unwrap_or_default();
            return Ok(Err(format!("not read: {code} {}", trouble.message)));
        }
        Err(trouble) => return Err(trouble.into_failure()),
    };
    if is_stale(&answer, since) {
        return Ok(Err("it is older than this run, which wrote none".to_owned()));
    }
    if answer
        .content_length()
        .is_some_and(|length| usize::try_from(length).is_ok_and(|l| l > REPORT_BYTES_MAX))
    {
        return Ok(Err(format!("larger than {REPORT_BYTES_MAX} bytes")));
    }
    let bytes = answer.body.collect().await.map_err(|error| {
        Failure::new(ErrorClass::System, format!("the report broke off while it was read: {error}"))
    })?;
    Ok(serde_json::from_slice(&bytes.into_bytes())
        .map_err(|error| format!("not of the form {{\"outputs\": {{…}}, \"warnings\": […]}}: {error}")))
}

/// Whether the object was there before the run began. S3 tells whole seconds.
fn is_stale(answer: &GetObjectOutput, since: Option<Timestamp>) -> bool {
    match (timestamp(answer.last_modified()), since) {
        (Some(written), Some(since)) => written < since - 1.second(),
        _ => false,
    }
}
