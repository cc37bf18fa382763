"""Athena queries that replace tables and partitions: the program on its sandbox."""

import json
import signal
import subprocess
import urllib.request

import pytest

from project import Project
from waiting import until

PIPELINE = """
name: report
schedule: "0 9 * * *"
start_date: 2026-11-01
catchup: none
data_interval: day
max_active_runs: 5
params:
  value: { type: integer, default: 1 }
  rows: { type: integer, default: 1 }
defaults: { connection: aws, retries: 0, poll_interval: 1s }
tasks:
  days:
    type: athena_query
    database: lake
    output_location: s3://report-lake/results/
    query: SELECT {{ params.value }} AS a, day FROM (VALUES ('{{ ds }}')) AS t (day) WHERE {{ params.rows }} > 0
    replace:
      table: days
      how: partition
      location: s3://report-lake/days/
      partitioned_by: [day]
      partition: { day: "{{ ds }}" }
  total:
    type: athena_query
    depends_on: days
    database: lake
    output_location: s3://report-lake/results/
    query: SELECT sum(a) AS total FROM days
    replace: { table: total, how: swap, location: s3://report-lake/total/ }
  read:
    type: athena_query
    depends_on: total
    database: lake
    output_location: s3://report-lake/results/
    query: SELECT day, a FROM days WHERE day <> ? ORDER BY day
    parameters: ["it's no day"]
    fetch_rows: 10
"""

TEMPLATE = """
Resources:
  Lake: {Type: AWS::S3::Bucket, Properties: {BucketName: report-lake}}
  Database:
    Type: AWS::Glue::Database
    Properties: {CatalogId: !Ref AWS::AccountId, DatabaseInput: {Name: lake}}
"""


@pytest.fixture(scope="module")
def project(binary, environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    (folder / "trunkline.yaml").write_text("environments:\n  local: { connections: { aws: { sandbox: true } } }\n")
    home = folder / "pipelines" / "report"
    home.mkdir(parents=True)
    (home / "pipeline.yaml").write_text(PIPELINE)
    (home / "aws.yaml").write_text(TEMPLATE)
    made = Project(binary, environment, folder)
    yield made
    made.stop()


def run(project, date, value, rows=1, code=0):
    done = project.call(
        "run", "report", "--date", date, "--param", f"value={value}", "--param", f"rows={rows}", code=code
    )
    return done.stdout + done.stderr


def outputs(project, date, task):
    shown = json.loads(project.call("show", f"report@{date}", "--json").stdout)
    return next(row for row in shown["tasks"] if row["task"] == task)["outputs"]


def faults(project, *rules):
    request = urllib.request.Request(
        f"{project.endpoint}/_sandbox/faults", json.dumps(list(rules)).encode(), method="PUT"
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200


def calls(project, operation):
    answer = json.load(urllib.request.urlopen(f"{project.endpoint}/_sandbox/calls"))
    return sum(call["count"] for call in answer if call["operation"] == operation)


def folders(project, table):
    s3 = project.client("s3")
    found = s3.list_objects_v2(Bucket="report-lake", Prefix=f"{table}/", Delimiter="/")
    return [prefix["Prefix"] for prefix in found.get("CommonPrefixes", [])]


def temporary_tables(project):
    tables = project.client("glue").get_tables(DatabaseName="lake")["TableList"]
    return [table["Name"] for table in tables if table["Name"].startswith("trunkline_")]


def test_partitions_are_filled_and_filled_again(project):
    run(project, "2026-11-18", 5)
    run(project, "2026-11-19", 7)
    rows = [{"day": "2026-11-18", "a": 5}, {"day": "2026-11-19", "a": 7}]
    assert outputs(project, "2026-11-19", "read")["rows"] == rows
    project.call("clear", "report@2026-11-18", "--yes")
    read = outputs(project, "2026-11-18", "read")
    assert read["rows"] == rows and read["bytes_scanned"] > 0 and read["output_location"].endswith(".csv")
    assert len(folders(project, "days")) == 2, "what the first attempt wrote is gone"
    assert len(folders(project, "total")) == 1
    assert temporary_tables(project) == []


def test_an_empty_result_replaces_nothing(project):
    said = run(project, "2026-11-17", 1, rows=0, code=1)
    assert "`lake.days` was not replaced and shows what it showed: the query gave no rows" in said, said
    assert "allow_empty: true" in said
    days = project.client("glue").get_partitions(DatabaseName="lake", TableName="days")["Partitions"]
    assert ["2026-11-17"] not in [day["Values"] for day in days]


@pytest.mark.parametrize(
    "day, operation, kind",
    [
        ("2026-11-10", "UpdateTable", "drop_answer"),
        ("2026-11-11", "BatchCreatePartition", "error_after"),
        ("2026-11-12", "DeleteTable", "drop_answer"),
    ],
)
def test_lost_answers_of_the_catalog_change_nothing(project, day, operation, kind):
    before = len(project.ledger("StartQueryExecution"))
    faults(project, {"service": "glue", "operation": operation, "kind": kind, "times": 1})
    try:
        run(project, day, 3)
    finally:
        faults(project)
    assert len(project.ledger("StartQueryExecution")) == before + 3, "no query ran twice"
    assert {"day": day, "a": 3} in outputs(project, day, "read")["rows"]


def test_runs_killed_between_query_and_catalog_are_taken_up(project):
    """`kill -9` while a call to the catalog hangs; another process goes on with the same query."""
    before = len(project.ledger("StartQueryExecution"))
    days = {"2026-11-13": "UpdateTable", "2026-11-14": "BatchCreatePartition", "2026-11-15": "DeleteTable"}
    for day, operation in days.items():
        made = calls(project, operation)
        faults(project, {"service": "glue", "operation": operation, "kind": "delay", "delay_ms": 8000, "times": 1})
        process = background(project, "run", "report", "--date", day, "--param", "value=4")
        until(lambda: calls(project, operation) > made, 120, f"the first {operation}")
        process.send_signal(signal.SIGKILL)
        process.wait()
    faults(project)
    serve = background(project, "serve")
    try:
        until(lambda: all(state(project, day) == "succeeded" for day in days), 180, "the runs to be taken up")
    finally:
        serve.terminate()
        serve.wait(60)
    assert len(project.ledger("StartQueryExecution")) == before + 3 * len(days), "no query ran twice"
    run(project, "2026-11-16", 1)
    rows = outputs(project, "2026-11-16", "read")["rows"]
    assert [row for row in rows if row["day"] in days] == [{"day": day, "a": 4} for day in days]


def background(project, *arguments):
    return subprocess.Popen(
        [str(project.binary), *arguments], cwd=project.folder, env=project.environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )


def state(project, day):
    return json.loads(project.call("show", f"report@{day}", "--json").stdout)["state"]
