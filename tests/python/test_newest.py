"""Running again on the newest version: the difference is shown, what is new runs, what is gone does not."""

import json

import pytest

from project import Project
from test_operate import shown, states
from test_remote import Elsewhere, serving
from waiting import until

FIRST = """
name: daily
data_interval: day
params: { rows: { type: integer, default: 1 } }
tasks:
  extract: { type: command, command: [sh, -c, "echo extract >> {{ vars.root }}/ran"] }
  load: { type: command, depends_on: extract, command: [sh, -c, "echo a wrong query; exit 3"] }
  old: { type: noop, depends_on: load }
"""
SECOND = """
name: daily
data_interval: day
params: { rows: { type: integer, default: 1 }, place: { type: string, default: here } }
tasks:
  check: { type: command, command: [sh, -c, "echo check >> {{ vars.root }}/ran"] }
  extract: { type: command, depends_on: check, command: [sh, -c, "echo extract >> {{ vars.root }}/ran"] }
  load: { type: command, depends_on: extract, command: [sh, -c, "echo load {{ params.rows }} {{ params.place }} >> {{ vars.root }}/ran"] }
"""


@pytest.fixture
def project(binary, environment, tmp_path):
    home = tmp_path / "project"
    home.mkdir()
    made = Project.deployed(binary, environment, home, {"daily": FIRST})
    yield made
    made.stop()


def rewrite(project, text):
    (project.folder / "pipelines/daily/pipeline.yaml").write_text(text)
    project.call("deploy")


def ran(project):
    return (project.folder / "ran").read_text().splitlines()


def test_what_failed_runs_again_on_what_was_deployed_since(project):
    project.call("run", "daily", "--date", "2026-11-01", "-p", "rows=7", code=1)
    rewrite(project, SECOND)
    run = "daily@2026-11-01"
    plain = project.call("clear", run, "--failed", "--dry-run").stdout
    assert "version" not in plain
    preview = project.call("clear", run, "--failed", "--newest", "--dry-run").stdout
    assert "goes on with version 2 instead of 1:" in preview and "tasks.check is new" in preview
    assert "tasks.old is gone" in preview and "tasks.load.settings.command" in preview
    assert "2 tasks run again: " in preview and "check" in preview and "load" in preview, preview
    assert shown(project, run)["version"] == 1

    project.call("clear", run, "--failed", "--newest", "--yes", "--reason", "the load was wrong")
    after = shown(project, run)
    assert (after["version"], after["state"], after["params"]) == (2, "succeeded", {"rows": 7, "place": "here"})
    # What was done stays done, whatever comes before it now.
    assert ran(project)[0] == "extract" and sorted(ran(project)[1:]) == ["check", "load 7 here"]
    assert states(project, run) == {"check": "succeeded", "extract": "succeeded", "load": "succeeded"}
    said = json.dumps(shown(project, run)["history"])
    assert "version 1 \\u2192 2 by" in said and "the load was wrong" in said
    # The old attempts are still there, with what they said.
    assert "a wrong query" in project.call("logs", run, "load", "--attempt", "1").stdout

    again = project.call("clear", run, "--newest", "--yes").stdout
    assert "goes on with version" not in again, "it is on it"
    assert ran(project)[3:] == ["check", "extract", "load 7 here"]


def test_many_runs_go_on_and_those_that_cannot_say_why(project):
    for day in (1, 2, 3):
        project.call("run", "daily", "--date", f"2026-11-0{day}", code=1)
    rewrite(project, SECOND)
    preview = project.call("clear", "daily", "--state", "failed", "--failed", "--newest", "--dry-run").stdout
    assert preview.count("version 1 → 2; 2 tasks: ") == 3, preview
    project.call("clear", "daily", "--state", "failed", "--failed", "--newest", "--yes")
    for day in (1, 2, 3):
        assert shown(project, f"daily@2026-11-0{day}")["version"] == 2
    assert sorted(ran(project)) == ["check"] * 3 + ["extract"] * 3 + ["load 1 here"] * 3

    rewrite(project, SECOND.replace("default: here", "enum: [there]"))
    refused = project.call("clear", "daily@2026-11-01", "--newest", "--yes", code=2).stderr
    assert "the parameters of daily@2026-11-01 do not fit version 3: param `place`" in refused, refused
    many = project.call("clear", "daily", "--state", "succeeded", "--newest", "--yes", code=2)
    assert many.stderr.count("do not fit version 3") == 3, many.stderr


def test_through_a_server_it_is_the_same(project, tmp_path):
    project.call("run", "daily", "--date", "2026-11-01", code=1)
    rewrite(project, SECOND)
    token = json.loads(project.call("token", "create", "laptop", "--scope", "operate", "--json").stdout)["token"]
    with serving(project) as url:
        remote = Elsewhere(project, url, token, tmp_path)
        preview = remote.call("clear", "daily@2026-11-01", "--failed", "--newest", "--dry-run").stdout
        assert "goes on with version 2 instead of 1:" in preview and "tasks.check is new" in preview, preview
        remote.call("clear", "daily@2026-11-01", "--failed", "--newest", "--yes")
        until(lambda: shown(project, "daily@2026-11-01")["state"] == "succeeded", 60, "the run")
        assert shown(project, "daily@2026-11-01")["version"] == 2
        # A run that has not ended keeps its version, and says so.
        rewrite(project, SECOND.replace("echo check >>", "sleep 600; echo check >>"))
        remote.call("run", "daily", "--date", "2026-11-02", "--detach")
        rewrite(project, SECOND)
        refused = remote.call("clear", "daily@2026-11-02", "--newest", "--yes", code=2).stderr
        assert "it can go on with version" in refused and "once it has ended" in refused, refused
        remote.call("cancel", "daily@2026-11-02")
        until(lambda: shown(project, "daily@2026-11-02")["state"] == "cancelled", 60, "the cancel")
