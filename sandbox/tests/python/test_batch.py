"""AWS Batch as boto3 sees it: jobs that really run."""

import pytest
from botocore.exceptions import ClientError

from conftest import wait_until


def prepare(sandbox):
    batch = sandbox.client("batch")
    environment = batch.create_compute_environment(computeEnvironmentName="here", type="MANAGED")
    order = [{"order": 1, "computeEnvironment": environment["computeEnvironmentArn"]}]
    batch.create_job_queue(jobQueueName="etl", priority=1, computeEnvironmentOrder=order)
    return batch


@pytest.fixture(scope="module")
def batch(sandbox):
    return prepare(sandbox)


def python(text):
    return ["python", "-c", text]


def define(batch, name, command, **more):
    properties = {"image": "repo/etl:1", "command": command, "vcpus": 1, "memory": 128}
    return batch.register_job_definition(
        jobDefinitionName=name, type="container", containerProperties=properties, **more
    )


def submit(batch, definition, name="job", **more):
    return batch.submit_job(jobName=name, jobQueue="etl", jobDefinition=definition, **more)["jobId"]


def ended(batch, id):
    def end():
        job = batch.describe_jobs(jobs=[id])["jobs"][0]
        return job["status"] in ("SUCCEEDED", "FAILED") and job

    return wait_until(end, 60, "the job to end")


def code_of(act):
    with pytest.raises(ClientError) as error:
        act()
    return error.value.response["Error"]["Code"]


def test_a_job_runs_its_command_with_its_parameters(sandbox, batch):
    text = "import os, sys; print(sys.argv[1], os.environ['A'], os.environ['AWS_BATCH_JOB_ATTEMPT'])"
    define(batch, "params", [*python(text), "Ref::day"], parameters={"day": "none"})
    over = {"environment": [{"name": "A", "value": "1"}]}
    id = submit(batch, "params", "a-job", parameters={"day": "2026-11-19"}, containerOverrides=over)
    job = ended(batch, id)
    assert job["status"] == "SUCCEEDED" and job["container"]["exitCode"] == 0
    assert len(job["attempts"]) == 1 and job["attempts"][0]["container"]["exitCode"] == 0
    stream = job["container"]["logStreamName"]
    assert stream.startswith("params/default/")
    events = sandbox.client("logs").get_log_events(logGroupName="/aws/batch/job", logStreamName=stream)["events"]
    assert [event["message"] for event in events] == ["2026-11-19 1 1"]
    (line,) = [line for line in sandbox.ledger(service="batch") if line["id"] == id]
    assert (line["operation"], line["marker"], line["subject"]) == ("SubmitJob", "a-job", "etl")


def test_attempts_are_made_and_told(batch):
    define(batch, "tries", python("import os, sys; sys.exit(int(os.environ['AWS_BATCH_JOB_ATTEMPT']) % 3)"))
    job = ended(batch, submit(batch, "tries", retryStrategy={"attempts": 3}))
    assert job["status"] == "SUCCEEDED"
    assert [attempt["container"]["exitCode"] for attempt in job["attempts"]] == [1, 2, 0]
    job = ended(batch, submit(batch, "tries", retryStrategy={"attempts": 2}))
    assert job["status"] == "FAILED" and job["container"]["exitCode"] == 2
    assert job["statusReason"] == "Essential container in task exited"


def test_an_array_job_is_as_good_as_its_elements(batch):
    define(batch, "array", python("import os, sys; sys.exit(7 if os.environ['AWS_BATCH_JOB_ARRAY_INDEX'] == sys.argv[1] else 0)") + ["Ref::bad"])
    good = ended(batch, submit(batch, "array", arrayProperties={"size": 3}, parameters={"bad": "none"}))
    assert good["status"] == "SUCCEEDED"
    assert good["arrayProperties"]["statusSummary"]["SUCCEEDED"] == 3
    id = submit(batch, "array", arrayProperties={"size": 3}, parameters={"bad": "1"})
    bad = ended(batch, id)
    assert bad["status"] == "FAILED" and bad["arrayProperties"]["statusSummary"]["FAILED"] == 1
    (element,) = batch.list_jobs(arrayJobId=id, jobStatus="FAILED")["jobSummaryList"]
    assert (element["jobId"], element["arrayProperties"]["index"]) == (f"{id}:1", 1)


def test_jobs_are_found_by_their_names(batch):
    define(batch, "named", python("pass"))
    ids = [submit(batch, "named", "Find-Me") for _ in range(2)]
    submit(batch, "named", "find-me-not")
    for id in ids:
        ended(batch, id)

    def found(value):
        filters = [{"name": "JOB_NAME", "values": [value]}]
        return {job["jobId"] for job in batch.list_jobs(jobQueue="etl", filters=filters)["jobSummaryList"]}

    assert found("find-me") == set(ids), "whatever the case and the state"
    assert len(found("find-me*")) == 3
    assert not set(ids) & {job["jobId"] for job in batch.list_jobs(jobQueue="etl")["jobSummaryList"]}


def test_jobs_are_terminated(batch):
    define(batch, "long", python("import time; time.sleep(600)"))
    id = submit(batch, "long")
    wait_until(lambda: batch.describe_jobs(jobs=[id])["jobs"][0]["status"] == "RUNNING", 30, "the job to run")
    batch.terminate_job(jobId=id, reason="enough")
    job = ended(batch, id)
    assert (job["status"], job["statusReason"], job["isTerminated"]) == ("FAILED", "enough", True)
    batch.terminate_job(jobId=id, reason="again")
    batch.terminate_job(jobId="absent", reason="never there")


def test_attempts_end_at_their_limit(own_sandbox):
    sandbox = own_sandbox("--time-scale", "0.01")
    batch = prepare(sandbox)
    define(batch, "long", python("import time; time.sleep(600)"), timeout={"attemptDurationSeconds": 60})
    job = ended(batch, submit(batch, "long"))
    assert (job["status"], job["statusReason"]) == ("FAILED", "Job attempt duration exceeded timeout")


def test_what_batch_refuses(batch):
    define(batch, "refused", ["true"])
    for wrong in [
        {"jobName": "-x"}, {"jobQueue": "absent"}, {"jobDefinition": "absent"}, {"arrayProperties": {"size": 1}},
        {"dependsOn": [{"jobId": "x"}]}, {"timeout": {"attemptDurationSeconds": 5}},
    ]:
        wish = {"jobName": "n", "jobQueue": "etl", "jobDefinition": "refused"} | wrong
        assert code_of(lambda: batch.submit_job(**wish)) == "ClientException", wrong
    assert batch.describe_jobs(jobs=["absent"])["jobs"] == []
    assert batch.describe_job_definitions(jobDefinitionName="refused")["jobDefinitions"][0]["revision"] == 1
    assert [queue["jobQueueName"] for queue in batch.describe_job_queues(jobQueues=["etl"])["jobQueues"]] == ["etl"]


def test_a_job_outlives_the_process(own_sandbox, tmp_path):
    sandbox = own_sandbox()
    batch = prepare(sandbox)
    marks = tmp_path / "marks"
    text = f"open({str(marks)!r}, 'a').write('x')\nimport time\nwhile len(open({str(marks)!r}).read()) < 2: time.sleep(0.05)"
    define(batch, "twice", python(text))
    id = submit(batch, "twice")
    wait_until(marks.exists, 30, "the job to begin")
    sandbox.restart()
    assert ended(sandbox.client("batch"), id)["status"] == "SUCCEEDED"
    assert len(sandbox.ledger(operation="SubmitJob")) == 1


def test_faults_come_in_the_services_words(own_sandbox):
    sandbox = own_sandbox()
    batch = prepare(sandbox)
    define(batch, "f", ["true"])
    sandbox.faults(
        {"service": "batch", "operation": "SubmitJob", "times": 1, "kind": "error_after"},
        {"service": "batch", "operation": "ListJobs", "kind": "list_lag", "lag_ms": 600000},
        {"service": "batch", "operation": "DescribeJobs", "kind": "unknown_state", "state": "PONDERING"},
    )
    assert code_of(lambda: submit(batch, "f", "lost")) == "ServerException"
    (line,) = sandbox.ledger(operation="SubmitJob")
    filters = [{"name": "JOB_NAME", "values": ["lost"]}]
    assert batch.list_jobs(jobQueue="etl", filters=filters)["jobSummaryList"] == []
    # A state that the model does not know is the point here.
    unchecked = sandbox.client("batch", check=False)
    assert unchecked.describe_jobs(jobs=[line["id"]])["jobs"][0]["status"] == "PONDERING"
