"""SQS, SNS, Lambda, Step Functions, Secrets Manager and STS on a server that we did not write:
ministack, reached through AWS_ENDPOINT_URL. What is sent there and what comes back is looked at
by boto3."""

import io
import json
import socket
import subprocess
import sys
import urllib.request
import zipfile

import pytest

from project import Project
from sandbox import client_of
from waiting import until

SECRET = "canary-of-another-cloud"

ENVIRONMENTS = """
environments:
  other:
    connections:
      aws: { type: aws, region: us-east-1, role_arn: "arn:aws:iam::000000000000:role/runner" }
    secrets:
      token: { secretsmanager: prod/token, key: password }
"""

PIPELINE = """
name: opinion
data_interval: none
params:
  mood: { type: string, default: good }
defaults: { connection: aws, retries: 0, poll_interval: 1s, timeout: 2m }
tasks:
  send: { type: sqs_send, queue: inbox, body: { day: "2026-11-19" }, attributes: { priority: low } }
  tell: { type: sns_publish, topic: "TOPIC", subject: Processed, message: all of it }
  call:
    type: lambda_invoke
    depends_on: [send, tell]
    function: twice
    payload: { rows: 21, key: "{{ secrets.token }}", mood: "{{ params.mood }}" }
  quality:
    type: step_function
    depends_on: call
    state_machine: quality
    input: { rows: "{{ tasks.call.outputs.response.rows }}", mood: "{{ params.mood }}" }
  report:
    type: noop
    depends_on: quality
    outputs: { checked: "{{ tasks.quality.outputs.output.checked }}" }
"""

HANDLER = """
def handler(event, context):
    if event["mood"] == "odd":
        raise ValueError("no such mood")
    return {"rows": event["rows"] * 2, "knows": event["key"] == "%s"}
""" % SECRET

MACHINE = {
    "StartAt": "Look",
    "States": {
        "Look": {"Type": "Choice", "Choices": [{"Variable": "$.mood", "StringEquals": "bad", "Next": "Complain"}],
                 "Default": "Rest"},
        "Rest": {"Type": "Wait", "Seconds": 1, "Next": "Done"},
        "Done": {"Type": "Pass", "Parameters": {"checked.$": "$.rows"}, "End": True},
        "Complain": {"Type": "Fail", "Error": "Quality", "Cause": "42 rows are too many"},
    },
}


@pytest.fixture(scope="module")
def ministack(environment, tmp_path_factory):
    """A server on a free port, of loopback only."""
    folder = tmp_path_factory.mktemp("ministack")
    # It cannot choose one itself.
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {"IOT_MTLS_ENABLED": "0", "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "HOME": str(folder)}
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ministack"], env=environment | settings, cwd=folder,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )
    endpoint = f"http://127.0.0.1:{port}"

    def answers():
        assert process.poll() is None, (folder / "log").read_text()
        try:
            with urllib.request.urlopen(f"{endpoint}/_localstack/health", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    until(answers, 60, "ministack")
    yield endpoint
    process.terminate()
    process.wait(20)


def set_up(endpoint):
    """What CloudFormation would make; answers the topic's ARN."""
    trust = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"}}]}
    role = client_of(endpoint, "iam").create_role(RoleName="runner", AssumeRolePolicyDocument=json.dumps(trust))
    arn = role["Role"]["Arn"]
    client_of(endpoint, "secretsmanager").create_secret(
        Name="prod/token", SecretString=json.dumps({"password": SECRET}))
    sqs, sns = client_of(endpoint, "sqs"), client_of(endpoint, "sns")
    sqs.create_queue(QueueName="inbox")
    heard = sqs.create_queue(QueueName="heard")["QueueUrl"]
    topic = sns.create_topic(Name="notices")["TopicArn"]
    queue_arn = sqs.get_queue_attributes(QueueUrl=heard, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue_arn)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("index.py", HANDLER)
    client_of(endpoint, "lambda").create_function(
        FunctionName="twice", Runtime="python3.12", Role=arn, Handler="index.handler",
        Code={"ZipFile": packed.getvalue()})
    client_of(endpoint, "stepfunctions").create_state_machine(
        name="quality", definition=json.dumps(MACHINE), roleArn=arn)
    return topic


@pytest.fixture(scope="module")
def project(ministack, binary, environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("opinion")
    home = folder / "pipelines" / "opinion"
    home.mkdir(parents=True)
    (folder / "trunkline.yaml").write_text(ENVIRONMENTS)
    (home / "pipeline.yaml").write_text(PIPELINE.replace("TOPIC", set_up(ministack)))
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_ENDPOINT_URL": ministack}
    made = Project(binary, environment | keys, folder)
    yield made
    made.stop()


def shown(project):
    text = project.call("show", "opinion@latest", "--json", "--env", "other").stdout
    assert SECRET not in text
    return {row["task"]: row for row in json.loads(text)["tasks"]}


def messages(endpoint, queue):
    sqs = client_of(endpoint, "sqs")
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    return sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]).get("Messages", [])


def test_a_pipeline_runs_on_another_server(project, ministack):
    project.call("run", "opinion", "--env", "other")
    tasks = shown(project)
    assert {row["state"] for row in tasks.values()} == {"succeeded"}, tasks
    assert tasks["call"]["outputs"]["response"] == {"rows": 42, "knows": True}
    assert tasks["report"]["outputs"] == {"checked": 42}
    (sent,) = messages(ministack, "inbox")
    assert json.loads(sent["Body"]) == {"day": "2026-11-19"}
    assert sent["MessageAttributes"]["priority"]["StringValue"] == "low"
    (heard,) = messages(ministack, "heard")
    assert json.loads(heard["Body"])["Message"] == "all of it"
    steps = client_of(ministack, "stepfunctions")
    machine = steps.list_state_machines()["stateMachines"][0]["stateMachineArn"]
    (execution,) = steps.list_executions(stateMachineArn=machine)["executions"]
    assert execution["name"].startswith("trunkline-") and execution["status"] == "SUCCEEDED"


@pytest.mark.parametrize(
    "mood, task, words",
    [("bad", "quality", "42 rows are too many"), ("odd", "call", "no such mood")],
)
def test_its_failures_are_told_in_its_words(project, mood, task, words):
    project.call("run", "opinion", "--env", "other", "--param", f"mood={mood}", code=1)
    row = shown(project)[task]
    assert row["state"] == "failed" and words in row["failure"]["message"], row


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("queue: inbox", "queue: outbox", "outbox"),
        ("function: twice", "function: thrice", "thrice"),
        ("state_machine: quality", "state_machine: quantity", "quantity"),
        (":notices", ":nothing", "nothing"),
    ],
)
def test_what_is_not_there_is_named(project, old, new, words):
    path = "pipelines/opinion/pipeline.yaml"
    project.edit(path, old, new)
    try:
        done = project.call("run", "opinion", "--env", "other", code=1)
    finally:
        project.edit(path, new, old)
    assert words in done.stdout + done.stderr
