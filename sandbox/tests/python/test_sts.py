"""STS as boto3 sees it: roles, their trust, sessions that end, and the accounts behind them."""

import datetime
import json

import pytest
from botocore.exceptions import ClientError

PARTNER = "111111111111"
ROLE = f"arn:aws:iam::{PARTNER}:role/reader"
TEMPLATE = """
Resources:
  Reader:
    Type: AWS::IAM::Role
    Properties:
      RoleName: reader
      AssumeRolePolicyDocument:
        Version: "2012-10-17"
        Statement:
          - Effect: Allow
            Action: sts:AssumeRole
            Principal: {AWS: "arn:aws:iam::000000000000:root"}
            Condition: {StringEquals: {"sts:ExternalId": partner-7}}
  Group: {Type: AWS::Athena::WorkGroup, Properties: {Name: partner-group}}
  Queue: {Type: AWS::SQS::Queue, Properties: {QueueName: partner-queue}}
"""


@pytest.fixture(scope="module", autouse=True)
def partner(sandbox):
    """A role and a few things in an account of somebody else."""
    return sandbox.own("provision", {"template": TEMPLATE, "stack": "partner", "account": PARTNER})


@pytest.fixture
def sts(sandbox):
    return sandbox.client("sts")


@pytest.fixture
def faults(sandbox):
    yield sandbox.faults
    sandbox.faults()


def assume(sts, **more):
    wish = {"RoleArn": ROLE, "RoleSessionName": "trunkline", "ExternalId": "partner-7"} | more
    return sts.assume_role(**wish)["Credentials"]


def as_role(sandbox, service, credentials):
    return sandbox.client(
        service, access_key=credentials["AccessKeyId"], session_token=credentials["SessionToken"]
    )


def test_who_am_i(sts):
    identity = sts.get_caller_identity()
    assert identity["Account"] == "000000000000"
    assert identity["Arn"] == "arn:aws:iam::000000000000:user/sandbox"


def test_a_role_is_assumed_and_answers_for_itself(sandbox, sts):
    answer = sts.assume_role(
        RoleArn=ROLE, RoleSessionName="trunkline", ExternalId="partner-7", DurationSeconds=900
    )
    credentials = answer["Credentials"]
    left = credentials["Expiration"] - datetime.datetime.now(datetime.timezone.utc)
    assert datetime.timedelta(minutes=14) < left <= datetime.timedelta(minutes=15)
    session = f"arn:aws:sts::{PARTNER}:assumed-role/reader/trunkline"
    identity = as_role(sandbox, "sts", credentials).get_caller_identity()
    assert (identity["Arn"], identity["Account"]) == (session, PARTNER)
    assert answer["AssumedRoleUser"]["Arn"] == session
    line = sandbox.ledger(service="sts", subject=ROLE)[-1]
    assert (line["marker"], line["id"], line["account"]) == (
        "trunkline", credentials["AccessKeyId"], "000000000000",
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"RoleSessionName": "no spaces please"},
        {"RoleArn": "arn:aws:iam::000000000000:user/etl"},
        {"DurationSeconds": 901000},
    ],
)
def test_what_sts_refuses(sts, arguments):
    with pytest.raises(ClientError) as error:
        assume(sts, **arguments)
    assert error.value.response["Error"]["Code"] == "ValidationError"


@pytest.mark.parametrize(
    "arguments",
    [
        {"ExternalId": "partner-8"},
        {"RoleArn": f"arn:aws:iam::{PARTNER}:role/writer"},
        {"RoleArn": "arn:aws:iam::000000000000:role/reader"},
    ],
)
def test_whom_the_trust_policy_does_not_name(sts, arguments):
    with pytest.raises(ClientError) as error:
        assume(sts, **arguments)
    refused = error.value.response["Error"]
    role = arguments.get("RoleArn", ROLE)
    assert refused["Code"] == "AccessDenied"
    assert refused["Message"] == (
        "User: arn:aws:iam::000000000000:user/sandbox is not authorized to perform: "
        f"sts:AssumeRole on resource: {role}"
    )


def test_things_belong_to_the_account_that_made_them(sandbox, sts):
    mine, theirs = sandbox.client("athena"), as_role(sandbox, "athena", assume(sts))
    names = [group["Name"] for group in theirs.list_work_groups()["WorkGroups"]]
    assert "partner-group" in names
    assert "partner-group" not in [group["Name"] for group in mine.list_work_groups()["WorkGroups"]]
    with pytest.raises(ClientError):
        mine.get_work_group(WorkGroup="partner-group")
    # The same name may be in both; queues and ARNs say whose they are.
    sqs = as_role(sandbox, "sqs", assume(sts))
    url = sqs.get_queue_url(QueueName="partner-queue")["QueueUrl"]
    sent = sqs.send_message(QueueUrl=url, MessageBody="hello")["MessageId"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    assert arn == f"arn:aws:sqs:us-east-1:{PARTNER}:partner-queue"
    line = next(line for line in sandbox.ledger(service="sqs") if line["id"] == sent)
    assert line["account"] == PARTNER
    assert line["session"] == f"arn:aws:sts::{PARTNER}:assumed-role/reader/trunkline"
    with pytest.raises(ClientError) as error:
        sandbox.client("sqs").get_queue_url(QueueName="partner-queue")
    assert "NonExistentQueue" in json.dumps(error.value.response)
    # An access key of twelve digits is of that account.
    assert sandbox.client("sts", access_key=PARTNER).get_caller_identity()["Account"] == PARTNER


EXPIRED = [
    ("athena", lambda client: client.list_work_groups(), "ExpiredTokenException"),
    ("sqs", lambda client: client.list_queues(), "ExpiredTokenException"),
    ("sns", lambda client: client.list_topics(), "ExpiredToken"),
    ("sts", lambda client: client.get_caller_identity(), "ExpiredToken"),
    ("s3", lambda client: client.list_buckets(), "ExpiredToken"),
    ("lambda", lambda client: client.list_functions(), "ExpiredTokenException"),
]


@pytest.mark.parametrize("service, call, code", EXPIRED)
def test_ended_sessions_are_refused(sandbox, sts, faults, service, call, code):
    faults({"service": "sts", "operation": "AssumeRole", "kind": "short_session", "max_age_ms": 0})
    credentials = assume(sts)
    assert credentials["Expiration"] <= datetime.datetime.now(datetime.timezone.utc)
    client = sandbox.client(
        service, check=False, access_key=credentials["AccessKeyId"], session_token=credentials["SessionToken"]
    )
    with pytest.raises(ClientError) as error:
        call(client)
    assert error.value.response["Error"]["Code"] == code


def test_sessions_may_end_sooner_than_they_say(sandbox, sts, faults):
    credentials = assume(sts)
    assert as_role(sandbox, "athena", credentials).list_work_groups()
    faults({"service": "athena", "kind": "expire_sessions", "max_age_ms": 0})
    client = sandbox.client("athena", check=False, access_key=credentials["AccessKeyId"], session_token="t")
    with pytest.raises(ClientError) as error:
        client.list_work_groups()
    assert error.value.response["Error"]["Code"] == "ExpiredTokenException"
    # Callers without a session are not concerned.
    assert sandbox.client("athena").list_work_groups()


def test_keys_that_nobody_was_given(sandbox):
    client = sandbox.client("athena", check=False, access_key="ASIANOBODY0000000000", session_token="t")
    with pytest.raises(ClientError) as error:
        client.list_work_groups()
    assert error.value.response["Error"]["Code"] == "UnrecognizedClientException"


def test_roles_sessions_and_accounts_are_kept(own_sandbox):
    sandbox = own_sandbox()
    sandbox.own("provision", {"template": TEMPLATE, "stack": "partner", "account": PARTNER})
    credentials = assume(sandbox.client("sts"))
    sandbox.restart()
    athena = as_role(sandbox, "athena", credentials)
    assert athena.get_work_group(WorkGroup="partner-group")["WorkGroup"]["Name"] == "partner-group"
    assert assume(sandbox.client("sts"))
