"""SQS as boto3 sees it."""

import hashlib
import json
import time

import pytest
from botocore.exceptions import ClientError

from conftest import wait_until


@pytest.fixture
def sqs(sandbox):
    return sandbox.client("sqs")


@pytest.fixture
def queue(sqs, request):
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)[:70]
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    yield url
    sqs.delete_queue(QueueUrl=url)


def receive(sqs, queue, **more):
    wish = {"MaxNumberOfMessages": 10, "MessageSystemAttributeNames": ["All"], "MessageAttributeNames": ["All"]} | more
    return sqs.receive_message(QueueUrl=queue, **wish).get("Messages", [])


def arn_of(sqs, queue):
    return sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def code_of(act):
    with pytest.raises(ClientError) as error:
        act()
    return error.value.response["Error"].get("QueryErrorCode") or error.value.response["Error"]["Code"]


def test_a_message_is_received_hidden_and_deleted(sandbox, sqs, queue):
    attributes = {
        "trunkline-attempt": {"DataType": "String", "StringValue": "a-1"},
        "count": {"DataType": "Number", "StringValue": "5"},
        "raw": {"DataType": "Binary", "BinaryValue": b"\x00\x01"},
    }
    sent = sqs.send_message(QueueUrl=queue, MessageBody="ünï – body", MessageAttributes=attributes)
    assert sent["MD5OfMessageBody"] == hashlib.md5("ünï – body".encode()).hexdigest()
    (entry,) = sandbox.ledger(service="sqs", subject=queue.rsplit("/", 1)[1])
    assert (entry["operation"], entry["id"], entry["marker"]) == ("SendMessage", sent["MessageId"], "a-1")
    (message,) = receive(sqs, queue, VisibilityTimeout=1)
    assert (message["Body"], message["MessageId"]) == ("ünï – body", sent["MessageId"])
    assert message["MessageAttributes"] == attributes
    assert message["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"
    assert receive(sqs, queue) == []
    again = wait_until(lambda: receive(sqs, queue, VisibilityTimeout=30), 30, "the message to be seen again")
    assert again[0]["Attributes"]["ApproximateReceiveCount"] == "2"
    # An older receipt is taken and deletes nothing.
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=again[0]["ReceiptHandle"], VisibilityTimeout=0)
    (last,) = receive(sqs, queue)
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=last["ReceiptHandle"])
    counts = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    assert counts["ApproximateNumberOfMessages"] == counts["ApproximateNumberOfMessagesNotVisible"] == "0"


def test_long_polls_wait_and_delays_hold(sqs, queue):
    begun = time.monotonic()
    sqs.send_message(QueueUrl=queue, MessageBody="later", DelaySeconds=1)
    assert receive(sqs, queue) == []
    assert receive(sqs, queue, WaitTimeSeconds=20)[0]["Body"] == "later"
    assert 0.5 < time.monotonic() - begun < 20


def test_batches_tell_of_each_entry(sqs, queue):
    entries = [{"Id": "a", "MessageBody": "1"}, {"Id": "b", "MessageBody": "2", "DelaySeconds": 901}]
    answer = sqs.send_message_batch(QueueUrl=queue, Entries=entries)
    assert [done["Id"] for done in answer["Successful"]] == ["a"]
    assert [(bad["Id"], bad["SenderFault"]) for bad in answer["Failed"]] == [("b", True)]
    messages = receive(sqs, queue)
    gone = [{"Id": "x", "ReceiptHandle": messages[0]["ReceiptHandle"]}, {"Id": "y", "ReceiptHandle": "?"}]
    answer = sqs.delete_message_batch(QueueUrl=queue, Entries=gone)
    assert answer["Successful"] == [{"Id": "x"}] and answer["Failed"][0]["Code"] == "ReceiptHandleIsInvalid"
    twice = [{"Id": "a", "MessageBody": "1"}] * 2
    assert code_of(lambda: sqs.send_message_batch(QueueUrl=queue, Entries=twice)) == "BatchEntryIdsNotDistinct"


def test_fifo_queues_keep_order_and_drop_repetitions(sandbox, sqs):
    url = sqs.create_queue(QueueName="ordered.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]

    def send(body, group, key):
        wish = {"MessageBody": body, "MessageGroupId": group, "MessageDeduplicationId": key}
        return sqs.send_message(QueueUrl=url, **wish)

    first = send("1", "a", "k1")
    again = send("other", "a", "k1")
    assert (first["MessageId"], first["SequenceNumber"]) == (again["MessageId"], again["SequenceNumber"])
    send("2", "a", "k2")
    send("3", "b", "k3")
    assert len(sandbox.ledger(service="sqs", subject="ordered.fifo")) == 3
    (one,) = receive(sqs, url, MaxNumberOfMessages=1)
    assert (one["Body"], one["Attributes"]["MessageGroupId"]) == ("1", "a")
    assert [message["Body"] for message in receive(sqs, url)] == ["3"], "group a waits for its first"
    sqs.delete_message(QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])
    assert [message["Body"] for message in receive(sqs, url)] == ["2"]
    without = {"QueueUrl": url, "MessageBody": "x"}
    assert code_of(lambda: sqs.send_message(**without)) == "ValidationException"
    sqs.delete_queue(QueueUrl=url)


def test_what_is_received_too_often_goes_to_the_dead_letter_queue(sqs, queue):
    dead = sqs.create_queue(QueueName="dead-letters")["QueueUrl"]
    policy = json.dumps({"deadLetterTargetArn": arn_of(sqs, dead), "maxReceiveCount": 2})
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"RedrivePolicy": policy, "VisibilityTimeout": "0"})
    sqs.send_message(QueueUrl=queue, MessageBody="poison")
    for _ in range(2):
        assert [message["Body"] for message in receive(sqs, queue)] == ["poison"]
    assert receive(sqs, queue) == []
    (moved,) = receive(sqs, dead)
    assert moved["Body"] == "poison"
    assert moved["Attributes"]["DeadLetterQueueSourceArn"] == arn_of(sqs, queue)
    sqs.delete_queue(QueueUrl=dead)


def test_queues_are_listed_emptied_and_refused(sqs, queue):
    name = queue.rsplit("/", 1)[1]
    assert sqs.get_queue_url(QueueName=name)["QueueUrl"] == queue
    assert sqs.create_queue(QueueName=name)["QueueUrl"] == queue
    assert queue in sqs.list_queues(QueueNamePrefix=name[:10])["QueueUrls"]
    different = {"QueueName": name, "Attributes": {"VisibilityTimeout": "7"}}
    assert code_of(lambda: sqs.create_queue(**different)) in ("QueueNameExists", "QueueAlreadyExists")
    absent = queue + "-absent"
    with pytest.raises(sqs.exceptions.QueueDoesNotExist):
        sqs.send_message(QueueUrl=absent, MessageBody="m")
    sqs.send_message(QueueUrl=queue, MessageBody="m")
    sqs.purge_queue(QueueUrl=queue)
    assert receive(sqs, queue) == []
    assert code_of(lambda: sqs.create_queue(QueueName="a b")) == "InvalidAttributeValue"
    attributes = {"QueueUrl": queue, "Attributes": {"Colour": "red"}}
    assert code_of(lambda: sqs.set_queue_attributes(**attributes)) == "InvalidAttributeName"


def test_messages_outlive_the_process(own_sandbox):
    sandbox = own_sandbox()
    sqs = sandbox.client("sqs")
    url = sqs.create_queue(QueueName="kept.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    wish = {"QueueUrl": url, "MessageGroupId": "g", "MessageDeduplicationId": "d"}
    sent = sqs.send_message(MessageBody="m", **wish)
    sandbox.restart()
    sqs = sandbox.client("sqs")
    assert sqs.send_message(MessageBody="m", **wish)["MessageId"] == sent["MessageId"]
    (message,) = receive(sqs, url, VisibilityTimeout=600)
    sandbox.restart()
    sqs = sandbox.client("sqs")
    assert receive(sqs, url) == []
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert not list(sandbox.root.glob("sqs/*/messages/*.json"))


def test_topics_deliver_to_queues(sandbox, sqs, queue):
    sns = sandbox.client("sns")
    topic = sns.create_topic(Name="to-queues")["TopicArn"]
    subscribe = {"TopicArn": topic, "Protocol": "sqs", "Endpoint": arn_of(sqs, queue), "ReturnSubscriptionArn": True}
    first = sns.subscribe(**subscribe)["SubscriptionArn"]
    attribute = {"kind": {"DataType": "String", "StringValue": "k"}}
    sent = sns.publish(TopicArn=topic, Subject="s", Message="m", MessageAttributes=attribute)
    (message,) = receive(sqs, queue)
    envelope = json.loads(message["Body"])
    assert (envelope["Message"], envelope["Subject"], envelope["MessageId"]) == ("m", "s", sent["MessageId"])
    assert envelope["MessageAttributes"] == {"kind": {"Type": "String", "Value": "k"}}
    sns.unsubscribe(SubscriptionArn=first)
    sns.subscribe(**subscribe, Attributes={"RawMessageDelivery": "true"})
    sns.publish(TopicArn=topic, Message="raw", MessageAttributes=attribute)
    (message,) = receive(sqs, queue)
    assert (message["Body"], message["MessageAttributes"]) == ("raw", attribute)
    with pytest.raises(ClientError) as error:
        sns.subscribe(**subscribe | {"Endpoint": arn_of(sqs, queue) + "-absent"})
    assert error.value.response["Error"]["Code"] == "InvalidParameter"
