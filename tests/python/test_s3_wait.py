"""Waiting for objects that somebody else puts into S3: here boto3, into the sandbox."""

import json
import subprocess

import pytest

from project import Project
from waiting import until

PIPELINE = """
name: arrivals
data_interval: none
defaults: { connection: aws, retries: 0, poll_interval: 1s }
tasks:
  files: { type: s3_wait, prefix: "s3://partner-drop/day/", min_count: 2, min_bytes: 6, timeout: 5m }
  marker: { type: s3_wait, depends_on: files, key: "s3://partner-drop/day/_SUCCESS", timeout: 5m }
"""


@pytest.fixture(scope="module")
def project(binary, environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("arrivals")
    (folder / "trunkline.yaml").write_text("environments:\n  local: { connections: { aws: { sandbox: true } } }\n")
    home = folder / "pipelines" / "arrivals"
    home.mkdir(parents=True)
    (home / "pipeline.yaml").write_text(PIPELINE)
    made = Project(binary, environment, folder)
    yield made
    made.stop()


def test_objects_are_waited_for(project):
    # A bucket that does not exist is a mistake, not something to wait for.
    refused = project.call("run", "arrivals", code=1)
    assert "NoSuchBucket" in refused.stdout + refused.stderr or "bucket" in refused.stderr
    s3 = project.client("s3")
    s3.create_bucket(Bucket="partner-drop")
    waiting = subprocess.Popen(
        [str(project.binary), "run", "arrivals"],
        cwd=project.folder, env=project.environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    try:
        def state(task):
            shown = json.loads(project.call("show", "arrivals@latest", "--json").stdout)
            return next(row for row in shown["tasks"] if row["task"] == task)

        until(lambda: state("files")["state"] == "running", 60, "the first wait to begin")
        s3.put_object(Bucket="partner-drop", Key="day/", Body=b"")
        s3.put_object(Bucket="partner-drop", Key="day/a", Body=b"123")
        assert state("files")["state"] == "running"
        s3.put_object(Bucket="partner-drop", Key="day/b", Body=b"456")
        until(lambda: state("marker")["state"] == "running", 60, "the second wait to begin")
        s3.put_object(Bucket="partner-drop", Key="day/_SUCCESS", Body=b"")
        said, _ = waiting.communicate(timeout=60)
    finally:
        waiting.kill()
    assert waiting.returncode == 0, said
    assert "count=2" in said, said
