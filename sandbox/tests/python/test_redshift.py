"""The Redshift Data API as boto3 sees it."""

import uuid

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from conftest import wait_until

# The first statement makes a database server; later ones take some tens of milliseconds.
LIMIT = 120.0
TEMPLATE = """
Resources:
  Namespace:
    Type: AWS::RedshiftServerless::Namespace
    Properties: {NamespaceName: sales, DbName: dev, AdminUsername: admin, ManageAdminPassword: true}
  Workgroup:
    Type: AWS::RedshiftServerless::Workgroup
    Properties: {WorkgroupName: reports, NamespaceName: !Ref Namespace, BaseCapacity: 8}
  Cluster:
    Type: AWS::Redshift::Cluster
    Properties: {ClusterIdentifier: old-cluster, DBName: dwh, ClusterType: single-node, NodeType: ra3.large,
      MasterUsername: admin, ManageMasterPassword: true}
Outputs:
  Workgroup: {Value: !Ref Workgroup}
"""
SERVERLESS = {"WorkgroupName": "reports", "Database": "dev"}
PROVISIONED = {"ClusterIdentifier": "old-cluster", "Database": "dwh", "DbUser": "etl"}


def provision(sandbox):
    return sandbox.own("provision", {"template": TEMPLATE, "stack": "redshift"})


@pytest.fixture(scope="module")
def redshift(sandbox):
    provision(sandbox)
    return sandbox.client("redshift-data")


def ended(redshift, id):
    def look():
        found = redshift.describe_statement(Id=id)
        return found if found["Status"] in ("FINISHED", "FAILED", "ABORTED") else None

    return wait_until(look, LIMIT, f"statement {id}")


def execute(redshift, sql, **options):
    options = {**SERVERLESS, **options}
    if isinstance(sql, str):
        return redshift.execute_statement(Sql=sql, **options)["Id"]
    return redshift.batch_execute_statement(Sqls=sql, **options)["Id"]


def run(redshift, sql, **options):
    found = ended(redshift, execute(redshift, sql, **options))
    assert found["Status"] == "FINISHED", found.get("Error")
    return found


def fail(redshift, sql, **options):
    found = ended(redshift, execute(redshift, sql, **options))
    assert found["Status"] == "FAILED", sql
    return found["Error"]


def values(redshift, id):
    """All rows of a result, each field as a Python value."""
    rows = []
    for page in redshift.get_paginator("get_statement_result").paginate(Id=id):
        for record in page["Records"]:
            rows.append([None if field.get("isNull") else next(iter(field.values())) for field in record])
    return rows


def rows(redshift, sql, **options):
    return values(redshift, run(redshift, sql, **options)["Id"])


def one(redshift, expression):
    return rows(redshift, f"SELECT {expression}")[0][0]


def refusal(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


def test_provisioning_makes_what_statements_may_name(sandbox, redshift):
    again = provision(sandbox)
    assert [one["change"] for one in again["resources"]] == ["unchanged"] * 3
    assert again["outputs"] == {"Workgroup": "reports"}
    code, message = refusal(redshift.execute_statement, Sql="SELECT 1", WorkgroupName="nowhere", Database="dev")
    assert code == "ValidationException" and "nowhere" in message
    code, _ = refusal(redshift.execute_statement, Sql="SELECT 1", ClusterIdentifier="reports", Database="dev")
    assert code == "ValidationException"
    assert fail(redshift, "SELECT 1", Database="prod") == 'FATAL: database "prod" does not exist'


def test_a_statement_from_start_to_result(sandbox, redshift):
    id = execute(redshift, "SELECT 1 AS n, 2.50::numeric(5,2) AS amount, 'x'::varchar AS t, true AS b, "
                 "1.5::float8 AS f, NULL::int AS nothing, DATE '2026-11-19' AS d", StatementName="first")
    found = ended(redshift, id)
    assert (found["Status"], found["HasResultSet"], found["ResultRows"]) == ("FINISHED", True, 1)
    assert found["Duration"] > 0 and found["RedshiftPid"] > 0 and found["WorkgroupName"] == "reports"
    result = redshift.get_statement_result(Id=id)
    assert result["TotalNumRows"] == 1
    assert result["Records"] == [[
        {"longValue": 1}, {"stringValue": "2.50"}, {"stringValue": "x"}, {"booleanValue": True},
        {"doubleValue": 1.5}, {"isNull": True}, {"stringValue": "2026-11-19"},
    ]]
    types = [(column["label"], column["typeName"]) for column in result["ColumnMetadata"]]
    assert types[:4] == [("n", "int4"), ("amount", "numeric"), ("t", "varchar"), ("b", "bool")]
    entry = sandbox.ledger(service="redshift-data")[-1]
    assert (entry["id"], entry["subject"], entry["operation"]) == (id, "reports", "ExecuteStatement")


def test_an_empty_result_has_columns(redshift):
    found = run(redshift, "SELECT 1 AS n WHERE false")
    assert found["HasResultSet"] and found["ResultRows"] == 0
    result = redshift.get_statement_result(Id=found["Id"])
    assert result["Records"] == [] and result["ColumnMetadata"][0]["name"] == "n"


def test_large_results_come_in_pages(redshift):
    id = run(redshift, "SELECT i, repeat('x', 10) FROM generate_series(1, 2500) AS i ORDER BY i")["Id"]
    first = redshift.get_statement_result(Id=id)
    assert len(first["Records"]) == 1000 and first["TotalNumRows"] == 2500 and first["NextToken"]
    assert [row[0] for row in values(redshift, id)] == list(range(1, 2501))


def test_parameters_are_bound_and_never_become_sql(redshift):
    run(redshift, "CREATE TABLE bound (day date, n int, name varchar(100))")
    odd = "o'hara\\'; DROP TABLE bound; --"
    changed = run(
        redshift, "INSERT INTO bound VALUES (:day, :n, :name)",
        Parameters=[{"name": "day", "value": "2026-11-19"}, {"name": "n", "value": "5"}, {"name": "name", "value": odd}],
    )
    assert changed["ResultRows"] == 1 and changed["HasResultSet"] is False
    assert changed["QueryParameters"][1] == {"name": "n", "value": "5"}
    found = rows(redshift, "SELECT day, n, name FROM bound WHERE day = :day", Parameters=[{"name": "day", "value": "2026-11-19"}])
    assert found == [["2026-11-19", 5, odd]]
    for parameters, said in [
        ([{"name": "a", "value": "1"}, {"name": "b", "value": "2"}], "Unused parameters: [b]"),
        ([{"name": "c", "value": "1"}], "[c]"),
    ]:
        code, message = refusal(redshift.execute_statement, Sql="SELECT :a", Parameters=parameters, **SERVERLESS)
        assert code == "ValidationException" and said in message


def test_a_batch_is_one_transaction(redshift):
    run(redshift, "CREATE TABLE whole (n int)")
    found = run(redshift, ["INSERT INTO whole VALUES (1), (2)", "UPDATE whole SET n = n + 1", "SELECT n FROM whole ORDER BY n"])
    subs = found["SubStatements"]
    assert [(sub["Status"], sub["ResultRows"], sub["HasResultSet"]) for sub in subs] == [
        ("FINISHED", 2, False), ("FINISHED", 2, False), ("FINISHED", 2, True)]
    assert found["Duration"] == sum(sub["Duration"] for sub in subs)
    assert values(redshift, f"{found['Id']}:3") == [[2], [3]]
    assert redshift.describe_statement(Id=f"{found['Id']}:2")["QueryString"].startswith("UPDATE")
    assert refusal(redshift.get_statement_result, Id=found["Id"])[0] == "ResourceNotFoundException"

    failed = ended(redshift, execute(redshift, ["DELETE FROM whole", "SELECT missing FROM whole", "SELECT 1"]))
    assert failed["Status"] == "FAILED"
    assert failed["Error"].startswith('Query #2 failed with ERROR: column "missing" does not exist')
    assert [sub["Status"] for sub in failed["SubStatements"]] == ["FINISHED", "FAILED", "ABORTED"]
    assert one(redshift, "count(*) FROM whole") == 2, "the delete was taken back"


def test_auto_commit_keeps_what_ran(redshift):
    run(redshift, "CREATE TABLE parts (n int)")
    sqls = ["INSERT INTO parts VALUES (1)", "INSERT INTO missing VALUES (1)", "INSERT INTO parts VALUES (2)"]
    found = ended(redshift, execute(redshift, sqls, ExecutionMode="AUTO_COMMIT"))
    assert (found["Status"], found["ExecutionMode"]) == ("FAILED", "AUTO_COMMIT")
    assert [sub["Status"] for sub in found["SubStatements"]] == ["FINISHED", "FAILED", "FINISHED"]
    assert one(redshift, "count(*) FROM parts") == 2


def test_truncate_commits_as_in_redshift(redshift):
    run(redshift, ["CREATE TABLE emptied (n int)", "INSERT INTO emptied VALUES (1)"])
    error = fail(redshift, ["TRUNCATE emptied", "INSERT INTO emptied VALUES (2)", "SELECT 1/0"])
    assert "division by zero" in error
    assert one(redshift, "count(*) FROM emptied") == 0


def test_tokens_make_starts_safe(sandbox, redshift):
    run(redshift, "CREATE TABLE tokens (n int)")
    token = uuid.uuid4().hex
    before = len(sandbox.ledger(service="redshift-data"))
    first = execute(redshift, "INSERT INTO tokens VALUES (1)", ClientToken=token)
    assert execute(redshift, "INSERT INTO tokens VALUES (1)", ClientToken=token) == first
    ended(redshift, first)
    assert execute(redshift, "INSERT INTO tokens VALUES (1)", ClientToken=token) == first
    assert len(sandbox.ledger(service="redshift-data")) == before + 1
    assert sandbox.ledger(service="redshift-data")[-1]["marker"] == token
    assert one(redshift, "count(*) FROM tokens") == 1
    assert refusal(redshift.execute_statement, Sql="SELECT 2", ClientToken=token, **SERVERLESS)[0] == "ValidationException"


def test_statements_are_listed_by_the_beginning_of_their_names(redshift):
    name = f"list-{uuid.uuid4()}"
    good = run(redshift, "SELECT 1", StatementName=f"{name}-a")["Id"]
    bad = ended(redshift, execute(redshift, "SELECT x", StatementName=f"{name}-b"))["Id"]
    listed = lambda **wanted: [one["Id"] for one in redshift.list_statements(StatementName=name, **wanted)["Statements"]]
    assert listed() == [good], "without a status, what has finished"
    assert listed(Status="ALL") == [bad, good]
    assert listed(Status="ALL", WorkgroupName="reports", MaxResults=1) == [bad]
    assert listed(Status="ALL", ClusterIdentifier="old-cluster") == []
    assert redshift.list_statements(StatementName=name.upper(), Status="ALL")["Statements"] == []


def test_a_running_statement_is_stopped(redshift):
    run(redshift, "CREATE TABLE slept (n int)")
    id = execute(redshift, ["INSERT INTO slept VALUES (1)", "SELECT pg_sleep(600)"])
    wait_until(lambda: redshift.describe_statement(Id=id)["Status"] == "STARTED", LIMIT, "the sleep to begin")
    assert redshift.cancel_statement(Id=id)["Status"] is True
    assert ended(redshift, id)["Status"] == "ABORTED"
    assert one(redshift, "count(*) FROM slept") == 0
    code, message = refusal(redshift.cancel_statement, Id=id)
    assert (code, message) == ("ValidationException", f"Could not cancel a query that is already in ABORTED state with ID: {id}")
    assert refusal(redshift.cancel_statement, Id=str(uuid.uuid4()))[0] == "ResourceNotFoundException"


def test_what_has_not_begun_cannot_be_stopped(own_sandbox):
    slow = own_sandbox("--time-scale", "100")
    provision(slow)
    redshift = slow.client("redshift-data")
    id = execute(redshift, "SELECT 1")
    code, message = refusal(redshift.cancel_statement, Id=id)
    assert code == "ValidationException" and "SUBMITTED" in message


def test_waiting_within_a_call(redshift):
    done = redshift.execute_statement(Sql="SELECT 1", WaitTimeSeconds=30, **SERVERLESS)
    assert (done["Status"], done["HasResultSet"]) == ("FINISHED", True)
    id = execute(redshift, "SELECT 2")
    assert redshift.describe_statement(Id=id, WaitTimeSeconds=30)["Status"] == "FINISHED"


def test_requests_that_make_no_sense(redshift):
    for arguments, said in [
        ({"Sql": "SELECT 1; SELECT 2", **SERVERLESS}, "Multiple sql statements"),
        ({"Sql": " -- nothing", **SERVERLESS}, "must hold a statement"),
        ({"Sql": "SELECT '" + "x" * 102_400 + "'", **SERVERLESS}, "larger than 100kB"),
        ({"Sql": "SELECT 1", "Database": "dev"}, "Either ClusterIdentifier or WorkgroupName"),
        ({"Sql": "SELECT 1", "WorkgroupName": "reports"}, "Database name"),
        ({"Sql": "SELECT 1", "DbUser": "x", **SERVERLESS}, "DbUser"),
    ]:
        code, message = refusal(redshift.execute_statement, **arguments)
        assert code == "ValidationException" and said in message, message
    assert "UNLOAD is not offered by the sandbox yet" in fail(redshift, "UNLOAD ('SELECT 1') TO 's3://b/k' IAM_ROLE default")
    assert "cannot run inside a transaction block" in fail(redshift, ["VACUUM", "SELECT 1"])
    run(redshift, "VACUUM")


def test_the_sql_that_people_write_every_day(redshift):
    run(redshift, """
        CREATE TABLE IF NOT EXISTS "Daily" (
            id BIGINT IDENTITY(1, 1) ENCODE az64, day DATE NOT NULL SORTKEY, store VARCHAR(20) DISTKEY ENCODE lzo,
            amount DECIMAL(12, 2), note TEXT, PRIMARY KEY (day, store)
        ) DISTSTYLE KEY""")
    run(redshift, """INSERT INTO daily (day, store, amount) VALUES
        ('2026-01-31', 'b', 1.5), ('2026-01-31', 'a', 2.5), ('2026-01-31', 'a', NULL)""")
    assert rows(redshift, """
        SELECT day, LISTAGG(DISTINCT store, ',') WITHIN GROUP (ORDER BY store), SUM(NVL(amount, 0))
        FROM daily GROUP BY 1""") == [["2026-01-31", "a,b", "4.00"]]
    assert "null value" in fail(redshift, "INSERT INTO daily (store) VALUES ('x')")
    run(redshift, "CREATE TABLE copy DISTSTYLE ALL SORTKEY (day) AS SELECT day, store FROM daily MINUS SELECT day, 'a' FROM daily")
    assert rows(redshift, 'SELECT "Store" FROM copy') == [["b"]]
    for expression, value in [
        ("DATEADD(month, 1, '2026-01-31')", "2026-02-28 00:00:00"),
        ("ADD_MONTHS('2026-02-28', 1)", "2026-03-31 00:00:00"),
        ("DATEADD(day, -1, DATE '2026-03-01')", "2026-02-28 00:00:00"),
        ("DATEDIFF(day, '2026-01-01 23:59', '2026-01-02 00:01')", 1),
        ("DATEDIFF(month, DATE '2026-01-31', DATE '2026-02-01')", 1),
        ("DATEDIFF(hour, '2026-01-01 00:59', '2026-01-01 02:01')", 2),
        ("LAST_DAY(DATE '2026-02-03')", "2026-02-28"),
        ("TRUNC(TIMESTAMP '2026-02-03 10:00')", "2026-02-03"),
        ("DATE_PART(dow, DATE '2026-11-22')", 0.0),
        ("CONVERT_TIMEZONE('America/New_York', '2026-01-01 12:00')", "2026-01-01 07:00:00"),
        ("DECODE(2, 1, 'one', 2, 'two', 'many')", "two"),
        ("NVL2(NULL, 1, 2)", 2),
        ("LEN('abc') + CHARINDEX('c', 'abc')", 6),
        ("JSON_EXTRACT_PATH_TEXT('{\"a\": {\"b\": 5}}', 'a', 'b')", "5"),
        ("SHA2('a', 256)", "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"),
        ("'it\\'s'", "it's"),
        ("current_database()", "dev"),
        ("(GETDATE() - SYSDATE) < INTERVAL '1 minute'", True),
    ]:
        assert one(redshift, expression) == value, expression
    assert "not offered by the sandbox" in fail(redshift, "SELECT DATEDIFF(week, '2026-01-01', '2026-02-01')")
    assert 'date part "fortnight" is not recognized' in fail(redshift, "SELECT DATEADD(fortnight, 1, GETDATE())")


def test_what_is_in_a_database(redshift):
    run(redshift, ["CREATE SCHEMA stage", "CREATE TABLE stage.t (id int NOT NULL, name varchar(40))"])
    assert redshift.list_databases(Database="dev", WorkgroupName="reports")["Databases"] == ["dev"]
    assert "stage" in redshift.list_schemas(**SERVERLESS)["Schemas"]
    assert redshift.list_schemas(SchemaPattern="trunkline%", **SERVERLESS)["Schemas"] == []
    assert redshift.list_tables(SchemaPattern="stage", **SERVERLESS)["Tables"] == [{"schema": "stage", "name": "t", "type": "TABLE"}]
    columns = redshift.describe_table(Schema="stage", Table="t", **SERVERLESS)["ColumnList"]
    assert [(one["name"], one["typeName"], one["nullable"], one["length"]) for one in columns] == [
        ("id", "int4", 0, 0), ("name", "varchar", 1, 40)]


def test_clusters_and_workgroups_have_data_of_their_own(redshift):
    run(redshift, "CREATE TABLE apart (n int)")
    assert 'relation "apart" does not exist' in redshift_error(redshift, "SELECT * FROM apart")
    found = ended(redshift, redshift.execute_statement(Sql="SELECT 1", **PROVISIONED)["Id"])
    assert (found["ClusterIdentifier"], found["DbUser"]) == ("old-cluster", "etl")


def redshift_error(redshift, sql):
    found = ended(redshift, redshift.execute_statement(Sql=sql, **PROVISIONED)["Id"])
    assert found["Status"] == "FAILED"
    return found["Error"]


def test_the_fault_script_works_here_too(own_sandbox):
    faulty = own_sandbox()
    provision(faulty)
    redshift = faulty.client("redshift-data", check=False)
    rule = lambda operation, **more: {"service": "redshift-data", "operation": operation, "times": 1, **more}
    faulty.faults(
        rule("ExecuteStatement", kind="drop_answer"),
        rule("ListStatements", kind="list_lag", lag_ms=600_000),
        rule("DescribeStatement", kind="unknown_state"),
        rule("CancelStatement", kind="error_before"),
    )
    with pytest.raises(ConnectionClosedError):
        execute(redshift, "SELECT 1", StatementName="lost")
    listed = lambda: redshift.list_statements(StatementName="lost", Status="ALL")["Statements"]
    assert listed() == []
    [lost] = listed()
    assert redshift.describe_statement(Id=lost["Id"])["Status"] == "PONDERING"
    assert refusal(redshift.cancel_statement, Id=lost["Id"])[0] == "InternalServerException"
    assert ended(redshift, lost["Id"])["Status"] == "FINISHED"
    faulty.faults(rule("ExecuteStatement", kind="error_before", status=400, code="ActiveStatementsExceededException"))
    assert refusal(redshift.execute_statement, Sql="SELECT 1", **SERVERLESS)[0] == "ActiveStatementsExceededException"


def test_a_killed_sandbox_reports_what_the_database_can_prove(own_sandbox):
    sandbox = own_sandbox()
    provision(sandbox)
    redshift = sandbox.client("redshift-data")
    run(redshift, "CREATE TABLE survivors (n int)")
    kept = run(redshift, "INSERT INTO survivors VALUES (1)")["Id"]
    running = execute(redshift, ["INSERT INTO survivors VALUES (2)", "SELECT pg_sleep(600)"])
    wait_until(lambda: redshift.describe_statement(Id=running)["Status"] == "STARTED", LIMIT, "the sleep to begin")
    waiting = execute(redshift, "SELECT 7 AS n", ClientToken="waiting")
    sandbox.restart()
    redshift = sandbox.client("redshift-data")
    assert redshift.describe_statement(Id=kept)["Status"] == "FINISHED"
    lost = ended(redshift, running)
    assert lost["Status"] == "FAILED" and "was not committed" in lost["Error"]
    assert execute(redshift, "SELECT 7 AS n", ClientToken="waiting") == waiting
    assert rows(redshift, "SELECT n FROM survivors") == [[1]]

    # A record that says STARTED although the transaction was committed: the note in the database knows better.
    record = sandbox.root / "redshift" / "statements" / f"{kept}.json"
    sandbox.kill()
    text = record.read_text()
    assert text.count('"FINISHED"') == 2
    record.write_text(text.replace('"FINISHED"', '"STARTED"'))
    sandbox.start()
    redshift = sandbox.client("redshift-data")
    assert ended(redshift, kept)["ResultRows"] == 1
    assert redshift.describe_statement(Id=kept)["Status"] == "FINISHED"
