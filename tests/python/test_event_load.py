"""Events and clicks in Redshift: against a computation in plain Python over the objects that were generated."""

import datetime
import json
import os
import shutil
import signal
import subprocess

import pytest

from conftest import REPOSITORY
from project import Project
from test_operate import serving, shown
from waiting import until

# Any other seed does as well: TRUNKLINE_TEST_SEED=77 scripts/test
SEEDS = [int(seed) for seed in os.environ.get("TRUNKLINE_TEST_SEED", "1,7,2026").split(",")]
HOURS = [f"2026-11-20T{hour:02}" for hour in range(20, 24)] + ["2026-11-21T00"]
LIMITS = {
    "event": {"request_id": 36, "request_timestamp": None, "cookie_id": 36, "topic": 1024, "message": 3128, "environment": 30,
              "website_id": 36, "user_account_id": 36, "location": 5000, "user_agent": 1024, "referrer": 500},
    "utm": {"request_id": 56} | dict.fromkeys(
        "source medium campaign content term matchtype network ad_id ad_pos placement placement_category testgroup device"
        .split(), 255),
}
NEEDED = {"event": ["request_id", "request_timestamp", "cookie_id", "topic"], "utm": ["request_id", "source", "medium"]}


def records(folder, stream, hour):
    """The records of an hour: objects in the order of their names, JSON back to back."""
    decoder = json.JSONDecoder()
    for path in sorted(folder.glob(f"{stream}/{hour.replace('-', '/').replace('T', '/')}/*")):
        text, at = path.read_text(), 0
        while at < len(text):
            record, at = decoder.raw_decode(text, at)
            yield record


def reasons(stream, record):
    found = [f"{name} is missing" for name in NEEDED[stream] if record.get(name) is None]
    for name, limit in LIMITS[stream].items():
        if limit and len((record.get(name) or "").encode()) > limit:
            found.append(f"{name} has more than {limit} bytes")
    if stream == "event" and record.get("request_timestamp") is not None:
        try:
            datetime.datetime.fromisoformat(record["request_timestamp"])
        except ValueError:
            found.append("request_timestamp is no time")
    return sorted(found)


class Events:
    """A project with the pipeline, and the objects as files beside it."""

    def __init__(self, project, folder, seed):
        self.project, self.raw, self.seed = project, folder / "raw", seed
        self.generate(seed, HOURS[0], len(HOURS))

    def generate(self, seed, hour, hours, count=60):
        for out in (self.raw, "s3://user-events"):
            self.project.call("generate", "events", "--seed", seed, "--count", count, "--from", f"{hour}:00:00Z", "--hours", hours,
                              "--out", out)

    def select(self, sql):
        redshift = self.project.client("redshift-data")
        id = redshift.execute_statement(Sql=sql, WorkgroupName="web-analytics", Database="events", WaitTimeSeconds=30)["Id"]
        pages = redshift.get_paginator("get_statement_result").paginate(Id=id)
        return [[None if field.get("isNull") else next(iter(field.values())) for field in row]
                for page in pages for row in page["Records"]]

    def check(self, hours):
        """Both tables and what was kept out of them, of these hours and no others."""
        count = 0
        for stream, table in (("event", "events"), ("utm", "utm")):
            wanted, rejected = [], []
            for hour in hours:
                stamp = f"{hour.replace('T', ' ')}:00:00"
                for record in records(self.raw, stream, hour):
                    found = reasons(stream, record)
                    if found:
                        rejected.append([stamp, stream, found, record.get("request_id")])
                        continue
                    row = [record.get(name) for name in LIMITS[stream]]
                    if stream == "event":
                        row[1] = datetime.datetime.fromisoformat(row[1])
                    wanted.append([stamp, *row])
            got = self.select(f"SELECT * FROM {table}")
            if stream == "event":
                for row in got:
                    row[2] = datetime.datetime.fromisoformat(row[2])
            assert sorted(got, key=repr) == sorted(wanted, key=repr)
            kept = self.select(f"SELECT partition_hour, stream, reason, request_id FROM rejected_record WHERE stream = '{stream}'")
            for row in kept:
                row[2] = sorted(filter(None, row[2].split("; ")))
            assert sorted(kept, key=repr) == sorted(rejected, key=repr)
            assert rejected or not wanted
            count += len(wanted)
        return count


@pytest.fixture(scope="module", params=SEEDS)
def events(request, binary, environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("events")
    shutil.copy(REPOSITORY / "trunkline.yaml", folder)
    shutil.copytree(REPOSITORY / "pipelines" / "event_load", folder / "pipelines" / "event_load")
    project = Project(binary, environment, folder)
    yield Events(project, folder, request.param)
    project.stop()


def test_each_hour_is_there_once_whatever_runs_again(events):
    call = events.project.call
    call("run", "event_load", "--date", HOURS[0])
    assert events.check(HOURS[:1]) > 50
    call("clear", f"event_load@{HOURS[0]}:00:00Z", "--yes")
    events.check(HOURS[:1])
    # The rest, over midnight, one hour of it empty, and the first one again.
    call("backfill", "event_load", "--from", HOURS[0], "--to", HOURS[-1], "--reprocess", "all", "--yes")
    events.check(HOURS)
    empty = shown(events.project, f"event_load@{HOURS[3]}:00:00Z")
    assert {row["task"]: row["state"] for row in empty["tasks"]}["load_events"] == "skipped"
    assert "there is nothing below s3://user-events/event/2026/11/20/23/" in json.dumps(empty)
    # An object that came late.
    events.generate(events.seed + 1, HOURS[1], 1)
    call("clear", f"event_load@{HOURS[1]}:00:00Z", "--yes")
    events.check(HOURS)


def test_a_load_that_is_killed_in_the_middle_is_there_once(events):
    hour = "2026-11-19T08"
    events.generate(events.seed, hour, 1)
    starts = len(events.project.ledger("BatchExecuteStatement"))
    child = subprocess.Popen([str(events.project.binary), "run", "event_load", "--date", hour], cwd=events.project.folder,
                             env=events.project.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    # The tables come first.
    until(lambda: len(events.project.ledger("BatchExecuteStatement")) > starts + 1, 60, "a load to start")
    child.send_signal(signal.SIGKILL)
    child.wait()
    with serving(events.project):
        until(lambda: shown(events.project, f"event_load@{hour}:00:00Z")["state"] == "succeeded", 180, "the run")
    events.check([*HOURS, hour])
