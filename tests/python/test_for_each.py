"""Mapped tasks: one task run for each element of a list, cleared and marked one by one."""

import json
import os
import signal
import subprocess

import pytest

from project import Project
from waiting import until

COUNT = 1000
BAD = [17, 404, 999]

# The list comes from a task before; three of its elements fail as long as a file says so.
FAN = """
name: fan
data_interval: day
on_success: [{ sns: "{{ vars.topic }}" }]
on_failure: [{ sns: "{{ vars.topic }}" }]
params: { count: { type: integer, default: COUNT } }
tasks:
  list:
    type: command
    env: { COUNT: "{{ params.count }}" }
    command: [python3, -c, 'import json, os; print(json.dumps({"keys": [f"part-{n}" for n in range(int(os.environ["COUNT"]))]}))']
  convert:
    type: command
    depends_on: list
    for_each: "{{ tasks.list.outputs.keys }}"
    max_parallel: 24
    env: { KEY: "{{ item }}", INDEX: "{{ index }}", ROOT: "{{ vars.root }}" }
    command: [sh, -c, 'echo "$INDEX" >> "$ROOT/ran"; test ! -e "$ROOT/bad-$KEY" || { echo "$KEY is broken" >&2; exit 3; }; echo "{\\"rows\\": $INDEX}"']
  total:
    type: command
    depends_on: convert
    env: { TOTAL: "{{ tasks.convert.outputs | map(attribute='rows') | sum }}" }
    command: [sh, -c, 'echo "{\\"total\\": $TOTAL}"']
"""


@pytest.fixture
def project(binary, environment, tmp_path):
    (tmp_path / "trunkline.yaml").write_text(
        "environments:\n  local:\n    connections: { aws: { sandbox: true } }\n"
        f"    vars: {{ topic: 'arn:aws:sns:us-east-1:000000000000:fan', root: '{tmp_path}' }}\n"
    )
    home = tmp_path / "pipelines" / "fan"
    home.mkdir(parents=True)
    (home / "pipeline.yaml").write_text(FAN.replace("COUNT }", f"{COUNT} }}"))
    (home / "aws.yaml").write_text(
        "Resources:\n  Topic:\n    Type: AWS::SNS::Topic\n    Properties:\n      TopicName: fan\n"
        "      Subscription: [{ Protocol: email, Endpoint: ops@example.com }]\n"
    )
    made = Project(binary, environment, tmp_path)
    yield made
    made.stop()


def shown(project, run):
    return json.loads(project.call("show", run, "--json").stdout)


def tasks(project, run):
    return {row["task"]: row for row in shown(project, run)["tasks"]}


def ran(project):
    return [int(line) for line in (project.folder / "ran").read_text().split()]


def break_elements(project, elements):
    for element in elements:
        (project.folder / f"bad-part-{element}").touch()


def repair(project):
    for marker in project.folder.glob("bad-part-*"):
        marker.unlink()


def test_exactly_the_failed_elements_run_again(project):
    break_elements(project, BAD)
    run = "fan@2026-10-01"
    failed = project.call("run", "fan", "--date", "2026-10-01", code=1)
    assert "convert[17]" in failed.stderr, failed.stderr
    rows = tasks(project, run)
    assert rows["convert"]["state"] == "failed" and rows["convert"]["elements"] == COUNT
    assert rows["convert"]["failure"]["message"].startswith(f"3 of {COUNT} elements failed: convert[17]: ")
    assert rows["total"]["state"] == "upstream_failed"
    assert sorted(ran(project)) == list(range(COUNT))
    broken = sorted(row["item"] for row in rows.values() if row["state"] == "failed" and "item" in row)
    assert broken == sorted(f"part-{element}" for element in BAD)

    human = project.call("show", run).stdout
    assert f"{COUNT} elements failed" in human and "convert[404]" in human and "convert[500]" not in human, human
    assert "part-999 is broken" in project.call("logs", run, "convert[999]").stdout
    why = project.call("why", run).stdout
    assert "convert[17]" in why, why
    assert "convert has 1000 elements" in project.call("why", run, "convert[1000]", code=2).stderr

    preview = project.call("clear", run, "--failed", "--dry-run").stdout
    assert "4 tasks run again: convert[17], convert[404], convert[999], total" in preview, preview
    repair(project)
    (project.folder / "ran").unlink()
    project.call("clear", run, "--failed", "--yes")
    assert sorted(ran(project)) == BAD
    rows = tasks(project, run)
    assert {row["state"] for row in rows.values()} == {"succeeded"}
    assert rows["total"]["outputs"]["total"] == COUNT * (COUNT - 1) // 2
    assert [row["attempts"] for name, row in rows.items() if name == "convert[17]"] == [2]
    (mail,) = [body for subject, body in project.mails() if "FAILED" in subject]
    assert "convert[17]" in mail and "part-17 is broken" in mail, mail


def test_a_mapped_task_survives_the_death_of_its_server(project):
    run = "fan@2026-10-01"
    server = subprocess.Popen(
        [str(project.binary), "serve"], cwd=project.folder, env=project.environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    until(lambda: project.status()["replicas"], 60, "the server")
    project.call("run", "fan", "--date", "2026-10-01", "-p", "count=200", "--detach")
    until(lambda: (project.folder / "ran").exists() and len(ran(project)) > 40, 120, "some elements")
    os.kill(server.pid, signal.SIGKILL)
    server.wait()
    other = subprocess.Popen(
        [str(project.binary), "serve"], cwd=project.folder, env=project.environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: shown(project, run)["state"] == "succeeded", 120, "the run's end")
    finally:
        other.kill()
        other.wait()
    assert sorted(set(ran(project))) == list(range(200))
    assert tasks(project, run)["total"]["outputs"]["total"] == 199 * 100


def test_elements_are_cleared_and_marked_alone_and_a_new_list_replaces_the_old(project):
    run = "fan@2026-10-01"
    break_elements(project, [1])
    project.call("run", "fan", "--date", "2026-10-01", "-p", "count=4", code=1)
    assert "convert[1] counts as succeeded; total follows" in project.call(
        "mark", run, "succeeded", "--task", "convert[1]", "--dry-run"
    ).stdout
    # An element that a person vouches for leaves no outputs.
    project.call("mark", run, "succeeded", "--task", "convert[1]", "--yes")
    rows = tasks(project, run)
    assert rows["convert"]["outputs"][1] is None and rows["total"]["outputs"]["total"] == 5
    repair(project)
    project.call("clear", run, "--task", "convert[1]", "--downstream", "--yes")
    assert tasks(project, run)["total"]["outputs"]["total"] == 6
    (project.folder / "ran").unlink()
    project.call("clear", run, "--task", "convert", "--downstream", "--yes")
    assert sorted(ran(project)) == [0, 1, 2, 3]


def test_an_empty_list_and_failures_that_are_tolerated(project):
    path = project.folder / "pipelines" / "fan" / "pipeline.yaml"
    text = path.read_text()
    run = "fan@2026-10-01"
    project.call("run", "fan", "--date", "2026-10-01", "-p", "count=0")
    assert tasks(project, run)["convert"]["state"] == "skipped"
    assert "its `for_each` gave no elements" in project.call("why", run, "convert").stdout
    path.write_text(text.replace("max_parallel: 24", "max_parallel: 24\n    on_empty: fail"))
    failed = project.call("run", "fan", "--date", "2026-10-02", "-p", "count=0", code=1)
    assert "`for_each` gave no elements" in failed.stderr, failed.stderr

    path.write_text(text.replace("max_parallel: 24", "max_parallel: 1\n    tolerated_failures: 2").replace(
        "{{ tasks.convert.outputs | map(attribute='rows') | sum }}", "{{ tasks.convert.outputs | length }}"))
    break_elements(project, [0, 2])
    project.call("run", "fan", "--date", "2026-10-03", "-p", "count=5")
    row = tasks(project, "fan@2026-10-03")["convert"]
    assert row["warnings"] == ["2 of 5 elements failed: convert[0]: exit code 3; convert[2]: exit code 3"], row
    # One at a time: in the order of the list.
    assert ran(project) == [0, 1, 2, 3, 4]


def test_what_gives_no_list_is_said(project):
    path = project.folder / "pipelines" / "fan" / "pipeline.yaml"
    path.write_text(path.read_text().replace("tasks.list.outputs.keys", "tasks.list.outputs"))
    failed = project.call("run", "fan", "--date", "2026-10-01", "-p", "count=1", code=1)
    assert "`for_each` must give a list, and `{{ tasks.list.outputs }}` gives names with values" in failed.stderr
