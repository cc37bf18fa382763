"""COPY from S3 as Redshift takes it: formats, manifests, what is refused, and that it is part of its transaction."""

import json

import pytest

from test_redshift import fail, provision, rows, run

ROLE = "IAM_ROLE 'arn:aws:iam::000000000000:role/a,arn:aws:iam::111111111111:role/b'"


@pytest.fixture(scope="module")
def redshift(sandbox):
    provision(sandbox)
    client = sandbox.client("redshift-data")
    run(client, "CREATE TABLE call (id VARCHAR(4), agent VARCHAR(20), seconds INT, seen TIMESTAMP, made INT DEFAULT 7)")
    return client


@pytest.fixture(scope="module")
def bucket(sandbox):
    s3 = sandbox.client("s3")
    s3.create_bucket(Bucket="copied")

    def put(key, body):
        s3.put_object(Bucket="copied", Key=key, Body=body if isinstance(body, (bytes, str)) else json.dumps(body))

    return put


def calls(redshift):
    found = rows(redshift, "SELECT id, agent, seconds, seen::varchar FROM call ORDER BY id")
    run(redshift, "DELETE FROM call")
    return found


def copy(source, more):
    return f"COPY call (id, agent, seconds, seen) FROM 's3://copied/{source}' {ROLE} {more}"


def test_json_by_names_and_by_paths(redshift, bucket):
    bucket("auto/1", '{"id":"a","seconds":1,"seen":"2026-11-20T10:00:00Z","agent":"x}{y"}{"id":"b","more":{"x":1}}')
    bucket("auto/2", '{"ID":"c"}\n\n{"id":"d","seconds":null}\n')
    for hidden in ("auto/_manifest", "auto/.part", "auto/old~"):
        bucket(hidden, "no JSON")
    assert run(redshift, copy("auto/", "FORMAT AS JSON 'auto' TIMEFORMAT 'auto'"))["ResultRows"] == 4
    assert calls(redshift) == [["a", "x}{y", 1, "2026-11-20 10:00:00"], ["b", None, None, None], ["d", None, None, None],
                               [None, None, None, None]]
    run(redshift, copy("auto/2", "JSON 'auto ignorecase'"))
    assert [row[0] for row in calls(redshift)] == ["c", "d"]
    bucket("paths.json", {"jsonpaths": ["$.ContactId", "$['Agent']['User name']", "$.Queue.Durations[1]", "$.At"]})
    bucket("nested", {"ContactId": "n", "Agent": {"User name": "jo"}, "Queue": {"Durations": [1, 20]}, "At": 1795168800000})
    run(redshift, copy("nested", "JSON 's3://copied/paths.json' TIMEFORMAT 'epochmillisecs'"))
    assert calls(redshift) == [["n", "jo", 20, "2026-11-20 10:00:00"]]
    bucket("short.json", {"jsonpaths": ["$.a"]})
    assert "JSONPath size: 1, Number of columns in table or column list: 4" in fail(
        redshift, copy("nested", "JSON 's3://copied/short.json'"))


def test_csv_and_manifests(redshift, bucket):
    bucket("csv/1", 'id;agent;seconds;seen\r\na;"x;""y""\n";3;\r\nb;;;2026-11-20 10:00:00')
    run(redshift, copy("csv/1", "CSV DELIMITER ';' IGNOREHEADER 1"))
    assert calls(redshift) == [["a", 'x;"y"\n', 3, None], ["b", "", None, "2026-11-20 10:00:00"]]
    bucket("one", {"id": "1"})
    bucket("two", {"id": "2"})
    entry = "s3://copied/{}".format
    bucket("manifest", {"entries": [{"url": entry("one"), "mandatory": True}, {"url": entry("two")}, {"url": entry("none")}]})
    run(redshift, copy("manifest", "JSON 'auto' MANIFEST REGION 'us-east-1' COMPUPDATE OFF STATUPDATE ON"))
    assert [row[0] for row in calls(redshift)] == ["1", "2"]
    bucket("manifest", {"entries": [{"url": entry("none"), "mandatory": True}]})
    assert "s3://copied/none" in fail(redshift, copy("manifest", "JSON 'auto' MANIFEST"))


def test_what_does_not_fit_fails_the_whole_transaction(redshift, bucket):
    bucket("bad/1", {"id": "a"})
    for body, said in [
        ({"id": "äää"}, "record 1: column id: String length exceeds DDL length (6 bytes, 4 allowed)"),
        ('{"id":"b"}{"id":', "record 2: Invalid JSON"),
        ({"id": "b", "seconds": "many"}, "invalid input syntax"),
    ]:
        bucket("bad/2", body)
        error = fail(redshift, ["INSERT INTO call (id) VALUES ('z')", copy("bad/", "JSON 'auto'")])
        assert "Load into table 'call' failed.  Check 'stl_load_errors'" in error and said in error, error
        assert "s3://copied/bad/2" in error
        assert calls(redshift) == []
    bucket("bad/2", {"id": "abääx"})
    run(redshift, copy("bad/2", "JSON 'auto' TRUNCATECOLUMNS"))
    assert calls(redshift) == [["abä", None, None, None]]
    for statement, said in [
        (copy("nothing/", "JSON 'auto'"), "The specified S3 prefix 'nothing/' does not exist"),
        (f"COPY none FROM 's3://copied/one' {ROLE} JSON 'auto'", 'relation "none" does not exist'),
        ("COPY call (nothing) FROM 's3://copied/one' IAM_ROLE default JSON 'auto'", 'column "nothing" of relation "call"'),
        ("COPY call FROM 's3://copied/one' JSON 'auto'", "add IAM_ROLE"),
        (copy("one", "PARQUET"), "is not a valid Parquet file"),
        (copy("one", "ORC"), "ORC is not offered by the sandbox's COPY"),
    ]:
        assert said in fail(redshift, statement)
