"""Files into Redshift by `redshift_copy`, against plain Python: each mode, duplicates, broken and empty files, crashes."""

import datetime
import decimal
import io
import json
import signal
import subprocess
import urllib.request

import pyarrow
import pyarrow.parquet
import pytest

from project import Project
from test_operate import serving, shown
from waiting import until

TEMPLATE = """
Resources:
  Raw: { Type: AWS::S3::Bucket, Properties: { BucketName: raw } }
  Scratch: { Type: AWS::S3::Bucket, Properties: { BucketName: scratch } }
  Namespace:
    Type: AWS::RedshiftServerless::Namespace
    Properties: { NamespaceName: sales, DbName: dev }
  Workgroup:
    Type: AWS::RedshiftServerless::Workgroup
    Properties: { WorkgroupName: reports, NamespaceName: !Ref Namespace }
"""

HEAD = """
name: {name}
data_interval: none
params:
  folder: {{ type: string, default: none }}
defaults: {{ connection: warehouse, retries: 0, poll_interval: 1s }}
tasks:
"""

COPY = """
  copy:
    type: redshift_copy
    role: arn:aws:iam::000000000000:role/copy
    manifests: s3://scratch/lists/
    tables:
      - table: {table}
        from: "s3://raw/{{{{ params.folder }}}}/"
        json_paths: {{ id: "$['ContactId']", agent: "$['Agent']['ARN']", at: "$['Updated']" }}
        options: ["TIMEFORMAT 'auto'", TRUNCATECOLUMNS]
        mode: {mode}
"""

MODES = {
    "append": "",
    "insert_missing": "        key: [id]\n",
    "upsert": "        key: [id]\n",
    "merge": "        key: [id]\n        newest: at\n",
    "replace": "",
    "replace_partition": '        partition: { day: "2026-11-19" }\n',
}

BOTH = HEAD.format(name="both") + COPY.format(table="agent", mode="upsert").replace("""id: "$['ContactId']", """, "") + """        key: [agent]
        where: agent IS NOT NULL
      - table: contact
        from: ["s3://raw/{{ params.folder }}/"]
        json_paths: { id: $.ContactId, agent: $.Agent.ARN, at: $.Updated }
        mode: merge
        key: [id]
        newest: at
    statements:
      - DELETE FROM contact WHERE agent = :gone
      - SELECT COUNT(*) AS contacts FROM contact
    parameters: { gone: "o'hara" }
    fetch_rows: 1
"""

KEYLESS = HEAD.format(name="keyless") + COPY.format(table="contact", mode="upsert") + "        key: [id]\n"

# By names, whatever their case; every agent's rows are replaced that the files have rows of.
BY_NAME = HEAD.format(name="by_name") + """
  copy:
    type: redshift_copy
    role: [arn:aws:iam::000000000000:role/copy, arn:aws:iam::111111111111:role/read]
    manifests: s3://scratch/lists/
    tables:
      - table: named
        from: "s3://raw/{{ params.folder }}/"
        columns: [agent, id]
        mode: replace_partition
        partition: [agent]
      - table: rate
        from: ["s3://raw/rates/{{ params.folder }}.csv"]
        format: csv
        columns: [cents, country]
        mode: append
      - { table: rate, from: [], mode: append }
"""

# Columns by their order, whatever their names in the files.
COLUMNAR = HEAD.format(name="columnar") + """
  copy:
    type: redshift_copy
    role: arn:aws:iam::000000000000:role/copy
    manifests: s3://scratch/lists/
    tables:
      - table: priced
        from: "s3://raw/{{ params.folder }}/"
        format: parquet
        columns: [id, name, price, at]
        mode: upsert
        key: [id]
"""

CREATE = "CREATE TABLE {} (day DATE, id VARCHAR(36), agent VARCHAR(8), at TIMESTAMPTZ, note VARCHAR(5) DEFAULT 'none')"


def record(id, agent, at):
    return {"ContactId": id, "Agent": agent and {"ARN": agent}, "Updated": at, "More": [{"a": "}{"}]}


# Back to back, one in each line, over several lines; empty; keys that people escape.
FIRST = {
    "a b+c%3A1": [record("1", "ann", "2026-11-19T10:00:00Z"), record("2", "bob", "2026-11-19T10:00:00Z"),
                  record("1", "ann", "2026-11-19T11:00:00Z")],
    "b": [record("3", None, "2026-11-19T10:00:00Z"), record("4", "ann", None), record("4", None, None),
          record("2", "bobby", "2026-11-19T10:00:00Z")],
    "empty": [],
}
SECOND = {
    "a": [record("1", "old", "2026-11-19T09:00:00Z"), record("2", "zoë", "2026-11-19T10:00:00Z")],
    "b": [record("4", "cleo", "2026-11-18T10:00:00Z"), record("5", "dan", "2026-11-19T10:00:00Z"),
          record("5", "dan", "2026-11-19T10:00:00Z"), record("3", "a_very_long_name", "2026-11-19T12:00:00Z")],
}


def rows(files):
    """(agent, at, id) as the table has them: 8 bytes of an agent's name, times in UTC."""
    for key in sorted(files):
        for one in files[key]:
            agent = one["Agent"] and one["Agent"]["ARN"].encode()[:8].decode()
            yield agent, one["Updated"] and one["Updated"].replace("T", " ").replace("Z", ""), one["ContactId"]


def ordered(value):
    """Nothing is less than any value."""
    return value is not None, value or ""


def model(mode, table, files):
    """The table after a load of these files."""
    new = list(rows(files))
    if mode == "append":
        return table + new
    if mode in ("replace", "replace_partition"):
        return new
    first = (lambda row: (ordered(row[1]), ordered(row[0]))) if mode == "merge" else (lambda row: (ordered(row[0]), ordered(row[1])))
    chosen = {row[2]: row for row in sorted(new, key=first)}
    kept = {row[2]: row for row in table}
    if mode == "insert_missing":
        return list((chosen | kept).values())
    if mode == "upsert":
        return list((kept | chosen).values())
    for id, row in chosen.items():
        kept[id] = max(kept.get(id, row), row, key=first)
    return list(kept.values())


class Copies:
    """A project with a pipeline for each mode."""

    def __init__(self, binary, environment, folder):
        (folder / "trunkline.yaml").write_text("""
environments:
  local:
    connections:
      aws: { sandbox: true }
      warehouse: { sandbox: true, workgroup: reports, database: dev }
""")
        tables = [f"contact_{mode}" for mode in MODES] + ["contact", "agent", "named", "late"]
        texts = {f"copy_{mode}": HEAD.format(name=f"copy_{mode}") + COPY.format(table=f"contact_{mode}", mode=mode) + more
                 for mode, more in MODES.items()}
        texts |= {"both": BOTH, "keyless": KEYLESS, "by_name": BY_NAME, "columnar": COLUMNAR}
        texts["late"] = HEAD.format(name="late") + COPY.format(table="late", mode="append")
        creates = "".join(f"      - {CREATE.format(table)}\n" for table in tables)
        texts["tables"] = HEAD.format(name="tables") + (
            f"  tables:\n    type: redshift_sql\n    statements:\n{creates}"
            "      - CREATE TABLE rate (country VARCHAR(2), cents INT)\n"
            "      - CREATE TABLE priced (id BIGINT, name VARCHAR(4), price DECIMAL(12, 2), at TIMESTAMP, note VARCHAR(5) DEFAULT 'none')\n")
        for name, text in texts.items():
            home = folder / "pipelines" / name
            home.mkdir(parents=True)
            (home / "pipeline.yaml").write_text(text)
        (folder / "pipelines" / "tables" / "aws.yaml").write_text(TEMPLATE)
        self.project = Project(binary, environment, folder)
        self.project.call("run", "tables")
        self.s3 = self.project.client("s3")
        self.put("first", FIRST)
        self.put("second", SECOND)

    def put(self, folder, files):
        for place, (key, records) in enumerate(sorted(files.items())):
            separator, indent = ["", "\n", ""][place % 3], 2 if place == 1 else None
            body = separator.join(json.dumps(one, ensure_ascii=False, indent=indent) for one in records)
            self.s3.put_object(Bucket="raw", Key=f"{folder}/{key}", Body=body.encode())

    def run(self, name, folder, code=0):
        done = self.project.call("run", name, "-p", f"folder={folder}", code=code)
        return done.stdout + done.stderr

    def outputs(self, name):
        """Of the newest run's copy."""
        runs = json.loads(self.project.call("runs", name, "--json").stdout)
        newest = shown(self.project, runs["runs"][0]["run"] if isinstance(runs, dict) else runs[0]["run"])
        return next(task["outputs"] for task in newest["tasks"] if task["task"] == "copy")

    def execute(self, sql):
        redshift = self.project.client("redshift-data")
        return redshift.execute_statement(Sql=sql, WorkgroupName="reports", Database="dev", WaitTimeSeconds=30)["Id"]

    def select(self, sql):
        found = self.project.client("redshift-data").get_statement_result(Id=self.execute(sql))["Records"]
        return [tuple(None if field.get("isNull") else next(iter(field.values())) for field in row) for row in found]

    def contacts(self, table):
        found = self.select(f"SELECT agent, CAST(at AS TIMESTAMP) AS at, id FROM {table}")
        return sorted(found, key=repr)


@pytest.fixture(scope="module")
def copies(binary, environment, tmp_path_factory):
    made = Copies(binary, environment, tmp_path_factory.mktemp("redshift_copy"))
    yield made
    made.project.stop()


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_twice_and_with_duplicates(copies, mode):
    expected = []
    for folder, files in [("first", FIRST), ("first", FIRST), ("second", SECOND), ("first", FIRST)]:
        copies.run(f"copy_{mode}", folder)
        expected = model(mode, expected, files)
        assert copies.contacts(f"contact_{mode}") == sorted(expected, key=repr), folder
    days = {"2026-11-19"} if mode == "replace_partition" else {None}
    assert {row[0] for row in copies.select(f"SELECT day FROM contact_{mode}")} == days
    notes = copies.select(f"SELECT DISTINCT note FROM contact_{mode}")
    assert notes == [("none",)], "columns that the files do not bring get their default"


def test_a_merge_depends_on_what_was_loaded_and_not_on_its_order(copies):
    for folders in (["first", "second"], ["second", "first"]):
        copies.execute("DELETE FROM contact_merge")
        for folder in folders:
            copies.run("copy_merge", folder)
        expected = model("merge", model("merge", [], FIRST), SECOND)
        assert copies.contacts("contact_merge") == sorted(expected, key=repr)


def test_tables_are_one_transaction_and_say_what_came_in(copies):
    said = copies.run("both", "first")
    contacts = model("merge", [], FIRST)
    agents = {row[0]: row for row in sorted(rows(FIRST), key=lambda row: ordered(row[1])) if row[0]}
    assert copies.contacts("contact") == sorted(contacts, key=repr)
    found = copies.select("SELECT agent, CAST(at AS TIMESTAMP) FROM agent")
    assert sorted(found) == sorted((agent, row[1]) for agent, row in agents.items())
    outputs = copies.outputs("both")
    assert outputs["objects"] == 6 and outputs["records"] == 14, said
    assert outputs["tables"]["agent"] == {"objects": 3, "records": 7, "left_out": 2, "deleted": 0, "inserted": 3}
    assert outputs["tables"]["contact"] == {"objects": 3, "records": 7, "deleted": 0, "inserted": 4}
    assert outputs["rows"] == [{"contacts": 4}]
    # Once more: of the contacts nothing is new.
    copies.run("both", "first")
    outputs = copies.outputs("both")
    assert outputs["tables"]["contact"]["inserted"] == 0 and outputs["tables"]["agent"]["deleted"] == 3


def test_a_broken_file_loads_nothing_and_names_its_table(copies):
    before = copies.contacts("contact"), copies.select("SELECT COUNT(*) FROM agent")
    copies.s3.put_object(Bucket="raw", Key="broken/a", Body=json.dumps(record("77", "eve", None)))
    copies.s3.put_object(Bucket="raw", Key="broken/b", Body=json.dumps(record("78", "eve", None)) + '{"ContactId": "79", "Ag')
    said = copies.run("both", "broken", code=1)
    for words in ["agent: statement 3 of", "Load into table 'agent' failed", "stl_load_errors", "s3://raw/broken/b, record 2: Invalid JSON"]:
        assert words in said, said
    copies.s3.put_object(Bucket="raw", Key="keyless/a", Body=json.dumps(record(None, "eve", None)))
    said = copies.run("keyless", "keyless", code=1)
    assert "contact: rows of the files have no value" in said and "1 rows have no value for id" in said, said
    assert before == (copies.contacts("contact"), copies.select("SELECT COUNT(*) FROM agent"))


def test_nothing_is_no_failure(copies):
    before = copies.contacts("contact")
    copies.run("both", "nothing/here")
    assert copies.contacts("contact") == before
    outputs = copies.outputs("both")
    assert outputs["objects"] == 0 and outputs["tables"]["contact"] == {"objects": 0, "records": 0, "deleted": 0, "inserted": 0}
    copies.run("copy_replace", "nothing/here")
    assert copies.contacts("contact_replace") == [], "no rows take the place of all"


def test_columns_by_name_and_by_order(copies):
    lines = [{"AGENT": "ann", "Id": "1", "unknown": 1}, {"agent": "bob", "id": "2"}]
    copies.s3.put_object(Bucket="raw", Key="one/x", Body="\n".join(map(json.dumps, lines)))
    copies.s3.put_object(Bucket="raw", Key="two/x", Body=json.dumps({"agent": "bob", "id": "3"}) * 2)
    for folder in ("one", "two"):
        copies.s3.put_object(Bucket="raw", Key=f"rates/{folder}.csv", Body='cents,country\r\n12,de\r\n7,"fr"\r\n')
        copies.run("by_name", folder)
    assert sorted(copies.select("SELECT agent, id FROM named")) == [("ann", "1"), ("bob", "3"), ("bob", "3")]
    assert sorted(copies.select("SELECT country, cents FROM rate")) == [("de", 12), ("de", 12), ("fr", 7), ("fr", 7)]
    assert copies.outputs("by_name")["tables"]["rate"] == {"objects": 1, "records": 2, "deleted": 0, "inserted": 2}


def parquet_file(copies, key, **columns):
    body = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), body, row_group_size=2)
    copies.s3.put_object(Bucket="raw", Key=key, Body=body.getvalue())


def prices(*values):
    return pyarrow.array([value and decimal.Decimal(value) for value in values], pyarrow.decimal128(12, 2))


def test_parquet_goes_by_the_order_of_its_columns(copies):
    at = datetime.datetime(2026, 11, 19, 10, 0, 0, 500000)
    parquet_file(copies, "columnar/a", whatever=pyarrow.array([1, 2, 3]), is_=["ann", "zoë", None], price=prices("10.10", None, "-0.05"),
                 when=pyarrow.array([at, None, at], pyarrow.timestamp("us")))
    parquet_file(copies, "columnar/b", x=pyarrow.array([3, 4]), y=["a\tb", ""], z=prices("1.00", "2.00"),
                 t=pyarrow.array([None, at], pyarrow.timestamp("us")))
    for _ in range(2):
        copies.run("columnar", "columnar")
        found = copies.select("SELECT id, name, CAST(price AS VARCHAR(20)), CAST(at AS VARCHAR(30)), note FROM priced ORDER BY id")
        time = "2026-11-19 10:00:00.5"
        assert found[:2] + found[3:] == [(1, "ann", "10.10", time, "none"), (2, "zoë", None, None, "none"), (4, "", "2.00", time, "none")]
        assert found[2] in [(3, None, "-0.05", time, "none"), (3, "a\tb", "1.00", None, "none")]
    assert copies.outputs("columnar")["tables"]["priced"]["records"] == 5


def test_parquet_that_redshift_refuses_is_refused(copies):
    good = {"id": pyarrow.array([7]), "name": ["x"], "price": prices("1.00"), "at": pyarrow.array([None], pyarrow.timestamp("us"))}
    before = copies.select("SELECT COUNT(*) FROM priced")
    for change, expected in [
        ({"id": pyarrow.array([7], pyarrow.int32())}, "incompatible Parquet schema for column 's3://raw/refused/x.id'. Column type: bigint"),
        ({"price": [1.0]}, "Column type: numeric(12,2), Parquet schema: Float64"),
        ({"more": [1]}, "Unmatched number of columns between table and file. Table columns: 4, Data columns: 5"),
        ({"name": ["äää"]}, "The length of the data column name is longer than the length defined in the table. Table: 4, Data: 6"),
    ]:
        parquet_file(copies, "refused/x", **(good | change))
        said = copies.run("columnar", "refused", code=1)
        assert "Spectrum Scan Error" in said and expected in " ".join(said.split()), said
    assert copies.select("SELECT COUNT(*) FROM priced") == before


def faults(project, rules=None):
    request = urllib.request.Request(
        f"{project.endpoint}/_sandbox/faults", None if rules is None else json.dumps(rules).encode(),
        method="GET" if rules is None else "PUT")
    with urllib.request.urlopen(request) as answer:
        return json.load(answer) if rules is None else None


def started(project, folder):
    return subprocess.Popen([str(project.binary), "run", "late", "-p", f"folder={folder}"], cwd=project.folder, env=project.environment,
                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def all_succeeded(project):
    runs = json.loads(project.call("runs", "late", "--json").stdout)
    listed = runs["runs"] if isinstance(runs, dict) else runs
    return listed and all(run["state"] == "succeeded" for run in listed)


@pytest.mark.parametrize("kind", ["throttle", "drop_answer", "none"])
def test_what_was_listed_is_loaded_once_whatever_dies(copies, kind):
    """Killed when the files are listed and nothing was started, when a start has no answer, when it runs."""
    project, folder = copies.project, f"late_{kind}"
    before = copies.select("SELECT COUNT(*) FROM late")[0][0]
    copies.put(folder, FIRST)
    starts = len(project.ledger("BatchExecuteStatement"))
    if kind != "none":
        faults(project, [{"service": "redshift-data", "operation": "BatchExecuteStatement", "kind": kind,
                          "times": 1000 if kind == "throttle" else 1}])
    child = started(project, folder)
    if kind == "none":
        until(lambda: len(project.ledger("BatchExecuteStatement")) > starts, 60, "a start")
    else:
        until(lambda: faults(project)[0]["harmed"] > 0, 60, "the fault")
    child.send_signal(signal.SIGKILL)
    child.wait()
    copies.put(folder, {"later": [record("99", "zed", None)]})
    faults(project, [])
    with serving(project):
        until(lambda: all_succeeded(project), 180, "the run")
    assert copies.select("SELECT COUNT(*) FROM late")[0][0] == before + 7
    assert copies.select("SELECT COUNT(*) FROM late WHERE id = '99'") == [(0,)]
    assert len(project.ledger("BatchExecuteStatement")) == starts + 1
