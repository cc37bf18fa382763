"""EMR Serverless as boto3 sees it: Spark jobs as Python programs."""

import datetime

import pytest
from botocore.exceptions import ClientError

from conftest import wait_until

ROLE = "arn:aws:iam::000000000000:role/spark"


@pytest.fixture
def emr(sandbox):
    return sandbox.client("emr-serverless")


def create(emr, name="spark"):
    return emr.create_application(name=name, releaseLabel="emr-7.9.0", type="SPARK", clientToken=name)["applicationId"]


@pytest.fixture
def start(emr, s3, bucket):
    """Starts a job with this source."""
    application = create(emr)

    def begin(source, token, arguments=(), **more):
        s3.put_object(Bucket=bucket, Key="jobs/etl.py", Body=source.encode())
        spark = {"entryPoint": f"s3://{bucket}/jobs/etl.py", "entryPointArguments": list(arguments)}
        answer = emr.start_job_run(
            applicationId=application, clientToken=token, executionRoleArn=ROLE,
            jobDriver={"sparkSubmit": spark}, **more,
        )
        return application, answer["jobRunId"]

    return begin


def ended(emr, application, run):
    def end():
        found = emr.get_job_run(applicationId=application, jobRunId=run)["jobRun"]
        return found["state"] in ("SUCCESS", "FAILED", "CANCELLED") and found

    return wait_until(end, 60, "the job to end")


def code_of(act):
    with pytest.raises(ClientError) as error:
        act()
    return error.value.response["Error"]["Code"]


def test_a_script_runs_with_its_arguments(sandbox, emr, start):
    logging = {"enabled": True, "logGroupName": "/spark", "logStreamNamePrefix": "p"}
    overrides = {"monitoringConfiguration": {"cloudWatchLoggingConfiguration": logging}}
    application, run = start(
        "import os, sys; print(sys.argv[1:], os.environ['AWS_ENDPOINT_URL'])", "t-1", ["--day", "19"],
        configurationOverrides=overrides, name="a-run",
    )
    found = ended(emr, application, run)
    assert found["state"] == "SUCCESS" and found["name"] == "a-run"
    assert found["totalExecutionDurationSeconds"] >= 1
    assert found["billedResourceUtilization"]["vCPUHour"] >= found["totalResourceUtilization"]["vCPUHour"] > 0
    stream = f"p/applications/{application}/jobs/{run}/SPARK_DRIVER/stdout"
    events = sandbox.client("logs").get_log_events(logGroupName="/spark", logStreamName=stream)["events"]
    assert [event["message"] for event in events] == [f"['--day', '19'] {sandbox.endpoint}"]
    (line,) = [line for line in sandbox.ledger(service="emr-serverless") if line["id"] == run]
    assert (line["operation"], line["marker"], line["subject"]) == ("StartJobRun", "t-1", "spark")


def test_a_failure_is_told_in_the_details(emr, start):
    application, run = start("raise ValueError('no rows for 19')", "t-2")
    found = ended(emr, application, run)
    assert found["state"] == "FAILED"
    assert "ExitCode: 1" in found["stateDetails"] and "ValueError: no rows for 19" in found["stateDetails"]


def test_the_same_token_is_the_same_run(sandbox, emr, start):
    application, first = start("pass", "same")
    assert start("pass", "same")[1] == first
    ended(emr, application, first)
    assert start("pass", "same")[1] == first, "also after its end"
    assert code_of(lambda: start("pass", "same", name="other")) == "ConflictException"
    assert len([line for line in sandbox.ledger(service="emr-serverless") if line["marker"] == "same"]) == 1


def test_runs_are_listed_and_cancelled(emr, start):
    before = datetime.datetime.now(datetime.timezone.utc)
    application, run = start("import time; time.sleep(600)", "t-3", name="long")
    wait_until(
        lambda: emr.get_job_run(applicationId=application, jobRunId=run)["jobRun"]["state"] == "RUNNING", 30, "start"
    )
    listed = emr.list_job_runs(applicationId=application, createdAtAfter=before, states=["RUNNING"])["jobRuns"]
    assert [(found["id"], found["name"]) for found in listed] == [(run, "long")]
    emr.cancel_job_run(applicationId=application, jobRunId=run)
    assert ended(emr, application, run)["state"] == "CANCELLED"
    assert code_of(lambda: emr.cancel_job_run(applicationId=application, jobRunId=run)) == "ValidationException"


def test_what_emr_refuses(emr, start):
    application, run = start("pass", "t-4")
    assert code_of(lambda: emr.get_job_run(applicationId="absent0", jobRunId=run)) == "ResourceNotFoundException"
    assert code_of(lambda: emr.get_job_run(applicationId=application, jobRunId="absent0")) == "ResourceNotFoundException"
    hive = {"hive": {"query": "s3://b/q.sql"}}
    wish = {"applicationId": application, "clientToken": "t-5", "executionRoleArn": ROLE}
    assert code_of(lambda: emr.start_job_run(**wish, jobDriver=hive)) == "ValidationException"
    jar = emr.start_job_run(**wish, jobDriver={"sparkSubmit": {"entryPoint": "s3://b/x.jar"}})["jobRunId"]
    assert "s3://bucket/key.py" in ended(emr, application, jar)["stateDetails"]
    assert emr.get_application(applicationId=application)["application"]["name"] == "spark"
    assert application in [found["id"] for found in emr.list_applications()["applications"]]


def test_a_run_ends_at_its_limit_and_outlives_the_process(own_sandbox, tmp_path):
    sandbox = own_sandbox("--time-scale", "0.01")
    s3, emr = sandbox.client("s3"), sandbox.client("emr-serverless")
    s3.create_bucket(Bucket="jobs")
    marks = tmp_path / "marks"
    s3.put_object(Bucket="jobs", Key="e.py", Body=f"open({str(marks)!r}, 'a').write('x')\nimport time; time.sleep(600)".encode())
    application = create(emr)
    driver = {"sparkSubmit": {"entryPoint": "s3://jobs/e.py"}}
    run = emr.start_job_run(
        applicationId=application, clientToken="t", executionRoleArn=ROLE, jobDriver=driver, executionTimeoutMinutes=20
    )["jobRunId"]
    wait_until(marks.exists, 30, "the job to begin")
    sandbox.restart()
    found = ended(sandbox.client("emr-serverless"), application, run)
    assert found["state"] == "FAILED" and "timeout" in found["stateDetails"]
    assert marks.read_text() == "xx"


def test_faults_come_in_the_services_words(own_sandbox):
    sandbox = own_sandbox()
    emr = sandbox.client("emr-serverless")
    application = create(emr)
    sandbox.faults(
        {"service": "emr-serverless", "operation": "StartJobRun", "times": 1, "kind": "throttle"},
        {"service": "emr-serverless", "operation": "StartJobRun", "skip": 1, "kind": "error_after"},
    )
    wish = {
        "applicationId": application, "clientToken": "t", "executionRoleArn": ROLE,
        "jobDriver": {"sparkSubmit": {"entryPoint": "s3://b/e.py"}},
    }
    assert code_of(lambda: emr.start_job_run(**wish)) == "ThrottlingException"
    assert code_of(lambda: emr.start_job_run(**wish)) == "InternalServerException"
    assert len(sandbox.ledger(operation="StartJobRun")) == 1
