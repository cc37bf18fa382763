"""`check` and `iam-policy`: planted defects are found, and the policy allows what a run calls and nothing else."""

import json
import re
import urllib.request

import botocore.loaders
import pytest

from project import Project

PIPELINE = """
name: sound
data_interval: none
defaults: { connection: aws, retries: 0, poll_interval: 1s }
tasks:
  crawl: { type: glue_crawler, crawler: raw }
  convert: { type: glue_job, job: convert }
  report:
    type: athena_query
    workgroup: reports
    database: lake
    query: SELECT count(*) AS calls FROM calls
    replace: { table: report, how: swap, location: s3://access-lake/report/ }
  quality: { type: step_function, state_machine: quality }
  call: { type: lambda_invoke, function: counter }
  arrived: { type: s3_wait, key: s3://access-lake/calls/part }
  queue: { type: sqs_send, queue: reports, body: done }
  later: { type: sns_publish, depends_on: report, topic: "arn:aws:sns:us-east-1:000000000000:done", message: "{{ tasks.report.outputs.row_count }}" }
  here: { type: command, command: [echo, hello] }
on_failure: [{ sns: "arn:aws:sns:us-east-1:000000000000:done" }]
"""

# What really runs for the policy: everything but the job and the crawler, which need data of their own.
WORKS = """
name: works
data_interval: none
defaults: { connection: aws, retries: 0, poll_interval: 1s }
tasks:
  arrived: { type: s3_wait, key: s3://access-lake/calls/part }
  report:
    type: athena_query
    depends_on: arrived
    database: lake
    output_location: s3://access-lake/results/
    query: SELECT count(*) AS calls FROM calls
    replace: { table: report, how: swap, location: s3://access-lake/report/ }
  quality: { type: step_function, state_machine: quality }
  call: { type: lambda_invoke, function: counter }
  queue: { type: sqs_send, queue: reports, body: done }
  tell: { type: sns_publish, topic: "arn:aws:sns:us-east-1:000000000000:done", message: done }
"""

TEMPLATE = """
Resources:
  Lake: {Type: AWS::S3::Bucket, Properties: {BucketName: access-lake}}
  Database:
    Type: AWS::Glue::Database
    Properties: {CatalogId: !Ref AWS::AccountId, DatabaseInput: {Name: lake}}
  Role:
    Type: AWS::IAM::Role
    Properties:
      RoleName: runner
      AssumeRolePolicyDocument:
        Statement: [{Effect: Allow, Action: "sts:AssumeRole", Principal: {AWS: "arn:aws:iam::000000000000:root"}}]
  Limited:
    Type: AWS::IAM::Role
    Properties:
      RoleName: limited
      AssumeRolePolicyDocument:
        Statement: [{Effect: Allow, Action: "sts:AssumeRole", Principal: {AWS: "arn:aws:iam::000000000000:root"}}]
      Policies:
        - PolicyName: most
          PolicyDocument:
            Statement:
              - {Effect: Allow, Action: "*", Resource: "*"}
              - {Effect: Deny, Action: "glue:StartJobRun", Resource: "arn:aws:glue:*:*:job/conv*"}
  Crawler:
    Type: AWS::Glue::Crawler
    Properties:
      Name: raw
      Role: !GetAtt Role.Arn
      DatabaseName: !Ref Database
      Targets: {S3Targets: [{Path: s3://access-lake/calls/}]}
  Job:
    Type: AWS::Glue::Job
    Metadata: {Trunkline: {Sandbox: {Script: job.sql}}}
    Properties:
      Name: convert
      Role: !GetAtt Role.Arn
      Command: {Name: glueetl, ScriptLocation: s3://access-lake/job.py}
  Workgroup:
    Type: AWS::Athena::WorkGroup
    Properties:
      Name: reports
      WorkGroupConfiguration:
        EnforceWorkGroupConfiguration: false
        ResultConfiguration: {OutputLocation: s3://access-lake/results/}
  Machine:
    Type: AWS::StepFunctions::StateMachine
    Properties:
      StateMachineName: quality
      RoleArn: !GetAtt Role.Arn
      DefinitionString: '{"StartAt": "A", "States": {"A": {"Type": "Pass", "End": true}}}'
  Function:
    Type: AWS::Lambda::Function
    Properties:
      FunctionName: counter
      Runtime: python3.12
      Handler: index.handler
      Role: !GetAtt Role.Arn
      Code: {ZipFile: "def handler(event, context): return 1"}
  Queue: {Type: AWS::SQS::Queue, Properties: {QueueName: reports}}
  Topic: {Type: AWS::SNS::Topic, Properties: {TopicName: done}}
"""

ENVIRONMENTS = """
environments:
  local: { connections: { aws: { sandbox: true } } }
  account:
    connections:
      aws: { type: aws, region: us-east-1, endpoint: ENDPOINT, role_arn: "arn:aws:iam::000000000000:role/ROLE" }
"""

# Calls by another name than the action that allows them.
ACTIONS = {
    "lambda:Invoke": "lambda:InvokeFunction",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:DeleteObjects": "s3:DeleteObject",
}
# Nobody needs a permission to ask who they are.
FREE = {"sts:GetCallerIdentity", "sts:AssumeRole"}


@pytest.fixture(scope="module")
def project(binary, environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("access")
    (folder / "trunkline.yaml").write_text(ENVIRONMENTS)
    for name, text in [("sound", PIPELINE), ("works", WORKS)]:
        home = folder / "pipelines" / name
        home.mkdir(parents=True)
        (home / "pipeline.yaml").write_text(text)
        (home / "job.sql").write_text("SELECT 1")
        (home / "aws.yaml").write_text(TEMPLATE)
    keys = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "secret"}
    made = Project(binary, environment | keys, folder)
    made.call("check", "works", code=2)
    made.edit("trunkline.yaml", "ENDPOINT", made.endpoint)
    made.client("s3").put_object(Bucket="access-lake", Key="calls/part", Body=b"1\n")
    columns = {"Columns": [{"Name": "id", "Type": "int"}], "Location": "s3://access-lake/calls/",
               "InputFormat": "org.apache.hadoop.mapred.TextInputFormat",
               "SerdeInfo": {"SerializationLibrary": "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe"}}
    made.client("glue").create_table(
        DatabaseName="lake",
        TableInput={"Name": "calls", "TableType": "EXTERNAL_TABLE", "StorageDescriptor": columns})
    yield made
    made.stop()


def check(project, *arguments, code=0):
    rows = json.loads(project.call("check", "sound", "--json", *arguments, code=code).stdout)
    return {verdict: [f"{row['part']}: {row['text']}" for row in rows if row["verdict"] == verdict]
            for verdict in ("fine", "wrong", "not_checked")}


def policy_of(project, pipeline):
    return json.loads(project.call("iam-policy", pipeline).stdout)


def as_role(project, role):
    path = project.folder / "trunkline.yaml"
    path.write_text(re.sub(r"role/\w+", f"role/{role}", path.read_text()))


def test_a_sound_pipeline_passes_and_what_was_not_looked_at_is_said(project):
    found = check(project)
    assert found["wrong"] == []
    for part in ("crawl: crawler raw exists", "convert: Glue job convert exists", "report: workgroup reports exists",
                 "report: table lake.calls exists", "report: bucket access-lake exists", "on_failure: topic"):
        assert any(text.startswith(part) for text in found["fine"]), (part, found)
    unknown = "\n".join(found["not_checked"])
    assert "later: needs outputs of earlier tasks" in unknown and "here: command does not look" in unknown


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("job: convert", "job: convrt", "convert: there is no Glue job convrt"),
        ("workgroup: reports", "workgroup: repots", "report: there is no workgroup repots"),
        ("s3://access-lake/calls/part", "s3://acess-lake/calls/part", "arrived: there is no bucket acess-lake"),
        ("FROM calls", "FROM clals", "report: there is no table lake.clals"),
        ("000:done\" }]", "000:dune\" }]", "on_failure: there is no topic arn:aws:sns:us-east-1:000000000000:dune"),
        ("crawler: raw", "crawler: row", "crawl: there is no crawler row"),
        ("function: counter", "function: conter", "call: there is no Lambda function conter"),
        ("state_machine: quality", "state_machine: qualty", "quality: there is no state machine qualty"),
        ("state_machine: quality", "state_machine: arn:aws:states:eu-west-1:000000000000:stateMachine:quality",
         "quality: arn:aws:states:eu-west-1:000000000000:stateMachine:quality lies in eu-west-1"),
    ],
)
def test_planted_defects_are_found(project, old, new, words):
    project.edit("pipelines/sound/pipeline.yaml", old, new)
    try:
        wrong = check(project, code=2)["wrong"]
    finally:
        project.edit("pipelines/sound/pipeline.yaml", new, old)
    assert len(wrong) == 1 and wrong[0].startswith(words), wrong


def test_a_denied_action_is_found(project):
    as_role(project, "limited")
    found = check(project, "--env", "account", code=2)
    assert found["wrong"] == [
        "permissions of connection aws: arn:aws:iam::000000000000:role/limited is denied glue:StartJobRun on "
        "arn:aws:glue:us-east-1:000000000000:job/convert by a policy that says Deny"
    ]


def test_a_role_with_nothing_may_do_nothing(project):
    as_role(project, "runner")
    found = check(project, "--env", "account", code=2)
    assert any("role/runner is not allowed glue:StartJobRun" in text for text in found["wrong"]), found


def test_the_policy_is_enough_for_check(project):
    document = policy_of(project, "sound")
    project.client("iam").put_role_policy(RoleName="runner", PolicyName="p", PolicyDocument=json.dumps(document))
    as_role(project, "runner")
    found = check(project, "--env", "account")
    assert any("role/runner may do all" in text for text in found["fine"]), found


def test_the_policy_allows_what_a_run_calls_and_nothing_else(project):
    before = calls(project)
    project.call("run", "works")
    made = {f"{service}:{operation}" for (service, operation), count in calls(project).items()
            if count > before.get((service, operation), 0)}
    used = {ACTIONS.get(call, call) for call in made} - FREE
    assert {"athena:StartQueryExecution", "glue:UpdateTable", "states:StartExecution", "sqs:SendMessage"} <= used
    document = policy_of(project, "works")
    listed = {action for statement in document["Statement"] for action in statement["Action"]}
    assert used <= listed, used - listed
    assert not [action for action in listed if "*" in action]
    iam = project.client("iam")
    iam.put_role_policy(RoleName="runner", PolicyName="p", PolicyDocument=json.dumps(document))

    def allowed(actions, resource):
        answer = iam.simulate_principal_policy(
            PolicySourceArn="arn:aws:iam::000000000000:role/runner", ActionNames=sorted(actions),
            ResourceArns=[resource])
        return {one["EvalActionName"] for one in answer["EvaluationResults"] if one["EvalDecision"] == "allowed"}

    for statement in document["Statement"]:
        for resource in statement["Resource"]:
            actions = set(statement["Action"])
            assert allowed(actions, resource.replace("*", "x") if resource != "*" else "*") == actions
    loader = botocore.loaders.Loader()
    services = {"athena": "athena", "glue": "glue", "stepfunctions": "states", "sns": "sns", "sqs": "sqs"}
    for model, service in services.items():
        operations = loader.load_service_model(model, "service-2")["operations"]
        others = {f"{service}:{name}" for name in operations} - listed
        for statement in document["Statement"]:
            assert allowed(others, statement["Resource"][0]) == set()
    foreign = "arn:aws:states:us-east-1:000000000000:stateMachine:other"
    assert allowed({"states:StartExecution"}, foreign) == set()


def calls(project):
    with urllib.request.urlopen(f"{project.endpoint}/_sandbox/calls") as answer:
        return {(call["service"], call["operation"]): call["count"] for call in json.load(answer)}
