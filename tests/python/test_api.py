"""The API of a real server: everything over HTTP, with nothing but what its documents promise."""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request

import pytest

from project import Project
from waiting import until

DAILY = """
name: daily
schedule: "0 9 * * *"
data_interval: day
catchup: none
max_active_runs: 3
params: { full: { type: boolean, default: false } }
tasks:
  extract:
    type: command
    env: { DAY: "{{ ds }}", ROOT: "{{ vars.root }}" }
    command: [sh, -c, 'echo "read $DAY"; test ! -e "$ROOT/bad-$DAY" || { echo "bad file of $DAY" >&2; exit 3; }']
  load: { type: noop, depends_on: extract }
"""
BY_HAND = """
name: by_hand
data_interval: none
max_active_runs: 5
tasks:
  ask: { type: approval, message: "Go on?" }
  go: { type: noop, depends_on: ask }
"""
# No answer of these tests takes longer, on any machine, unless it hangs.
ANSWER_LIMIT_SECONDS = 60


@pytest.fixture
def project(binary, environment, tmp_path):
    made = Project.deployed(binary, environment, tmp_path, {"daily": DAILY, "by_hand": BY_HAND})
    yield made
    made.stop()


class Server:
    """A `serve` and its API; every call answers status, headers and body."""

    def __init__(self, project, *arguments):
        self.log = project.folder / f"serve-{threading.get_ident()}-{len(list(project.folder.glob('serve-*')))}.log"
        self.project = project
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [str(project.binary), "serve", *arguments], cwd=project.folder, env=project.environment,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
            )
        found = until(lambda: self.died() or re.search(r"API (http://\S+?),", self.log.read_text()), 60, "the API")
        assert found is not True, self.log.read_text()
        self.url = found.group(1)
        file = project.folder / ".trunkline" / "api-token"
        self.token = file.read_text().strip() if file.exists() else None

    def died(self):
        return self.process.poll() is not None

    def request(self, method, path, body=None, token=..., headers=None):
        token = self.token if token is ... else token
        headers = dict(headers or {})
        if token:
            headers.setdefault("Authorization", f"Bearer {token}")
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        path = path if path.startswith(("/healthz", "/readyz", "/metrics")) else f"/api/v1{path}"
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_LIMIT_SECONDS) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read().decode()

    def get(self, path, status=200, **options):
        return self.asked("GET", path, None, status, **options)

    def post(self, path, body=None, status=200, **options):
        return self.asked("POST", path, {} if body is None else body, status, **options)

    def asked(self, method, path, body, status, **options):
        found, headers, text = self.request(method, path, body, **options)
        assert found == status, f"{method} {path}: {found} {text}"
        kind = "application/json" if status == 200 else "application/problem+json"
        assert headers["content-type"] == kind, headers
        answer = json.loads(text)
        if status != 200:
            assert answer["type"].startswith("urn:trunkline:problem:") and answer["status"] == status and answer["detail"]
        return answer

    def ended(self, run):
        state = self.get(f"/runs/{run}")["state"]
        return state if state in ("succeeded", "failed", "cancelled") else None

    def kill(self):
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def serving(project, *arguments):
    server = Server(project, *(arguments or ("--bind", "127.0.0.1:0")))
    try:
        yield server
    finally:
        server.kill()


class Stream:
    """Server-sent events, read in the background until the connection ends."""

    def __init__(self, server, path, last=None):
        address = urllib.parse.urlsplit(server.url)
        self.connection = http.client.HTTPConnection(address.hostname, address.port, timeout=ANSWER_LIMIT_SECONDS)
        headers = {"Authorization": f"Bearer {server.token}"} | ({"Last-Event-ID": last} if last else {})
        self.connection.request("GET", f"/api/v1{path}", headers=headers)
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200, self.answer.read()
        assert self.answer.headers["content-type"] == "text/event-stream"
        self.events = []
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        event = {}
        # A killed server ends the stream in whichever way.
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError, AttributeError):
            while line := self.answer.readline():
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name in ("id", "data"):
                    event[name] = value
                elif not name and event:
                    if "data" in event:
                        self.events.append((event["id"], json.loads(event["data"])))
                    event = {}

    def ends(self):
        self.thread.join(ANSWER_LIMIT_SECONDS)
        assert not self.thread.is_alive(), "the stream goes on without its server"


def test_runs_are_made_looked_at_and_changed(project):
    (project.folder / "bad-2026-10-01").touch()
    with serving(project) as server:
        plan = server.post("/pipelines/daily/plan", {"date": "2026-10-01"})
        assert plan["run"] == "daily@2026-10-01" and [task["task"] for task in plan["tasks"]] == ["extract", "load"]
        wanted = {"date": "2026-10-01", "params": {"full": True}, "request_id": "first"}
        preview = server.post("/pipelines/daily/runs", wanted | {"dry_run": True})
        assert (preview["created"], preview["detail"]) == (False, None)
        made = server.post("/pipelines/daily/runs", wanted)
        assert made["created"] and made["detail"]["params"] == {"full": True}
        assert made["detail"]["created_by"] == "token:local"
        again = server.post("/pipelines/daily/runs", wanted)
        assert (again["created"], again["detail"]["id"]) == (False, made["detail"]["id"])
        assert "was used for another request" in server.post(
            "/pipelines/daily/runs", wanted | {"params": {}}, 409)["detail"]
        assert "exists already" in server.post("/pipelines/daily/runs", {"date": "2026-10-01"}, 409)["detail"]
        run = "daily@2026-10-01"
        until(lambda: server.ended(run), 60, "the run to fail")
        shown = server.get(f"/runs/{run}")
        assert shown["state"] == "failed" and [task["state"] for task in shown["tasks"]] == ["failed", "upstream_failed"]
        assert "bad file of 2026-10-01" in shown["tasks"][0]["failure"]["message"]
        assert "failed after" in server.get(f"/runs/{run}/why")["why"]
        assert "did not run because of extract" in server.get(f"/runs/{run}/why?task=load")["why"]
        log = server.get(f"/runs/{run}/tasks/extract/attempts/1/log")
        assert "read 2026-10-01" in log["text"] and log["complete"]
        assert server.get(f"/runs/{run}/tasks/extract/attempts/1/log?from={log['next']}")["text"] == ""
        # A preview says what would be done, and does nothing.
        (project.folder / "bad-2026-10-01").unlink()
        body = {"failed": True, "reason": "file repaired"}
        preview = server.post(f"/runs/{run}/clear", body | {"dry_run": True})
        assert preview["generation"] == 1 and "extract: failed → waiting" in preview["changes"], preview
        assert server.get(f"/runs/{run}")["generation"] == 1
        server.post(f"/runs/{run}/clear", body)
        assert until(lambda: server.ended(run), 60, "the run to succeed") == "succeeded"
        history = server.get(f"/runs/{run}/history")["items"]
        reasons = [change["reason"] or "" for row in history for change in row["changes"]]
        assert any("token:local" in reason and "file repaired" in reason for reason in reasons), reasons
        attempts = server.get(f"/runs/{run}/attempts?task=extract")["items"]
        assert [attempt["state"] for attempt in attempts] == ["failed", "succeeded"]
        # What cannot be done is refused, and the command line says the same.
        refused = server.post(f"/runs/{run}/cancel", {}, 409)["detail"]
        assert refused in project.call("cancel", run, code=2).stderr
        assert server.post(f"/runs/{run}/cancel", {"dry_run": True}, 409)["detail"] == refused
        assert "did you mean" in server.get("/pipelines/dayly", 404)["detail"]
        server.post("/runs/mark", {"runs": "daily", "from": "2026-10-01", "mark": "failed", "tasks": ["load"]})
        assert until(lambda: server.ended(run), 60, "the run to end") == "failed"
        cleared = server.post("/runs/clear", {"runs": "daily", "state": "failed", "failed": True})
        assert [(row["run"], row["done"]) for row in cleared["runs"]] == [(run, True)]
        server.post("/runs/clear", {"runs": "daily", "from": "2026-10-02"}, 409)


def test_a_person_answers_pauses_and_runs_a_range(project):
    with serving(project) as server:
        made = server.post("/pipelines/by_hand/runs", {"request_id": "ticket-7"})
        assert made["run"] == "by_hand@ticket-7"
        run = made["detail"]["id"]
        until(lambda: server.get(f"/runs/{run}")["tasks"][0]["state"] == "awaiting_approval", 60, "the question")
        server.post(f"/runs/{run}/tasks/go/approve", {}, 409)
        assert server.post(f"/runs/{run}/tasks/ask/approve", {"dry_run": True})["changes"]
        server.post(f"/runs/{run}/pause")
        assert server.get(f"/runs/{run}")["state"] == "paused"
        server.post(f"/runs/{run}/resume")
        server.post(f"/runs/{run}/tasks/ask/approve", {"reason": "looks good"})
        assert until(lambda: server.ended(run), 60, "the end") == "succeeded"
        other = server.post("/pipelines/by_hand/runs", {"request_id": "ticket-8"})["run"]
        until(lambda: server.get(f"/runs/{other}")["tasks"][0]["state"] == "awaiting_approval", 60, "the question")
        server.post(f"/runs/{other}/tasks/ask/reject")
        assert until(lambda: server.ended(other), 60, "the end") == "failed"
        assert server.post("/pipelines/daily/pause")["changed"] and server.get("/pipelines/daily")["paused"]
        body = {"from": "2026-10-01", "to": "2026-10-04", "reason": "new column"}
        preview = server.post("/pipelines/daily/backfills", body | {"dry_run": True})
        assert preview["id"] is None and [date["runs"] for date in preview["dates"]] == [True] * 4
        backfill = server.post("/pipelines/daily/backfills", body)
        assert "daily is paused" in backfill["warnings"][-1]
        server.post("/pipelines/daily/resume")
        done = until(lambda: (row := server.get(f"/backfills/{backfill['id']}"))["state"] == "done" and row, 90, "it")
        assert {date["outcome"] for date in done["dates"]} == {"succeeded"} and done["reason"] == "new column"
        server.post(f"/backfills/{backfill['id']}/cancel", {}, 409)
        other = server.post("/pipelines/daily/backfills", body | {"reprocess": "all"})
        page = server.get("/backfills?limit=1")
        assert [row["id"] for row in page["items"]] == [other["id"]]
        page = server.get(f"/backfills?limit=1&cursor={page['next']}")
        assert [row["id"] for row in page["items"]] == [backfill["id"]] and page["next"] is None
        until(lambda: server.get(f"/backfills/{other['id']}")["state"] == "done", 90, "the other one")
        assert server.get("/status")["runs"] == {"queued": 0, "running": 0, "paused": 0, "cancelling": 0}
        project.edit("pipelines/daily/pipeline.yaml", "max_active_runs: 3", "max_active_runs: 2")
        project.call("deploy")
        versions = server.get("/pipelines/daily/versions")["items"]
        assert [row["version"] for row in versions] == [2, 1]
        assert "max_active_runs: 3" in server.get("/pipelines/daily/versions/1")["source"]
        assert server.post("/deployments/rollback", {"dry_run": True})["changes"] == [
            {"pipeline": "daily", "before": 2, "after": 1}]
        server.post("/deployments/rollback")
        assert server.get("/pipelines/daily")["version"] == 1
        assert server.get("/deployments")["items"][0]["actor"].startswith("token:local")
        graph = server.get("/pipelines/daily/graph")["tasks"]
        assert [(task["task"], task["depends_on"]) for task in graph] == [("extract", []), ("load", ["extract"])]


def test_pages_hold_every_run_once_while_runs_are_added(project):
    with serving(project) as server:
        server.post("/pipelines/daily/pause")
        first = {server.post("/pipelines/daily/runs", {"date": f"2026-{month:02}-{day:02}"})["detail"]["id"]
                 for month in (9, 10) for day in range(1, 29)}
        seen, path, pages = [], "/runs?pipeline=daily&limit=7", 0
        while path:
            page = server.get(path)
            seen += [run["id"] for run in page["items"]]
            # Between the pages one is added before everything that was seen, and one far behind.
            server.post("/pipelines/daily/runs", {"date": f"2026-11-{pages + 1:02}"})
            server.post("/pipelines/daily/runs", {"date": f"2026-08-{pages + 1:02}"})
            path = page["next"] and f"/runs?pipeline=daily&limit=7&cursor={urllib.parse.quote(page['next'])}"
            pages += 1
        assert len(seen) == len(set(seen)), "no run twice"
        assert first <= set(seen), "none lost"
        dates = [run["logical_date"] for run in server.get("/runs?limit=200")["items"]]
        assert dates == sorted(dates, reverse=True)
        assert server.get("/runs?state=succeeded")["items"] == []
        for wrong in ("cursor=nonsense", "limit=0", "limit=201"):
            server.get(f"/runs?{wrong}", 422)
        for wrong in ("state=done", "limit=many", "colour=red"):
            server.get(f"/runs?{wrong}", 400)


def test_tokens_open_what_their_scope_says_until_they_end(project):
    made = {scope: json.loads(project.call("token", "create", scope, "--scope", scope, "--expires", "1d", "--json").stdout)
            for scope in ("read", "operate", "deploy")}
    secret = made["read"]["token"].rsplit("_", 1)[1]
    with serving(project) as server:
        for token in (None, "", "nonsense", "trunkline_0123456789abcdef_" + 64 * "0",
                      made["read"]["token"][:-1] + ("0" if secret[-1] != "0" else "1")):
            assert server.get("/runs", 401, token=token)["type"].endswith(":unauthenticated")
        status, headers, _ = server.request("GET", "/runs", token=None)
        assert (status, headers["www-authenticate"].split()[0]) == (401, "Bearer")
        for scope, allowed in [("read", 1), ("operate", 2), ("deploy", 3)]:
            token = made[scope]["token"]
            calls = [
                lambda: server.request("GET", "/runs", token=token),
                lambda: server.request("POST", "/pipelines/daily/pause", {"dry_run": True}, token=token),
                lambda: server.request("POST", "/deployments/rollback", {"dry_run": True}, token=token),
            ]
            answers = [call()[0] for call in calls]
            assert [status == 403 for status in answers] == [place >= allowed for place in range(3)], (scope, answers)
        project.call("token", "revoke", "operate")
        server.get("/runs", 401, token=made["operate"]["token"])
        assert "no token `operate` in use" in project.call("token", "revoke", "operate", code=2).stderr
        # Ended: the database's clock has passed its time.
        project.psql("update api_token set expires_at = clock_timestamp() where name = 'deploy'")
        server.get("/runs", 401, token=made["deploy"]["token"])
        listed = {row["name"]: row for row in json.loads(project.call("token", "list", "--json").stdout)}
        assert {name: row["state"] for name, row in listed.items()} == {
            "read": "good", "operate": "revoked", "deploy": "expired"}
        assert listed["read"]["last_used_at"]
        assert "is in use" in project.call("token", "create", "read", code=2).stderr
        for expires in ("1s", "400d", "soon"):
            project.call("token", "create", "other", "--expires", expires, code=2)
        # A secret is nowhere but where it was printed.
        assert secret not in server.log.read_text()
        assert project.psql(f"select count(*) from api_token t where t::text like '%{secret}%'") == "0"
        # Other names of this machine are not answered.
        status, _, text = server.request("GET", "/runs", headers={"Host": "evil.example.com"})
        assert (status, json.loads(text)["type"]) == (421, "urn:trunkline:problem:wrong-host")
        file = project.folder / ".trunkline" / "api-token"
        assert file.stat().st_mode & 0o777 == 0o600
    open_door = subprocess.run(
        [str(project.binary), "serve", "--bind", "0.0.0.0:0"], cwd=project.folder, env=project.environment,
        capture_output=True, text=True, timeout=60, check=False,
    )
    assert open_door.returncode == 2 and "--behind-proxy" in open_door.stderr, open_door
    with serving(project, "--bind", "0.0.0.0:0", "--behind-proxy", "--host", "trunkline.example.com") as server:
        server.url = server.url.replace("0.0.0.0", "127.0.0.1")
        server.get("/runs", 401)
        server.get("/runs", token=made["read"]["token"], headers={"Host": "trunkline.example.com"})


def test_bad_requests_are_refused_in_one_form(project):
    with serving(project) as server:
        server.get("/nothing", 404)
        server.get("/runs/%00", 400)
        server.get("/runs/no-run", 404)
        assert server.request("DELETE", "/runs")[0] == 405
        kinds = [("text/plain", 415), ("application/json", 200), ("application/json; charset=utf-8", 200)]
        for kind, status in kinds:
            found = server.request("POST", "/pipelines/daily/pause", {"dry_run": True}, headers={"Content-Type": kind})
            assert found[0] == status, found
        server.post("/pipelines/daily/runs", {"date": "soon"}, 422)
        server.post("/pipelines/daily/runs", {"dat": "2026-10-01"}, 422)
        server.post("/pipelines/daily/runs", {"params": {"ful": True}}, 422)
        server.post("/runs/clear", {"runs": "daily", "reason": "a\0b", "state": "failed"}, 422)
        server.post("/runs/clear", [], 422)
        server.post("/runs/clear", {"runs": "x" * 300_000}, 413)
        deep = urllib.request.Request(
            f"{server.url}/api/v1/runs/clear", data=b"[" * 100_000, method="POST",
            headers={"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(deep, timeout=ANSWER_LIMIT_SECONDS)
        assert refused.value.code == 400


def test_events_go_on_where_a_client_left_across_a_killed_server(project):
    with serving(project) as server:
        stream = Stream(server, "/events")
        server.post("/pipelines/daily/runs", {"date": "2026-10-01"})
        until(lambda: server.ended("daily@2026-10-01"), 60, "the first run")
        until(lambda: stream.events and stream.events[-1][1]["changes"][-1]["to"] == "succeeded"
              and stream.events[-1][1]["changes"][-1]["task"] is None, 60, "its last event")
        seen = list(stream.events)
        one = Stream(server, "/runs/daily@2026-10-01/events", last=seen[0][0])
        until(lambda: len(one.events) == len(seen) - 1, 60, "what came after the first event")
        assert one.events == seen[1:]
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
        stream.ends()
    # While no server is there, somebody works on another run.
    project.call("run", "daily", "--date", "2026-10-02")
    with serving(project) as server:
        stream = Stream(server, "/events", last=seen[-1][0])
        server.post("/pipelines/daily/runs", {"date": "2026-10-03"})
        until(lambda: {"daily@2026-10-02", "daily@2026-10-03"} <= ended(stream.events), 60, "both runs")
        events = seen + stream.events
        names = [(event["id"], event["seq"]) for _, event in events]
        assert len(names) == len(set(names)), "no event twice"
        for run in {event["run"] for _, event in events}:
            # From the beginning to the end: what is in the history was told, in its order.
            told = [event["seq"] for _, event in events if event["run"] == run]
            assert told == [row["seq"] for row in server.get(f"/runs/{run}/history")["items"]], run
        assert server.request("GET", "/events", headers={"Last-Event-ID": "nonsense"})[0] == 422
        os.kill(server.process.pid, signal.SIGTERM)
        stream.ends()
        assert server.process.wait(60) == 0


def ended(events):
    return {event["run"] for _, event in events for change in event["changes"]
            if change["task"] is None and change["to"] == "succeeded"}


def test_health_metrics_and_logs_are_for_machines(project):
    with serving(project, "--bind", "127.0.0.1:0", "--log-format", "json") as server:
        assert server.request("GET", "/healthz", token=None)[0] == 200
        until(lambda: server.request("GET", "/readyz", token=None)[0] == 200, 60, "readiness")
        address = server.url.removeprefix("http://")
        assert project.call("healthy", "--at", address).stdout == "ok\n"
        assert server.request("GET", "/metrics", token=None)[0] == 401
        server.post("/pipelines/daily/runs", {"date": "2026-10-01"})
        until(lambda: server.ended("daily@2026-10-01"), 60, "a run")
        text = server.request("GET", "/metrics")[2]
        values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        assert float(values["trunkline_starts_total"]) >= 1 and float(values["trunkline_commits_total"]) >= 3, text
        assert float(values["trunkline_heartbeat_age_seconds"]) < 30
        assert values['trunkline_runs{state="running"}'] == "0" and values["trunkline_replicas"] == "1"
        assert any(line.startswith('trunkline_http_requests_total{method="POST",status="200"}') for line in values), text
        documented = (project_root() / "docs" / "api.md").read_text()
        names = {re.split(r"[{ ]", line)[0].removesuffix("_total") for line in values}
        assert names and all(f"`{name}" in documented for name in names), names
        lines = [json.loads(line) for line in server.log.read_text().splitlines()]
        assert any("API http://" in line["message"] for line in lines) and {"timestamp", "level"} <= set(lines[0])
    assert "no server answers" in project.call("healthy", "--at", address, code=2).stderr


def project_root():
    import pathlib

    return pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("known", [True, False], ids=["of runs that exist", "of whatever"])
def test_the_api_is_what_its_document_says(project, known):
    """schemathesis asks everything that the document allows, and much that it does not."""
    config = project.folder / "schemathesis.toml"
    config.write_text("[parameters]\n" + (
        '"path.pipeline" = "daily"\n"path.run" = "daily@2026-10-01"\n"path.task" = "extract"\n'
        '"path.attempt" = 1\n"path.version" = 1\n' if known else ""))
    with serving(project) as server:
        server.post("/pipelines/daily/runs", {"date": "2026-10-01"})
        until(lambda: server.ended("daily@2026-10-01"), 60, "the run")
        checks = ("not_a_server_error,status_code_conformance,content_type_conformance,"
                  "response_schema_conformance,response_headers_conformance,unsupported_method,ignored_auth")
        done = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run",
             f"{server.url}/api/v1/openapi.json", "--header", f"Authorization: Bearer {server.token}",
             "--checks", checks, "--exclude-path-regex", "/events$", "--phases", "examples,coverage,fuzzing",
             "--max-examples", "15", "--max-time", "40", "--generation-deterministic", "--request-timeout", "30",
             "--no-color", "--warnings", "off"],
            cwd=project.folder, env=project.environment, capture_output=True, text=True, timeout=600, check=False,
        )
        print(done.stdout[-20_000:], done.stderr[-5_000:])
        assert done.returncode == 0, done.stdout[-20_000:]
        assert not server.died()
        server.get("/status")


def test_without_a_sandbox_there_are_no_mails(binary, environment, tmp_path):
    made = Project.deployed(binary, environment, tmp_path, {"by_hand": BY_HAND})
    said = "this environment has no sandbox, and its mails go to their receivers"
    try:
        (tmp_path / "trunkline.yaml").write_text(
            "environments: { local: { connections: { aws: { type: aws, region: us-east-1 } } } }\n")
        with serving(made) as server:
            for path in ("/mails", "/mails/20261120T094800.000Z-1-a"):
                assert said in server.get(path, 404)["detail"]
        for words in (["mails"], ["mails", "20261120T094800.000Z-1-a"]):
            assert said in made.call(*words, code=2).stderr
    finally:
        made.stop()
