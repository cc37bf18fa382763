"""The commands through a server: the same words and codes, from a folder that knows neither project nor store."""

import contextlib
import json
import re
import signal
import subprocess

import pytest

from project import Project
from waiting import until

DAILY = """
name: daily
schedule: "0 9 * * *"
data_interval: day
catchup: none
max_active_runs: 3
params: { full: { type: boolean, default: false }, factor: { type: integer, default: 1 } }
tasks:
  extract:
    type: command
    env: { DAY: "{{ ds }}", ROOT: "{{ vars.root }}", FACTOR: "{{ params.factor }}" }
    command: [sh, -c, 'while test -e "$ROOT/hold-$DAY"; do sleep 0.1; done; echo "read $DAY times $FACTOR"; test ! -e "$ROOT/bad-$DAY" || { echo "bad file of $DAY" >&2; exit 3; }']
  load: { type: noop, depends_on: extract }
"""
BY_HAND = """
name: by_hand
data_interval: none
max_active_runs: 5
tasks:
  ask: { type: approval, message: "Go on?" }
  again: { type: approval, message: "Really?", depends_on: ask }
  go: { type: noop, depends_on: again }
"""


@pytest.fixture
def project(binary, environment, tmp_path):
    home = tmp_path / "project"
    home.mkdir()
    made = Project.deployed(binary, environment, home, {"daily": DAILY, "by_hand": BY_HAND})
    yield made
    made.stop()


class Elsewhere:
    """A person on another machine: an empty folder, a URL, a token."""

    def __init__(self, project, url, token, folder):
        self.project, self.url, self.folder = project, url, folder
        self.environment = {**project.environment, "TRUNKLINE_TOKEN": token}

    def call(self, *arguments, code=0, **environment):
        done = subprocess.run(
            [str(self.project.binary), "--server", self.url, *arguments], cwd=self.folder, capture_output=True,
            env={**self.environment, **environment}, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL,
        )
        assert done.returncode == code, (arguments, done)
        return done

    def begin(self, *arguments):
        return subprocess.Popen(
            [str(self.project.binary), "--server", self.url, *arguments], cwd=self.folder, env=self.environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )


@contextlib.contextmanager
def serving(project):
    log = project.folder / "serve.log"
    with log.open("w") as sink:
        process = subprocess.Popen([str(project.binary), "serve"], cwd=project.folder, env=project.environment,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=sink)
    try:
        found = until(lambda: re.search(r"API (http://\S+?),", log.read_text()), 60, "the API")
        yield found.group(1)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@pytest.fixture
def elsewhere(project, tmp_path):
    token = json.loads(project.call("token", "create", "laptop", "--scope", "operate", "--json").stdout)["token"]
    folder = tmp_path / "laptop"
    folder.mkdir()
    with serving(project) as url:
        yield Elsewhere(project, url, token, folder)
    assert not any(folder.iterdir()), "a remote command leaves nothing behind"


def test_what_is_seen_through_a_server_is_what_is_seen_at_the_store(project, elsewhere):
    (project.folder / "bad-2026-10-02").touch()
    hold = project.folder / "hold-2026-10-01"
    hold.touch()
    with elsewhere.begin("run", "daily", "--date", "2026-10-01", "-p", "factor=3", "-p", "full=true") as begun:
        # It goes on once its watcher has told that it is under way.
        seen = ""
        while "extract  running" not in seen:
            seen += (line := begun.stderr.readline())
            assert line, seen
        hold.unlink()
        assert "daily@2026-10-01 succeeded" in begun.communicate(timeout=120)[0] and begun.returncode == 0
    failed = elsewhere.call("run", "daily", "--date", "2026-10-02", code=1)
    assert "daily@2026-10-02 failed" in failed.stdout and "bad file of 2026-10-02" in failed.stderr, failed
    assert "trunkline clear daily@2026-10-02 --failed --server" in failed.stderr
    for words in (
        ["runs"], ["runs", "daily", "--state", "failed"], ["runs", "--limit", "1", "--json"],
        ["show", "daily@2026-10-01"], ["show", "daily@2026-10-02", "--requests"], ["show", "daily@latest", "--json"],
        ["why", "daily@2026-10-02"], ["why", "daily@2026-10-02", "load", "--json"],
        ["logs", "daily@2026-10-01", "extract"], ["logs", "daily@2026-10-02", "extract"], ["backfills"],
    ):
        there, here = elsewhere.call(*words), project.call(*words)
        assert (there.stdout, there.stderr) == (here.stdout, here.stderr), words
    assert "times 3" in elsewhere.call("logs", "daily@2026-10-01", "extract").stdout
    status = elsewhere.call("status").stdout
    assert elsewhere.url in status and "environment  local" in status, status
    again = elsewhere.call("run", "daily", "--date", "2026-10-01", code=2)
    assert "exists already" in again.stderr, again
    wrong = elsewhere.call("run", "daily", "--date", "2026-10-03", "-p", "factor=lots", code=2)
    assert "param `factor` must be a whole number" in wrong.stderr
    assert "did you mean `daily`" in elsewhere.call("run", "dayly", code=2).stderr


def test_runs_are_changed_through_a_server(project, elsewhere):
    (project.folder / "bad-2026-10-01").touch()
    elsewhere.call("run", "daily", "--date", "2026-10-01", code=1)
    preview = elsewhere.call("clear", "daily@2026-10-01", "--failed", "--dry-run").stdout
    assert "extract: failed → waiting" in preview, preview
    assert "say it with --yes" in elsewhere.call("clear", "daily@2026-10-01", "--failed", code=2).stderr
    (project.folder / "bad-2026-10-01").unlink()
    done = elsewhere.call("clear", "daily@2026-10-01", "--failed", "--yes", "--reason", "file repaired")
    assert "daily@2026-10-01 succeeded" in done.stdout
    history = elsewhere.call("show", "daily@2026-10-01").stdout
    assert "token:laptop" in history and "file repaired" in history, history
    once_more = elsewhere.call("run", "daily", "--date", "2026-10-01", "--task", "load")
    assert "daily@2026-10-01 succeeded" in once_more.stdout
    marked = elsewhere.call("mark", "daily@2026-10-01", "failed", "--task", "load", "--yes").stdout
    assert "load: waiting → failed" in marked, marked
    until(lambda: "failed" in elsewhere.call("runs", "daily", "--state", "failed").stdout, 60, "the run to end again")
    many = elsewhere.call("clear", "daily", "--from", "2026-10-01", "--state", "failed", "--yes")
    assert "daily@2026-10-01" in many.stdout and "1 of 1 run changed" in many.stdout, many
    until(lambda: "succeeded" in elsewhere.call("runs", "daily").stdout, 60, "the run to end")
    for asked in (elsewhere, project):
        assert "daily would be paused" in asked.call("pause", "daily", "--dry-run").stdout
    assert "daily is paused" in elsewhere.call("pause", "daily", "--reason", "a holiday").stdout
    assert "daily is already paused" in project.call("pause", "daily", "--reason", "a holiday").stdout
    elsewhere.call("run", "daily", "--date", "2026-10-05", "--detach")
    assert "is paused by user:" in (why := elsewhere.call("why", "daily@2026-10-05").stdout) and "a holiday" in why, why
    foreseen = elsewhere.call("cancel", "daily@2026-10-05", "--dry-run").stdout
    assert "the run: queued → cancelled" in foreseen, foreseen
    elsewhere.call("cancel", "daily@2026-10-05", "--reason", "not needed")
    assert "daily is active" in elsewhere.call("resume", "daily").stdout
    until(lambda: "cancelled" in elsewhere.call("show", "daily@2026-10-05").stdout, 60, "the cancel")
    run = elsewhere.call("run", "by_hand", "--detach").stdout.strip()
    until(lambda: "waits for a person" in elsewhere.call("why", run).stdout, 60, "the question")
    assert "is running" in elsewhere.call("approve", run, "ask", "--comment", "looks good").stdout
    until(lambda: "waits for a person" in elsewhere.call("why", run, "again").stdout, 60, "the second question")
    elsewhere.call("approve", run, "again")
    until(lambda: "succeeded" in elsewhere.call("runs", "by_hand").stdout, 60, "the run to end")
    for asked in (elsewhere, project):
        refused = asked.call("retry-now", run, "ask", "--dry-run", "--reason", "now", code=2).stderr
        assert "only a task that waits for its next try" in refused, refused
    table = elsewhere.call("backfill", "daily", "--from", "2026-10-10", "--to", "2026-10-12", "--dry-run").stdout
    assert "daily@2026-10-11" in table, table
    ended = elsewhere.call("backfill", "daily", "--from", "2026-10-10", "--to", "2026-10-12", "--yes")
    assert "3 succeeded, 0 did not" in ended.stderr, ended
    listed = json.loads(elsewhere.call("backfills", "--json").stdout)
    assert [(entry["state"], entry["over"]) for entry in listed] == [("done", 3)]
    there, here = (asked.call("backfills", listed[0]["id"]) for asked in (elsewhere, project))
    assert (there.stdout, there.stderr) == (here.stdout, here.stderr)


def test_a_server_that_does_not_help_is_told_apart(project, elsewhere):
    looker = json.loads(project.call("token", "create", "looker", "--scope", "read", "--json").stdout)["token"]
    assert json.loads(elsewhere.call("status", "--json", TRUNKLINE_TOKEN=looker).stdout)["pipelines"] == 2
    small = elsewhere.call("pause", "daily", code=2, TRUNKLINE_TOKEN=looker)
    assert "scope" in small.stderr, small
    unknown = elsewhere.call("runs", code=2, TRUNKLINE_TOKEN="trunkline_nobody")
    assert "token" in unknown.stderr and "trunkline_nobody" not in unknown.stderr, unknown
    nobody = elsewhere.call("runs", code=2, TRUNKLINE_TOKEN="")
    assert "TRUNKLINE_TOKEN" in nobody.stderr
    here = "leave out --server"
    for words in (["serve"], ["token", "list"], ["validate"], ["purge", "--dry-run"]):
        assert here in elsewhere.call(*words, code=2).stderr, words
    away = Elsewhere(project, "http://127.0.0.1:9", "t", elsewhere.folder)
    assert "no server answers at http://127.0.0.1:9" in away.call("runs", code=3).stderr
    open_door = Elsewhere(project, "http://trunkline.example.com", "t", elsewhere.folder)
    assert "write https://trunkline.example.com" in open_door.call("runs", code=2).stderr
    # By the environment of the shell: asked where it helps, ignored where files are enough.
    shell = {**elsewhere.environment, "TRUNKLINE_SERVER": elsewhere.url}
    named = Project(project.binary, shell, project.folder)
    assert "no runs yet" in named.call("runs").stderr
    named.call("validate")
    assert "unset TRUNKLINE_SERVER" in named.call("purge", "--dry-run", code=2).stderr
