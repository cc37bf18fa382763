//! One call of a service that speaks AWS's JSON protocol, without a client of the SDK for it.
//!
//! Everything but the shape of the request is the SDK's: region, endpoint, credentials,
//! signature, the way out. Only for questions: a start needs the care of an operator.

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
use serde_json::Value;

use super::{CONNECT_TIMEOUT, Clients, Connection, READ_ATTEMPT_TIMEOUT, READ_ATTEMPTS, SANDBOX_REGION};
use crate::aws::error::{Reach, Trouble};

/// The longest answer that is read; a secret has at most 64 KiB.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

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
        let found = self.connection(connection).map_err(Trouble::hopeless)?;
        let base = found.base(connection).await.map_err(Trouble::hopeless)?;
        let call = Call { base, connector: found.connector(base).await, service, target };
        let body = body.to_string();
        let mut tries = 1;
        loop {
            match call.once(&body).await {
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
    target: &'a str,
}

impl Call<'_> {
    async fn once(&self, body: &str) -> Result<Value, Trouble> {
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
            .into_bytes();
        if bytes.len() > ANSWER_BYTES_MAX {
            return Err(Trouble::empty("the answer is longer than any that this call gives"));
        }
        let read = serde_json::from_slice::<Value>(&bytes);
        if status == 200 {
            // Without the reader's words, which may quote the answer.
            return read.map_err(|_| Trouble::empty("the answer is not JSON"));
        }
        let read = read.unwrap_or_default();
        let code = kind.as_deref().or_else(|| read["__type"].as_str()).unwrap_or_default();
        let code = code.split(':').next().unwrap_or_default().rsplit('#').next().unwrap_or_default();
        let message = read["message"].as_str().or_else(|| read["Message"].as_str());
        Err(Trouble::answered(status, code, message.unwrap_or("no text"), request_id))
    }

    async fn signed(&self, body: &str) -> Result<HttpRequest, Trouble> {
        let region = self.base.region().map_or(SANDBOX_REGION, AsRef::as_ref);
        let address = match self.base.endpoint_url() {
            Some(endpoint) => format!("{}/", endpoint.trim_end_matches('/')),
            None => format!("https://{}.{region}.{}/", self.service, domain(region)),
        };
        let provider = self.base.credentials_provider();
        let provider = provider.ok_or_else(|| Trouble::empty("the connection has no credentials"))?;
        let credentials = provider
            .provide_credentials()
            .await
            .map_err(|error| Trouble::unanswered(Reach::NotSent, &error))?;
        let time = self.base.time_source().unwrap_or_default().now();
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", self.target)];
        let mut request = HttpRequest::new(SdkBody::from(body));
        let wrong = |error: &dyn std::error::Error| Trouble::empty(&error.to_string());
        request.set_method("POST").map_err(|error| wrong(&error))?;
        request.set_uri(address.as_str()).map_err(|error| wrong(&error))?;
        for (name, value) in headers {
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

/// The domain of a region's services; China has its own.
fn domain(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}
