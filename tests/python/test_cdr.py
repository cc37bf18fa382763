"""The daily CDR pipeline from the command line to the Parquet file, on generated records with
every quirk. Expected rows are computed from the raw files (expected.py)."""

import os
import shutil

import pytest

from expected import TYPES, expected, objects_of_folder
from parquet import files_of, rows_of

CDRS = int(os.environ.get("TRUNKLINE_TEST_CDRS", "3000"))
DAYS = ["2026-11-17", "2026-11-18", "2026-11-19"]
EMPTY_DAY = "2026-11-10"
CONNECTOR = "abcd1efgh2ijkl3mnop4qr"
GENERATE = ["generate", "cdr", "--seed", 7, "--count", CDRS, "--from", DAYS[0], "--days", 3, "--out"]


@pytest.fixture(scope="module")
def raw(project, tmp_path_factory):
    """The generated records as files: what the expectation is computed from, kept in step
    with what tests change in the bucket."""
    folder = tmp_path_factory.mktemp("raw")
    project.call(*GENERATE, folder)
    return folder


@pytest.fixture(scope="module")
def converted(project, raw):
    """The project once the three days have run."""
    assert raw.is_dir()
    # Attempts that must fail in these tests are not to be repeated minutes later.
    project.edit("pipelines/daily_cdr_etl/pipeline.yaml", "retries: 2", "retries: 0")
    project.call(*GENERATE, "s3://cdr-raw")
    for date in DAYS:
        project.run(date)
    return project


def check(project, raw, date, folder):
    """Compares one date in the bucket with what the raw files demand."""
    shutil.rmtree(folder / "processed_cdrs", ignore_errors=True)
    rows, types = rows_of(project.results("cdr-processed", folder), date)
    wanted, _ = expected(objects_of_folder(raw), date)
    assert len(rows) == len(wanted)
    assert rows == wanted
    assert not wanted or types == TYPES
    return rows


@pytest.mark.parametrize("date", DAYS)
def test_the_rows_are_exactly_those_of_the_raw_files(converted, raw, date, tmp_path):
    rows = check(converted, raw, date, tmp_path)
    assert len(rows) >= CDRS // 3 - 30


def test_the_same_seed_is_what_the_bucket_holds(converted, raw):
    some = sorted(path for path in raw.rglob("*") if path.is_file())[:: max(1, CDRS // 50)]
    s3 = converted.client("s3")
    for path in some:
        key = path.relative_to(raw).as_posix()
        assert s3.get_object(Bucket="cdr-raw", Key=key)["Body"].read() == path.read_bytes()


def test_the_catalog_knows_both_tables(converted):
    glue = converted.client("glue")
    raw, processed = (
        glue.get_table(DatabaseName="cdrs", Name=name)["Table"]
        for name in ("amazon_chime_voice_connector_cdrs", "processed_cdrs")
    )
    assert [key["Name"] for key in raw["PartitionKeys"]] == [f"partition_{at}" for at in range(5)]
    keys = [key["Name"] for key in processed["PartitionKeys"]]
    assert keys == ["voiceconnectorid", "year", "month", "day", "hour"]
    pages = glue.get_paginator("get_partitions").paginate(
        DatabaseName="cdrs", TableName="processed_cdrs", Expression="day = '19'"
    )
    hours = {tuple(found["Values"]) for page in pages for found in page["Partitions"]}
    assert (CONNECTOR, "2026", "11", "19", "23") in hours


def test_a_second_run_of_a_date_is_refused_and_clear_is_offered(converted):
    done = converted.call("run", "daily_cdr_etl", "--date", DAYS[0], code=2)
    assert f"trunkline clear daily_cdr_etl@{DAYS[0]}" in done.stderr


def test_clear_and_run_leaves_the_same_rows(converted, raw, tmp_path):
    before = check(converted, raw, DAYS[2], tmp_path)
    starts = len(converted.ledger("StartJobRun"))
    converted.clear(DAYS[2])
    assert check(converted, raw, DAYS[2], tmp_path) == before
    assert len(converted.ledger("StartJobRun")) == starts + 1


def test_a_late_file_is_picked_up_by_clearing(converted, raw, tmp_path):
    """One in a folder that the crawler knows already, one of a connector it never saw."""
    base = raw / "Amazon-Chime-Voice-Connector-CDRs" / "json"
    known = base / CONNECTOR / DAYS[1].replace("-", "/")
    wanted, _ = expected(objects_of_folder(raw), DAYS[1])
    source = next(path for path in sorted(known.iterdir()) if path.name.split("_", 1)[1] in wanted)
    text = source.read_text()
    for number, connector in enumerate([CONNECTOR, "late0late1late2late3la"]):
        transaction = f"00000000-0000-4000-8000-00000000000{number}"
        late = base / connector / DAYS[1].replace("-", "/") / f"{source.name.split('_', 1)[0]}_{transaction}"
        late.parent.mkdir(parents=True, exist_ok=True)
        late.write_text(text.replace(source.name.split("_", 1)[1], transaction).replace(CONNECTOR, connector))
        key = late.relative_to(raw).as_posix()
        converted.client("s3").put_object(Bucket="cdr-raw", Key=key, Body=late.read_bytes())
    converted.clear(DAYS[1])
    rows = check(converted, raw, DAYS[1], tmp_path)
    assert len(rows) == len(wanted) + 2


def test_an_hour_that_lost_its_files_disappears(converted, raw, tmp_path):
    s3 = converted.client("s3")
    folder = raw / "Amazon-Chime-Voice-Connector-CDRs" / "json" / CONNECTOR / DAYS[1].replace("-", "/")
    gone = [path for path in folder.iterdir() if path.name.startswith("23.")]
    assert gone
    for path in gone:
        s3.delete_object(Bucket="cdr-raw", Key=path.relative_to(raw).as_posix())
        path.unlink()
    converted.clear(DAYS[1])
    check(converted, raw, DAYS[1], tmp_path)
    hours = files_of(tmp_path / "processed_cdrs", DAYS[1])
    assert f"voiceconnectorid={CONNECTOR}/year=2026/month=11/day=18/hour=23" not in hours


def test_a_corrupt_file_is_quarantined_counted_and_named(converted, raw):
    corrupt = {date: expected(objects_of_folder(raw), date)[1] for date in DAYS}
    assert any(corrupt.values())
    s3 = converted.client("s3")
    bodies = [body for subject, body in converted.mails() if "complete" in subject]
    for date, keys in corrupt.items():
        for key in keys:
            copy = s3.get_object(Bucket="cdr-processed", Key=f"quarantine/{date}/{key}")["Body"].read()
            assert copy == (raw / key).read_bytes()
        shown = converted.call("show", f"daily_cdr_etl@{date}", "--json").stdout
        assert all(f"quarantined s3://cdr-raw/{key}: " in shown for key in keys)
        assert not keys or any(keys[0] in body for body in bodies), "the mail names it too"


def test_a_day_without_files_succeeds_with_a_warning(converted):
    done = converted.run(EMPTY_DAY)
    assert "no input objects" in done.stdout + done.stderr


def test_success_is_announced_once_per_run(converted):
    subjects = [subject for subject, _ in converted.mails()]
    assert subjects.count(f"Processing CDRs complete: {DAYS[0]}") == 1
    assert subjects.count(f"Processing CDRs complete: {DAYS[2]}") == 2  # run, and cleared


def test_a_failed_job_is_announced_as_failed_and_can_be_cleared(converted, raw, tmp_path):
    """The ETL of the system that this pipeline replaces announced its failures as complete."""
    date = "2026-11-14"
    before = len(converted.mails())
    sql = "pipelines/daily_cdr_etl/sql/cdr_etl.sql"
    converted.edit(sql, "  statusmessage,\n  billabled", "  no_such_column,\n  billabled")
    try:
        converted.run(date, code=1)
    finally:
        converted.edit(sql, "no_such_column", "statusmessage")
    mails = converted.mails()[before:]
    assert len(mails) == 1, mails
    subject, body = mails[0]
    assert "FAILED daily_cdr_etl 2026-11-14: convert" in subject
    assert "no_such_column" in body, "the mail carries the job's own error"
    assert "crawl_processed" in body, "and what was not run"
    assert f"trunkline clear daily_cdr_etl@{date} --failed" in body
    assert len(body.rstrip().splitlines()) <= 25
    converted.clear(date, "--failed")
    assert converted.mails()[-1][0] == f"Processing CDRs complete: {date}"


def test_no_job_was_started_that_nobody_asked_for(converted):
    """The ledger of the sandbox, the oracle of every duplicate check: each accepted start has
    a marker of its own."""
    markers = [entry["marker"] for entry in converted.ledger("StartJobRun")]
    assert len(markers) == len(set(markers))
    assert all(markers)
