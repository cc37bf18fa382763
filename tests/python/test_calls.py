"""Calling functions, sending messages and putting events, in the sandbox."""

import json
import subprocess
import urllib.request

import pytest

from project import Project
from waiting import until

PIPELINE = """
name: calls
data_interval: none
params:
  mood: { type: string, default: good }
defaults: { connection: aws, retries: 0, poll_interval: 1s }
tasks:
  report:
    type: lambda_invoke
    function: report
    payload: { day: "2026-11-19", mood: "{{ params.mood }}" }
  tell:
    type: sqs_send
    depends_on: report
    queue: reports
    body: { rows: "{{ tasks.report.outputs.response.rows }}" }
    attributes: { kind: report }
  order:
    type: sqs_send
    depends_on: report
    queue: orders.fifo
    body: "{{ tasks.report.outputs.response.attempt }}"
  announce:
    type: eventbridge_put
    depends_on: report
    bus: platform
    source: telephony.reports
    detail_type: report ready
    detail: { rows: "{{ tasks.report.outputs.response.rows }}" }
"""

REPEATABLE = """
name: repeatable
data_interval: none
defaults: { connection: aws, retries: 0, poll_interval: 1s }
tasks:
  again: { type: lambda_invoke, function: report, payload: { mood: good }, idempotent: true }
  queued: { type: lambda_invoke, depends_on: again, function: report, payload: { mood: good }, mode: async }
"""

TEMPLATE = """
Resources:
  Role: { Type: AWS::IAM::Role }
  Function:
    Type: AWS::Lambda::Function
    Properties:
      FunctionName: report
      Runtime: python3.12
      Handler: index.handler
      Role: !GetAtt Role.Arn
      Timeout: 300
      Code:
        ZipFile: |
          import time
          def handler(event, context):
              print("counting", event.get("day"))
              if event["mood"] == "bad":
                  raise ValueError("no rows for " + event["day"])
              if event["mood"] == "slow":
                  time.sleep(21)
              custom = context.client_context.custom if context.client_context else {}
              return {"rows": 42, "attempt": custom.get("trunkline-attempt")}
  Queue: { Type: AWS::SQS::Queue, Properties: { QueueName: reports } }
  Orders: { Type: AWS::SQS::Queue, Properties: { QueueName: orders.fifo, FifoQueue: true } }
  Bus: { Type: AWS::Events::EventBus, Properties: { Name: platform } }
"""


@pytest.fixture(scope="module")
def project(binary, environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("calls")
    (folder / "trunkline.yaml").write_text("environments:\n  local: { connections: { aws: { sandbox: true } } }\n")
    for name, text in [("calls", PIPELINE), ("repeatable", REPEATABLE)]:
        home = folder / "pipelines" / name
        home.mkdir(parents=True)
        (home / "pipeline.yaml").write_text(text)
    (folder / "pipelines" / "calls" / "aws.yaml").write_text(TEMPLATE)
    made = Project(binary, environment, folder)
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


def new_entries(project, operation, act):
    """What the sandbox accepted of an operation while `act` ran."""
    before = len(project.ledger(operation))
    act()
    return project.ledger(operation)[before:]


def attempts(project, run, task):
    shown = json.loads(project.call("show", run, "--json").stdout)
    return next(row for row in shown["tasks"] if row["task"] == task)


def receive(project, queue):
    sqs = project.client("sqs")
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    wish = {"MaxNumberOfMessages": 10, "MessageAttributeNames": ["All"], "WaitTimeSeconds": 1}
    found = sqs.receive_message(QueueUrl=url, **wish).get("Messages", [])
    for message in found:
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


def test_an_answer_flows_on_into_messages_and_events(project):
    project.call("run", "calls")
    (call,) = project.ledger("Invoke")
    assert (call["subject"], call["signed_at"] is not None) == ("report", True)
    (message,) = receive(project, "reports")
    assert json.loads(message["Body"]) == {"rows": 42}
    assert message["MessageAttributes"]["kind"]["StringValue"] == "report"
    (order,) = receive(project, "orders.fifo")
    assert order["Body"] == call["marker"], "the function was told the attempt"
    sent = {entry["subject"]: entry for entry in project.ledger("SendMessage")}
    assert sent["reports"]["marker"] == message["MessageAttributes"]["trunkline-attempt"]["StringValue"]
    (event,) = project.ledger("PutEvents")
    root = project.folder / ".trunkline"
    (file,) = root.rglob("events/platform.jsonl")
    (told,) = [json.loads(line) for line in file.read_text().splitlines()]
    assert (told["id"], told["source"], told["detail"]) == (event["id"], "telephony.reports", {"rows": 42})


def test_a_function_that_fails_says_why(project):
    failed = project.call("run", "calls", "-p", "mood=bad", code=1)
    said = failed.stdout + failed.stderr
    assert "ValueError: no rows for 2026-11-19" in said
    shown = project.call("show", "calls@latest").stdout
    assert "ValueError: no rows for 2026-11-19" in shown
    assert len(new_entries(project, "SendMessage", lambda: None)) == 0


def test_a_call_whose_answer_is_lost_is_not_repeated(project, faults):
    faults({"service": "lambda", "operation": "Invoke", "times": 1, "kind": "drop_answer"})
    entries = new_entries(project, "Invoke", lambda: project.call("run", "calls", code=1))
    assert len(entries) == 1
    shown = project.call("show", "calls@latest").stdout
    assert "nobody can tell whether function report ran" in shown
    assert json.loads(project.call("show", "calls@latest", "--json").stdout)["tasks"][0]["state"] == "failed"


def test_what_may_be_repeated_is(project, faults):
    faults(
        {"service": "lambda", "operation": "Invoke", "times": 1, "kind": "drop_answer"},
        {"service": "lambda", "operation": "Invoke", "skip": 1, "times": 1, "kind": "throttle"},
    )
    entries = new_entries(project, "Invoke", lambda: project.call("run", "repeatable"))
    # Dropped, throttled (not accepted), accepted; then the asynchronous one.
    assert len(entries) == 3
    assert entries[0]["marker"] == entries[1]["marker"] is not None
    assert entries[2]["marker"] is None


def test_messages_are_sent_at_least_once(project, faults):
    receive(project, "reports")
    receive(project, "orders.fifo")
    faults(
        {"service": "sqs", "operation": "SendMessage", "times": 2, "kind": "drop_answer"},
        {"service": "events", "operation": "PutEvents", "times": 1, "kind": "drop_answer"},
    )
    project.call("run", "calls")
    plain = receive(project, "reports")
    marks = {message["MessageAttributes"]["trunkline-attempt"]["StringValue"] for message in plain}
    assert 1 <= len(plain) <= 3 and len(marks) == 1, "a repetition can be told"
    assert len(receive(project, "orders.fifo")) == 1, "a FIFO queue drops it"
    last = project.ledger("PutEvents")[-2:]
    assert len({entry["id"] for entry in last}) == 2, "an event is put again"


def test_a_call_may_take_longer_than_other_starts(project):
    entries = new_entries(project, "Invoke", lambda: project.call("run", "calls", "-p", "mood=slow"))
    assert len(entries) == 1


def test_a_call_that_a_crash_interrupted_is_lost(project):
    before = len(project.ledger("Invoke"))
    running = subprocess.Popen(
        [str(project.binary), "run", "calls", "-p", "mood=slow"],
        cwd=project.folder, env=project.environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: len(project.ledger("Invoke")) > before, 60, "the function to be called")
    finally:
        running.kill()
        running.wait()
    server = subprocess.Popen(
        [str(project.binary), "serve"],
        cwd=project.folder, env=project.environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: attempts(project, "calls@latest", "report")["state"] == "failed", 90, "the run to end")
    finally:
        server.terminate()
        server.wait(60)
    assert "nobody can tell whether function report ran" in project.call("show", "calls@latest").stdout
    assert len(project.ledger("Invoke")) == before + 1


def test_a_function_that_is_not_there_is_named(project):
    project.edit("pipelines/repeatable/pipeline.yaml", "function: report", "function: raport")
    said = project.call("run", "repeatable", code=1)
    assert "Lambda has no function `raport` in us-east-1" in said.stdout + said.stderr
