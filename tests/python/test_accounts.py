"""Two accounts in one pipeline, with credentials that end long before the wait does."""

import json
import subprocess
import urllib.request

import boto3
import botocore.config
import pytest

from project import Project
from waiting import until

PARTNER = "111111111111"
ROLE = f"arn:aws:iam::{PARTNER}:role/reader"

PROJECT = """
environments:
  local:
    connections:
      aws: { sandbox: true }
      events: { sandbox: true, role_arn: "%(role)s", external_id: %(id)s }
"""

# Each task is in one of the accounts. The two waits are for what only a person brings.
PIPELINE = """
name: two_accounts
data_interval: none
defaults: { connection: aws, retries: 0, poll_interval: 1s }
tasks:
  arrival: { type: s3_wait, connection: events, key: "s3://partner-drop/ready", timeout: 5m }
  theirs: { type: sqs_send, connection: events, depends_on: arrival, queue: shared-name, body: theirs }
  machine:
    type: step_function
    connection: events
    depends_on: arrival
    state_machine: waits
    input: {}
    timeout: 10m
  ours: { type: sqs_send, depends_on: [theirs, machine], queue: shared-name, body: ours }
"""

QUEUE = """
Resources:
  Queue: { Type: AWS::SQS::Queue, Properties: { QueueName: shared-name } }
"""

THEIR_TEMPLATE = QUEUE + """
  Drop: { Type: AWS::S3::Bucket, Properties: { BucketName: partner-drop } }
  Reader:
    Type: AWS::IAM::Role
    Properties:
      RoleName: reader
      AssumeRolePolicyDocument:
        Version: "2012-10-17"
        Statement:
          - Effect: Allow
            Action: sts:AssumeRole
            Principal: { AWS: "arn:aws:iam::000000000000:root" }
            Condition: { StringEquals: { "sts:ExternalId": partner-7 } }
  Machine:
    Type: AWS::StepFunctions::StateMachine
    Properties:
      StateMachineName: waits
      RoleArn: !GetAtt Reader.Arn
      Definition:
        StartAt: Wait
        States: { Wait: { Type: Wait, Seconds: 12, End: true } }
"""


@pytest.fixture(scope="module")
def project(binary, environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("accounts")
    home = folder / "pipelines" / "two_accounts"
    home.mkdir(parents=True)
    (home / "pipeline.yaml").write_text(PIPELINE)
    (home / "aws.yaml").write_text(QUEUE)
    (home / "aws.events.yaml").write_text(THEIR_TEMPLATE)
    made = Project(binary, environment, folder)
    connect(made, ROLE, "partner-7")
    yield made
    made.stop()


def connect(project, role, external_id):
    (project.folder / "trunkline.yaml").write_text(PROJECT % {"role": role, "id": external_id})


def faults(project, *rules):
    url = f"{project.endpoint}/_sandbox/faults"
    request = urllib.request.Request(url, json.dumps(rules).encode(), method="PUT")
    urllib.request.urlopen(request).close()


def of_account(project, service, account):
    """A client in one of the accounts, which a key of twelve digits names."""
    return boto3.client(
        service, endpoint_url=project.endpoint, region_name="us-east-1", aws_access_key_id=account,
        aws_secret_access_key="test", config=botocore.config.Config(s3={"addressing_style": "path"}),
    )


def messages(project, account):
    sqs = of_account(project, "sqs", account)
    url = sqs.get_queue_url(QueueName="shared-name")["QueueUrl"]
    found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    return [message["Body"] for message in found]


def test_a_wait_outlives_many_sessions(project):
    # The sandbox has to be there before its faults can be scripted.
    project.call("status")
    running = subprocess.Popen(
        [str(project.binary), "run", "two_accounts"],
        cwd=project.folder, env=project.environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    try:
        def task(name):
            shown = project.call("show", "two_accounts@latest", "--json")
            return next(row for row in json.loads(shown.stdout)["tasks"] if row["task"] == name)

        until(lambda: running.poll() is not None or "two_accounts" in project.call("runs").stdout, 60, "the run")
        until(lambda: task("arrival")["state"] == "running", 60, "the wait in the other account")
        # Sessions live two seconds and say so, and some services refuse them after one.
        faults(
            project,
            {"service": "sts", "operation": "AssumeRole", "kind": "short_session", "max_age_ms": 2000},
            {"service": "s3", "kind": "expire_sessions", "max_age_ms": 1000},
            {"service": "states", "operation": "DescribeExecution", "kind": "expire_sessions", "max_age_ms": 1000},
        )
        sessions = len(project.ledger("AssumeRole"))
        until(lambda: len(project.ledger("AssumeRole")) >= sessions + 3, 60, "sessions to be renewed")
        assert task("arrival")["state"] == "running"
        of_account(project, "s3", PARTNER).put_object(Bucket="partner-drop", Key="ready", Body=b"1")
        said, _ = running.communicate(timeout=180)
    finally:
        running.kill()
        faults(project)
    assert running.returncode == 0, said
    # No attempt failed on the way, although many sessions ended.
    shown = json.loads(project.call("show", "two_accounts@latest", "--json").stdout)
    assert all(row["state"] == "succeeded" and row["attempts"] == 1 for row in shown["tasks"]), shown
    assert len(project.ledger("AssumeRole")) >= sessions + 5
    # One name for all sessions, so that a job is everybody's of this pipeline.
    assert {line["marker"] for line in project.ledger("AssumeRole")} == {"trunkline"}
    starts = project.ledger("StartExecution")
    assert [(line["account"], line["session"]) for line in starts] == [
        (PARTNER, f"arn:aws:sts::{PARTNER}:assumed-role/reader/trunkline")
    ]
    assert messages(project, PARTNER) == ["theirs"]
    assert messages(project, "000000000000") == ["ours"]


@pytest.mark.parametrize(
    "role, external_id", [(ROLE, "partner-8"), (f"arn:aws:iam::{PARTNER}:role/writer", "partner-7")]
)
def test_a_role_that_may_not_be_assumed(project, role, external_id):
    connect(project, role, external_id)
    try:
        refused = project.call("run", "two_accounts", code=1)
    finally:
        connect(project, ROLE, "partner-7")
    text = " ".join((refused.stdout + refused.stderr).split())
    assert "the role of this connection cannot be assumed: User: arn:aws:iam::000000000000:user/sandbox is not" in text
    assert f"authorized to perform: sts:AssumeRole on resource: {role}" in text
    assert "check `role_arn` and `external_id` of the connection in trunkline.yaml" in text
