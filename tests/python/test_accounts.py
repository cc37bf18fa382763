"""Who may do what, and where: people with a password, tokens of some folders, and the audit of what they did."""

import json
import random
import re
import subprocess
import types
import urllib.parse

import pytest

from browser import CHROMIUM, Reader
from delivered import deliver
from project import Project
from test_api import Server, Stream, serving
from test_pages import http
from waiting import until

DAILY = """
name: {name}
data_interval: day
schedule: "0 3 * * *"
catchup: none
tasks:
  print: {{ type: command, command: [echo, hello] }}
"""
FOLDERS = ["finance/eu/ledger", "finance/us/books", "sales/orders", "sales/leads", "notes"]
ROLES = ["viewer", "operator", "editor"]


def name_of(folder):
    return folder.rsplit("/", 1)[-1]


@pytest.fixture(scope="module")
def project(binary, environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("accounts")
    for place in FOLDERS:
        (folder / "pipelines" / place).mkdir(parents=True)
        (folder / "pipelines" / place / "pipeline.yaml").write_text(DAILY.format(name=name_of(place)))
    (folder / "trunkline.yaml").write_text(
        "environments: { local: { connections: { aws: { sandbox: true }, ledgers: { sandbox: true, folders: [finance/eu, sales] } } } }\n")
    made = Project(binary, environment, folder)
    made.call("deploy")
    for place in FOLDERS:
        made.call("run", name_of(place), "--date", "2026-11-19")
        made.call("backfill", name_of(place), "--from", "2026-11-17", "--to", "2026-11-18", "--yes")
    yield made
    made.stop()


@pytest.fixture(scope="module")
def server(project):
    running = Server(project, "--bind", "127.0.0.1:0")
    yield running
    running.process.terminate()
    running.process.wait(60)


def token(project, name, scope, *folders):
    options = [word for folder in folders for word in ("--folder", folder)]
    return project.call("token", "create", name, "--scope", scope, *options).stdout.strip()


def account(project, name, *roles):
    options = [word for role in roles for word in ("--role", role)]
    return project.call("account", "create", name, *options).stdout.strip()


def test_a_token_that_says_who_may_do_what_is_of_no_folder(project, server):
    told = project.call("token", "create", "boss", "--scope", "admin", "--folder", "sales", code=2).stderr
    assert "a token with the scope `admin` is good everywhere" in told
    told = project.call("token", "create", "lost", "--folder", "../sales", code=2).stderr
    assert "`../sales` is no folder of pipelines" in told


def sign_in(server, name, password):
    """The cookie of somebody who signed in, or the refusal."""
    form = urllib.parse.urlencode({"account": name, "password": password, "to": "/runs"}).encode()
    kind = {"content_type": "application/x-www-form-urlencoded", "sec_fetch_site": "same-origin"}
    status, headers, text = http(server.url + "/sign-in", "POST", form, **kind)
    if status != 303:
        return status, text
    assert headers["location"] == "/runs"
    return status, headers["set-cookie"].split(";")[0]


def changes(server, cookie):
    """The headers of a change from a page of this session."""
    _, _, page = http(server.url + "/me", cookie=cookie)
    change = re.search(r'name="change" content="(\w+)"', page).group(1)
    return {"cookie": cookie, "trunkline_change": change, "sec_fetch_site": "same-origin", "content_type": "application/json"}


def lists(server, sent):
    """Every answer that lists something, as text, by path."""
    paths = ["/pipelines", "/runs", "/backfills", "/deployments", "/triggers", "/pools", "/status", "/audit?limit=200"]
    return {path: server.request("GET", path, token=sent) for path in paths}


def test_what_somebody_may_not_see_is_nowhere(project, server):
    """For random people, nothing of a folder without rights is in any list, page or answer."""
    draw = random.Random(2026)
    for number in range(4):
        folders = draw.sample(["finance", "finance/eu", "sales", "sales/leads", "notes"], draw.randint(1, 2))
        sent = token(project, f"viewer-{number}", "read", *folders)
        seen = {place for place in FOLDERS if any(place == of or place.startswith(f"{of}/") for of in folders)}
        hidden = {name_of(place) for place in FOLDERS if place not in seen}
        for path, (status, _, text) in lists(server, sent).items():
            assert status == 200, f"{path}: {text}"
            assert not [name for name in hidden if name in text], f"{folders} see {hidden} in {path}: {text}"
        listed = {item["pipeline"] for item in server.get("/pipelines", token=sent)["items"]}
        assert listed == {name_of(place) for place in seen}
        for name in hidden:
            run = project.psql(f"select run_id from run where pipeline = '{name}' limit 1").strip()
            backfill = project.psql(f"select backfill_id from backfill where pipeline = '{name}'").strip()
            for path in [f"/pipelines/{name}", f"/pipelines/{name}/grid", f"/pipelines/{name}/versions/1", f"/runs/{run}",
                         f"/runs/{name}@2026-11-19/attempts", f"/runs/{run}/events", f"/backfills/{backfill}",
                         f"/runs?pipeline={name}", f"/triggers/{name}"]:
                told = server.get(path, 404, token=sent)["detail"]
                assert not [other for other in hidden - {name} if other in told], told
        assert server.request("GET", "/metrics", token=sent)[0] == 403, "numbers of all folders"


def test_what_somebody_may_do_is_bounded_by_folder(project, server):
    sent = token(project, "half", "operate", "finance")
    made = server.post("/pipelines/ledger/runs", {"date": "2026-11-12"}, token=sent)
    until(lambda: server.ended(made["run"]), 60, "the run")
    server.post("/runs/ledger@2026-11-12/clear", {}, token=sent)
    for path, body in [("/pipelines/orders/runs", {"date": "2026-11-12"}), ("/pipelines/orders/pause", {}),
                       ("/runs/orders@2026-11-19/clear", {}), ("/pipelines/orders/backfills", {"from": "2026-11-01", "to": "2026-11-02"}),
                       ("/runs/clear", {"runs": "orders", "from": "2026-11-01", "to": "2026-11-20"})]:
        server.post(path, body, 404, token=sent)
    run = project.psql("select run_id from run where pipeline = 'orders' limit 1").strip()
    server.post(f"/runs/{run}/cancel", {}, 404, token=sent)
    backfill = project.psql("select backfill_id from backfill where pipeline = 'orders'").strip()
    server.post(f"/backfills/{backfill}/cancel", {}, 404, token=sent)
    assert project.psql("select count(*) from run where pipeline = 'orders'").strip() == "3"


def test_an_editor_deploys_to_their_folders_only(project, server):
    sent = token(project, "editor", "deploy", "finance")
    new = DAILY.format(name="audit_file")
    files = {"finance/eu/ledger/pipeline.yaml": DAILY.format(name="ledger"), "finance/new/pipeline.yaml": new}
    told = server.post("/deployments", {"files": {"sales/x/pipeline.yaml": new}, "prune": False}, 403, token=sent)["detail"]
    assert "you may deploy to finance, and `audit_file` lies in `sales/x`" in told
    taken = {"finance/orders/pipeline.yaml": DAILY.format(name="orders")}
    told = server.post("/deployments", {"files": taken, "prune": False}, 409, token=sent)["detail"]
    assert "pipelines of another folder have the same name: orders" in told
    done = server.post("/deployments", {"files": files, "prune": True}, token=sent)
    actions = {change["pipeline"]: change["action"] for change in done["changes"]}
    assert actions == {"ledger": "keep", "audit_file": "add", "books": "remove"}, "others' pipelines are not theirs to remove"
    assert project.psql("select count(*) from pipeline where removed").strip() == "1"
    # What it runs must be theirs to run.
    calls = new.replace("{ type: command, command: [echo, hello] }", "{ type: run_pipeline, pipeline: orders }")
    told = server.post("/deployments", {"files": {"finance/new/pipeline.yaml": calls}, "prune": False}, 422, token=sent)
    assert "unknown pipeline `orders`" in json.dumps(told)
    # Nor is an account of others theirs.
    borrows = new.replace("{ type: command, command: [echo, hello] }", "{ type: glue_job, job: x, connection: ledgers }")
    told = json.dumps(server.post("/deployments", {"files": {"finance/new/pipeline.yaml": borrows}, "prune": False}, 422, token=sent))
    assert "`audit_file` lies in `finance/new`, and the connection `ledgers` is for finance/eu, sales only" in told
    done = server.post("/deployments", {"files": {"finance/eu/new/pipeline.yaml": borrows}, "prune": False, "dry_run": True}, token=sent)
    assert done["changes"][0]["pipeline"] == "audit_file"
    server.post("/deployments/rollback", {}, 403, token=sent)
    server.get("/accounts", 403, token=sent)


def test_people_sign_in_with_a_password(project, server):
    password = account(project, "ana", "viewer", "finance=operator")
    assert len(password) == 32
    status, cookie = sign_in(server, "ana", password)
    assert status == 303
    status, _, text = http(server.url + "/api/v1/me", cookie=cookie)
    assert json.loads(text) == {"actor": "account:ana", "roles": {"": "viewer", "finance": "operator"}}
    sent = changes(server, cookie)
    assert http(server.url + "/api/v1/pipelines/ledger/pause", "POST", {"reason": "looks odd"}, **sent)[0] == 200
    assert http(server.url + "/api/v1/pipelines/orders/pause", "POST", {}, **sent)[0] == 404
    # Another password ends every session but the one that asked.
    _, other = sign_in(server, "ana", password)
    body = {"old": password, "new": "a sentence is a good one"}
    assert http(server.url + "/api/v1/me/password", "POST", body | {"old": "wrong"}, **sent)[0] == 403
    assert http(server.url + "/api/v1/me/password", "POST", body | {"new": "short"}, **sent)[0] == 422
    assert http(server.url + "/api/v1/me/password", "POST", body, **sent)[0] == 200
    assert http(server.url + "/api/v1/me", cookie=cookie)[0] == 200
    assert http(server.url + "/api/v1/me", cookie=other)[0] == 401
    assert sign_in(server, "ana", password)[0] == 401
    assert sign_in(server, "ana", "a sentence is a good one")[0] == 303
    project.call("account", "disable", "ana")
    assert http(server.url + "/api/v1/me", cookie=cookie)[0] == 401, "at once"
    assert sign_in(server, "ana", "a sentence is a good one")[0] == 401
    hashed = project.psql("select password from account where name = 'ana'")
    assert hashed.strip().startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_mails_of_all_pipelines_are_for_who_sees_all(project, server):
    mail = deliver(project, "ledger failed", "numbers of the ledger")
    sent = token(project, "reads-finance", "read", "finance")
    for path in ("/mails", f"/mails/{mail}", "/mails/gone", "/mails?run=ledger@2026-11-19"):
        assert "in some only" in server.get(path, 403, token=sent)["detail"]
    _, some = sign_in(server, "dan", account(project, "dan", "finance=viewer"))
    _, everything = sign_in(server, "fay", account(project, "fay", "viewer"))
    for cookie, sees in ((some, False), (everything, True)):
        for path in ("/mails", f"/mails/{mail}"):
            status, _, text = http(server.url + path, cookie=cookie)
            assert (status, "ledger failed" in text) == ((200, True) if sees else (403, False))
        for path in ("/pipelines", "/runs/ledger@2026-11-19/history"):
            status, _, text = http(server.url + path, cookie=cookie)
            assert status == 200 and ('href="/mails"' in text) is sees


def test_guessing_is_slowed_down(project, server):
    password = account(project, "bob", "viewer")
    for number in range(5):
        status, text = sign_in(server, "bob", f"guess number {number}")
        assert status == 401 and "There is no such account, or that is not its password." in text
        assert sign_in(server, "nobody-there", f"guess number {number}") == (status, text), "the same is said"
    status, text = sign_in(server, "bob", password)
    assert status == 429 and re.search(r"try again in \d+ s", text), "even the right one waits"
    assert sign_in(server, "bob2", "x")[0] == 401, "others do not"


def test_everything_that_people_do_is_in_the_audit(project, server):
    root = token(project, "root", "admin")
    made = server.post("/accounts", {"account": "cleo", "roles": {"": "viewer"}}, token=root)
    server.post("/accounts/cleo", {"roles": {"sales": "editor"}}, token=root)
    server.post("/accounts/cleo", {"reset_password": True}, token=root)
    server.post("/accounts", {"account": "cleo", "roles": {"": "viewer"}}, 409, token=root)
    for wrong in [{"account": "C", "roles": {"": "viewer"}}, {"account": "d", "roles": {}}, {"account": "d", "roles": {"": "boss"}},
                  {"account": "d", "roles": {"x": "admin"}}, {"account": "d", "roles": {"../x": "viewer"}},
                  {"account": "d", "roles": {"": "viewer"}, "password": "short"}]:
        server.post("/accounts", wrong, 422, token=root)
    robot = server.post("/tokens", {"name": "robot", "scope": "operate", "folders": ["sales/"]}, token=root)
    server.post("/pipelines/leads/runs", {"date": "2026-11-10"}, token=robot["token"])
    until(lambda: server.ended("leads@2026-11-10"), 60, "the run to end")
    server.post("/runs/leads@2026-11-10/clear", {"reason": "it was <early>"}, token=robot["token"])
    server.post("/tokens/robot/revoke", {}, token=root)
    server.get("/pipelines", 401, token=robot["token"])
    sign_in(server, "cleo", made["password"])
    rows = [(row["actor"], row["action"], row["object"]) for row in server.get("/audit?limit=200", token=root)["items"]]
    for wanted in [("token:root", "account.create", "cleo"), ("token:root", "account.change", "cleo"),
                   ("token:root", "token.create", "robot"), ("token:robot", "run.create", "leads@2026-11-10"),
                   ("token:robot", "run.clear", "leads@2026-11-10"), ("token:root", "token.revoke", "robot")]:
        assert wanted in rows, (wanted, rows)
    [clear] = server.get("/audit?actor=token:robot&limit=1", token=root)["items"]
    assert clear["detail"] == {"command": "clear", "tasks": ["print"], "reason": "it was <early>"}
    assert any(action == "deploy" and thing == "orders" for _, action, thing in rows)
    assert any(action == "backfill.create" for _, action, _ in rows)
    text = json.dumps(server.get("/audit?limit=200", token=root))
    assert "argon2" not in text and made["password"] not in text
    only = server.get("/audit?pipeline=leads", token=root)["items"]
    assert {row["pipeline"] for row in only} == {"leads"}
    sales = token(project, "sales-only", "read", "sales")
    assert {row["pipeline"] for row in server.get("/audit?limit=200", token=sales)["items"]} <= {"orders", "leads"}
    for statement in ["update audit set actor = 'x'", "delete from audit", "truncate audit"]:
        with pytest.raises(subprocess.CalledProcessError) as refused:
            project.psql(statement)
        assert "audit is append-only" in refused.value.stderr


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_an_admin_makes_an_account_and_it_is_used(browser, project, server):
    password = account(project, "dana", "admin")
    admin = Reader(browser, project)
    page = admin.page
    page.goto(server.url + "/accounts")
    page.fill("#account", "dana")
    page.fill("#password", password)
    admin.shot("sign-in-account")
    admin.assert_accessible()
    page.click("button.primary")
    page.wait_for_selector("h1:has-text('Accounts')")
    page.fill("form[data-ask='/accounts'] input[name=account]", "eve")
    page.fill("form[data-ask='/accounts'] input[name=roles]", "sales=operator")
    page.click("text=Make an account")
    secret = page.wait_for_selector("#shown pre").inner_text()
    page.wait_for_selector("#accounts tr[data-name=eve]")
    # What changes an account is shown first.
    page.click("#accounts tr[data-name=eve] >> text=New password")
    page.wait_for_selector("dialog >> text=eve gets a new password, and is signed out everywhere")
    page.click("dialog >> text=Do it")
    first, secret = secret, until(lambda: (found := page.inner_text("#shown pre")) != secret and found, 30, "another password")
    assert sign_in(server, "eve", first)[0] == 401
    admin.shot("accounts")
    admin.assert_accessible()
    page.click("nav >> text=Audit")
    page.wait_for_selector("#audit >> text=account.create")
    admin.shot("audit")
    admin.assert_accessible()
    admin.close()
    eve = Reader(browser, project)
    page = eve.page
    page.goto(server.url + "/")
    page.fill("#account", "eve")
    page.fill("#password", secret)
    page.click("button.primary")
    page.wait_for_selector("h1:has-text('Pipelines')")
    assert page.locator("#pipelines tbody th").all_inner_texts() == ["leads", "orders"]
    assert page.locator("nav >> text=Accounts").count() == 0
    page.click("a.who")
    page.wait_for_selector("text=You are operator of sales.")
    eve.shot("me")
    eve.assert_accessible()
    eve.close()


def test_a_version_that_comes_back_in_another_folder_has_no_connection_of_the_first(binary, environment, tmp_path):
    """Deployed in `sales`, moved to `notes`, rolled back: still in `notes`, where the connection is for nobody."""
    text = "name: mover\ntasks: {{ look: {{ type: s3_wait, connection: {connection}, key: 's3://nothing/here', timeout: 1s }} }}\n"
    (tmp_path / "trunkline.yaml").write_text(
        "environments: { local: { connections: { aws: { sandbox: true }, ledgers: { sandbox: true, folders: [sales] } } } }\n")

    def lies_in(folder, connection):
        home = tmp_path / "pipelines" / folder / "mover"
        home.mkdir(parents=True)
        (home / "pipeline.yaml").write_text(text.format(connection=connection))

    lies_in("sales", "ledgers")
    project = Project(binary, environment, tmp_path)
    project.call("deploy")
    (tmp_path / "pipelines" / "sales" / "mover" / "pipeline.yaml").unlink()
    lies_in("notes", "aws")
    project.call("deploy")
    foreseen = project.call("deploy", "--rollback", "--dry-run", code=2).stderr
    told = project.call("deploy", "--rollback", code=2).stderr
    assert foreseen == told
    assert "`mover` lies in `notes/mover`, and the connection `ledgers` is for sales only" in told
    # Nor does a version that is there already: somebody wrote to the store by hand.
    project.psql("update pipeline set current_version = 1 where name = 'mover'")
    with serving(project) as running:
        made = running.post("/pipelines/mover/runs", {})
        run = made["detail"]["id"]
        until(lambda: running.ended(run), 60, "the run to end")
        failed = running.get(f"/runs/{run}")
    assert failed["version"] == 1 and "no connection `ledgers` that this pipeline may use" in failed["tasks"][0]["failure"]["message"]
    project.stop()


def test_a_stream_ends_when_whoever_listens_may_no_longer(project, server):
    sent = token(project, "listener", "read")
    mine = Server.__new__(Server)
    stream = Stream(types.SimpleNamespace(url=server.url, token=sent), "/events")
    project.call("token", "revoke", "listener")
    # At its next sign of life.
    stream.ends()
