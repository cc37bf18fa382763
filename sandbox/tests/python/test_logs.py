"""CloudWatch Logs as boto3 sees it, and the outputs of the other services in it."""

import pytest
from botocore.exceptions import ClientError

from conftest import wait_until


@pytest.fixture
def logs(sandbox):
    return sandbox.client("logs")


def code_of(act):
    with pytest.raises(ClientError) as error:
        act()
    return error.value.response["Error"]["Code"]


def messages(answer):
    return [event["message"] for event in answer["events"]]


def test_events_are_put_read_and_filtered(logs):
    logs.create_log_group(logGroupName="/t/put")
    where = {"logGroupName": "/t/put", "logStreamName": "a/b:1"}
    logs.create_log_stream(**where)
    events = [{"timestamp": 1000 + n, "message": f"{'ERROR' if n == 3 else 'INFO'} line {n}"} for n in range(5)]
    logs.put_log_events(**where, logEvents=events)
    assert messages(logs.get_log_events(**where, limit=2)) == ["ERROR line 3", "INFO line 4"]
    first = logs.get_log_events(**where, limit=2, startFromHead=True)
    assert messages(first) == ["INFO line 0", "INFO line 1"]
    second = logs.get_log_events(**where, limit=2, nextToken=first["nextForwardToken"])
    assert messages(second) == ["INFO line 2", "ERROR line 3"]
    back = logs.get_log_events(**where, limit=2, nextToken=second["nextBackwardToken"])
    assert messages(back) == messages(first)
    last = logs.get_log_events(**where, nextToken=second["nextForwardToken"])
    assert messages(last) == ["INFO line 4"]
    end = logs.get_log_events(**where, nextToken=last["nextForwardToken"])
    assert end["events"] == [] and end["nextForwardToken"] == last["nextForwardToken"]
    assert messages(logs.get_log_events(**where, startTime=1001, endTime=1003)) == ["INFO line 1", "INFO line 2"]
    found = logs.filter_log_events(logGroupName="/t/put", filterPattern="ERROR -nothing")
    assert messages(found) == ["ERROR line 3"] and found["events"][0]["logStreamName"] == "a/b:1"
    assert messages(logs.filter_log_events(logGroupName="/t/put", filterPattern='?"line 0" ?"line 1"')) == [
        "INFO line 0", "INFO line 1",
    ]
    shown = logs.describe_log_streams(logGroupName="/t/put")["logStreams"][0]
    assert (shown["firstEventTimestamp"], shown["lastEventTimestamp"]) == (1000, 1004)


def test_what_is_not_there_or_wrong_is_refused(logs):
    logs.create_log_group(logGroupName="/t/wrong")
    assert code_of(lambda: logs.create_log_group(logGroupName="/t/wrong")) == "ResourceAlreadyExistsException"
    absent = {"logGroupName": "/t/absent", "logStreamName": "s"}
    stream = {"logGroupName": "/t/wrong", "logStreamName": "absent"}
    for where in [absent, stream]:
        assert code_of(lambda: logs.get_log_events(**where)) == "ResourceNotFoundException"
        put = where | {"logEvents": [{"timestamp": 1, "message": "x"}]}
        assert code_of(lambda: logs.put_log_events(**put)) == "ResourceNotFoundException"
    logs.create_log_stream(**stream)
    wrong_order = [{"timestamp": 2, "message": "x"}, {"timestamp": 1, "message": "y"}]
    assert code_of(lambda: logs.put_log_events(**stream, logEvents=wrong_order)) == "InvalidParameterException"
    assert code_of(lambda: logs.filter_log_events(logGroupName="/t/wrong", filterPattern="{ $.a = 1 }")) == (
        "InvalidParameterException"
    )


def test_groups_and_streams_outlive_the_process(own_sandbox):
    sandbox = own_sandbox()
    logs = sandbox.client("logs")
    for name in ["/a", "/b"]:
        logs.create_log_group(logGroupName=name)
    logs.put_retention_policy(logGroupName="/a", retentionInDays=7)
    where = {"logGroupName": "/a", "logStreamName": "s"}
    logs.create_log_stream(**where)
    logs.put_log_events(**where, logEvents=[{"timestamp": 1, "message": "kept"}])
    sandbox.restart()
    logs = sandbox.client("logs")
    assert messages(logs.get_log_events(**where)) == ["kept"]
    groups = logs.describe_log_groups(logGroupNamePrefix="/a")["logGroups"]
    assert [(group["logGroupName"], group["retentionInDays"]) for group in groups] == [("/a", 7)]
    logs.delete_log_stream(**where)
    logs.delete_log_group(logGroupName="/b")
    assert [group["logGroupName"] for group in logs.describe_log_groups()["logGroups"]] == ["/a"]
    assert logs.describe_log_streams(logGroupName="/a")["logStreams"] == []


def test_outputs_of_glue_jobs_land_there(sandbox, s3, bucket, logs):
    s3.put_object(Bucket=bucket, Key="j.py", Body=b"print('counting')\nraise ValueError('no rows for 19')\n")
    glue = sandbox.client("glue")
    command = {"Name": "pythonshell", "ScriptLocation": f"s3://{bucket}/j.py"}
    glue.create_job(Name="logged", Role="r", Command=command, MaxRetries=1)
    run = glue.start_job_run(JobName="logged")["JobRunId"]
    retry = f"{run}_attempt_1"

    def ended():
        runs = glue.get_job_runs(JobName="logged")["JobRuns"]
        found = {found["Id"]: found for found in runs}
        return retry in found and found[retry]["JobRunState"] == "FAILED" and found[retry]

    shown = wait_until(ended, 60, "Glue's own retry to fail")
    assert (shown["PreviousRunId"], shown["Attempt"]) == (run, 1)
    assert shown["LogGroupName"] == "/aws-glue/python-jobs"
    for id in [run, retry]:
        output = logs.get_log_events(logGroupName="/aws-glue/python-jobs/output", logStreamName=id)
        assert messages(output) == ["counting"]
        errors = logs.get_log_events(logGroupName="/aws-glue/python-jobs/error", logStreamName=id)
        assert messages(errors)[-1] == "ValueError: no rows for 19"


def test_bookmarks_are_reset(sandbox):
    glue = sandbox.client("glue")
    assert code_of(lambda: glue.reset_job_bookmark(JobName="marked")) == "EntityNotFoundException"
    glue.create_job(Name="marked", Role="r", Command={"Name": "glueetl", "ScriptLocation": "s3://b/k.py"})
    assert code_of(lambda: glue.get_job_bookmark(JobName="marked")) == "EntityNotFoundException"
    for version in [1, 2]:
        assert glue.reset_job_bookmark(JobName="marked")["JobBookmarkEntry"]["Version"] == version
    assert glue.get_job_bookmark(JobName="marked")["JobBookmarkEntry"]["Version"] == 2
    assert [line["subject"] for line in sandbox.ledger(operation="ResetJobBookmark")] == ["marked", "marked"]


def test_faults_come_in_the_services_words(own_sandbox):
    sandbox = own_sandbox()
    logs = sandbox.client("logs")
    sandbox.faults({"service": "logs", "times": 1, "kind": "throttle"}, {"service": "logs", "skip": 1, "kind": "error_before"})
    assert code_of(logs.describe_log_groups) == "ThrottlingException"
    assert code_of(logs.describe_log_groups) == "ServiceUnavailableException"
