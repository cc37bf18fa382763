"""Provisioning from CloudFormation templates."""

import json
import urllib.error
import zipfile

import pytest

TEMPLATE = """
Parameters:
  Raw: {Type: String, Default: prov-raw}
Resources:
  Bucket:
    Type: AWS::S3::Bucket
    Metadata: {Trunkline: {Upload: [jobs/etl.py]}}
    Properties: {BucketName: !Ref Raw}
  Database:
    Type: AWS::Glue::Database
    Properties:
      CatalogId: !Ref AWS::AccountId
      DatabaseInput: {Name: prov_db}
  Role:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument: {Version: "2012-10-17"}
  Crawler:
    Type: AWS::Glue::Crawler
    Properties:
      Name: prov-crawler
      Role: !GetAtt Role.Arn
      DatabaseName: !Ref Database
      Targets: {S3Targets: [{Path: !Sub "s3://${Bucket}/in/"}]}
      RecrawlPolicy: {RecrawlBehavior: CRAWL_NEW_FOLDERS_ONLY}
      SchemaChangePolicy: {UpdateBehavior: LOG, DeleteBehavior: LOG}
  Job:
    Type: AWS::Glue::Job
    Metadata: {Trunkline: {Sandbox: {Script: sql/etl.sql}}}
    Properties:
      Name: prov-job
      Role: !GetAtt Role.Arn
      Command: {Name: glueetl, PythonVersion: 3, ScriptLocation: !Sub "s3://${Bucket}/jobs/etl.py"}
      GlueVersion: "5.0"
      NumberOfWorkers: 10
      WorkerType: G.1X
      DefaultArguments: {--database: !Ref Database}
  WorkGroup:
    Type: AWS::Athena::WorkGroup
    Properties:
      Name: prov-group
      WorkGroupConfiguration:
        ResultConfiguration: {OutputLocation: !Sub "s3://${Bucket}/results/"}
  Topic:
    Type: AWS::SNS::Topic
    Properties:
      TopicName: prov-topic
      Subscription: [{Protocol: email, Endpoint: a@example.com}]
Outputs:
  Topic: {Value: !Ref Topic}
"""


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "my_pipeline"
    (folder / "sql").mkdir(parents=True)
    (folder / "jobs").mkdir()
    (folder / "sql/etl.sql").write_text("select 1;")
    (folder / "jobs/etl.py").write_text("print('x')")
    return folder


def provision(sandbox, folder, template=TEMPLATE, **parameters):
    return sandbox.own("provision", {"template": template, "parameters": parameters, "folder": str(folder)})


def changes(answer):
    return {resource["logical_id"]: resource["change"] for resource in answer["resources"]}


def test_a_template_makes_everything_once(sandbox, folder):
    first = provision(sandbox, folder)
    assert first["outputs"] == {"Topic": "arn:aws:sns:us-east-1:000000000000:prov-topic"}
    assert set(changes(first).values()) == {"created"}

    assert sandbox.client("s3").get_object(Bucket="prov-raw", Key="jobs/etl.py")["Body"].read() == b"print('x')"
    glue = sandbox.client("glue")
    assert glue.get_database(Name="prov_db")["Database"]["Name"] == "prov_db"
    crawler = glue.get_crawler(Name="prov-crawler")["Crawler"]
    assert crawler["Targets"]["S3Targets"][0]["Path"] == "s3://prov-raw/in/"
    assert crawler["RecrawlPolicy"] == {"RecrawlBehavior": "CRAWL_NEW_FOLDERS_ONLY"}
    job = glue.get_job(JobName="prov-job")["Job"]
    assert job["NumberOfWorkers"] == 10 and job["DefaultArguments"] == {"--database": "prov_db"}
    assert "TrunklineSandboxScript" not in json.dumps(job, default=str)
    group = sandbox.client("athena").get_work_group(WorkGroup="prov-group")["WorkGroup"]
    assert group["Configuration"]["ResultConfiguration"]["OutputLocation"] == "s3://prov-raw/results/"
    topics = sandbox.client("sns").list_subscriptions_by_topic(TopicArn=first["outputs"]["Topic"])
    assert [s["Endpoint"] for s in topics["Subscriptions"]] == ["a@example.com"]

    again = provision(sandbox, folder)
    assert set(changes(again).values()) == {"unchanged"}

    (folder / "sql/etl.sql").write_text("select 2;")
    after = changes(provision(sandbox, folder))
    assert after["Job"] == "updated" and after["Crawler"] == "unchanged"

    glue.delete_crawler(Name="prov-crawler")
    assert changes(provision(sandbox, folder))["Crawler"] == "created"


def test_parameters_reach_the_resources(sandbox, folder):
    answer = provision(sandbox, folder, Raw="prov-other")
    assert {r["name"] for r in answer["resources"] if r["type"] == "AWS::S3::Bucket"} == {"prov-other"}


def test_a_wrong_template_makes_nothing_and_tells_all(sandbox, folder):
    template = TEMPLATE.replace("prov-raw", "prov-wrong") + "  Loop: {Value: !Ref Nothing}\n"
    template = template.replace("GlueVersion:", "GlueVersoin:").replace("AWS::SNS::Topic\n", "AWS::EC2::Instance\n")
    with pytest.raises(urllib.error.HTTPError) as error:
        provision(sandbox, folder, template)
    assert error.value.code == 400
    message = json.load(error.value)["error"]["message"]
    assert "property GlueVersoin is not supported" in message
    assert "AWS::EC2::Instance is not supported" in message
    assert all(line.startswith("line ") for line in message.splitlines())
    assert "prov-wrong" not in [b["Name"] for b in sandbox.client("s3").list_buckets()["Buckets"]]


MESSAGES = """
Resources:
  Code:
    Type: AWS::S3::Bucket
    Metadata: {Trunkline: {Upload: [function.zip]}}
    Properties: {BucketName: prov-code}
  Role: {Type: AWS::IAM::Role}
  Inline:
    Type: AWS::Lambda::Function
    Properties:
      FunctionName: prov-inline
      Runtime: python3.12
      Handler: index.handler
      Role: !GetAtt Role.Arn
      Timeout: 20
      Environment: {Variables: {QUEUE: !Ref Queue, BUS: !Ref Bus}}
      Code:
        ZipFile: |
          import os
          def handler(event, context):
              return [os.environ["QUEUE"], os.environ["BUS"]]
  Packed:
    Type: AWS::Lambda::Function
    Properties:
      Runtime: python3.12
      Handler: main.run
      Role: !GetAtt Role.Arn
      Timeout: 20
      Code: {S3Bucket: !Ref Code, S3Key: function.zip}
  Permission:
    Type: AWS::Lambda::Permission
    Properties: {Action: "lambda:InvokeFunction", FunctionName: !GetAtt Inline.Arn, Principal: events.amazonaws.com}
  Dead: {Type: AWS::SQS::Queue, Properties: {FifoQueue: true}}
  Queue:
    Type: AWS::SQS::Queue
    Properties:
      QueueName: prov-queue.fifo
      FifoQueue: true
      VisibilityTimeout: 60
      RedrivePolicy: {deadLetterTargetArn: !GetAtt Dead.Arn, maxReceiveCount: 3}
  QueuePolicy:
    Type: AWS::SQS::QueuePolicy
    Properties: {Queues: [!Ref Queue], PolicyDocument: {}}
  Bus: {Type: AWS::Events::EventBus, Properties: {Name: prov-bus}}
  Topic:
    Type: AWS::SNS::Topic
    Properties:
      TopicName: prov-to-queue.fifo
      FifoTopic: true
      Subscription: [{Protocol: sqs, Endpoint: !GetAtt Queue.Arn}]
Outputs:
  Packed: {Value: !GetAtt Packed.Arn}
"""


def test_functions_queues_and_buses_are_made(sandbox, folder):
    with zipfile.ZipFile(folder / "function.zip", "w") as archive:
        archive.writestr("main.py", "def run(event, context): return event + 1")
    first = provision(sandbox, folder, MESSAGES)
    assert set(changes(first).values()) == {"created", "recorded"}
    functions, sqs = sandbox.client("lambda", read_timeout=90), sandbox.client("sqs")

    def answer(name, payload):
        return json.loads(functions.invoke(FunctionName=name, Payload=payload)["Payload"].read())

    queue, bus = answer("prov-inline", "{}")
    assert bus == "prov-bus"
    assert answer(first["outputs"]["Packed"], "41") == 42
    attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    assert attributes["VisibilityTimeout"] == "60" and attributes["FifoQueue"] == "true"
    target = json.loads(attributes["RedrivePolicy"])["deadLetterTargetArn"]
    assert target.endswith(":my-pipeline-Dead.fifo")
    assert sandbox.client("events").describe_event_bus(Name="prov-bus")["Name"] == "prov-bus"
    sandbox.client("sns").publish(
        TopicArn="arn:aws:sns:us-east-1:000000000000:prov-to-queue.fifo", Message="m", MessageGroupId="g",
        MessageDeduplicationId="d",
    )
    assert json.loads(sqs.receive_message(QueueUrl=queue)["Messages"][0]["Body"])["Message"] == "m"

    assert set(changes(provision(sandbox, folder, MESSAGES)).values()) == {"unchanged", "recorded"}
    changed = MESSAGES.replace("[os.environ", "[1, os.environ").replace("VisibilityTimeout: 60", "VisibilityTimeout: 61")
    after = changes(provision(sandbox, folder, changed))
    assert after["Inline"] == after["Queue"] == "updated" and after["Bus"] == "unchanged"
    assert answer("prov-inline", "{}")[0] == 1
