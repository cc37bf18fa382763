"""HTTP requests and jobs at a service of the test's own, which loses answers when it is told to."""

import contextlib
import http.server
import json
import subprocess
import threading

import pytest

from project import Project
from waiting import until

SINGLE = """
name: single
data_interval: none
params: { path: { type: string, default: "/report" } }
defaults: { retries: 0, poll_interval: 1s }
tasks:
  ask: { type: http, url: "http://127.0.0.1:PORT{{ params.path }}", outputs: { rows: /rows } }
  tell:
    type: command
    depends_on: ask
    command: [python3, -c, "import sys; print('counted', sys.argv[1])", "{{ tasks.ask.outputs.rows }}"]
"""

JOB = """
name: job
data_interval: none
defaults: { retries: 0, poll_interval: 1s }
tasks:
  render:
    type: http
    url: http://127.0.0.1:PORT/jobs
    method: POST
    json: { day: "2026-11-19" }
    idempotency: { header: Idempotency-Key }
    lookup: { url: "http://127.0.0.1:PORT/jobs?key={key}", job: /items/0 }
    poll:
      id_from: /id
      url: http://127.0.0.1:PORT/jobs/{id}
      state: /state
      succeeded: [DONE]
      failed: [BROKEN]
      error: /why
    cancel: { method: DELETE }
    outputs: { pages: /pages }
    timeout: 5m
"""


class Service:
    """Takes jobs by key, shows them, stops them. Holds what it was asked."""

    def __init__(self):
        self.jobs, self.posts, self.loses, self.state = [], 0, 0, "DONE"
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def reply(self, status, body):
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self):
                if self.path == "/report":
                    self.reply(200, {"rows": 42})
                elif self.path.startswith("/jobs?key="):
                    key = self.path.split("=", 1)[1]
                    self.reply(200, {"items": [job for job in service.jobs if job["key"] == key]})
                elif self.path.startswith("/jobs/"):
                    found = [job for job in service.jobs if job["id"] == self.path.removeprefix("/jobs/")]
                    state = found[0].get("state") or service.state
                    self.reply(200, {"state": state, "pages": 7, "why": "no paper"})
                else:
                    self.reply(404, {"error": "no such report"})

            def do_POST(self):
                self.rfile.read(int(self.headers["content-length"]))
                key = self.headers["Idempotency-Key"]
                service.posts += 1
                if all(job["key"] != key for job in service.jobs):
                    service.jobs.append({"id": f"j{len(service.jobs) + 1}", "key": key})
                if service.loses > 0:
                    service.loses -= 1
                    self.close_connection = True
                    return
                self.reply(201, next(job for job in service.jobs if job["key"] == key))

            def do_DELETE(self):
                for job in service.jobs:
                    if self.path.endswith("/" + job["id"]):
                        job["state"] = "BROKEN"
                self.reply(202, {})

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def service():
    made = Service()
    yield made
    made.server.shutdown()


@pytest.fixture(scope="module")
def project(binary, environment, tmp_path_factory, service):
    folder = tmp_path_factory.mktemp("http")
    (folder / "trunkline.yaml").write_text("environments:\n  local: {}\n")
    for name, text in [("single", SINGLE), ("job", JOB)]:
        home = folder / "pipelines" / name
        home.mkdir(parents=True)
        (home / "pipeline.yaml").write_text(text.replace("PORT", str(service.port)))
    made = Project(binary, environment, folder)
    yield made
    made.stop()


def task(project, run, name):
    shown = json.loads(project.call("show", run, "--json").stdout)
    return next(row for row in shown["tasks"] if row["task"] == name)


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


def test_an_answer_is_the_result_and_a_refusal_is_shown_in_the_services_words(project):
    said = project.call("run", "single").stderr
    assert task(project, "single@latest", "ask")["outputs"] == {"status": 200, "rows": 42}, said
    failed = project.call("run", "single", "-p", "path=/absent?key=s3cret", code=1)
    failure = task(project, "single@latest", "ask")["failure"]
    assert failure["message"].startswith("HTTP GET http://127.0.0.1:"), failure
    assert '/absent was answered with status 404: {"error": "no such report"}' in failure["message"]
    assert "s3cret" not in failed.stdout + failed.stderr


def test_a_job_whose_answer_was_lost_is_found_by_its_key(project, service):
    before = len(service.jobs)
    service.loses = 1
    project.call("run", "job")
    assert len(service.jobs) == before + 1 and service.posts == before + 1
    row = task(project, "job@latest", "render")
    assert row["outputs"]["pages"] == 7 and row["attempts"] == 1, row
    assert row["external_id"] == service.jobs[-1]["id"]


def test_a_killed_process_leaves_one_job_and_the_next_one_finds_it(project, service):
    before, posts = len(service.jobs), service.posts
    service.state = "RENDERING"
    with started(project, "run", "job", TRUNKLINE_CRASH_AT="after_send@http") as killed:
        assert killed.wait(120) == -9, killed.stdout.read()
    assert len(service.jobs) == before + 1
    with started(project, "serve"):
        until(lambda: task(project, "job@latest", "render")["external_id"], 120, "the job to be found")
        assert task(project, "job@latest", "render")["external_id"] == service.jobs[-1]["id"]
        project.call("cancel", "job@latest", "--task", "render")
        until(lambda: task(project, "job@latest", "render")["state"] != "running", 60, "the job to stop")
    assert service.jobs[-1]["state"] == "BROKEN", "the stop was passed on"
    assert (len(service.jobs), service.posts) == (before + 1, posts + 1)
    service.state = "DONE"
