"""The warehouse, refreshed from the shop's database: against a computation in plain Python over the source's rows
(expected_star.py), after every round of changes and after every accident."""

import json
import os
import re
import shutil
import signal
import subprocess

import pytest

from conftest import REPOSITORY
from expected_star import Star
from project import Project
from test_operate import serving, shown, states
from waiting import until

# Any other seed does as well: TRUNKLINE_TEST_SEED=77 scripts/test
SEEDS = [int(seed) for seed in os.environ.get("TRUNKLINE_TEST_SEED", "1,7,2026").split(",")]


class Shop:
    """A project with the pipeline, the shop's database, and what the warehouse must hold."""

    def __init__(self, project, seed):
        self.project, self.seed, self.round, self.star = project, seed, 0, Star()
        self.source, self.warehouse = project.private("shop"), project.private("warehouse")

    def happen(self, count=450):
        """The next round: the first one fills the source."""
        self.project.call("generate", "orders", "--seed", self.seed, "--count", count, "--round", self.round,
                          "--from", f"2026-11-{self.round + 1:02}", "--out", "private:shop")
        self.round += 1

    def refresh(self):
        """One run; its label."""
        self.star.look(self.source)
        done = self.project.call("run", "warehouse_refresh")
        return re.search(r"warehouse_refresh@\S+", done.stdout)[0]

    def check(self):
        return self.star.check(self.warehouse)

    def task(self, run, name):
        return next(row for row in shown(self.project, run)["tasks"] if row["task"] == name)

    def files(self):
        found = self.project.client("s3").list_objects_v2(Bucket="warehouse-raw").get("Contents", [])
        return {entry["Key"]: entry["ETag"] for entry in found}


@pytest.fixture
def made(binary, environment, tmp_path):
    shutil.copy(REPOSITORY / "trunkline.yaml", tmp_path)
    shutil.copytree(REPOSITORY / "pipelines" / "warehouse_refresh", tmp_path / "pipelines" / "warehouse_refresh")
    project = Project(binary, environment, tmp_path)
    yield lambda seed: Shop(project, seed)
    project.stop()


@pytest.mark.parametrize("seed", SEEDS)
def test_every_round_is_in_the_warehouse_as_it_was(made, seed):
    shop = made(seed)
    shop.happen()
    first = shop.refresh()
    assert shop.check() > 400
    extracted = shop.task(first, "extract")["outputs"]
    assert extracted["changed"] and extracted["by_table"]["sales_order"] == 450, extracted
    assert len(shop.star.rejected()) == 14, "twelve of who is in no department, two on 30 February"
    warnings = json.dumps(shown(shop.project, first))
    assert "staff_id 20: no valid department_id: 99" in warnings and "14 orders are held back" in warnings

    # Nothing happened: it ends early, and writes nothing.
    before = shop.files()
    nothing = shop.refresh()
    assert states(shop.project, nothing) == {"tables": "succeeded", "extract": "succeeded", "load": "skipped"}
    assert {key for key in shop.files() if "_extracts/" not in key} == {key for key in before if "_extracts/" not in key}
    shop.check()

    shop.happen()
    shop.refresh()
    changed = shop.check()
    # An order that was written long ago and committed only now.
    shop.project.psql(
        "insert into sales_order select 900001, created_at, last_updated - interval '9 minutes', design_id, 2,"
        " counterparty_id, 5, 2.50, 1, '2026-11-05', '2026-11-06', 7 from sales_order"
        " where last_updated = (select max(last_updated) from sales_order) limit 1", shop.source)
    late = shop.refresh()
    assert shop.task(late, "extract")["outputs"]["changed"] and shop.check() == changed + 1

    shop.happen()
    shop.refresh()
    shop.check()
    assert all("staff_id" not in reason for _, reason in shop.star.rejected()), "who got a department brought his orders"
    # What was written once is as it was.
    assert before.items() <= shop.files().items()


def test_what_is_cleared_changes_nothing_that_is_there(made):
    shop = made(1)
    shop.happen()
    first = shop.refresh()
    shop.happen()
    second = shop.refresh()
    count = shop.check()
    # The load alone, of the newer run and then of the older one; then all of it.
    for run, options in ((second, ("--task", "load")), (first, ("--task", "load")), (first, ()), (second, ())):
        shop.project.call("clear", run, "--yes", *options)
        assert shop.check() == count
    warnings = shop.project.psql("select count(*) from trunkline_watermark where value is null", shop.warehouse)
    assert warnings == "0"
    shop.happen()
    shop.refresh()
    shop.check()


def test_a_load_that_is_killed_in_the_middle_is_there_once(made):
    shop = made(7)
    shop.happen()
    shop.refresh()
    shop.happen()
    shop.star.look(shop.source)
    # Somebody holds a table that the load reaches in its middle.
    holder = subprocess.Popen(["psql", "-q", shop.warehouse], stdin=subprocess.PIPE, text=True)
    holder.stdin.write("begin; lock table dim_design in exclusive mode;\n")
    holder.stdin.flush()
    child = subprocess.Popen([str(shop.project.binary), "run", "warehouse_refresh"], cwd=shop.project.folder,
                             env=shop.project.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    waits = "select count(*) from pg_stat_activity where datname = 'warehouse' and wait_event_type = 'Lock'"
    until(lambda: shop.project.psql(waits) == "1", 60, "the load to wait")
    child.send_signal(signal.SIGKILL)
    child.wait()
    holder.communicate("commit;\n", timeout=60)
    ended = "select count(*) from run where state = 'succeeded'"
    with serving(shop.project):
        until(lambda: shop.project.psql(ended) == "2", 180, "the run")
    shop.check()
    attempts = "select count(*) from attempt"
    assert shop.project.psql(attempts) == "6", "three tasks of two runs: no retry was used up"


def test_a_refresh_that_fails_leaves_all_as_it_was_and_goes_on_after_a_repair(made):
    shop = made(2026)
    shop.happen()
    shop.refresh()
    shop.happen()
    marks = "select json_agg(m order by source) from trunkline_watermark m"
    before = shop.project.psql(marks, shop.warehouse)
    # A column that somebody made narrower in the warehouse.
    shop.project.psql("alter table fact_sales_order add constraint narrow check (units_sold < 0) not valid", shop.warehouse)
    failed = shop.project.call("run", "warehouse_refresh", code=1)
    run = re.search(r"warehouse_refresh@\S+", failed.stdout)[0]
    assert "narrow" in failed.stderr, failed.stderr
    shop.check()
    assert shop.project.psql(marks, shop.warehouse) == before, "the watermark moves with the rows or not at all"
    shop.project.psql("alter table fact_sales_order drop constraint narrow", shop.warehouse)
    shop.star.look(shop.source)
    shop.project.call("clear", run, "--failed", "--yes")
    shop.check()
