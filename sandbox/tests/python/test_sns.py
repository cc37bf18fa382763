"""SNS as boto3 sees it, and the mailbox."""

import email
import email.policy
import json

import pytest
from botocore.exceptions import ClientError


@pytest.fixture
def sns(sandbox):
    return sandbox.client("sns")


@pytest.fixture
def topic(sns, request):
    name = request.node.name.replace("[", "-").replace("]", "").replace(" ", "-")[:60]
    arn = sns.create_topic(Name="".join(c if c.isalnum() or c in "-_" else "-" for c in name))["TopicArn"]
    sns.subscribe(TopicArn=arn, Protocol="email", Endpoint="ops@example.com", ReturnSubscriptionArn=True)
    return arn


def mails_of(sandbox, message_id):
    found = [path for path in sandbox.mails if message_id in path.name]
    return [email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in found]


def test_a_message_becomes_a_mail(sandbox, sns, topic):
    text = "convert failed\n\nAnalysisException: Column 'partition_2' – does not exist\n"
    message = sns.publish(
        TopicArn=topic, Subject="[prod] FAILED daily 2026-11-19: convert", Message=text,
        MessageAttributes={
            "pipeline": {"DataType": "String", "StringValue": "daily_cdr_etl"},
            "trunkline-notice-id": {"DataType": "String", "StringValue": "n-1"},
        },
    )["MessageId"]
    (mail,) = mails_of(sandbox, message)
    assert mail["To"] == "ops@example.com"
    assert mail["Subject"] == "[prod] FAILED daily 2026-11-19: convert"
    assert mail["X-Sns-Attribute-pipeline"] == "daily_cdr_etl"
    assert mail["X-Sns-Topic-Arn"] == topic
    assert mail.get_content().replace("\r\n", "\n").rstrip("\n") == text.rstrip("\n")
    (entry,) = sandbox.ledger(service="sns", subject=topic)
    assert (entry["id"], entry["marker"], entry["operation"]) == (message, "n-1", "Publish")
    assert entry["caller"] == "AKIASANDBOXTEST" and entry["signed_at"]


def test_two_addresses_two_mails_and_none_twice(sandbox, sns, topic):
    first = sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="b@example.com", ReturnSubscriptionArn=True)
    again = sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="b@example.com", ReturnSubscriptionArn=True)
    assert first["SubscriptionArn"] == again["SubscriptionArn"]
    message = sns.publish(TopicArn=topic, Message="m")["MessageId"]
    assert sorted(mail["To"] for mail in mails_of(sandbox, message)) == ["b@example.com", "ops@example.com"]
    assert mails_of(sandbox, message)[0]["Subject"] == "AWS Notification Message"
    sns.unsubscribe(SubscriptionArn=first["SubscriptionArn"])
    message = sns.publish(TopicArn=topic, Message="m")["MessageId"]
    assert len(mails_of(sandbox, message)) == 1


@pytest.mark.parametrize("subject", ["two\nlines", "ü", "x" * 100, " leading", "tab\there"])
def test_subjects_that_sns_refuses(sns, topic, subject):
    with pytest.raises(ClientError) as error:
        sns.publish(TopicArn=topic, Subject=subject, Message="m")
    assert error.value.response["Error"]["Code"] == "InvalidParameter"
    assert error.value.response["Error"]["Message"] == "Invalid parameter: Subject"


def test_messages_that_sns_refuses(sns, topic):
    for arguments in [{"Message": ""}, {"Message": "x" * (256 * 1024 + 1)}, {"Message": "{}", "MessageStructure": "json"}]:
        with pytest.raises(ClientError) as error:
            sns.publish(TopicArn=topic, **arguments)
        assert error.value.response["Error"]["Code"] == "InvalidParameter"
    sns.publish(TopicArn=topic, Message="x" * 256 * 1024)
    with pytest.raises(ClientError) as error:
        sns.publish(TopicArn=topic + "-absent", Message="m")
    assert error.value.response["Error"]["Code"] == "NotFound"


def test_structured_messages(sandbox, sns, topic):
    parts = json.dumps({"default": "d", "email": "for mail"})
    message = sns.publish(TopicArn=topic, Message=parts, MessageStructure="json")["MessageId"]
    assert mails_of(sandbox, message)[0].get_content().strip() == "for mail"


def test_fifo_topics_deduplicate(sandbox, sns):
    arn = sns.create_topic(Name="ordered.fifo", Attributes={"FifoTopic": "true"})["TopicArn"]
    sns.subscribe(TopicArn=arn, Protocol="email", Endpoint="fifo@example.com")
    first = sns.publish(TopicArn=arn, Message="m", MessageGroupId="g", MessageDeduplicationId="d1")
    again = sns.publish(TopicArn=arn, Message="m", MessageGroupId="g", MessageDeduplicationId="d1")
    other = sns.publish(TopicArn=arn, Message="m", MessageGroupId="g", MessageDeduplicationId="d2")
    assert first["MessageId"] == again["MessageId"] != other["MessageId"]
    assert first["SequenceNumber"] == again["SequenceNumber"] < other["SequenceNumber"]
    assert len(mails_of(sandbox, first["MessageId"])) == 1
    assert [entry["marker"] for entry in sandbox.ledger(service="sns", subject=arn)] == ["d1", "d2"]
    with pytest.raises(ClientError) as error:
        sns.publish(TopicArn=arn, Message="m")
    assert "MessageGroupId" in error.value.response["Error"]["Message"]


def test_batches_answer_for_each_entry(sandbox, sns, topic):
    answer = sns.publish_batch(
        TopicArn=topic,
        PublishBatchRequestEntries=[
            {"Id": "good", "Message": "m", "Subject": "s"},
            {"Id": "bad", "Message": "m", "Subject": "two\nlines"},
        ],
    )
    assert [entry["Id"] for entry in answer["Successful"]] == ["good"]
    assert [(entry["Id"], entry["Code"], entry["SenderFault"]) for entry in answer["Failed"]] == [
        ("bad", "InvalidParameter", True)
    ]
    assert len(mails_of(sandbox, answer["Successful"][0]["MessageId"])) == 1
    with pytest.raises(ClientError) as error:
        sns.publish_batch(TopicArn=topic, PublishBatchRequestEntries=[{"Id": str(n), "Message": "m"} for n in range(11)])
    assert error.value.response["Error"]["Code"] in ("TooManyEntriesInBatchRequest", "TooManyEntriesInBatchRequestException")


def test_topics_and_subscriptions_are_listed_by_page(sandbox, sns):
    arns = {sns.create_topic(Name=f"many-{n}")["TopicArn"] for n in range(105)}
    listed = {t["TopicArn"] for page in sns.get_paginator("list_topics").paginate() for t in page["Topics"]}
    assert arns <= listed
    arn = next(iter(arns))
    for n in range(3):
        sns.subscribe(TopicArn=arn, Protocol="email", Endpoint=f"{n}@example.com")
    subscriptions = sns.list_subscriptions_by_topic(TopicArn=arn)["Subscriptions"]
    assert [s["Endpoint"] for s in subscriptions] == ["0@example.com", "1@example.com", "2@example.com"]
    attributes = sns.get_topic_attributes(TopicArn=arn)["Attributes"]
    assert attributes["TopicArn"] == arn and attributes["SubscriptionsConfirmed"] == "3"
    one = sns.get_subscription_attributes(SubscriptionArn=subscriptions[0]["SubscriptionArn"])["Attributes"]
    assert one["Endpoint"] == "0@example.com"
    for arn in arns:
        sns.delete_topic(TopicArn=arn)
    with pytest.raises(ClientError):
        sns.get_topic_attributes(TopicArn=arn)


def test_what_the_sandbox_cannot_do_is_refused_by_name(sns, topic):
    with pytest.raises(ClientError) as error:
        sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint="arn:aws:lambda:us-east-1:000000000000:function:f")
    assert "lambda" in error.value.response["Error"]["Message"]
    with pytest.raises(ClientError) as error:
        sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="x@y.z", Attributes={"FilterPolicy": "{}"})
    assert "FilterPolicy" in error.value.response["Error"]["Message"]
    with pytest.raises(ClientError) as error:
        sns.create_platform_application(Name="n", Platform="GCM", Attributes={})
    assert "CreatePlatformApplication" in error.value.response["Error"]["Message"]


def test_topics_survive_a_kill(own_sandbox):
    sandbox = own_sandbox()
    sns = sandbox.client("sns")
    arn = sns.create_topic(Name="kept")["TopicArn"]
    sns.subscribe(TopicArn=arn, Protocol="email", Endpoint="a@example.com")
    sns.publish(TopicArn=arn, Message="before")
    sandbox.restart()
    sns = sandbox.client("sns")
    sns.publish(TopicArn=arn, Message="after")
    assert len(sandbox.mails) == 2
    assert [entry["sequence"] for entry in sandbox.ledger()] == [1, 2]
