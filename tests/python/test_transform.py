"""`transform` on the sandbox's S3: formats, records that do not fit, folders that are replaced, kills and stops."""

import io
import json
import signal

import pyarrow.parquet
import pytest

from project import Project
from test_athena_replace import background, faults
from test_operate import serving, shown
from waiting import until

PIPELINE = """
name: clean
data_interval: none
defaults: { retries: 0 }
params:
  rejected_max: { type: integer, default: 100 }
tasks:
  clean:
    type: transform
    inputs:
      sale:
        from: s3://lake/raw/
        format: json
        columns: { Id: bigint, shop: "struct<name:string,city:string>", amount: "decimal(9,2)", day: date }
        required: [id]
      city:
        from: s3://lake/cities.csv
        format: csv
        delimiter: ";"
        columns: { name: string, people: bigint }
    outputs:
      sale:
        query: file:sale.sql
        to: s3://lake/clean/sale/
        partition_by: [day]
      total:
        query: SELECT count(*) AS "Sales", sum(amount) AS total FROM sale
        to: s3://lake/clean/total/
        format: json
      city:
        query: SELECT city, sum(amount) AS amount FROM (SELECT shop.city AS city, amount FROM sale) GROUP BY city ORDER BY city
        to: s3://lake/clean/city/
        format: csv
    rejected: s3://lake/rejected/
    rejected_max: "{{ params.rejected_max }}"
"""
SALE = """
SELECT s.id, s.shop.name AS shop, s.amount, c.people, s._file AS file, s._record AS record, s.day
FROM sale s LEFT JOIN city c ON c.name = s.shop.city
"""


@pytest.fixture
def project(binary, environment, tmp_path):
    (tmp_path / "trunkline.yaml").write_text("environments:\n  local:\n    connections: { aws: { sandbox: true } }\n")
    home = tmp_path / "pipelines/clean"
    home.mkdir(parents=True)
    (home / "pipeline.yaml").write_text(PIPELINE)
    (home / "sale.sql").write_text(SALE)
    made = Project(binary, environment, tmp_path)
    made.s3 = made.client("s3")
    made.s3.create_bucket(Bucket="lake")
    put(made, "cities.csv", "people;name\n21000;Zürich\n;Bern\n")
    yield made
    made.stop()


def put(project, key, body):
    project.s3.put_object(Bucket="lake", Key=key, Body=body if isinstance(body, bytes) else body.encode())


def sale(id, city="Zürich", amount=1.5, day="2026-11-19"):
    return json.dumps({"id": id, "Shop": {"name": f"s{id}", "city": city}, "amount": amount, "day": day}, ensure_ascii=False)


def names(project, prefix):
    found = project.s3.list_objects_v2(Bucket="lake", Prefix=prefix).get("Contents", [])
    return sorted(one["Key"].removeprefix(prefix) for one in found)


def text(project, key):
    return project.s3.get_object(Bucket="lake", Key=key)["Body"].read().decode()


def rows(project, prefix="clean/sale/"):
    """All rows below a prefix as a reader of the folder has them, with the day of their folder."""
    found = []
    for name in names(project, prefix):
        if not name.rsplit("/", 1)[-1].startswith(("_", ".")):
            body = project.s3.get_object(Bucket="lake", Key=prefix + name)["Body"].read()
            day = name.split("/")[0].removeprefix("day=")
            found += [row | {"day": day} for row in pyarrow.parquet.read_table(io.BytesIO(body)).to_pylist()]
    return sorted(found, key=lambda row: row["id"])


def ran(project, *options, code=0):
    """The task of a run that this begins; what it said where it fails."""
    done = project.call("run", "clean", *options, code=code)
    if code:
        return done.stderr
    run = json.loads(project.call("runs", "clean", "--json").stdout)[0]
    return shown(project, run["run"])["tasks"][0]


def test_files_become_files_and_what_does_not_fit_is_kept_aside(project):
    put(project, "raw/1", sale(1) + sale(2, "Bern", 2.25) + '{"id": 3, "amount": "much"}')
    put(project, "raw/2.json", "\n".join([sale(4, day="2026-11-20"), "{broken", sale(5, "Paris"), '{"amount": 1}', '{"id": 6, ']))
    put(project, "raw/empty", "")
    put(project, "raw/_hidden", "{rubbish")
    task = ran(project)
    left = task["outputs"]
    assert left["records"] == {"sale": 4, "city": 2} and left["rejected"] == 4
    assert left["sale"]["files"] == ["s3://lake/clean/sale/day=2026-11-19/part-00000.parquet",
                                     "s3://lake/clean/sale/day=2026-11-20/part-00000.parquet"]
    got = rows(project)
    assert [(row["id"], row["shop"], float(row["amount"]), row["people"], row["day"]) for row in got] == [
        (1, "s1", 1.5, 21000, "2026-11-19"), (2, "s2", 2.25, None, "2026-11-19"),
        (4, "s4", 1.5, 21000, "2026-11-20"), (5, "s5", 1.5, None, "2026-11-19")]
    assert [(row["file"], row["record"]) for row in got] == [
        ("s3://lake/raw/1", 1), ("s3://lake/raw/1", 2), ("s3://lake/raw/2.json", 1), ("s3://lake/raw/2.json", 3)]
    assert json.loads(text(project, "clean/total/part-00000.json")) == {"Sales": 4, "total": 6.75}
    assert text(project, "clean/city/part-00000.csv") == "city,amount\nBern,2.25\nParis,1.50\nZürich,3.00\n"
    aside = [json.loads(line) for line in text(project, "rejected/part-00000.json").splitlines()]
    assert sorted((one["file"], one["record"], one["reason"], one["text"].strip()) for one in aside) == [
        ("s3://lake/raw/1", 3, 'column amount: "much" is not decimal(9,2)', '{"id": 3, "amount": "much"}'),
        ("s3://lake/raw/2.json", 2, "it is no JSON: key must be a string", "{broken"),
        ("s3://lake/raw/2.json", 4, "column id: there is no value", '{"amount": 1}'),
        ("s3://lake/raw/2.json", 5, "it is cut off", '{"id": 6,')], aside
    assert task["warnings"][0].startswith("4 records do not fit and are in s3://lake/rejected/part-00000.json. s3://lake/raw/")


def test_a_folder_becomes_what_the_last_run_says_and_nothing_else_is_touched(project):
    put(project, "raw/1", sale(1) + sale(2, day="2026-11-20") + "nonsense")
    put(project, "clean/sale/day=2026-11-20/of-somebody-else.parquet", b"theirs")
    ran(project)
    assert names(project, "rejected/") == ["_transform.json", "part-00000.json"]
    put(project, "raw/1", sale(3, day="2026-11-21"))
    task = ran(project)
    assert task["outputs"]["rejected"] == 0 and not task["warnings"]
    assert names(project, "clean/sale/") == ["_transform.json", "day=2026-11-20/of-somebody-else.parquet",
                                             "day=2026-11-21/part-00000.parquet"]
    assert names(project, "rejected/") == ["_transform.json"]
    # What a try left that was cut off in the middle: its record names all files that may be there.
    record = json.loads(text(project, "clean/sale/_transform.json"))
    put(project, "clean/sale/_transform.json",
        json.dumps(record | {"done": False, "files": [*record["files"], "day=2026-11-25/part-00000.parquet"]}))
    put(project, "clean/sale/day=2026-11-25/part-00000.parquet", b"half")
    project.call("clear", "clean@latest", "--yes")
    assert names(project, "clean/sale/")[1:] == ["day=2026-11-20/of-somebody-else.parquet", "day=2026-11-21/part-00000.parquet"]
    put(project, "clean/sale/_transform.json", "my own notes")
    assert "if it is not Trunkline's, choose another folder" in ran(project, code=1)


def test_too_much_that_does_not_fit_replaces_nothing(project):
    put(project, "raw/1", sale(1))
    ran(project)
    put(project, "raw/2", "{}{}")
    said = ran(project, "--param", "rejected_max=1", code=1)
    assert "2 records do not fit, and rejected_max is 1; nothing was replaced. s3://lake/raw/2: record 1: column id: there is no value: {}" in said
    assert [row["id"] for row in rows(project)] == [1] and names(project, "rejected/") == ["_transform.json"]
    project.edit("pipelines/clean/pipeline.yaml", "    rejected: s3://lake/rejected/\n    rejected_max: \"{{ params.rejected_max }}\"\n", "")
    assert "s3://lake/raw/2: record 1: column id: there is no value: {}" in ran(project, code=1)
    put(project, "raw/2", "")
    put(project, "raw/1", sale(1, amount=10 ** 9))
    assert "s3://lake/raw/1: record 1: column amount" in ran(project, code=1)


def test_no_files_are_a_table_without_rows(project):
    task = ran(project)
    assert task["warnings"] == ["inputs.sale: there is no object to read"]
    assert rows(project) == [] and json.loads(text(project, "clean/total/part-00000.json"))["Sales"] == 0
    project.s3.delete_object(Bucket="lake", Key="cities.csv")
    assert "s3://lake/cities.csv" in ran(project, code=1)


def test_mistakes_are_told_by_validate(project):
    file = project.folder / "pipelines/clean/pipeline.yaml"
    sound = PIPELINE.replace('"{{ params.rejected_max }}"', "9")
    for old, new, expected in [
        ("sum(amount) AS total FROM sale", "sum(amounts) AS total FROM sale", "outputs.total: No field named amounts"),
        ("GROUP BY city ORDER BY city", "GROUP BY city ORDER", "outputs.city: "),
        ("FROM sale) GROUP", "FROM sales) GROUP", "outputs.city: there is no input `sales`"),
        ("partition_by: [day]", "partition_by: [year]", "outputs.sale: partition_by: the result has no column year"),
        ("people: bigint", "people: number", "inputs.city: not supported: the column type `number`"),
        ("required: [id]", "required: [name]", "inputs.sale.required: `name` is none of the columns"),
        ("to: s3://lake/clean/total/", "to: s3://lake/clean/", "lie within each"),
        ("to: s3://lake/clean/total/", "to: s3://lake/clean/total", "is no folder"),
        ("      total:\n", "      records:\n", "the task has an output of this name already"),
    ]:
        assert sound.count(old) == 1
        file.write_text(sound.replace(old, new))
        said = project.call("validate", code=2)
        assert expected in said.stdout + said.stderr


@pytest.mark.parametrize("operation", ["PutObject", "DeleteObject"])
def test_lost_answers_and_refusals_of_s3_change_nothing(project, operation):
    put(project, "raw/1", sale(1))
    ran(project)
    put(project, "raw/1", sale(2, day="2026-11-20"))
    for kind in ("drop_answer", "error_after", "throttle"):
        faults(project, {"service": "s3", "operation": operation, "kind": kind, "times": 1})
        try:
            ran(project)
        finally:
            faults(project)
        assert [row["id"] for row in rows(project)] == [2]


def test_a_run_that_is_killed_while_it_replaces_is_taken_up(project):
    put(project, "raw/1", sale(1))
    ran(project)
    put(project, "raw/1", "".join(sale(id, day=f"2026-11-{id}") for id in range(10, 30)))
    # The record is moved first, then come the files.
    faults(project, {"service": "s3", "operation": "PutObject", "kind": "delay", "delay_ms": 3000, "skip": 2, "times": 1000})
    child = background(project, "run", "clean")
    until(lambda: json.loads(text(project, "clean/sale/_transform.json"))["done"] is False, 60, "the folder to be replaced")
    child.send_signal(signal.SIGKILL)
    child.wait()
    faults(project)
    put(project, "raw/1", "".join(sale(id, day=f"2026-11-{id}") for id in range(10, 15)))
    with serving(project):
        until(lambda: shown(project, "clean@latest")["state"] == "succeeded", 120, "the run")
    assert [row["id"] for row in rows(project)] == [10, 11, 12, 13, 14]
    assert json.loads(text(project, "clean/sale/_transform.json"))["done"] is True


def test_a_run_that_is_cancelled_stops_its_query(project):
    put(project, "raw/1", "".join(sale(id) for id in range(5000)))
    project.edit("pipelines/clean/pipeline.yaml", "sum(amount) AS total FROM sale",
                 "sum(a.amount + b.amount + c.amount) AS total FROM sale a CROSS JOIN sale b CROSS JOIN sale c")
    running = background(project, "run", "clean")
    folder = project.folder / ".trunkline/transform"
    until(lambda: any(folder.glob("*/output-1")), 60, "the long query")
    project.call("cancel", "clean@latest")
    assert running.wait(60) == 1 and shown(project, "clean@latest")["state"] == "cancelled"
    until(lambda: not any(folder.iterdir()), 60, "its files to be removed")
    assert names(project, "clean/") == []
    # A server that is told to end waits for no query.
    project.call("clear", "clean@latest", "--yes", "--detach")
    with serving(project) as server:
        until(lambda: any(folder.glob("*/output-1")), 60, "the long query")
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
