//! The JSON protocols (1.0 and 1.1): `X-Amz-Target` names the operation, bodies are JSON both ways.

use http::{HeaderValue, Response};
use s3s::Body;
use serde_json::{Value, json};

use super::ApiError;

/// The longest request body that is read. Glue's longest legal script-bearing request is far below it.
pub(crate) const BODY_MAX: usize = 8 * 1024 * 1024;

/// Splits `AWSGlue.StartJobRun` into the service of the credential scope and the operation.
pub(crate) fn parse_target(target: &str) -> Option<(&'static str, &str)> {
    let (prefix, operation) = target.rsplit_once('.')?;
    let service = match prefix {
        "AWSGlue" => "glue",
        "AmazonAthena" => "athena",
        "AWSStepFunctions" => "states",
        "AmazonSQS" => "sqs",
        "AWSEvents" => "events",
        "RedshiftData" => "redshift-data",
        "AmazonEC2ContainerServiceV20141113" => "ecs",
        "Logs_20140328" => "logs",
        "secretsmanager" => "secretsmanager",
        "AmazonSSM" => "ssm",
        _ => return None,
    };
    Some((service, operation))
}

/// Parses a request body; an empty one is an empty object.
pub(crate) fn parse_body(body: &[u8]) -> Result<Value, ApiError> {
    if body.is_empty() {
        return Ok(json!({}));
    }
    match serde_json::from_slice(body) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(ApiError::new(400, "SerializationException", "the request body is not a JSON object")),
        Err(error) => Err(ApiError::new(400, "SerializationException", error.to_string())),
    }
}

/// An answer, successful or not, in this protocol.
///
/// SQS spoke the Query protocol before: it still tells the old names of its errors, in a header.
pub(crate) fn answer(result: &Result<Value, ApiError>, service: &str, request_id: &str) -> Response<Body> {
    let (status, body) = match result {
        Ok(value) => (200, value.to_string()),
        Err(error) => {
            let space = if service == "sqs" { "com.amazonaws.sqs#" } else { "" };
            let code = format!("{space}{}", error.code);
            // Clients of SQS look for the text under its other name.
            let text = if service == "sqs" { "message" } else { "Message" };
            (error.status, json!({ "__type": code, text: error.message }).to_string())
        }
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::BAD_REQUEST);
    let headers = response.headers_mut();
    let version = if service == "sqs" { "application/x-amz-json-1.0" } else { "application/x-amz-json-1.1" };
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(version));
    if let Err(error) = result
        && service == "sqs"
        && let Ok(old) = HeaderValue::from_str(&format!("{};Sender", old_name(&error.code)))
    {
        headers.insert("x-amzn-query-error", old);
    }
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}

/// What an error of SQS was called in the Query protocol.
fn old_name(code: &str) -> String {
    match code {
        "QueueDoesNotExist" => "AWS.SimpleQueueService.NonExistentQueue".to_owned(),
        "QueueNameExists" => "QueueAlreadyExists".to_owned(),
        "InvalidMessageContents"
        | "InvalidAttributeName"
        | "InvalidAttributeValue"
        | "ReceiptHandleIsInvalid" => code.to_owned(),
        "UnsupportedOperation"
        | "PurgeQueueInProgress"
        | "EmptyBatchRequest"
        | "BatchEntryIdsNotDistinct"
        | "TooManyEntriesInBatchRequest"
        | "BatchRequestTooLong"
        | "InvalidBatchEntryId"
        | "MessageNotInflight" => {
            format!("AWS.SimpleQueueService.{code}")
        }
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_name_service_and_operation() {
        assert_eq!(parse_target("AWSGlue.StartJobRun"), Some(("glue", "StartJobRun")));
        assert_eq!(parse_target("AmazonAthena.StopQueryExecution"), Some(("athena", "StopQueryExecution")));
        assert_eq!(parse_target("AmazonSQS.SendMessage"), Some(("sqs", "SendMessage")));
        assert_eq!(parse_target("AWSEvents.PutEvents"), Some(("events", "PutEvents")));
        assert_eq!(parse_target("RedshiftData.ListStatements"), Some(("redshift-data", "ListStatements")));
        assert_eq!(parse_target("AmazonSSM.GetParameter"), Some(("ssm", "GetParameter")));
        assert_eq!(parse_target("AmazonEC2.RunInstances"), None);
        assert_eq!(parse_target("nonsense"), None);
    }

    #[test]
    fn step_functions_are_called_states() {
        assert_eq!(parse_target("AWSStepFunctions.StartExecution"), Some(("states", "StartExecution")));
    }

    #[test]
    fn bodies_must_be_objects() {
        assert_eq!(parse_body(b"").unwrap(), json!({}));
        assert_eq!(parse_body(b"[1]").unwrap_err().code, "SerializationException");
        assert_eq!(parse_body(b"{").unwrap_err().code, "SerializationException");
    }
}
