//! Reads signatures of version 4, in headers and in presigned queries: who signed what, and when.
//!
//! Signatures are not verified: any credentials work in a sandbox. The signed **date** is honoured as AWS
//! honours it, because AWS's refusal of old requests is what lets a caller prove that an unconfirmed start
//! can no longer happen.

use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::ApiError;
use super::query::Form;

/// What a request says about its sender.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Signature {
    /// Access key id.
    pub caller: String,
    /// Region of the credential scope.
    pub region: String,
    /// Service of the credential scope.
    pub service: String,
    /// The signed date.
    pub signed_at: Option<Timestamp>,
    /// Life of a presigned URL, counted from `signed_at`; `None` for a header signature.
    pub expires_after: Option<Duration>,
}

/// Reads whichever signature the request carries; `None` for an anonymous request.
pub(crate) fn read(headers: &HeaderMap, query: &Form) -> Option<Signature> {
    read_header(headers).or_else(|| read_query(query))
}

/// Refuses a request whose signature is older than `age_max` (or as far in the future).
///
/// `code` is the exception that the protocol in use has for it.
pub(crate) fn check_age(
    signed_at: Timestamp,
    now: Timestamp,
    age_max: Duration,
    code: &'static str,
    status: u16,
) -> Result<(), ApiError> {
    let limit = i64::try_from(age_max.as_millis()).unwrap_or(i64::MAX);
    let age = now.as_millisecond().saturating_sub(signed_at.as_millisecond());
    if age.saturating_abs() <= limit {
        return Ok(());
    }
    let minutes = age_max.as_secs() / 60;
    let span = if minutes > 0 { format!("{minutes} min.") } else { format!("{} ms.", age_max.as_millis()) };
    let (signed, seen) = (basic_date(signed_at), basic_date(now));
    let message = if age > 0 {
        let oldest = basic_date(shifted(now, -limit));
        format!("Signature expired: {signed} is now earlier than {oldest} ({seen} - {span})")
    } else {
        let newest = basic_date(shifted(now, limit));
        format!("Signature not yet current: {signed} is still later than {newest} ({seen} + {span})")
    };
    Err(ApiError::new(status, code, message))
}

fn shifted(at: Timestamp, milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond().saturating_add(milliseconds)).unwrap_or(at)
}

/// A time in the basic format that signatures use.
pub(crate) fn basic_date(at: Timestamp) -> String {
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

fn read_header(headers: &HeaderMap) -> Option<Signature> {
    let value = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let fields = value.strip_prefix("AWS4-HMAC-SHA256")?;
    let credential = fields.split(',').find_map(|field| field.trim().strip_prefix("Credential="))?;
    let date = headers.get("x-amz-date").and_then(|date| date.to_str().ok());
    scope(credential, date)
}

fn read_query(query: &Form) -> Option<Signature> {
    let mut signature = scope(query.get("X-Amz-Credential")?, query.get("X-Amz-Date"))?;
    let seconds = query.get("X-Amz-Expires").and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
    signature.expires_after = Some(Duration::from_secs(seconds));
    Some(signature)
}

fn scope(credential: &str, date: Option<&str>) -> Option<Signature> {
    // An access key may itself contain slashes in odd setups, so the scope is read from its end.
    let mut parts = credential.rsplitn(5, '/');
    let terminator = parts.next()?;
    let (service, region, _day, caller) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    (terminator == "aws4_request").then(|| Signature {
        caller: caller.to_owned(),
        region: region.to_owned(),
        service: service.to_owned(),
        signed_at: date.and_then(parse_basic_date),
        expires_after: None,
    })
}

fn parse_basic_date(text: &str) -> Option<Timestamp> {
    let civil = DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_scope_of_a_header() {
        let mut headers = HeaderMap::new();
        let value = "AWS4-HMAC-SHA256 Credential=AKIA1/20261119/eu-west-1/glue/aws4_request, SignedHeaders=host, Signature=00";
        headers.insert("authorization", value.parse().unwrap());
        headers.insert("x-amz-date", "20261119T030405Z".parse().unwrap());
        let signature = read(&headers, &Form::default()).unwrap();
        assert_eq!(
            (&*signature.caller, &*signature.region, &*signature.service),
            ("AKIA1", "eu-west-1", "glue")
        );
        assert_eq!(signature.signed_at.unwrap().to_string(), "2026-11-19T03:04:05Z");
    }

    #[test]
    fn reads_a_presigned_query() {
        let query = Form::parse(
            "X-Amz-Credential=k%2F20261119%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20261119T000000Z&X-Amz-Expires=60",
        );
        let signature = read(&HeaderMap::new(), &query).unwrap();
        assert_eq!(signature.expires_after, Some(Duration::from_mins(1)));
        assert_eq!(signature.service, "s3");
    }

    #[test]
    fn anonymous_and_malformed_are_not_signatures() {
        let mut headers = HeaderMap::new();
        assert_eq!(read(&headers, &Form::default()), None);
        headers.insert("authorization", "AWS4-HMAC-SHA256 Credential=nonsense".parse().unwrap());
        assert_eq!(read(&headers, &Form::default()), None);
    }

    #[test]
    fn refuses_old_and_future_dates_in_the_services_wording() {
        let signed: Timestamp = "2026-11-19T00:00:00Z".parse().unwrap();
        let age_max = Duration::from_mins(15);
        let check = |now: &str| {
            check_age(signed, now.parse().unwrap(), age_max, "InvalidSignatureException", 400)
                .map_err(|error| error.message)
        };
        assert_eq!(check("2026-11-19T00:15:00Z"), Ok(()));
        assert_eq!(
            check("2026-11-19T00:15:01Z").unwrap_err(),
            "Signature expired: 20261119T000000Z is now earlier than 20261119T000001Z (20261119T001501Z - 15 min.)"
        );
        assert!(check("2026-11-18T23:00:00Z").unwrap_err().starts_with("Signature not yet current"));
    }
}
