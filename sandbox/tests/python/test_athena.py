"""Athena as boto3 sees it."""

import csv
import io
import uuid

import pyarrow
import pyarrow.parquet
import pytest
from botocore.exceptions import ClientError

from conftest import wait_until
from data import LIMIT, ended_query, put_json

DATABASE = "lake"
BUCKET = "athena-lake"
RESULTS = f"s3://{BUCKET}/results/"


@pytest.fixture(scope="module")
def athena(sandbox):
    """A client, and a database with a partitioned Parquet table `calls` and a JSON table `people`."""
    s3, glue, athena = sandbox.client("s3"), sandbox.client("glue"), sandbox.client("athena")
    s3.create_bucket(Bucket=BUCKET)
    glue.create_database(DatabaseInput={"Name": DATABASE})
    for month, numbers in {"10": [1, 2], "11": [3, 4, 5]}.items():
        table = pyarrow.table({
            "CallId": [f"c{n}" for n in numbers],
            "npanxx": ["555555" if n % 2 else "420794" for n in numbers],
            "duration": pyarrow.array([n * 10 for n in numbers], pyarrow.int64()),
        })
        buffer = io.BytesIO()
        pyarrow.parquet.write_table(table, buffer)
        s3.put_object(Bucket=BUCKET, Key=f"calls/year=2026/month={month}/part", Body=buffer.getvalue())
    put_json(
        s3, BUCKET, "people/p.json",
        {"Id": 1, "Name": "ann \"a\"", "Tags": ["x", "y"], "Joined": "2026-11-19", "Note": None},
        {"Id": 2, "Name": "", "Tags": [], "Joined": "2026-10-01"},
    )
    for sql in (
        f"""CREATE EXTERNAL TABLE calls (callid string, npanxx string, duration bigint)
            PARTITIONED BY (year string, month string) STORED AS PARQUET LOCATION 's3://{BUCKET}/calls/'""",
        "MSCK REPAIR TABLE calls",
        f"""CREATE EXTERNAL TABLE IF NOT EXISTS lake.people (id int, name string, tags array<string>, joined date, note string)
            ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe' LOCATION 's3://{BUCKET}/people/'""",
    ):
        run(athena, sql)
    return athena


def start(athena, sql, **options):
    return athena.start_query_execution(
        QueryString=sql, QueryExecutionContext={"Database": options.pop("database", DATABASE)},
        ResultConfiguration={"OutputLocation": RESULTS}, **options,
    )["QueryExecutionId"]


def run(athena, sql, **options):
    query = ended_query(athena, start(athena, sql, **options))
    assert query["Status"]["State"] == "SUCCEEDED", query["Status"].get("StateChangeReason")
    return query


def fail(athena, sql, **options):
    query = ended_query(athena, start(athena, sql, **options))
    assert query["Status"]["State"] == "FAILED", sql
    error = query["Status"]["AthenaError"]
    assert error["ErrorCategory"] == 2 and error["Retryable"] is False
    assert error["ErrorMessage"] == query["Status"]["StateChangeReason"]
    return error["ErrorMessage"]


def rows(athena, sql, **options):
    """The header and rows of a query."""
    query = run(athena, sql, **options)
    result = athena.get_query_results(QueryExecutionId=query["QueryExecutionId"])["ResultSet"]
    return [[cell.get("VarCharValue") for cell in row["Data"]] for row in result["Rows"]]


def one(athena, expression):
    """The text of one expression's value."""
    return rows(athena, f"SELECT {expression}")[1][0]


def code_of(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return error.value.response["Error"]["Code"]


REPORT = """
SELECT npanxx, sum(duration) AS TotalDuration, count(callid) AS "CallCount", count(*) FROM calls
WHERE year = '2026' AND month = '11' GROUP BY npanxx ORDER BY npanxx
"""


def test_a_report_over_one_partition(sandbox, athena, s3):
    query = run(athena, REPORT)
    assert query["StatementType"] == "DML" and query["Statistics"]["EngineExecutionTimeInMillis"] > 0
    size = s3.head_object(Bucket=BUCKET, Key="calls/year=2026/month=11/part")["ContentLength"]
    assert query["Statistics"]["DataScannedInBytes"] == size, "the other partition is not read"
    key = f"results/{query['QueryExecutionId']}.csv"
    assert query["ResultConfiguration"]["OutputLocation"] == f"s3://{BUCKET}/{key}"
    body = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read().decode()
    assert body == '"npanxx","TotalDuration","CallCount","_col3"\n"420794","40","1","1"\n"555555","80","2","2"\n'
    s3.head_object(Bucket=BUCKET, Key=key + ".metadata")
    result = athena.get_query_results(QueryExecutionId=query["QueryExecutionId"])["ResultSet"]
    assert [column["Type"] for column in result["ResultSetMetadata"]["ColumnInfo"]] == ["varchar", "bigint", "bigint", "bigint"]
    assert sandbox.ledger(service="athena")[-1]["id"] == query["QueryExecutionId"]


def test_results_come_in_pages_and_tell_null_from_empty(athena, s3):
    query = run(athena, "SELECT id, name, note, tags, joined FROM people ORDER BY id")
    pages = athena.get_paginator("get_query_results").paginate(
        QueryExecutionId=query["QueryExecutionId"], PaginationConfig={"PageSize": 2}
    )
    sizes, cells = [], []
    for page in pages:
        sizes.append(len(page["ResultSet"]["Rows"]))
        cells += [[cell.get("VarCharValue") for cell in row["Data"]] for row in page["ResultSet"]["Rows"]]
    assert sizes == [2, 1]
    assert cells == [
        ["id", "name", "note", "tags", "joined"],
        ["1", 'ann "a"', None, "[x, y]", "2026-11-19"],
        ["2", "", None, "[]", "2026-10-01"],
    ]
    body = s3.get_object(Bucket=BUCKET, Key=f"results/{query['QueryExecutionId']}.csv")["Body"].read().decode()
    assert list(csv.reader(io.StringIO(body)))[1][1] == 'ann "a"'


def test_tokens(sandbox, athena):
    token = uuid.uuid4().hex
    first = start(athena, "SELECT 1", ClientRequestToken=token)
    assert start(athena, "SELECT 1", ClientRequestToken=token) == first
    with pytest.raises(ClientError) as error:
        start(athena, "SELECT 2", ClientRequestToken=token)
    assert error.value.response["Error"]["Code"] == "InvalidRequestException"
    assert error.value.response["Error"]["Message"] == "Idempotent parameters do not match"
    assert start(athena, "SELECT 1", ClientRequestToken=uuid.uuid4().hex) != first
    assert len([entry for entry in sandbox.ledger(service="athena") if entry["marker"] == token]) == 1


def test_states_lists_and_batches(athena):
    query = start(athena, "SELECT 1")
    assert athena.get_query_execution(QueryExecutionId=query)["QueryExecution"]["Status"]["State"] in ("QUEUED", "RUNNING")
    assert code_of(athena.get_query_results, QueryExecutionId=query) == "InvalidRequestException"
    ended_query(athena, query)
    absent = str(uuid.uuid4())
    batch = athena.batch_get_query_execution(QueryExecutionIds=[query, absent])
    assert [found["QueryExecutionId"] for found in batch["QueryExecutions"]] == [query]
    assert [missing["QueryExecutionId"] for missing in batch["UnprocessedQueryExecutionIds"]] == [absent]
    assert code_of(athena.batch_get_query_execution, QueryExecutionIds=[absent] * 51) == "InvalidRequestException"
    assert athena.list_query_executions(MaxResults=5)["QueryExecutionIds"][0] == query
    assert code_of(athena.get_query_execution, QueryExecutionId=absent) == "InvalidRequestException"


def test_stopping(own_sandbox):
    sandbox = own_sandbox("--time-scale", "100")
    sandbox.client("s3").create_bucket(Bucket=BUCKET)
    athena = sandbox.client("athena")
    query = start(athena, "SELECT 1")
    athena.stop_query_execution(QueryExecutionId=query)
    athena.stop_query_execution(QueryExecutionId=query)
    assert ended_query(athena, query)["Status"]["State"] == "CANCELLED"
    assert code_of(athena.get_query_results, QueryExecutionId=query) == "InvalidRequestException"


def test_a_query_goes_on_after_a_kill(own_sandbox):
    sandbox = own_sandbox("--time-scale", "10")
    sandbox.client("s3").create_bucket(Bucket=BUCKET)
    token = uuid.uuid4().hex
    query = start(sandbox.client("athena"), "SELECT 1 AS a", ClientRequestToken=token)
    sandbox.restart()
    athena = sandbox.client("athena")
    assert start(athena, "SELECT 1 AS a", ClientRequestToken=token) == query
    assert ended_query(athena, query)["Status"]["State"] == "SUCCEEDED"
    assert len(sandbox.ledger(service="athena")) == 1


def test_execution_parameters(athena):
    sql = "SELECT callid FROM calls WHERE month = ? AND duration > ? ORDER BY callid"
    assert rows(athena, sql, ExecutionParameters=["'11'", "35"]) == [["callid"], ["c4"], ["c5"]]
    assert "expected 2 but found 1" in fail(athena, sql, ExecutionParameters=["'11'"])
    assert "is not a literal" in fail(athena, sql, ExecutionParameters=["'11' OR 1=1", "35"])


def test_a_table_from_a_query(athena, s3, sandbox):
    run(athena, f"""CREATE TABLE per_month WITH (format = 'PARQUET', external_location = 's3://{BUCKET}/per_month/',
        partitioned_by = ARRAY['month']) AS SELECT npanxx, sum(duration) AS total, month FROM calls GROUP BY npanxx, month""")
    glue = sandbox.client("glue")
    partitions = glue.get_partitions(DatabaseName=DATABASE, TableName="per_month")["Partitions"]
    assert [partition["Values"] for partition in partitions] == [["10"], ["11"]]
    assert rows(athena, "SELECT sum(total), count(*) FROM per_month WHERE month = '10'")[1] == ["30", "2"]
    run(athena, "INSERT INTO per_month SELECT '999999', CAST(7 AS bigint), '12'")
    assert rows(athena, "SELECT * FROM per_month WHERE month = '12'") == [["npanxx", "total", "month"], ["999999", "7", "12"]]
    assert rows(athena, "SHOW PARTITIONS per_month") == [["month=10"], ["month=11"], ["month=12"]]
    assert "already exists" in fail(athena, "CREATE TABLE per_month AS SELECT 1 AS a")
    assert "mismatched column types" in fail(athena, "INSERT INTO per_month SELECT 1, 2, 3")
    run(athena, "DROP TABLE per_month")
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="per_month/")["KeyCount"] > 0, "the files stay"
    path_taken = fail(athena, f"CREATE TABLE again WITH (external_location = 's3://{BUCKET}/per_month/') AS SELECT 1 AS a")
    assert path_taken.startswith("HIVE_PATH_ALREADY_EXISTS")


def test_definitions(athena, sandbox):
    run(athena, "CREATE DATABASE IF NOT EXISTS spare")
    run(athena, f"CREATE EXTERNAL TABLE spare.t (a int) PARTITIONED BY (d string) LOCATION 's3://{BUCKET}/spare/'")
    run(athena, f"ALTER TABLE spare.t ADD PARTITION (d = '1') LOCATION 's3://{BUCKET}/elsewhere/' PARTITION (d = '2')")
    assert "already exists" in fail(athena, "ALTER TABLE spare.t ADD PARTITION (d = '1')")
    run(athena, "ALTER TABLE spare.t DROP PARTITION (d = '1')")
    assert rows(athena, "SHOW PARTITIONS spare.t") == [["d=2"]]
    assert rows(athena, "SHOW TABLES IN spare") == [["t"]]
    assert ["spare"] in rows(athena, "SHOW DATABASES")
    assert athena.get_database(CatalogName="AwsDataCatalog", DatabaseName="spare")["Database"]["Name"] == "spare"
    table = athena.get_table_metadata(CatalogName="AwsDataCatalog", DatabaseName="spare", TableName="t")["TableMetadata"]
    assert table["PartitionKeys"] == [{"Name": "d", "Type": "string"}]
    assert "not empty" in fail(athena, "DROP DATABASE spare")
    run(athena, "DROP DATABASE spare CASCADE")


@pytest.mark.parametrize(
    "expression, value",
    [
        ("date_parse('10/28/21 22:47', '%m/%d/%y %H:%i')", "2021-10-28 22:47:00.000"),
        ("date_format(TIMESTAMP '2026-11-19 03:04:05', '%Y/%m/%d %H:%i')", "2026/11/19 03:04"),
        ("date_add('day', -7, DATE '2026-03-03')", "2026-02-24"),
        ("date_add('month', 1, DATE '2026-01-31')", "2026-02-28"),
        ("date_diff('day', DATE '2026-11-01', DATE '2026-11-19')", "18"),
        ("month(DATE '2026-11-19')", "11"),
        ("from_unixtime(1709994151)", "2024-03-09 14:22:31.000 UTC"),
        ("if(1 > 2, 'a', 'b')", "b"),
        ("concat('a', NULL)", None),
        ("'a' || 'b'", "ab"),
        ("element_at(ARRAY[1, 2], 2)", "2"),
        ("cardinality(ARRAY[1, 2])", "2"),
        ("count_if(a > 1) FROM (VALUES (1), (2), (3)) AS t (a)", "2"),
        ("try(CAST('x' AS integer))", None),
        ("7 / 2", "3"),
        ("substr('555-0100', 1, 3)", "555"),
        ("upper(coalesce(NULL, 'x'))", "X"),
        ("DATE '2026-11-19' > date('2026-11-01')", "true"),
        ("regexp_like('a@b.co', '^[a-z]+@')", "true"),
        ("length('äöü')", "3"),
        # The values below are those that Trino's documentation and its own tests give.
        ("split_part('a-b-c', '-', 2)", "b"),
        ("split_part('a-b', '-', 3)", None),
        ("split('a,b,', ',')", "[a, b, ]"),
        ("substr('12345', -2)", "45"),
        ("substr('12345', 0, 2)", ""),
        ("regexp_extract('1a 2b 14m', '\\d+')", "1"),
        ("regexp_extract('1a 2b 14m', '(\\d+)([a-z]+)', 2)", "a"),
        ("regexp_extract('abc', '\\d+')", None),
        ("regexp_extract_all('1a 2b 14m', '(\\d+)([a-z]+)', 2)", "[a, b, m]"),
        ("regexp_replace('1a 2b 14m', '\\d+[ab] ')", "14m"),
        ("regexp_replace('1a 2b 14m', '(\\d+)([ab]) ', '3c$2 ')", "3ca 3cb 14m"),
        ("regexp_split('1a 2b 14m', '\\s*[a-z]+\\s*')", "[1, 2, 14, ]"),
        ("regexp_count('1a 2b 14m', '\\s*[a-z]+\\s*')", "3"),
        ("json_extract_scalar('[1, 2, 3]', '$[2]')", "3"),
        ("""json_extract_scalar('{"store": {"book": [{"title": "x"}]}}', '$.store.book[0].title')""", "x"),
        ("""json_extract('{"a": {"b": [1, "x"]}}', '$.a')""", '{"b":[1,"x"]}'),
        ("""json_extract_scalar('{"a": null}', '$.a')""", None),
        ("json_extract_scalar('no json', '$.a')", None),
        ("json_array_length('[1, 2, 3]')", "3"),
        ("url_extract_host('http://example.com:8080/path1/p.php?k1=v1&k2=v2#Ref1')", "example.com"),
        ("url_extract_port('http://example.com:8080/path1/p.php')", "8080"),
        ("url_extract_port('http://example.com/')", None),
        ("url_extract_path('http://example.com/path1/p.php?k1=v1')", "/path1/p.php"),
        ("url_extract_parameter('http://example.com/path1/p.php?k1=v1&k2=v2&k3', 'k2')", "v2"),
        ("url_extract_parameter('http://example.com/path1/p.php?k1=v1&k2=v2&k3', 'k3')", ""),
        ("url_extract_parameter('http://example.com/path1/p.php?k1=v1', 'k5')", None),
        ("url_extract_host('http://example.com/^')", None),
        ("url_encode('http://test?a=b&c=d e')", "http%3A%2F%2Ftest%3Fa%3Db%26c%3Dd+e"),
        ("url_decode('http%3A%2F%2Ftest')", "http://test"),
        ("array_join(ARRAY['a', NULL, 'b'], '-')", "a-b"),
        ("array_join(ARRAY['a', NULL, 'b'], '-', 'x')", "a-x-b"),
        ("element_at(ARRAY[1, 2, 3], -1)", "3"),
        ("element_at(ARRAY[1, 2, 3], 4)", None),
        ("map(ARRAY['a', 'b'], ARRAY[1, 2])", "{a=1, b=2}"),
        ("element_at(map(ARRAY['a', 'b'], ARRAY[1, 2]), 'b')", "2"),
        ("element_at(map(ARRAY['a', 'b'], ARRAY[1, 2]), 'c')", None),
        ("map_keys(map(ARRAY['a', 'b'], ARRAY[1, 2]))", "[a, b]"),
        ("cardinality(map(ARRAY['a', 'b'], ARRAY[1, 2]))", "2"),
        ("approx_distinct(a) FROM (VALUES (1), (2), (2), (3)) AS t (a)", "3"),
        ("array_join(array_agg(a ORDER BY a), ',') FROM (VALUES ('y'), ('x')) AS t (a)", "x,y"),
        ("try_cast('x' AS integer)", None),
        ("from_iso8601_timestamp('2020-05-11T11:15:05Z')", "2020-05-11 11:15:05.000 UTC"),
        ("from_iso8601_date('2020-05-11')", "2020-05-11"),
        ("last_day_of_month(DATE '2028-02-03')", "2028-02-29"),
    ],
)
def test_values(athena, expression, value):
    assert one(athena, expression) == value


@pytest.mark.parametrize(
    "sql, message",
    [
        ("SELECT * FROM absent", "TABLE_NOT_FOUND: Table 'awsdatacatalog.lake.absent' does not exist"),
        ("SELECT absent FROM calls", "COLUMN_NOT_FOUND"),
        ("SELECT 1 +", "SYNTAX_ERROR"),
        ("SELECT * FROM calls WHERE month = 11", "TYPE_MISMATCH: Cannot apply operator: varchar = bigint"),
        ("SELECT * FROM people WHERE joined = '2026-11-19'", "TYPE_MISMATCH: Cannot apply operator: date = varchar"),
        ("SELECT '1'::int", "the cast `::`"),
        ("SELECT * EXCLUDE (id) FROM people", "EXCLUDE"),
        ("SELECT to_hex(1)", "the function to_hex"),
        ("SELECT month AS m, count(*) FROM calls GROUP BY m", "GROUP BY the alias m"),
        ("SELECT id FROM people QUALIFY row_number() OVER (ORDER BY id) = 1", "QUALIFY"),
        ("SELECT name FROM people WHERE name ILIKE 'a%'", "ILIKE"),
        ("SELECT * FROM generate_series(1, 3)", "generate_series"),
        ("DELETE FROM calls", "DELETE FROM statements"),
        ("CREATE VIEW v AS SELECT 1", "CREATE VIEW statements"),
        ("CREATE TABLE t WITH (format = 'ORC') AS SELECT 1 AS a", "format = 'ORC'"),
        ("CREATE TABLE t AS SELECT 1", "MISSING_COLUMN_NAME"),
        ("SELECT 1; SELECT 2", ""),
        ("SELECT regexp_extract('a', '(?=a)')", "cannot use the pattern (?=a)"),
        ("SELECT regexp_extract('a', 'a', 1)", "Pattern has 0 groups. Cannot access group 1"),
        ("SELECT json_extract('{}', '$..a')", "no wildcards, filters and slices"),
        ("SELECT CAST(json_extract('{}', '$.a') AS varchar)", "CAST of a JSON value"),
        ("SELECT element_at(ARRAY[1], 0)", "SQL array indices start at 1"),
        ("SELECT from_iso8601_timestamp('2020-05-11T11:15:05+03:00')", "in UTC only"),
        ("SELECT at_timezone(from_unixtime(1), 'Europe/Berlin')", "the function at_timezone"),
        ("SELECT map_agg(a, a) FROM (VALUES (1)) AS t (a)", "the function map_agg"),
        ("SELECT greatest(1, 2)", "the function greatest"),
        ("COPY people TO 'x'", "COPY PEOPLE statements"),
    ],
)
def test_what_athena_would_not_do_is_refused_by_name(athena, sql, message):
    assert message in fail(athena, sql)


def test_rows_that_do_not_fit_fail_the_query(athena, s3):
    s3.put_object(Bucket=BUCKET, Key="odd/a", Body=b'{"id": "text"}\n')
    run(athena, f"""CREATE EXTERNAL TABLE odd (id int) ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'
        LOCATION 's3://{BUCKET}/odd/'""")
    assert fail(athena, "SELECT * FROM odd").startswith("HIVE_BAD_DATA")
    s3.put_object(Bucket=BUCKET, Key="odd/a", Body=b'{\n"id": 1}\n')
    assert fail(athena, "SELECT * FROM odd").startswith("HIVE_CURSOR_ERROR")


def test_csv_tables(athena, s3):
    s3.put_object(Bucket=BUCKET, Key="csv/a.csv", Body=b"id,name\n1,ann\n2,\n")
    run(athena, f"""CREATE EXTERNAL TABLE plain (id int, name string) ROW FORMAT DELIMITED FIELDS TERMINATED BY ','
        LOCATION 's3://{BUCKET}/csv/' TBLPROPERTIES ('skip.header.line.count' = '1')""")
    assert rows(athena, "SELECT * FROM plain ORDER BY id") == [["id", "name"], ["1", "ann"], ["2", ""]]


def test_workgroups(athena):
    athena.create_work_group(
        Name="reports", Description="d",
        Configuration={"ResultConfiguration": {"OutputLocation": f"s3://{BUCKET}/reports/"}, "EnforceWorkGroupConfiguration": True},
    )
    query = run(athena, "SELECT 1", WorkGroup="reports")
    assert query["ResultConfiguration"]["OutputLocation"].startswith(f"s3://{BUCKET}/reports/")
    assert athena.list_query_executions(WorkGroup="reports")["QueryExecutionIds"] == [query["QueryExecutionId"]]
    assert {group["Name"] for group in athena.list_work_groups()["WorkGroups"]} >= {"primary", "reports"}
    athena.update_work_group(WorkGroup="reports", ConfigurationUpdates={"ResultConfigurationUpdates": {"OutputLocation": RESULTS}})
    group = athena.get_work_group(WorkGroup="reports")["WorkGroup"]
    assert group["Configuration"]["ResultConfiguration"]["OutputLocation"] == RESULTS
    athena.delete_work_group(WorkGroup="reports", RecursiveDeleteOption=True)
    assert code_of(athena.get_work_group, WorkGroup="reports") == "InvalidRequestException"
    assert code_of(athena.start_query_execution, QueryString="SELECT 1", WorkGroup="absent") == "InvalidRequestException"
    assert code_of(athena.start_query_execution, QueryString="SELECT 1") == "InvalidRequestException", "no output location"


def test_statements_that_write_say_how_many_rows(athena):
    written = run(athena, f"""CREATE TABLE counted WITH (external_location = 's3://{BUCKET}/counted/') AS
        SELECT callid FROM calls WHERE year = '2026'""")
    assert athena.get_query_results(QueryExecutionId=written["QueryExecutionId"])["UpdateCount"] == 5
    more = run(athena, "INSERT INTO counted SELECT callid FROM calls WHERE month = '10'")
    assert athena.get_query_results(QueryExecutionId=more["QueryExecutionId"])["UpdateCount"] == 2


def test_a_workgroup_that_enforces_its_location_refuses_another(athena):
    athena.create_work_group(Name="strict", Configuration={
        "ResultConfiguration": {"OutputLocation": RESULTS}, "EnforceWorkGroupConfiguration": True})
    sql = f"CREATE TABLE strict_one WITH (external_location = 's3://{BUCKET}/strict/') AS SELECT 1 AS a"
    assert "enforces a centralized output location" in fail(athena, sql, WorkGroup="strict")


def test_tables_and_partitions_are_pointed_elsewhere(sandbox, athena):
    glue = sandbox.client("glue")
    run(athena, f"""CREATE TABLE pointed WITH (external_location = 's3://{BUCKET}/one/', partitioned_by = ARRAY['d'])
        AS SELECT 1 AS a, 'x' AS d""")
    run(athena, f"""CREATE TABLE other WITH (external_location = 's3://{BUCKET}/two/', partitioned_by = ARRAY['d'])
        AS SELECT 2 AS a, 'x' AS d""")
    moved = glue.get_partition(DatabaseName=DATABASE, TableName="other", PartitionValues=["x"])["Partition"]
    entry = {"PartitionValueList": ["x"],
             "PartitionInput": {"Values": ["x"], "StorageDescriptor": moved["StorageDescriptor"]}}
    missing = {"PartitionValueList": ["y"], "PartitionInput": {**entry["PartitionInput"], "Values": ["y"]}}
    answer = glue.batch_update_partition(DatabaseName=DATABASE, TableName="pointed", Entries=[entry, missing])
    assert [error["PartitionValueList"] for error in answer["Errors"]] == [["y"]]
    assert rows(athena, "SELECT a FROM pointed WHERE d = 'x'")[1:] == [["2"]]
    table = glue.get_table(DatabaseName=DATABASE, Name="pointed")["Table"]
    kept = {key: table[key] for key in ("Name", "StorageDescriptor", "PartitionKeys", "TableType", "Parameters")}
    update = {"DatabaseName": DATABASE, "TableInput": kept}
    glue.update_table(VersionId=table["VersionId"], **update)
    assert code_of(glue.update_table, VersionId=table["VersionId"], **update) == "ConcurrentModificationException"
