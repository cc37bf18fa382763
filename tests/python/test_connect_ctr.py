"""Contact trace records in Redshift: against a computation in plain Python over the objects that were generated."""

import datetime
import json
import os
import shutil
import signal
import subprocess

import pytest

import contacts_expected
from conftest import REPOSITORY
from project import Project
from test_operate import serving, shown
from waiting import until

# Any other seed does as well: TRUNKLINE_TEST_SEED=77 scripts/test
SEEDS = [int(seed) for seed in os.environ.get("TRUNKLINE_TEST_SEED", "1,7,2026").split(",")]
REASONS = {"it is cut off": "truncated", "it is no JSON": "not_json", "column contactid": "no_contact_id"}


class Contacts:
    """A project with the pipeline, and its objects as files beside it."""

    def __init__(self, project, folder, seed):
        self.project, self.raw, self.seed = project, folder / "raw", seed
        self.s3 = project.client("s3")

    def generate(self, hour, hours=1, seed=None):
        """Objects as files; they are not in S3 yet."""
        before = set(self.raw.rglob("*"))
        self.project.call("generate", "contacts", "--seed", seed or self.seed, "--count", 60, "--from", f"{hour}:00:00Z", "--hours", hours,
                          "--out", self.raw)
        return sorted(path for path in self.raw.rglob("*") if path.is_file() and path not in before)

    def put(self, paths):
        for path in paths:
            self.s3.put_object(Bucket="contact-records", Key=path.relative_to(self.raw).as_posix(), Body=path.read_bytes())

    def select(self, sql):
        redshift = self.project.client("redshift-data")
        id = redshift.execute_statement(Sql=sql, WorkgroupName="contact-center", Database="contacts", WaitTimeSeconds=30)["Id"]
        pages = redshift.get_paginator("get_statement_result").paginate(Id=id)
        return [tuple(None if field.get("isNull") else next(iter(field.values())) for field in row)
                for page in pages for row in page["Records"]]

    def check(self):
        """All four tables, and what was kept aside by whichever run."""
        tables, rejected = contacts_expected.expected(self.raw)
        for table, columns in contacts_expected.COLUMNS.items():
            got = self.select(f"SELECT {', '.join(columns)} FROM {table}")
            times = [at for at, name in enumerate(columns) if name.endswith("timestamp")]
            got = [tuple(moment(value) if at in times else value for at, value in enumerate(row)) for row in got]
            assert sorted(got, key=repr) == sorted(tables[table], key=repr), table
        # Runs over the same objects keep the same records aside.
        aside = set()
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket="contact-staging", Prefix="rejected/"):
            for found in page.get("Contents", []):
                if not found["Key"].endswith("_transform.json"):
                    body = self.s3.get_object(Bucket="contact-staging", Key=found["Key"])["Body"].read().decode()
                    aside |= {(one["file"].removeprefix("s3://contact-records/"), one["record"], reason(one["reason"]))
                              for one in map(json.loads, body.splitlines())}
        assert sorted((file, why) for file, _, why in aside) == rejected
        assert rejected and tables["ctrrecord"]
        return len(tables["ctrrecord"])


def moment(text):
    if text is None:
        return None
    found = datetime.datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=datetime.timezone.utc)


def reason(text):
    return next(word for begin, word in REASONS.items() if text.startswith(begin))


@pytest.fixture(scope="module", params=SEEDS)
def contacts(request, binary, environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("contacts")
    shutil.copy(REPOSITORY / "trunkline.yaml", folder)
    shutil.copytree(REPOSITORY / "pipelines" / "connect_ctr", folder / "pipelines" / "connect_ctr")
    project = Project(binary, environment, folder)
    # Nobody waits half a minute for more objects here.
    project.edit("pipelines/connect_ctr/pipeline.yaml", "window: 30s", "window: 2s")
    # The sandbox is provisioned by the first command that needs it.
    project.call("run", "connect_ctr")
    yield Contacts(project, folder, request.param)
    project.stop()


def loaded(contacts):
    """How many objects runs have taken from the queue, and whether all of them have ended well."""
    runs = json.loads(contacts.project.call("runs", "connect_ctr", "--json").stdout)
    shows = [shown(contacts.project, run["run"]) for run in runs]
    assert not [show for show in shows if show["state"] == "failed"], shows
    return sum(len((show.get("told") or {}).get("objects") or []) for show in shows if show["state"] == "succeeded")


def test_objects_that_come_are_loaded_once_whatever_their_order(contacts):
    paths = contacts.generate("2026-11-20T22", 2)
    # The newer hour first, some of its objects twice.
    with serving(contacts.project):
        contacts.put(reversed(paths))
        until(lambda: loaded(contacts) == len(paths), 180, "all objects to be loaded")
        contacts.put(paths[:5])
        until(lambda: loaded(contacts) == len(paths) + 5, 180, "the same objects again")
    assert contacts.check() > 100


def test_a_prefix_is_loaded_by_the_same_path_and_again(contacts):
    contacts.put(contacts.generate("2026-11-21T08"))
    contacts.project.call("run", "connect_ctr", "--param", "prefix=connect/ctr/2026/11/21/")
    count = contacts.check()
    contacts.project.call("run", "connect_ctr", "--param", "prefix=connect/ctr/2026/11/20/")
    contacts.project.call("clear", "connect_ctr@latest", "--yes")
    assert contacts.check() == count
    contacts.project.call("clear", "connect_ctr@latest", "--task", "load", "--yes")
    assert contacts.check() == count
    # Everything, older and newer together.
    contacts.project.call("run", "connect_ctr")
    assert contacts.check() == count


def test_a_load_that_is_killed_in_the_middle_is_there_once(contacts):
    contacts.put(contacts.generate("2026-11-21T09"))
    starts = len(contacts.project.ledger("BatchExecuteStatement"))
    child = subprocess.Popen([str(contacts.project.binary), "run", "connect_ctr", "--param", "prefix=connect/ctr/2026/11/21/09/"],
                             cwd=contacts.project.folder, env=contacts.project.environment, stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    # The tables come first.
    until(lambda: len(contacts.project.ledger("BatchExecuteStatement")) > starts + 1, 60, "the load to start")
    child.send_signal(signal.SIGKILL)
    child.wait()
    with serving(contacts.project):
        until(lambda: shown(contacts.project, "connect_ctr@latest")["state"] == "succeeded", 180, "the run")
    contacts.check()
