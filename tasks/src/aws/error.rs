//! The one place that reads errors of the AWS SDK.
//!
//! For a start the question is "may a job exist now?"; for a look it is "does this say anything
//! about the job?". Both are answered by what was sent, by the HTTP status and by the service's
//! code, and never by the wording of a message, with two exceptions that are named below.

use std::error::Error as StdError;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_smithy_runtime_api::{
    client::{dns::ResolveDnsError, orchestrator::HttpResponse, result::SdkError},
    http::Headers,
};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::operator::{ErrorClass, Failure, Sent, Status};

/// How far a call got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// No byte of the request was written.
    NotSent,
    /// It was or may have been sent, and no answer came.
    Unanswered,
    /// The service answered with this HTTP status.
    Answered(u16),
}

/// A call that did not give what it was made for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trouble {
    pub(crate) reach: Reach,
    /// The service's code, e.g. `EntityNotFoundException`.
    pub(crate) code: Option<String>,
    /// The service's text, or the chain of causes where no answer came.
    pub(crate) message: String,
    request_id: Option<String>,
    /// Why waiting does not help although nothing was answered.
    hopeless: Option<Hopeless>,
}

/// What keeps a call from being made at all, until somebody changes the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hopeless {
    /// Credentials could not be found at all.
    NoCredentials,
    /// The connection's role may not be assumed.
    Role,
    /// The connection itself is wrong.
    Connection,
}

/// The service asks us to slow down.
const THROTTLED: [&str; 13] = [
    "Throttling",
    "Throttled",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "BandwidthLimitExceeded",
    "PriorRequestNotComplete",
    "SlowDown",
    "LimitExceededException",
    "KmsThrottlingException",
];

/// The service has no room for another job now.
const NO_ROOM: [&str; 11] = [
    "ConcurrentRunsExceededException",
    "ResourceNumberLimitExceededException",
    "ActiveStatementsExceededException",
    "ExecutionLimitExceeded",
    // Lambda has no address, no interface or no instance for the function yet.
    "EC2ThrottledException",
    "ENILimitReachedException",
    "ENINotReadyException",
    "SubnetIPAddressLimitReachedException",
    "ResourceNotReadyException",
    "CodeArtifactUserPendingException",
    "SnapStartNotReadyException",
];

/// Answered with a 5xx status although nothing ran: Lambda could not set the function up, and
/// cannot until somebody changes the function.
const NOT_SET_UP: [&str; 9] = [
    "EC2AccessDeniedException",
    "InvalidRuntimeException",
    "InvalidSecurityGroupIDException",
    "InvalidSubnetIDException",
    "InvalidZipFileException",
    "KMSAccessDeniedException",
    "KMSDisabledException",
    "KMSInvalidStateException",
    "KMSNotFoundException",
];

/// Refused for the time of the signature or the age of the credentials: nothing was looked at,
/// and the same request may be sent again with fresh ones.
const STALE: [&str; 5] =
    ["ExpiredToken", "ExpiredTokenException", "RequestExpired", "RequestTimeTooSkewed", "RequestInTheFuture"];

/// Answers with a 4xx status that still leave open whether the service went on.
const OPEN: [&str; 8] = [
    "OperationTimeoutException",
    "InternalServiceException",
    "InternalServerException",
    "InternalFailure",
    "InternalErrorException",
    "InternalException",
    "RequestTimeout",
    // ECS and Batch.
    "ServerException",
];

/// The service holds nothing of this name.
const NOT_THERE: [&str; 8] = [
    "EntityNotFoundException",
    "ResourceNotFoundException",
    "NotFound",
    "NotFoundException",
    "NoSuchKey",
    "StateMachineDoesNotExist",
    "ExecutionDoesNotExist",
    "ClusterNotFoundException",
];

impl Trouble {
    /// Reads an error of the SDK.
    pub(crate) fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        let raw = error.raw_response();
        let reach = match error {
            SdkError::ConstructionFailure(_) => Reach::NotSent,
            SdkError::DispatchFailure(_) if never_sent(error) => Reach::NotSent,
            SdkError::ServiceError(_) => {
                raw.map_or(Reach::Unanswered, |raw| Reach::Answered(raw.status().as_u16()))
            }
            // An answer that cannot be read: whatever its status, the service may have acted.
            _ => match raw.map(|raw| raw.status().as_u16()) {
                Some(status) if status >= 400 => Reach::Answered(status),
                _ => Reach::Unanswered,
            },
        };
        let meta = error.as_service_error().map(ProvideErrorMetadata::meta);
        let code = meta.and_then(|meta| meta.code()).map(str::to_owned);
        let message = match (meta.and_then(|meta| meta.message()), reach) {
            (Some(message), _) => message.to_owned(),
            (None, Reach::Answered(status)) => match &code {
                Some(code) => format!("{code} (HTTP {status})"),
                None => format!("HTTP {status} without a text"),
            },
            (None, _) => causes(error),
        };
        let request_id = raw.and_then(|raw| request_id(raw.headers()));
        let trouble = Self { reach, code, message, request_id, hopeless: None };
        trouble.with_credentials_of(error)
    }

    /// What the credentials say, where they are what failed: the words of STS are worth more
    /// than "an error occurred while loading credentials".
    fn with_credentials_of(mut self, error: &(dyn StdError + 'static)) -> Self {
        let Some(cause) = source_of::<CredentialsError>(error) else { return self };
        if matches!(cause, CredentialsError::CredentialsNotLoaded(_)) {
            self.hopeless = Some(Hopeless::NoCredentials);
        } else if let Some(refusal) = source_of::<SdkError<AssumeRoleError, HttpResponse>>(cause)
            && let Some(service) = refusal.as_service_error()
        {
            let status = refusal.raw_response().map_or(500, |raw| raw.status().as_u16());
            let code = service.meta().code().unwrap_or_default();
            let message = service.meta().message().unwrap_or("no text").to_owned();
            let request_id = refusal.raw_response().and_then(|raw| request_id(raw.headers()));
            let answered = Self::answered(status, code, &message, request_id);
            if answered.class() == ErrorClass::Config {
                self.hopeless = Some(Hopeless::Role);
            }
            // Nothing was sent to the service itself, whatever STS answered.
            self = Self { reach: Reach::NotSent, hopeless: self.hopeless, ..answered };
        }
        self
    }

    /// An answer that says no.
    pub(crate) fn answered(status: u16, code: &str, message: &str, request_id: Option<String>) -> Self {
        Self {
            reach: Reach::Answered(status),
            code: (!code.is_empty()).then(|| code.to_owned()),
            message: message.to_owned(),
            request_id,
            hopeless: None,
        }
    }

    /// No answer, for a reason that an error tells.
    pub(crate) fn unanswered(reach: Reach, error: &(dyn StdError + 'static)) -> Self {
        let trouble = Self { reach, ..Self::empty(&causes(error)) };
        trouble.with_credentials_of(error)
    }

    /// A call that cannot be made with this connection.
    pub(crate) fn hopeless(failure: Failure) -> Self {
        Self { reach: Reach::NotSent, hopeless: Some(Hopeless::Connection), ..Self::empty(&failure.message) }
    }

    /// Whether the same call may well be answered a moment later.
    pub(crate) fn is_passing(&self) -> bool {
        self.class() == ErrorClass::System
    }

    /// An answer that came and lacks what it should hold.
    pub(crate) fn empty(message: &str) -> Self {
        Self {
            reach: Reach::Unanswered,
            code: None,
            message: message.to_owned(),
            request_id: None,
            hopeless: None,
        }
    }

    /// Whether the service does not know the operation, as doubles of AWS do.
    pub(crate) fn is_not_offered(&self) -> bool {
        self.reach == Reach::Answered(501)
            || matches!(
                self.code(),
                "UnknownOperationException" | "NotImplemented" | "NotImplementedException"
            )
    }

    /// The code, or nothing.
    pub(crate) fn code(&self) -> &str {
        self.code.as_deref().unwrap_or_default()
    }

    /// Whether the service asked us to slow down.
    pub(crate) fn is_throttled(&self) -> bool {
        self.reach == Reach::Answered(429) || THROTTLED.contains(&self.code())
    }

    /// Whether the service holds nothing of the name that was asked for.
    pub(crate) fn is_not_there(&self) -> bool {
        self.reach == Reach::Answered(404) || NOT_THERE.contains(&self.code())
    }

    /// Whether the service refused and did not say why, as answers to HEAD cannot.
    pub(crate) fn is_unexplained(&self) -> bool {
        self.reach == Reach::Answered(400) && self.code().is_empty()
    }

    fn is_stale(&self) -> bool {
        // The first exception to "never the wording": one code stands for a wrong secret key
        // and for a signature that is too old, or that a clock ahead of AWS's dated in the future.
        STALE.contains(&self.code())
            || (matches!(self.code(), "InvalidSignatureException" | "SignatureDoesNotMatch")
                && ["Signature expired", "Signature not yet current"]
                    .iter()
                    .any(|words| self.message.contains(words)))
    }

    fn is_open(&self) -> bool {
        match self.reach {
            Reach::NotSent => false,
            Reach::Unanswered => true,
            Reach::Answered(_) if NOT_SET_UP.contains(&self.code()) => false,
            Reach::Answered(status) => !(400..500).contains(&status) || OPEN.contains(&self.code()),
        }
    }

    /// Its class.
    pub(crate) fn class(&self) -> ErrorClass {
        if self.hopeless.is_some() {
            ErrorClass::Config
        } else if self.is_throttled() {
            ErrorClass::Throttled
        } else if NO_ROOM.contains(&self.code()) {
            ErrorClass::Capacity
        } else if self.reach == Reach::NotSent || self.is_open() || self.is_stale() {
            ErrorClass::System
        } else {
            ErrorClass::Config
        }
    }

    /// As a failure in the service's own words.
    pub(crate) fn into_failure(self) -> Failure {
        let class = self.class();
        let message = match self.hopeless {
            Some(Hopeless::NoCredentials) => format!(
                "no AWS credentials were found (set a profile, a role or AWS_ACCESS_KEY_ID): {}",
                self.message
            ),
            Some(Hopeless::Role) => format!(
                "the role of this connection cannot be assumed: {}\ncheck `role_arn` and `external_id` of the connection in trunkline.yaml, and whom the role's trust policy lets assume it",
                self.message
            ),
            Some(Hopeless::Connection) | None => self.message,
        };
        let mut failure = Failure::new(class, message);
        failure.code = self.code;
        failure.request_id = self.request_id;
        failure
    }

    /// What it means for a start.
    pub(crate) fn into_sent(self) -> Sent {
        let open = self.is_open();
        match self.class() {
            // A throttle is answered before anything is done, also where it comes as a 503.
            ErrorClass::Throttled | ErrorClass::Capacity => Sent::Throttled(self.into_failure()),
            ErrorClass::System if open => Sent::Unknown(self.into_failure()),
            ErrorClass::System => Sent::Throttled(self.into_failure()),
            _ => Sent::Refused(self.into_failure()),
        }
    }

    /// What it means for a question about a job that was once accepted. A refusal (no
    /// permission, a mistake of ours) says nothing about the job, so it never ends one.
    pub(crate) fn into_status(self) -> Status {
        if self.is_throttled() {
            Status::Throttled(self.into_failure())
        } else if self.is_not_there() {
            Status::Gone(self.into_failure())
        } else {
            Status::Unavailable(self.into_failure())
        }
    }
}

/// Whether a failure says only that credentials or a signature have ended: the same call with
/// fresh ones may be made at once, and nothing is wrong with the task.
pub(crate) fn is_stale(failure: &Failure) -> bool {
    failure.code.as_deref().is_some_and(|code| STALE.contains(&code))
}

/// What a start means whose call was answered with a 200 and whose one entry was not taken, as
/// batches report it: a code and a text, no status.
pub(crate) fn entry_sent(code: &str, message: &str) -> Sent {
    // Codes are the same as of calls; without an own status, what is not open was refused.
    let status = if OPEN.contains(&code) { 500 } else { 400 };
    Trouble {
        reach: Reach::Answered(status),
        code: Some(code.to_owned()),
        message: message.to_owned(),
        request_id: None,
        hopeless: None,
    }
    .into_sent()
}

impl<E> From<SdkError<E, HttpResponse>> for Trouble
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        Self::of(&error)
    }
}

/// Whether a failure to dispatch came before the first byte: no name, no connection, no TLS, no
/// credentials to sign with.
fn never_sent<E>(error: &SdkError<E, HttpResponse>) -> bool
where
    E: StdError + 'static,
{
    source_of::<CredentialsError>(error).is_some() || is_never_connected(error)
}

/// Whether no connection was made, and so nothing was sent.
pub(crate) fn is_never_connected(error: &(dyn StdError + 'static)) -> bool {
    // The second exception: the client's error type is private to it, but its words for "the
    // connection was never made" are fixed; tests below hold them.
    source_of::<ResolveDnsError>(error).is_some()
        || chain(error).any(|cause| cause.to_string() == "client error (Connect)")
}

fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |cause: &&'a (dyn StdError + 'static)| (*cause).source())
}

fn source_of<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    chain(error).find_map(|cause| cause.downcast_ref::<T>())
}

/// The chain of causes in one line, each cause once.
pub(crate) fn causes(error: &(dyn StdError + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in chain(error) {
        let text = cause.to_string();
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
    }
    parts.join(": ")
}

pub(crate) fn request_id(headers: &Headers) -> Option<String> {
    ["x-amzn-requestid", "x-amz-request-id", "x-amzn-request-id"]
        .iter()
        .find_map(|name| headers.get(*name))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_smithy_types::timeout::TimeoutConfig;
    use tokio::net::TcpListener;

    use super::*;
    use crate::{
        aws::double::{Answer, Double, clients_of, service_error},
        clients::{Clients, Purpose},
    };

    async fn start(clients: &Clients) -> Trouble {
        let glue = clients.glue("aws", Purpose::Start).await.unwrap();
        Trouble::from(glue.start_job_run().job_name("j").send().await.unwrap_err())
    }

    #[tokio::test]
    async fn codes_and_statuses_decide_about_starts() {
        let table = [
            (400, "EntityNotFoundException", "refused config"),
            (400, "AccessDeniedException", "refused config"),
            (400, "ThrottlingException", "throttled throttled"),
            (503, "ThrottlingException", "throttled throttled"),
            (429, "Whatever", "throttled throttled"),
            (400, "ConcurrentRunsExceededException", "throttled capacity"),
            (400, "ResourceNumberLimitExceededException", "throttled capacity"),
            (429, "TooManyRequestsException", "throttled throttled"),
            (502, "EC2ThrottledException", "throttled capacity"),
            (502, "InvalidZipFileException", "refused config"),
            (502, "EC2UnexpectedException", "unknown system"),
            (500, "ServiceException", "unknown system"),
            (400, "ExpiredTokenException", "throttled system"),
            (403, "RequestExpired", "throttled system"),
            (400, "OperationTimeoutException", "unknown system"),
            (400, "InternalServiceException", "unknown system"),
            (500, "InternalServiceException", "unknown system"),
            (503, "ServiceUnavailable", "unknown system"),
        ];
        let double = Double::start(table.map(|(status, code, _)| service_error(status, code, "words"))).await;
        for (status, code, expected) in table {
            let (word, failure) = match start(&double.clients).await.into_sent() {
                Sent::Refused(failure) => ("refused", failure),
                Sent::Throttled(failure) => ("throttled", failure),
                Sent::Unknown(failure) => ("unknown", failure),
                other => panic!("{other:?}"),
            };
            let class = serde_json::to_value(failure.class).unwrap();
            assert_eq!(format!("{word} {}", class.as_str().unwrap()), expected, "{status} {code}");
            assert_eq!(failure.code.as_deref(), Some(code));
            assert_eq!(failure.message, "words");
            assert_eq!(failure.request_id.as_deref(), Some("request-1"));
        }
        assert_eq!(double.received().len(), table.len(), "the SDK must repeat no start");
    }

    #[tokio::test]
    async fn a_signature_of_another_time_was_not_looked_at() {
        let old = "Signature expired: 20261119T090000Z is now earlier than 20261119T091500Z";
        let young = "Signature not yet current: 20261119T100000Z is still later than 20261119T093000Z";
        let double = Double::start([
            service_error(400, "InvalidSignatureException", old),
            service_error(400, "InvalidSignatureException", young),
            service_error(400, "InvalidSignatureException", "The security token is wrong"),
        ])
        .await;
        for _ in 0..2 {
            assert!(matches!(start(&double.clients).await.into_sent(), Sent::Throttled(_)));
        }
        assert!(matches!(start(&double.clients).await.into_sent(), Sent::Refused(_)));
    }

    #[tokio::test]
    async fn what_was_never_sent_was_not_started() {
        let closed = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            format!("http://{}", listener.local_addr().unwrap())
        };
        let double = Double::start([]).await;
        let no_tls = double.endpoint.replace("http:", "https:");
        for endpoint in [closed.as_str(), no_tls.as_str()] {
            let trouble = start(&clients_of(endpoint)).await;
            assert_eq!(trouble.reach, Reach::NotSent, "{endpoint}: {}", trouble.message);
            assert!(matches!(trouble.into_sent(), Sent::Throttled(_)));
        }
    }

    #[tokio::test]
    async fn what_was_sent_without_an_answer_is_unknown() {
        let double =
            Double::start([Answer::HangUp, Answer::Text(200, "no json"), Answer::Text(502, "<html>")]).await;
        for _ in 0..3 {
            let trouble = start(&double.clients).await;
            assert!(matches!(trouble.clone().into_sent(), Sent::Unknown(_)), "{trouble:?}");
        }
    }

    #[tokio::test]
    async fn looks_are_repeated_and_never_end_a_job() {
        let double = Double::start([
            Answer::Text(500, ""),
            service_error(400, "AccessDeniedException", "no"),
            service_error(400, "EntityNotFoundException", "no such run"),
        ])
        .await;
        let glue = double.clients.glue("aws", Purpose::Read).await.unwrap();
        let denied = glue.get_job_run().job_name("j").run_id("r").send().await.unwrap_err();
        let Status::Unavailable(failure) = Trouble::from(denied).into_status() else { panic!() };
        assert_eq!(failure.code.as_deref(), Some("AccessDeniedException"));
        let gone = glue.get_job_run().job_name("j").run_id("r").send().await.unwrap_err();
        assert!(matches!(Trouble::from(gone).into_status(), Status::Gone(_)));
        assert_eq!(double.received().len(), 3, "the 500 is repeated by the SDK, a refusal is not");
    }

    #[tokio::test]
    async fn the_words_of_sts_are_told_where_a_role_is_refused() {
        let refusal = |code: &str, message: &str| {
            let xml = format!(
                "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
                 <RequestId>sts-1</RequestId></ErrorResponse>"
            );
            Answer::Headed(403, vec![("content-type", "text/xml".to_owned())], xml)
        };
        let double = Double::start([
            refusal("AccessDenied", "User: u is not authorized to perform: sts:AssumeRole on resource: r"),
            refusal("ExpiredToken", "The security token included in the request is expired"),
        ])
        .await;
        let config = crate::clients::AwsConnection {
            region: Some("us-east-1".into()),
            role_arn: Some("arn:aws:iam::111111111111:role/r".into()),
            external_id: Some("e".into()),
            endpoint: Some(double.endpoint.clone()),
            ..Default::default()
        };
        let clients = Clients::new(indexmap::IndexMap::from([("aws".to_owned(), config)]));
        let Sent::Refused(failure) = start(&clients).await.into_sent() else { panic!() };
        assert_eq!((failure.class, failure.code.as_deref()), (ErrorClass::Config, Some("AccessDenied")));
        insta::assert_snapshot!(failure.message);
        assert!(
            double.received()[0].text.contains("RoleSessionName=trunkline&"),
            "one name for all sessions"
        );
        // The credentials that the role is assumed with have ended: they are renewed, nothing failed.
        let Sent::Throttled(failure) = start(&clients).await.into_sent() else { panic!() };
        assert!(failure.only_delays(), "{failure:?}");
    }

    #[tokio::test]
    async fn a_timeout_is_unknown() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let clients = clients_of(&format!("http://{}", silent.local_addr().unwrap()));
        let glue = clients.glue("aws", Purpose::Start).await.unwrap();
        let soon = TimeoutConfig::builder().operation_timeout(Duration::from_millis(300)).build();
        let error = glue
            .start_job_run()
            .job_name("j")
            .customize()
            .config_override(aws_sdk_glue::config::Builder::new().timeout_config(soon))
            .send()
            .await
            .unwrap_err();
        assert!(matches!(Trouble::from(error).into_sent(), Sent::Unknown(_)));
    }
}
