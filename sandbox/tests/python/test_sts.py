"""STS as boto3 sees it."""

import datetime

import pytest
from botocore.exceptions import ClientError

ROLE = "arn:aws:iam::000000000000:role/etl"


@pytest.fixture
def sts(sandbox):
    return sandbox.client("sts")


def test_who_am_i(sts):
    identity = sts.get_caller_identity()
    assert identity["Account"] == "000000000000"
    assert identity["Arn"] == "arn:aws:iam::000000000000:user/sandbox"


def test_a_role_is_assumed_and_answers_for_itself(sandbox, sts):
    answer = sts.assume_role(RoleArn=ROLE, RoleSessionName="trunkline", DurationSeconds=900)
    credentials = answer["Credentials"]
    left = credentials["Expiration"] - datetime.datetime.now(datetime.timezone.utc)
    assert datetime.timedelta(minutes=14) < left <= datetime.timedelta(minutes=15)
    as_role = sandbox.client("sts", access_key=credentials["AccessKeyId"])
    assert as_role.get_caller_identity()["Arn"] == "arn:aws:sts::000000000000:assumed-role/etl/trunkline"
    assert answer["AssumedRoleUser"]["Arn"] == "arn:aws:sts::000000000000:assumed-role/etl/trunkline"


@pytest.mark.parametrize(
    "arguments",
    [
        {"RoleArn": ROLE, "RoleSessionName": "no spaces please"},
        {"RoleArn": "arn:aws:iam::000000000000:user/etl", "RoleSessionName": "ok"},
        {"RoleArn": ROLE, "RoleSessionName": "ok", "DurationSeconds": 901000},
    ],
)
def test_what_sts_refuses(sts, arguments):
    with pytest.raises(ClientError) as error:
        sts.assume_role(**arguments)
    assert error.value.response["Error"]["Code"] == "ValidationError"
