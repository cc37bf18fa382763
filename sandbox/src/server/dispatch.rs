//! One request: whose it is, what it calls, what the fault script makes of it.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use jiff::Timestamp;
use s3s::Body;

use crate::faults::Plan;
use crate::iam::Iam;
use crate::parameters::Parameters;
use crate::s3::{Front, operation_name};
use crate::secrets::Secrets;
use crate::server::accounts::Accounts;
use crate::sns::Sns;
use crate::states::States;
use crate::sts::{Caller, CredentialTrouble, Sts};
use crate::wire::query::Form;
use crate::wire::signature::{self, Signature};
use crate::wire::{ApiError, CallContext, json, query, rest};
use crate::world::{REGION, World};
use crate::{
    SandboxError, admin, athena::Athena, batch::Batch, ecs::Ecs, emr::Emr, events::Events, glue::Glue,
    lambda, lambda::Lambda, logs, redshift::Redshift, sqs::Sqs, states,
};

/// All services of one account.
pub(crate) struct Services {
    world: Arc<World>,
    s3: Front,
    /// Glue, also for provisioning.
    pub glue: Arc<Glue>,
    /// Athena, also for provisioning.
    pub athena: Arc<Athena>,
    /// ECS, also for provisioning.
    pub ecs: Arc<Ecs>,
    /// Batch, also for provisioning.
    pub batch: Arc<Batch>,
    /// EMR Serverless, also for provisioning.
    pub emr: Arc<Emr>,
    /// Lambda, also for provisioning.
    pub lambda: Arc<Lambda>,
    /// The Redshift Data API, also for provisioning.
    pub redshift: Arc<Redshift>,
    /// SNS, also for provisioning.
    pub sns: Arc<Sns>,
    /// Step Functions, also for provisioning.
    pub states: Arc<States>,
    /// SQS, also for provisioning.
    pub sqs: Arc<Sqs>,
    /// EventBridge, also for provisioning.
    pub events: Events,
    /// IAM, also for provisioning.
    pub iam: Iam,
    /// Secrets Manager, also for provisioning.
    pub secrets: Secrets,
    /// Parameters of Systems Manager, also for provisioning.
    pub parameters: Parameters,
    /// Sessions and roles of all accounts.
    pub sts: Arc<Sts>,
    /// Held by the one provisioning at a time.
    pub provisioning: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Services {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Services").field("endpoint", &self.world.endpoint()).finish_non_exhaustive()
    }
}

impl Services {
    /// Reads what each service left at its last end, and continues what was running.
    pub(super) async fn open(world: Arc<World>, sts: Arc<Sts>) -> Result<Self, SandboxError> {
        let glue = Glue::open(Arc::clone(&world))?;
        let athena = Athena::open(Arc::clone(&world), Arc::clone(&glue)).await?;
        let sqs = Arc::new(Sqs::open(Arc::clone(&world))?);
        world.s3.notifications().listen(&world.account, Arc::downgrade(&sqs));
        let sns = Arc::new(Sns::open(Arc::clone(&world), Arc::clone(&sqs))?);
        let called =
            states::Called { glue: Arc::clone(&glue), athena: Arc::clone(&athena), sns: Arc::clone(&sns) };
        let states = States::open(Arc::clone(&world), called)?;
        Ok(Self {
            s3: Front::new(Arc::clone(&world)),
            sns,
            states,
            ecs: Ecs::open(Arc::clone(&world))?,
            batch: Batch::open(Arc::clone(&world))?,
            emr: Emr::open(Arc::clone(&world))?,
            lambda: Lambda::open(Arc::clone(&world))?,
            events: Events::open(Arc::clone(&world))?,
            sqs,
            iam: Iam::open(&world)?,
            secrets: Secrets::open(Arc::clone(&world))?,
            parameters: Parameters::open(Arc::clone(&world))?,
            sts,
            redshift: Redshift::open(Arc::clone(&world))?,
            provisioning: tokio::sync::Mutex::new(()),
            glue,
            athena,
            world,
        })
    }

    /// Ends what runs in the background.
    pub(super) async fn shutdown(&self) {
        // Before the services that it calls.
        self.states.shutdown().await;
        self.glue.shutdown().await;
        self.athena.shutdown().await;
        self.lambda.shutdown().await;
        self.ecs.shutdown().await;
        self.batch.shutdown().await;
        self.emr.shutdown().await;
        self.redshift.shutdown().await;
    }

    /// What the services share.
    pub(crate) fn world(&self) -> &World {
        &self.world
    }
}

/// What a request turned out to be.
enum Call {
    Json { service: &'static str, operation: String },
    Query,
    Lambda,
    Batch,
    Emr,
    S3 { operation: &'static str },
    Admin,
}

/// The protocol in which a refusal must be worded.
#[derive(Clone, Copy)]
enum Protocol {
    Json,
    Query,
    Rest,
    S3,
}

/// Answers one request. An error closes the connection without an answer.
pub(super) async fn answer(
    accounts: Arc<Accounts>,
    request: Request<Incoming>,
) -> Result<Response<Body>, io::Error> {
    let world = accounts.first().world();
    let now = world.clock.now();
    let query = Form::parse(request.uri().query().unwrap_or_default());
    let signature = signature::read(request.headers(), &query);
    let request_id = world.new_uuid().to_string();
    let call = identify(&request, &query, signature.as_ref());
    if matches!(call, Call::Admin) {
        return Ok(admin::answer(&accounts, request, now).await);
    }
    let caller = accounts.caller(signature.as_ref().map(|signature| signature.caller.as_str()));
    let services = accounts.of(&caller.account).await.map_err(io::Error::other)?;
    let sender = Sender { signature, caller, request_id, now };
    match call {
        Call::Json { service, operation } => {
            json_call(&services, &sender, service, &operation, request).await
        }
        Call::Query => query_call(&services, &sender, request).await,
        Call::Lambda => lambda_call(&services, &sender, request, &query).await,
        Call::Batch => {
            let cx = sender.context("batch", Batch::route(request.method(), request.uri().path()));
            rest_call(&services.world, &sender, &cx, request, |body| services.batch.call(&cx, body)).await
        }
        Call::Emr => {
            let route = Emr::route(request.method(), request.uri().path());
            let cx = sender.context("emr-serverless", route.operation);
            let act = |body| services.emr.call(&cx, &route, &query, body);
            rest_call(&services.world, &sender, &cx, request, act).await
        }
        Call::Admin | Call::S3 { .. } => {
            let operation = if let Call::S3 { operation } = call { operation } else { "Unknown" };
            let cx = sender.context("s3", operation);
            let (front, now) = (&services.s3, sender.now);
            let signature = sender.signature.as_ref();
            let request = request.map(Body::from);
            around(&services.world, &cx, &sender.caller, Protocol::S3, async {
                front.answer(request, signature, &query, &cx.request_id, now).await.map_err(|error| {
                    io::Error::other(Box::<dyn std::error::Error + Send + Sync>::from(error))
                })
            })
            .await
        }
    }
}

fn identify(request: &Request<Incoming>, query: &Form, signature: Option<&Signature>) -> Call {
    let headers = request.headers();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let path = request.uri().path();
    // No bucket can have this name.
    if path.starts_with("/_sandbox") {
        return Call::Admin;
    }
    if let Some((service, operation)) = json::parse_target(text("x-amz-target")) {
        return Call::Json { service, operation: operation.to_owned() };
    }
    // A bucket may have any of the paths' first parts for its name, so the signature decides.
    match signature.map(|signature| signature.service.as_str()) {
        Some("lambda") => return Call::Lambda,
        Some("batch") => return Call::Batch,
        Some("emr-serverless") => return Call::Emr,
        _ => {}
    }
    let is_form = text("content-type").starts_with("application/x-www-form-urlencoded");
    let for_s3 = signature.is_some_and(|signature| signature.service == "s3");
    if request.method() == Method::POST && path == "/" && is_form && !for_s3 {
        return Call::Query;
    }
    let in_host = Front::bucket_of_host(text("host")).is_some();
    let below_bucket = path.trim_start_matches('/').split_once('/').is_some_and(|(_, key)| !key.is_empty());
    let has_key = if in_host { path.len() > 1 } else { below_bucket };
    let lists_buckets = !in_host && path == "/" && request.method() == Method::GET;
    let operation =
        if lists_buckets { "ListBuckets" } else { operation_name(request.method(), has_key, query, headers) };
    Call::S3 { operation }
}

/// Who sent a request, and when it came.
struct Sender {
    signature: Option<Signature>,
    caller: Caller,
    request_id: String,
    now: Timestamp,
}

impl Sender {
    fn context(&self, service: &str, operation: &str) -> CallContext {
        let signature = self.signature.as_ref();
        CallContext {
            service: service.to_owned(),
            operation: operation.to_owned(),
            request_id: self.request_id.clone(),
            caller: signature.map_or_else(|| "anonymous".to_owned(), |it| it.caller.clone()),
            signed_at: signature.and_then(|signature| signature.signed_at),
            region: signature.map_or_else(|| REGION.to_owned(), |signature| signature.region.clone()),
            account: Arc::clone(&self.caller.account),
            session: self.caller.session.as_ref().map(|session| session.arn.clone()),
            now: self.now,
        }
    }
}

async fn json_call(
    services: &Services,
    sender: &Sender,
    service: &str,
    operation: &str,
    request: Request<Incoming>,
) -> Result<Response<Body>, io::Error> {
    let cx = sender.context(service, operation);
    let body = read(request, json::BODY_MAX).await;
    around(&services.world, &cx, &sender.caller, Protocol::Json, async {
        let result = match body.and_then(|body| json::parse_body(&body)) {
            Ok(body) => match cx.service.as_str() {
                "glue" => services.glue.call(&cx, &cx.operation, body),
                "states" => services.states.call(&cx, body),
                "redshift-data" => services.redshift.call(&cx, body).await,
                "sqs" => services.sqs.call(&cx, &body).await,
                "events" => services.events.call(&cx, &body),
                "ecs" => services.ecs.call(&cx, body),
                "logs" => logs::call(&services.world, &cx, body),
                "secretsmanager" => services.secrets.call(&cx, &body),
                "ssm" => services.parameters.call(&cx, &body),
                _ => services.athena.call(&cx, &cx.operation, body).await,
            },
            Err(error) => Err(error),
        };
        Ok(json::answer(&result, &cx.service, &cx.request_id))
    })
    .await
}

async fn lambda_call(
    services: &Services,
    sender: &Sender,
    request: Request<Incoming>,
    query: &Form,
) -> Result<Response<Body>, io::Error> {
    let route = Lambda::route(request.method(), request.uri().path());
    let headers = lambda::Headers::read(request.headers(), query);
    let cx = sender.context("lambda", route.operation);
    let body = read(request, lambda::BODY_MAX).await;
    around(&services.world, &cx, &sender.caller, Protocol::Rest, async {
        let result = match body {
            Ok(body) => services.lambda.call(&cx, &route, &headers, &body).await,
            Err(error) => Err(error),
        };
        Ok(rest::answer(result, &cx.request_id))
    })
    .await
}

/// A call whose path and method name the operation, and whose body is JSON both ways.
async fn rest_call(
    world: &World,
    sender: &Sender,
    cx: &CallContext,
    request: Request<Incoming>,
    act: impl FnOnce(serde_json::Value) -> Result<serde_json::Value, ApiError>,
) -> Result<Response<Body>, io::Error> {
    let body = read(request, json::BODY_MAX).await;
    around(world, cx, &sender.caller, Protocol::Rest, async {
        let result = body.and_then(|body| json::parse_body(&body)).and_then(act);
        Ok(rest::answer(result.map(|value| rest::Answer::json(200, &value)), &cx.request_id))
    })
    .await
}

async fn query_call(
    services: &Services,
    sender: &Sender,
    request: Request<Incoming>,
) -> Result<Response<Body>, io::Error> {
    let form = match read(request, query::BODY_MAX).await {
        Ok(body) => Form::parse(&String::from_utf8_lossy(&body)),
        Err(error) => {
            let cx = sender.context("sns", "Unknown");
            return Ok(query::answer(Err(error), &cx));
        }
    };
    let operation = form.get("Action").unwrap_or("Unknown").to_owned();
    let service = match sender.signature.as_ref().map(|signature| signature.service.as_str()) {
        Some(service @ ("sts" | "iam")) => service,
        // Web identity and SAML logins are not signed.
        None if form.get("Version") == Some("2011-06-15") => "sts",
        _ => "sns",
    };
    let cx = sender.context(service, &operation);
    around(&services.world, &cx, &sender.caller, Protocol::Query, async {
        let result = match service {
            "sts" => services.sts.call(&cx, &form),
            "iam" => services.iam.call(&cx, &form),
            _ => services.sns.call(&cx, &form),
        };
        Ok(query::answer(result, &cx))
    })
    .await
}

/// Counts the call, applies the fault script and the age limit of signatures, and runs the service.
async fn around(
    world: &World,
    cx: &CallContext,
    caller: &Caller,
    protocol: Protocol,
    service: impl Future<Output = Result<Response<Body>, io::Error>>,
) -> Result<Response<Body>, io::Error> {
    world.ledger.count(&cx.service, &cx.operation);
    let plan = world.faults.plan(&cx.service, &cx.operation, cx.now);
    if !plan.delay_before.is_zero() {
        world.pause(plan.delay_before).await;
    }
    if let Some(refusal) = refused(world, cx, caller, protocol, &plan) {
        return Ok(worded(protocol, cx, refusal));
    }
    let answered = service.await;
    if !plan.delay_after.is_zero() {
        world.pause(plan.delay_after).await;
    }
    if plan.drop_answer {
        return Err(io::Error::other("the fault script drops this answer"));
    }
    match plan.replace_answer {
        Some(error) => Ok(worded(protocol, cx, error)),
        None => answered,
    }
}

fn refused(
    world: &World,
    cx: &CallContext,
    caller: &Caller,
    protocol: Protocol,
    plan: &Plan,
) -> Option<ApiError> {
    if let Some(refusal) = &plan.refuse {
        return Some(refusal.clone());
    }
    if let Some(trouble) = caller.trouble(world.clock.now(), plan.session_age_max) {
        return Some(expired(protocol, trouble));
    }
    let age_max = plan.signature_age_max.unwrap_or(world.settings.signature_age_max);
    let (status, code) = match protocol {
        Protocol::Json => (400, "InvalidSignatureException"),
        Protocol::Rest => (403, "InvalidSignatureException"),
        Protocol::Query => (403, "SignatureDoesNotMatch"),
        // S3 starts nothing, and presigned requests are older by nature.
        Protocol::S3 => return None,
    };
    // The delay before counts: the request reaches the service only now.
    let now = world.clock.now();
    signature::check_age(cx.signed_at?, now, age_max, code, status).err()
}

/// What each protocol calls credentials that have ended, and such as never were.
fn expired(protocol: Protocol, trouble: CredentialTrouble) -> ApiError {
    let text = "The security token included in the request is";
    match (trouble, protocol) {
        (CredentialTrouble::Ended, Protocol::Json) => {
            ApiError::new(400, "ExpiredTokenException", format!("{text} expired"))
        }
        (CredentialTrouble::Ended, Protocol::Rest) => {
            ApiError::new(403, "ExpiredTokenException", format!("{text} expired"))
        }
        (CredentialTrouble::Ended, Protocol::Query) => {
            ApiError::new(403, "ExpiredToken", format!("{text} expired"))
        }
        (CredentialTrouble::Ended, Protocol::S3) => {
            ApiError::new(400, "ExpiredToken", "The provided token has expired.")
        }
        (CredentialTrouble::Unknown, Protocol::Json | Protocol::Rest) => {
            ApiError::new(400, "UnrecognizedClientException", format!("{text} invalid."))
        }
        (CredentialTrouble::Unknown, Protocol::Query) => {
            ApiError::new(403, "InvalidClientTokenId", format!("{text} invalid."))
        }
        (CredentialTrouble::Unknown, Protocol::S3) => ApiError::new(
            403,
            "InvalidAccessKeyId",
            "The AWS Access Key Id you provided does not exist in our records.",
        ),
    }
}

fn worded(protocol: Protocol, cx: &CallContext, error: ApiError) -> Response<Body> {
    match protocol {
        Protocol::Json => json::answer(&Err(error), &cx.service, &cx.request_id),
        Protocol::Rest => rest::answer(Err(error), &cx.request_id),
        Protocol::Query => query::answer(Err(error), cx),
        Protocol::S3 => {
            let mut response = Front::refusal(&error);
            if let Ok(id) = HeaderValue::from_str(&cx.request_id) {
                response.headers_mut().insert("x-amz-request-id", id);
            }
            response
        }
    }
}

/// Reads a whole body of limited size.
pub(crate) async fn read(request: Request<Incoming>, limit: usize) -> Result<Bytes, ApiError> {
    match Limited::new(request.into_body(), limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(ApiError::new(413, "RequestEntityTooLarge", format!("the body is larger than {limit} bytes")))
        }
        Err(error) => Err(ApiError::new(400, "IncompleteBody", error.to_string())),
    }
}
