//! Connections and the AWS SDK's clients behind them.
//!
//! Here stands how patient a call is, whose credentials it carries and where it goes. Each
//! connection is resolved once, when it is first used. What is called, and what an answer
//! means, is the operators' business.
//!
//! There are two kinds of client for each service, because starting and asking are different
//! risks: a [`Purpose::Start`] client tries once and never repeats by itself, since a repeated
//! start without a token is a second job; a [`Purpose::Read`] client repeats patiently.

mod calls;
mod config;
mod credentials;

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use aws_config::{BehaviorVersion, Region, SdkConfig, identity::IdentityCache, sts::AssumeRoleProvider};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials as _, SharedCredentialsProvider},
};
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_http_client::{
    Builder as HttpBuilder, Connector, ConnectorBuilder,
    proxy::ProxyConfig,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::http::{HttpConnectorSettings, SharedHttpClient, SharedHttpConnector};
use aws_smithy_types::{retry::RetryConfig, timeout::TimeoutConfig};
use indexmap::IndexMap;
use tokio::sync::OnceCell;

use crate::{
    aws::error::causes,
    operator::{ErrorClass, Failure},
    pipelines::Pipelines,
    secrets::{Secrets, Variables, mark::Mark, source::SecretSource},
};
pub use config::{AwsConnection, ConnectionConfig};
use credentials::{Kept, Noticing};

/// The longest that one start ordinarily takes, with everything: the engine starts nothing
/// unless it still owns the run for longer than this. An operator whose call is the whole job
/// may wait longer for the answer ([`crate::operator::Operator::start_limit`]).
pub const START_TIMEOUT: Duration = Duration::from_secs(20);

/// The longest that connecting may take. A connection that was never made has started nothing,
/// so finding out early is worth more than waiting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The longest that one try of a question may take; a question is repeated twice.
const READ_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Tries of one question.
const READ_ATTEMPTS: u32 = 3;

/// Connections for starts are thrown away after this idle time: a start that goes out on a
/// connection which the other side has just closed has an unknown outcome.
const START_IDLE: Duration = Duration::from_secs(4);

/// One session name for all replicas and all time: services that show a job only to the
/// session that started it would otherwise hide it from a survivor.
const ROLE_SESSION: &str = "trunkline";

/// Where calls go if nothing names a region but an endpoint is given, as a sandbox has.
const SANDBOX_REGION: &str = "us-east-1";

/// A sandbox asks for no secret and is given none; signatures need some word.
const SANDBOX_SECRET: &str = "sandbox";

/// What a client is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Starts: one try, one time limit, no correction of the signing time.
    Start,
    /// Questions and cancels: repeated by the SDK.
    Read,
}

/// Every connection and secret of one environment, with the clients made so far.
#[derive(Debug, Default)]
pub struct Clients {
    connections: IndexMap<String, Connection>,
    /// Plain HTTP: to this machine, and to the rest of the world.
    plain: [OnceLock<Connector>; 2],
    /// Trunkline itself, for tasks that start or wait for runs of other pipelines.
    pipelines: Option<Arc<dyn Pipelines>>,
    secrets: Secrets,
    /// The address of the project's private Postgres, where there is one.
    private_postgres: Option<String>,
}

/// One connection; each part is made when it is first needed.
struct Connection {
    config: AwsConnection,
    base: OnceCell<SdkConfig>,
    kept: OnceCell<Kept>,
    connector: OnceCell<SharedHttpConnector>,
    glue: PerPurpose<aws_sdk_glue::Client>,
    athena: PerPurpose<aws_sdk_athena::Client>,
    step_functions: PerPurpose<aws_sdk_sfn::Client>,
    ecs: PerPurpose<aws_sdk_ecs::Client>,
    batch: PerPurpose<aws_sdk_batch::Client>,
    emr_serverless: PerPurpose<aws_sdk_emrserverless::Client>,
    lambda: OnceCell<aws_sdk_lambda::Client>,
    sqs: PerPurpose<aws_sdk_sqs::Client>,
    events: OnceCell<aws_sdk_eventbridge::Client>,
    redshift_data: PerPurpose<aws_sdk_redshiftdata::Client>,
    sns: OnceCell<aws_sdk_sns::Client>,
    s3: OnceCell<aws_sdk_s3::Client>,
    sts: OnceCell<aws_sdk_sts::Client>,
}

struct PerPurpose<T> {
    start: OnceCell<T>,
    read: OnceCell<T>,
}

impl Clients {
    /// Clients for these connections. Nothing is resolved or connected yet.
    pub fn new(connections: IndexMap<String, AwsConnection>) -> Self {
        let connections =
            connections.into_iter().map(|(name, config)| (name, Connection::new(config))).collect();
        Self { connections, ..Self::default() }
    }

    /// The same with a way to the pipelines of this store.
    #[must_use]
    pub fn with_pipelines(mut self, pipelines: Arc<dyn Pipelines>) -> Self {
        self.pipelines = Some(pipelines);
        self
    }

    /// The pipelines of this store.
    pub fn pipelines(&self) -> Result<&dyn Pipelines, Failure> {
        self.pipelines.as_deref().ok_or_else(|| {
            Failure::new(
                ErrorClass::System,
                "other pipelines cannot be reached from here: no engine is running",
            )
        })
    }

    /// A connection pool for plain HTTP; a proxy is meant for the way out, never for this machine.
    pub(crate) fn plain_http(&self, local: bool) -> &Connector {
        self.plain[usize::from(local)].get_or_init(|| {
            let settings = HttpConnectorSettings::builder().connect_timeout(CONNECT_TIMEOUT).build();
            connector(local, Some(settings), Some(SharedAsyncSleep::new(TokioSleep::new())))
        })
    }

    /// The same with secrets that lie in these places; `variables` looks up the environment of
    /// this process.
    #[must_use]
    pub fn with_secrets(self, sources: IndexMap<String, SecretSource>, variables: Variables) -> Self {
        Self { secrets: Secrets::new(sources, variables), ..self }
    }

    /// The same with a private Postgres, in which secrets can be databases ([`SecretSource::private_database`]).
    #[must_use]
    pub fn with_private_postgres(self, url: Option<String>) -> Self {
        Self { private_postgres: url, ..self }
    }

    /// The address of the private Postgres.
    pub(crate) fn private_postgres(&self) -> Option<&str> {
        self.private_postgres.as_deref()
    }

    /// The secrets of the environment.
    pub(crate) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Pins every secret that a request names to the version that it has now. Before the
    /// request is stored; a request without secrets stays as it is.
    pub async fn pin_secrets(&self, request: &mut crate::operator::Request) -> Result<(), Failure> {
        self.secrets.pin(self, request).await
    }

    /// The value that a secret has now, for what is no task. It is masked like all others from then on.
    pub async fn secret(&self, name: &str) -> Result<Arc<str>, Failure> {
        self.secrets.value(self, &Mark::of(name)).await
    }

    /// The region that a connection's calls go to.
    pub async fn region_of(&self, connection: &str) -> Result<String, Failure> {
        let sdk = self.connection(connection)?.base(connection).await?;
        Ok(sdk.region().map_or(SANDBOX_REGION, Region::as_ref).to_owned())
    }

    /// The account number behind a connection, asked of STS.
    pub async fn account(&self, connection: &str) -> Result<String, Failure> {
        let account = self.caller(connection).await?.account;
        account.ok_or_else(|| Failure::new(ErrorClass::System, "sts named no account"))
    }

    /// The ARN of the identity that a connection's calls are made as, asked of STS.
    pub async fn identity(&self, connection: &str) -> Result<String, Failure> {
        let arn = self.caller(connection).await?.arn;
        arn.ok_or_else(|| Failure::new(ErrorClass::System, "sts named no identity"))
    }

    async fn caller(
        &self,
        connection: &str,
    ) -> Result<aws_sdk_sts::operation::get_caller_identity::GetCallerIdentityOutput, Failure> {
        let sts = self.sts(connection).await?;
        let answer = sts.get_caller_identity().send().await;
        answer.map_err(|error| crate::aws::error::Trouble::of(&error).into_failure())
    }

    /// Whether a connection names an endpoint of its own, as one of a sandbox does.
    pub fn has_endpoint(&self, connection: &str) -> bool {
        self.connections.get(connection).is_some_and(|connection| connection.endpoint().is_some())
    }

    /// The standard variables by which a program started by us reaches the same place: the
    /// region, the profile, the endpoint. Credentials only for a sandbox on this machine.
    pub fn environment(&self, connection: &str) -> IndexMap<String, String> {
        let mut variables = IndexMap::new();
        let Some(found) = self.connections.get(connection) else { return variables };
        let AwsConnection { region, profile, endpoint, .. } = &found.config;
        let mut set = |name: &str, value: &str| variables.insert(name.to_owned(), value.to_owned());
        let local = endpoint.as_deref().is_some_and(is_loopback);
        if let Some(region) = region.as_deref().or(local.then_some(SANDBOX_REGION)) {
            set("AWS_REGION", region);
            set("AWS_DEFAULT_REGION", region);
        }
        if let Some(profile) = profile {
            set("AWS_PROFILE", profile);
        }
        if let Some(endpoint) = endpoint {
            set("AWS_ENDPOINT_URL", endpoint);
        }
        if let Some(key) = found.sandbox_key() {
            set("AWS_ACCESS_KEY_ID", key);
            set("AWS_SECRET_ACCESS_KEY", SANDBOX_SECRET);
        }
        variables
    }

    /// Glue through a connection.
    pub async fn glue(&self, connection: &str, purpose: Purpose) -> Result<&aws_sdk_glue::Client, Failure> {
        let found = self.connection(connection)?;
        let make = |sdk: &SdkConfig| aws_sdk_glue::Client::new(sdk);
        found.glue.cell(purpose).get_or_try_init(|| found.client(connection, purpose, make)).await
    }

    /// Athena through a connection.
    pub async fn athena(
        &self,
        connection: &str,
        purpose: Purpose,
    ) -> Result<&aws_sdk_athena::Client, Failure> {
        let found = self.connection(connection)?;
        let make = |sdk: &SdkConfig| aws_sdk_athena::Client::new(sdk);
        found.athena.cell(purpose).get_or_try_init(|| found.client(connection, purpose, make)).await
    }

    /// Step Functions through a connection.
    pub async fn step_functions(
        &self,
        connection: &str,
        purpose: Purpose,
    ) -> Result<&aws_sdk_sfn::Client, Failure> {
        let found = self.connection(connection)?;
        let make = |sdk: &SdkConfig| aws_sdk_sfn::Client::new(sdk);
        found.step_functions.cell(purpose).get_or_try_init(|| found.client(connection, purpose, make)).await
    }

    /// The Redshift Data API through a connection.
    pub async fn redshift_data(
        &self,
        connection: &str,
        purpose: Purpose,
    ) -> Result<&aws_sdk_redshiftdata::Client, Failure> {
        let found = self.connection(connection)?;
        let make = |sdk: &SdkConfig| aws_sdk_redshiftdata::Client::new(sdk);
        found.redshift_data.cell(purpose).get_or_try_init(|| found.client(connection, purpose, make)).await
    }

    /// ECS through a connection.
    pub async fn ecs(&self, connection: &str, purpose: Purpose) -> Result<&aws_sdk_ecs::Client, Failure> {
        let found = self.connection(connection)?;
        let make = |sdk: &SdkConfig| aws_sdk_ecs::Client::new(sdk);
        found.ecs.cell(purpose).get_or_try_init(|| found.client(connection, purpose, make)).await
    }

    /// Batch through a connection.
    pub async fn batch(&self, connection: &str, purpose: Purpose) -> Result<&aws_sdk_batch::Client, Failure> {
        let found = self.connection(connection)?;
        let make = |sdk: &SdkConfig| aws_sdk_batch::Client::new(sdk);
        found.batch.cell(purpose).get_or_try_init(|| found.client(connection, purpose, make)).await
    }

    /// EMR Serverless through a connection.
    pub async fn emr_serverless(
        &self,
        connection: &str,
        purpose: Purpose,
    ) -> Result<&aws_sdk_emrserverless::Client, Failure> {
        let found = self.connection(connection)?;
        let make = |sdk: &SdkConfig| aws_sdk_emrserverless::Client::new(sdk);
        found.emr_serverless.cell(purpose).get_or_try_init(|| found.client(connection, purpose, make)).await
    }

    /// SNS through a connection. Publishing is a start: the SDK repeats nothing.
    pub async fn sns(&self, connection: &str) -> Result<&aws_sdk_sns::Client, Failure> {
        let found = self.connection(connection)?;
        let make = |sdk: &SdkConfig| aws_sdk_sns::Client::new(sdk);
        found.sns.get_or_try_init(|| found.client(connection, Purpose::Start, make)).await
    }

    /// Lambda through a connection. Invoking is a start: the SDK repeats nothing.
    pub async fn lambda(&self, connection: &str) -> Result<&aws_sdk_lambda::Client, Failure> {
        let found = self.connection(connection)?;
        let make = |sdk: &SdkConfig| aws_sdk_lambda::Client::new(sdk);
        found.lambda.get_or_try_init(|| found.client(connection, Purpose::Start, make)).await
    }

    /// SQS through a connection.
    pub async fn sqs(&self, connection: &str, purpose: Purpose) -> Result<&aws_sdk_sqs::Client, Failure> {
        let found = self.connection(connection)?;
        let make = |sdk: &SdkConfig| aws_sdk_sqs::Client::new(sdk);
        found.sqs.cell(purpose).get_or_try_init(|| found.client(connection, purpose, make)).await
    }

    /// EventBridge through a connection. Putting events is a start: the SDK repeats nothing.
    pub async fn events(&self, connection: &str) -> Result<&aws_sdk_eventbridge::Client, Failure> {
        let found = self.connection(connection)?;
        let make = |sdk: &SdkConfig| aws_sdk_eventbridge::Client::new(sdk);
        found.events.get_or_try_init(|| found.client(connection, Purpose::Start, make)).await
    }

    /// S3 through a connection, for what may be repeated: reading, and writes that change
    /// nothing when they are made again.
    pub async fn s3(&self, connection: &str) -> Result<&aws_sdk_s3::Client, Failure> {
        let found = self.connection(connection)?;
        let make = |sdk: &SdkConfig| {
            let path_style = sdk.endpoint_url().is_some();
            let config = aws_sdk_s3::config::Builder::from(sdk).force_path_style(path_style).build();
            aws_sdk_s3::Client::from_conf(config)
        };
        found.s3.get_or_try_init(|| found.client(connection, Purpose::Read, make)).await
    }

    /// When the credentials of a connection end, if they say so: sessions do, keys do not.
    pub(crate) async fn credentials_end(&self, connection: &str) -> Result<Option<SystemTime>, Failure> {
        let base = self.connection(connection)?.base(connection).await?;
        let Some(provider) = base.credentials_provider() else { return Ok(None) };
        let credentials = provider.provide_credentials().await.map_err(|error| {
            let message = format!("connection `{connection}` has no credentials: {}", causes(&error));
            Failure::new(ErrorClass::System, message)
        })?;
        Ok(credentials.expiry())
    }

    async fn sts(&self, connection: &str) -> Result<&aws_sdk_sts::Client, Failure> {
        let found = self.connection(connection)?;
        let make = |sdk: &SdkConfig| aws_sdk_sts::Client::new(sdk);
        found.sts.get_or_try_init(|| found.client(connection, Purpose::Read, make)).await
    }

    fn connection(&self, name: &str) -> Result<&Connection, Failure> {
        self.connections.get(name).ok_or_else(|| {
            let known = self.connections.keys().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
            let known = if known.is_empty() { "none".to_owned() } else { known };
            Failure::new(
                ErrorClass::Config,
                format!(
                    "no connection `{name}` that this pipeline may use (there is {known}): add it to trunkline.yaml, or \
                     the pipeline's folder to its `folders`"
                ),
            )
        })
    }
}

impl<T> PerPurpose<T> {
    const fn new() -> Self {
        Self { start: OnceCell::const_new(), read: OnceCell::const_new() }
    }

    fn cell(&self, purpose: Purpose) -> &OnceCell<T> {
        match purpose {
            Purpose::Start => &self.start,
            Purpose::Read => &self.read,
        }
    }
}

impl Connection {
    fn new(config: AwsConnection) -> Self {
        Self {
            config,
            base: OnceCell::new(),
            kept: OnceCell::new(),
            connector: OnceCell::new(),
            glue: PerPurpose::new(),
            athena: PerPurpose::new(),
            step_functions: PerPurpose::new(),
            ecs: PerPurpose::new(),
            batch: PerPurpose::new(),
            emr_serverless: PerPurpose::new(),
            lambda: OnceCell::new(),
            sqs: PerPurpose::new(),
            events: OnceCell::new(),
            redshift_data: PerPurpose::new(),
            sns: OnceCell::new(),
            s3: OnceCell::new(),
            sts: OnceCell::new(),
        }
    }

    fn endpoint(&self) -> Option<&str> {
        let AwsConnection { endpoint, .. } = &self.config;
        endpoint.as_deref()
    }

    /// The access key of a sandbox on this machine; `None` where real credentials are needed.
    fn sandbox_key(&self) -> Option<&str> {
        let AwsConnection { profile, endpoint, access_key, .. } = &self.config;
        let sandbox = endpoint.as_deref().is_some_and(is_loopback) && profile.is_none();
        sandbox.then(|| access_key.as_deref().unwrap_or(SANDBOX_SECRET))
    }

    async fn client<T>(
        &self,
        name: &str,
        purpose: Purpose,
        make: impl FnOnce(&SdkConfig) -> T,
    ) -> Result<T, Failure> {
        let base = self.base(name).await?;
        Ok(make(&for_purpose(base, purpose)))
    }

    /// The SDK's settings of this connection, without patience.
    async fn base(&self, name: &str) -> Result<&SdkConfig, Failure> {
        self.base.get_or_try_init(|| self.resolve(name)).await
    }

    async fn resolve(&self, name: &str) -> Result<SdkConfig, Failure> {
        let AwsConnection { region, profile, role_arn, external_id, endpoint, .. } = &self.config;
        let local = endpoint.as_deref().is_some_and(is_loopback);
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http_client(local));
        if let Some(profile) = profile {
            loader = loader.profile_name(profile);
        }
        if let Some(endpoint) = endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some(region) = region.clone().or_else(|| local.then(|| SANDBOX_REGION.to_owned())) {
            loader = loader.region(Region::new(region));
        }
        if let Some(key) = self.sandbox_key() {
            let credentials = Credentials::new(key, SANDBOX_SECRET, None, None, "sandbox");
            loader = loader.credentials_provider(credentials);
        }
        let sdk = with_region(loader.load().await, name)?;
        let source = match role_arn {
            Some(role) => Some(assume(&sdk, role, external_id.as_deref()).await),
            None => sdk.credentials_provider(),
        };
        let Some(source) = source else { return Ok(sdk) };
        let time = sdk.time_source().unwrap_or_default();
        let kept = self.kept.get_or_init(|| async { Kept::new(source, time) }).await;
        // What is kept is kept here, once for all clients; the SDK keeps nothing beside it.
        Ok(sdk
            .to_builder()
            .http_client(Noticing::new(http_client(local), kept.clone()))
            .credentials_provider(SharedCredentialsProvider::new(kept.clone()))
            .identity_cache(IdentityCache::no_cache())
            .build())
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("config", &self.config).finish_non_exhaustive()
    }
}

/// One pool of connections and one set of trusted roots for all clients of a connection. A
/// proxy is meant for the way out, never for this machine.
fn http_client(local: bool) -> SharedHttpClient {
    HttpBuilder::new().build_with_connector_fn(move |settings, components| {
        let sleep = components.and_then(|components| components.sleep_impl());
        connector(local, settings.cloned(), sleep)
    })
}

fn connector(
    local: bool,
    settings: Option<HttpConnectorSettings>,
    sleep: Option<SharedAsyncSleep>,
) -> Connector {
    let mut connector = ConnectorBuilder::default().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
    connector.set_connector_settings(settings);
    connector.set_sleep_impl(sleep);
    connector.set_proxy_config(Some(if local { ProxyConfig::disabled() } else { ProxyConfig::from_env() }));
    connector.pool_idle_timeout(START_IDLE).build()
}

fn with_region(sdk: SdkConfig, name: &str) -> Result<SdkConfig, Failure> {
    if sdk.region().is_some() {
        return Ok(sdk);
    }
    if sdk.endpoint_url().is_some() {
        return Ok(sdk.into_builder().region(Region::new(SANDBOX_REGION)).build());
    }
    Err(Failure::new(
        ErrorClass::Config,
        format!("connection `{name}` names no region: set `region:` in trunkline.yaml, or AWS_REGION"),
    ))
}

async fn assume(sdk: &SdkConfig, role: &str, external_id: Option<&str>) -> SharedCredentialsProvider {
    let mut builder = AssumeRoleProvider::builder(role).session_name(ROLE_SESSION).configure(sdk);
    if let Some(id) = external_id {
        builder = builder.external_id(id);
    }
    SharedCredentialsProvider::new(builder.build().await)
}

fn for_purpose(base: &SdkConfig, purpose: Purpose) -> SdkConfig {
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT);
    match purpose {
        Purpose::Start => base
            .to_builder()
            .retry_config(RetryConfig::disabled())
            .timeout_config(
                timeouts.operation_attempt_timeout(START_TIMEOUT).operation_timeout(START_TIMEOUT).build(),
            )
            // A start is signed with the time of its intent, which the SDK would take for a
            // clock that is slow and correct.
            .disable_clock_skew_correction(true)
            .build(),
        Purpose::Read => base
            .to_builder()
            .retry_config(RetryConfig::standard().with_max_attempts(READ_ATTEMPTS))
            .timeout_config(timeouts.operation_attempt_timeout(READ_ATTEMPT_TIMEOUT).build())
            .build(),
    }
}

/// Whether an endpoint is on this machine.
pub fn is_loopback(endpoint: &str) -> bool {
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for endpoint in
            ["http://127.0.0.1:4566", "http://localhost", "http://[::1]:80/x", "https://127.0.0.2"]
        {
            assert!(is_loopback(endpoint), "{endpoint}");
        }
        for endpoint in
            ["https://glue.us-east-1.amazonaws.com", "http://127.0.0.1.example.com", "http://10.0.0.1"]
        {
            assert!(!is_loopback(endpoint), "{endpoint}");
        }
    }

    #[tokio::test]
    async fn an_unknown_connection_is_named() {
        let failure = Clients::default().glue("warehouse", Purpose::Read).await.unwrap_err();
        assert_eq!(failure.class, ErrorClass::Config);
        assert!(failure.message.contains("`warehouse`"), "{}", failure.message);
    }
}
