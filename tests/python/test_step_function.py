"""Step Functions end to end: the program on its sandbox, with a state machine that really runs."""

import json
import subprocess
import urllib.request

import pytest

from project import Project
from waiting import until

PIPELINE = """
name: quality
data_interval: none
params:
  mode: { type: string, default: good }
defaults: { connection: aws, retries: 0, poll_interval: 1s }
tasks:
  check: { type: step_function, state_machine: quality, input: { mode: "{{ params.mode }}", rows: 7 }, timeout: 5m }
  tell:
    type: command
    depends_on: check
    command: [python3, -c, "import sys; print('counted', sys.argv[1])", "{{ tasks.check.outputs.output.rows }}"]
"""

# Fails as long as there is no topic of that name.
AGAIN = """
name: again
data_interval: none
defaults: { connection: aws, poll_interval: 1s }
tasks:
  tell: { type: step_function, state_machine: again, redrive: true, retries: 2, retry_delay: 3s, retry_on: [failed] }
"""

TEMPLATE = """
Resources:
  Role: {Type: AWS::IAM::Role}
  Machine:
    Type: AWS::StepFunctions::StateMachine
    Properties:
      StateMachineName: quality
      RoleArn: !GetAtt Role.Arn
      Definition:
        StartAt: Mode
        States:
          Mode:
            Type: Choice
            Choices:
              - {Variable: $.mode, StringEquals: bad, Next: Broken}
              - {Variable: $.mode, StringEquals: slow, Next: Slow}
            Default: Count
          Count: {Type: Pass, Parameters: {rows.$: $.rows, by.$: $$.StateMachine.Name}, End: true}
          Broken: {Type: Fail, Error: Quality.Bad, Cause: 12 rows are wrong}
          Slow: {Type: Wait, Seconds: 86400, End: true}
  Again:
    Type: AWS::StepFunctions::StateMachine
    Properties:
      StateMachineName: again
      RoleArn: !GetAtt Role.Arn
      Definition:
        StartAt: First
        States:
          First: {Type: Pass, Next: Tell}
          Tell:
            Type: Task
            Resource: arn:aws:states:::sns:publish
            Parameters: {TopicArn: "arn:aws:sns:us-east-1:000000000000:late", Message: done}
            End: true
  Fast:
    Type: AWS::StepFunctions::StateMachine
    Properties:
      StateMachineName: fast
      StateMachineType: EXPRESS
      RoleArn: !GetAtt Role.Arn
      DefinitionString: '{"StartAt": "A", "States": {"A": {"Type": "Pass", "End": true}}}'
"""


@pytest.fixture(scope="module")
def project(binary, environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("quality")
    (folder / "trunkline.yaml").write_text("environments:\n  local: { connections: { aws: { sandbox: true } } }\n")
    home = folder / "pipelines" / "quality"
    home.mkdir(parents=True)
    (home / "pipeline.yaml").write_text(PIPELINE)
    (home / "aws.yaml").write_text(TEMPLATE)
    (folder / "pipelines" / "again").mkdir()
    (folder / "pipelines" / "again" / "pipeline.yaml").write_text(AGAIN)
    made = Project(binary, environment, folder)
    yield made
    made.stop()


def run(project, mode, code=0):
    done = project.call("run", "quality", "--param", f"mode={mode}", code=code)
    return done.stdout + done.stderr


def shown(project, run="quality@latest"):
    return json.loads(project.call("show", run, "--json").stdout)


def task(project, name):
    return next(row for row in shown(project)["tasks"] if row["task"] == name)


def faults(project, *rules):
    request = urllib.request.Request(
        f"{project.endpoint}/_sandbox/faults", json.dumps(list(rules)).encode(), method="PUT"
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200


def starts(project):
    return project.ledger("StartExecution")


def test_an_execution_runs_and_its_output_is_read(project):
    run(project, "good")
    check = task(project, "check")
    assert check["state"] == "succeeded", check
    line = starts(project)[-1]
    execution = project.client("stepfunctions").describe_execution(executionArn=line["id"])
    assert json.loads(execution["input"]) == {"mode": "good", "rows": 7}
    assert line["marker"].startswith("trunkline-") and line["id"] in json.dumps(check)
    assert "counted 7" in project.call("logs", "quality@latest", "tell").stdout


def test_a_failure_says_what_and_where(project):
    said = run(project, "bad", code=1)
    assert "state `Broken`: Quality.Bad: 12 rows are wrong" in said, said
    assert task(project, "tell")["state"] == "upstream_failed"


def test_a_lost_answer_leads_to_one_execution(project):
    before = len(starts(project))
    faults(project, {"service": "states", "operation": "StartExecution", "kind": "drop_answer", "times": 1})
    try:
        run(project, "good")
    finally:
        faults(project)
    assert len(starts(project)) == before + 1
    calls = json.load(urllib.request.urlopen(f"{project.endpoint}/_sandbox/calls"))
    sent = next(call["count"] for call in calls if call["operation"] == "StartExecution")
    assert sent >= before + 2, "the start was sent again, and was the same execution"


def test_a_kill_after_the_start_leads_to_one_execution(project):
    before = len(starts(project))
    waiting = start(project, "slow")
    until(lambda: len(starts(project)) == before + 1, 60, "the start")
    waiting.kill()
    waiting.communicate()
    arn = starts(project)[-1]["id"]
    # Whoever comes next takes the run over, finds the execution, stops it and ends as the run does.
    project.call("cancel", "quality@latest", code=1)
    until(lambda: status(project, arn) == "ABORTED", 120, "the execution to be stopped")
    assert len(starts(project)) == before + 1


def test_cancelling_stops_the_execution(project):
    before = len(starts(project))
    waiting = start(project, "slow")
    try:
        until(lambda: len(starts(project)) == before + 1, 60, "the start")
        arn = starts(project)[-1]["id"]
        until(lambda: task(project, "check")["state"] == "running", 60, "the task to be running")
        project.call("cancel", "quality@latest")
        waiting.communicate(timeout=120)
    finally:
        waiting.kill()
    execution = project.client("stepfunctions").describe_execution(executionArn=arn)
    assert (execution["status"], execution["error"]) == ("ABORTED", "Trunkline.Cancelled")
    assert task(project, "check")["state"] == "cancelled"


def test_express_machines_are_refused(project):
    project.edit("pipelines/quality/pipeline.yaml", "state_machine: quality", "state_machine: fast")
    try:
        said = run(project, "good", code=1)
    finally:
        project.edit("pipelines/quality/pipeline.yaml", "state_machine: fast", "state_machine: quality")
    assert "`fast` is of type EXPRESS" in said and "idempotent: true" in said, said


def test_a_retry_redrives_the_failed_execution(project):
    run(project, "good")  # The template is the other pipeline's.
    started, redriven = len(starts(project)), len(project.ledger("RedriveExecution"))
    going = subprocess.Popen(
        [str(project.binary), "run", "again"], cwd=project.folder, env=project.environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    try:
        until(lambda: len(starts(project)) == started + 1, 120, "the start")
        arn = starts(project)[-1]["id"]
        until(lambda: status(project, arn) == "FAILED", 60, "the execution to fail")
        # The answer to the redrive is lost; it is told by its count.
        faults(project, {"service": "states", "operation": "RedriveExecution", "kind": "drop_answer", "times": 1})
        project.client("sns").create_topic(Name="late")
        said, _ = going.communicate(timeout=180)
    finally:
        going.kill()
        faults(project)
    assert going.returncode == 0, said
    assert len(starts(project)) == started + 1, "no execution was started anew"
    redrives = project.ledger("RedriveExecution")[redriven:]
    assert [line["id"] for line in redrives] == [arn]
    execution = project.client("stepfunctions").describe_execution(executionArn=arn)
    assert (execution["status"], execution["redriveCount"]) == ("SUCCEEDED", 1)


def start(project, mode):
    """A run that goes on while the test does something else."""
    return subprocess.Popen(
        [str(project.binary), "run", "quality", "--param", f"mode={mode}"],
        cwd=project.folder, env=project.environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )


def status(project, arn):
    return project.client("stepfunctions").describe_execution(executionArn=arn)["status"]
