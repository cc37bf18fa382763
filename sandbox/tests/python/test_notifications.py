"""What S3 tells queues of new objects, as boto3 sees it."""

import json
import urllib.parse
import urllib.request
import uuid

import pytest
from botocore.exceptions import ClientError

TEMPLATE = """
Resources:
  Bucket:
    Type: AWS::S3::Bucket
    Properties:
      BucketName: told-bucket
      NotificationConfiguration:
        QueueConfigurations:
          - Event: s3:ObjectCreated:*
            Queue: !GetAtt Queue.Arn
            Filter: {S3Key: {Rules: [{Name: prefix, Value: in/}, {Name: suffix, Value: .json}]}}
  Queue: {Type: AWS::SQS::Queue, Properties: {QueueName: told-queue}}
"""


@pytest.fixture
def sqs(sandbox):
    return sandbox.client("sqs")


@pytest.fixture
def queue(sqs):
    return sqs.create_queue(QueueName=f"q-{uuid.uuid4()}")["QueueUrl"]


def arn_of(sqs, queue):
    return sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def told(sqs, queue):
    """Every message so far, deleted."""
    bodies = []
    while messages := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            bodies.append(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    return bodies


def listen(s3, sqs, bucket, queue, events=("s3:ObjectCreated:*",), rules=(), **more):
    one = {"Id": "mine", "QueueArn": arn_of(sqs, queue), "Events": list(events)}
    if rules:
        one["Filter"] = {"Key": {"FilterRules": [{"Name": name, "Value": value} for name, value in rules]}}
    s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [one]}, **more
    )


def test_a_queue_is_tried_and_then_told_of_objects(sandbox, s3, bucket, sqs, queue):
    listen(s3, sqs, bucket, queue)
    [test] = told(sqs, queue)
    assert (test["Event"], test["Service"], test["Bucket"]) == ("s3:TestEvent", "Amazon S3", bucket)
    key = "a b/c+d/grüße%3A.json"
    put = s3.put_object(Bucket=bucket, Key=key, Body=b"12345")
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": key})
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="parts", UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": part}]}
    s3.complete_multipart_upload(Bucket=bucket, Key="parts", UploadId=upload, MultipartUpload=parts)
    s3.delete_object(Bucket=bucket, Key="copy")
    records = [body["Records"][0] for body in told(sqs, queue)]
    names = ["ObjectCreated:Put", "ObjectCreated:Copy", "ObjectCreated:CompleteMultipartUpload"]
    assert [record["eventName"] for record in records] == names
    first = records[0]["s3"]
    assert first["bucket"]["name"] == bucket and first["configurationId"] == "mine"
    assert first["object"]["key"] != key and urllib.parse.unquote_plus(first["object"]["key"]) == key
    assert (first["object"]["size"], f'"{first["object"]["eTag"]}"') == (5, put["ETag"])
    sequencers = [int(record["s3"]["object"]["sequencer"], 16) for record in records]
    assert sequencers == sorted(set(sequencers))


def test_filters_choose_and_outlive_the_process(sandbox, s3, bucket, sqs, queue):
    rules = [("prefix", "in/"), ("suffix", ".json")]
    listen(s3, sqs, bucket, queue, ["s3:ObjectCreated:Put"], rules, SkipDestinationValidation=True)
    assert told(sqs, queue) == []
    sandbox.restart()
    s3, sqs = sandbox.client("s3"), sandbox.client("sqs")
    queue = sqs.get_queue_url(QueueName=queue.rsplit("/", 1)[1])["QueueUrl"]
    for key in ["in/a.json", "in/a.csv", "out/a.json"]:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    assert [body["Records"][0]["s3"]["object"]["key"] for body in told(sqs, queue)] == ["in/a.json"]
    [shown] = s3.get_bucket_notification_configuration(Bucket=bucket)["QueueConfigurations"]
    assert (shown["Id"], shown["Events"]) == ("mine", ["s3:ObjectCreated:Put"])
    found = {rule["Name"].lower(): rule["Value"] for rule in shown["Filter"]["Key"]["FilterRules"]}
    assert found == dict(rules)
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
    s3.put_object(Bucket=bucket, Key="in/b.json", Body=b"x")
    assert told(sqs, queue) == []
    assert "QueueConfigurations" not in s3.get_bucket_notification_configuration(Bucket=bucket)


def test_what_would_not_work_is_refused(s3, bucket, sqs, queue):
    def code(act):
        with pytest.raises(ClientError) as error:
            act()
        return error.value.response["Error"]["Code"]

    assert code(lambda: listen(s3, sqs, bucket, queue, ["s3:ObjectRemoved:*"])) == "InvalidArgument"
    gone = {"QueueArn": arn_of(sqs, queue) + "-gone", "Events": ["s3:ObjectCreated:*"]}
    both = [{"QueueArn": arn_of(sqs, queue), "Events": ["s3:ObjectCreated:*"]}] * 2
    for wanted, expected in [
        ({"QueueConfigurations": [gone]}, "InvalidArgument"),
        ({"QueueConfigurations": both}, "InvalidArgument"),
        ({"EventBridgeConfiguration": {}}, "NotImplemented"),
    ]:
        put = lambda: s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=wanted)
        assert code(put) == expected, wanted
    assert code(lambda: s3.get_bucket_notification_configuration(Bucket="no-such-bucket")) == "NoSuchBucket"
    assert told(sqs, queue) == []


def test_a_template_says_who_is_told(sandbox, s3, sqs):
    def provision():
        wish = json.dumps({"template": TEMPLATE, "parameters": {}, "stack": "told"}).encode()
        request = urllib.request.Request(
            f"{sandbox.endpoint}/_sandbox/provision", wish, {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(request).read()

    provision()
    queue = sqs.get_queue_url(QueueName="told-queue")["QueueUrl"]
    provision()
    assert [body["Event"] for body in told(sqs, queue)] == ["s3:TestEvent"], "once, where nothing changed"
    s3.put_object(Bucket="told-bucket", Key="in/a.json", Body=b"x")
    s3.put_object(Bucket="told-bucket", Key="in/a.txt", Body=b"x")
    assert [body["Records"][0]["s3"]["object"]["key"] for body in told(sqs, queue)] == ["in/a.json"]
