"""A server of the release before and one of this release on one store, as in the middle of an upgrade.

TRUNKLINE_OLD_BIN names the older program (`scripts/test` says how to make one); it needs no sandbox. Without
it nothing can be said here, and the tests are shown as skipped.
"""

import collections
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import urllib.request

import pytest

from project import Project
from waiting import until

OLD = os.environ.get("TRUNKLINE_OLD_BIN", "")

pytestmark = pytest.mark.skipif(
    not OLD, reason="TRUNKLINE_OLD_BIN names no program of the release before; scripts/test says how to give one"
)

PIPELINE = """
name: both
schedule: "0 9 * * *"
timezone: UTC
data_interval: day
catchup: none
max_active_runs: 20
defaults: { connection: aws, poll_interval: 1s }
tasks:
  begin:
    type: command
    env: { ROOT: "{{ vars.root }}" }
    command: [sh, -c, 'echo "begin $TRUNKLINE_ATTEMPT" >> "$ROOT/starts"; sleep 1']
  work: { type: glue_job, depends_on: begin, job: both-job }
  beside:
    type: command
    depends_on: begin
    env: { ROOT: "{{ vars.root }}" }
    command: [sh, -c, 'echo "beside $TRUNKLINE_ATTEMPT" >> "$ROOT/starts"; sleep 2']
  close: { type: noop, depends_on: [work, beside] }
"""

TEMPLATE = """
Resources:
  Scripts:
    Type: AWS::S3::Bucket
    Properties: { BucketName: both-scripts }
  Role:
    Type: AWS::IAM::Role
    Properties: { AssumeRolePolicyDocument: { Statement: [] } }
  Job:
    Type: AWS::Glue::Job
    Metadata: { Trunkline: { Sandbox: { Script: jobs/work.py } } }
    Properties:
      Name: both-job
      Role: !GetAtt Role.Arn
      Command: { Name: glueetl, PythonVersion: "3", ScriptLocation: "s3://both-scripts/work.py" }
      GlueVersion: "5.0"
      WorkerType: G.1X
      NumberOfWorkers: 2
      MaxRetries: 0
      ExecutionProperty: { MaxConcurrentRuns: 50 }
"""

# Days whose runs the old program makes, and days whose runs the new one makes.
OLD_DAYS = [f"2026-10-{day:02}" for day in range(1, 7)]
NEW_DAYS = [f"2026-10-{day:02}" for day in range(7, 13)]


@pytest.fixture
def projects(binary, environment, sandbox, tmp_path):
    """The same folder for both programs."""
    assert os.access(OLD, os.X_OK), f"TRUNKLINE_OLD_BIN: {OLD} cannot be run"
    (tmp_path / "trunkline.yaml").write_text(
        "environments:\n  local:\n    connections:\n"
        f"      aws: {{ type: aws, region: us-east-1, endpoint: '{sandbox.endpoint}', access_key: upgrade }}\n"
        f"    vars: {{ root: '{tmp_path}' }}\n"
    )
    home = tmp_path / "pipelines" / "both"
    home.mkdir(parents=True)
    (home / "pipeline.yaml").write_text(PIPELINE)
    # Its things are made here: the older program may have no sandbox.
    made = tmp_path / "made"
    (made / "jobs").mkdir(parents=True)
    (made / "jobs" / "work.py").write_text("import time\ntime.sleep(1)\n")
    (made / "aws.yaml").write_text(TEMPLATE)
    sandbox.provision(made)
    environment = environment | {"AWS_SECRET_ACCESS_KEY": "upgrade"}
    old = Project(pathlib.Path(OLD).resolve(), environment, tmp_path)
    new = Project(binary, environment, tmp_path)
    yield old, new
    new.stop()
    shutil.rmtree(tmp_path / ".trunkline", ignore_errors=True)


@contextlib.contextmanager
def serving(project):
    log = open(project.folder / f"serve-{project.binary.parent.name}.log", "ab")
    process = subprocess.Popen(
        [str(project.binary), "serve"], cwd=project.folder, env=project.environment, stdin=subprocess.DEVNULL,
        stdout=log, stderr=log,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        log.close()


def replicas(project):
    """The servers that live: how many runs each owns, by its process."""
    return {row["pid"]: row["runs"] for row in project.status()["replicas"] if row["role"] == "serve"}


def runs(project):
    return json.loads(project.call("runs", "both", "--limit", "100", "--json").stdout)


def starts(project):
    """How often each command ran, by task and attempt."""
    path = project.folder / "starts"
    return collections.Counter(path.read_text().splitlines() if path.exists() else [])


def jobs(sandbox):
    """How often the service accepted each attempt."""
    with urllib.request.urlopen(f"{sandbox.endpoint}/_sandbox/ledger?operation=StartJobRun") as answer:
        return collections.Counter(start["marker"] for start in json.load(answer) if start["subject"] == "both-job")


@pytest.mark.parametrize("killed", ["old", "new"])
def test_servers_of_two_releases_share_a_store(projects, sandbox, killed):
    old, new = projects
    before = jobs(sandbox)
    old.call("deploy")
    with serving(old) as old_server:
        until(lambda: old_server.pid in replicas(old), 60, "the old server")
        for day in OLD_DAYS:
            old.call("run", "both", "--date", day, "--detach")
        until(lambda: len(starts(old)) >= 3, 60, "runs of the old server")
        with serving(new) as new_server:
            # It migrates the store below the old one, which goes on.
            until(lambda: set(replicas(new)) == {old_server.pid, new_server.pid}, 60, "both servers")
            # Each command is a process that reads the schema anew: an older one does not guess at it.
            refused = subprocess.run(
                [str(old.binary), "runs"], cwd=old.folder, env=old.environment, capture_output=True, text=True
            )
            assert refused.returncode in (2, 3) and "schema" in refused.stderr, refused.stderr
            for day in NEW_DAYS:
                new.call("run", "both", "--date", day, "--detach")
            until(lambda: all(replicas(new).values()), 60, "runs in the hands of each")
            victim = {"old": old_server, "new": new_server}[killed]
            os.kill(victim.pid, signal.SIGKILL)
            victim.wait()
            until(lambda: all(row["ended_at"] for row in runs(new)), 120, "all runs to end")
    ended = runs(new)
    assert [row["state"] for row in ended] == ["succeeded"] * len(OLD_DAYS + NEW_DAYS), ended
    commands = starts(new)
    assert len(commands) == 2 * len(ended) and set(commands.values()) == {1}, commands
    accepted = jobs(sandbox) - before
    assert len(accepted) == len(ended) and set(accepted.values()) == {1}, accepted
    for row in ended:
        detail = json.loads(new.call("show", row["id"], "--json").stdout)
        assert [attempt["state"] for attempt in detail["attempt_list"]] == ["succeeded"] * 4, detail["attempt_list"]
