"""The command, the operation and the page say the same: every view is asked for at the store, through a server, over
REST, and read off its page in a browser."""

import http.server
import json
import re
import threading
import urllib.request
from collections.abc import Callable
from typing import NamedTuple

import pytest

from browser import CHROMIUM, Reader, Server, chromium
from delivered import deliver
from project import Project
from test_remote import Elsewhere
from waiting import until

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

PIPELINES = {
    "daily": """
name: daily
description: Reads a day & loads it.
owner: data
schedule: "30 2 * * *"
timezone: Europe/Berlin
data_interval: day
catchup: none
params: { limit: { type: integer, default: 10 } }
tasks:
  extract:
    type: command
    env: { DAY: "{{ ds }}", ROOT: "{{ vars.root }}" }
    command: [sh, -c, 'echo "rows of $DAY"; test ! -e "$ROOT/bad-$DAY" || { echo "bad <file> of $DAY" >&2; exit 3; }']
    retries: 1
    retry_delay: 1s
  clean: { type: noop, depends_on: extract }
  load: { type: noop, depends_on: [clean, extract] }
on_failure: [{ webhook: "http://127.0.0.1:@PORT@/" }]
""",
    "after": "name: after\ndata_interval: none\ntriggers: [{ pipeline: daily }]\ntasks: { say: { type: noop } }\n",
    "slow": "name: slow\ndata_interval: none\nmax_active_runs: 5\n"
            "tasks: { rest: { type: sleep, for: 1h, pool: warehouse } }\n",
}
DAYS = ["2026-11-16", "2026-11-17", "2026-11-18"]
FAILED = "daily@2026-11-18"
MAIL = "20261120T094800.000Z-7-oncall-example-com"


class Refusing(http.server.BaseHTTPRequestHandler):
    """Takes no notice, for good."""

    def do_POST(self):
        self.send_response(410)
        self.end_headers()
        self.wfile.write(b"this pager is <gone>")

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def receiver():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()


@pytest.fixture(scope="module")
def project(binary, environment, receiver, tmp_path_factory):
    """Of each kind something: runs that succeeded and failed, two that share a slot, events that wait, a backfill."""
    folder = tmp_path_factory.mktemp("same")
    (folder / "trunkline.yaml").write_text(
        f"pools: {{ warehouse: 1 }}\nenvironments:\n  local:\n    vars: {{ root: '{folder}' }}\n")
    for name, text in PIPELINES.items():
        (folder / "pipelines" / name).mkdir(parents=True)
        (folder / "pipelines" / name / "pipeline.yaml").write_text(text.replace("@PORT@", str(receiver)))
    (folder / "bad-2026-11-18").touch()
    made = Project(binary, environment, folder)
    made.call("deploy")
    made.call("pause", "after", "--reason", "nobody needs it")
    for day in DAYS[:2]:
        made.call("run", "daily", "--date", day)
    made.edit("pipelines/daily/pipeline.yaml", "Reads a day", "Reads one day")
    made.call("deploy")
    made.call("run", "daily", "--date", DAYS[2], code=1)
    failed = json.loads(made.call("show", FAILED, "--json").stdout)
    deliver(made, "another day", "nothing of yours")
    assert MAIL == deliver(made, "[local] FAILED daily", "it failed\n\n<b>– ü", "oncall@example.com", number=7,
                           notice=f"{failed['id']}:g1:failure:1")
    made.call("clear", "daily@2026-11-17", "--task", "load", "--yes", "--reason", "it was <early>")
    made.call("backfill", "daily", "--from", "2026-11-10", "--to", "2026-11-11", "--yes", "--reason", "forgotten")
    yield made
    made.stop()


class Ways:
    """The ways to ask one thing."""

    def __init__(self, project, elsewhere, reader):
        self.project, self.elsewhere, self.page = project, elsewhere, reader.page

    def command(self, *words):
        """What the command prints, which is the same at the store and through the server."""
        here, there = self.project.call(*words).stdout, self.elsewhere.call(*words).stdout
        assert here == there, words
        return here

    def rest(self, path, body=None):
        request = urllib.request.Request(
            f"{self.elsewhere.url}/api/v1{path}", body and json.dumps(body).encode(),
            {"Authorization": f"Bearer {self.elsewhere.environment['TRUNKLINE_TOKEN']}", "Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            said = json.load(answer)
        assert not said.get("next") or "text" in said, "all of it is on one page"
        return said

    def seen(self, path, script):
        self.page.goto(f"{self.elsewhere.url}{path}")
        return self.page.evaluate(f"() => {{ {LOOK} return {script}; }}")


# How a page is read: a state by its word, a moment by its instant, everything else by its text.
LOOK = r"""
const all = (of, from = document) => [...from.querySelectorAll(of)];
const text = (one) => one.textContent.replace(/\s+/g, ' ').trim();
const cell = (one) => one.querySelector('.state')?.dataset.state ?? one.querySelector('time')?.dateTime ?? text(one);
const rows = (table) => all(`${table} tbody tr`).map((row) => [...row.children].map(cell));
const facts = (list) => Object.fromEntries(all(`${list} > div`).map((one) => [text(one.children[0]), cell(one.children[1])]));
"""


def state_of_notice(project):
    return json.loads(project.call("show", FAILED, "--json").stdout)["notices"][0]["state"]


@pytest.fixture(scope="module")
def server(project):
    one = Server(project)
    one.begin()
    yield one
    one.end()


@pytest.fixture(scope="module")
def ways(project, server, tmp_path_factory):
    token = json.loads(project.call("token", "create", "laptop", "--scope", "operate", "--json").stdout)["token"]
    elsewhere = Elsewhere(project, server.address, token, tmp_path_factory.mktemp("laptop"))
    first, second = (elsewhere.call("run", "slow", "--detach").stdout.strip() for _ in range(2))
    until(lambda: "warehouse" in elsewhere.call("why", second).stdout, 60, "the second to wait for its slot")
    until(lambda: state_of_notice(project) == "dead", 60, "the notice to be given up")
    with chromium() as browser:
        reader = Reader(browser, project).sign_in()
        yield Ways(project, elsewhere, reader)
        reader.close()


class View(NamedTuple):
    """One thing to look at: the command and what of its answer, the operation, the page, how the page is read, and what
    must be read there according to the operation."""

    words: list
    part: str | None
    path: str
    page: str | None = None
    script: str | None = None
    shown: Callable | None = None


def run_row(run):
    counts = run["task_counts"]
    failed = f" · {counts['failed']} failed" if counts["failed"] else ""
    again = f" generation {run['generation']}" if run["generation"] > 1 else ""
    # Of a backfill the page has a link instead of an id that says nothing.
    maker = "backfill" if run["created_by"].startswith("backfill:") else f"{run['trigger']} · {run['created_by']}"
    return [run["run"] + again, run["state"], f"{counts['succeeded']} / {counts['total']}{failed}", run["started_at"], maker]


def task_row(task):
    said = (task["failure"] or {}).get("message", "")
    return [f"{task['task']} {task['type']}", task["state"], str(task["attempts"]), " ".join(said.split())]


def history_rows(answer):
    return [[entry["at"] if index == 0 else "", change["to"], entry["actor"] if index == 0 else ""]
            for entry in answer for index, change in enumerate(entry["changes"])]


def backfill_row(of):
    return [of["pipeline"], of["state"], f"{of['over']} / {of['total']}", f"{of['running']} / {of['max_active']}",
            of["created_at"], f"{of['created_by']} · {of['reason']}"]


def pipeline_row(of):
    last = of["recent_runs"][-1]["state"] if of["recent_runs"] else None
    return [of["pipeline"], last, of["next_fire_at"], f"{of['active_runs']} / {of['max_active_runs']}"]


def audit_row(of):
    """Without how: the page tells it as the command does, below."""
    if of["action"].startswith("backfill."):
        return [of["at"], of["actor"], of["action"], f"a backfill of {of['pipeline']}"]
    return [of["at"], of["actor"], of["action"], of["object"]]


def deployment_row(of, before):
    def told(name):
        versions = [one.get(name) for one in (before, of["versions"])]
        return f"{name} " + " → ".join(str(version) for version in versions if version)
    changed = sorted(name for name, version in of["versions"].items() if before.get(name) != version)
    return [of["at"], of["actor"], ", ".join(told(name) for name in changed)]


def source_lines(of):
    """Which lines are the task's, and what is said beside which of them."""
    return [list(range(of["first_line"], of["last_line"] + 1)), [[one["severity"], one["message"]] for one in of["said"]]]


# What a row says except how long something took, which goes on while it is looked at.
RUNS = "rows('#runs').map((row) => row.toSpliced(4, 1))"
TASKS = "rows('#tasks').map((row) => row.toSpliced(3, 1))"
VIEWS = {
    "runs": View(["runs"], None, "/runs", "/runs", RUNS, lambda said: [run_row(run) for run in said]),
    "runs of one": View(["runs", "daily", "--state", "failed"], None, "/runs?pipeline=daily&state=failed",
                        "/runs?pipeline=daily&state=failed", RUNS, lambda said: [run_row(run) for run in said]),
    "run": View(["show", FAILED], None, f"/runs/{FAILED}", f"/runs/{FAILED}",
                "[text(document.querySelector('h1')), ...['State', 'Covers', 'Made by', 'Version'].map((one) => facts('#facts')[one])]",
                lambda said: [said["run_key"], said["state"], said["covers"].removeprefix("covers "),
                              f"{said['trigger']} · {said['created_by']}", f"v{said['version']}"]),
    "tasks": View(["show", FAILED], "tasks", f"/runs/{FAILED}", f"/runs/{FAILED}", TASKS,
                  lambda said: [task_row(task) for task in said]),
    "attempts": View(["show", FAILED], "attempt_list", f"/runs/{FAILED}/attempts", f"/runs/{FAILED}/tasks/extract",
                     "[all('[aria-label=Attempts] a').map(text), text(document.querySelector('.failure pre')), "
                     "JSON.parse(all('details').find((one) => text(one.firstChild) === 'Request').querySelector('pre').textContent)]",
                     lambda said: [[f"Attempt {one['number']} ✕state: {one['state']}" for one in said],
                                   " ".join(said[-1]["failure"]["message"].split()), said[-1]["request"]]),
    "history": View(["show", FAILED], "history", f"/runs/{FAILED}/history", f"/runs/{FAILED}/history", "rows('#history')",
                    history_rows),
    "notices": View(["show", FAILED], "notices", f"/runs/{FAILED}/notices", f"/runs/{FAILED}/history", "rows('h2 + .wide')",
                    lambda said: [[one["notice"], one["state"], str(one["tries"]), one["error"]] for one in said]),
    "why a task": View(["why", FAILED, "load"], None, f"/runs/{FAILED}/why?task=load", f"/runs/{FAILED}/tasks/load",
                       "facts('#facts').Now", lambda said: said["why"].replace("`", "")),
    "why a run": View(["why", "slow@latest"], None, "/runs/slow@latest/why", "/runs/slow@latest", "facts('#facts').Now",
                      lambda said: said["why"].replace("`", "")),
    "pipelines": View(["pipelines"], None, "/pipelines", "/pipelines",
                      "all('#pipelines tbody tr').map((row) => [text(row.querySelector('th a')), "
                      "all('.square', row).at(-1)?.title.split(': ')[1] ?? null, row.querySelector('time')?.dateTime ?? null, "
                      "text(row.querySelector('.number'))])",
                      lambda said: [pipeline_row(one) for one in said]),
    "pipeline": View(["pipelines", "daily"], None, "/pipelines/daily"),
    "source": View(["source", "daily"], None, "/pipelines/daily/versions/2", "/pipelines/daily/source",
                   "[document.querySelector('.source').textContent, document.querySelector('main p time').dateTime]",
                   lambda said: [said["source"], said["created_at"]]),
    "source of another version": View(["source", "daily", "--version", "1"], None, "/pipelines/daily/versions/1"),
    "source of a run": View(["source", "daily@2026-11-16"], None, "/pipelines/daily/versions/1"),
    "versions": View(["source", "daily", "--versions"], None, "/pipelines/daily/versions", "/pipelines/daily/source",
                     "all('nav[aria-label=Version] a').map(text)", lambda said: [f"v{one['version']}" for one in said]),
    "source of a task": View(["source", FAILED, "extract"], None, f"/runs/{FAILED}/tasks/extract/source",
                             f"/pipelines/daily/source?run={FAILED}&task=extract",
                             "[all('.source [data-task]').map((one) => Number(one.id.slice(1))), "
                             "all('.source .note').map((one) => [one.dataset.said, one.lastChild.textContent.trim()])]",
                             source_lines),
    "deployments": View(["deployments"], None, "/deployments", "/deployments", "rows('#deployments')",
                        lambda said: [deployment_row(one, (said + [{"versions": {}}])[at + 1]["versions"])
                                      for at, one in enumerate(said)]),
    "audit": View(["audit"], None, "/audit", "/audit", "rows('#audit').map((row) => row.slice(0, 4))",
                  lambda said: [audit_row(one) for one in said]),
    "audit of one": View(["audit", "slow", "--by", "token:laptop"], None, "/audit?pipeline=slow&actor=token:laptop"),
    "backfills": View(["backfills"], None, "/backfills", "/backfills", "rows('#backfills')",
                      lambda said: [backfill_row(one) for one in said]),
    "pools": View(["pools"], None, "/pools", "/pools", "rows('#pools')",
                  lambda said: [[one["pool"], *(str(one[key]) for key in ("taken", "slots", "waiting"))] for one in said]),
    "pool": View(["pools", "warehouse"], None, "/pools/warehouse"),
    "triggers": View(["triggers"], None, "/triggers", "/triggers", "rows('#triggered').map((row) => row.slice(0, 5))",
                     lambda said: [[f"{one['pipeline']} paused", *one["on"], str(one["waiting"]), one["waiting_since"],
                                    one["last_received_at"]] for one in said["pipelines"]]),
    "mails": View(["mails"], None, "/mails", "/mails", "rows('#mails')",
                  lambda said: [[one["subject"], one["to"], one["at"]] for one in said]),
    "mails about a run": View(["mails", "--run", FAILED], None, f"/mails?run={FAILED}", f"/mails?run={FAILED}", "rows('#mails')",
                              lambda said: [[one["subject"], one["to"], one["at"]] for one in said]),
    "mail": View(["mails", MAIL], None, f"/mails/{MAIL}", f"/mails/{MAIL}",
                 "[text(document.querySelector('h1')), facts('#facts'), document.querySelector('pre.mail').textContent]",
                 lambda said: [said["subject"], {"From": said["from"], "To": said["to"], "Published": said["at"], "Topic": said["topic"],
                                                 "About": "its run"}, said["text"]]),
    "trigger": View(["triggers", "after"], None, "/triggers/after"),
}


@pytest.mark.parametrize("name", VIEWS)
def test_command_operation_and_page_say_the_same(ways, name):
    view = VIEWS[name]
    printed = json.loads(ways.command(*view.words, "--json"))
    printed = printed[view.part] if view.part else printed
    said = ways.rest(view.path)
    said = said["items"] if "items" in said else said.get(view.part, said)
    # `show` has more in one answer than the operation, which has operations beside it.
    assert said and (printed.items() >= said.items() if isinstance(said, dict) else printed == said)
    if view.page:
        assert ways.seen(view.page, view.script) == view.shown(said)


def test_how_something_was_done_is_told_alike(ways):
    printed = ways.command("audit", "daily")
    told = ways.seen("/audit?pipeline=daily", "rows('#audit').map((row) => row[4])")
    assert told and all(one in printed for one in told), (told, printed)
    assert "version 1 → 2" in told and any("reason: it was <early>" in one for one in told)


def test_the_lines_of_a_task_are_printed_with_what_is_said_of_them(ways):
    printed = ways.command("source", FAILED, "extract").splitlines()
    first = PIPELINES["daily"].splitlines().index("  extract:") + 1
    assert printed[0].split() == [str(first), "extract:"]
    assert printed[1].startswith("     ^ error: ") and "exit" in printed[1], printed
    assert printed[-1].split() == [str(first + 5), "retry_delay:", "1s"], printed


def test_the_list_of_pipelines_says_what_their_runs_say(ways):
    runs = json.loads(ways.command("runs", "--json"))
    said = ways.rest("/pipelines")["items"]
    for one in said:
        own = [{"run_key": run["run_key"], "state": run["state"]} for run in runs if run["pipeline"] == one["pipeline"]]
        assert one["recent_runs"] == own[::-1]
    rows = ways.seen("/pipelines", """all('#pipelines tbody tr').map((row) => [text(row.querySelector('th a')),
        all('.square', row).map((one) => one.title), row.querySelector('time')?.dateTime ?? null, text(row.querySelector('.number'))])""")
    assert rows == [
        [one["pipeline"], [f"{run['run_key']}: {run['state']}" for run in one["recent_runs"]], one["next_fire_at"],
         f"{one['active_runs']} / {one['max_active_runs']}"] for one in said]
    assert json.loads(ways.project.call("status", "--json").stdout)["pipelines"] == len(said)


def test_the_schedule_foretells_what_a_plan_covers(ways):
    said = ways.rest("/pipelines/daily")
    zone = "Europe/Berlin"
    assert said["timezone"] == zone
    first = ways.seen("/pipelines/daily/schedule", "rows('main')[0]")
    assert first[0] == said["next_fire_at"]
    date = first[3][:10]
    planned = json.loads(ways.project.call("plan", "daily", "--date", date, "--json").stdout)
    assert planned["covers"].removeprefix("covers ").split(", fires ")[0] == first[3]
    assert ways.rest("/pipelines/daily/plan", {"date": date})["covers"] == planned["covers"]
    assert [task["task"] for task in planned["tasks"]] == said["tasks"]


def test_the_source_of_each_version_is_what_was_deployed(ways, project):
    now = (project.folder / "pipelines" / "daily" / "pipeline.yaml").read_text()
    for version, text in (2, now), (1, now.replace("Reads one day", "Reads a day")):
        assert ways.command("source", "daily", "--version", str(version)) == text
        assert ways.seen(f"/pipelines/daily/source?version={version}", "document.querySelector('.source').textContent") == text


def test_the_graph_has_the_same_edges_everywhere(ways, project):
    said = ways.rest("/pipelines/daily/graph")["tasks"]
    edges = {(upstream, one["task"]) for one in said for upstream in one["depends_on"]}
    assert json.loads(project.call("graph", "daily", "--json").stdout) == {"pipeline": "daily", "tasks": said}
    drawn = project.call("graph", "daily", "--format", "dot").stdout
    assert set(re.findall(r'"(\w+)" -> "(\w+)"', drawn)) == edges
    names, paths = ways.seen("/pipelines/daily/graph", "[all('svg.graph a title').map(text), all('svg.graph .edge').length]")
    assert (names, paths) == ([one["task"] for one in said], len(edges))


def test_the_grid_says_of_each_run_what_the_run_says(ways):
    said = ways.rest("/pipelines/daily/grid")
    letters = {"succeeded": "s", "failed": "f", "upstream_failed": "u"}
    cells = {}
    for run in said["runs"]:
        shown = json.loads(ways.command("show", run["run"], "--json"))
        states = {task["task"]: task for task in shown["tasks"]}
        assert run["state"] == shown["state"]
        assert run["states"] == "".join(letters[states[task["task"]]["state"]] for task in said["tasks"])
        for name, task in states.items():
            times = f", {task['attempts']} attempts" if task["attempts"] > 1 else ""
            cells[f"{name}, {run['run_key']}: {task['state'].replace('_', ' ')}{times}"] = True
    ways.page.goto(f"{ways.elsewhere.url}/pipelines/daily")
    ways.page.locator(".grid-cell").first.wait_for()
    labels = ways.page.locator(".grid-cell").evaluate_all("(cells) => cells.map((one) => one.ariaLabel)")
    assert sorted(labels) == sorted(cells)


def test_what_a_task_printed_is_the_same_everywhere(ways):
    printed = ways.command("logs", FAILED, "extract", "--attempt", "1")
    said = ways.rest(f"/runs/{FAILED}/tasks/extract/attempts/1/log")
    assert json.loads(ways.command("logs", FAILED, "extract", "--attempt", "1", "--json")) == said
    assert said["complete"] and said["text"] == printed == "rows of 2026-11-18\nbad <file> of 2026-11-18\n"
    ways.page.goto(f"{ways.elsewhere.url}/runs/{FAILED}/tasks/extract?attempt=1")
    ways.page.locator(".log pre code").nth(1).wait_for()
    shown = ways.page.locator(".log pre code").all_text_contents()
    assert [line.rstrip("\n") for line in shown] == printed.splitlines()


def test_a_backfill_is_the_same_everywhere(ways):
    [listed] = ways.rest("/backfills")["items"]
    said = ways.rest(f"/backfills/{listed['id']}")
    assert json.loads(ways.command("backfills", listed["id"], "--json")) == said
    assert listed.items() <= said.items()
    rows = ways.seen(f"/backfills/{listed['id']}", "[facts('#facts')['Dates over'], rows('#dates').map((row) => row.slice(0, 3))]")
    assert rows == [f"{said['over']} of {said['total']}",
                    [[date["run"], date["state"], date["run_state"]] for date in said["dates"]]]
