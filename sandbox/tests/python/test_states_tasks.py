"""Tasks of state machines: Glue, Athena and SNS called for real, retries, kills, redrives."""

import json

import pytest

from conftest import wait_until
from test_glue import make_job
from test_states import chain, ended, events, machine, output

JOB = "arn:aws:states:::glue:startJobRun.sync"
# A program that ends when an object says so: no test waits for a time.
UNTIL_TOLD = """
    import sys, time, boto3
    arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
    s3 = boto3.client("s3")
    bucket, key = arguments["--bucket"], arguments["--key"]
    while True:
        try:
            told = s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
            break
        except s3.exceptions.NoSuchKey:
            time.sleep(0.05)
    assert told == "go", told
"""


@pytest.fixture
def sandbox(own_sandbox):
    return own_sandbox("--time-scale", "0.02")


@pytest.fixture
def states(sandbox):
    return sandbox.client("stepfunctions")


@pytest.fixture
def s3(sandbox):
    client = sandbox.client("s3")
    client.create_bucket(Bucket="tasks")
    return client


@pytest.fixture
def job(sandbox, s3):
    make_job(s3, sandbox.client("glue"), "tasks", UNTIL_TOLD, ExecutionProperty={"MaxConcurrentRuns": 5})
    return "tasks"


def job_task(job, key="flag", **more):
    return {"Type": "Task", "Resource": JOB, "Parameters": {
        "JobName": job, "Arguments": {"--bucket": "tasks", "--key": key, "--execution.$": "$$.Execution.Name"},
    }, **more}


def start(states, name, definition, value=None):
    arn = machine(states, name, definition)
    return states.start_execution(stateMachineArn=arn, name="e", input=json.dumps(value or {}))["executionArn"]


def types(states, arn):
    return [event["type"] for event in events(states, arn)]


def submitted(states, arn, count=1):
    wait_until(lambda: types(states, arn).count("TaskSubmitted") >= count, 30, "the job to be submitted")


def test_a_job_is_waited_for(sandbox, states, s3, job):
    arn = start(states, "waits", chain(("Convert", job_task(job, ResultSelector={"state.$": "$.JobRunState"}))))
    submitted(states, arn)
    s3.put_object(Bucket="tasks", Key="flag", Body=b"go")
    assert output(ended(states, arn)) == {"state": "SUCCEEDED"}
    assert types(states, arn) == [
        "ExecutionStarted", "TaskStateEntered", "TaskScheduled", "TaskStarted", "TaskSubmitted", "TaskSucceeded",
        "TaskStateExited", "ExecutionSucceeded",
    ]
    line, = sandbox.ledger(operation="StartJobRun")
    assert line["caller"] == "states"
    run = sandbox.client("glue").get_job_run(JobName=job, RunId=line["id"])["JobRun"]
    assert run["Arguments"]["--execution"] == "e"


def test_a_failed_job_is_tried_again_and_then_caught(sandbox, states, s3, job):
    s3.put_object(Bucket="tasks", Key="flag", Body=b"break")
    definition = chain(
        ("Convert", job_task(
            job,
            Retry=[{"ErrorEquals": ["States.TaskFailed"], "IntervalSeconds": 1, "MaxAttempts": 2, "BackoffRate": 1.5}],
            Catch=[{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Tell"}],
        )),
        ("Skip", {"Type": "Succeed"}),
        ("Tell", {"Type": "Fail", "ErrorPath": "$.error.Error", "CausePath": "States.Format('job: {}', $.error.Cause)"}),
    )
    shown = ended(states, start(states, "tries", definition))
    assert (shown["status"], shown["error"]) == ("FAILED", "States.TaskFailed")
    run = json.loads(shown["cause"].removeprefix("job: "))
    assert run["JobRunState"] == "FAILED" and "AssertionError" in run["ErrorMessage"]
    assert len(sandbox.ledger(operation="StartJobRun")) == 3


def test_refused_calls_have_names_and_faults_reach_them(sandbox, states, s3, job):
    s3.put_object(Bucket="tasks", Key="flag", Body=b"go")
    shown = ended(states, start(states, "missing", chain(("Convert", job_task("no-such-job")))))
    assert (shown["status"], shown["error"]) == ("FAILED", "Glue.EntityNotFoundException")
    assert "no-such-job" in shown["cause"]
    assert "TaskSubmitFailed" in types(states, shown["executionArn"])
    sandbox.faults({"service": "glue", "operation": "StartJobRun", "kind": "throttle", "times": 2})
    retry = [{"ErrorEquals": ["Glue.ThrottlingException"], "IntervalSeconds": 1}]
    arn = start(states, "throttled", chain(("Convert", job_task(job, Retry=retry))))
    assert ended(states, arn)["status"] == "SUCCEEDED"
    assert types(states, arn).count("TaskSubmitFailed") == 2 and len(sandbox.ledger(operation="StartJobRun")) == 1


def test_after_a_kill_an_execution_goes_on_and_starts_nothing_twice(sandbox, s3, job):
    definition = chain(
        ("Before", {"Type": "Pass", "Parameters": {"id.$": "States.UUID()"}, "ResultPath": "$.before"}),
        ("Jobs", {"Type": "Map", "ItemsPath": "$.keys", "ItemProcessor": chain(
            ("Convert", {**job_task(job), "Parameters": {
                "JobName": job, "Arguments": {"--bucket": "tasks", "--key.$": "$"}}, "OutputPath": "$.JobRunState"}),
        ), "ResultPath": "$.states"}),
        ("After", {"Type": "Pass"}),
    )
    states = sandbox.client("stepfunctions")
    arn = start(states, "killed", definition, {"keys": ["one", "two", "three"]})
    submitted(states, arn, 3)
    before = events(states, arn)
    s3.put_object(Bucket="tasks", Key="one", Body=b"go")
    wait_until(lambda: "TaskSucceeded" in types(states, arn), 30, "the first job to end")
    sandbox.restart()
    states, s3 = sandbox.client("stepfunctions"), sandbox.client("s3")
    assert states.describe_execution(executionArn=arn)["status"] == "RUNNING"
    s3.put_object(Bucket="tasks", Key="two", Body=b"go")
    sandbox.restart()
    states, s3 = sandbox.client("stepfunctions"), sandbox.client("s3")
    s3.put_object(Bucket="tasks", Key="three", Body=b"go")
    shown = ended(states, arn)
    made = output(shown)
    assert made["states"] == ["SUCCEEDED"] * 3
    assert len(sandbox.ledger(operation="StartJobRun")) == 3
    after = events(states, arn)
    assert after[: len(before)] == before, "history is never changed"
    assert [event["id"] for event in after] == list(range(1, len(after) + 1))
    entered = [e["stateEnteredEventDetails"]["name"] for e in after if "stateEnteredEventDetails" in e]
    assert sorted(entered) == ["After", "Before", "Convert", "Convert", "Convert", "Jobs"]
    exited = next(e for e in after if e["type"] == "PassStateExited")
    assert json.loads(exited["stateExitedEventDetails"]["output"])["before"] == made["before"]


def test_a_call_that_was_under_way_at_a_kill_is_not_made_twice(sandbox, s3, job):
    # The service has acted and its answer takes long: the process dies in between.
    sandbox.faults({"service": "glue", "operation": "StartJobRun", "kind": "delay", "after": True, "delay_ms": 600_000})
    states = sandbox.client("stepfunctions")
    arn = start(states, "under-way", chain(("Convert", job_task(job))))
    wait_until(lambda: sandbox.ledger(operation="StartJobRun"), 30, "the start")
    assert types(states, arn)[-1] == "TaskStarted"
    sandbox.restart()
    states, s3 = sandbox.client("stepfunctions"), sandbox.client("s3")
    s3.put_object(Bucket="tasks", Key="flag", Body=b"go")
    assert ended(states, arn)["status"] == "SUCCEEDED"
    assert len(sandbox.ledger(operation="StartJobRun")) == 1


def test_what_is_stopped_stops_its_job(sandbox, states, s3, job):
    glue = sandbox.client("glue")

    def run_state():
        return glue.get_job_runs(JobName=job)["JobRuns"][0]["JobRunState"]

    arn = start(states, "stopped", chain(("Convert", job_task(job))))
    submitted(states, arn)
    states.stop_execution(executionArn=arn)
    wait_until(lambda: run_state() == "STOPPED", 30, "the job to stop")
    # And the job of a task whose time is up.
    shown = ended(states, start(states, "late", chain(("Convert", job_task(job, TimeoutSeconds=100)))))
    assert (shown["status"], shown["error"]) == ("FAILED", "States.Timeout")
    assert "TaskTimedOut" in types(states, shown["executionArn"])
    wait_until(lambda: run_state() == "STOPPED", 30, "the second job to stop")


def test_a_redrive_goes_on_at_the_state_that_failed(sandbox, states, s3, job):
    s3.put_object(Bucket="tasks", Key="flag", Body=b"break")
    definition = chain(("First", {"Type": "Pass", "Parameters": {"id.$": "States.UUID()"}}), ("Convert", job_task(job)))
    arn = start(states, "redriven", definition)
    shown = ended(states, arn)
    assert shown["status"] == "FAILED" and shown["redriveStatus"] == "REDRIVABLE"
    s3.put_object(Bucket="tasks", Key="flag", Body=b"go")
    first = states.redrive_execution(executionArn=arn, clientToken="t-1")
    assert states.redrive_execution(executionArn=arn, clientToken="t-1") ["redriveDate"] == first["redriveDate"]
    shown = ended(states, arn)
    assert (shown["status"], shown["redriveCount"]) == ("SUCCEEDED", 1)
    seen = types(states, arn)
    assert seen.count("PassStateEntered") == 1 and seen.count("TaskSubmitted") == 2 and "ExecutionRedriven" in seen
    assert len(sandbox.ledger(operation="StartJobRun")) == 2
    with pytest.raises(states.exceptions.ExecutionNotRedrivable):
        states.redrive_execution(executionArn=arn)


def test_queries_crawlers_and_messages(sandbox, states, s3):
    glue, athena, sns = (sandbox.client(service) for service in ("glue", "athena", "sns"))
    s3.put_object(Bucket="tasks", Key="in/people/p.json", Body=b'{"name": "ada"}\n{"name": "bob"}\n')
    glue.create_database(DatabaseInput={"Name": "people_db"})
    glue.create_crawler(Name="people", Role="r", DatabaseName="people_db",
                        Targets={"S3Targets": [{"Path": "s3://tasks/in/people/"}]})
    topic = sns.create_topic(Name="told")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="a@example.com")
    looked = {"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:glue:getCrawler", "ResultPath": "$.crawler",
              "Parameters": {"Name": "people"}}
    definition = chain(
        ("Crawl", {"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:glue:startCrawler", "ResultPath": None,
                   "Parameters": {"Name": "people"}}),
        ("Pause", {"Type": "Wait", "Seconds": 5}),
        ("Look", looked),
        ("Ready", {"Type": "Choice", "Default": "Pause", "Choices": [
            {"Variable": "$.crawler.Crawler.State", "StringEquals": "READY", "Next": "Query"}]}),
        ("Query", {"Type": "Task", "Resource": "arn:aws:states:::athena:startQueryExecution.sync",
                   "Parameters": {"QueryString": "SELECT count(*) AS people FROM people",
                                  "QueryExecutionContext": {"Database": "people_db"},
                                  "ResultConfiguration": {"OutputLocation": "s3://tasks/results/"}},
                   "ResultSelector": {"id.$": "$.QueryExecution.QueryExecutionId"}}),
        ("Rows", {"Type": "Task", "Resource": "arn:aws:states:::athena:getQueryResults",
                  "Parameters": {"QueryExecutionId.$": "$.id"},
                  "ResultSelector": {"people.$": "$.ResultSet.Rows[1].Data[0].VarCharValue"}}),
        ("Tell", {"Type": "Task", "Resource": "arn:aws:states:::sns:publish", "ResultPath": "$.message",
                  "Parameters": {"TopicArn": topic, "Subject": "counted",
                                 "Message": {"people.$": "$.people", "from.$": "$$.State.Name"}}}),
    )
    made = output(ended(states, start(states, "all", definition)))
    assert made["people"] == "2" and made["message"]["MessageId"]
    mail, = sandbox.mails
    assert '{"people":"2","from":"Tell"}' in mail.read_text() and "counted" in mail.read_text()
    operations = [line["operation"] for line in sandbox.ledger()]
    assert operations == ["StartExecution", "StartCrawler", "StartQueryExecution", "Publish"]
