"""Secrets from every source, in every setting that takes them; and then looked for everywhere."""

import base64
import gzip
import json
import os
import pathlib
import re
import subprocess
import urllib.parse
import urllib.request

import pytest

from project import Project
from waiting import until

# Long, with everything that an encoding changes, and different enough to be told apart.
CANARIES = {
    "manager": 'canary/Sm+1 "q"\\z&=%ü-7f31c9',
    "parameter": 'canary/Ps+2 "q"\\z&=%ö-b40d22',
    "variable": 'canary/En+3 "q"\\z&=%ä-19ae55',
    "file": 'canary/Fi+4 "q"\\z&=%ß-c07be8',
}

PROJECT = """
environments:
  local:
    connections: {{ aws: {{ sandbox: true }} }}
    vars: {{ topic: "arn:aws:sns:us-east-1:000000000000:told" }}
    secrets:
      manager: {{ secretsmanager: prod/db, key: password }}
      parameter: {{ ssm: /prod/token }}
      variable: {{ env: TEST_CANARY }}
      file: {{ file: "{file}" }}
      absent: {{ secretsmanager: prod/absent }}
      old: {{ ssm: /prod/token, version: 99 }}
"""

# What the command does with its secrets is the worst that a careless program does.
PIPELINE = """
name: keeps_secrets
data_interval: none
params: { fail: { type: string, default: "no" }, forged: { type: string, default: "" } }
defaults: { connection: aws, retries: 0, poll_interval: 1s }
tasks:
  shell:
    type: command
    command: [python3, "%(script)s", "{{ params.fail }}", "{{ params.forged }}"]
    env:
      MANAGER: "{{ secrets.manager }}"
      PARAMETER: "Bearer {{ secrets.parameter }}"
      VARIABLE: "{{ secrets.variable }}"
      FILE: "{{ secrets.file }}"
  function:
    type: lambda_invoke
    depends_on: shell
    function: careless
    payload: { password: "{{ secrets.manager }}", fail: "{{ params.fail }}", nested: ["x {{ secrets.parameter }} y"] }
on_success: { sns: "{{ vars.topic }}", message: "shell said {{ tasks.shell.outputs }}" }
on_failure: { sns: "{{ vars.topic }}", message: "failed: {{ error.message }}" }
"""

SCRIPT = """
import base64, hashlib, json, os, sys, urllib.parse
secrets = {name: os.environ[name] for name in ("MANAGER", "PARAMETER", "VARIABLE", "FILE")}
print("digests", json.dumps({n: hashlib.sha256(v.encode()).hexdigest() for n, v in secrets.items()}))
print("forged", sys.argv[2])
for value in secrets.values():
    print("plain", value, flush=True)
    print("json", json.dumps(value, ensure_ascii=False), "url", urllib.parse.quote(value, safe=""))
    for before in ("", "u:", "us:"):
        print("base64", base64.b64encode((before + value).encode()).decode())
    print(value, file=sys.stderr)
if sys.argv[1] == "shell":
    sys.exit("cannot log in with " + secrets["MANAGER"])
print(json.dumps(secrets, ensure_ascii=False))
"""

TEMPLATE = """
Resources:
  Role: { Type: AWS::IAM::Role }
  Topic:
    Type: AWS::SNS::Topic
    Properties: { TopicName: told, Subscription: [{ Protocol: email, Endpoint: a@example.com }] }
  Function:
    Type: AWS::Lambda::Function
    Properties:
      FunctionName: careless
      Runtime: python3.12
      Handler: index.handler
      Role: !GetAtt Role.Arn
      Code:
        ZipFile: |
          import hashlib
          def handler(event, context):
              if event["fail"] == "function":
                  raise ValueError("no access with " + event["password"] + " and " + event["nested"][0])
              digest = hashlib.sha256(event["password"].encode()).hexdigest()
              return {"digest": digest, "echo": event["password"], "nested": event["nested"]}
"""


def one_task(name, task):
    return (
        f"name: {name}\ndata_interval: none\ndefaults: {{ connection: aws, retries: 0 }}\n"
        f"tasks:\n  only: {{ type: command, command: [\"true\"], env: {{ X: \"{{{{ secrets.{task} }}}}\" }} }}\n"
    )


@pytest.fixture(scope="module")
def project(binary, environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("secrets")
    (folder / "outside").mkdir()
    (folder / "outside" / "key").write_text(CANARIES["file"] + "\n")
    root = folder / "project"
    home = root / "pipelines" / "keeps_secrets"
    home.mkdir(parents=True)
    script = home / "careless.py"
    script.write_text(SCRIPT)
    (root / "trunkline.yaml").write_text(PROJECT.format(file=folder / "outside" / "key"))
    (home / "pipeline.yaml").write_text(PIPELINE % {"script": script})
    (home / "aws.yaml").write_text(TEMPLATE)
    for name in ("absent", "old", "manager"):
        other = root / "pipelines" / f"names_{name}"
        other.mkdir()
        (other / "pipeline.yaml").write_text(one_task(f"names_{name}", name))
    made = Project(binary, environment | {"TEST_CANARY": CANARIES["variable"]}, root)
    made.call("status")
    made.client("secretsmanager").create_secret(
        Name="prod/db", SecretString=json.dumps({"user": "etl", "password": CANARIES["manager"]})
    )
    made.client("ssm").put_parameter(Name="/prod/token", Value=CANARIES["parameter"], Type="SecureString")
    yield made
    made.stop()


def faults(project, *rules):
    url = f"{project.endpoint}/_sandbox/faults"
    request = urllib.request.Request(url, json.dumps(rules).encode(), method="PUT")
    urllib.request.urlopen(request).close()


def dresses(secret):
    """What a secret looks like where it was written down in one of the usual ways."""
    found = {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    found |= {urllib.parse.quote(secret, safe=""), urllib.parse.quote_plus(secret)}
    raw = secret.encode()
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw).decode()
        # The characters that depend on the secret alone.
        inside = encoded[-(-before * 8 // 6):(before + len(raw)) * 8 // 6]
        found |= {inside, inside.replace("+", "-").replace("/", "_")}
    # A piece without anything to encode: what is left when somebody masked only the rest.
    found.add(secret[-6:])
    return {dress.encode() for dress in found}


def everything_written(project, *said):
    """Every byte that anything wrote: the store, the project's folder, what was printed."""
    for number, text in enumerate(said):
        yield f"output {number}", text.encode()
    url = project.status()["store"]["url"]
    bindir = subprocess.run(["sh", "-c", "ls -d /usr/lib/postgresql/*/bin | tail -1"], capture_output=True, text=True)
    dump = pathlib.Path(bindir.stdout.strip() or "/usr/bin") / "pg_dump"
    if dump.exists():
        done = subprocess.run([str(dump), "--inserts", url], capture_output=True)
        if done.returncode == 0:
            assert b"keeps_secrets" in done.stdout
            yield "pg_dump", done.stdout
    for command in (["runs", "--json"], ["show", "keeps_secrets@latest", "--json"], ["status", "--json"]):
        yield " ".join(command), project.call(*command).stdout.encode()
    for task in ("shell", "function"):
        done = subprocess.run(
            [str(project.binary), "logs", "keeps_secrets@latest", task],
            cwd=project.folder, env=project.environment, capture_output=True,
        )
        yield f"logs {task}", done.stdout + done.stderr
    for path in (project.folder / ".trunkline").rglob("*"):
        # What the services themselves keep is AWS's side: there the secrets are at home, and what a function
        # prints goes to its own log.
        parts = set(path.relative_to(project.folder).parts)
        if {"secretsmanager", "ssm", "cloudwatch"} & parts or {"lambda", "logs"} <= parts or not path.is_file():
            continue
        try:
            content = path.read_bytes()
        except OSError:
            continue
        yield str(path), content
        if path.suffix == ".gz":
            yield str(path), gzip.decompress(content)
    # The mails as people read them, whatever their encoding.
    for subject, body in project.mails():
        yield f"mail {subject}", body.encode()


def assert_nowhere(project, *said):
    places = 0
    for place, content in everything_written(project, *said):
        places += 1
        for name, secret in CANARIES.items():
            for dress in dresses(secret):
                at = content.find(dress)
                assert at < 0, f"{name} stands in {place}: …{content[max(0, at - 200):at + 100]!r}"
    assert places > 20
    return places


def test_secrets_arrive_and_are_written_nowhere(project):
    import hashlib

    # Somebody who may start runs tries to have a secret printed.
    forged = "\u2063secret(manager) {{ secrets.manager }}"
    outputs = []
    done = project.call("run", "keeps_secrets", "-p", f"forged={forged}")
    outputs += [done.stdout, done.stderr]
    shown = project.call("show", "keeps_secrets@latest", "--json").stdout
    log = project.call("logs", "keeps_secrets@latest", "shell").stdout
    # They arrived: the command and the function say what they got, by its digest.
    digests = json.loads(re.search(r"digests (\{.*\})", log).group(1))
    wanted = {
        "MANAGER": CANARIES["manager"], "PARAMETER": "Bearer " + CANARIES["parameter"],
        "VARIABLE": CANARIES["variable"], "FILE": CANARIES["file"],
    }
    assert digests == {name: hashlib.sha256(value.encode()).hexdigest() for name, value in wanted.items()}
    assert hashlib.sha256(CANARIES["manager"].encode()).hexdigest() in shown
    assert "forged secret(manager) {{ secrets.manager }}" in log
    # The stored request names the version; the outputs and the mail hold something else.
    assert re.search(r"secret\(manager@[0-9a-f-]{36}\)", shown), shown
    assert "secret(parameter@1)" in shown
    assert "***" in log
    until(lambda: len(project.mails()) == 1, 30, "the mail")
    for failing in ("shell", "function"):
        done = project.call("run", "keeps_secrets", "-p", f"fail={failing}", code=1)
        log = project.call("logs", "keeps_secrets@latest", failing).stdout if failing == "shell" else ""
        outputs += [done.stdout, done.stderr, log]
        words = {"shell": "cannot log in with ", "function": "no access with "}[failing]
        assert words in done.stdout + done.stderr + log
    until(lambda: len(project.mails()) == 3, 30, "the mails about the failures")
    plan = project.call("plan", "keeps_secrets")
    outputs += [plan.stdout, plan.stderr]
    assert_nowhere(project, *outputs)


def test_a_retry_gets_the_new_version_and_a_request_keeps_the_old(project):
    project.call("run", "names_manager")
    first = project.call("show", "names_manager@latest", "--json").stdout
    secrets = project.client("secretsmanager")
    version = secrets.describe_secret(SecretId="prod/db")["VersionIdsToStages"]
    assert re.search(r"secret\(manager@([0-9a-f-]{36})\)", first).group(1) in version
    rotated = json.dumps({"password": CANARIES["manager"]})
    new = secrets.put_secret_value(SecretId="prod/db", SecretString=rotated)["VersionId"]
    project.call("clear", "names_manager@latest", "--yes")
    assert f"secret(manager@{new})" in project.call("show", "names_manager@latest", "--json").stdout


def test_the_services_pauses_use_up_no_retry(project):
    faults(
        project,
        {"service": "secretsmanager", "kind": "throttle", "times": 4},
        {"service": "secretsmanager", "kind": "error_before", "status": 400, "code": "ExpiredTokenException", "times": 2},
    )
    try:
        project.call("run", "names_manager")
    finally:
        faults(project)
    shown = json.loads(project.call("show", "names_manager@latest", "--json").stdout)
    assert [row["attempts"] for row in shown["tasks"]] == [1]


@pytest.mark.parametrize(
    "name, rules, message",
    [
        (
            "absent", [],
            "secret `absent` (`prod/absent` in Secrets Manager) cannot be read: ResourceNotFoundException: Secrets "
            "Manager can't find the specified secret. create it in the account and region of connection `aws`, or "
            "correct the name under `secrets` in trunkline.yaml",
        ),
        (
            "old", [],
            "secret `old` (parameter `/prod/token` of Systems Manager) cannot be read: ParameterVersionNotFound: "
            "Systems Manager could not find version 99 of /prod/token. Verify the version and try again. there is no "
            "version 99 of it; without `version` the current one is taken",
        ),
        (
            "manager",
            [{"service": "secretsmanager", "kind": "error_before", "status": 400, "code": "AccessDeniedException"}],
            "allow secretsmanager:GetSecretValue on it (and kms:Decrypt on its key) to the identity of connection `aws`",
        ),
    ],
)
def test_what_is_missing_is_said_once_with_what_to_do(project, name, rules, message):
    faults(project, *rules)
    try:
        refused = project.call("run", f"names_{name}", code=1)
    finally:
        faults(project)
    text = " ".join((refused.stdout + refused.stderr).split())
    assert message in text, text
    shown = json.loads(project.call("show", f"names_{name}@latest", "--json").stdout)
    assert shown["tasks"][0]["attempts"] <= 1
