//! Every operator of the registry on the sandbox: each step twice, a failure at each step, a zombie
//! at each step. An operator without a case fails the first test: add a line to [`cases`].

#![cfg(feature = "sandbox")]

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use indexmap::IndexMap;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use trunkline::clock::{Clock as _, SharedClock, SystemClock, for_operators};
use trunkline_faults::sandbox::{Sandbox, Start};
use trunkline_tasks::{
    AwsConnection, Clients, ErasedOperator, Registry,
    operator::{Found, Handle, Intent, PrepareContext, Request, Sent, Status},
    registry::{Options, QUARANTINE},
};
use uuid::Uuid;

/// How a start of this type is made safe.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Law {
    /// The service answers the same request with the same job.
    Token,
    /// The job, or the history of jobs, shows whose it is; a late send is refused.
    Mark,
    /// A second call does no harm.
    Repeatable,
    /// Nobody can tell: an interrupted call is never repeated.
    Unknowable,
    /// Nothing is started outside.
    Local,
}

struct Case {
    operator: &'static str,
    settings: Value,
    /// The service and the operation of its start.
    start: (&'static str, &'static str),
    law: Law,
}

/// Operators whose other side is no service of the sandbox. `http`, `sql` and `data_check` are put through the same
/// steps against a server of their own in `tasks/src/*/tests.rs`, `tests/python/test_http.py` and `test_sql.py`,
/// `extract` and `load` in `test_extract_and_load.py`; the others ask the store or a person, and are tried with a
/// whole engine in `tests/python/test_run_pipeline.py` and `test_approval.py`.
const TRIED_ELSEWHERE: [&str; 8] =
    ["approval", "data_check", "extract", "http", "load", "pipeline_wait", "run_pipeline", "sql"];

/// The id that the sandbox gives to an application named `spark`.
const SPARK: &str = "0092f473809e5979";

/// Programs that run in containers or on Spark.
fn compute_cases() -> Vec<Case> {
    let case = |operator, settings, start, law| Case { operator, settings, start, law };
    vec![
        case(
            "ecs_task",
            json!({ "cluster": "harness", "task_definition": "export", "container": "main" }),
            ("ecs", "RunTask"),
            Law::Token,
        ),
        case(
            "batch_job",
            json!({ "queue": "harness", "job_definition": "rows" }),
            ("batch", "SubmitJob"),
            Law::Mark,
        ),
        case(
            "emr_serverless_job",
            json!({
                "application": SPARK,
                "execution_role": "arn:aws:iam::000000000000:role/spark",
                "entry_point": "s3://harness/job.py",
            }),
            ("emr-serverless", "StartJobRun"),
            Law::Token,
        ),
    ]
}

/// The program is a file of CSV with nothing but its line of names.
fn copied() -> Value {
    json!({
        "workgroup": "reports",
        "database": "dev",
        "role": "arn:aws:iam::000000000000:role/copy",
        "manifests": "s3://harness/lists/",
        "tables": [{
            "table": "harness",
            "from": ["s3://harness/job.py"],
            "format": "csv",
            "columns": ["id"],
            "mode": "upsert",
            "key": ["id"],
        }],
    })
}

/// Settings of `transform`.
fn counted(from: &str) -> Value {
    json!({
        "inputs": { "t": { "from": from, "format": "csv", "columns": { "x": "string" } } },
        "outputs": { "t": { "query": "SELECT count(*) AS n FROM t", "to": "s3://harness/transformed/" } },
    })
}

/// In this order: the objects that one leaves behind are the next one's, as is the table of `redshift_sql`.
fn cases() -> Vec<Case> {
    let case = |operator, settings, start, law| Case { operator, settings, start, law };
    let results = "s3://harness/results/";
    let mut cases = vec![
        case("noop", json!({}), ("", ""), Law::Local),
        case("sleep", json!({ "for": "1s" }), ("", ""), Law::Local),
        case("command", json!({ "command": ["true"] }), ("", ""), Law::Local),
        case("glue_job", json!({ "job": "harness" }), ("glue", "StartJobRun"), Law::Mark),
        case("glue_crawler", json!({ "crawler": "harness" }), ("glue", "StartCrawler"), Law::Mark),
        case(
            "athena_query",
            json!({ "query": "SELECT 1 AS one", "output_location": results }),
            ("athena", "StartQueryExecution"),
            Law::Token,
        ),
        case(
            "redshift_sql",
            json!({ "workgroup": "reports", "database": "dev", "sql": "CREATE TABLE IF NOT EXISTS harness (id INT)" }),
            ("redshift-data", "ExecuteStatement"),
            Law::Token,
        ),
        case("redshift_copy", copied(), ("redshift-data", "BatchExecuteStatement"), Law::Token),
        case(
            "step_function",
            json!({ "state_machine": "quality", "input": {} }),
            ("states", "StartExecution"),
            Law::Token,
        ),
        case(
            "lambda_invoke",
            json!({ "function": "report", "payload": {} }),
            ("lambda", "Invoke"),
            Law::Unknowable,
        ),
        case(
            "sqs_send",
            json!({ "queue": "reports", "body": "ready" }),
            ("sqs", "SendMessage"),
            Law::Repeatable,
        ),
        case(
            "eventbridge_put",
            json!({ "bus": "platform", "source": "harness", "detail_type": "ready", "detail": {} }),
            ("events", "PutEvents"),
            Law::Repeatable,
        ),
        case(
            "sns_publish",
            json!({ "topic": "arn:aws:sns:us-east-1:000000000000:notices", "message": "ready" }),
            ("sns", "Publish"),
            Law::Repeatable,
        ),
        case("s3_wait", json!({ "prefix": results }), ("s3", ""), Law::Local),
        case("transform", counted(results), ("s3", ""), Law::Local),
        case("s3_copy", json!({ "prefix": results, "to": "s3://harness/copied/" }), ("s3", ""), Law::Local),
        case(
            "s3_delete",
            json!({ "prefix": "s3://harness/copied/", "max_objects": 100 }),
            ("s3", ""),
            Law::Local,
        ),
    ];
    cases.extend(compute_cases());
    cases
}

const TEMPLATE: &str = r#"
Resources:
  Bucket:
    Type: AWS::S3::Bucket
    Properties: { BucketName: harness }
    Metadata: { Trunkline: { Upload: [job.py] } }
  Role: { Type: AWS::IAM::Role, Properties: { AssumeRolePolicyDocument: { Statement: [] } } }
  Database:
    Type: AWS::Glue::Database
    Properties: { CatalogId: "000000000000", DatabaseInput: { Name: harness } }
  Crawler:
    Type: AWS::Glue::Crawler
    Properties:
      Name: harness
      Role: !GetAtt Role.Arn
      DatabaseName: !Ref Database
      Targets: { S3Targets: [{ Path: "s3://harness/raw/" }] }
  Job:
    Type: AWS::Glue::Job
    Metadata: { Trunkline: { Sandbox: { Script: job.py } } }
    Properties:
      Name: harness
      Role: !GetAtt Role.Arn
      Command: { Name: glueetl, PythonVersion: "3", ScriptLocation: "s3://harness/job.py" }
      GlueVersion: "5.0"
      WorkerType: G.1X
      NumberOfWorkers: 2
      MaxRetries: 0
      ExecutionProperty: { MaxConcurrentRuns: 50 }
  Machine:
    Type: AWS::StepFunctions::StateMachine
    Properties:
      StateMachineName: quality
      RoleArn: !GetAtt Role.Arn
      Definition: { StartAt: Only, States: { Only: { Type: Pass, End: true } } }
  Function:
    Type: AWS::Lambda::Function
    Properties:
      FunctionName: report
      Runtime: python3.12
      Handler: index.handler
      Role: !GetAtt Role.Arn
      Code: { ZipFile: "def handler(event, context): return {'rows': 1}" }
  Cluster: { Type: AWS::ECS::Cluster, Properties: { ClusterName: harness } }
  Export:
    Type: AWS::ECS::TaskDefinition
    Properties:
      Family: export
      ContainerDefinitions: [{ Name: main, Image: "repo/export:1" }]
    Metadata: { Trunkline: { Sandbox: { Script: job.py } } }
  Environment:
    Type: AWS::Batch::ComputeEnvironment
    Properties: { ComputeEnvironmentName: harness, Type: MANAGED }
  Jobs:
    Type: AWS::Batch::JobQueue
    Properties:
      JobQueueName: harness
      Priority: 1
      ComputeEnvironmentOrder: [{ Order: 1, ComputeEnvironment: !Ref Environment }]
  Rows:
    Type: AWS::Batch::JobDefinition
    Properties:
      JobDefinitionName: rows
      Type: container
      ContainerProperties:
        Image: "repo/rows:1"
        Command: ["true"]
        ResourceRequirements: [{ Type: VCPU, Value: "1" }, { Type: MEMORY, Value: "128" }]
  Spark:
    Type: AWS::EMRServerless::Application
    Properties: { Name: spark, ReleaseLabel: emr-7.9.0, Type: SPARK }
  Queue: { Type: AWS::SQS::Queue, Properties: { QueueName: reports } }
  Bus: { Type: AWS::Events::EventBus, Properties: { Name: platform } }
  Topic:
    Type: AWS::SNS::Topic
    Properties: { TopicName: notices, Subscription: [{ Protocol: email, Endpoint: harness@example.com }] }
  Namespace:
    Type: AWS::RedshiftServerless::Namespace
    Properties: { NamespaceName: harness, DbName: dev }
  Workgroup:
    Type: AWS::RedshiftServerless::Workgroup
    Properties: { WorkgroupName: reports, NamespaceName: !Ref Namespace }
"#;

/// Waits are this much shorter than at AWS; ages of signatures and quarantines are as they are.
const TIME_SCALE: f64 = 0.01;
/// Some hundred times what a job takes.
const PATIENCE: Duration = Duration::from_secs(120);
/// Looks after which an unconfirmed start must be settled.
const LOOKS_MAX: usize = 40;

struct Bench {
    registry: Registry,
    clients: Clients,
    sandbox: Sandbox,
    running: trunkline_sandbox::Sandbox,
    _folder: tempfile::TempDir,
    attempts: std::cell::Cell<u128>,
}

/// What became of a start.
#[derive(Debug)]
enum End {
    Job(Handle),
    Done,
    Lost,
}

/// One attempt on its way.
struct Try {
    request: Request,
    baseline: Value,
    intent_at: Timestamp,
}

impl Try {
    fn intent(&self, now: Timestamp) -> Intent<'_> {
        Intent { request: &self.request, baseline: &self.baseline, intent_at: self.intent_at, now }
    }
}

fn now() -> Timestamp {
    SystemClock.now()
}

impl Bench {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("job.py"), "print('worked')\n").unwrap();
        let mut options = trunkline_sandbox::Options::new(folder.path().join("sandbox"));
        options.time_scale = TIME_SCALE;
        let running = trunkline_sandbox::start(options).await.unwrap();
        let endpoint = running.endpoint();
        let sandbox = Sandbox { authority: endpoint.trim_start_matches("http://").to_owned() };
        sandbox.provision(TEMPLATE, folder.path()).await.unwrap();
        let clock: SharedClock = Arc::new(SystemClock);
        let registry = Registry::standard(&Options {
            clock: for_operators(&clock),
            quarantine: QUARANTINE,
            command_folder: folder.path().join("command"),
            scratch_folder: folder.path().join("transform"),
            supervisor: PathBuf::from(env!("CARGO_BIN_EXE_trunkline")),
        });
        let connection = AwsConnection {
            region: Some("us-east-1".to_owned()),
            endpoint: Some(endpoint),
            access_key: Some("harness".to_owned()),
            ..AwsConnection::default()
        };
        let clients = Clients::new(IndexMap::from([("aws".to_owned(), connection)]));
        let attempts = std::cell::Cell::new(0);
        Self { registry, clients, sandbox, running, _folder: folder, attempts }
    }

    fn operator(&self, case: &Case) -> &dyn ErasedOperator {
        self.registry.get(case.operator).expect("the registry has the operator of each case")
    }

    /// Prepares an attempt, each step twice.
    async fn attempt(&self, case: &Case, intent_at: Timestamp) -> Try {
        self.attempts.set(self.attempts.get() + 1);
        let cx = PrepareContext {
            attempt_id: Uuid::from_u128(self.attempts.get()),
            pipeline: "harness",
            run: "harness@1",
            task: "task",
            environment: "local",
            connection: "aws",
            timeout: Duration::from_secs(3600),
            previous: None,
            generation: 1,
        };
        let operator = self.operator(case);
        let request = operator.prepare(&case.settings, &cx).unwrap();
        assert_eq!(request, operator.prepare(&case.settings, &cx).unwrap(), "{}: prepare", case.operator);
        operator.baseline(&self.clients, &request).await.unwrap();
        let baseline = operator.baseline(&self.clients, &request).await.unwrap();
        Try { request, baseline, intent_at }
    }

    async fn send(&self, case: &Case, attempt: &Try) -> Sent {
        self.operator(case).send(&self.clients, &attempt.intent(now())).await
    }

    /// What the engine does after a start without an answer, with a clock that need not wait.
    async fn settle(&self, case: &Case, attempt: &mut Try) -> End {
        let mut at = now();
        for _ in 0..LOOKS_MAX {
            match self.operator(case).find(&self.clients, &attempt.intent(at)).await {
                Found::Found(handle) => return End::Job(handle),
                Found::Done(_) => return End::Done,
                Found::Lost(_) => return End::Lost,
                Found::NotYetKnown { again_at, reason } => {
                    assert!(again_at > at, "{}: asks again in the past: {reason}", case.operator);
                    at = again_at;
                }
                Found::ProvedAbsent | Found::SafeToRepeat => {
                    attempt.intent_at = now();
                    match self.send(case, attempt).await {
                        Sent::Accepted(handle) => return End::Job(handle),
                        Sent::Done(_) => return End::Done,
                        Sent::Unknown(_) | Sent::Throttled(_) => at = now(),
                        Sent::Refused(failure) => panic!("{}: {}", case.operator, failure.message),
                    }
                }
            }
        }
        panic!("{}: an unconfirmed start is never settled", case.operator);
    }

    /// Polls, each time twice in one batch, until the job ended.
    async fn until_ended(&self, case: &Case, handle: &Handle) {
        let operator = self.operator(case);
        let pair = [handle.clone(), handle.clone()];
        let pair = &pair[..operator.batch_size().min(2)];
        let polling = async {
            let mut look = tokio::time::interval(Duration::from_millis(50));
            loop {
                look.tick().await;
                let statuses = operator.poll(&self.clients, pair).await;
                match statuses.last().unwrap() {
                    Status::Succeeded(_) => return,
                    Status::Failed(failure)
                    | Status::Cancelled(failure)
                    | Status::Gone(failure)
                    | Status::Unavailable(failure) => panic!("{}: {failure:?}", case.operator),
                    Status::Running { .. } | Status::Throttled(_) => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, polling).await.expect("a job does not end");
    }

    async fn script(&self, rules: Value) {
        self.sandbox.script(&rules).await.unwrap();
    }

    async fn ledger(&self) -> Vec<Start> {
        self.sandbox.ledger(0).await.unwrap()
    }

    /// Starts of the case's kind after a line of the ledger.
    async fn starts_after(&self, case: &Case, line: usize) -> usize {
        self.ledger().await.iter().skip(line).filter(|start| start.operation == case.start.1).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operator_keeps_its_promise_at_each_step() {
    let bench = Bench::start().await;
    let cases_of: Vec<&str> = cases().iter().map(|case| case.operator).collect();
    let known: BTreeSet<&str> = cases_of.into_iter().chain(TRIED_ELSEWHERE).collect();
    let all: BTreeSet<&str> = bench.registry.types().collect();
    assert_eq!(known, all, "each operator of the registry has a case here, and no other");
    for case in cases() {
        each_step_twice(&bench, &case).await;
        if !case.start.0.is_empty() {
            a_failure_at_each_step(&bench, &case).await;
        }
        if matches!(case.law, Law::Token | Law::Mark) {
            a_zombie(&bench, &case).await;
        }
    }
    bench.running.shutdown().await;
}

async fn each_step_twice(bench: &Bench, case: &Case) {
    let (name, operator) = (case.operator, bench.operator(case));
    let line = bench.ledger().await.len();
    let attempt = bench.attempt(case, now()).await;
    match bench.send(case, &attempt).await {
        Sent::Done(_) => {}
        Sent::Accepted(handle) => {
            for _ in 0..2 {
                let found = operator.find(&bench.clients, &attempt.intent(now())).await;
                let same = match &found {
                    // A crawl has no id when it is started, and shows in the history a little later.
                    Found::Found(_) | Found::NotYetKnown { .. } if name == "glue_crawler" => true,
                    Found::Found(other) => other.id == handle.id,
                    Found::Done(_) | Found::SafeToRepeat => true,
                    Found::NotYetKnown { .. } => false,
                    Found::ProvedAbsent | Found::Lost(_) => false,
                };
                assert!(same, "{name}: {handle:?} was found as {found:?}");
            }
            bench.until_ended(case, &handle).await;
            bench.until_ended(case, &handle).await;
            // What has ended cannot be stopped: some services say so, and nothing changes by it.
            let first = operator.cancel(&bench.clients, &handle).await.is_ok();
            assert_eq!(first, operator.cancel(&bench.clients, &handle).await.is_ok(), "{name}: cancel");
            if case.start.0 != "s3" {
                bench.until_ended(case, &handle).await;
            }
        }
        other => panic!("{name}: {other:?}"),
    }
    let expected = usize::from(case.law != Law::Local);
    assert_eq!(bench.starts_after(case, line).await, expected, "{name}: starts in the ledger");
}

async fn a_failure_at_each_step(bench: &Bench, case: &Case) {
    let (name, (service, operation)) = (case.operator, case.start);
    let wire = if operation.is_empty() { "*" } else { operation };
    for kind in ["error_before", "error_after", "drop_answer", "throttle"] {
        let line = bench.ledger().await.len();
        let mut attempt = bench.attempt(case, now()).await;
        let times = if operation.is_empty() { 8 } else { 1 };
        let rule = json!({ "service": service, "operation": wire, "kind": kind, "times": times });
        bench.script(json!([rule])).await;
        let sent = bench.send(case, &attempt).await;
        bench.script(json!([])).await;
        if case.law == Law::Local {
            let harmless = match &sent {
                Sent::Refused(_) => false,
                // Nothing was there to delete when it was counted.
                Sent::Done(_) => name == "s3_delete",
                _ => true,
            };
            assert!(harmless, "{name}: {kind} of every call of {service} was taken for {sent:?}");
            if let Sent::Accepted(handle) = sent {
                a_failing_poll(bench, case, &handle).await;
            }
            continue;
        }
        let end = match sent {
            Sent::Throttled(_) => {
                assert!(matches!(kind, "throttle" | "error_before"), "{name}: {kind} may have started a job");
                match bench.send(case, &attempt).await {
                    Sent::Accepted(handle) => End::Job(handle),
                    Sent::Done(_) => End::Done,
                    other => panic!("{name} after {kind}: {other:?}"),
                }
            }
            Sent::Unknown(_) => bench.settle(case, &mut attempt).await,
            other => panic!("{name}: {kind} was taken for {other:?}"),
        };
        let starts = bench.starts_after(case, line).await;
        let fits = match case.law {
            Law::Repeatable => (1..=2).contains(&starts),
            Law::Unknowable if matches!(end, End::Lost) => starts == usize::from(kind != "error_before"),
            _ => starts == 1,
        };
        assert!(fits, "{name}: {kind} led to {starts} starts and {end:?}");
        assert!(case.law == Law::Unknowable || !matches!(end, End::Lost), "{name}: {kind} led to {end:?}");
        if let End::Job(handle) = end {
            a_failing_poll(bench, case, &handle).await;
            bench.until_ended(case, &handle).await;
        }
    }
}

/// While the service answers nothing, a poll says nothing about the job.
async fn a_failing_poll(bench: &Bench, case: &Case, handle: &Handle) {
    bench.script(json!([{ "service": case.start.0, "kind": "error_before" }])).await;
    let statuses = bench.operator(case).poll(&bench.clients, std::slice::from_ref(handle)).await;
    bench.script(json!([])).await;
    let silent =
        matches!(statuses[..], [Status::Unavailable(_) | Status::Throttled(_) | Status::Running { .. }]);
    assert!(silent, "{}: a service that fails was taken for {statuses:?}", case.operator);
}

/// A replica that froze before its send wakes up when others have started the same attempt.
async fn a_zombie(bench: &Bench, case: &Case) {
    let name = case.operator;
    let line = bench.ledger().await.len();
    let long_ago = now() - SignedDuration::try_from(QUARANTINE).unwrap() - SignedDuration::from_secs(30);
    let zombie = bench.attempt(case, long_ago).await;
    let mut survivor = Try {
        request: zombie.request.clone(),
        baseline: zombie.baseline.clone(),
        intent_at: zombie.intent_at,
    };
    let End::Job(handle) = bench.settle(case, &mut survivor).await else {
        panic!("{name}: the survivor has no job");
    };
    match bench.send(case, &zombie).await {
        Sent::Accepted(other) => {
            assert!(case.law == Law::Token && other.id == handle.id, "{name}: the zombie started {other:?}");
        }
        Sent::Done(outcome) => panic!("{name}: the zombie's call did {outcome:?}"),
        Sent::Refused(_) | Sent::Throttled(_) | Sent::Unknown(_) => {}
    }
    assert_eq!(bench.starts_after(case, line).await, 1, "{name}: starts after the zombie");
    bench.until_ended(case, &handle).await;
    // It asks for its own stop as well; that changes nothing about what has ended.
    let _ = bench.operator(case).cancel(&bench.clients, &handle).await;
    bench.until_ended(case, &handle).await;
}
