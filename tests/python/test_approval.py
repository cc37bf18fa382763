"""A person's word: given beside a live `serve` and without one, refused, late, after a crash."""

import contextlib
import json
import subprocess

import pytest

from project import Project
from waiting import until

PIPELINE = """
name: publish
data_interval: none
params: { patience: { type: string, default: "1h" } }
defaults: { retries: 2, retry_delay: 1s }
tasks:
  ask: { type: approval, message: Publish the invoices of November? }
  tell:
    type: command
    depends_on: ask
    command: [python3, -c, "import sys; print('approved by', sys.argv[1])", "{{ tasks.ask.outputs.approved_by }}"]
"""


@pytest.fixture(scope="module")
def project(binary, environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("publish")
    (folder / "trunkline.yaml").write_text("environments:\n  local: {}\n")
    for name, text in [
        ("publish", PIPELINE),
        ("hasty", PIPELINE.replace("name: publish", "name: hasty").replace("November? }", "November?, timeout: 2s, retries: 0 }")),
    ]:
        home = folder / "pipelines" / name
        home.mkdir(parents=True)
        (home / "pipeline.yaml").write_text(text)
    made = Project(binary, environment, folder)
    yield made
    made.stop()


def shown(project, run="publish@latest"):
    return json.loads(project.call("show", run, "--json").stdout)


def state(project, run="publish@latest"):
    return next(row for row in shown(project, run)["tasks"] if row["task"] == "ask")["state"]


@contextlib.contextmanager
def started(project, *arguments):
    process = subprocess.Popen(
        [str(project.binary), *arguments],
        cwd=project.folder, env=project.environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def newest(project):
    listed = json.loads(project.call("runs", "--json").stdout)
    return next((run["id"] for run in listed if run["pipeline"] == "publish"), None)


def asked(project, known):
    """The id of a newer run than the known one, once it waits for a person."""

    def found():
        run = newest(project)
        return run if run and run != known and state(project, run) == "awaiting_approval" else None

    return until(found, 60, "the question")


def test_yes_beside_the_run_that_waits_is_carried_through_the_inbox(project):
    with started(project, "run", "publish") as waiting:
        run = asked(project, None)
        why = project.call("why", run).stdout
        assert "Publish the invoices of November?" in why and "trunkline approve" in why, why
        assert "would be approved" in project.call("approve", run, "ask", "--dry-run").stdout
        assert state(project, run) == "awaiting_approval"
        project.call("approve", run, "ask", "--comment", "figures checked")
        said, _ = waiting.communicate(timeout=120)
    assert waiting.returncode == 0, said
    detail = shown(project, run)
    outputs = next(row for row in detail["tasks"] if row["task"] == "ask")["outputs"]
    assert outputs["approved_by"].startswith("user:") and outputs["comment"] == "figures checked"
    entry = next(entry for entry in detail["history"] for change in entry["changes"]
                 if change["task"] == "ask" and change["to"] == "succeeded" and change["attempt"])
    assert entry["actor"] == outputs["approved_by"]
    assert any("figures checked" in (change["reason"] or "") for change in entry["changes"]), entry


def test_a_killed_serve_loses_no_question_and_a_no_is_not_tried_again(project):
    known = newest(project)
    with started(project, "serve"):
        until(lambda: project.status()["replicas"], 60, "the server")
        project.call("run", "publish", "--detach")
        run = asked(project, known)
    assert state(project, run) == "awaiting_approval", "nobody is there, the question stands"
    with started(project, "serve"):
        until(lambda: shown(project, run)["owner"], 60, "the next server to take it")
        project.call("approve", run, "ask", "--reject", "--comment", "wrong month")
        until(lambda: shown(project, run)["state"] == "failed", 60, "the run to end")
    row = next(row for row in shown(project, run)["tasks"] if row["task"] == "ask")
    assert row["attempts"] == 1 and row["failure"]["message"].startswith("rejected by user:"), row
    assert row["failure"]["message"].endswith(": wrong month")
    refused = project.call("approve", run, "ask", code=2)
    assert "only a task in awaiting_approval can be approved or rejected" in refused.stderr


def test_without_a_server_the_command_itself_carries_the_run_on(project):
    known = newest(project)
    with started(project, "run", "publish"):
        run = asked(project, known)
    project.call("approve", run, "ask")
    assert shown(project, run)["state"] == "succeeded"


def test_nobody_answers_in_time_or_somebody_cancels(project):
    project.call("run", "hasty", code=1)
    row = next(row for row in shown(project, "hasty@latest")["tasks"] if row["task"] == "ask")
    assert row["failure"]["message"] == "stopped after 2s, the task's timeout; nobody had answered"
    known = newest(project)
    with started(project, "run", "publish") as waiting:
        run = asked(project, known)
        project.call("cancel", run, "--reason", "not today")
        waiting.communicate(timeout=60)
    detail = shown(project, run)
    assert detail["state"] == "cancelled"
    row = next(row for row in detail["tasks"] if row["task"] == "ask")
    assert "nobody had answered (by user:" in row["failure"]["message"], row
