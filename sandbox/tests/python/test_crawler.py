"""Crawlers and the catalog as boto3 sees them."""

import datetime
import io
import json

import pyarrow
import pyarrow.parquet
import pytest
from botocore.exceptions import ClientError

from conftest import wait_until
from data import LIMIT, cdr, crawl, put_json


@pytest.fixture
def glue(sandbox):
    return sandbox.client("glue")


@pytest.fixture
def place(s3, glue, request):
    """A bucket and a database of this test's own."""
    name = "crawl-" + "".join(c if c.isalnum() else "-" for c in request.node.name.lower())[5:50].strip("-")
    s3.create_bucket(Bucket=name)
    return name


def make_crawler(glue, place, path, **options):
    glue.create_crawler(
        Name=place, Role="arn:aws:iam::000000000000:role/r", DatabaseName=place,
        Targets={"S3Targets": [{"Path": f"s3://{place}/{path}", **options.pop("target", {})}]}, **options,
    )
    return place


def columns_of(glue, database, table):
    found = glue.get_table(DatabaseName=database, Name=table)["Table"]
    return {column["Name"]: column["Type"] for column in found["StorageDescriptor"]["Columns"]}


def code_of(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return error.value.response["Error"]["Code"]


def test_plain_folders_become_numbered_partitions(s3, glue, place):
    base = "Amazon-Chime-Voice-Connector-CDRs"
    put_json(s3, place, f"{base}/json/vc1/2026/11/19/a", cdr(1, BillableDurationMinutes=0))
    put_json(s3, place, f"{base}/json/vc2/2026/11/19/b", cdr(2, Extra="x"), indent=2)
    put_json(s3, place, f"{base}/json/vc2/2026/11/20/c", cdr(3, BillableDurationMinutes=0.1))
    s3.put_object(Bucket=place, Key=f"{base}/json/vc2/2026/11/20/corrupt", Body=b'{"AwsAccou')
    put_json(s3, place, "Amazon-Chime-Voice-Connector-SDRs/json/x", {"Other": 1})
    name = make_crawler(glue, place, f"{base}/")
    assert crawl(glue, name)["State"] == "COMPLETED"

    (table,) = glue.get_tables(DatabaseName=place)["TableList"]
    assert table["Name"] == "amazon_chime_voice_connector_cdrs"
    assert [key["Name"] for key in table["PartitionKeys"]] == [f"partition_{n}" for n in range(5)]
    columns = columns_of(glue, place, table["Name"])
    assert columns["billabledurationminutes"] == "double"
    assert columns["starttimeepochseconds"] == "int" and columns["streaming"] == "boolean"
    assert columns["extra"] == "string"
    partitions = glue.get_partitions(DatabaseName=place, TableName=table["Name"])["Partitions"]
    assert sorted(tuple(partition["Values"]) for partition in partitions) == [
        ("json", "vc1", "2026", "11", "19"), ("json", "vc2", "2026", "11", "19"), ("json", "vc2", "2026", "11", "20"),
    ]
    assert partitions[0]["StorageDescriptor"]["Location"] == f"s3://{place}/{base}/json/vc1/2026/11/19/"
    chosen = glue.get_partitions(
        DatabaseName=place, TableName=table["Name"], Expression="partition_4 = '19' and partition_1 in ('vc2')"
    )["Partitions"]
    assert [partition["Values"][1] for partition in chosen] == ["vc2"]


def test_new_folders_only_adds_partitions_and_nothing_else(s3, glue, place):
    put_json(s3, place, "events/year=2026/month=10/a", {"id": 1})
    name = make_crawler(
        glue, place, "events", TablePrefix="raw_", RecrawlPolicy={"RecrawlBehavior": "CRAWL_NEW_FOLDERS_ONLY"},
        SchemaChangePolicy={"UpdateBehavior": "LOG", "DeleteBehavior": "LOG"},
    )
    crawl(glue, name)
    put_json(s3, place, "events/year=2026/month=10/b", {"id": 1, "seen": "not"})
    put_json(s3, place, "events/year=2026/month=11/c", {"id": 1, "also": "not"})
    crawl(glue, name)
    table = glue.get_table(DatabaseName=place, Name="raw_events")["Table"]
    assert [key["Name"] for key in table["PartitionKeys"]] == ["year", "month"]
    assert columns_of(glue, place, "raw_events") == {"id": "int"}
    partitions = glue.get_partitions(DatabaseName=place, TableName="raw_events")["Partitions"]
    assert [partition["Values"] for partition in partitions] == [["2026", "10"], ["2026", "11"]]
    s3.delete_object(Bucket=place, Key="events/year=2026/month=11/c")
    crawl(glue, name)
    assert len(glue.get_partitions(DatabaseName=place, TableName="raw_events")["Partitions"]) == 2


def test_crawling_everything_updates(s3, glue, place):
    put_json(s3, place, "t/d=1/a", {"id": 1})
    name = make_crawler(
        glue, place, "t/", SchemaChangePolicy={"UpdateBehavior": "UPDATE_IN_DATABASE", "DeleteBehavior": "DELETE_FROM_DATABASE"}
    )
    crawl(glue, name)
    put_json(s3, place, "t/d=2/b", {"id": 3_000_000_000})
    s3.delete_object(Bucket=place, Key="t/d=1/a")
    crawl(glue, name)
    assert columns_of(glue, place, "t") == {"id": "bigint"}
    partitions = glue.get_partitions(DatabaseName=place, TableName="t")["Partitions"]
    assert [partition["Values"] for partition in partitions] == [["2"]]


def test_formats_and_separate_tables(s3, glue, place):
    for number in (1, 2):
        put_json(s3, place, f"lake/leads/{number}", {"id": number, "name": "n"}, {"id": 7})
    s3.put_object(Bucket=place, Key="lake/scores/s.csv", Body=b"Name,Score\nann,1\nbob,2.5\n")
    buffer = io.BytesIO()
    table = pyarrow.table({"Id": pyarrow.array([1], pyarrow.int64()), "tags": [["a"]], "at": [datetime.datetime(2026, 11, 19)]})
    pyarrow.parquet.write_table(table, buffer)
    s3.put_object(Bucket=place, Key="lake/facts/f.parquet", Body=buffer.getvalue())
    s3.put_object(Bucket=place, Key="lake/notes/readme.bin", Body=b"\x00\x01\x02")
    crawl(glue, make_crawler(glue, place, "lake/", target={"Exclusions": ["notes/**"]}))
    tables = {table["Name"]: table for table in glue.get_tables(DatabaseName=place)["TableList"]}
    assert sorted(tables) == ["facts", "leads", "scores"]
    assert columns_of(glue, place, "facts") == {"id": "bigint", "tags": "array<string>", "at": "timestamp"}
    assert columns_of(glue, place, "leads") == {"id": "int", "name": "string"}
    assert columns_of(glue, place, "scores") == {"name": "string", "score": "double"}
    assert tables["scores"]["Parameters"]["classification"] == "csv"


def test_states_and_mutual_exclusion(sandbox, s3, glue, place):
    put_json(s3, place, "t/a", {"id": 1})
    name = make_crawler(glue, place, "t/")
    assert "LastCrawl" not in glue.get_crawler(Name=name)["Crawler"]
    glue.start_crawler(Name=name)
    assert glue.get_crawler(Name=name)["Crawler"]["State"] == "RUNNING"
    assert code_of(glue.start_crawler, Name=name) == "CrawlerRunningException"
    assert code_of(glue.update_crawler, Name=name, TablePrefix="x") == "CrawlerRunningException"
    assert code_of(glue.delete_crawler, Name=name) == "CrawlerRunningException"
    (running,) = glue.list_crawls(CrawlerName=name)["Crawls"]
    assert running["State"] == "RUNNING" and "EndTime" not in running
    wait_until(lambda: glue.get_crawler(Name=name)["Crawler"]["State"] == "READY", LIMIT, "the crawler")
    assert glue.get_crawler(Name=name)["Crawler"]["LastCrawl"]["Status"] == "SUCCEEDED"
    assert code_of(glue.stop_crawler, Name=name) == "CrawlerNotRunningException"

    glue.start_crawler(Name=name)
    glue.stop_crawler(Name=name)
    assert code_of(glue.stop_crawler, Name=name) == "CrawlerStoppingException"
    wait_until(lambda: glue.get_crawler(Name=name)["Crawler"]["State"] == "READY", LIMIT, "the crawler")
    assert glue.get_crawler(Name=name)["Crawler"]["LastCrawl"]["Status"] == "CANCELLED"
    newest, oldest = glue.list_crawls(CrawlerName=name)["Crawls"]
    assert (newest["State"], oldest["State"]) == ("STOPPED", "COMPLETED")
    assert oldest["CrawlId"] == running["CrawlId"]
    # A text: the filter's values are strings in the API.
    since = newest["StartTime"].isoformat()
    filters = [{"FieldName": "START_TIME", "FilterOperator": "GE", "FieldValue": since}]
    assert [c["CrawlId"] for c in glue.list_crawls(CrawlerName=name, Filters=filters)["Crawls"]] == [newest["CrawlId"]]
    filters = [{"FieldName": "STATE", "FilterOperator": "EQ", "FieldValue": "COMPLETED"}]
    assert [c["CrawlId"] for c in glue.list_crawls(CrawlerName=name, Filters=filters)["Crawls"]] == [oldest["CrawlId"]]
    starts = sandbox.ledger(service="glue", subject=name)
    assert [start["id"] for start in starts] == [oldest["CrawlId"], newest["CrawlId"]]


def test_reading_crawlers(s3, glue, place):
    name = make_crawler(glue, place, "t/", Schedule="cron(0 9 * * ? *)", Description="d")
    batch = glue.batch_get_crawlers(CrawlerNames=[name, "absent"])
    assert [crawler["Name"] for crawler in batch["Crawlers"]] == [name] and batch["CrawlersNotFound"] == ["absent"]
    assert batch["Crawlers"][0]["Schedule"]["ScheduleExpression"] == "cron(0 9 * * ? *)"
    pages = glue.get_paginator("get_crawlers").paginate(PaginationConfig={"PageSize": 1})
    names = [crawler["Name"] for page in pages for crawler in page["Crawlers"]]
    assert name in names and len(names) == len(set(names))
    assert sorted(glue.list_crawlers()["CrawlerNames"]) == sorted(names)
    glue.update_crawler(Name=name, TablePrefix="p_")
    assert glue.get_crawler(Name=name)["Crawler"]["TablePrefix"] == "p_"
    assert glue.get_crawler_metrics(CrawlerNameList=[name])["CrawlerMetricsList"][0]["CrawlerName"] == name
    glue.delete_crawler(Name=name)
    for call in (glue.get_crawler, glue.start_crawler, glue.stop_crawler, glue.delete_crawler):
        assert code_of(call, Name=name) == "EntityNotFoundException"


def test_refused_definitions(glue):
    common = {"Role": "r", "DatabaseName": "d"}
    target = {"S3Targets": [{"Path": "s3://b/p/"}]}
    glue.create_crawler(Name="refused-twice", Targets=target, **common)
    assert code_of(glue.create_crawler, Name="refused-twice", Targets=target, **common) == "AlreadyExistsException"
    for broken in (
        {"Targets": {}},
        {"Targets": {"JdbcTargets": [{"ConnectionName": "c"}]}},
        {"Targets": {"S3Targets": [{"Path": "not a uri"}]}},
        {"Targets": target, "RecrawlPolicy": {"RecrawlBehavior": "CRAWL_NEW_FOLDERS_ONLY"},
         "SchemaChangePolicy": {"UpdateBehavior": "UPDATE_IN_DATABASE"}},
    ):
        assert code_of(glue.create_crawler, Name="refused", **common, **broken) == "InvalidInputException"


def test_a_missing_bucket_fails_the_crawl(glue, place):
    glue.create_crawler(Name="no-bucket", Role="r", DatabaseName="d", Targets={"S3Targets": [{"Path": "s3://absent-bucket/"}]})
    ended = crawl(glue, "no-bucket")
    assert ended["State"] == "FAILED" and "absent-bucket" in ended["ErrorMessage"]
    assert glue.get_crawler(Name="no-bucket")["Crawler"]["LastCrawl"]["Status"] == "FAILED"


def test_an_empty_path_makes_no_table(s3, glue, place):
    assert crawl(glue, make_crawler(glue, place, "nothing/"))["State"] == "COMPLETED"
    assert code_of(glue.get_tables, DatabaseName=place) == "EntityNotFoundException"


def test_a_crawl_goes_on_after_a_kill(own_sandbox):
    sandbox = own_sandbox("--time-scale", "5")
    s3, glue = sandbox.client("s3"), sandbox.client("glue")
    s3.create_bucket(Bucket="killed")
    put_json(s3, "killed", "t/a", {"id": 1})
    make_crawler(glue, "killed", "t/")
    glue.start_crawler(Name="killed")
    (before,) = glue.list_crawls(CrawlerName="killed")["Crawls"]
    sandbox.restart()
    glue = sandbox.client("glue")
    wait_until(lambda: glue.get_crawler(Name="killed")["Crawler"]["State"] == "READY", LIMIT, "the crawler")
    (after,) = glue.list_crawls(CrawlerName="killed")["Crawls"]
    assert after["CrawlId"] == before["CrawlId"] and after["State"] == "COMPLETED"
    assert columns_of(glue, "killed", "t") == {"id": "int"}
    assert len(sandbox.ledger(service="glue")) == 1


def test_the_catalog_keeps_what_it_is_given(glue):
    glue.create_database(DatabaseInput={"Name": "kept", "Description": "d", "Parameters": {"k": "v"}})
    assert code_of(glue.create_database, DatabaseInput={"Name": "kept"}) == "AlreadyExistsException"
    assert glue.get_database(Name="kept")["Database"]["Parameters"] == {"k": "v"}
    storage = {"Columns": [{"Name": "a", "Type": "int", "Comment": "c"}], "Location": "s3://b/t/"}
    table = {"Name": "t", "StorageDescriptor": storage, "PartitionKeys": [{"Name": "d", "Type": "string"}]}
    glue.create_table(DatabaseName="kept", TableInput=table)
    assert code_of(glue.create_table, DatabaseName="kept", TableInput=table) == "AlreadyExistsException"
    glue.update_table(DatabaseName="kept", TableInput={**table, "Description": "new"})
    found = glue.get_table(DatabaseName="kept", Name="t")["Table"]
    assert found["Description"] == "new" and found["VersionId"] == "1"
    assert found["StorageDescriptor"]["Columns"][0]["Comment"] == "c"
    partition = {"Values": ["1"], "StorageDescriptor": {**storage, "Location": "s3://b/t/d=1/"}}
    glue.create_partition(DatabaseName="kept", TableName="t", PartitionInput=partition)
    both = [partition, {"Values": ["2"]}]
    errors = glue.batch_create_partition(DatabaseName="kept", TableName="t", PartitionInputList=both)["Errors"]
    assert [error["PartitionValues"] for error in errors] == [["1"]]
    values = [{"Values": ["2"]}, {"Values": ["3"]}]
    assert len(glue.batch_get_partition(DatabaseName="kept", TableName="t", PartitionsToGet=values)["Partitions"]) == 1
    assert glue.get_partition(DatabaseName="kept", TableName="t", PartitionValues=["1"])["Partition"]["Values"] == ["1"]
    glue.delete_partition(DatabaseName="kept", TableName="t", PartitionValues=["1"])
    assert code_of(glue.get_partition, DatabaseName="kept", TableName="t", PartitionValues=["1"]) == "EntityNotFoundException"
    broken = {"Values": ["1", "2"]}
    assert code_of(glue.create_partition, DatabaseName="kept", TableName="t", PartitionInput=broken) == "InvalidInputException"
    assert glue.batch_delete_table(DatabaseName="kept", TablesToDelete=["t", "u"])["Errors"][0]["TableName"] == "u"
    glue.delete_database(Name="kept")
    assert code_of(glue.get_database, Name="kept") == "EntityNotFoundException"


def test_json_layouts_are_all_read(s3, glue, place):
    s3.put_object(Bucket=place, Key="t/concatenated", Body=b'{"a": 1}{"b": true} {"c": null}')
    s3.put_object(Bucket=place, Key="t/array", Body=json.dumps([{"a": 2.5}, {"d": {"e": [1]}}]).encode())
    crawl(glue, make_crawler(glue, place, "t/"))
    found = columns_of(glue, place, "t")
    assert set(found) <= {"a", "b", "c", "d"} and found["a"] in ("int", "double")
