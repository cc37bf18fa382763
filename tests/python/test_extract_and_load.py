"""`extract` and `load` between real Postgres databases and the sandbox's S3: every mode, every format, every mistake."""

import json

import pytest

from project import Project
from test_operate import shown

HEAD = "name: {name}\ndata_interval: none\ndefaults: {{ retries: 0 }}\n"
EXTRACT = """
tasks:
  read:
    type: extract
    url: "{{ secrets.shop }}"
    tables:
      - { table: shop.sale, since: changed }
      - { table: kind, columns: [id, name] }
    to: s3://raw/x/
    watermark: { url: "{{ secrets.warehouse }}", name: x }
    overlap: 1m
  keep:
    type: load
    depends_on: read
    url: "{{ secrets.warehouse }}"
    tables:
      - { table: sale, from: "{{ tasks.read.outputs.files.sale }}", mode: merge, key: [id], newest: changed }
      - { table: kind, from: "{{ tasks.read.outputs.files.kind }}", mode: upsert, key: [id] }
    advance_watermark: { name: x, to: "{{ tasks.read.outputs.watermark }}" }
"""
MODES = {
    "append": "",
    "insert_missing": "key: [id]",
    "upsert": "key: [id]",
    "merge": "key: [id], newest: changed",
    "replace": "",
    "replace_partition": 'partition: { day: "2026-11-19" }',
}


def load_of(mode, folder="in", more=""):
    options = ", ".join(filter(None, [MODES[mode], more]))
    return (HEAD.format(name=mode) + "tasks:\n  load:\n    type: load\n    url: \"{{ secrets.warehouse }}\"\n"
            f"    tables: [{{ table: sale, from: s3://raw/{folder}/, mode: {mode}, {options} }}]\n")


@pytest.fixture
def project(binary, environment, tmp_path):
    (tmp_path / "trunkline.yaml").write_text(
        "environments:\n  local:\n    connections: { aws: { sandbox: true } }\n"
        "    secrets: { shop: { private_database: shop }, warehouse: { private_database: warehouse } }\n"
    )
    for name, text in {"x": HEAD.format(name="x") + EXTRACT, **{mode: load_of(mode) for mode in MODES}}.items():
        home = tmp_path / "pipelines" / name
        home.mkdir(parents=True)
        (home / "pipeline.yaml").write_text(text)
    made = Project(binary, environment, tmp_path)
    own = made.status()["store"]["url"]
    for name in ("shop", "warehouse"):
        made.psql(f"create database {name}", own)
    made.shop, made.warehouse = made.private("shop"), made.private("warehouse")
    made.psql("create table sale (id int primary key, day date, amount numeric(12, 2), note text, extra jsonb,"
              " changed timestamp, made_at timestamptz default '2026-01-01', twice numeric generated always as (amount * 2) stored)",
              made.warehouse)
    made.s3 = made.client("s3")
    made.s3.create_bucket(Bucket="raw")
    yield made
    made.stop()


def put(project, key, *records, between="\n"):
    body = between.join(record if isinstance(record, str) else json.dumps(record) for record in records)
    project.s3.put_object(Bucket="raw", Key=key, Body=body.encode())


def sales(project, columns="id, amount, note"):
    return project.psql(f"select {columns} from sale order by id", project.warehouse).splitlines()


def loaded(project, mode, code=0):
    done = project.call("run", mode, code=code)
    if code:
        return done.stderr
    run = json.loads(project.call("runs", mode, "--json").stdout)[0]
    return next(row for row in shown(project, run["run"])["tasks"] if row["task"] == "load")


def test_each_mode_makes_of_the_rows_what_it_says(project):
    put(project, "in/1.jsonl", {"id": 1, "amount": 10.10, "note": "a", "changed": "2026-11-19 10:00"},
        {"id": 2, "amount": 20, "note": "b", "changed": "2026-11-19 10:00"})

    def counts(mode):
        return loaded(project, mode)["outputs"]["tables"]["sale"]

    assert counts("append") == {"files": 1, "records": 2, "deleted": 0, "updated": 0, "inserted": 2}
    assert "duplicate key" in loaded(project, "append", code=1)
    # Of one key the last record counts; a second file comes after the first.
    put(project, "in/2.jsonl", {"id": 2, "amount": 21, "note": "older", "changed": "2026-11-19 09:00"},
        {"id": 3, "amount": 30, "note": "c", "changed": "2026-11-19 10:00"},
        {"id": 3, "amount": 31, "note": "c2", "changed": "2026-11-19 09:30"})
    assert counts("insert_missing") == {"files": 2, "records": 5, "deleted": 0, "updated": 0, "inserted": 1}
    assert sales(project) == ["1|10.10|a", "2|20.00|b", "3|31.00|c2"]
    assert counts("merge")["updated"] == 1
    assert sales(project) == ["1|10.10|a", "2|20.00|b", "3|30.00|c"], "only what is newer"
    assert counts("upsert")["updated"] == 2
    assert sales(project) == ["1|10.10|a", "2|21.00|older", "3|31.00|c2"]
    assert counts("upsert")["updated"] == 0, "what would stay as it is is not written"
    project.psql("insert into sale (id, day) values (7, '2026-11-19'), (8, '2026-11-18')", project.warehouse)
    project.psql("delete from sale where id < 7", project.warehouse)
    project.s3.delete_object(Bucket="raw", Key="in/2.jsonl")
    for _ in range(2):
        loaded(project, "replace_partition")
        assert sales(project, "id, day") == ["1|2026-11-19", "2|2026-11-19", "8|2026-11-18"]
    project.s3.delete_object(Bucket="raw", Key="in/1.jsonl")
    assert counts("replace_partition")["deleted"] == 2, "a partition without records is empty"
    put(project, "in/3.jsonl", {"id": 9})
    assert counts("replace") == {"files": 1, "records": 1, "deleted": 1, "updated": 0, "inserted": 1}
    assert sales(project, "id, made_at is not null") == ["9|t"], "a column that no record has gets its default"


def test_records_of_nothing_but_their_key_go_in_once(project):
    put(project, "in/1.jsonl", {"id": 1}, {"id": 2}, {"id": 1})
    for inserted in (2, 0):
        counts = loaded(project, "upsert")["outputs"]["tables"]["sale"]
        assert counts == {"files": 1, "records": 3, "deleted": 0, "updated": 0, "inserted": inserted}
    assert sales(project) == ["1||", "2||"]


def test_records_need_no_lines_and_no_digit_is_lost(project):
    put(project, "in/one", {"id": 1, "note": 'a }{ "b" \\ \n ü', "amount": None, "extra": {"x": ["\t", 1]}},
        '{"id": 2, "amount": 1234567890.12, "extra": [1,\n 2]}', '{\n  "id": 3,\n  "note": "3"\n}', between="")
    assert loaded(project, "upsert")["outputs"]["records"] == 3
    got = json.loads(project.psql("select json_agg(row_to_json(s) order by id) from (select id, amount, note, extra from sale) s",
                                  project.warehouse))
    assert got == [{"id": 1, "amount": None, "note": 'a }{ "b" \\ \n ü', "extra": {"x": ["\t", 1]}},
                   {"id": 2, "amount": 1234567890.12, "note": None, "extra": [1, 2]},
                   {"id": 3, "amount": None, "note": "3", "extra": None}]
    put(project, "in/two", {"id": 4, "colour": "red", "colour of the eyes": 1})
    warned = loaded(project, "upsert")["warnings"]
    assert warned == ["sale has no column for `colour`, `colour of the eyes`: not loaded"]


def test_csv_is_loaded_by_its_first_line(project):
    (project.folder / "pipelines/upsert/pipeline.yaml").write_text(load_of("upsert", more="format: csv"))
    put(project, "in/1.csv", 'note,"id","not, known"\r\n"a, ""b""\nc",1,x\r\n,2,y\r\n')
    put(project, "in/2.csv", "")
    put(project, "in/3.csv", "id,note")
    done = loaded(project, "upsert")
    assert done["outputs"]["records"] == 2 and done["warnings"] == ["sale has no column for `not, known`: not loaded"]
    assert project.psql("select id, note from sale order by id", project.warehouse) == '1|a, "b"\nc\n2|'


def test_a_mistake_names_the_record_and_changes_nothing(project):
    put(project, "in/1.jsonl", {"id": 1, "amount": 1})
    loaded(project, "append")
    for record, expected in [
        ({"id": 3, "amount": "many"}, 's3://raw/in/2.jsonl: ERROR: invalid input syntax for type numeric: "many"'),
        ({"amount": 1}, "key: 1 records have no value for it"),
        ("[1]", "s3://raw/in/2.jsonl: record 2: invalid type: sequence"),
        ('{"id": 3, "note', "s3://raw/in/2.jsonl: record 2 is cut off"),
        ({"id": 3, "note": "\0"}, "s3://raw/in/2.jsonl: ERROR: invalid byte sequence"),
    ]:
        put(project, "in/2.jsonl", {"id": 2, "amount": 2}, record)
        said = loaded(project, "upsert", code=1)
        assert expected in said, said
        assert sales(project, "id") == ["1"]
    put(project, "in/2.jsonl", {"id": 2}, {"id": 3, "amount": "x"})
    assert "in record 2, column amount" in loaded(project, "upsert", code=1)
    project.psql("drop table sale", project.warehouse)
    assert "there is no table sale in the database" in loaded(project, "upsert", code=1)
    project.psql("create table sale (id int)", project.warehouse)
    project.s3.delete_objects(Bucket="raw", Delete={"Objects": [{"Key": "in/1.jsonl"}, {"Key": "in/2.jsonl"}]})
    project.s3.delete_bucket(Bucket="raw")
    assert "bucket" in loaded(project, "upsert", code=1)


def test_what_was_read_is_one_moment_and_the_watermark_follows_the_rows(project):
    project.psql("create schema shop; create table shop.sale (id int, amount numeric, extra json, changed timestamp);"
                 " create table kind (id int, name text, hidden text); insert into kind values (1, 'one', 'h')", project.shop)
    project.psql("create table kind (id int, name text, hidden text)", project.warehouse)
    empty = project.call("run", "x")
    assert "succeeded" in empty.stdout
    project.psql("""insert into shop.sale values (1, 1.50, E'{"a":\\n 1}', '2026-11-19 10:00'), (2, 2, null, '2026-11-19 10:05')""",
                 project.shop)
    project.call("run", "x")
    marks = "select source, value, recent from trunkline_watermark"
    assert project.psql(marks, project.warehouse) == "sale|2026-11-19 10:05:00|1"
    assert sales(project, "id, amount, extra") == ['1|1.50|{"a": 1}', "2|2.00|"]
    assert project.psql("select * from kind", project.warehouse) == "1|one|", "only the columns that are named"
    # Written before the last one, committed after it.
    project.psql("insert into shop.sale values (3, 3, null, '2026-11-19 10:04:30')", project.shop)
    project.call("run", "x")
    assert sales(project, "id") == ["1", "2", "3"]
    assert project.psql(marks, project.warehouse) == "sale|2026-11-19 10:05:00|2"
    # The load of an older run moves nothing back.
    project.psql("insert into shop.sale values (4, 4, null, '2026-11-19 11:00')", project.shop)
    project.call("run", "x")
    runs = json.loads(project.call("runs", "x", "--json").stdout)
    older = next(run["run"] for run in reversed(runs) if "10:05" in json.dumps(shown(project, run["run"])))
    project.call("clear", older, "--task", "keep", "--yes")
    assert project.psql(marks, project.warehouse) == "sale|2026-11-19 11:00:00|1"
    assert "was moved since this was read" in json.dumps(shown(project, older))
    project.psql("alter table shop.sale drop column changed", project.shop)
    said = project.call("run", "x", code=1).stderr
    assert "shop.sale: there is no such table, or it has no column `changed`" in said
