"""Turns: slots that tasks of several runs share, in the order of priority and age; a past that must have done well."""

import json
import signal
import subprocess

import pytest

from project import Project
from waiting import until

# Writes when it began and ended, and lasts until a file lets it go on.
WORK = """[sh, -c, 'echo "+ $NAME" >> "$ROOT/log"; while ! test -e "$ROOT/go"; do sleep 0.05; done; echo "- $NAME" >> "$ROOT/log"']"""

LOADS = f"""
name: loads
max_active_runs: 50
data_interval: day
params: {{ name: {{ type: string }} }}
tasks:
  load:
    type: command
    pool: warehouse
    env: {{ NAME: "{{{{ params.name }}}}", ROOT: "{{{{ vars.root }}}}" }}
    command: {WORK}
"""

URGENT = LOADS.replace("name: loads", "name: urgent", 1).replace("pool: warehouse", "pool: warehouse\n    priority: 30")

FAN = f"""
name: fan
data_interval: day
tasks:
  each:
    type: command
    for_each: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    pool: warehouse
    env: {{ NAME: "e{{{{ item }}}}", ROOT: "{{{{ vars.root }}}}" }}
    command: [sh, -c, 'echo "+ $NAME" >> "$ROOT/log"; sleep 0.3; echo "- $NAME" >> "$ROOT/log"']
  after: {{ type: noop, depends_on: each }}
"""


PAST = """
name: past
schedule: "0 9 * * *"
data_interval: day
catchup: none
max_active_runs: 5
tasks:
  extract: { type: noop }
  load:
    type: command
    depends_on: extract
    depends_on_past: true
    env: { DAY: "{{ ds }}", ROOT: "{{ vars.root }}" }
    command: [sh, -c, 'echo "$DAY" >> "$ROOT/days"; test ! -e "$ROOT/bad-$DAY"']
"""


@pytest.fixture
def project(binary, environment, tmp_path):
    (tmp_path / "trunkline.yaml").write_text(
        f"pools: {{ warehouse: 2 }}\nenvironments:\n  local:\n    vars: {{ root: '{tmp_path}' }}\n"
    )
    for name, text in {"loads": LOADS, "urgent": URGENT, "fan": FAN, "past": PAST}.items():
        home = tmp_path / "pipelines" / name
        home.mkdir(parents=True)
        (home / "pipeline.yaml").write_text(text)
    made = Project(binary, environment, tmp_path)
    made.call("deploy")
    yield made
    made.stop()


def serve(project):
    process = subprocess.Popen(
        [str(project.binary), "serve"], cwd=project.folder, env=project.environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    until(lambda: project.status()["replicas"], 60, "the server")
    return process


@pytest.fixture
def server(project):
    processes = [serve(project)]
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def log(project):
    path = project.folder / "log"
    return path.read_text().splitlines() if path.exists() else []


def most_at_once(lines):
    under_way, most = set(), 0
    for line in lines:
        sign, name = line.split()
        (under_way.add if sign == "+" else under_way.discard)(name)
        most = max(most, len(under_way))
    return most


def pools(project):
    return {row["pool"]: row for row in json.loads(project.call("pools", "--json").stdout)}


def begin(project, pipeline, date, name):
    project.call("run", pipeline, "--date", date, "-p", f"name={name}", "--detach")


def test_slots_are_granted_by_priority_and_age_and_why_says_who_has_them(project, server):
    for day, name in enumerate("abcd", 1):
        begin(project, "loads", f"2026-03-0{day}", name)
        waiting = max(0, day - 2)
        until(lambda: pools(project)["warehouse"]["waiting"] == waiting, 60, f"{name} in the pool")
    assert "1 of pool warehouse, priority 30" in project.call("plan", "urgent", "--date", "2026-03-01", "-p", "name=u").stdout
    begin(project, "urgent", "2026-03-01", "u")
    until(lambda: pools(project)["warehouse"]["waiting"] == 3, 60, "the urgent one in the pool")
    until(lambda: len(log(project)) == 2, 60, "two loads")
    assert pools(project)["warehouse"] == {"pool": "warehouse", "slots": 2, "taken": 2, "waiting": 3}
    why = project.call("why", "loads@2026-03-03").stdout
    assert "load of loads@2026-03-03 is ready and waits for pool `warehouse`: 2 of 2 slots are taken" in why
    assert "load of loads@2026-03-01, load of loads@2026-03-02 have them, and 1 wait before it" in why
    assert "and it is the next" in project.call("why", "urgent@2026-03-01").stdout
    shown = project.call("pools", "warehouse").stdout
    order = [line.split()[0] for line in shown.splitlines() if "@" in line]
    assert order == [f"loads@2026-03-0{day}" for day in (1, 2)] + ["urgent@2026-03-01", "loads@2026-03-03", "loads@2026-03-04"]
    assert "there is no pool `warehose`" in project.call("pools", "warehose", code=2).stderr

    # Cancelling one that waits and one that works makes room for others only.
    project.call("cancel", "loads@2026-03-03")
    project.call("cancel", "loads@2026-03-01")
    until(lambda: "+ u" in log(project), 60, "the urgent one")
    (project.folder / "go").touch()
    for run in ("loads@2026-03-02", "loads@2026-03-04", "urgent@2026-03-01"):
        until(lambda: json.loads(project.call("show", run, "--json").stdout)["state"] == "succeeded", 60, run)
    assert "+ c" not in log(project)
    assert pools(project)["warehouse"] == {"pool": "warehouse", "slots": 2, "taken": 0, "waiting": 0}


def test_elements_share_a_pool_and_a_killed_server_loses_no_slot(project, server):
    project.call("run", "fan", "--date", "2026-03-01", "--detach")
    until(lambda: len(log(project)) >= 3, 60, "some elements")
    server[0].send_signal(signal.SIGKILL)
    server[0].wait()
    server.append(serve(project))
    ended = lambda: json.loads(project.call("show", "fan@2026-03-01", "--json").stdout)["state"]
    until(lambda: ended() == "succeeded", 120, "the fan")
    lines = log(project)
    assert sorted(line for line in lines if line[0] == "+") == [f"+ e{index}" for index in range(10)]
    assert most_at_once(lines) <= 2, lines
    assert pools(project)["warehouse"]["taken"] == 0


def test_a_pool_of_an_environment_may_be_closed_and_opened_by_a_deploy(project, server):
    project.edit("trunkline.yaml", "warehouse: 2", "warehouse: 0")
    project.call("deploy")
    begin(project, "loads", "2026-03-01", "a")
    until(lambda: pools(project)["warehouse"]["waiting"] == 1, 60, "a in the pool")
    assert "has no slots: nothing that needs it starts" in project.call("why", "loads@2026-03-01").stdout
    project.edit("trunkline.yaml", "warehouse: 0", "warehouse: 1")
    project.call("deploy")
    until(lambda: "+ a" in log(project), 60, "a")
    (project.folder / "go").touch()
    project.edit("pipelines/loads/pipeline.yaml", "pool: warehouse", "pool: warehose")
    assert "did you mean `warehouse`?" in project.call("validate", code=2).stderr


def test_a_task_that_depends_on_its_past_waits_until_that_did_well(project, server):
    (project.folder / "bad-2026-03-01").touch()
    states = lambda run: {
        row["task"]: row["state"] for row in json.loads(project.call("show", run, "--json").stdout)["tasks"]
    }
    project.call("run", "past", "--date", "2026-03-01", "--detach")
    until(lambda: states("past@2026-03-01")["load"] == "failed", 60, "the first day")
    for day in ("2026-03-02", "2026-03-03"):
        project.call("run", "past", "--date", day, "--detach")
        until(lambda: states(f"past@{day}") == {"extract": "succeeded", "load": "queued"}, 60, day)
    why = project.call("why", "past@2026-03-02").stdout
    assert "load of past@2026-03-02 is ready and depends on its past: load of past@2026-03-01 is failed" in why
    assert "`trunkline clear past@2026-03-01 --task load`" in why
    assert "load of past@2026-03-02 is queued" in project.call("why", "past@2026-03-03", "load").stdout
    (project.folder / "bad-2026-03-01").unlink()
    project.call("clear", "past@2026-03-01", "--failed", "--yes", "--detach")
    until(lambda: states("past@2026-03-03")["load"] == "succeeded", 60, "all days")
    days = (project.folder / "days").read_text().split()
    assert days == ["2026-03-01", "2026-03-01", "2026-03-02", "2026-03-03"]
