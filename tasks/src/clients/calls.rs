//! Calls of services for which there is no client of the SDK here: one in AWS's JSON protocol, one in
//! the query protocol that IAM speaks.
//!
//! Everything but the shape of the request is the SDK's: region, endpoint, credentials,
//! signature, the way out. Only for questions: a start needs the care of an operator. A client made
//! by the SDK's generator takes up to two minutes to compile, for one or two questions.

use aws_config::SdkConfig;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector as _, HttpConnectorSettings, SharedHttpConnector},
    identity::Identity,
    orchestrator::HttpRequest,
};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{CONNECT_TIMEOUT, Clients, Connection, READ_ATTEMPT_TIMEOUT, READ_ATTEMPTS, SANDBOX_REGION};
use crate::aws::error::{Reach, Trouble};

/// The longest answer that is read; a secret has at most 64 KiB, a page of a simulation less than a MB.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// How a service wants to be spoken to.
#[derive(Clone, Copy)]
enum Protocol<'a> {
    /// JSON both ways; the operation stands in a header as `Prefix.Operation`.
    Json { target: &'a str },
    /// A form there and XML back.
    Query,
}

impl Clients {
    /// Asks `target` (`Prefix.Operation`) of a service, by the name in its address and in the
    /// scope of signatures. What failed on the way is asked again at once, a few times.
    pub(crate) async fn json_call(
        &self,
        connection: &str,
        service: &str,
        target: &str,
        body: &Value,
    ) -> Result<Value, Trouble> {
        let answer = self.call(connection, service, Protocol::Json { target }, &body.to_string()).await?;
        // Without the reader's words, which may quote the answer.
        serde_json::from_slice(&answer).map_err(|_| Trouble::empty("the answer is not JSON"))
    }

    /// Asks an action of IAM, which is one service for all regions of a partition.
    pub(crate) async fn iam_call<T: DeserializeOwned>(
        &self,
        connection: &str,
        parameters: &[(String, String)],
    ) -> Result<T, Trouble> {
        let form: String =
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let answer = self.call(connection, "iam", Protocol::Query, &form).await?;
        let text = String::from_utf8_lossy(&answer);
        quick_xml::de::from_str(&text).map_err(|error| Trouble::empty(&format!("IAM's answer: {error}")))
    }

    async fn call(
        &self,
        connection: &str,
        service: &str,
        protocol: Protocol<'_>,
        body: &str,
    ) -> Result<Vec<u8>, Trouble> {
        let found = self.connection(connection).map_err(Trouble::hopeless)?;
        let base = found.base(connection).await.map_err(Trouble::hopeless)?;
        let call = Call { base, connector: found.connector(base).await, service, protocol };
        let mut tries = 1;
        loop {
            match call.once(body).await {
                Err(trouble) if trouble.is_passing() && tries < READ_ATTEMPTS => tries += 1,
                answer => return answer,
            }
        }
    }
}

impl Connection {
    async fn connector(&self, base: &SdkConfig) -> &SharedHttpConnector {
        self.connector
            .get_or_init(|| async {
                let settings = HttpConnectorSettings::builder()
                    .connect_timeout(CONNECT_TIMEOUT)
                    .read_timeout(READ_ATTEMPT_TIMEOUT)
                    .build();
                let local = self.endpoint().is_some_and(super::is_loopback);
                let plain = super::connector(local, Some(settings), base.sleep_impl());
                match self.kept.get() {
                    Some(kept) => super::credentials::noticing(SharedHttpConnector::new(plain), kept),
                    None => SharedHttpConnector::new(plain),
                }
            })
            .await
    }
}

struct Call<'a> {
    base: &'a SdkConfig,
    connector: &'a SharedHttpConnector,
    service: &'a str,
    protocol: Protocol<'a>,
}

impl Call<'_> {
    async fn once(&self, body: &str) -> Result<Vec<u8>, Trouble> {
        let request = self.signed(body).await?;
        let answer = self.connector.call(request).await.map_err(|error| {
            let reach = if error.is_user() { Reach::NotSent } else { Reach::Unanswered };
            Trouble::unanswered(reach, &error)
        })?;
        let status = answer.status().as_u16();
        let request_id = crate::aws::error::request_id(answer.headers());
        let kind = answer.headers().get("x-amzn-errortype").map(str::to_owned);
        let bytes = ByteStream::new(answer.into_body())
            .collect()
            .await
            .map_err(|error| Trouble::unanswered(Reach::Unanswered, &error))?
            .to_vec();
        if bytes.len() > ANSWER_BYTES_MAX {
            return Err(Trouble::empty("the answer is longer than any that this call gives"));
        }
        if status == 200 {
            return Ok(bytes);
        }
        let (code, message) = match self.protocol {
            Protocol::Json { .. } => json_refusal(&bytes, kind),
            Protocol::Query => xml_refusal(&bytes),
        };
        Err(Trouble::answered(status, &code, message.as_deref().unwrap_or("no text"), request_id))
    }

    async fn signed(&self, body: &str) -> Result<HttpRequest, Trouble> {
        let region = self.base.region().map_or(SANDBOX_REGION, AsRef::as_ref);
        let (host, region) = match self.protocol {
            Protocol::Json { .. } => (format!("{}.{region}.{}", self.service, domain(region)), region),
            Protocol::Query => iam_of(region),
        };
        let address = match self.base.endpoint_url() {
            Some(endpoint) => format!("{}/", endpoint.trim_end_matches('/')),
            None => format!("https://{host}/"),
        };
        let provider = self.base.credentials_provider();
        let provider = provider.ok_or_else(|| Trouble::empty("the connection has no credentials"))?;
        let credentials = provider
            .provide_credentials()
            .await
            .map_err(|error| Trouble::unanswered(Reach::NotSent, &error))?;
        let time = self.base.time_source().unwrap_or_default().now();
        let mut headers = vec![match self.protocol {
            Protocol::Json { .. } => ("content-type", "application/x-amz-json-1.1"),
            Protocol::Query => ("content-type", "application/x-www-form-urlencoded"),
        }];
        if let Protocol::Json { target } = self.protocol {
            headers.push(("x-amz-target", target));
        }
        let mut request = HttpRequest::new(SdkBody::from(body));
        let wrong = |error: &dyn std::error::Error| Trouble::empty(&error.to_string());
        request.set_method("POST").map_err(|error| wrong(&error))?;
        request.set_uri(address.as_str()).map_err(|error| wrong(&error))?;
        for &(name, value) in &headers {
            request.headers_mut().insert(name, value.to_owned());
        }
        request.headers_mut().insert("content-length", body.len().to_string());
        let identity = Identity::from(credentials);
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name(self.service)
            .time(time)
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| wrong(&error))?
            .into();
        let signable =
            SignableRequest::new("POST", &address, headers.into_iter(), SignableBody::Bytes(body.as_bytes()))
                .map_err(|error| wrong(&error))?;
        let (instructions, _) = sign(signable, &params).map_err(|error| wrong(&error))?.into_parts();
        for (name, value) in instructions.headers() {
            request.headers_mut().insert(name.to_owned(), value.to_owned());
        }
        Ok(request)
    }
}

/// Code and message of a refusal in JSON.
fn json_refusal(answer: &[u8], kind: Option<String>) -> (String, Option<String>) {
    let read = serde_json::from_slice::<Value>(answer).unwrap_or_default();
    let code = kind.as_deref().or_else(|| read["__type"].as_str()).unwrap_or_default();
    let code = code.split(':').next().unwrap_or_default().rsplit('#').next().unwrap_or_default();
    let message = read["message"].as_str().or_else(|| read["Message"].as_str());
    (code.to_owned(), message.map(str::to_owned))
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct XmlRefusal {
    error: XmlError,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct XmlError {
    code: String,
    message: Option<String>,
}

/// The same in XML.
fn xml_refusal(answer: &[u8]) -> (String, Option<String>) {
    let read: XmlRefusal = quick_xml::de::from_str(&String::from_utf8_lossy(answer)).unwrap_or_default();
    (read.error.code, read.error.message)
}

/// IAM's host, and the region that its signatures name.
/// <https://docs.aws.amazon.com/general/latest/gr/iam-service.html>
fn iam_of(region: &str) -> (String, &'static str) {
    if region.starts_with("cn-") {
        ("iam.cn-north-1.amazonaws.com.cn".to_owned(), "cn-north-1")
    } else if region.starts_with("us-gov-") {
        ("iam.us-gov.amazonaws.com".to_owned(), "us-gov-west-1")
    } else {
        ("iam.amazonaws.com".to_owned(), "us-east-1")
    }
}

/// The domain of a region's services; China has its own.
fn domain(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_read_in_both_protocols() {
        let (code, message) = json_refusal(br#"{"__type":"a.b#NotThere","Message":"no"}"#, None);
        assert_eq!((code.as_str(), message.as_deref()), ("NotThere", Some("no")));
        let (code, _) = json_refusal(b"", Some("Denied:http://x".to_owned()));
        assert_eq!(code, "Denied");
        let xml = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not you</Message>\
                   </Error><RequestId>1</RequestId></ErrorResponse>";
        assert_eq!(xml_refusal(xml.as_bytes()), ("AccessDenied".to_owned(), Some("not you".to_owned())));
        assert_eq!(xml_refusal(b"<html>"), (String::new(), None));
    }

    #[test]
    fn iam_is_one_service_for_a_partition() {
        assert_eq!(iam_of("eu-central-1"), ("iam.amazonaws.com".to_owned(), "us-east-1"));
        assert_eq!(iam_of("cn-northwest-1").1, "cn-north-1");
    }
}
