"""Who hears of what, and when: late, recovered, warned, tried again."""

import contextlib
import datetime
import json
import subprocess

import pytest

from project import Project
from waiting import until

PIPELINE = """
name: daily
schedule: "{cron}"
timezone: UTC
data_interval: day
catchup: none
deadline: {{ after: 5s }}
defaults: {{ retries: 1, retry_delay: 1s }}
on_success: [{{ sns: "{{{{ vars.topic }}}}" }}]
on_failure: [{{ sns: "{{{{ vars.topic }}}}" }}]
on_retry: [{{ sns: "{{{{ vars.topic }}}}", subject: "again: {{{{ error.task }}}}" }}]
tasks:
  work:
    type: command
    env: {{ ROOT: "{{{{ vars.root }}}}" }}
    command: [sh, -c, 'while test -e "$ROOT/slow"; do read -t 1 nothing; done; test ! -e "$ROOT/bad"']
"""


@pytest.fixture
def project(binary, environment, tmp_path):
    (tmp_path / "trunkline.yaml").write_text(
        "environments:\n  local:\n    connections: { aws: { sandbox: true } }\n"
        f"    vars: {{ topic: 'arn:aws:sns:us-east-1:000000000000:daily', root: '{tmp_path}' }}\n"
    )
    home = tmp_path / "pipelines" / "daily"
    home.mkdir(parents=True)
    (home / "pipeline.yaml").write_text(PIPELINE.format(cron="0 9 * * *"))
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


def subjects(project):
    return [subject for subject, _ in project.mails()]


def minutely(text=""):
    return PIPELINE.format(cron="* * * * *").replace("data_interval: day", "data_interval: 1m" + text)


def test_a_late_run_is_told_of_once_and_so_is_its_recovery(project):
    # The topic comes with the first run; the schedule fires every minute from then on.
    project.call("run", "daily", "--date", "2026-10-01")
    (project.folder / "slow").touch()
    (project.folder / "pipelines" / "daily" / "pipeline.yaml").write_text(minutely())
    project.call("deploy")
    with serving(project), serving(project):
        first = until(lambda: [mail for mail in project.mails() if "LATE daily" in mail[0]], 120, "the notice that it is late")
        key = first[0][0].split()[-1]
        assert f"daily {key} is not done by its deadline" in first[0][1], first
        assert f"work of daily@{key} runs for" in first[0][1], first
        (project.folder / "slow").unlink()
        until(lambda: f"[local] RECOVERED daily {key}" in subjects(project), 60, "the good news")
    told = [subject for subject in subjects(project) if subject.endswith(key)]
    assert sorted(told) == [f"[local] {word} daily {key}" for word in ("LATE", "OK", "RECOVERED")], told


def test_a_run_that_was_never_made_is_late_too(project):
    """Its schedule fires, and no run can be made of it: a parameter has no value."""
    project.call("run", "daily", "--date", "2026-10-01")
    (project.folder / "pipelines" / "daily" / "pipeline.yaml").write_text(
        minutely("\nparams: { region: { type: string } }"))
    project.call("deploy")
    with serving(project):
        late = until(lambda: [mail for mail in project.mails() if "LATE daily" in mail[0]], 120, "the notice that it is late")
    assert "There is no run of it" in late[0][1] and "trunkline status" in late[0][1], late
    assert "last success 2026-10-01" in late[0][1]
    listed = json.loads(project.call("runs", "--json").stdout)
    assert [run["run"] for run in listed] == ["daily@2026-10-01"]


def test_a_try_that_failed_is_told_where_somebody_wants_to_know(project):
    (project.folder / "bad").touch()
    project.call("run", "daily", "--date", "2026-10-01", code=1)
    assert subjects(project) == ["again: work", "[local] FAILED daily 2026-10-01: work"]
    retry = project.mails()[0][1]
    assert "work (command" in retry and "attempt 1 of 2, and is tried again" in retry, retry
    (project.folder / "bad").unlink()
    project.call("clear", "daily@2026-10-01", "--yes")
    assert subjects(project)[2:] == ["[local] OK daily 2026-10-01", "[local] RECOVERED daily 2026-10-01"] or (
        sorted(subjects(project)[2:]) == ["[local] OK daily 2026-10-01", "[local] RECOVERED daily 2026-10-01"])
    project.call("run", "daily", "--date", "2026-10-02")
    assert subjects(project)[4:] == ["[local] OK daily 2026-10-02"], "nothing to recover from"
