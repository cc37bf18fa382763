"""`extract` and `load` with Parquet: what Postgres holds, read by pyarrow, and what pyarrow writes, read by Postgres."""

import datetime
import decimal
import io
import json
import uuid

import pyarrow
import pyarrow.parquet
import pytest

from project import Project
from test_operate import shown

HEAD = "name: {name}\ndata_interval: none\ndefaults: {{ retries: 0 }}\n"
THROUGH = """
tasks:
  read:
    type: extract
    url: "{{ secrets.shop }}"
    tables: [{ table: shop.kinds, since: at }, { table: empty, columns: [name, id] }]
    to: s3://raw/x/
    format: parquet
    watermark: { url: "{{ secrets.warehouse }}", name: x }
  keep:
    type: load
    depends_on: read
    url: "{{ secrets.warehouse }}"
    tables:
      - { table: kinds, from: "{{ tasks.read.outputs.files.kinds }}", format: parquet, mode: append }
    advance_watermark: { name: x, to: "{{ tasks.read.outputs.watermark }}" }
"""
LOAD = """
tasks:
  load:
    type: load
    url: "{{ secrets.warehouse }}"
    tables: [{ table: sale, from: s3://raw/in/, format: parquet, mode: upsert, key: [id] }]
"""

# Every kind of type, with its smallest, its largest and its oddest values.
KINDS = """
    b boolean, i2 smallint, i4 integer, i8 bigint, f4 real, f8 double precision, exact numeric(38, 3), small numeric(5, 2),
    free numeric, huge numeric(60, 1), day date, at timestamp, moment timestamptz, clock time, span interval, id uuid,
    doc jsonb, raw json, note text, short varchar(9), wide char(4), bytes bytea, feel mood, fine fine, deep deeper,
    many int[], texts text[], part complex, "odd ""name" int"""
TYPES = """
    create type mood as enum ('good', 'not so "good"'); create type complex as (re int, im text);
    create domain fine as numeric(9, 4); create domain deeper as fine check (value > 0)"""
ROWS = """
    (true, -32768, -2147483648, -9223372036854775808, 'NaN', 1.7976931348623157e308, 12345678901234567890123456789012345.678,
     -0.05, 0.1000, 1e50, '0001-01-01', '2026-11-19 10:00:00.123456', '2026-11-19 12:00:00.5+02', '23:59:59.9', '1 day 2 hours',
     '00000000-0000-0000-0000-00000000000a', '{"a": [1, null]}', E'{"x":\\n 1}', E'tab\\t, back\\\\slash, \\\\N, line\\n and ü', 'x', 'ab',
     '\\x00ff5c', 'not so "good"', 1.2345, 0.5, '{1,NULL,3}', '{a,"b,\\"c"}', '(1,"x y")', 7),
    (false, 32767, 2147483647, 9223372036854775807, '-Infinity', '-Infinity', -12345678901234567890123456789012345.678,
     999.99, 'NaN', -7, '9999-12-31', '9999-12-31 23:59:59.999999', '1969-12-31 23:59:59.999999Z', '00:00', '-3 mons', null,
     'null', 'null', '', '', '', '', 'good', -99999.9999, 1, '{}', '{""}', null, null),
    (null, null, null, null, null, null, null, null, null, null, null, '2026-11-19', null, null, null, null, null, null, null, null,
     null, null, null, null, null, null, null, null, null)"""


@pytest.fixture(scope="module")
def project(binary, environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("parquet")
    (folder / "trunkline.yaml").write_text(
        "environments:\n  local:\n    connections: { aws: { sandbox: true } }\n"
        "    secrets: { shop: { private_database: shop }, warehouse: { private_database: warehouse } }\n"
    )
    for name, text in {"through": THROUGH, "load": LOAD}.items():
        home = folder / "pipelines" / name
        home.mkdir(parents=True)
        (home / "pipeline.yaml").write_text(HEAD.format(name=name) + text)
    made = Project(binary, environment, folder)
    own = made.status()["store"]["url"]
    for name in ("shop", "warehouse"):
        made.psql(f"create database {name}", own)
    made.shop, made.warehouse = made.private("shop"), made.private("warehouse")
    made.s3 = made.client("s3")
    made.s3.create_bucket(Bucket="raw")
    yield made
    made.stop()


def newest(project, name):
    run = json.loads(project.call("runs", name, "--json").stdout)[0]
    return {row["task"]: row for row in shown(project, run["run"])["tasks"]}


def table_at(project, address):
    bucket, key = address.removeprefix("s3://").split("/", 1)
    body = project.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    return pyarrow.parquet.ParquetFile(io.BytesIO(body))


def test_what_postgres_holds_is_in_the_file_and_comes_back(project):
    for database in (project.shop, project.warehouse):
        project.psql(TYPES, database)
    project.psql(f"create schema shop; create table shop.kinds ({KINDS}); insert into shop.kinds values {ROWS};"
                 " create table empty (id bigint, name text)", project.shop)
    # Arrays, composite types and times of day come as texts, the first two of JSON.
    texts = KINDS.replace("int[]", "jsonb").replace("text[]", "jsonb").replace("part complex", "part jsonb")
    project.psql(f"create table kinds ({texts})", project.warehouse)
    project.call("run", "through")
    outputs = newest(project, "through")["read"]["outputs"]
    assert outputs["by_table"] == {"kinds": 3, "empty": 0} and outputs["files"]["kinds"][0].endswith(".parquet")
    file = table_at(project, outputs["files"]["kinds"][0])
    types = {field.name: str(field.type) for field in file.schema_arrow}
    assert types == {
        "b": "bool", "i2": "int16", "i4": "int32", "i8": "int64", "f4": "float", "f8": "double", "exact": "decimal128(38, 3)",
        "small": "decimal128(5, 2)", "free": "string", "huge": "string", "day": "date32[day]", "at": "timestamp[us]",
        "moment": "timestamp[us, tz=UTC]", "clock": "string", "span": "string", "id": "string", "doc": "string", "raw": "string",
        "note": "string", "short": "string", "wide": "string", "bytes": "binary", "feel": "string", "fine": "decimal128(9, 4)",
        "deep": "decimal128(9, 4)", "many": "string", "texts": "string", "part": "string", 'odd "name': "int32"}
    first, second, third = sorted(file.read().to_pylist(), key=lambda row: (row["b"] is None, not row["b"]))
    zone = datetime.timezone.utc
    assert first["f4"] != first["f4"] and first["f8"] == 1.7976931348623157e308
    assert first["exact"] == decimal.Decimal("12345678901234567890123456789012345.678") and first["small"] == decimal.Decimal("-0.05")
    assert first["free"] == "0.1000" and first["day"] == datetime.date(1, 1, 1)
    assert first["moment"] == datetime.datetime(2026, 11, 19, 10, 0, 0, 500000, zone)
    assert first["note"] == "tab\t, back\\slash, \\N, line\n and ü" and first["bytes"] == b"\x00\xff\\"
    assert json.loads(first["many"]) == [1, None, 3] and json.loads(first["texts"]) == ["a", 'b,"c']
    assert json.loads(first["part"]) == {"re": 1, "im": "x y"} and json.loads(first["raw"]) == {"x": 1}
    assert second["f8"] == float("-inf") and second["at"] == datetime.datetime(9999, 12, 31, 23, 59, 59, 999999)
    assert second["free"] == "NaN" and second["fine"] == decimal.Decimal("-99999.9999") and second["note"] == ""
    assert {value for name, value in third.items() if name != "at"} == {None}
    assert [field.name for field in table_at(project, outputs["files"]["empty"][0]).schema_arrow] == ["name", "id"]
    same = "select jsonb_agg(to_jsonb(k) order by b desc) from {} k"
    assert project.psql(same.format("kinds"), project.warehouse) == project.psql(same.format("shop.kinds"), project.shop)


def test_a_value_that_parquet_lacks_and_a_table_that_is_not_there_are_told(project):
    project.psql("delete from shop.kinds; insert into shop.kinds (day, at) values ('2026-01-01', '2026-11-20'), ('infinity', '2026-11-21')",
                 project.shop)
    project.psql("delete from trunkline_watermark", project.warehouse)
    said = project.call("run", "through", code=1).stderr
    assert """shop.kinds: row 2, column day: Parquet's date has no value "infinity"; leave such rows""" in said, said
    project.psql("delete from shop.kinds where day = 'infinity'; alter table empty drop column name", project.shop)
    said = project.call("run", "through", code=1).stderr
    assert "empty: it has no column `name`" in said, said


def put(project, name, table, **options):
    body = io.BytesIO()
    pyarrow.parquet.write_table(table, body, **options)
    project.s3.put_object(Bucket="raw", Key=f"in/{name}", Body=body.getvalue())


def clear(project):
    for item in project.s3.list_objects_v2(Bucket="raw", Prefix="in/").get("Contents", []):
        project.s3.delete_object(Bucket="raw", Key=item["Key"])
    project.psql("drop table if exists sale; create table sale (id int primary key, day date, amount numeric(12, 2), note text,"
                 " extra jsonb, moment timestamptz, at timestamp, who uuid, raw bytea, made int default 5)", project.warehouse)


def test_what_pyarrow_writes_is_loaded_by_its_names(project):
    clear(project)
    who = uuid.UUID(int=10)
    moment = datetime.datetime(2026, 11, 19, 12, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))
    put(project, "1.parquet", pyarrow.table({
        "note": pyarrow.array(["a\t\\N", None]).dictionary_encode(),
        "id": pyarrow.array([1, 2], pyarrow.uint16()),
        "colour": ["red", "blue"],
        "amount": pyarrow.array([decimal.Decimal("1234567890.10"), None], pyarrow.decimal256(60, 2)),
        "extra": [{"x": [1, None]}, None],
        "moment": pyarrow.array([moment, None], pyarrow.timestamp("ms", tz="Europe/Berlin")),
        "at": pyarrow.array([datetime.datetime(1969, 12, 31, 23, 59, 59), None], pyarrow.timestamp("ns")),
        "who": pyarrow.array([who.bytes, None], pyarrow.binary(16)),
        "raw": pyarrow.array([b"\x00\xff", None], pyarrow.large_binary()),
        "day": pyarrow.array([datetime.date(2026, 11, 19), None]),
    }))
    # Many groups of rows and pages; large enough to be brought to the disk; an amount as a float.
    count = 60_000
    put(project, "2.parquet", pyarrow.table({"id": range(10, count + 10), "amount": [float(i % 7) for i in range(count)],
                                             "note": [f"{i:080d}" for i in range(count)]}),
        row_group_size=10_000, compression="snappy", use_dictionary=False)
    project.call("run", "load")
    done = newest(project, "load")["load"]
    assert done["outputs"]["records"] == count + 2 and done["outputs"]["tables"]["sale"]["inserted"] == count + 2
    assert done["warnings"] == ["sale has no column for `colour`: not loaded"]
    got = json.loads(project.psql("set time zone 'UTC'; select json_agg(row_to_json(s) order by id) from sale s where id < 10",
                                  project.warehouse).removeprefix("SET\n"))
    assert got[0] == {"id": 1, "day": "2026-11-19", "amount": 1234567890.10, "note": "a\t\\N", "extra": {"x": [1, None]},
                      "moment": "2026-11-19T10:00:00+00:00", "at": "1969-12-31T23:59:59", "who": str(who), "raw": "\\x00ff", "made": 5}
    assert got[1] == {name: {"id": 2, "made": 5}.get(name) for name in got[0]}
    assert project.psql("select count(*), sum(amount), min(length(note)) from sale where id >= 10", project.warehouse) == \
        f"{count}|{sum(i % 7 for i in range(count))}.00|80"


def test_what_does_not_fit_names_its_file_record_and_column(project):
    clear(project)
    for table, expected in [
        ({"id": [1, 2], "amount": ["1.5", "many"]}, 'for type numeric: "many"\nin record 2, column amount'),
        ({"id": [1], "amount": [[1, 2]]}, 'for type numeric: "[1,2]"\nin record 1, column amount'),
        ({"id": [1, 3_000_000_000]}, "out of range for type integer\nin record 2, column id"),
        ({"id": [1], "note": [b"\xff"]}, "record 1, column note: its bytes are no text"),
        ({"id": [1], "note": pyarrow.array([5], pyarrow.duration("s"))}, "column note: Parquet's type Duration(s) has no counterpart"),
        ({"id": pyarrow.array([1, None], pyarrow.int32())}, "key: 1 records have no value for it"),
        ({"note": ["a"]}, "key: no record has `id`"),
    ]:
        put(project, "x.parquet", pyarrow.table(table))
        said = project.call("run", "load", code=1).stderr
        lines = "\n".join(line.strip() for line in said.splitlines())
        assert expected in lines, said
        assert "key:" in expected or "s3://raw/in/x.parquet: " in said, said
        assert project.psql("select count(*) from sale", project.warehouse) == "0"
    for body in (b"", b"id\n1\n", b"PAR1" + b"x" * 100 + b"PAR1"):
        project.s3.put_object(Bucket="raw", Key="in/x.parquet", Body=body)
        said = project.call("run", "load", code=1).stderr
        assert "s3://raw/in/x.parquet: " in said and "arquet" in said.split("s3://raw/in/x.parquet: ")[1], said
