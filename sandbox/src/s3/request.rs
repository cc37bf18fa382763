//! Prepares an S3 request for the protocol layer: what was signed is taken off, what was framed is unframed.
//!
//! Presigned URLs carry headers in their query; those become headers again. Signatures are not verified, but
//! a presigned URL stops working when its time is over.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use jiff::Timestamp;
use s3s::Body;

use super::chunked::{self, Trailers};
use crate::wire::ApiError;
use crate::wire::query::Form;
use crate::wire::signature::Signature;

/// Query parameters of presigned URLs (lower case) that are about the signature and nothing else.
const SIGNING: [&str; 10] = [
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-signedheaders",
    "x-amz-signature",
    "x-amz-security-token",
    "x-amz-content-sha256",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-checksum-mode",
];

/// Query parameters of presigned URLs of the second signature version.
const SIGNING_V2: [&str; 3] = ["AWSAccessKeyId", "Signature", "Expires"];

/// Refuses a presigned request whose time is over.
pub(super) fn check_expiry(
    signature: Option<&Signature>,
    query: &Form,
    now: Timestamp,
) -> Result<(), ApiError> {
    let expired = || ApiError::new(403, "AccessDenied", "Request has expired");
    if let Some(Signature { signed_at: Some(signed_at), expires_after: Some(life), .. }) = signature {
        let end =
            signed_at.as_millisecond().saturating_add(i64::try_from(life.as_millis()).unwrap_or(i64::MAX));
        return if now.as_millisecond() > end { Err(expired()) } else { Ok(()) };
    }
    if query.has("Signature") && query.has("AWSAccessKeyId") {
        let end = query.get("Expires").and_then(|seconds| seconds.parse::<i64>().ok());
        return match end {
            Some(end) if now.as_second() <= end => Ok(()),
            _ => Err(expired()),
        };
    }
    Ok(())
}

/// Takes signature and framing off a request.
pub(super) fn unwrap(request: Request<Body>) -> Result<Request<Body>, ApiError> {
    let (mut parts, mut body) = request.into_parts();
    parts.headers.remove(http::header::AUTHORIZATION);
    if let Some(query) = parts.uri.query() {
        let (kept, moved) = split_query(query);
        move_to_headers(&mut parts.headers, &moved);
        parts.uri = with_query(&parts.uri, &kept)?;
    }
    if is_framed(&parts.headers) {
        let trailers = Trailers::default();
        body = chunked::decoded(body, trailers.clone());
        parts.extensions.insert(trailers);
        unframe_headers(&mut parts.headers);
    }
    Ok(Request::from_parts(parts, body))
}

/// The operation that a request most likely is, for the count of calls and the fault script. The protocol
/// layer decides by itself what it really is.
pub(crate) fn operation_name(
    method: &Method,
    has_key: bool,
    query: &Form,
    headers: &HeaderMap,
) -> &'static str {
    let copies = headers.contains_key("x-amz-copy-source");
    match (method.as_str(), has_key) {
        ("GET", true) if query.has("uploadId") => "ListParts",
        ("GET", true) => "GetObject",
        ("HEAD", true) => "HeadObject",
        ("PUT", true) if query.has("partNumber") && copies => "UploadPartCopy",
        ("PUT", true) if query.has("partNumber") => "UploadPart",
        ("PUT", true) if copies => "CopyObject",
        ("PUT", true) => "PutObject",
        ("DELETE", true) if query.has("uploadId") => "AbortMultipartUpload",
        ("DELETE", true) => "DeleteObject",
        ("POST", true) if query.has("uploads") => "CreateMultipartUpload",
        ("POST", true) => "CompleteMultipartUpload",
        ("GET", false) if query.has("list-type") => "ListObjectsV2",
        ("GET", false) if query.has("notification") => "GetBucketNotificationConfiguration",
        ("PUT", false) if query.has("notification") => "PutBucketNotificationConfiguration",
        ("GET", false) if query.has("location") => "GetBucketLocation",
        ("GET", false) if query.has("uploads") => "ListMultipartUploads",
        ("GET", false) => "ListObjects",
        ("HEAD", false) => "HeadBucket",
        ("PUT", false) => "CreateBucket",
        ("DELETE", false) => "DeleteBucket",
        ("POST", false) if query.has("delete") => "DeleteObjects",
        _ => "Other",
    }
}

/// Splits a raw query into what stays (still encoded) and what must become headers (decoded).
fn split_query(query: &str) -> (Vec<&str>, Vec<(String, String)>) {
    let mut kept = Vec::new();
    let mut moved = Vec::new();
    let is_v2 = query.contains("AWSAccessKeyId=") && query.contains("Signature=");
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let form = Form::parse(pair);
        let name = pair.split('=').next().unwrap_or_default();
        let lower = name.to_ascii_lowercase();
        let signs = SIGNING.contains(&lower.as_str()) || lower.starts_with("x-amz-checksum-");
        if signs || (is_v2 && SIGNING_V2.contains(&name)) {
            continue;
        }
        if lower.starts_with("x-amz-") {
            moved.push((lower, form.get(name).unwrap_or_default().to_owned()));
        } else {
            kept.push(pair);
        }
    }
    (kept, moved)
}

fn move_to_headers(headers: &mut HeaderMap, moved: &[(String, String)]) {
    for (name, value) in moved {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
            headers.entry(name).or_insert(value);
        }
    }
}

fn with_query(uri: &Uri, kept: &[&str]) -> Result<Uri, ApiError> {
    let mut target = uri.path().to_owned();
    if !kept.is_empty() {
        target.push('?');
        target.push_str(&kept.join("&"));
    }
    target.parse().map_err(|_| ApiError::new(400, "InvalidURI", "Couldn't parse the specified URI."))
}

fn is_framed(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text("x-amz-content-sha256").starts_with("STREAMING-") || text("content-encoding").contains("aws-chunked")
}

fn unframe_headers(headers: &mut HeaderMap) {
    if let Some(length) = headers.remove("x-amz-decoded-content-length") {
        headers.insert(http::header::CONTENT_LENGTH, length);
    } else {
        headers.remove(http::header::CONTENT_LENGTH);
    }
    headers.remove(http::header::TRANSFER_ENCODING);
    headers.remove("x-amz-content-sha256");
    let encoding = headers.remove(http::header::CONTENT_ENCODING);
    let encoding = encoding.as_ref().and_then(|value| value.to_str().ok()).unwrap_or_default();
    let left: Vec<&str> = encoding
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty() && *name != "aws-chunked")
        .collect();
    if let (false, Ok(value)) = (left.is_empty(), HeaderValue::from_str(&left.join(","))) {
        headers.insert(http::header::CONTENT_ENCODING, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_parameters_go_and_headers_come_back() {
        let (kept, moved) = split_query(
            "X-Amz-Algorithm=A&X-Amz-Signature=s&response-content-type=text%2Fcsv&x-amz-meta-owner=a%20b&x-id=GetObject",
        );
        assert_eq!(kept, ["response-content-type=text%2Fcsv", "x-id=GetObject"]);
        assert_eq!(moved, [("x-amz-meta-owner".to_owned(), "a b".to_owned())]);
    }

    #[test]
    fn expiry_ends_presigned_urls_of_both_versions() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let query = Form::parse(
            "X-Amz-Credential=k/20260101/us-east-1/s3/aws4_request&X-Amz-Date=19700101T000000Z&X-Amz-Expires=60",
        );
        let signature = crate::wire::signature::read(&HeaderMap::new(), &query);
        assert!(check_expiry(signature.as_ref(), &query, at(60)).is_ok());
        assert_eq!(check_expiry(signature.as_ref(), &query, at(61)).unwrap_err().status, 403);
        let old = Form::parse("AWSAccessKeyId=k&Signature=s&Expires=100");
        assert!(check_expiry(None, &old, at(100)).is_ok());
        assert!(check_expiry(None, &old, at(101)).is_err());
    }

    #[test]
    fn content_encodings_other_than_the_framing_stay() {
        let mut headers = HeaderMap::new();
        headers.insert("content-encoding", "aws-chunked,gzip".parse().unwrap());
        headers.insert("x-amz-decoded-content-length", "7".parse().unwrap());
        headers.insert("content-length", "99".parse().unwrap());
        assert!(is_framed(&headers));
        unframe_headers(&mut headers);
        assert_eq!(headers["content-encoding"], "gzip");
        assert_eq!(headers["content-length"], "7");
    }
}
