"""Child care facilities: the crawl and the models on generated exports, against a computation in plain Python over
the raw files (facility_expected.py)."""

import collections
import datetime
import io
import json
import os
import re
import shutil
import signal
import subprocess
from random import Random

import pyarrow.parquet
import pytest

from conftest import REPOSITORY
from facility_expected import SOURCES, Checked, tables_of
from project import Project
from sandbox import client_of, objects_of_bucket
from test_operate import serving, shown, states
from waiting import until

# Any other seed does as well: TRUNKLINE_TEST_SEED=77 scripts/test
SEEDS = [int(seed) for seed in os.environ.get("TRUNKLINE_TEST_SEED", "1,7,2026").split(",")]
DAYS = ["2026-10-29", "2026-10-30", "2026-10-31"]
MODELS = {
    "int_salesforce_leads": "salesforce_leads",
    "fact_leads": "salesforce_leads",
    "int_credentials": "source_1",
    "int_facility_details": "source_2",
    "int_operations": "source_3",
}
# What pyarrow calls the types of columns that are not text.
TYPES = {
    "int_salesforce_leads": {"id": "int64", "phone": "int64"},
    "fact_leads": {"new_leads_created": "int64", "avg_days_to_convert": "int64", "new_leads_last_7_days": "int64"},
    "int_credentials": {"license_number": "string"},
    "int_facility_details": {"min_age_months": "int32", "max_age_months": "int32", "zip": "string"},
    "int_operations": {"operation_id": "int64", "capacity": "int32"},
}
QUICK = {"TRUNKLINE_TIME_RATIO": "0.1"}


class Facilities:
    """A project with the two pipelines, and the exports as files beside it."""

    def __init__(self, project, folder, seed):
        self.project, self.raw, self.seed = project, folder / "raw", seed
        what = ["generate", "facility", "--seed", seed, "--count", 90, "--from", "2026-08-20", "--days", 75, "--out"]
        project.call(*what, self.raw)
        project.call(*what, "s3://facility-raw")
        self.endpoint = project.endpoint

    def call(self, *arguments, code=0):
        done = self.project.call(*arguments, code=code)
        return done.stdout + done.stderr

    def run(self, date, code=0):
        return self.call("run", "facility_models", "--date", date, code=code)

    def checked(self):
        return {source: Checked(source, (self.raw / source / f"{source}.json").read_bytes()) for source in SOURCES}

    def glue(self):
        return client_of(self.endpoint, "glue")

    def tables(self):
        found = self.glue().get_tables(DatabaseName="facility")["TableList"]
        return {table["Name"]: table["StorageDescriptor"]["Location"] for table in found}

    def rows(self, address):
        """The rows below an address, and the types of their columns."""
        bucket, prefix = re.fullmatch(r"s3://([^/]+)/(.*)", address).groups()
        rows, types = [], {}
        for _, body in objects_of_bucket(self.endpoint, bucket, prefix):
            table = pyarrow.parquet.read_table(io.BytesIO(body))
            types |= {field.name: str(field.type) for field in table.schema}
            rows += table.to_pylist()
        return rows, types

    def check(self, date, *names):
        """These tables (or all) are those of a clean run for this date."""
        wanted, tables = tables_of(self.checked(), date), self.tables()
        for name in names or MODELS:
            rows, types = self.rows(tables[name])
            extra, missing = differences(rows, wanted[name])
            assert not extra and not missing, f"{name} of {date} has {extra[:3]}, and not {missing[:3]}"
            assert wanted[name], f"{name} has rows"
            kinds = {column: types[column] for column in TYPES[name]}
            assert kinds == TYPES[name], name
        assert not [name for name in tables if name.startswith("trunkline_")], "no journal is left"

    def check_quarantine(self, date):
        """Row by row, cell by cell, with reasons."""
        for source, checked in self.checked().items():
            found = self.glue().get_partition(
                DatabaseName="facility", TableName="quarantine", PartitionValues=[date, source]
            )
            rows, _ = self.rows(found["Partition"]["StorageDescriptor"]["Location"])
            rows = [(row["reason"], row["layout"], row["cells"]) for row in rows]
            assert sorted(rows, key=str) == sorted(checked.quarantine, key=str), source
            assert rows, f"{source} has rows that fit nothing"

    def snapshot(self):
        """What every table shows, with no regard to where its files lie."""
        tables = self.tables()
        return {name: ordered(self.rows(tables[name])[0]) for name in MODELS}

    def put(self, source, content):
        """Another export in the place of one."""
        (self.raw / source / f"{source}.json").write_bytes(content)
        key = f"{source}/{source}.json"
        client_of(self.endpoint, "s3").put_object(Bucket="facility-raw", Key=key, Body=content)

    def read(self, source):
        return (self.raw / source / f"{source}.json").read_bytes()


def ordered(rows):
    return sorted((sorted(row.items()) for row in rows), key=str)


def differences(found, wanted):
    """The rows that only one side has, each as often as it has them more."""
    found, wanted = (collections.Counter(map(str, ordered(rows))) for rows in (found, wanted))
    return list((found - wanted).elements()), list((wanted - found).elements())


@pytest.fixture(scope="module", params=SEEDS)
def facilities(request, binary, environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("facilities")
    shutil.copy(REPOSITORY / "trunkline.yaml", folder)
    for name in ("facility_crawl", "facility_models"):
        shutil.copytree(REPOSITORY / "pipelines" / name, folder / "pipelines" / name)
    project = Project(binary, environment, folder)
    project.edit("pipelines/facility_models/pipeline.yaml", "retry_delay: 1m", "retry_delay: 1s")
    yield Facilities(project, folder, request.param)
    project.stop()


def test_the_models_wait_for_a_crawl_and_are_what_the_files_hold(facilities):
    project = facilities.project
    child = subprocess.Popen(
        [str(project.binary), "run", "facility_models", "--date", DAYS[0]], cwd=project.folder,
        env=project.environment | QUICK, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    run = f"facility_models@{DAYS[0]}"

    def waits():
        # There is no such run until the first commit.
        done = subprocess.run(
            [str(project.binary), "show", run, "--json"], cwd=project.folder, env=project.environment,
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )
        rows = json.loads(done.stdout)["tasks"] if done.returncode == 0 else []
        return [row for row in rows if row["task"] == "wait_for_crawl" and row["state"] == "running"]

    until(waits, 60, "the wait")
    assert not project.ledger("StartQueryExecution"), "nothing is read before the crawl"
    facilities.call("run", "facility_crawl")
    said, _ = child.communicate(timeout=180)
    assert child.returncode == 0, said.decode()
    assert {name for name in facilities.tables() if name.startswith("raw_")} == {f"raw_{source}" for source in SOURCES}
    facilities.check(DAYS[0])
    facilities.check_quarantine(DAYS[0])


def test_the_mail_counts_every_row(facilities):
    counts = {source: checked.counts for source, checked in facilities.checked().items()}
    counts["all"] = tuple(sum(numbers) for numbers in zip(*counts.values()))
    assert counts["all"][0] == 4 * 90 == sum(counts["all"][1:]) and all(counts["all"])
    subject, body = facilities.project.mails()[-1]
    assert subject == f"Facility models {DAYS[0]}: {counts['all'][3]} rows in quarantine"
    lines = [line.split() for line in body.splitlines() if re.search(r"\w( +\d+){4}$", line.strip())]
    assert {line[0]: tuple(map(int, line[1:])) for line in lines} == counts


def test_the_windows_and_the_conversions_are_those_of_the_run(facilities):
    """What tables_of computes, said once more by hand for the numbers that are easily wrong."""
    tables = {name: [dict(row) for row in rows] for name, rows in facilities.snapshot().items()}
    leads, facts = tables["int_salesforce_leads"], tables["fact_leads"]
    day = datetime.date.fromisoformat(DAYS[0])
    week = [row for row in leads if day - datetime.timedelta(7) < row["created_date"] <= day]
    assert sum(row["new_leads_last_7_days"] for row in facts) == len(week)
    assert any(row["created_date"] > day for row in leads), "leads of after the run's date count in no window"
    assert sum(row["new_leads_created"] for row in facts) == len(leads)
    waits = [row["avg_days_to_convert"] for row in facts if row["leads_converted"]]
    assert waits and min(waits) >= 0 < max(waits)
    assert any(row["license_number"].startswith("00") for row in tables["int_credentials"])


def test_running_it_again_changes_nothing(facilities):
    before = facilities.snapshot()
    queries = len(facilities.project.ledger("StartQueryExecution"))
    facilities.call("clear", f"facility_models@{DAYS[0]}", "--yes")
    assert facilities.snapshot() == before
    assert len(facilities.project.ledger("StartQueryExecution")) == queries + 14, "every query ran once more"
    facilities.check_quarantine(DAYS[0])


def test_clearing_in_the_middle_rebuilds_what_follows(facilities):
    run = f"facility_models@{DAYS[0]}"
    before = {row["task"]: row for row in shown(facilities.project, run)["tasks"]}
    facilities.call("clear", run, "--task", "int_salesforce_leads", "--downstream", "--yes")
    after = {row["task"]: row for row in shown(facilities.project, run)["tasks"]}
    again = {name for name in after if after[name]["outputs"] != before[name]["outputs"]}
    assert again == {"int_salesforce_leads", "fact_leads"}
    facilities.check(DAYS[0])


def test_a_failed_build_leaves_yesterdays_table_and_stops_no_other(facilities):
    glue = facilities.glue()
    glue.delete_table(DatabaseName="facility", Name="raw_source_3")
    said = facilities.run(DAYS[1], code=1)
    assert "raw_source_3" in said
    facilities.check(DAYS[1], *[name for name, source in MODELS.items() if source != "source_3"])
    facilities.check(DAYS[0], "int_operations")
    ended = states(facilities.project, f"facility_models@{DAYS[1]}")
    assert ended["check_raw_source_3"] == "failed"
    assert {name for name, state in ended.items() if state == "upstream_failed"} == {
        "int_operations", "quarantine_source_3", "summary",
    }
    subject, body = facilities.project.mails()[-1]
    assert subject == f"[local] FAILED facility_models {DAYS[1]}: check_raw_source_3" and "raw_source_3" in body
    # The next crawl brings the table back, and only what failed is run again.
    facilities.call("run", "facility_crawl")
    facilities.call("clear", f"facility_models@{DAYS[1]}", "--failed", "--yes")
    facilities.check(DAYS[1])
    facilities.check_quarantine(DAYS[1])


def test_a_file_of_rows_that_fit_nothing_leaves_yesterdays_table(facilities):
    """A file that has become something else is quarantined as a whole, and no empty table takes the old one's place."""
    good = facilities.read("source_1")
    rows = [json.loads(line) for line in good.splitlines()]
    facilities.put("source_1", b"".join(json.dumps(row | {"State": "Nevada"}).encode() + b"\n" for row in rows))
    before = facilities.snapshot()
    again = ["clear", f"facility_models@{DAYS[1]}", "--task", "check_raw_source_1", "--downstream", "--yes"]
    said = facilities.call(*again, code=1)
    assert "the query gave no rows" in said
    assert facilities.snapshot() == before
    facilities.check_quarantine(DAYS[1])
    # What was built is kept to be looked at, and dropped by whoever has.
    facilities.glue().delete_table(DatabaseName="facility", Name=re.search(r"trunkline_[0-9a-f]{32}", said)[0])
    facilities.put("source_1", good)
    facilities.call(*again)
    facilities.check(DAYS[1])


def test_a_line_that_is_no_json_stops_its_own_file_only(facilities):
    """Athena cannot read past it, so it is no matter for the quarantine."""
    good, run = facilities.read("source_2"), f"facility_models@{DAYS[1]}"
    before = facilities.snapshot()
    facilities.put("source_2", good + b'{"Type License": "CHILD CA')
    said = facilities.call("clear", run, "--task", "check_raw_source_2", "--downstream", "--yes", code=1)
    ended = states(facilities.project, run)
    assert {name for name, state in ended.items() if state == "failed"} == {"check_raw_source_2"}
    assert ended["int_facility_details"] == ended["quarantine_source_2"] == "upstream_failed"
    assert "source_2.json" in said, "the file is named"
    facilities.put("source_2", good)
    assert facilities.snapshot() == before
    facilities.call("clear", run, "--failed", "--yes")
    facilities.check(DAYS[1])


def test_a_run_that_is_killed_is_taken_up(facilities):
    project = facilities.project
    before = len(project.ledger("StartQueryExecution"))
    child = subprocess.Popen(
        [str(project.binary), "run", "facility_models", "--date", DAYS[2]], cwd=project.folder,
        env=project.environment | QUICK, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    until(lambda: len(project.ledger("StartQueryExecution")) >= before + 3, 60, "some queries")
    child.send_signal(signal.SIGKILL)
    child.wait()
    run = f"facility_models@{DAYS[2]}"
    assert shown(project, run)["state"] == "running"
    with serving(project):
        until(lambda: shown(project, run)["state"] == "succeeded", 180, "the run")
    facilities.check(DAYS[2])
    facilities.check_quarantine(DAYS[2])
    assert len(project.ledger("StartQueryExecution")) == before + 14, "no query ran twice"


def test_a_backfill_of_three_days_is_three_clean_runs(facilities):
    facilities.call(
        "backfill", "facility_models", "--from", DAYS[0], "--to", DAYS[2], "--reprocess", "all", "--max-active", 1, "--yes"
    )
    facilities.check(DAYS[2])
    for date in DAYS:
        facilities.check_quarantine(date)


def damaged(cells, random):
    """A row in which cells slid, were lost, changed places or hold something else."""
    odd = ["", "TRUE", "9/9/99", "2021-09-04", "5", "a@b.example.com", "OK", "Y", "a.example.com", "2/30/24", "12345", "CLOSED"]
    for _ in range(random.choice([0, 1, 1, 2, 2, 3])):
        at, other = random.randrange(len(cells)), random.randrange(len(cells))
        what = random.choice(["slide", "slide", "slide", "lose", "insert", "swap", "odd"])
        if what == "slide":
            cells = cells[:at] + cells[at + 1 :] + [None]
        elif what == "insert":
            cells = cells[:at] + [None] + cells[at:-1]
        elif what == "swap":
            cells[at], cells[other] = cells[other], cells[at]
        else:
            cells[at] = None if what == "lose" else random.choice(odd)
    return cells


def test_rows_that_were_damaged_at_random_are_judged_alike(facilities):
    """No row fits two layouts, and whatever happened to a row, it is put back or quarantined as the README says."""
    random = Random(facilities.seed)
    good = {source: facilities.read(source) for source in SOURCES}
    for source, content in good.items():
        rows = [json.loads(line) for line in content.splitlines()] * 5
        rows = [dict(zip(row, damaged(list(row.values()), random))) for row in rows]
        facilities.put(source, b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    facilities.call("run", "facility_models", "--date", "2026-10-27", "--param", "crawl=true")
    facilities.check("2026-10-27")
    facilities.check_quarantine("2026-10-27")
    for source, content in good.items():
        facilities.put(source, content)


def test_a_run_that_shall_crawl_waits_for_nobody(facilities):
    crawls = len(facilities.project.ledger("StartCrawler"))
    facilities.call("run", "facility_models", "--date", "2026-10-28", "--param", "crawl=true")
    ended = states(facilities.project, "facility_models@2026-10-28")
    assert ended["wait_for_crawl"] == "skipped" and ended["crawl_raw"] == "succeeded"
    assert len(facilities.project.ledger("StartCrawler")) == crawls + 1
    facilities.check("2026-10-28")
