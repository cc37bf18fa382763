"""Runs that make runs of other pipelines, and wait for them."""

import contextlib
import json
import subprocess

import pytest

from project import Project
from waiting import until

PIPELINES = {
    "child": """
name: child
data_interval: day
start_date: 2026-01-01
params: { mood: { type: string, default: good } }
tasks:
  count:
    type: command
    command: [python3, -c, "import sys; print('day', sys.argv[1]); sys.exit(sys.argv[2] == 'bad')", "{{ ds }}", "{{ params.mood }}"]
  total: { type: noop, depends_on: count, outputs: { rows: 3 } }
""",
    "slow": """
name: slow
data_interval: none
tasks: { rest: { type: sleep, for: 1h } }
""",
    "parent": """
name: parent
data_interval: day
start_date: 2026-01-01
params:
  mood: { type: string, default: good }
  existing: { type: string, default: join }
defaults: { retries: 0, poll_interval: 1s }
tasks:
  other:
    type: run_pipeline
    pipeline: child
    date: "{{ ds }}"
    params: { mood: "{{ params.mood }}" }
    existing: "{{ params.existing }}"
  tell:
    type: command
    depends_on: other
    command: [python3, -c, "import sys; print('the other counted', sys.argv[1])", "{{ tasks.other.outputs.tasks.total.rows }}"]
""",
    "starter": """
name: starter
data_interval: none
defaults: { retries: 0, poll_interval: 1s }
tasks: { other: { type: run_pipeline, pipeline: slow } }
""",
    "follower": """
name: follower
data_interval: none
params: { day: { type: string } }
defaults: { retries: 0, poll_interval: 1s }
tasks: { wait: { type: pipeline_wait, pipeline: child, date: "{{ params.day }}", timeout: 5m } }
""",
    "listener": """
name: listener
data_interval: none
params: { since: { type: string } }
defaults: { retries: 0, poll_interval: 1s }
tasks: { wait: { type: pipeline_wait, pipeline: child, since: "{{ params.since }}", timeout: 5m } }
""",
}


@pytest.fixture(scope="module")
def project(binary, environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("family")
    (folder / "trunkline.yaml").write_text("environments:\n  local: {}\n")
    for name, text in PIPELINES.items():
        home = folder / "pipelines" / name
        home.mkdir(parents=True)
        (home / "pipeline.yaml").write_text(text)
    made = Project(binary, environment, folder)
    yield made
    made.stop()


def shown(project, run):
    return json.loads(project.call("show", run, "--json").stdout)


def task(project, run, name):
    return next(row for row in shown(project, run)["tasks"] if row["task"] == name)


def runs(project, pipeline):
    listed = json.loads(project.call("runs", "--json").stdout)
    return [run for run in listed if run["pipeline"] == pipeline]


@contextlib.contextmanager
def started(project, *arguments, **variables):
    process = subprocess.Popen(
        [str(project.binary), *arguments],
        cwd=project.folder, env=project.environment | variables, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_another_pipeline_is_run_and_its_outputs_are_read(project):
    project.call("run", "parent", "--date", "2026-11-01")
    child = shown(project, "child@2026-11-01")
    assert (child["state"], child["trigger"]) == ("succeeded", "task")
    assert child["created_by"] == "task:parent@2026-11-01/other"
    outputs = task(project, "parent@2026-11-01", "other")["outputs"]
    assert outputs["run"] == "child@2026-11-01" and outputs["tasks"]["total"] == {"rows": 3}
    assert "the other counted 3" in project.call("logs", "parent@2026-11-01", "tell").stdout
    # The same day again: the run that is there is taken as it is, or run again.
    project.call("clear", "parent@2026-11-01", "--yes")
    assert shown(project, "child@2026-11-01")["generation"] == 1


def test_a_failure_is_said_in_the_others_words_and_can_be_cleared_by_the_task(project):
    project.call("run", "parent", "--date", "2026-11-02", "-p", "mood=bad", code=1)
    failure = task(project, "parent@2026-11-02", "other")["failure"]
    assert failure["message"].startswith("child@2026-11-02 failed: count: "), failure
    assert failure["message"].endswith("See it: trunkline show child@2026-11-02"), failure
    again = project.call("run", "parent", "--date", "2026-11-03", "-p", "mood=bad", "-p", "existing=clear_failed", code=1)
    assert shown(project, "child@2026-11-03")["generation"] == 1, again.stderr
    project.call("clear", "parent@2026-11-03", "--failed", "--yes", code=1)
    assert shown(project, "child@2026-11-03")["generation"] == 2


def test_a_killed_process_makes_one_run(project):
    with started(project, "run", "parent", "--date", "2026-11-04", TRUNKLINE_CRASH_AT="after_send@run_pipeline") as killed:
        assert killed.wait(120) == -9, killed.stdout.read()
    assert [run["run_key"] for run in runs(project, "child")].count("2026-11-04") == 1
    with started(project, "serve"):
        until(lambda: shown(project, "parent@2026-11-04")["state"] == "succeeded", 120, "the next owner to end it")
    other = task(project, "parent@2026-11-04", "other")
    assert (other["state"], other["attempts"]) == ("succeeded", 1)
    assert [run["run_key"] for run in runs(project, "child")].count("2026-11-04") == 1
    assert shown(project, "child@2026-11-04")["generation"] == 1


def test_a_cancel_is_passed_on(project):
    with started(project, "run", "starter") as waiting:
        until(lambda: any(run["state"] == "running" for run in runs(project, "slow")), 60, "the other run")
        project.call("cancel", "starter@latest", "--reason", "enough")
        said, _ = waiting.communicate(timeout=90)
    assert waiting.returncode == 1, said
    assert shown(project, "starter@latest")["state"] == "cancelled"
    slow = runs(project, "slow")[0]
    assert slow["state"] == "cancelled" and slow["run_key"] == task(project, "starter@latest", "other")["external_id"].split("@")[1]


def test_runs_are_waited_for_by_day_and_by_time(project):
    with started(project, "run", "follower", "-p", "day=2026-11-07") as waiting:
        until(lambda: runs(project, "follower") and task(project, "follower@latest", "wait")["state"] == "running", 60, "the wait")
        project.call("run", "child", "--date", "2026-11-07", "-p", "mood=bad", code=1)
        assert task(project, "follower@latest", "wait")["state"] == "running", "a failure is waited out"
        project.call("run", "child", "--date", "2026-11-08")
        assert task(project, "follower@latest", "wait")["state"] == "running", "another day is not meant"
        ended = shown(project, "child@2026-11-08")["ended_at"]
        project.call("run", "listener", "-p", f"since={ended}")
        assert task(project, "listener@latest", "wait")["outputs"]["run"] == "child@2026-11-08"
        project.call("cancel", "follower@latest")
        waiting.communicate(timeout=60)
    project.call("run", "follower", "-p", "day=2026-11-08")
    assert task(project, "follower@latest", "wait")["outputs"]["run"] == "child@2026-11-08"


def test_circles_and_unknown_names_are_found_before_anything_runs(project, tmp_path):
    (tmp_path / "trunkline.yaml").write_text("environments:\n  local: {}\n")

    def write(name, other, extra=""):
        home = tmp_path / "pipelines" / name
        home.mkdir(parents=True, exist_ok=True)
        text = f"name: {name}\n{extra}tasks: {{ go: {{ type: run_pipeline, pipeline: {other} }} }}\n"
        (home / "pipeline.yaml").write_text(text)

    made = Project(project.binary, project.environment, tmp_path)
    write("a", "b")
    write("b", "a")
    said = made.call("validate", code=2)
    assert "pipelines run each other in a circle: a → b → a" in said.stdout + said.stderr
    write("b", "chld")
    said = made.call("validate", code=2)
    assert "task `go` names unknown pipeline `chld`" in said.stdout + said.stderr
    write("b", '"{{ ds }}"')
    said = made.call("validate", code=2)
    assert "the pipeline to run cannot be a template" in said.stdout + said.stderr
