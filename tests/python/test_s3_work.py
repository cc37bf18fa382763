"""Copying and deleting objects in the sandbox's S3."""

import json
import urllib.request

import pytest

from project import Project

PIPELINE = """
name: tidy
data_interval: none
params:
  most: { type: integer, default: 500 }
  from: { type: string, default: day/ }
defaults: { connection: aws, retries: 0, poll_interval: 1s }
tasks:
  copy:
    type: s3_copy
    prefix: "s3://drop/{{ params.from }}"
    to: s3://raw/copied/
    max_objects: "{{ params.most }}"
  marker: { type: s3_copy, depends_on: copy, key: "s3://drop/marker", to: "s3://raw/marks/" }
  clean:
    type: s3_delete
    depends_on: marker
    prefix: "s3://drop/{{ params.from }}"
    max_objects: "{{ params.most }}"
  unmark: { type: s3_delete, depends_on: clean, key: "s3://drop/absent" }
"""

OBJECTS = 230


@pytest.fixture(scope="module")
def project(binary, environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tidy")
    (folder / "trunkline.yaml").write_text("environments:\n  local: { connections: { aws: { sandbox: true } } }\n")
    home = folder / "pipelines" / "tidy"
    home.mkdir(parents=True)
    (home / "pipeline.yaml").write_text(PIPELINE)
    (home / "aws.yaml").write_text(
        "Resources:\n"
        "  Drop: { Type: AWS::S3::Bucket, Properties: { BucketName: drop } }\n"
        "  Raw: { Type: AWS::S3::Bucket, Properties: { BucketName: raw } }\n"
    )
    made = Project(binary, environment, folder)
    # Makes the buckets: there is nothing to copy yet, and no marker.
    made.call("run", "tidy", code=1)
    yield made
    made.stop()


@pytest.fixture
def s3(project):
    s3 = project.client("s3")
    s3.put_object(Bucket="drop", Key="marker", Body=b"m")
    return s3


def keys(s3, bucket, prefix=""):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return {found["Key"] for page in pages for found in page.get("Contents", [])}


def outputs(project, task):
    shown = json.loads(project.call("show", "tidy@latest", "--json").stdout)
    return next(row for row in shown["tasks"] if row["task"] == task)


def calls(project, operation):
    with urllib.request.urlopen(f"{project.endpoint}/_sandbox/calls") as answer:
        return sum(row["count"] for row in json.load(answer) if row["operation"] == operation)


def test_everything_is_copied_and_then_deleted(project, s3):
    names = {f"day/{number:03} ü+.json" for number in range(OBJECTS)}
    for name in names:
        s3.put_object(Bucket="drop", Key=name, Body=name.encode(), Metadata={"of": "partner"})
    s3.put_object(Bucket="drop", Key="days", Body=b"not meant")
    said = project.call("run", "tidy").stderr
    assert keys(s3, "raw", "copied/") == {name.replace("day/", "copied/", 1) for name in names}
    copy = s3.get_object(Bucket="raw", Key="copied/000 ü+.json")
    assert (copy["Body"].read(), copy["Metadata"]) == ("day/000 ü+.json".encode(), {"of": "partner"})
    assert keys(s3, "raw", "marks/") == {"marks/marker"}
    assert keys(s3, "drop") == {"days", "marker"}
    assert f"count={OBJECTS}" in said and f"copied={OBJECTS}" in said, said


def test_what_is_there_already_is_not_copied_again(project, s3):
    for number in range(3):
        s3.put_object(Bucket="drop", Key=f"again/{number}", Body=b"x")
        s3.put_object(Bucket="raw", Key=f"copied/{number}", Body=b"x" if number else b"y")
    before = calls(project, "CopyObject")
    said = project.call("run", "tidy", "-p", "from=again/").stderr
    # The one that differs. The marker is there since the first test.
    assert calls(project, "CopyObject") == before + 1
    assert "copied=1" in said, said
    assert s3.get_object(Bucket="raw", Key="copied/0")["Body"].read() == b"x"


def test_more_than_was_meant_is_not_touched(project, s3):
    for number in range(3):
        s3.put_object(Bucket="drop", Key=f"many/{number}", Body=b"x")
    failed = project.call("run", "tidy", "-p", "from=many/", "-p", "most=2", code=1)
    message = "max_objects: there are more than 2 objects below s3://drop/many/; nothing was copied"
    assert message in failed.stdout + failed.stderr
    assert len(keys(s3, "drop", "many/")) == 3


def test_a_lost_answer_repeats_what_changes_nothing(project, s3):
    for number in range(3):
        s3.put_object(Bucket="drop", Key=f"lost/{number}", Body=b"x")
    rules = [
        {"service": "s3", "operation": "CopyObject", "times": 2, "kind": "drop_answer"},
        {"service": "s3", "operation": "DeleteObjects", "times": 4, "kind": "drop_answer"},
    ]

    def install(rules):
        url = f"{project.endpoint}/_sandbox/faults"
        request = urllib.request.Request(url, json.dumps(rules).encode(), method="PUT")
        urllib.request.urlopen(request).close()

    install(rules)
    try:
        project.call("run", "tidy", "-p", "from=lost/")
    finally:
        install([])
    assert {f"copied/{number}" for number in range(3)} <= keys(s3, "raw", "copied/")
    assert keys(s3, "drop", "lost/") == set()
