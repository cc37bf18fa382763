//! The REST-JSON protocol (Lambda): method and path name the operation, headers and bodies carry the members.

use http::{HeaderName, HeaderValue, Response, StatusCode};
use s3s::Body;
use serde_json::{Value, json};

use super::ApiError;

/// An answer: a status, headers beside the usual ones, a body.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Members that travel as headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body, JSON or nothing.
    pub body: Vec<u8>,
}

impl Answer {
    /// An answer whose body is a structure.
    pub(crate) fn json(status: u16, value: &Value) -> Self {
        Self { status, headers: Vec::new(), body: value.to_string().into_bytes() }
    }

    /// An answer without a body.
    pub(crate) fn empty(status: u16) -> Self {
        Self { status, ..Self::default() }
    }
}

/// An answer, successful or not, in this protocol.
pub(crate) fn answer(result: Result<Answer, ApiError>, request_id: &str) -> Response<Body> {
    let answer = result.unwrap_or_else(|error| refusal(&error));
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_REQUEST);
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("x-amzn-requestid", id);
    }
    for (name, value) in answer.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}

fn refusal(error: &ApiError) -> Answer {
    let whose = if error.status < 500 { "User" } else { "Service" };
    let body = json!({ "Type": whose, "Message": error.message });
    Answer {
        headers: vec![("x-amzn-errortype", error.code.to_string())],
        ..Answer::json(error.status, &body)
    }
}
