"""Statements in a Postgres database that is not Trunkline's own: committed once, whoever is killed when."""

import json
import signal
import subprocess

import pytest

from project import Project
from test_operate import serving, shown
from waiting import until

DAILY = """
name: daily
data_interval: day
defaults: { retries: 0 }
tasks:
  load:
    type: sql
    url: "{{ secrets.warehouse }}"
    statements:
      - file:sql/load.sql
      - SELECT pg_sleep(:pause)
      - SELECT day, count(*) AS rows FROM sale WHERE day = :day::date GROUP BY day
    parameters: { day: "{{ ds }}", pause: "{{ params.pause }}" }
    fetch_rows: 1
  tell: { type: command, depends_on: load, command: [echo, "{{ tasks.load.outputs.rows[0].rows }} rows of {{ ds }}"] }
params: { pause: { type: number, default: 0 } }
"""
PASSWORD = "not-for-logs"


@pytest.fixture
def project(binary, environment, tmp_path):
    (tmp_path / "trunkline.yaml").write_text(
        "environments:\n  local:\n    connections: { aws: { sandbox: true } }\n"
        "    secrets: { warehouse: { env: WAREHOUSE } }\n"
    )
    home = tmp_path / "pipelines" / "daily"
    (home / "sql").mkdir(parents=True)
    (home / "pipeline.yaml").write_text(DAILY)
    (home / "sql/load.sql").write_text("-- for the day :day\nINSERT INTO sale SELECT :day::date, n FROM generate_series(1, 3) n;\n")
    made = Project(binary, environment, tmp_path)
    own = made.status()["store"]["url"]
    made.psql("create database warehouse", own)
    made.warehouse = own.replace("/trunkline?", "/warehouse?") + f"&password={PASSWORD}"
    made.environment = environment | {"WAREHOUSE": made.warehouse}
    made.psql("create table sale (day date, number int)", made.warehouse)
    # The process in the background read its environment before.
    made.stop()
    made.call("deploy")
    yield made
    made.stop()


def test_rows_are_there_once_and_later_tasks_read_them(project):
    done = project.call("run", "daily", "--date", "2026-11-19")
    assert project.psql("select day, count(*) from sale group by day", project.warehouse) == "2026-11-19|3"
    outputs = next(task for task in shown(project, "daily@2026-11-19")["tasks"] if task["task"] == "load")["outputs"]
    assert outputs["rows"] == [{"day": "2026-11-19", "rows": 3}] and outputs["by_statement"] == [3, 1, 1]
    assert "3 rows of 2026-11-19" in project.call("logs", "daily@2026-11-19", "tell").stdout
    assert PASSWORD not in done.stdout + done.stderr + project.call("show", "daily@2026-11-19", "--json").stdout


def test_a_process_that_is_killed_in_mid_transaction_leaves_one_commit(project):
    child = subprocess.Popen(
        [str(project.binary), "run", "daily", "--date", "2026-11-18", "-p", "pause=8"], cwd=project.folder,
        env=project.environment | {"TRUNKLINE_TIME_RATIO": "0.1"}, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    sleeping = "select count(*) from pg_stat_activity where datname = 'warehouse' and query like 'SELECT pg_sleep%'"
    until(lambda: project.psql(sleeping, project.warehouse) == "1", 60, "the transaction")
    child.send_signal(signal.SIGKILL)
    child.wait()
    with serving(project):
        until(lambda: shown(project, "daily@2026-11-18")["state"] == "succeeded", 180, "the run")
    assert project.psql("select count(*) from sale where day = '2026-11-18'", project.warehouse) == "3"
    attempts = shown(project, "daily@2026-11-18")["attempt_list"]
    assert len([one for one in attempts if one["task"] == "load"]) == 1, "it used up no retry"


def test_a_mistake_is_told_in_the_words_of_the_database(project):
    project.edit("pipelines/daily/sql/load.sql", "INTO sale", "INTO no_such_table")
    project.call("run", "daily", "--date", "2026-11-17", code=1)
    failure = next(task for task in shown(project, "daily@2026-11-17")["tasks"] if task["task"] == "load")["failure"]
    assert failure["class"] == "config" and failure["code"] == "42P01"
    assert 'statement 1 of 3: ERROR: relation "no_such_table" does not exist' in failure["message"]
    assert json.dumps(failure).count(PASSWORD) == 0
