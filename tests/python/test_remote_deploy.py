"""`deploy` through a server: what it stores, prints and refuses is what it does at the store itself."""

import json
import shutil
import urllib.error
import urllib.request

import pytest

from project import Project
from test_remote import Elsewhere, serving

DAILY = """
name: daily
schedule: "0 9 * * *"
data_interval: day
catchup: none
params: { full: { type: boolean, default: false } }
tasks:
  count: { type: athena_query, query: "file:sql/count.sql", output_location: "s3://results/daily/" }
  load: { type: command, command: [echo, "{{ vars.greeting }}"], depends_on: count }
"""
OTHER = "name: other\ntasks: { ask: { type: approval, message: 'Go on?' } }\n"
QUERY = "select count(*) from cdr where day = '{{ ds }}'\n"
MIB = 1024 * 1024


def write(folder, daily=DAILY, other=OTHER):
    """The pipelines of a person, without any settings of an environment."""
    shutil.rmtree(folder / "pipelines", ignore_errors=True)
    (folder / "pipelines" / "daily" / "sql").mkdir(parents=True)
    (folder / "pipelines" / "daily" / "pipeline.yaml").write_text(daily)
    (folder / "pipelines" / "daily" / "sql" / "count.sql").write_text(QUERY)
    if other:
        (folder / "pipelines" / "group" / "other").mkdir(parents=True)
        (folder / "pipelines" / "group" / "other" / "pipeline.yaml").write_text(other)


def stored(project):
    """Every version with its hash, and what is current."""
    return project.psql("select pipeline, version, encode(sha256, 'hex'), source from pipeline_version order by 1, 2"), \
        project.psql("select name, current_version, removed from pipeline order by 1"), \
        project.psql("select count(*) from deployment")


def made(binary, environment, folder, name="local"):
    folder.mkdir()
    settings = f"environments:\n  {name}:\n    vars: {{ greeting: 'from the server' }}\n"
    if name != "local":
        settings += "    connections: { aws: { type: aws, region: us-east-1 } }\n"
    (folder / "trunkline.yaml").write_text(settings)
    return Project(binary, environment, folder)


@pytest.fixture
def project(binary, environment, tmp_path):
    """The server's project: it has settings and no pipelines."""
    project = made(binary, environment, tmp_path / "server")
    (project.folder / "pipelines").mkdir()
    yield project
    project.stop()


@pytest.fixture
def twin(binary, environment, tmp_path):
    """A project with a store of its own, in which the same is deployed without a server."""
    project = made(binary, environment, tmp_path / "twin")
    yield project
    project.stop()


@pytest.fixture
def elsewhere(project, tmp_path):
    token = json.loads(project.call("token", "create", "ci", "--scope", "deploy", "--json").stdout)["token"]
    folder = tmp_path / "laptop"
    folder.mkdir()
    with serving(project) as url:
        yield Elsewhere(project, url, token, folder)


def asked(elsewhere, body, path="/deployments", token=None):
    """Status and answer of the operation itself."""
    request = urllib.request.Request(
        f"{elsewhere.url}/api/v1{path}", data=body if isinstance(body, bytes) else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token or elsewhere.environment['TRUNKLINE_TOKEN']}",
                 "Content-Type": "application/json"}, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_deploy_through_a_server_is_the_deploy_at_the_store(project, twin, elsewhere):
    fewer = DAILY.replace("depends_on: count", "depends_on: count, retries: 7")
    steps = [
        (DAILY, OTHER, ["--dry-run"]),
        (DAILY, OTHER, ["--dry-run", "--json"]),
        (DAILY, OTHER, []),
        (DAILY, OTHER, []),
        (fewer, None, ["--dry-run"]),
        (fewer, None, ["--keep"]),
        (fewer, None, ["--json"]),
        (fewer, None, ["--rollback", "--dry-run"]),
        (fewer, None, ["--rollback"]),
        # Mistakes: of the YAML, of names that the server's settings do not have, of files that are not there.
        (DAILY.replace("retries", "x") + "  broken: [\n", OTHER, []),
        (DAILY.replace("vars.greeting", "vars.greting"), OTHER, []),
        (DAILY.replace("sql/count.sql", "sql/cuont.sql"), "name: daily\ntasks: {}\n", []),
        (DAILY.replace("sql/count.sql", "../secret.sql"), OTHER, ["--dry-run"]),
        (DAILY, OTHER.replace("ask:", "Ask:"), ["--json"]),
    ]
    for number, (daily, other, options) in enumerate(steps):
        write(elsewhere.folder, daily, other)
        write(twin.folder, daily, other)
        before = stored(project)
        code = 2 if number >= 9 else 0
        there, here = elsewhere.call("deploy", *options, code=code), twin.call("deploy", *options, code=code)
        assert (there.stdout, there.stderr) == (here.stdout, here.stderr), (number, options)
        assert stored(project) == stored(twin), (number, options)
        if code or "--dry-run" in options:
            assert stored(project) == before, "nothing is stored"
    assert not any((project.folder / "pipelines").iterdir()), "nothing lies on the server's disk"
    assert "token:ci" in project.psql("select actor from deployment")
    # A folder without a pipelines folder is one mistake, an empty one no reason to remove everything.
    shutil.rmtree(elsewhere.folder / "pipelines")
    assert "trunkline init" in elsewhere.call("deploy", code=2).stderr
    (elsewhere.folder / "pipelines").mkdir()
    assert "there is no pipeline.yaml" in elsewhere.call("deploy", code=2).stderr
    (elsewhere.folder / "trunkline.yaml").write_text("pipelines: flows\nenvironments: { prod: { store: '${NOBODY}' } }\n")
    (elsewhere.folder / "pipelines").rename(elsewhere.folder / "flows")
    (elsewhere.folder / "flows" / "pipeline.yaml").write_text(OTHER)
    assert elsewhere.call("deploy").stdout == "daily: removed\n"


def test_what_cannot_be_deployed_is_refused_by_name(project, elsewhere):
    one = {"daily/pipeline.yaml": DAILY, "daily/sql/count.sql": QUERY}
    before = stored(project)
    for wrong in ("/etc/passwd", "../trunkline.yaml", "daily/../../x.sql", "daily//x.sql", "daily\\x.sql", "daily/\0x.sql",
                  "daily/\nx.sql", "", "d/" * 20 + "x.sql", "daily/sql/COUNT.sql", "daily/pipeline.yaml/x", "x" * 600):
        status, problem = asked(elsewhere, {"files": one | {wrong: "x"}, "prune": False})
        assert status == 422 and problem["type"].endswith(":invalid"), (wrong, problem)
        name = wrong.split("\0")[0].split("\n")[0].split("\\")[0]
        assert name[:20] in problem["detail"] and "\0" not in problem["detail"] and "\n" not in problem["detail"], problem
    composed, decomposed = "daily/\u00e4.sql", "daily/a\u0308.sql"
    assert asked(elsewhere, {"files": one | {composed: "x", decomposed: "x"}, "prune": False})[0] == 422
    status, problem = asked(elsewhere, {"files": one | {"daily/x.sql": "a\0b"}, "prune": False})
    assert status == 422 and "daily/x.sql" in problem["detail"]
    status, problem = asked(elsewhere, {"files": one | {"daily/x.sql": "x" * (MIB + 1)}, "prune": False})
    assert status == 422 and "daily/x.sql" in problem["detail"], problem
    status, problem = asked(elsewhere, {"files": {f"{n}.sql": "" for n in range(10_001)}, "prune": False})
    assert status == 422 and "10000" in problem["detail"], problem
    for body in ({"files": one}, {"files": {}, "prune": True}, {"files": {"daily/sql/count.sql": QUERY}, "prune": True},
                 {"files": one, "prune": True, "reason": "x"}, {"files": [], "prune": True}):
        assert asked(elsewhere, body)[0] == 422, body
    large = {f"{n}/pipeline.yaml": "#" * 1_000_000 for n in range(16)} | {"daily/x.sql": "#" * 780_000}
    body = json.dumps({"files": large, "prune": False}).encode()
    assert len(body) > 16 * MIB
    status, problem = asked(elsewhere, body)
    assert (status, problem["type"]) == (413, "urn:trunkline:problem:too-large"), problem
    # More than other operations take.
    padded = one | {"daily/big.sql": "-" * 600_000}
    status, done = asked(elsewhere, {"files": padded, "prune": True, "dry_run": True})
    assert status == 200 and [(change["pipeline"], change["action"]) for change in done["changes"]] == [("daily", "add")]
    for scope in ("read", "operate"):
        token = json.loads(project.call("token", "create", scope, "--scope", scope, "--json").stdout)["token"]
        # Said before anything of the body is read.
        assert asked(elsewhere, b"[" * 1_000, token=token)[0] == 403
        write(elsewhere.folder)
        refused = elsewhere.call("deploy", code=2, TRUNKLINE_TOKEN=token)
        assert f"`{scope}`" in refused.stderr, refused
    status, problem = asked(elsewhere, {"files": {"a/pipeline.yaml": "name: a\ntasks:\n  x: { type: nop }\n"}, "prune": False})
    assert status == 422 and "1 error" in problem["detail"], problem
    [mistake] = problem["diagnostics"]
    assert (mistake["file"], mistake["line"], mistake["column"]) == ("pipelines/a/pipeline.yaml", 3, 14), mistake
    assert mistake["severity"] == "error" and "`nop`" in mistake["message"] and "noop" in mistake["help"]
    assert "pipelines/a/pipeline.yaml:3:14" in problem["rendered"]
    assert stored(project) == before


def test_a_server_of_another_environment_refuses(project, elsewhere):
    write(elsewhere.folder)
    for words in (["deploy"], ["deploy", "--dry-run"], ["deploy", "--rollback"]):
        refused = elsewhere.call("--env", "prod", *words, code=2).stderr
        assert "this server's environment is `local`, and this is for `prod`" in refused, refused
        assert "`local`" in elsewhere.call(*words, code=2, TRUNKLINE_ENV="prod").stderr
    assert "there is no earlier deployment" in elsewhere.call("deploy", "--rollback", code=2).stderr
    assert "there is no earlier deployment" in project.call("deploy", "--rollback", "--dry-run", code=2).stderr
    elsewhere.call("--env", "local", "deploy")
    # What the server's settings say is read each time; a server whose settings are broken deploys nothing.
    (project.folder / "trunkline.yaml").write_text("environments: { local: { vars: { greeting: changed } } }\n")
    assert "daily: version 1 → 2" in elsewhere.call("deploy").stdout
    for broken, word in (("environments: { local: { vars: 'hunter2' } }\n", "has mistakes"), (None, "is gone")):
        if broken:
            (project.folder / "trunkline.yaml").write_text(broken)
        else:
            (project.folder / "trunkline.yaml").unlink()
        refused = elsewhere.call("deploy", code=2).stderr
        assert word in refused and "hunter2" not in refused, refused


def test_what_was_deployed_through_a_server_runs(project, elsewhere):
    (elsewhere.folder / "pipelines" / "hello").mkdir(parents=True)
    (elsewhere.folder / "pipelines" / "hello" / "aws.yaml").write_text("Resources: {}\n")
    (elsewhere.folder / "pipelines" / "hello" / "pipeline.yaml").write_text(
        "name: hello\ntasks: { say: { type: command, command: [echo, '{{ vars.greeting }}'] } }\n")
    done = elsewhere.call("deploy")
    assert "nothing was made in the server's sandbox" in done.stderr, done
    run = elsewhere.call("run", "hello")
    assert "succeeded" in run.stdout, run
    assert "from the server" in elsewhere.call("logs", "hello@latest", "say").stdout
