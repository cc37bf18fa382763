"""Glue jobs as boto3 sees them: runs of SQL scripts and of Python programs."""

import hashlib
import io
import json
import textwrap

import pyarrow.parquet
import pytest
from botocore.exceptions import ClientError

from conftest import wait_until
from data import LIMIT, cdr, crawl, ended_run, put_json

DAY = 86_400
START = 1_763_510_400  # 2025-11-19 00:00 UTC

SCRIPT = """
SET report = 's3://${bucket}/reports/${date}.json';
SET quarantine = 's3://${bucket}/quarantine/${date}/';
SET on_missing_table = 'empty';
CREATE TEMPORARY VIEW raw (transactionid STRING, billabledurationminutes DOUBLE, destinationphonenumber STRING,
    starttimeepochseconds BIGINT, endtimeepochseconds BIGINT, isproxycall BOOLEAN)
  PARTITIONED BY (partition_0, partition_1, partition_2, partition_3)
  USING glue OPTIONS (database '${database}', table 'calls');
INSERT OVERWRITE DIRECTORY 's3://${bucket}/out/' USING PARQUET PARTITIONED BY (connector, day, hour)
  REPLACE WHERE day = :date
  SELECT transactionid, billabledurationminutes, isproxycall, endtimeepochseconds - starttimeepochseconds AS duration,
    substring(destinationphonenumber, 3, 6) AS npanxx, partition_0 AS connector,
    partition_1 || '-' || partition_2 || '-' || partition_3 AS day, from_unixtime(starttimeepochseconds, 'HH') AS hour
  FROM raw
  WHERE partition_1 = substring(:date, 1, 4) AND partition_2 = substring(:date, 6, 2) AND partition_3 = substring(:date, 9, 2);
WARN SELECT 'no duration: ' || transactionid FROM raw WHERE partition_3 = substring(:date, 9, 2)
  AND starttimeepochseconds = endtimeepochseconds ORDER BY transactionid;
"""


@pytest.fixture
def glue(sandbox):
    return sandbox.client("glue")


@pytest.fixture
def name(request):
    """A name for the test's bucket, job and crawler: readable, and its own for every parameter."""
    text = "".join(c if c.isalnum() else "-" for c in request.node.name.lower())[5:45].strip("-")
    return f"job-{text}-{hashlib.sha256(request.node.name.encode()).hexdigest()[:8]}"


@pytest.fixture
def bucket(s3, name):
    s3.create_bucket(Bucket=name)
    return name


def make_job(s3, glue, name, content, ending=".py", **options):
    """A job whose script lies in the bucket of its name."""
    key = f"scripts/job{ending}"
    s3.put_object(Bucket=name, Key=key, Body=textwrap.dedent(content).encode())
    command = {"Name": "glueetl", "ScriptLocation": f"s3://{name}/{key}", "PythonVersion": "3"}
    glue.create_job(Name=name, Role="r", Command=command, **options)


def run_job(glue, job, **arguments):
    run = glue.start_job_run(JobName=job, Arguments={f"--{key}": value for key, value in arguments.items()})
    return ended_run(glue, job, run["JobRunId"])


def code_of(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return error.value.response["Error"]["Code"]


def put_call(s3, bucket, number, start, connector="vc1", day="2025/11/19", **changes):
    put_json(s3, bucket, f"calls/{connector}/{day}/{number}", cdr(number, start, **changes))


def rows_of(s3, bucket, prefix="out/"):
    """All rows below a prefix, with the values of their folders."""
    rows = []
    for item in s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", []):
        body = s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
        folders = dict(part.split("=") for part in item["Key"].split("/") if "=" in part)
        rows += [{**row, **folders} for row in pyarrow.parquet.read_table(io.BytesIO(body)).to_pylist()]
    return sorted(rows, key=lambda row: row["transactionid"])


def report_of(s3, bucket, date):
    return json.load(s3.get_object(Bucket=bucket, Key=f"reports/{date}.json")["Body"])


@pytest.fixture
def calls(s3, glue, name, bucket):
    """The job of SCRIPT and a crawled table of calls on two days."""
    put_call(s3, bucket, 1, START + 3600)
    put_call(s3, bucket, 2, START + 23 * 3600, connector="vc2", BillableDurationMinutes=0, EndTimeEpochSeconds=START + 23 * 3600)
    put_call(s3, bucket, 3, START + DAY, day="2025/11/20", Extra=1)
    glue.create_crawler(Name=name, Role="r", DatabaseName=name.replace("-", "_"), Targets={"S3Targets": [{"Path": f"s3://{bucket}/calls/"}]})
    crawl(glue, name)
    defaults = {"--bucket": bucket, "--database": name.replace("-", "_"), "--date": "2025-11-19"}
    make_job(s3, glue, name, SCRIPT, ".sql", DefaultArguments=defaults)
    return name


def test_an_sql_job_writes_partitions(s3, glue, calls):
    run = run_job(glue, calls, date="2025-11-19")
    assert run["JobRunState"] == "SUCCEEDED", run.get("ErrorMessage")
    assert run["Arguments"] == {"--date": "2025-11-19"} and run["ExecutionTime"] >= 1
    assert rows_of(s3, calls) == [
        {"transactionid": "t1", "billabledurationminutes": 1.1, "isproxycall": None, "duration": 63,
         "npanxx": "555555", "connector": "vc1", "day": "2025-11-19", "hour": "01"},
        {"transactionid": "t2", "billabledurationminutes": 0.0, "isproxycall": None, "duration": 0,
         "npanxx": "555555", "connector": "vc2", "day": "2025-11-19", "hour": "23"},
    ]
    assert report_of(s3, calls, "2025-11-19") == {
        "outputs": {"rows": 2, "files": 2, "partitions": 2, "quarantined": 0, "input_files": 2, "input_rows": 2},
        "warnings": ["no duration: t2"],
    }


def test_running_again_replaces_the_date_and_nothing_else(s3, glue, calls):
    for date in ("2025-11-19", "2025-11-20", "2025-11-19"):
        assert run_job(glue, calls, date=date)["JobRunState"] == "SUCCEEDED"
    assert [row["transactionid"] for row in rows_of(s3, calls)] == ["t1", "t2", "t3"]
    # Fewer hours than before, and a late file in a known folder.
    s3.delete_object(Bucket=calls, Key="calls/vc2/2025/11/19/2")
    put_call(s3, calls, 4, START + 3700)
    assert run_job(glue, calls)["JobRunState"] == "SUCCEEDED"
    assert [(row["transactionid"], row["hour"]) for row in rows_of(s3, calls)] == [("t1", "01"), ("t3", "00"), ("t4", "01")]


def test_a_day_without_files_succeeds_with_warnings(s3, glue, calls):
    assert run_job(glue, calls, date="2025-11-25")["JobRunState"] == "SUCCEEDED"
    report = report_of(s3, calls, "2025-11-25")
    assert report["outputs"]["rows"] == 0
    database = calls.replace("-", "_")
    assert report["warnings"] == [
        f"no rows to write to s3://{calls}/out/",
        f"no input objects: {database}.calls has no partition or object that matches",
    ]
    # Before the first crawl there is no table at all.
    assert run_job(glue, calls, date="2025-11-26", database="nowhere")["JobRunState"] == "SUCCEEDED"
    assert "table nowhere.calls is not in the catalog; read as empty" in report_of(s3, calls, "2025-11-26")["warnings"]


def test_corrupt_files_are_quarantined(s3, glue, calls):
    corrupt = b'{"TransactionId": "t9", "AwsAcc'
    s3.put_object(Bucket=calls, Key="calls/vc1/2025/11/19/corrupt", Body=corrupt)
    s3.put_object(Bucket=calls, Key="calls/vc1/2025/11/19/_ignored", Body=b"x")
    s3.put_object(Bucket=calls, Key="calls/vc1/2025/11/19/empty", Body=b"")
    assert run_job(glue, calls)["JobRunState"] == "SUCCEEDED"
    report = report_of(s3, calls, "2025-11-19")
    assert report["outputs"]["quarantined"] == 1 and report["outputs"]["rows"] == 2
    assert report["warnings"][0].startswith(f"quarantined s3://{calls}/calls/vc1/2025/11/19/corrupt: EOF")
    copy = s3.get_object(Bucket=calls, Key="quarantine/2025-11-19/calls/vc1/2025/11/19/corrupt")
    assert copy["Body"].read() == corrupt


@pytest.mark.parametrize(
    "script, message",
    [
        ("SELECT 1;", "ParseException: line 1: a script's statements are"),
        ("\n\nSET report = 's3://b/${nothing}';", "AnalysisException: line 3: the run has no argument --nothing"),
        ("CREATE TEMPORARY VIEW v AS SELECT x FROM db.absent;", "AnalysisException: line 1: Table or view not found: db.absent"),
        ("CREATE TEMPORARY VIEW v AS SELECT absent FROM (SELECT 1 AS a) t;", "AnalysisException: line 1: "),
        ("INSERT OVERWRITE DIRECTORY 's3://${bucket}/o/' USING PARQUET PARTITIONED BY (d) REPLACE WHERE d = '1' SELECT 1 AS a, '2' AS d;",
         "SparkRuntimeException: line 1: the result has rows for d=2"),
        ("INSERT OVERWRITE DIRECTORY 's3://absent-bucket/o/' USING PARQUET SELECT 1 AS a;", "The specified bucket does not exist"),
        ("INSERT OVERWRITE DIRECTORY 's3://${bucket}/' USING PARQUET SELECT 1 AS a;", "replacing a whole bucket"),
    ],
)
def test_broken_scripts_fail_with_their_line(s3, glue, name, bucket, script, message):
    make_job(s3, glue, name, script, ".sql", DefaultArguments={"--bucket": bucket})
    run = run_job(glue, name)
    assert run["JobRunState"] == "FAILED"
    assert message in run["ErrorMessage"]


def test_a_python_job_gets_arguments_and_the_endpoint(s3, glue, name, bucket):
    make_job(
        s3, glue, name,
        """
        import argparse, json, os, sys
        parser = argparse.ArgumentParser()
        for option in ("--JOB_NAME", "--JOB_RUN_ID", "--bucket", "--date"):
            parser.add_argument(option)
        options, _ = parser.parse_known_args()
        with open("seen.json", "w") as file:
            json.dump({**vars(options), "endpoint": os.environ["AWS_ENDPOINT_URL"]}, file)
        print(open("seen.json").read())
        """,
        DefaultArguments={"--bucket": bucket, "--date": "default"},
    )
    run = run_job(glue, name, date="2025-11-19")
    assert run["JobRunState"] == "SUCCEEDED", run.get("ErrorMessage")


def test_a_failing_program_gives_its_error(sandbox, s3, glue, name, bucket):
    make_job(s3, glue, name, "print('before')\nraise ValueError(\"Column 'partition_2' does not exist\")\n")
    run = run_job(glue, name)
    assert run["JobRunState"] == "FAILED"
    assert run["ErrorMessage"] == "ValueError: Column 'partition_2' does not exist"
    logs = sandbox.root / "glue" / "logs" / run["Id"]
    assert (logs / "stdout.log").read_text().startswith("before\n")
    assert "Traceback" in (logs / "stderr.log").read_text()


def test_a_missing_script_fails_the_run(glue, name, s3, bucket):
    glue.create_job(Name=name, Role="r", Command={"Name": "glueetl", "ScriptLocation": f"s3://{bucket}/absent.py"})
    assert run_job(glue, name)["ErrorMessage"].startswith("LAUNCH ERROR | File not found")


SLEEPER = "import pathlib, subprocess, time\nsubprocess.Popen(['sleep', '3611'])\npathlib.Path('up').touch()\ntime.sleep(3600)\n"


def up(sandbox, run):
    """Waits until the program of SLEEPER runs."""
    wait_until((sandbox.root / "glue" / "work" / run / "up").exists, LIMIT, "the program")


def test_concurrency_and_stopping(sandbox, s3, glue, name, bucket):
    make_job(s3, glue, name, SLEEPER, ExecutionProperty={"MaxConcurrentRuns": 2})
    first = glue.start_job_run(JobName=name, Arguments={"--trunkline-attempt": "a-1"})["JobRunId"]
    second = glue.start_job_run(JobName=name)["JobRunId"]
    assert code_of(glue.start_job_run, JobName=name) == "ConcurrentRunsExceededException"
    up(sandbox, first)
    assert glue.get_job_run(JobName=name, RunId=first)["JobRun"]["JobRunState"] == "RUNNING"
    answer = glue.batch_stop_job_run(JobName=name, JobRunIds=[first, second, "jr_absent"])
    assert [done["JobRunId"] for done in answer["SuccessfulSubmissions"]] == [first, second]
    assert [error["JobRunId"] for error in answer["Errors"]] == ["jr_absent"]
    assert {ended_run(glue, name, run)["JobRunState"] for run in (first, second)} == {"STOPPED"}
    again = glue.batch_stop_job_run(JobName=name, JobRunIds=[first])
    assert not again["SuccessfulSubmissions"] and len(again["Errors"]) == 1
    runs = glue.get_job_runs(JobName=name)["JobRuns"]
    assert [run["Id"] for run in runs] == [second, first]
    assert runs[1]["Arguments"] == {"--trunkline-attempt": "a-1"}
    pages = [page["JobRuns"] for page in glue.get_paginator("get_job_runs").paginate(JobName=name, PaginationConfig={"PageSize": 1})]
    assert [len(page) for page in pages] == [1, 1]
    starts = sandbox.ledger(service="glue", subject=name)
    assert [(start["id"], start["marker"]) for start in starts] == [(first, "a-1"), (second, None)]


def test_timeout(own_sandbox):
    sandbox = own_sandbox("--time-scale", "0.01")
    s3, glue = sandbox.client("s3"), sandbox.client("glue")
    s3.create_bucket(Bucket="slow")
    make_job(s3, glue, "slow", SLEEPER)
    run = glue.start_job_run(JobName="slow", Timeout=1)["JobRunId"]
    assert ended_run(glue, "slow", run)["JobRunState"] == "TIMEOUT"


def test_glue_retries_by_itself(s3, glue, name, bucket):
    make_job(s3, glue, name, "raise SystemExit(3)", MaxRetries=1)
    first = run_job(glue, name, date="d")
    assert first["JobRunState"] == "FAILED" and first["ErrorMessage"] == "Command failed with exit code 3"
    runs = wait_until(lambda: (r := glue.get_job_runs(JobName=name)["JobRuns"]) and len(r) == 2 and r, LIMIT, "the retry")
    retry = ended_run(glue, name, runs[0]["Id"])
    assert (retry["Attempt"], retry["PreviousRunId"], retry["Arguments"]) == (1, first["Id"], {"--date": "d"})
    assert len(glue.get_job_runs(JobName=name)["JobRuns"]) == 2


def test_sizes(s3, glue, name, bucket):
    make_job(s3, glue, name, "", WorkerType="G.2X", NumberOfWorkers=3, ExecutionProperty={"MaxConcurrentRuns": 9})
    run = glue.start_job_run(JobName=name, NumberOfWorkers=5)["JobRunId"]
    found = ended_run(glue, name, run)
    assert (found["MaxCapacity"], found["NumberOfWorkers"], found["WorkerType"]) == (10.0, 5, "G.2X")
    assert found["DPUSeconds"] == found["MaxCapacity"] * found["ExecutionTime"]
    refused = {"JobName": name, "MaxCapacity": 2.0, "WorkerType": "G.1X", "NumberOfWorkers": 2}
    assert code_of(glue.start_job_run, **refused) == "InvalidInputException"
    assert code_of(glue.start_job_run, JobName="absent") == "EntityNotFoundException"
    assert code_of(glue.get_job_run, JobName=name, RunId="jr_absent") == "EntityNotFoundException"


def test_reading_and_changing_jobs(s3, glue, name, bucket):
    make_job(s3, glue, name, "", Timeout=60)
    command = {"Name": "pythonshell", "ScriptLocation": "s3://b/s.py"}
    assert code_of(glue.create_job, Name=name, Role="r", Command=command) == "AlreadyExistsException"
    assert glue.get_job(JobName=name)["Job"]["Timeout"] == 60
    glue.update_job(JobName=name, JobUpdate={"Role": "r2", "Command": command, "MaxRetries": 2})
    job = glue.get_job(JobName=name)["Job"]
    assert (job["Role"], job["MaxRetries"], job["Command"]["Name"]) == ("r2", 2, "pythonshell")
    assert name in glue.list_jobs()["JobNames"]
    assert any(job["Name"] == name for job in glue.get_jobs()["Jobs"])
    batch = glue.batch_get_jobs(JobNames=[name, "absent"])
    assert len(batch["Jobs"]) == 1 and batch["JobsNotFound"] == ["absent"]
    glue.delete_job(JobName=name)
    assert code_of(glue.get_job, JobName=name) == "EntityNotFoundException"


def test_a_run_goes_on_after_a_kill(own_sandbox):
    """A killed sandbox runs the job again under the same id; what the old program started is ended first."""
    sandbox = own_sandbox()
    s3, glue = sandbox.client("s3"), sandbox.client("glue")
    s3.create_bucket(Bucket="killed")
    script = """
        import pathlib, time
        times = pathlib.Path("times")
        times.write_text(times.read_text() + "x" if times.exists() else "x")
        pathlib.Path("up").touch()
        while len(times.read_text()) < 2:
            time.sleep(0.05)
    """
    make_job(s3, glue, "killed", script)
    run = glue.start_job_run(JobName="killed")["JobRunId"]
    up(sandbox, run)
    sandbox.restart()
    glue = sandbox.client("glue")
    assert ended_run(glue, "killed", run)["JobRunState"] == "SUCCEEDED"
    assert [found["Id"] for found in glue.get_job_runs(JobName="killed")["JobRuns"]] == [run]
    assert len(sandbox.ledger(service="glue", operation="StartJobRun")) == 1


def test_faults_of_lists_and_states(own_sandbox):
    sandbox = own_sandbox()
    # The point is a state that the model does not know, so answers are not checked against it.
    s3, glue = sandbox.client("s3"), sandbox.client("glue", check=False)
    s3.create_bucket(Bucket="faulty")
    make_job(s3, glue, "faulty", "")
    run = run_job(glue, "faulty")["Id"]
    sandbox.faults(
        {"service": "glue", "operation": "GetJobRuns", "kind": "list_lag", "lag_ms": 3_600_000},
        {"service": "glue", "operation": "GetJobRun", "kind": "unknown_state", "state": "PONDERING", "times": 1},
    )
    assert glue.get_job_runs(JobName="faulty")["JobRuns"] == []
    assert glue.get_job_run(JobName="faulty", RunId=run)["JobRun"]["JobRunState"] == "PONDERING"
    assert glue.get_job_run(JobName="faulty", RunId=run)["JobRun"]["JobRunState"] == "SUCCEEDED"
