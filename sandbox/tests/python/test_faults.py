"""The fault script, the age limit of signatures, and the sandbox's own paths."""

import datetime
import json
import time
import urllib.error
import urllib.request

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

NOW = datetime.timezone.utc


@pytest.fixture
def faulty(own_sandbox):
    return own_sandbox()


def topic_of(sandbox):
    sns = sandbox.client("sns")
    arn = sns.create_topic(Name="t")["TopicArn"]
    sns.subscribe(TopicArn=arn, Protocol="email", Endpoint="a@example.com")
    return sns, arn


def signed_request(sandbox, service, age, target=None, form=None):
    """A request signed `age` seconds ago (the sandbox reads the date and not the signature)."""
    date = datetime.datetime.now(NOW) - datetime.timedelta(seconds=age)
    headers = {
        "Authorization": f"AWS4-HMAC-SHA256 Credential=AKIAOLD/{date:%Y%m%d}/us-east-1/{service}/aws4_request,"
        " SignedHeaders=host, Signature=00",
        "X-Amz-Date": f"{date:%Y%m%dT%H%M%SZ}",
        "Content-Type": "application/x-amz-json-1.1" if target else "application/x-www-form-urlencoded",
    }
    if target:
        headers["X-Amz-Target"] = target
    body = (form or "{}").encode()
    request = urllib.request.Request(f"{sandbox.endpoint}/", data=body, headers=headers)
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_old_signatures_are_refused_in_each_protocol(sandbox):
    for service, target in [("glue", "AWSGlue.GetDatabases"), ("athena", "AmazonAthena.ListWorkGroups")]:
        status, body = signed_request(sandbox, service, 16 * 60, target)
        assert status == 400 and json.loads(body)["__type"] == "InvalidSignatureException"
        assert "Signature expired: " in json.loads(body)["Message"]
    status, body = signed_request(sandbox, "sns", 16 * 60, form="Action=ListTopics&Version=2010-03-31")
    assert status == 403 and "<Code>SignatureDoesNotMatch</Code>" in body
    status, _ = signed_request(sandbox, "sns", 14 * 60, form="Action=ListTopics&Version=2010-03-31")
    assert status == 200
    status, body = signed_request(sandbox, "sns", -16 * 60, form="Action=ListTopics&Version=2010-03-31")
    assert status == 403 and "not yet current" in body


def test_the_age_limit_can_be_scaled(own_sandbox):
    sandbox = own_sandbox("--signature-age-max-ms", "5000")
    assert signed_request(sandbox, "sns", 2, form="Action=ListTopics&Version=2010-03-31")[0] == 200
    assert signed_request(sandbox, "sns", 7, form="Action=ListTopics&Version=2010-03-31")[0] == 403
    assert sandbox.own("health")["signature_age_max_ms"] == 5000


def test_a_rule_can_refuse_signatures_earlier(faulty):
    faulty.faults({"service": "sns", "kind": "refuse_old_signature", "max_age_ms": 3000})
    assert signed_request(faulty, "sns", 0, form="Action=ListTopics&Version=2010-03-31")[0] == 200
    assert signed_request(faulty, "sns", 5, form="Action=ListTopics&Version=2010-03-31")[0] == 403


def test_throttling_starts_nothing(faulty):
    sns, arn = topic_of(faulty)
    faulty.faults({"service": "sns", "operation": "Publish", "kind": "throttle", "times": 2})
    for _ in range(2):
        with pytest.raises(ClientError) as error:
            sns.publish(TopicArn=arn, Message="m")
        assert error.value.response["Error"]["Code"] == "Throttling"
    assert faulty.ledger() == [] and faulty.mails == []
    sns.publish(TopicArn=arn, Message="m")
    assert len(faulty.ledger()) == 1


def test_errors_before_and_after(faulty):
    sns, arn = topic_of(faulty)
    faulty.faults({"operation": "Publish", "kind": "error_before", "times": 1})
    with pytest.raises(ClientError):
        sns.publish(TopicArn=arn, Message="m")
    assert faulty.ledger() == []
    faulty.faults({"operation": "Publish", "kind": "error_after", "times": 1})
    with pytest.raises(ClientError) as error:
        sns.publish(TopicArn=arn, Message="m")
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert len(faulty.ledger()) == 1 and len(faulty.mails) == 1


def test_a_dropped_answer_leaves_the_start_behind(faulty):
    sns, arn = topic_of(faulty)
    faulty.faults({"operation": "Publish", "kind": "drop_answer", "times": 1})
    with pytest.raises(ConnectionClosedError):
        sns.publish(TopicArn=arn, Message="m")
    assert len(faulty.ledger()) == 1
    sns.publish(TopicArn=arn, Message="m")
    assert len(faulty.ledger()) == 2


def test_delays(faulty):
    sns, _ = topic_of(faulty)
    faulty.faults({"operation": "ListTopics", "kind": "delay", "delay_ms": 400, "times": 1})
    begun = time.monotonic()
    sns.list_topics()
    assert time.monotonic() - begun >= 0.4


def test_s3_slows_down(faulty):
    s3 = faulty.client("s3")
    faulty.faults({"service": "s3", "operation": "PutObject", "kind": "throttle", "times": 1})
    s3.create_bucket(Bucket="slow-bucket")
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket="slow-bucket", Key="k", Body=b"x")
    assert error.value.response["Error"]["Code"] == "SlowDown"
    s3.put_object(Bucket="slow-bucket", Key="k", Body=b"x")


def test_the_script_survives_a_kill_with_its_counts(faulty):
    sns, arn = topic_of(faulty)
    faulty.faults({"operation": "Publish", "kind": "throttle", "times": 2})
    with pytest.raises(ClientError):
        sns.publish(TopicArn=arn, Message="m")
    faulty.restart()
    sns = faulty.client("sns")
    with pytest.raises(ClientError):
        sns.publish(TopicArn=arn, Message="m")
    sns.publish(TopicArn=arn, Message="m")


def test_mistakes_in_the_script_are_told(faulty):
    with pytest.raises(urllib.error.HTTPError) as error:
        faulty.faults({"kind": "throttle", "tmies": 1})
    assert error.value.code == 400 and "tmies" in error.value.read().decode()


def test_calls_are_counted_and_the_ledger_filters(faulty):
    sns, arn = topic_of(faulty)
    for _ in range(3):
        sns.publish(TopicArn=arn, Message="m")
    counts = {(c["service"], c["operation"]): c["count"] for c in faulty.own("calls")}
    assert counts[("sns", "Publish")] == 3 and counts[("sns", "CreateTopic")] == 1
    assert len(faulty.ledger(after=1)) == 2
    assert faulty.ledger(operation="StartJobRun") == []


def test_own_paths_answer_on_loopback_names_only(sandbox):
    request = urllib.request.Request(f"{sandbox.endpoint}/_sandbox/health", headers={"Host": "evil.example:80"})
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(request)
    assert error.value.code == 403


def test_one_folder_one_sandbox(own_sandbox, tmp_path):
    own_sandbox()
    with pytest.raises(AssertionError, match="another sandbox is running"):
        own_sandbox()
