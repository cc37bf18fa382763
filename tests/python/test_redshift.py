"""SQL in Redshift: transactions that feed later tasks, failures, a lost answer, a cancelled statement."""

import json
import subprocess
import urllib.request

import pytest

from project import Project
from waiting import until

TEMPLATE = """
Resources:
  Namespace:
    Type: AWS::RedshiftServerless::Namespace
    Properties: { NamespaceName: sales, DbName: dev }
  Workgroup:
    Type: AWS::RedshiftServerless::Workgroup
    Properties: { WorkgroupName: reports, NamespaceName: !Ref Namespace }
"""

SALES = """
name: sales
data_interval: none
params:
  day: { type: string, default: "2026-11-19" }
defaults: { connection: warehouse, retries: 0, poll_interval: 1s }
tasks:
  tables:
    type: redshift_sql
    sql: CREATE TABLE IF NOT EXISTS sales (day DATE SORTKEY, store VARCHAR(20) DISTKEY, amount INT)
  load:
    type: redshift_sql
    depends_on: tables
    statements:
      - DELETE FROM sales WHERE day = :day
      - file:sql/load.sql
      - SELECT store, SUM(amount) AS total FROM sales WHERE day = :day GROUP BY 1 ORDER BY 2 DESC
    parameters: { day: "{{ params.day }}", best: "o'hara" }
    fetch_rows: 1
  report:
    type: noop
    depends_on: load
    outputs:
      best: "{{ tasks.load.outputs.rows[0].store }}"
      total: "{{ tasks.load.outputs.rows[0].total + 1 }}"
      changed: "{{ tasks.load.outputs.rows_affected }}"
"""

LOAD = "INSERT INTO sales VALUES (:day, :best, 40), (:day, :best, 2), (:day, 'b', 7)\n"

BROKEN = """
name: broken
data_interval: none
defaults: { connection: aws, retries: 0, poll_interval: 1s }
tasks:
  load:
    type: redshift_sql
    workgroup: reports
    database: dev
    statements:
      - DELETE FROM sales
      - INSERT INTO sales SELECT day, shop, amount FROM sales
"""

SLOW = """
name: slow
data_interval: none
defaults: { connection: aws, retries: 0, poll_interval: 1s }
tasks:
  wait: { type: redshift_sql, workgroup: reports, database: dev, sql: "SELECT pg_sleep(3600)" }
"""


@pytest.fixture(scope="module")
def project(binary, environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("redshift")
    (folder / "trunkline.yaml").write_text("""
environments:
  local:
    connections:
      aws: { sandbox: true }
      warehouse: { sandbox: true, workgroup: reports, database: dev }
""")
    for name, text in [("sales", SALES), ("broken", BROKEN), ("slow", SLOW)]:
        home = folder / "pipelines" / name
        home.mkdir(parents=True)
        (home / "pipeline.yaml").write_text(text)
    (folder / "pipelines" / "sales" / "aws.yaml").write_text(TEMPLATE)
    (folder / "pipelines" / "sales" / "sql").mkdir()
    (folder / "pipelines" / "sales" / "sql" / "load.sql").write_text(LOAD)
    made = Project(binary, environment, folder)
    # The warehouse, its table and the day that the tests expect.
    made.first = made.call("run", "sales")
    yield made
    made.stop()


def select(project, sql):
    redshift = project.client("redshift-data")
    id = redshift.execute_statement(Sql=sql, WorkgroupName="reports", Database="dev", WaitTimeSeconds=30)["Id"]
    return [[next(iter(field.values())) for field in row] for row in redshift.get_statement_result(Id=id)["Records"]]


def starts(project):
    return project.ledger("ExecuteStatement") + project.ledger("BatchExecuteStatement")


def test_a_transaction_feeds_a_later_task(project):
    said = project.first.stdout + project.first.stderr
    assert "best=o'hara" in said and "total=43" in said and "changed=3" in said, said
    markers = [entry["marker"] for entry in starts(project)]
    assert len(markers) == len(set(markers)) == 2 and all(len(marker) == 64 for marker in markers)
    names = [one["StatementName"] for one in project.client("redshift-data").list_statements(Status="ALL")["Statements"]]
    assert sum(name.startswith("trunkline:") for name in names if name) == 2


def test_a_failure_names_the_statement_and_takes_back_the_rest(project):
    failed = project.call("run", "broken", code=1)
    said = failed.stdout + failed.stderr
    assert 'statement 2 of 2 failed: ERROR: column "shop" does not exist' in said, said
    assert "INSERT INTO sales SELECT day, shop" in said, said
    assert select(project, "SELECT COUNT(*) FROM sales") == [[3]]


def test_a_lost_answer_starts_nothing_twice(project):
    before = len(starts(project))
    rules = [{"service": "redshift-data", "operation": "BatchExecuteStatement", "times": 1, "kind": "drop_answer"}]
    request = urllib.request.Request(f"{project.endpoint}/_sandbox/faults", json.dumps(rules).encode(), method="PUT")
    urllib.request.urlopen(request).close()
    project.call("run", "sales", "-p", "day=2026-11-20")
    with urllib.request.urlopen(f"{project.endpoint}/_sandbox/faults") as answer:
        assert json.load(answer)[0]["harmed"] == 1, "the fault struck"
    assert len(starts(project)) == before + 2, "one start for each of two tasks"
    assert select(project, "SELECT COUNT(*) FROM sales WHERE day = '2026-11-20'") == [[3]]


def test_a_cancelled_run_stops_its_statement(project):
    running = subprocess.Popen(
        [str(project.binary), "run", "slow"],
        cwd=project.folder, env=project.environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    redshift = project.client("redshift-data")

    def sleeping(status):
        listed = redshift.list_statements(Status=status)["Statements"]
        return [one for one in listed if "pg_sleep" in one.get("QueryString", "")]

    try:
        until(lambda: sleeping("STARTED"), 120, "the statement to begin")
        project.call("cancel", "slow@latest")
        said, _ = running.communicate(timeout=120)
    finally:
        running.kill()
    assert running.returncode == 1, said
    until(lambda: sleeping("ABORTED"), 60, "the statement to be stopped")
    assert not sleeping("STARTED")
