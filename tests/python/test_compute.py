"""ECS tasks, Batch jobs and Spark jobs end to end: the program on its sandbox, with programs that really run."""

import hashlib
import json
import subprocess
import urllib.request

import pytest

from project import Project
from waiting import until

PIPELINE = """
name: compute
data_interval: none
params:
  mood: { type: string, default: good }
  only: { type: string, default: all }
defaults: { connection: aws, retries: 0, poll_interval: 1s, timeout: 10m }
tasks:
  export:
    type: ecs_task
    cluster: etl
    task_definition: export
    container: main
    environment: { MOOD: "{{ params.mood }}" }
  rows:
    type: batch_job
    depends_on: export
    queue: etl
    job_definition: rows
    parameters: { mood: "{{ params.mood }}", code: "{{ tasks.export.outputs.exit_codes.main }}" }
    array_size: 2
  spark:
    type: emr_serverless_job
    depends_on: rows
    application: "{{ vars.application }}"
    execution_role: arn:aws:iam::000000000000:role/spark
    entry_point: s3://compute-jobs/jobs/aggregate.py
    arguments: ["{{ params.mood }}", "{{ tasks.rows.outputs.array_size }}"]
    log_group: /spark
"""

SINGLE = """
name: {name}
data_interval: none
params:
  mood: {{ type: string, default: good }}
defaults: {{ connection: aws, retries: 0, poll_interval: 1s, timeout: 10m }}
tasks:
  work: {task}
"""

TASKS = {
    "ecs": '{ type: ecs_task, cluster: etl, task_definition: export, container: main, environment: { MOOD: "{{ params.mood }}" } }',
    "batch": '{ type: batch_job, queue: etl, job_definition: rows, parameters: { mood: "{{ params.mood }}" } }',
    "emr": """
    type: emr_serverless_job
    application: "{{ vars.application }}"
    execution_role: arn:aws:iam::000000000000:role/spark
    entry_point: s3://compute-jobs/jobs/aggregate.py
    arguments: ["{{ params.mood }}"]
    log_group: /spark
""",
}

STARTS = {"ecs": "RunTask", "batch": "SubmitJob", "emr": "StartJobRun"}

TEMPLATE = """
Resources:
  Jobs:
    Type: AWS::S3::Bucket
    Properties: { BucketName: compute-jobs }
    Metadata: { Trunkline: { Upload: [jobs/aggregate.py] } }
  Role: { Type: AWS::IAM::Role }
  Log: { Type: AWS::Logs::LogGroup, Properties: { LogGroupName: /ecs/export, RetentionInDays: 7 } }
  Cluster: { Type: AWS::ECS::Cluster, Properties: { ClusterName: etl } }
  Export:
    Type: AWS::ECS::TaskDefinition
    Properties:
      Family: export
      ContainerDefinitions:
        - Name: main
          Image: repo/export:1
          Command: [--table, calls]
          Environment: [{ Name: MOOD, Value: none }]
          LogConfiguration:
            LogDriver: awslogs
            Options: { awslogs-group: !Ref Log, awslogs-stream-prefix: export, awslogs-region: us-east-1 }
    Metadata: { Trunkline: { Sandbox: { Script: jobs/export.py } } }
  Environment:
    Type: AWS::Batch::ComputeEnvironment
    Properties: { ComputeEnvironmentName: here, Type: MANAGED }
  Queue:
    Type: AWS::Batch::JobQueue
    Properties:
      JobQueueName: etl
      Priority: 1
      ComputeEnvironmentOrder: [{ Order: 1, ComputeEnvironment: !Ref Environment }]
  Rows:
    Type: AWS::Batch::JobDefinition
    Properties:
      JobDefinitionName: rows
      Type: container
      Parameters: { mood: none, code: none }
      ContainerProperties:
        Image: repo/rows:1
        Command: [python, -c, "import sys, time\\nif sys.argv[1] == 'slow': time.sleep(600)\\nprint('mood', sys.argv[1])\\nif sys.argv[1] == 'bad': sys.exit('no rows')", "Ref::mood", "Ref::code"]
        ResourceRequirements: [{ Type: VCPU, Value: "1" }, { Type: MEMORY, Value: "128" }]
  Spark:
    Type: AWS::EMRServerless::Application
    Properties: { Name: spark, ReleaseLabel: emr-7.9.0, Type: SPARK }
Outputs:
  Application: { Value: !Ref Spark }
"""

EXPORT = """
import os, sys, time
assert sys.argv[1:] == ["--table", "calls"], sys.argv
mood = os.environ["MOOD"]
print("exporting", mood)
if mood == "slow":
    time.sleep(600)
if mood == "bad":
    raise ValueError("no rows in calls")
"""

AGGREGATE = """
import sys, time
print("aggregating", sys.argv[1:])
if sys.argv[1] == "slow":
    time.sleep(600)
if sys.argv[1] == "bad":
    raise ValueError("Column 'day' does not exist")
"""


@pytest.fixture(scope="module")
def project(binary, environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compute")
    # The sandbox makes an application's id from its name.
    application = "00" + hashlib.sha256(b"spark").hexdigest()[:14]
    (folder / "trunkline.yaml").write_text(
        "environments:\n  local:\n    connections: { aws: { sandbox: true } }\n"
        f"    vars: {{ application: \"{application}\" }}\n"
    )
    pipelines = {name: SINGLE.format(name=name, task=task) for name, task in TASKS.items()} | {"compute": PIPELINE}
    for name, text in pipelines.items():
        home = folder / "pipelines" / name
        home.mkdir(parents=True)
        (home / "pipeline.yaml").write_text(text)
    home = folder / "pipelines" / "compute"
    (home / "aws.yaml").write_text(TEMPLATE)
    (home / "jobs").mkdir()
    (home / "jobs" / "export.py").write_text(EXPORT)
    (home / "jobs" / "aggregate.py").write_text(AGGREGATE)
    made = Project(binary, environment, folder)
    # Provisions what all four pipelines use.
    made.call("run", "compute")
    yield made
    made.stop()


@pytest.fixture
def faults(project):
    """Installs fault rules; ends them after the test."""

    def install(*rules):
        url = f"{project.endpoint}/_sandbox/faults"
        request = urllib.request.Request(url, json.dumps(rules).encode(), method="PUT")
        urllib.request.urlopen(request).close()

    yield install
    install()


def task(project, run, name):
    shown = json.loads(project.call("show", run, "--json").stdout)
    return next(row for row in shown["tasks"] if row["task"] == name)


def background(project, pipeline, mood):
    """A run that goes on while the test does something else."""
    return subprocess.Popen(
        [str(project.binary), "run", pipeline, "--param", f"mood={mood}"],
        cwd=project.folder, env=project.environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )


def ended_as(project, kind, id):
    """How the service says that the job of a ledger line ended; nothing while it runs."""
    if kind == "ecs":
        found = project.client("ecs").describe_tasks(cluster="etl", tasks=[id])["tasks"][0]
        return found["lastStatus"] == "STOPPED" and found["stoppedReason"]
    if kind == "batch":
        found = project.client("batch").describe_jobs(jobs=[id])["jobs"][0]
        return found["status"] == "FAILED" and found["statusReason"]
    application = project.client("emr-serverless").list_applications()["applications"][0]["id"]
    found = project.client("emr-serverless").get_job_run(applicationId=application, jobRunId=id)["jobRun"]
    return found["state"] == "CANCELLED" and found["state"]


def test_each_kind_runs_and_hands_on_its_outputs(project):
    outputs = {name: json.dumps(task(project, "compute@latest", name)) for name in ["export", "rows", "spark"]}
    assert all('"succeeded"' in shown for shown in outputs.values()), outputs
    assert '"exit_codes"' in outputs["export"] and '"array_size"' in outputs["rows"]
    (run,) = project.ledger("RunTask")
    stream = f"export/main/{run['id'].rsplit('/')[-1]}"
    events = project.client("logs").get_log_events(logGroupName="/ecs/export", logStreamName=stream)["events"]
    assert [event["message"] for event in events] == ["exporting good"]
    said = project.call("show", "compute@latest").stdout
    assert "vCPU-hours" in said, said


@pytest.mark.parametrize(
    "kind, cause, log",
    [
        ("ecs", "container `main` ended with exit code 1", "ValueError: no rows in calls"),
        ("batch", "Essential container in task exited, exit code 1", "no rows"),
        ("emr", "Column 'day' does not exist", "the end of its log (/spark"),
    ],
)
def test_a_failure_says_what_happened_and_shows_the_log(project, kind, cause, log):
    done = project.call("run", kind, "--param", "mood=bad", code=1)
    said = done.stdout + done.stderr
    assert cause in said, said
    whole = project.call("logs", f"{kind}@latest", "work")
    assert log in whole.stdout + whole.stderr, whole


@pytest.mark.parametrize("kind", TASKS)
def test_a_lost_answer_leads_to_one_start(project, faults, kind):
    before = len(project.ledger(STARTS[kind]))
    faults({"operation": STARTS[kind], "kind": "drop_answer", "times": 1})
    project.call("run", kind)
    assert len(project.ledger(STARTS[kind])) == before + 1


@pytest.mark.parametrize("kind", TASKS)
def test_a_kill_after_the_start_leads_to_one_start(project, kind):
    before = len(project.ledger(STARTS[kind]))
    waiting = background(project, kind, "slow")
    until(lambda: len(project.ledger(STARTS[kind])) == before + 1, 60, "the start")
    waiting.kill()
    waiting.communicate()
    id = project.ledger(STARTS[kind])[-1]["id"]
    # Whoever comes next takes the run over, finds the job, stops it and ends as the run does.
    project.call("cancel", f"{kind}@latest", code=1)
    until(lambda: ended_as(project, kind, id), 120, "the job to be stopped")
    assert len(project.ledger(STARTS[kind])) == before + 1
    assert task(project, f"{kind}@latest", "work")["state"] == "cancelled"


@pytest.mark.parametrize(
    "kind, old, new, words, checked",
    [
        ("ecs", "task_definition: export", "task_definition: absent", "Unable to describe task definition",
         "there is no task definition absent"),
        ("ecs", "cluster: etl", "cluster: absent", "Cluster not found", "there is no active cluster absent"),
        ("batch", "queue: etl", "queue: absent", "Job queue absent does not exist", "there is no job queue absent"),
        ("batch", "job_definition: rows", "job_definition: absent", "absent",
         "there is no active job definition absent"),
        ("emr", '"{{ vars.application }}"', '"00absent"', "EMR Serverless has no application `00absent`",
         "there is no EMR Serverless application 00absent"),
        ("emr", "s3://compute-jobs/jobs/", "s3://absent-jobs/jobs/", "absent-jobs", "there is no bucket absent-jobs"),
    ],
)
def test_what_is_not_there_is_named(project, kind, old, new, words, checked):
    path = f"pipelines/{kind}/pipeline.yaml"
    assert checks(project, kind, "wrong", 0) == []
    project.edit(path, old, new)
    try:
        (wrong,) = checks(project, kind, "wrong", 2)
        done = project.call("run", kind, code=1)
    finally:
        project.edit(path, new, old)
    assert wrong.startswith(checked), wrong
    assert words in done.stdout + done.stderr


def checks(project, pipeline, verdict, code):
    rows = json.loads(project.call("check", pipeline, "--json", code=code).stdout)
    return [row["text"] for row in rows if row["verdict"] == verdict]


@pytest.mark.parametrize(
    "kind, actions",
    [
        ("ecs", {"ecs:RunTask", "ecs:DescribeTasks", "ecs:StopTask", "ecs:ListTasks"}),
        ("batch", {"batch:SubmitJob", "batch:TerminateJob", "batch:DescribeJobs", "batch:ListJobs"}),
        ("emr", {"emr-serverless:StartJobRun", "emr-serverless:ListJobRuns", "emr-serverless:GetJobRun",
                 "emr-serverless:CancelJobRun", "iam:PassRole"}),
    ],
)
def test_the_policy_names_what_a_run_calls(project, kind, actions):
    document = json.loads(project.call("iam-policy", kind).stdout)
    assert {action for statement in document["Statement"] for action in statement["Action"]} == actions
