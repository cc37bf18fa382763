//! Secrets from their four places to a call and back, with the HTTP double as the services.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, json};

use super::*;
use crate::{
    aws::double::{Answer, Double, clients_of, service_error},
    operator::{Found, Handle, Intent, Operator, Outcome, PrepareContext, Sent, Status},
    registry::{Options, Registry},
};

fn variables(name: &str) -> Option<String> {
    (name == "TOKEN").then(|| "from-the-environment".to_owned())
}

fn sources(list: &[(&str, Value)]) -> IndexMap<String, SecretSource> {
    list.iter()
        .map(|(name, source)| ((*name).to_owned(), serde_json::from_value(source.clone()).unwrap()))
        .collect()
}

fn clients(endpoint: &str, list: &[(&str, Value)]) -> Clients {
    clients_of(endpoint).with_secrets(sources(list), variables)
}

fn request(body: Value) -> Request {
    Request { token: "t".into(), connection: "aws".into(), body }
}

fn bearer(name: &str) -> Value {
    json!({ "headers": { "authorization": format!("Bearer {}", Mark::of(name)) } })
}

fn current() -> Answer {
    Answer::Json(200, json!({ "SecretString": r#"{"password":"canary-1"}"#, "VersionId": "v-1" }))
}

#[tokio::test]
async fn a_request_is_pinned_stored_and_revealed() {
    let double = Double::start([current()]).await;
    let source = json!({ "secretsmanager": "prod/db", "key": "password" });
    let clients = clients(&double.endpoint, &[("db", source)]);
    let mut request = request(bearer("db"));
    clients.pin_secrets(&mut request).await.unwrap();
    let stored = request.body.to_string();
    assert!(stored.contains("secret(db@v-1)") && !stored.contains("canary"), "{stored}");
    let revealed = clients.secrets().reveal(&clients, &request.body).await.unwrap();
    assert_eq!(revealed["headers"]["authorization"], "Bearer canary-1");
    let asked = double.received();
    assert_eq!(asked.len(), 1, "a version that was read is not read again");
    assert_eq!(
        (asked[0].operation.as_str(), asked[0].json()),
        ("GetSecretValue", json!({ "SecretId": "prod/db" }))
    );
    assert!(asked[0].head.contains("/secretsmanager/aws4_request"), "{}", asked[0].head);
    let echoed = clients.secrets().conceal("he said canary-1").unwrap();
    assert!(echoed.contains("secret(db@v-1)"), "{echoed}");
}

#[tokio::test]
async fn another_process_reads_the_pinned_version() {
    let answer = json!({ "Parameter": { "Value": "canary-2", "Version": 2 } });
    let double = Double::start([Answer::Json(200, answer)]).await;
    let clients = clients(&double.endpoint, &[("token", json!({ "ssm": "/prod/token" }))]);
    let pinned = Mark { name: "token".into(), version: Some("2".into()) };
    let revealed = clients.secrets().reveal(&clients, &json!(pinned.to_string())).await.unwrap();
    assert_eq!(revealed, "canary-2");
    let asked = double.received();
    assert_eq!(asked[0].json(), json!({ "Name": "/prod/token:2", "WithDecryption": true }));
}

#[tokio::test]
async fn variables_and_files_are_read_for_every_call() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, "from-a-file\n").unwrap();
    let list = [("a", json!({ "env": "TOKEN" })), ("b", json!({ "file": path }))];
    let clients = clients("http://127.0.0.1:1", &list);
    let mut request = request(json!([Mark::of("a").to_string(), Mark::of("b").to_string()]));
    let before = request.clone();
    clients.pin_secrets(&mut request).await.unwrap();
    assert_eq!(request, before, "what has no versions cannot be pinned");
    let reveal = || clients.secrets().reveal(&clients, &request.body);
    assert_eq!(reveal().await.unwrap(), json!(["from-the-environment", "from-a-file"]));
    std::fs::write(&path, "rotated-file").unwrap();
    assert_eq!(reveal().await.unwrap()[1], "rotated-file");
}

#[tokio::test]
async fn what_is_wrong_is_said_with_what_to_do() {
    let refusals = [
        service_error(400, "ResourceNotFoundException", "Secrets Manager can't find the specified secret."),
        service_error(
            400,
            "ResourceNotFoundException",
            "Secrets Manager can't find the specified secret value for VersionId: v-9",
        ),
        service_error(
            400,
            "ResourceNotFoundException",
            "Secrets Manager can't find the specified secret value for VersionId: v-1",
        ),
        service_error(
            400,
            "AccessDeniedException",
            "User: arn:aws:iam::1:user/u is not authorized to perform: secretsmanager:GetSecretValue",
        ),
        service_error(400, "ParameterNotFound", "Parameter /prod/token not found."),
        Answer::Json(200, json!({ "SecretString": "canary-plain", "VersionId": "v-1" })),
        Answer::Json(200, json!({ "SecretString": r#"{"user":"canary"}"#, "VersionId": "v-1" })),
        Answer::Json(200, json!({ "SecretBinary": "Y2FuYXJ5", "VersionId": "v-1" })),
    ];
    let double = Double::start(refusals).await;
    let list = [
        ("db", json!({ "secretsmanager": "prod/db" })),
        ("old", json!({ "secretsmanager": "prod/db", "version": "v-9" })),
        ("token", json!({ "ssm": "/prod/token" })),
        ("keyed", json!({ "secretsmanager": "prod/db", "key": "password" })),
        ("unset", json!({ "env": "UNSET" })),
        ("file", json!({ "file": "/nonexistent/key" })),
    ];
    let clients = clients(&double.endpoint, &list);
    let pinned = Mark { name: "db".into(), version: Some("v-1".into()) };
    let mut said = Vec::new();
    let wanted = [
        Mark::of("db"),
        Mark::of("old"),
        pinned,
        Mark::of("db"),
        Mark::of("token"),
        Mark::of("keyed"),
        Mark::of("keyed"),
        Mark::of("db"),
        Mark::of("unset"),
        Mark::of("file"),
        Mark::of("absent"),
    ];
    for mark in wanted {
        let failure = clients.secrets().reveal(&clients, &json!(mark.to_string())).await.unwrap_err();
        assert_eq!(failure.class, ErrorClass::Config, "{failure:?}");
        said.push(failure.message);
    }
    let said = said.join("\n---\n");
    assert!(!said.contains("canary"), "{said}");
    insta::assert_snapshot!(said);
}

#[tokio::test]
async fn ended_credentials_and_throttles_only_delay() {
    let double = Double::start([
        service_error(400, "ExpiredTokenException", "The security token included in the request is expired"),
        service_error(400, "ThrottlingException", "Rate exceeded"),
        current(),
    ])
    .await;
    let clients = clients(&double.endpoint, &[("db", json!({ "secretsmanager": "prod/db" }))]);
    let mut request = request(bearer("db"));
    // The first is asked again at once, with fresh credentials.
    let failure = clients.pin_secrets(&mut request).await.unwrap_err();
    assert_eq!(failure.class, ErrorClass::Throttled);
    assert!(failure.only_delays(), "{failure:?}");
    assert_eq!(double.received().len(), 2);
    clients.pin_secrets(&mut request).await.unwrap();
}

/// The most careless operator: everything that it is given goes into what it answers.
struct Careless;

#[derive(serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
struct Anything {}

impl Operator for Careless {
    const TYPE: &'static str = "careless";
    const EXAMPLE: &'static str = "type: careless";
    const SECRETS: &'static [&'static str] = &["headers"];
    const GUARANTEE: &'static str = "None.";
    type Config = Anything;

    fn default_timeout(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn prepare(&self, _: &Anything, _: &PrepareContext<'_>) -> Result<Request, Failure> {
        Ok(request(json!({})))
    }

    async fn send(&self, _: &Clients, intent: &Intent<'_>) -> Sent {
        let detail = intent.request.body.clone();
        Sent::Accepted(Handle { connection: "aws".into(), id: detail.to_string(), detail })
    }

    async fn find(&self, _: &Clients, intent: &Intent<'_>) -> Found {
        Found::Lost(Failure::new(ErrorClass::Lost, intent.request.body.to_string()))
    }

    async fn poll(&self, _: &Clients, handles: &[Handle]) -> Vec<Status> {
        let outputs = |handle: &Handle| {
            let (detail, said) = (handle.detail.clone(), handle.detail.to_string());
            let inner = Value::Object(Map::from_iter([(said.clone(), Value::Null)]));
            Map::from_iter([("echo".to_owned(), detail), ("inner".to_owned(), inner), (said, Value::Null)])
        };
        let ended = |handle| Outcome {
            outputs: outputs(handle),
            warnings: vec![handle.detail.to_string()],
            ..Outcome::default()
        };
        handles.iter().map(|handle| Status::Succeeded(ended(handle))).collect()
    }

    async fn cancel(&self, _: &Clients, handle: &Handle) -> Result<(), Failure> {
        Err(Failure::new(ErrorClass::System, handle.detail.to_string()).with_code(handle.detail.to_string()))
    }
}

#[tokio::test]
async fn nothing_that_an_operator_answers_holds_a_secret() {
    let double = Double::start([current(), current()]).await;
    let list = [("db", json!({ "secretsmanager": "prod/db", "key": "password" }))];
    let clients = clients(&double.endpoint, &list);
    let mut registry = Registry::standard(&Options::for_looking());
    registry.insert(Careless);
    let operator = registry.get("careless").unwrap();
    let mut request = request(bearer("db"));
    clients.pin_secrets(&mut request).await.unwrap();
    let null = Value::Null;
    let at = Timestamp::UNIX_EPOCH;
    let intent = Intent { request: &request, baseline: &null, intent_at: at, now: at };
    let Sent::Accepted(handle) = operator.send(&clients, &intent).await else { panic!() };
    // The handle is stored, and polled with the value in it again, here and in another process.
    assert_eq!(handle.detail, request.body);
    let other = clients_of(&double.endpoint).with_secrets(sources(&list), variables);
    for clients in [&clients, &other] {
        let statuses = operator.poll(clients, &[handle.clone(), handle.clone()]).await;
        assert_eq!(statuses.len(), 2);
        for status in statuses {
            let Status::Succeeded(outcome) = status else { panic!("{status:?}") };
            assert_eq!(outcome.outputs["echo"], request.body, "revealed, and concealed again");
            assert!(!format!("{outcome:?}").contains("canary"));
        }
        let refused = operator.cancel(clients, &handle).await.unwrap_err();
        assert!(!format!("{refused:?}").contains("canary") && refused.message.contains("secret(db@v-1)"));
        let found = operator.find(clients, &intent).await;
        assert!(!format!("{found:?}").contains("canary"), "{found:?}");
    }
    assert_eq!(double.received()[1].json()["VersionId"], "v-1");
}

#[tokio::test]
async fn a_start_whose_secret_cannot_be_read_is_not_sent() {
    let refusals = [
        service_error(400, "ThrottlingException", "Rate exceeded"),
        service_error(400, "AccessDeniedException", "no"),
    ];
    let double = Double::start(refusals).await;
    let clients = clients(&double.endpoint, &[("db", json!({ "secretsmanager": "prod/db" }))]);
    let mut registry = Registry::standard(&Options::for_looking());
    registry.insert(Careless);
    let operator = registry.get("careless").unwrap();
    let request = request(json!(Mark { name: "db".into(), version: Some("v".into()) }.to_string()));
    let (null, at) = (Value::Null, Timestamp::UNIX_EPOCH);
    let intent = Intent { request: &request, baseline: &null, intent_at: at, now: at };
    assert!(matches!(operator.send(&clients, &intent).await, Sent::Throttled(_)));
    assert!(matches!(operator.send(&clients, &intent).await, Sent::Refused(_)));
}
