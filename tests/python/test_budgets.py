"""How often services are asked, counted by the sandbox: batches, budgets, a storm of refusals."""

import contextlib
import json
import subprocess
import time
import urllib.request

import pytest

from project import Project
from waiting import until

QUERIES, JOBS, RUNS_OF_JOB = 500, 5, 60
INTERVAL_SECONDS = 4
# Jobs are asked about after a tenth of their age: older ones at the longest interval.
SETTLED_SECONDS = INTERVAL_SECONDS * 10 + 2
INTERVALS = 4
STORM_SECONDS = 6
# The budgets of the operators: calls per second, and calls that may come at once.
RATES = {
    ("athena", "StartQueryExecution"): (20, 80),
    ("athena", "BatchGetQueryExecution"): (20, 40),
    ("glue", "StartJobRun"): (3, 10),
}
# A question is repeated twice by the SDK before it counts as throttled.
TRIES_OF_QUESTION = 3

TEMPLATE = """
Resources:
  Role: { Type: AWS::IAM::Role }
""" + "".join(
    f"""
  Job{number}:
    Type: AWS::Glue::Job
    Properties:
      Name: job{number}
      Role: !GetAtt Role.Arn
      Command: {{ Name: glueetl, ScriptLocation: "s3://scripts/nothing.py", PythonVersion: "3" }}
      ExecutionProperty: {{ MaxConcurrentRuns: 100 }}
"""
    for number in range(JOBS)
)


def query(settings="retries: 0"):
    return f'{{ type: athena_query, query: "SELECT 1 AS one", output_location: "s3://scripts/out/", {settings} }}'


def pipeline(name, queries, runs_of_job):
    lines = [f"name: {name}", "data_interval: none",
             f"defaults: {{ connection: aws, retries: 2, retry_delay: 1s, poll_interval: {INTERVAL_SECONDS}s }}", "tasks:"]
    lines += [f"  query{number}: {query('timeout: 20m')}" for number in range(queries)]
    lines += [
        f"  run{job}_{number}: {{ type: glue_job, job: job{job}, timeout: 20m }}"
        for job in range(JOBS) for number in range(runs_of_job)
    ]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def project(binary, environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("budgets")
    (folder / "trunkline.yaml").write_text("environments:\n  local: { connections: { aws: { sandbox: true } } }\n")
    for name, text in [("many", pipeline("many", QUERIES, RUNS_OF_JOB)), ("storm", pipeline("storm", 30, 3))]:
        home = folder / "pipelines" / name
        home.mkdir(parents=True)
        (home / "pipeline.yaml").write_text(text)
        (home / "aws.yaml").write_text(TEMPLATE)
    made = Project(binary, environment, folder)
    yield made
    made.stop()


@contextlib.contextmanager
def served(project):
    process = subprocess.Popen(
        [str(project.binary), "serve"],
        cwd=project.folder, env=project.environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: project.status()["replicas"], 60, "the server")
        yield
    finally:
        process.terminate()
        process.wait(60)


def install(project, *rules):
    url = f"{project.endpoint}/_sandbox/faults"
    urllib.request.urlopen(urllib.request.Request(url, json.dumps(rules).encode(), method="PUT")).close()


def calls(endpoint):
    with urllib.request.urlopen(f"{endpoint}/_sandbox/calls") as answer:
        return {(one["service"], one["operation"]): one["count"] for one in json.load(answer)}


def states(project, run):
    shown = json.loads(project.call("show", run, "--json").stdout)
    return shown["tasks"]


def succeeded(project, name):
    """Whether the newest run did; one that ended otherwise will not."""
    state = json.loads(project.call("runs", name, "--json").stdout)[0]["state"]
    assert state in ("queued", "running", "succeeded"), state
    return state == "succeeded"


def provisioned(project, name):
    """Starts a run, once what its jobs need is there."""
    s3 = project.client("s3")
    if "scripts" not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
        s3.create_bucket(Bucket="scripts")
    s3.put_object(Bucket="scripts", Key="nothing.py", Body=b"pass\n")
    project.call("run", name, "--detach")


def test_many_waiting_jobs_cost_a_call_per_batch(project):
    odd = {"kind": "unknown_state", "state": "PONDERING"}
    install(
        project,
        {"service": "athena", "operation": "BatchGetQueryExecution", **odd},
        {"service": "glue", "operation": "GetJobRuns", **odd},
        {"service": "glue", "operation": "GetJobRun", **odd},
    )
    with served(project):
        provisioned(project, "many")
        tasks = QUERIES + JOBS * RUNS_OF_JOB
        until(lambda: len(project.ledger("StartQueryExecution")) == QUERIES, 300, "all queries to be started")
        until(lambda: len(project.ledger("StartJobRun")) == JOBS * RUNS_OF_JOB, 400, "all jobs to be started")
        endpoint, settled = project.endpoint, time.monotonic() + SETTLED_SECONDS
        until(lambda: time.monotonic() > settled, SETTLED_SECONDS + 30, "the intervals to be at their longest")
        before, start = calls(endpoint), time.monotonic()
        until(lambda: time.monotonic() > start + INTERVALS * INTERVAL_SECONDS, 120, "some intervals to pass")
        elapsed, after = time.monotonic() - start, calls(endpoint)
        # A window of n intervals sees the grid's moments n or n + 1 times.
        moments = int(elapsed / INTERVAL_SECONDS) + 1
        made = {key: after[key] - before.get(key, 0) for key in after if after[key] > before.get(key, 0)}
        print(f"{elapsed:.1f} s, {moments} moments: {made}")
        queries = sum(count for (service, _), count in made.items() if service == "athena")
        jobs = sum(count for (service, _), count in made.items() if service == "glue")
        assert 0 < queries <= 11 * moments, made
        assert 0 < jobs <= 10 * moments, made
        # The same numbers where a person looks.
        rows = {row["api"]: row for replica in project.status()["replicas"] for row in replica["budgets"]}
        asked = rows["athena:BatchGetQueryExecution"]
        assert asked["calls"] >= queries and asked["throttles"] == 0, rows
        assert asked["nominal_per_second"] == asked["allowed_per_second"] == 20, rows
        assert rows["glue:GetJobRuns"]["calls"] >= jobs, rows
        assert "athena:BatchGetQueryExecution" in project.call("status").stdout
        install(project)
        until(lambda: succeeded(project, "many"), 300, "everything to end")
    rows = states(project, "many@latest")
    assert len(rows) == tasks and all(row["attempts"] == 1 for row in rows)
    assert "nothing was accepted twice for one attempt" in project.call("sandbox", "ledger", "--duplicates").stderr


def test_a_storm_of_refusals_fails_nothing(project):
    storm = {"kind": "throttle", "probability": 0.95, "for_ms": STORM_SECONDS * 1000, "seed": 7}
    before_start = {name: len(project.ledger(name)) for name in ["StartQueryExecution", "StartJobRun"]}
    endpoint = project.endpoint
    with served(project):
        provisioned_first = calls(endpoint)
        install(project, {"service": "athena", **storm}, {"service": "glue", **storm})
        start = time.monotonic()
        provisioned(project, "storm")
        until(lambda: time.monotonic() > start + STORM_SECONDS, 60, "the storm to pass")
        elapsed, made = time.monotonic() - start, calls(endpoint)
        until(lambda: succeeded(project, "storm"), 300, "everything to end")
        rows = [row for replica in project.status()["replicas"] for row in replica["budgets"]]
        asked = calls(endpoint)
    starts = [("athena", "StartQueryExecution"), ("glue", "StartJobRun")]
    asked_to_start = sum(asked.get(call, 0) - provisioned_first.get(call, 0) for call in starts)
    assert asked_to_start > 30 + 3 * JOBS, "the storm refused no start"
    for (service, operation), (rate, burst) in RATES.items():
        count = made.get((service, operation), 0) - provisioned_first.get((service, operation), 0)
        tries = 1 if operation.startswith("Start") else TRIES_OF_QUESTION
        assert count <= tries * (rate * elapsed + burst), (operation, count, elapsed)
    # The command that began the run may have met the refusals, so the server's own count may be none.
    assert {row["api"] for row in rows} >= {"glue:GetJobRuns", "athena:BatchGetQueryExecution"}, rows
    tasks = states(project, "storm@latest")
    assert all((row["state"], row["attempts"]) == ("succeeded", 1) for row in tasks), tasks
    assert len(project.ledger("StartQueryExecution")) - before_start["StartQueryExecution"] == 30
    assert len(project.ledger("StartJobRun")) - before_start["StartJobRun"] == 3 * JOBS
    assert json.loads(project.call("sandbox", "ledger", "--duplicates", "--json").stdout) == []
    ledger = json.loads(project.call("sandbox", "ledger", "--service", "glue", "--json").stdout)
    assert {entry["operation"] for entry in ledger} >= {"StartJobRun"}
