"""Glue end to end, beyond the ordinary run: its own retries, bookmarks, the ends of logs."""

import json

import pytest

from project import Project

PIPELINE = """
name: runs
data_interval: none
params:
  mood: { type: string, default: good }
defaults: { connection: aws, retries: 0, poll_interval: 1s, timeout: 10m }
tasks:
  etl:
    type: glue_job
    job: etl
    arguments: { --mood: "{{ params.mood }}" }
    on_clear: { reset_bookmark: true }
"""

CRAWL = """
name: crawl
data_interval: none
defaults: { connection: aws, retries: 0, poll_interval: 1s, timeout: 10m }
tasks:
  crawl: { type: glue_crawler, crawler: absent-bucket }
"""

TEMPLATE = """
Resources:
  Jobs:
    Type: AWS::S3::Bucket
    Properties: { BucketName: glue-runs }
    Metadata: { Trunkline: { Upload: [jobs/etl.py] } }
  Role: { Type: AWS::IAM::Role }
  Etl:
    Type: AWS::Glue::Job
    Properties:
      Name: etl
      Role: !GetAtt Role.Arn
      MaxRetries: 1
      Command: { Name: pythonshell, ScriptLocation: s3://glue-runs/jobs/etl.py }
  Database: { Type: AWS::Glue::Database, Properties: { CatalogId: "0", DatabaseInput: { Name: d } } }
  Crawler:
    Type: AWS::Glue::Crawler
    Properties:
      Name: absent-bucket
      Role: !GetAtt Role.Arn
      DatabaseName: !Ref Database
      Targets: { S3Targets: [{ Path: s3://no-such-bucket-here/raw/ }] }
"""

# Fails at first and succeeds at Glue's own retry, unless everything is bad.
ETL = """
import pathlib, sys
mood = sys.argv[sys.argv.index("--mood") + 1]
run = sys.argv[sys.argv.index("--JOB_RUN_ID") + 1]
print("run", run)
if mood == "bad" or (mood == "flaky" and "_attempt_" not in run):
    raise ValueError("no rows for " + run)
"""


@pytest.fixture(scope="module")
def project(binary, environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    (folder / "trunkline.yaml").write_text("environments:\n  local: { connections: { aws: { sandbox: true } } }\n")
    for name, text in [("runs", PIPELINE), ("crawl", CRAWL)]:
        home = folder / "pipelines" / name
        home.mkdir(parents=True)
        (home / "pipeline.yaml").write_text(text)
    home = folder / "pipelines" / "runs"
    (home / "aws.yaml").write_text(TEMPLATE)
    (home / "jobs").mkdir()
    (home / "jobs" / "etl.py").write_text(ETL)
    made = Project(binary, environment, folder)
    made.call("run", "runs")
    yield made
    made.stop()


def shown(project, run):
    return json.loads(project.call("show", run, "--json").stdout)


def test_glues_own_retry_is_followed(project):
    before = len(project.ledger("StartJobRun"))
    project.call("run", "runs", "--param", "mood=flaky")
    lines = project.ledger("StartJobRun")[before:]
    assert len(lines) == 1, "the retry is Glue's, not ours"
    etl = json.dumps(shown(project, "runs@latest")["tasks"])
    assert f"{lines[0]['id']}_attempt_1" in etl, etl


def test_a_failure_shows_the_end_of_the_log_of_the_last_retry(project):
    done = project.call("run", "runs", "--param", "mood=bad", code=1)
    assert "ValueError: no rows for" in done.stdout + done.stderr
    whole = project.call("logs", "runs@latest", "etl")
    said = whole.stdout + whole.stderr
    run = project.ledger("StartJobRun")[-1]["id"]
    assert f"the end of its log (/aws-glue/python-jobs/error {run}_attempt_1)" in said, said
    assert "Traceback (most recent call last)" in said, said


def test_a_cleared_run_resets_the_bookmark(project):
    project.call("run", "runs")
    resets = len(project.ledger("ResetJobBookmark"))
    project.call("clear", "runs@latest", "--yes")
    assert len(project.ledger("ResetJobBookmark")) == resets + 1
    project.call("run", "runs")
    assert len(project.ledger("ResetJobBookmark")) == resets + 1, "nothing was cleared"


def test_a_crawl_that_fails_shows_its_log(project):
    done = project.call("run", "crawl", code=1)
    said = done.stdout + done.stderr
    assert "no-such-bucket-here" in said, said
    whole = project.call("logs", "crawl@latest", "crawl")
    assert "the end of its log (/aws-glue/crawlers absent-bucket)" in whole.stdout + whole.stderr, whole
