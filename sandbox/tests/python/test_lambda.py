"""Lambda as boto3 sees it: functions that really run."""

import base64
import io
import json
import zipfile

import pytest
from botocore.exceptions import ClientError

from conftest import wait_until

ROLE = "arn:aws:iam::000000000000:role/r"


def packed(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "/") + ".py", text)
    return buffer.getvalue()


@pytest.fixture
def client(sandbox):
    return sandbox.client("lambda", read_timeout=90)


@pytest.fixture
def make(client, request):
    """Makes a function of this source; its name is the test's."""
    stem = "".join(c if c.isalnum() else "-" for c in request.node.name)[:50]
    made = []

    def create(source, **more):
        name = f"{stem}-{len(made)}"
        made.append(name)
        wish = {"Runtime": "python3.12", "Handler": "index.handler", "Role": ROLE, "Timeout": 20} | more
        client.create_function(FunctionName=name, Code={"ZipFile": packed(index=source)}, **wish)
        return name

    yield create
    for name in made:
        client.delete_function(FunctionName=name)


def invoke(client, name, payload=None, **more):
    arguments = {} if payload is None else {"Payload": json.dumps(payload)}
    answer = client.invoke(FunctionName=name, LogType="Tail", **arguments, **more)
    log = base64.b64decode(answer.get("LogResult", "")).decode()
    return answer, json.loads(answer["Payload"].read() or "null"), log


def test_a_function_runs_with_its_event_and_its_context(sandbox, client, make):
    name = make(
        """
import os
print("loading")
def handler(event, context):
    print("day", event["day"])
    custom = context.client_context.custom if context.client_context else None
    return {
        "day": event["day"], "table": os.environ["TABLE"], "endpoint": os.environ["AWS_ENDPOINT_URL"],
        "id": context.aws_request_id, "name": context.function_name, "custom": custom,
        "left": context.get_remaining_time_in_millis() > 1000,
    }
""",
        Environment={"Variables": {"TABLE": "calls"}},
    )
    context = base64.b64encode(json.dumps({"custom": {"trunkline-attempt": "a-1"}}).encode()).decode()
    answer, told, log = invoke(client, name, {"day": "ü-19"}, ClientContext=context)
    assert answer["StatusCode"] == 200 and "FunctionError" not in answer
    assert answer["ExecutedVersion"] == "$LATEST"
    assert told == {
        "day": "ü-19", "table": "calls", "endpoint": sandbox.endpoint, "name": name, "left": True,
        "id": answer["ResponseMetadata"]["RequestId"], "custom": {"trunkline-attempt": "a-1"},
    }
    lines = log.splitlines()
    assert lines[0].startswith("START RequestId: ") and lines[1:3] == ["loading", "day ü-19"]
    assert lines[-1].startswith("REPORT RequestId: ")
    (entry,) = sandbox.ledger(service="lambda", subject=name)
    assert (entry["operation"], entry["marker"], entry["id"]) == ("Invoke", "a-1", told["id"])


def test_a_function_may_use_the_sandbox(sandbox, client, make, bucket):
    name = make(
        "import urllib.request, os\n"
        "def handler(event, context):\n"
        "    url = os.environ['AWS_ENDPOINT_URL'] + '/' + event['bucket'] + '/k'\n"
        "    with urllib.request.urlopen(urllib.request.Request(url, b'v', method='PUT')) as answer:\n"
        "        return answer.status\n"
    )
    _, told, _ = invoke(client, name, {"bucket": bucket})
    assert told == 200
    assert sandbox.client("s3").get_object(Bucket=bucket, Key="k")["Body"].read() == b"v"


@pytest.mark.parametrize(
    "source, kind, message",
    [
        ("def handler(e, c):\n    raise ValueError('no rows for ' + e['day'])", "ValueError", "no rows for 19"),
        ("import nothing_of_this_name", "Runtime.ImportModuleError",
         "Unable to import module 'index': No module named 'nothing_of_this_name'"),
        ("def other(e, c): pass", "Runtime.HandlerNotFound", "Handler 'handler' missing on module 'index'"),
        ("def handler(e, c): return {1, 2}", "Runtime.MarshalError", None),
        ("import sys\ndef handler(e, c): sys.exit(7)", "Runtime.ExitError", None),
        ("import os\ndef handler(e, c): os.kill(os.getpid(), 9)", "Runtime.ExitError", None),
    ],
)
def test_errors_are_shaped_as_on_aws(client, make, source, kind, message):
    answer, told, log = invoke(client, make(source), {"day": "19"})
    assert answer["StatusCode"] == 200 and answer["FunctionError"] == "Unhandled"
    assert told["errorType"] == kind
    if message:
        assert told["errorMessage"] == message
        assert f"[ERROR] {kind}: {message}" in log
    if kind == "ValueError":
        assert "index.py" in told["stackTrace"][0] and "raise ValueError" in told["stackTrace"][0]
    if kind == "Runtime.ExitError":
        assert "Runtime exited with error" in told["errorMessage"]


def test_a_function_ends_at_its_limit(client, make):
    name = make("def handler(e, c):\n    print('begun')\n    while True: pass", Timeout=1)
    answer, told, log = invoke(client, name)
    assert answer["FunctionError"] == "Unhandled"
    assert told["errorType"] == "Sandbox.Timedout"
    assert told["errorMessage"].endswith("Task timed out after 1.00 seconds")
    assert "begun" in log and "Task timed out after 1.00 seconds" in log


def test_functions_are_listed_changed_and_deleted(client, make):
    name = make("def handler(e, c): return 1", Description="first", MemorySize=256)
    shown = client.get_function(FunctionName=name)["Configuration"]
    assert (shown["Description"], shown["MemorySize"], shown["State"]) == ("first", 256, "Active")
    arn = shown["FunctionArn"]
    client.update_function_code(FunctionName=arn, ZipFile=packed(pkg__main="def run(e, c): return e"))
    client.update_function_configuration(FunctionName=name, Handler="pkg/main.run", Timeout=9)
    shown = client.get_function_configuration(FunctionName=name)
    assert (shown["Handler"], shown["Timeout"], shown["Description"]) == ("pkg/main.run", 9, "first")
    assert invoke(client, arn, [1])[1] == [1]
    pages = client.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 1})
    assert name in [function["FunctionName"] for page in pages for function in page["Functions"]]
    with pytest.raises(ClientError) as error:
        make_again = {"Runtime": "python3.12", "Handler": "h.h", "Role": ROLE, "Code": {"ZipFile": packed(h="")}}
        client.create_function(FunctionName=name, **make_again)
    assert error.value.response["Error"]["Code"] == "ResourceConflictException"


def test_what_lambda_refuses(client, make):
    def code_of(act):
        with pytest.raises(ClientError) as error:
            act()
        return error.value.response["Error"]["Code"]

    name = make("def handler(e, c): return e")
    for absent in [f"{name}-absent", f"{name}:live"]:
        assert code_of(lambda: client.invoke(FunctionName=absent)) == "ResourceNotFoundException"
    assert code_of(lambda: client.invoke(FunctionName=name, Payload="{")) == "InvalidRequestContentException"
    long = json.dumps("x" * 1024 * 1024)
    asynchronous = {"FunctionName": name, "InvocationType": "Event", "Payload": long}
    assert code_of(lambda: client.invoke(**asynchronous)) == "RequestTooLargeException"
    wish = {"FunctionName": name + "-b", "Handler": "h.h", "Role": ROLE}
    zip_file = {"ZipFile": packed(h="")}
    for wrong in [
        {"Runtime": "nodejs22.x", "Code": zip_file},
        {"Runtime": "python3.12", "Code": {"ZipFile": b"no zip"}},
        {"Runtime": "python3.12", "Code": {}},
        {"Runtime": "python3.12", "Code": zip_file, "Timeout": 901},
        {"Runtime": "python3.12", "Code": zip_file, "Layers": ["arn:aws:lambda:x:1:layer:l:1"]},
    ]:
        assert code_of(lambda: client.create_function(**wish, **wrong)) == "InvalidParameterValueException", wrong
    assert client.invoke(FunctionName=name, InvocationType="DryRun")["StatusCode"] == 204


def test_events_are_repeated_and_outlive_the_process(own_sandbox, tmp_path):
    sandbox = own_sandbox("--time-scale", "0.02")
    client = sandbox.client("lambda")
    marks = tmp_path / "marks"
    source = (
        "import os\n"
        "def handler(event, context):\n"
        f"    with open({str(marks)!r}, 'a') as file: file.write(event['n'] + '\\n')\n"
        "    if event['n'] == 'bad': raise RuntimeError('bad')\n"
    )
    wish = {"Runtime": "python3.12", "Handler": "index.handler", "Role": ROLE, "Code": {"ZipFile": packed(index=source)}}
    client.create_function(FunctionName="f", **wish)
    for n in ["good", "bad"]:
        answer = client.invoke(FunctionName="f", InvocationType="Event", Payload=json.dumps({"n": n}))
        assert answer["StatusCode"] == 202

    def seen(n):
        return marks.exists() and marks.read_text().split().count(n)

    wait_until(lambda: seen("bad") == 1 and seen("good") == 1, 60, "the first calls")
    sandbox.restart()
    wait_until(lambda: seen("bad") >= 3, 60, "two repetitions")
    wait_until(lambda: not list((sandbox.root / "lambda/events").glob("*.json")), 60, "the event to be given up")
    assert len(sandbox.ledger(service="lambda", operation="Invoke")) == 2
    # The function, too, is still there.
    assert sandbox.client("lambda").invoke(FunctionName="f", Payload='{"n": "x"}')["StatusCode"] == 200


def test_faults_come_in_lambdas_words(own_sandbox):
    sandbox = own_sandbox()
    client = sandbox.client("lambda")
    wish = {"Runtime": "python3.12", "Handler": "index.handler", "Role": ROLE,
            "Code": {"ZipFile": packed(index="def handler(e, c): return 1")}}
    client.create_function(FunctionName="f", **wish)
    sandbox.faults(
        {"service": "lambda", "operation": "Invoke", "times": 1, "kind": "throttle"},
        {"service": "lambda", "operation": "Invoke", "skip": 1, "times": 1, "kind": "error_after"},
    )
    for code in ["TooManyRequestsException", "ServiceException"]:
        with pytest.raises(ClientError) as error:
            client.invoke(FunctionName="f")
        assert error.value.response["Error"]["Code"] == code
    assert len(sandbox.ledger(operation="Invoke")) == 1
