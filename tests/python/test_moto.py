"""The same pipeline file against a server that we did not write: moto, reached through
AWS_ENDPOINT_URL. moto runs nothing, so only what was asked of it is checked."""

import base64
import json
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request

import pytest

from conftest import REPOSITORY
from project import Project
from sandbox import client_of
from waiting import until

DATE = "2026-11-19"

PROJECT = """\
pipelines: pipelines
environments:
  moto:
    connections:
      aws: {{ type: aws, region: us-east-1 }}
    vars:
      raw_crawler: cdr-daily-raw
      etl_job: cdr-daily-etl
      processed_crawler: cdr-daily-processed
      processed_bucket: cdr-processed
      topic: {topic}
"""


@pytest.fixture
def moto(environment, tmp_path):
    """A moto server on a free port, recording from now on."""
    log_path = tmp_path / "moto.log"
    with open(log_path, "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
            env=environment,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )

    def endpoint():
        assert process.poll() is None, log_path.read_text()
        lines = [line for line in log_path.read_text().splitlines() if "Running on" in line]
        return lines and "http" + lines[0].rsplit("http", 1)[1].strip()

    yield until(endpoint, 60, "moto")
    process.terminate()
    process.wait(10)


def set_up(endpoint):
    """What CloudFormation would make; answers the topic's ARN."""
    glue = client_of(endpoint, "glue")
    paths = {
        "cdr-daily-raw": "s3://cdr-raw/Amazon-Chime-Voice-Connector-CDRs/",
        "cdr-daily-processed": "s3://cdr-processed/processed_cdrs/",
    }
    for name, path in paths.items():
        targets = {"S3Targets": [{"Path": path}]}
        glue.create_crawler(Name=name, Role="r", DatabaseName="cdrs", Targets=targets)
    command = {"Name": "glueetl", "ScriptLocation": "s3://cdr-processed/cdr_etl.py"}
    glue.create_job(Name="cdr-daily-etl", Role="r", Command=command)
    client_of(endpoint, "s3").create_bucket(Bucket="cdr-processed")
    return client_of(endpoint, "sns").create_topic(Name="cdr-notices")["TopicArn"]


def post(endpoint, path, value=None):
    """Tells moto something about itself."""
    body = None if value is None else json.dumps(value).encode()
    request = urllib.request.Request(f"{endpoint}/moto-api/{path}", body, method="POST")
    urllib.request.urlopen(request).close()


def recorded(endpoint):
    """Every call that moto received as (operation, parameters)."""
    with urllib.request.urlopen(f"{endpoint}/moto-api/recorder/download-recording") as answer:
        lines = answer.read().decode().splitlines()
    calls = []
    for line in filter(None, lines):
        request = json.loads(line)
        headers = {name.lower(): value for name, value in request["headers"].items()}
        body = request.get("body") or ""
        if request.get("body_encoded"):
            body = base64.b64decode(body).decode()
        if "x-amz-target" in headers:
            calls.append((headers["x-amz-target"].rsplit(".", 1)[1], json.loads(body)))
        elif "Action=" in body:
            fields = dict(urllib.parse.parse_qsl(body))
            calls.append((fields.pop("Action"), fields))
    return calls


def test_the_pipeline_runs_unchanged_against_moto(moto, binary, environment, tmp_path):
    topic = set_up(moto)
    folder = tmp_path / "project"
    shutil.copytree(REPOSITORY / "pipelines" / "daily_cdr_etl", folder / "pipelines" / "daily_cdr_etl")
    (folder / "trunkline.yaml").write_text(PROJECT.format(topic=topic))
    credentials = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    project = Project(binary, environment | credentials | {"AWS_ENDPOINT_URL": moto}, folder)
    post(moto, "recorder/start-recording")
    try:
        project.call("run", "daily_cdr_etl", "--date", DATE, "--env", "moto")
    finally:
        project.stop()
    calls = recorded(moto)

    def of(*operations):
        return [parameters for operation, parameters in calls if operation in operations]

    assert [call["Name"] for call in of("StartCrawler")] == ["cdr-daily-raw", "cdr-daily-processed"]
    assert of("GetCrawler", "GetCrawlers", "BatchGetCrawlers")
    (start,) = of("StartJobRun")
    assert start["JobName"] == "cdr-daily-etl"
    assert start["Arguments"]["--date"] == DATE
    assert start["Arguments"]["--trunkline-attempt"]
    assert start["NumberOfWorkers"] == 10
    assert of("GetJobRun", "GetJobRuns")
    (published,) = of("Publish")
    assert published["TopicArn"] == topic
    assert published["Subject"] == f"Processing CDRs complete: {DATE}"
    order = [operation for operation, _ in calls if operation.startswith(("Start", "Publish"))]
    assert order == ["StartCrawler", "StartJobRun", "StartCrawler", "Publish"]


CROWDED = """
name: crowded
data_interval: none
defaults: { connection: aws, retries: 0, poll_interval: 1s, timeout: 5m }
tasks:
  first: { type: glue_job, job: cdr-daily-etl }
  second: { type: glue_job, job: cdr-daily-etl }
"""


def test_a_job_that_runs_as_often_as_it_may_is_waited_for(moto, binary, environment, tmp_path):
    set_up(moto)
    # A run of the job is there for some questions, and AWS takes no second one meanwhile.
    post(moto, "state-manager/set-transition",
         {"model_name": "glue::job_run", "transition": {"progression": "manual", "times": 3}})
    folder = tmp_path / "project"
    (folder / "pipelines" / "crowded").mkdir(parents=True)
    (folder / "pipelines" / "crowded" / "pipeline.yaml").write_text(CROWDED)
    (folder / "trunkline.yaml").write_text(PROJECT.format(topic="unused"))
    credentials = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    project = Project(binary, environment | credentials | {"AWS_ENDPOINT_URL": moto}, folder)
    post(moto, "recorder/start-recording")
    try:
        project.call("run", "crowded", "--env", "moto")
        shown = json.loads(project.call("show", "crowded@latest", "--json", "--env", "moto").stdout)
    finally:
        project.stop()
    assert [(row["state"], row["attempts"]) for row in shown["tasks"]] == [("succeeded", 1)] * 2
    runs = client_of(moto, "glue").get_job_runs(JobName="cdr-daily-etl")["JobRuns"]
    assert len(runs) == 2, runs
    starts = [operation for operation, _ in recorded(moto) if operation == "StartJobRun"]
    assert len(starts) > 2, "the second start was never refused"
