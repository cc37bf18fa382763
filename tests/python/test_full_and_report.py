"""All records at once, and the report of a month: on generated records of two buckets, against a computation
in plain Python over the raw files (expected.py)."""

import collections
import csv
import io
import os
import re
import shutil
import signal
import subprocess
import urllib.request

import pytest

from conftest import REPOSITORY
from expected import PREFIX, TYPES, expected, objects_of_folder
from parquet import rows_of
from project import Project
from test_operate import serving, shown
from waiting import until

# Any other seed does as well: TRUNKLINE_TEST_SEED=77 scripts/test
SEEDS = [int(seed) for seed in os.environ.get("TRUNKLINE_TEST_SEED", "1,7,2026").split(",")]
RAW_DAYS = ["2026-10-30", "2026-10-31", "2026-11-01"]
OLD_DAYS = ["2026-10-01", "2026-10-02"]


class Cdrs:
    """A project with the three pipelines, and the records as files beside it."""

    def __init__(self, project, folder, seed):
        self.project, self.raw, self.old, self.results = project, folder / "raw", folder / "old", folder / "results"
        self.generate(seed, 300, RAW_DAYS, self.raw, "cdr-raw")
        self.generate(seed + 100, 120, OLD_DAYS, self.old, "cdr-additional")
        # Calls that both buckets have; the older copy says something else.
        s3 = project.client("s3")
        wanted, _ = expected(objects_of_folder(self.raw), RAW_DAYS[0])
        for transaction in sorted(wanted)[:5]:
            path = next(self.raw.rglob(f"*_{transaction}"))
            copy = self.old / path.relative_to(self.raw)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes().replace(b"Normal Call Clearing", b"an older copy"))
            s3.put_object(Bucket="cdr-additional", Key=copy.relative_to(self.old).as_posix(), Body=copy.read_bytes())

    def generate(self, seed, count, days, folder, bucket):
        what = ["generate", "cdr", "--seed", seed, "--count", count, "--from", days[0], "--days", len(days), "--out"]
        self.project.call(*what, folder)
        self.project.call(*what, f"s3://{bucket}")

    def wanted(self, date):
        """The rows of a date; of a call that both buckets have, the raw one's."""
        rows, _ = expected(objects_of_folder(self.old), date)
        return rows | expected(objects_of_folder(self.raw), date)[0]

    def check(self):
        shutil.rmtree(self.results, ignore_errors=True)
        target = self.project.results("cdr-processed", self.results)
        count = 0
        for date in [*RAW_DAYS, *OLD_DAYS]:
            rows, types = rows_of(target, date)
            assert rows == self.wanted(date), date
            assert not rows or types == TYPES
            count += len(rows)
        return count


@pytest.fixture(scope="module", params=SEEDS)
def cdrs(request, binary, environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cdrs")
    shutil.copy(REPOSITORY / "trunkline.yaml", folder)
    for name in ("daily_cdr_etl", "full_crawl", "monthly_report"):
        shutil.copytree(REPOSITORY / "pipelines" / name, folder / "pipelines" / name)
    project = Project(binary, environment, folder)
    yield Cdrs(project, folder, request.param)
    project.stop()


def test_a_full_run_is_every_date_of_both_buckets(cdrs):
    done = cdrs.project.call("run", "full_crawl")
    count = cdrs.check()
    assert count > 300, "both buckets"
    assert cdrs.project.mails()[-1][0] == f"Processing all CDRs complete: {count} rows"
    corrupt = [key for date in RAW_DAYS for key in expected(objects_of_folder(cdrs.raw), date)[1]]
    s3 = cdrs.project.client("s3")
    for key in corrupt:
        assert s3.get_object(Bucket="cdr-processed", Key=f"quarantine/full/{key}")["Body"].read()
        assert key in done.stdout + done.stderr


def test_daily_runs_and_a_second_full_run_change_nothing(cdrs):
    cdrs.project.call("backfill", "daily_cdr_etl", "--from", RAW_DAYS[0], "--to", RAW_DAYS[-1], "--yes")
    cdrs.check()
    cdrs.project.call("run", "full_crawl")
    cdrs.check()
    # From the middle on.
    cdrs.project.call("clear", "full_crawl@latest", "--task", "convert", "--yes")
    cdrs.check()


def test_a_full_run_that_is_killed_is_taken_up(cdrs):
    before = len(cdrs.project.ledger("StartJobRun"))
    child = subprocess.Popen(
        [str(cdrs.project.binary), "run", "full_crawl"], cwd=cdrs.project.folder,
        env=cdrs.project.environment | {"TRUNKLINE_TIME_RATIO": "0.1"}, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    until(lambda: len(cdrs.project.ledger("StartJobRun")) > before, 60, "the job")
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert shown(cdrs.project, "full_crawl@latest")["state"] == "running"
    with serving(cdrs.project):
        until(lambda: shown(cdrs.project, "full_crawl@latest")["state"] == "succeeded", 120, "the run")
    cdrs.check()
    assert len(cdrs.project.ledger("StartJobRun")) == before + 1


def newest_mail(cdrs):
    """Subject and text, with the line breaks of this machine instead of a mail's."""
    subject, body = cdrs.project.mails()[-1]
    return subject, body.replace("\r\n", "\n")


def report(cdrs, month):
    """Calls and seconds by exchange, from the raw files."""
    groups = collections.defaultdict(lambda: [0, 0])
    for date in sorted({*RAW_DAYS, *OLD_DAYS}):
        if date.startswith(month):
            for row in cdrs.wanted(date).values():
                group = groups[row["npanxx"]]
                group[0] += row["duration"]
                group[1] += 1
    return groups


def test_the_report_of_a_month_counts_what_the_raw_files_hold(cdrs):
    cdrs.project.call("run", "monthly_report", "--date", "2026-10")
    subject, body = newest_mail(cdrs)
    wanted = report(cdrs, "2026-10")
    calls, seconds = sum(group[1] for group in wanted.values()), sum(group[0] for group in wanted.values())
    assert subject == f"CDR report 2026-10: {calls} calls"
    exchanges = len([npanxx for npanxx in wanted if npanxx is not None])
    days = len({row["day"] for date in [*RAW_DAYS[:2], *OLD_DAYS] for row in cdrs.wanted(date).values()})
    assert re.search(rf"^October 2026\n *calls +seconds +days +codes\n *{calls} +{seconds} +{days} +{exchanges}$", body, re.M), body
    link = re.search(r"CSV: (\S+)", body)[1]
    assert re.search(r"The link is good until \S+", body)
    with urllib.request.urlopen(link) as answer:
        text = answer.read().decode()
    assert text.startswith('"npanxx","totalduration","callcount"')
    rows = [(row["npanxx"] or None, int(row["totalduration"]), int(row["callcount"])) for row in csv.DictReader(io.StringIO(text))]
    assert sorted(rows, key=str) == sorted(((key, *group) for key, group in wanted.items()), key=str)
    assert [row[1] for row in rows] == sorted((row[1] for row in rows), reverse=True)
    first = [line.split() for line in body.splitlines() if re.match(r"\d{6} +\d+ +\d+$", line)]
    assert first[0] == [str(value) for value in next(row for row in rows if row[0])], "the largest stands first"


def test_a_month_without_calls_is_a_report_without_rows(cdrs):
    cdrs.project.call("run", "monthly_report", "--date", "2026-09")
    subject, body = newest_mail(cdrs)
    assert subject == "CDR report 2026-09: 0 calls" and re.search(r"\n *0 +0 +0 +0\n", body), body


def rows_of_report(cdrs):
    """What the two queries of the newest generation gave, and that it gave it."""
    run = shown(cdrs.project, "monthly_report@2026-10")
    assert run["state"] == "succeeded"
    return {task["task"]: task["outputs"]["rows"] for task in run["tasks"]}


def test_a_report_is_the_same_after_a_backfill_a_clear_and_a_kill(cdrs):
    def backfill(month):
        cdrs.project.call("backfill", "monthly_report", "--from", month, "--to", "2026-10", "--reprocess", "all", "--yes")

    backfill("2026-10")
    once = rows_of_report(cdrs)
    assert once["totals"][0]["calls"] == sum(group[1] for group in report(cdrs, "2026-10").values())
    backfill("2026-08")
    assert rows_of_report(cdrs) == once
    cdrs.project.call("clear", "monthly_report@2026-10", "--task", "report", "--yes")
    assert rows_of_report(cdrs) == once
    starts = len(cdrs.project.ledger("StartQueryExecution"))
    child = subprocess.Popen(
        [str(cdrs.project.binary), "clear", "monthly_report@2026-10", "--yes"], cwd=cdrs.project.folder,
        env=cdrs.project.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    until(lambda: len(cdrs.project.ledger("StartQueryExecution")) > starts, 60, "a query")
    child.send_signal(signal.SIGKILL)
    child.wait()
    with serving(cdrs.project):
        until(lambda: shown(cdrs.project, "monthly_report@2026-10")["state"] == "succeeded", 120, "the run")
    assert rows_of_report(cdrs) == once
    assert len(cdrs.project.ledger("StartQueryExecution")) <= starts + 2, "no query ran twice"


def test_a_date_whose_records_are_gone_disappears_from_the_catalog(cdrs):
    s3, glue = cdrs.project.client("s3"), cdrs.project.client("glue")
    for bucket, folder in (("cdr-raw", cdrs.raw), ("cdr-additional", cdrs.old)):
        for path in [path for path in (folder / PREFIX).rglob("2026/11/01/*") if path.is_file()]:
            s3.delete_object(Bucket=bucket, Key=path.relative_to(folder).as_posix())
            path.unlink()
    cdrs.project.call("run", "full_crawl")
    cdrs.check()
    pages = glue.get_paginator("get_partitions").paginate(DatabaseName="cdrs", TableName="processed_cdrs")
    months = {tuple(found["Values"][1:3]) for page in pages for found in page["Partitions"]}
    assert months == {("2026", "10")}
