"""Secrets Manager and Systems Manager's parameters as boto3 sees them."""

import json

import pytest
from botocore.exceptions import ClientError


@pytest.fixture
def secrets(sandbox):
    return sandbox.client("secretsmanager")


@pytest.fixture
def ssm(sandbox):
    return sandbox.client("ssm")


def code_of(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return error.value.response["Error"]["Code"]


def test_versions_and_their_stages(secrets):
    made = secrets.create_secret(Name="versions/db", SecretString="one", Description="d")
    assert made["ARN"].startswith("arn:aws:secretsmanager:us-east-1:000000000000:secret:versions/db-")
    first = made["VersionId"]
    assert code_of(secrets.create_secret, Name="versions/db", SecretString="x") == "ResourceExistsException"
    second = secrets.put_secret_value(SecretId=made["ARN"], SecretString="two")
    assert second["VersionStages"] == ["AWSCURRENT"]
    current = secrets.get_secret_value(SecretId="versions/db")
    assert (current["SecretString"], current["VersionId"]) == ("two", second["VersionId"])
    earlier = secrets.get_secret_value(SecretId="versions/db", VersionStage="AWSPREVIOUS")
    assert (earlier["SecretString"], earlier["VersionId"]) == ("one", first)
    assert secrets.get_secret_value(SecretId="versions/db", VersionId=first)["SecretString"] == "one"
    # Back to the first, as after a rotation that failed.
    secrets.update_secret_version_stage(
        SecretId="versions/db", VersionStage="AWSCURRENT",
        MoveToVersionId=first, RemoveFromVersionId=second["VersionId"],
    )
    assert secrets.get_secret_value(SecretId=made["ARN"][:-7])["SecretString"] == "one"
    stages = secrets.describe_secret(SecretId="versions/db")["VersionIdsToStages"]
    assert stages == {first: ["AWSCURRENT"], second["VersionId"]: ["AWSPREVIOUS"]}
    listed = secrets.list_secret_version_ids(SecretId="versions/db")["Versions"]
    assert {version["VersionId"] for version in listed} == {first, second["VersionId"]}


def test_a_token_makes_one_version(secrets):
    secrets.create_secret(Name="tokens")
    assert code_of(secrets.get_secret_value, SecretId="tokens") == "ResourceNotFoundException"
    token = "a" * 32
    wish = {"SecretId": "tokens", "ClientRequestToken": token, "SecretString": "same"}
    assert secrets.put_secret_value(**wish)["VersionId"] == token
    assert secrets.put_secret_value(**wish)["VersionId"] == token
    assert code_of(secrets.put_secret_value, **(wish | {"SecretString": "other"})) == "ResourceExistsException"


def test_binary_secrets(secrets):
    secrets.create_secret(Name="binary", SecretBinary=b"\x00\xff")
    assert secrets.get_secret_value(SecretId="binary")["SecretBinary"] == b"\x00\xff"


def test_what_is_missing_or_deleted(secrets):
    assert code_of(secrets.get_secret_value, SecretId="absent") == "ResourceNotFoundException"
    secrets.create_secret(Name="goes", SecretString="x")
    missing = {"SecretId": "goes", "VersionId": "b" * 32}
    assert code_of(secrets.get_secret_value, **missing) == "ResourceNotFoundException"
    secrets.delete_secret(SecretId="goes", RecoveryWindowInDays=7)
    assert code_of(secrets.get_secret_value, SecretId="goes") == "InvalidRequestException"
    assert "DeletedDate" in secrets.describe_secret(SecretId="goes")
    names = [secret["Name"] for secret in secrets.list_secrets()["SecretList"]]
    assert "goes" not in names
    secrets.restore_secret(SecretId="goes")
    assert secrets.get_secret_value(SecretId="goes")["SecretString"] == "x"
    secrets.delete_secret(SecretId="goes", ForceDeleteWithoutRecovery=True)
    assert code_of(secrets.describe_secret, SecretId="goes") == "ResourceNotFoundException"


def test_lists_have_pages(secrets):
    for number in range(3):
        secrets.create_secret(Name=f"pages/{number}", SecretString="x")
    filters = [{"Key": "name", "Values": ["pages/"]}]
    pages = secrets.get_paginator("list_secrets").paginate(Filters=filters, PaginationConfig={"PageSize": 2})
    assert [[secret["Name"] for secret in page["SecretList"]] for page in pages] == [
        ["pages/0", "pages/1"], ["pages/2"],
    ]


def test_parameters_and_their_versions(ssm):
    assert ssm.put_parameter(Name="/app/token", Value="one", Type="SecureString")["Version"] == 1
    again = {"Name": "/app/token", "Value": "two"}
    assert code_of(ssm.put_parameter, **again) == "ParameterAlreadyExists"
    assert ssm.put_parameter(**again, Overwrite=True)["Version"] == 2
    found = ssm.get_parameter(Name="/app/token", WithDecryption=True)["Parameter"]
    assert (found["Value"], found["Version"], found["Type"]) == ("two", 2, "SecureString")
    assert found["ARN"] == "arn:aws:ssm:us-east-1:000000000000:parameter/app/token"
    assert ssm.get_parameter(Name="/app/token:1", WithDecryption=True)["Parameter"]["Value"] == "one"
    sealed = ssm.get_parameter(Name="/app/token")["Parameter"]["Value"]
    assert "two" not in sealed
    assert code_of(ssm.get_parameter, Name="/app/token:9") == "ParameterVersionNotFound"
    assert code_of(ssm.get_parameter, Name="/app/absent") == "ParameterNotFound"
    assert code_of(ssm.put_parameter, Name="/app/new", Value="x") == "ValidationException"


def test_parameters_below_a_path(ssm):
    for name in ["/tree/a", "/tree/b/c", "/tree/b/d", "/treehouse"]:
        ssm.put_parameter(Name=name, Value="v", Type="String")

    def names(**more):
        pages = ssm.get_paginator("get_parameters_by_path").paginate(Path="/tree", **more)
        return [found["Name"] for page in pages for found in page["Parameters"]]

    assert names() == ["/tree/a"]
    assert names(Recursive=True, PaginationConfig={"PageSize": 2}) == ["/tree/a", "/tree/b/c", "/tree/b/d"]
    several = ssm.get_parameters(Names=["/tree/a", "/tree/z"])
    assert [found["Name"] for found in several["Parameters"]] == ["/tree/a"]
    assert several["InvalidParameters"] == ["/tree/z"]
    gone = ssm.delete_parameters(Names=["/tree/a", "/tree/z"])
    assert (gone["DeletedParameters"], gone["InvalidParameters"]) == (["/tree/a"], ["/tree/z"])
    ssm.delete_parameter(Name="/treehouse")
    assert code_of(ssm.delete_parameter, Name="/treehouse") == "ParameterNotFound"


TEMPLATE = """
Resources:
  Database:
    Type: AWS::SecretsManager::Secret
    Properties:
      Name: made/db
      GenerateSecretString:
        SecretStringTemplate: '{"username": "etl"}'
        GenerateStringKey: password
        PasswordLength: 40
        ExcludeCharacters: "aeiou"
  Token:
    Type: AWS::SecretsManager::Secret
    Properties: {Name: made/token, SecretString: "%s"}
  Level:
    Type: AWS::SSM::Parameter
    Properties: {Name: /made/level, Type: String, Value: !Ref Token}
"""


def test_provisioned_and_kept(own_sandbox):
    sandbox = own_sandbox()

    def apply(token):
        report = sandbox.own("provision", {"template": TEMPLATE % token, "stack": "s"})
        return {made["logical_id"]: made["change"] for made in report["resources"]}

    assert set(apply("first").values()) == {"created"}
    value = sandbox.client("secretsmanager").get_secret_value(SecretId="made/db")["SecretString"]
    login = json.loads(value)
    assert login["username"] == "etl" and len(login["password"]) == 40 and "a" not in login["password"]
    assert set(apply("first").values()) == {"unchanged"}
    assert apply("second") == {"Database": "unchanged", "Token": "updated", "Level": "unchanged"}
    sandbox.restart()
    secrets = sandbox.client("secretsmanager")
    assert secrets.get_secret_value(SecretId="made/token")["SecretString"] == "second"
    assert secrets.get_secret_value(SecretId="made/db")["SecretString"] == value
    level = sandbox.client("ssm").get_parameter(Name="/made/level")["Parameter"]
    assert level["Value"].startswith("arn:aws:secretsmanager:us-east-1:000000000000:secret:made/token")


def test_faults_apply(sandbox, secrets, ssm):
    try:
        sandbox.faults({"service": "secretsmanager", "kind": "throttle"}, {"service": "ssm", "kind": "error_before"})
        assert code_of(secrets.list_secrets) == "ThrottlingException"
        assert code_of(ssm.get_parameter, Name="/x") == "InternalServerError"
    finally:
        sandbox.faults()
