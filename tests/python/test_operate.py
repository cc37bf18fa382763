"""What people do when something went wrong: mark, clear many runs, run a range of dates again."""

import contextlib
import json
import os
import signal
import subprocess

import pytest

from project import Project
from waiting import until

DAILY = """
name: daily
schedule: "0 9 * * *"
timezone: Europe/Berlin
data_interval: day
catchup: none
max_active_runs: 3
params: { full: { type: boolean, default: false } }
on_success: [{ sns: "{{ vars.topic }}" }]
on_failure: [{ sns: "{{ vars.topic }}" }]
tasks:
  extract:
    type: command
    env: { DAY: "{{ ds }}", ROOT: "{{ vars.root }}" }
    command: [sh, -c, 'echo "$DAY" >> "$ROOT/ran"; test ! -e "$ROOT/bad-$DAY" || { echo "bad file of $DAY" >&2; exit 3; }']
  thorough: { type: noop, depends_on: extract, when: "{{ params.full }}" }
  load: { type: noop, depends_on: extract }
  report: { type: noop, depends_on: [load, thorough], trigger_rule: none_failed }
"""


@pytest.fixture
def project(binary, environment, tmp_path):
    (tmp_path / "trunkline.yaml").write_text(
        "environments:\n  local:\n    connections: { aws: { sandbox: true } }\n"
        f"    vars: {{ topic: 'arn:aws:sns:us-east-1:000000000000:daily', root: '{tmp_path}' }}\n"
    )
    home = tmp_path / "pipelines" / "daily"
    home.mkdir(parents=True)
    (home / "pipeline.yaml").write_text(DAILY)
    (home / "aws.yaml").write_text(
        "Resources:\n  Topic:\n    Type: AWS::SNS::Topic\n    Properties:\n      TopicName: daily\n"
        "      Subscription: [{ Protocol: email, Endpoint: ops@example.com }]\n"
    )
    made = Project(binary, environment, tmp_path)
    yield made
    made.stop()


@contextlib.contextmanager
def serving(project):
    process = subprocess.Popen(
        [str(project.binary), "serve"], cwd=project.folder, env=project.environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: project.status()["replicas"], 60, "the server")
        yield process
    finally:
        process.kill()
        process.wait()


def shown(project, run):
    return json.loads(project.call("show", run, "--json").stdout)


def states(project, run):
    return {row["task"]: row["state"] for row in shown(project, run)["tasks"]}


def ran(project):
    """How often each date was extracted."""
    lines = (project.folder / "ran").read_text().split()
    return {line: lines.count(line) for line in lines}


def test_when_says_whether_a_task_runs(project):
    project.call("run", "daily", "--date", "2026-10-01")
    assert states(project, "daily@2026-10-01") == {
        "extract": "succeeded", "thorough": "skipped", "load": "succeeded", "report": "succeeded",
    }
    why = project.call("why", "daily@2026-10-01", "thorough").stdout
    assert "its `when` says no: {{ params.full }}" in why, why
    assert "when {{ params.full }}" in project.call("plan", "daily", "--date", "2026-10-01").stdout
    project.call("run", "daily", "--date", "2026-10-02", "-p", "full=true")
    assert states(project, "daily@2026-10-02")["thorough"] == "succeeded"
    project.edit("pipelines/daily/pipeline.yaml", "{{ params.full }}", "{{ ds }}")
    failed = project.call("run", "daily", "--date", "2026-10-03", code=1)
    assert "`when` must give true or false" in failed.stdout + failed.stderr


def test_a_mark_goes_on_from_where_a_person_says(project):
    (project.folder / "bad-2026-10-01").touch()
    project.call("run", "daily", "--date", "2026-10-01", code=1)
    preview = project.call("mark", "daily@2026-10-01", "succeeded", "--task", "extract", "--dry-run").stdout
    assert "extract counts as succeeded; load, thorough, report follow" in preview or (
        "extract counts as succeeded; thorough, load, report follow" in preview), preview
    assert states(project, "daily@2026-10-01")["extract"] == "failed"
    project.call("mark", "daily@2026-10-01", "succeeded", "--task", "extract", "--yes", "--reason", "loaded by hand")
    detail = shown(project, "daily@2026-10-01")
    assert detail["state"] == "succeeded" and detail["generation"] == 2
    reasons = [change["reason"] or "" for entry in detail["history"] for change in entry["changes"]]
    assert any("marked succeeded by user:" in reason and "loaded by hand" in reason for reason in reasons), reasons
    assert ran(project) == {"2026-10-01": 1}, "nothing was extracted again"
    refused = project.call("mark", "daily@2026-10-01", "succeeded", "--task", "extract", "--yes", code=2)
    assert "no task would change" in refused.stderr
    # The other way: what came after stays, the run has failed.
    project.call("mark", "daily@2026-10-01", "failed", "--task", "load", "--yes", code=1)
    assert shown(project, "daily@2026-10-01")["state"] == "failed"
    subjects = [subject for subject, _ in project.mails()]
    assert len([s for s in subjects if "FAILED daily 2026-10-01" in s]) == 2, subjects
    # A run that has not begun can be marked too, and a range of them.
    with serving(project):
        project.call("pause", "daily")
        for day in ("2026-10-02", "2026-10-03"):
            project.call("run", "daily", "--date", day, "--detach")
        project.call("mark", "daily", "succeeded", "--from", "2026-10-02", "--to", "2026-10-03", "--yes")
        project.call("resume", "daily")
        until(lambda: all(shown(project, f"daily@{day}")["state"] == "succeeded"
                          for day in ("2026-10-02", "2026-10-03")), 60, "both runs to end")
    assert ran(project) == {"2026-10-01": 1}


def test_a_word_that_came_too_late_for_a_run_is_refused_and_changes_nothing_later(project):
    project.call("run", "daily", "--date", "2026-10-01")
    # Who left them was killed: the run had just ended, and nobody owned it.
    project.psql("insert into inbox (run_id, command, actor) select run_id, '{\"command\": \"pause\"}', 'user:gone' from run")
    project.psql("insert into inbox (run_id, command, actor, created_at) select run_id, '{\"command\": \"pause\"}', 'user:gone',"
        " now() - interval '1 day' from run")
    with serving(project):
        until(lambda: project.psql("select count(*) from inbox where answered_at is null") == "0", 60, "both to be answered")
        answers = project.psql("select answer ->> 'refused' from inbox order by created_at").splitlines()
        assert "given up" in answers[0] and "succeeded" in answers[1], answers
        assert project.psql("select owner is null from run") == "t", "the server gives it back"
        project.call("clear", "daily@2026-10-01", "--yes")
        assert shown(project, "daily@2026-10-01")["state"] == "succeeded", "a pause of before would hold it"


def test_many_runs_are_cleared_by_date_and_state(project):
    for day in ("2026-10-01", "2026-10-02", "2026-10-03", "2026-10-04"):
        if day != "2026-10-03":
            (project.folder / f"bad-{day}").touch()
        project.call("run", "daily", "--date", day, code=0 if day == "2026-10-03" else 1)
        (project.folder / f"bad-{day}").unlink(missing_ok=True)
    shown_first = project.call("clear", "daily", "--from", "2026-10-02", "--state", "failed", "--failed", "--dry-run")
    assert "daily@2026-10-02" in shown_first.stdout and "daily@2026-10-04" in shown_first.stdout
    assert "daily@2026-10-01" not in shown_first.stdout and "daily@2026-10-03" not in shown_first.stdout
    project.call("clear", "daily", "--from", "2026-10-02", "--state", "failed", "--failed", "--yes")
    assert ran(project) == {"2026-10-01": 1, "2026-10-02": 2, "2026-10-03": 1, "2026-10-04": 2}
    with serving(project):
        project.call("clear", "daily@2026-10-03", "--past", "--yes")
        until(lambda: ran(project) == {"2026-10-01": 2, "2026-10-02": 3, "2026-10-03": 2, "2026-10-04": 2},
              60, "the first three to run again")
    nothing = project.call("clear", "daily", "--from", "2026-11", "--yes", code=2)
    assert "nothing matches" in nothing.stderr
    wrong = project.call("clear", "daily@2026-10-01", "--from", "2026-10-01", "--yes", code=2)
    assert "--from needs a pipeline" in wrong.stderr
    wrong = project.call("clear", "daily", "--from", "2026-10-05", "--to", "2026-10-01", "--yes", code=2)
    assert "the first date comes first" in wrong.stderr


def test_a_backfill_runs_what_is_missing_and_tells_once(project):
    project.call("run", "daily", "--date", "2026-10-25")
    (project.folder / "bad-2026-10-24").touch()
    # The clock goes back on the 25th; the range ends today, which is not over.
    table = project.call("backfill", "daily", "--from", "2026-10-23", "--to", "2026-10-27", "--dry-run").stdout
    assert [line.split()[0] for line in table.splitlines()[1:6]] == [f"daily@2026-10-{day}" for day in range(23, 28)]
    assert "has a run" in table
    project.call("backfill", "daily", "--from", "2026-10-23", "--to", "2026-10-27", "--yes", "--reason", "new column", code=1)
    assert ran(project) == {f"2026-10-{day}": 1 for day in range(23, 28)}
    listed = json.loads(project.call("backfills", "--json").stdout)
    assert [(row["state"], row["over"], row["total"]) for row in listed] == [("done", 5, 5)]
    subjects = [subject for subject, _ in project.mails()]
    assert subjects == [
        "[local] OK daily 2026-10-25", "[local] 1 FAILED: backfill daily 2026-10-23 to 2026-10-27",
    ], "one mail for all of them"
    digest = project.mails()[-1][1]
    assert "2026-10-24  extract: " in digest and "new column" in digest and "--reprocess failed" in digest, digest
    assert json.loads(project.call("show", "daily@2026-10-24", "--json").stdout)["trigger"] == "backfill"
    # What failed runs again, the rest is left alone.
    (project.folder / "bad-2026-10-24").unlink()
    project.call("backfill", "daily", "--from", "2026-10", "--to", "2026-10-27", "--reprocess", "failed", "--yes",
                 "--backwards", "--max-active", "2")
    assert ran(project)["2026-10-24"] == 2 and ran(project)["2026-10-23"] == 1 and ran(project)["2026-10-01"] == 1
    assert len(ran(project)) == 27


def test_what_cannot_be_backfilled_is_refused(project):
    for arguments, said in [
        (["--from", "2026-10-05", "--to", "2026-10-01"], "the first date comes first"),
        (["--from", "soon", "--to", "2026-10-01"], "--from: `soon` is not a date"),
        (["--from", "2199-01-01", "--to", "2199-01-02"], "no date of daily lies between"),
        (["--from", "2026-10-01", "--to", "2026-10-02", "--reprocess", "faild"], "did you mean `failed`"),
        (["--from", "2026-10-01", "--to", "2026-10-02", "--detach"], "add --yes"),
    ]:
        assert said in project.call("backfill", "daily", *arguments, code=2).stderr
    project.edit("pipelines/daily/pipeline.yaml", "data_interval: day", "data_interval: none")
    project.edit("pipelines/daily/pipeline.yaml", "{{ ds }}", "{{ ds_nodash }}")
    none = project.call("backfill", "daily", "--from", "2026-10-01", "--to", "2026-10-02", code=2)
    assert "its runs cover no dates" in none.stderr


def test_a_year_is_backfilled_beside_the_schedule_by_servers_that_die(project):
    """Every date runs exactly once, and a run that somebody wants meanwhile does not wait for it."""
    project.call("deploy")
    first = ["backfill", "daily", "--from", "2025-11-01", "--to", "2026-10-31", "--yes", "--detach"]
    with serving(project) as server:
        backfill = project.call(*first).stdout.strip().splitlines()[-1]
        until(lambda: over(project, backfill) > 40, 120, "the first dates")
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
    with serving(project), serving(project) as second:
        # A place is kept for what is not the backfill's.
        project.call("run", "daily", "--date", "2026-11-02")
        until(lambda: over(project, backfill) > 120, 120, "more dates")
        os.kill(second.pid, signal.SIGKILL)
        second.wait()
        until(lambda: over(project, backfill) == 365, 300, "the year")
    counts = ran(project)
    assert len(counts) == 366 and set(counts.values()) == {1}, counts
    row = json.loads(project.call("backfills", backfill, "--json").stdout)
    assert row["state"] == "done" and {date["outcome"] for date in row["dates"]} == {"succeeded"}


def over(project, backfill):
    return json.loads(project.call("backfills", backfill, "--json").stdout)["over"]


def test_a_cancelled_backfill_begins_nothing_more(project):
    (project.folder / "pipelines" / "daily" / "pipeline.yaml").write_text(DAILY.replace("max_active_runs: 3", "max_active_runs: 1"))
    with serving(project):
        project.call("run", "daily", "--date", "2026-10-01")
        project.call("pause", "daily")
        said = project.call("backfill", "daily", "--from", "2026-10-01", "--to", "2026-10-09", "--yes", "--detach")
        assert "daily is paused: nothing begins until" in said.stderr
        backfill = said.stdout.strip().splitlines()[-1]
        assert "is cancelled" in project.call("backfills", backfill, "--cancel").stdout
        assert "has already ended: cancelled" in project.call("backfills", backfill, "--cancel", code=2).stderr
        project.call("resume", "daily")
        project.call("run", "daily", "--date", "2026-10-02")
    assert ran(project) == {"2026-10-01": 1, "2026-10-02": 1}
