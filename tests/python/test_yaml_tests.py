"""`trunkline test`: tests of pipelines in YAML, scripted and really executed."""

import json
import pathlib
import shutil

import pytest

from conftest import REPOSITORY
from project import Project

SHIPPED = sorted(path.parent.name for path in REPOSITORY.glob("pipelines/*/pipeline.yaml"))

PIPELINE = """
name: daily
schedule: "0 9 * * *"
data_interval: day
defaults: { retries: 1, retry_delay: 10m }
tasks:
  count: { type: command, command: [sh, -c, 'echo {{ vars.rows }}'] }
  tell: { type: noop, depends_on: count }
on_failure: [{ sns: "{{ vars.topic }}" }]
"""

TESTS = """
cases:
  it works:
    date: 2026-11-19
    expect: { run: succeeded, tasks: { count: { request: { argv: [sh, -c, echo 7] } } } }
  it fails and says so:
    date: 2026-11-19
    answers: { count: { fails: boom } }
    expect: { run: failed, tasks: { count: { attempts: 2 }, tell: upstream_failed }, notices: [{ on: failure, contains: boom }] }
"""


@pytest.fixture
def project(binary, environment, tmp_path):
    (tmp_path / "temporary").mkdir()
    (tmp_path / "trunkline.yaml").write_text(
        "environments:\n  local:\n    connections: { aws: { sandbox: true } }\n"
        "    vars: { topic: 'arn:aws:sns:us-east-1:000000000000:daily', rows: 7 }\n"
    )
    home = tmp_path / "pipelines" / "daily"
    home.mkdir(parents=True)
    (home / "pipeline.yaml").write_text(PIPELINE)
    (home / "tests.yaml").write_text(TESTS)
    made = Project(binary, environment | {"TMPDIR": str(tmp_path / "temporary")}, tmp_path)
    yield made
    assert not (tmp_path / ".trunkline").exists(), "a test starts nothing of the project's own"
    assert not list((tmp_path / "temporary").iterdir()), "a test leaves nothing behind"
    # Root's private Postgres keeps its data elsewhere, with the project's folder by name.
    homes = pathlib.Path("/var/lib/trunkline").glob("*/project")
    assert str(tmp_path) not in " ".join(home.read_text() for home in homes if home.exists())


def write_tests(project, text):
    (project.folder / "pipelines" / "daily" / "tests.yaml").write_text(text)


def test_every_shipped_pipeline_passes_its_tests(binary, environment, tmp_path):
    shutil.copy(REPOSITORY / "trunkline.yaml", tmp_path)
    shutil.copytree(REPOSITORY / "pipelines", tmp_path / "pipelines")
    done = Project(binary, environment, tmp_path).call("test", "--json")
    cases = json.loads(done.stdout)["cases"]
    assert {case["pipeline"] for case in cases} == set(SHIPPED)
    for name in SHIPPED:
        own = [case for case in cases if case["pipeline"] == name]
        assert len(own) >= 3 and any(case["sandbox"] for case in own), name


@pytest.mark.parametrize("example", ["hello", "daily-cdr-etl"])
def test_a_new_project_passes_its_tests(binary, environment, tmp_path, example):
    project = Project(binary, environment, tmp_path)
    project.call("init", "--example", example)
    assert "ok" in project.call("test", "--no-sandbox").stdout


def test_a_line_for_each_case_and_the_difference_with_its_place(project):
    done = project.call("test")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ok", "ok"]
    assert "2 cases passed" in done.stderr
    write_tests(project, TESTS.replace("attempts: 2", "attempts: 3").replace("[sh, -c, echo 7]", "[sh, -c, echo 8]"))
    done = project.call("test", code=1)
    assert "pipelines/daily/tests.yaml:5:58  the request of count" in done.stdout, done.stdout
    assert 'expected  argv.2: "echo 8"' in done.stdout and 'seen      argv.2: "echo 7"' in done.stdout
    assert "the attempts of count\n      expected  3\n      seen      2" in done.stdout
    assert "0 cases passed, 2 failed" in done.stderr
    cases = json.loads(project.call("test", "--json", code=1).stdout)["cases"]
    assert [(case["case"], case["passed"], case["line"]) for case in cases] == [
        ("it works", False, 3), ("it fails and says so", False, 6)]
    assert cases[0]["failures"][0]["difference"] == [{"expected": 'argv.2: "echo 8"'}, {"seen": 'argv.2: "echo 7"'}]
    assert project.call("test", "-k", "works", code=1).stdout.count("FAILED") == 1
    project.call("test", "-k", "nothing like it", code=2)


def test_a_file_that_is_wrong_says_where(project):
    write_tests(project, TESTS.replace("expect: { run: succeeded, tasks: { count:", "expect: { run: succeeded, tasks: { cuont:"))
    done = project.call("test", code=2)
    assert "tests.yaml:5:" in done.stderr and "did you mean `count`?" in done.stderr, done.stderr
    assert "did you mean `count`?" in project.call("validate", code=2).stderr
    said = json.loads(project.call("test", "--json", code=2).stdout)
    assert said["valid"] is False and said["diagnostics"][0]["line"] == 5
    (project.folder / "pipelines" / "daily" / "tests.yaml").unlink()
    assert "has no tests" in project.call("test", "daily", code=2).stderr
    assert "there are no tests" in project.call("test", code=2).stderr


def test_on_the_sandbox_it_really_executes(project):
    (project.folder / "pipelines" / "daily" / "pipeline.yaml").write_text("""
name: daily
schedule: "0 9 * * *"
data_interval: day
defaults: { retries: 1, retry_delay: 10m }
tasks:
  crawl: { type: glue_crawler, crawler: raw }
  count:
    type: athena_query
    depends_on: crawl
    query: SELECT kind, count(*) AS n FROM in_files GROUP BY kind ORDER BY kind
    database: test
    output_location: s3://results/
    fetch_rows: 10
  check: { type: command, depends_on: count, command: [test, "{{ tasks.count.outputs.rows[0].kind }}", "=", "a"] }
on_failure: [{ sns: "{{ vars.topic }}" }]
""")
    (project.folder / "pipelines" / "daily" / "aws.yaml").write_text("""
Resources:
  Raw: { Type: AWS::S3::Bucket, Properties: { BucketName: raw } }
  Results: { Type: AWS::S3::Bucket, Properties: { BucketName: results } }
  Database: { Type: AWS::Glue::Database, Properties: { CatalogId: !Ref AWS::AccountId, DatabaseInput: { Name: test } } }
  Crawler:
    Type: AWS::Glue::Crawler
    Properties:
      Name: raw
      Role: arn:aws:iam::000000000000:role/glue
      DatabaseName: !Ref Database
      Targets: { S3Targets: [{ Path: s3://raw/in_files/ }] }
  Topic:
    Type: AWS::SNS::Topic
    Properties: { TopicName: daily, Subscription: [{ Protocol: email, Endpoint: ops@example.com }] }
""")
    folder = project.folder / "pipelines" / "daily" / "given"
    folder.mkdir()
    (folder / "one.json").write_text('{"kind":"a","size":1}\n{"kind":"b","size":2}\n')
    (folder / "two.json").write_text('{"kind":"a","size":3}\n')
    write_tests(project, """
cases:
  rows are counted:
    sandbox: true
    date: 2026-11-19
    files: { s3://raw/in_files/: given }
    expect:
      run: succeeded
      tasks: { count: { outputs: { rows: [{ kind: a, n: 2 }, { kind: b, n: 1 }] } } }
      notices: []
      queries:
        - { sql: "SELECT sum(size) AS total FROM in_files WHERE kind = 'a'", database: test, rows: [[4]] }
        - { sql: "SELECT kind FROM in_files ORDER BY size", database: test, rows: [{ kind: a }, { kind: b }, [a]] }
  a file of another kind fails:
    sandbox: true
    date: 2026-11-19
    files: { s3://raw/in_files/x.json: { text: '{"kind":"z","size":1}' } }
    expect:
      run: failed
      tasks: { check: { state: failed, attempts: 2 } }
      notices: [{ subject: "[local] FAILED daily 2026-11-19: check", contains: "trunkline clear daily@2026-11-19 --failed" }]
  an expectation that is wrong:
    sandbox: true
    date: 2026-11-19
    files: { s3://raw/in_files/x.json: { text: '{"kind":"a","size":1}' } }
    expect:
      run: succeeded
      queries:
        - { sql: SELECT kind FROM in_files, database: test, rows: [] }
        - { sql: SELECT nothing FROM in_files, database: test, rows: [] }
""")
    done = project.call("test", code=1)
    assert [line.split()[0] for line in done.stdout.splitlines() if not line.startswith(" ")] == ["ok", "ok", "FAILED"]
    assert "the rows of the query\n      seen      0: [\"a\"]" in done.stdout, done.stdout
    assert "the query cannot be answered" in done.stdout and "nothing" in done.stdout.split("cannot be answered")[1]
