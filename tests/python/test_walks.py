"""What people do with Trunkline, walked through in a browser from the list of pipelines on: each walk counts
its clicks and keys. A number that changes is a page that changed: docs/pages.md has the same table."""

import contextlib
import json
import pathlib
import re
import shutil
import urllib.request

import pytest

from browser import CHROMIUM, Reader, Server
from project import Project
from test_remote import Elsewhere
from waiting import until

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

CDR = "daily_cdr_etl"
SCRIPT = f"pipelines/{CDR}/sql/cdr_etl.sql"
RIGHT, WRONG = "partition_2 = substring", "partition_year = substring"
# A month can be held, so that what comes between its runs has its time.
REPORT = """
name: report
description: Counts the calls of a day.
owner: telephony-data
schedule: "30 10 * * *"
data_interval: day
catchup: none
max_active_runs: 2
tasks:
  count:
    type: command
    env: { HOLD: "{{ vars.root }}/hold-{{ logical_date.strftime('%Y-%m') }}" }
    command: [sh, -c, 'while test -e "$HOLD"; do sleep 0.1; done']
  publish: { type: noop, depends_on: count }
"""


@pytest.fixture(scope="module")
def project(binary, environment, pipeline_folder, tmp_path_factory):
    """The shipped pipeline with records of three days, and a small one."""
    folder = tmp_path_factory.mktemp("walks")
    shipped = (pathlib.Path(pipeline_folder).parents[1] / "trunkline.yaml").read_text()
    (folder / "trunkline.yaml").write_text(shipped.replace("    vars:\n", f"    vars:\n      root: '{folder}'\n"))
    shutil.copytree(pipeline_folder, folder / "pipelines" / CDR)
    (folder / "pipelines" / "report").mkdir()
    (folder / "pipelines" / "report" / "pipeline.yaml").write_text(REPORT)
    # A server that was killed is found dead after three seconds rather than thirty.
    made = Project(binary, environment | {"TRUNKLINE_TIME_RATIO": "0.1"}, folder)
    made.edit(f"pipelines/{CDR}/pipeline.yaml", "retry_delay: 1m", "retry_delay: 1s")
    made.edit(f"pipelines/{CDR}/pipeline.yaml", "poll_interval: 30s", "poll_interval: 1s")
    made.call("deploy")
    made.call("generate", "cdr", "--seed", "5", "--count", "300", "--from", "2026-11-15", "--days", "5", "--out", "s3://cdr-raw")
    yield made
    made.stop()


@pytest.fixture(scope="module")
def server(project):
    one = Server(project)
    one.begin()
    yield one
    one.end()


@pytest.fixture
def reader(browser, project, server):
    """Somebody who is signed in and sees all pipelines."""
    # axe-core comes from the test, which the pages' policy refuses to run.
    one = Reader(browser, project, bypass_csp=True).sign_in()
    yield one
    # While a date is being written it is not one yet.
    one.complaints[:] = [text for text in one.complaints if "422" not in text]
    one.close()


def pipeline_row(page, name):
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True))


def state(page, word):
    """The run's state on its page."""
    return page.locator(f"#facts .state[data-state={word}]")


def task(page, name, word):
    """The state of a task on its run's page."""
    return page.locator("#tasks tr").filter(has=page.get_by_role("link", name=name, exact=True)).locator(f"[data-state={word}]")


def column(page, key):
    """The head of a run's column in the grid."""
    return page.locator(f".grid-run[aria-label^='{key}:']")


def end(reader, name, clicks, keys=0):
    """The last station: all of it was so many clicks and keys, and everybody can use the page."""
    reader.shot(f"walk-{name}-end")
    reader.assert_accessible()
    assert (reader.hand.clicks, reader.hand.keys) == (clicks, keys)


@contextlib.contextmanager
def held(project):
    """Has Glue say of jobs that they are not done, as long as this lasts; of crawlers too, until `crawled()`."""
    jobs = ("GetJobRun", "GetJobRuns")

    def hold(*operations):
        rules = [{"service": "glue", "operation": name, "kind": "unknown_state", "state": "RUNNING"} for name in operations]
        request = urllib.request.Request(f"{project.endpoint}/_sandbox/faults", json.dumps(rules).encode(), method="PUT")
        urllib.request.urlopen(request).close()

    hold("BatchGetCrawlers", *jobs)
    try:
        yield lambda: hold(*jobs)
    finally:
        hold()


def start(reader, date, crawled):
    """From the list to a run whose job is under way, on a page that saw it begin."""
    page, hand = reader.page, reader.hand
    hand.click(pipeline_row(page, CDR).get_by_role("link", name="Run…"))
    hand.write(page.get_by_label("Date", exact=True), date)
    page.locator("#preview").get_by_text(f"{CDR}@{date}").wait_for()
    page.locator("#preview").get_by_text(f"covers {date} 00:00 → ").wait_for()
    reader.shot(f"walk-{date}-form")
    with page.expect_response("**/events"):
        hand.click(page.get_by_role("button", name="Start"))
    page.evaluate("window.loaded = 'once'")
    crawled()
    task(page, "convert", "running").wait_for()


def broken(project, date):
    """A run that failed since somebody broke the job's script; the script is right again."""
    project.edit(SCRIPT, RIGHT, WRONG)
    try:
        project.run(date, code=1)
    finally:
        project.edit(SCRIPT, WRONG, RIGHT)
        project.call("deploy")


def test_1_what_was_written_is_there_as_source_and_graph(reader, project):
    """They write a pipeline in their editor."""
    page, hand = reader.page, reader.hand
    file = "pipelines/report/pipeline.yaml"
    project.edit(file, "  publish:", "  compare: { type: nop, depends_on: count }\n  publish:")
    assert re.search(r"report/pipeline.yaml:\d+:\d+", project.call("validate", code=2).stderr)
    project.edit(file, "type: nop,", "type: noop,")
    version = re.search(r"report: version \d+ → (\d+)", project.call("deploy").stdout)[1]
    hand.click(page.get_by_role("link", name="report", exact=True))
    hand.click(page.get_by_role("link", name="Graph"))
    page.locator("svg.graph a").filter(has_text="compare").wait_for()
    assert page.locator("svg.graph a").count() == 3
    reader.shot("walk-1-graph")
    hand.click(page.get_by_role("link", name="Source"))
    page.locator(".source code").filter(has_text="compare: { type: noop, depends_on: count }").wait_for()
    assert page.locator(".source").inner_text().split() == (project.folder / file).read_text().split()
    assert page.get_by_role("navigation", name="Version").locator("[aria-current]").inner_text() == f"v{version}"
    end(reader, "1", clicks=3)


def test_2_a_run_is_shown_before_it_starts_and_watched_to_its_end(reader, project):
    """They run it on real files, and see real output."""
    page, hand = reader.page, reader.hand
    with held(project) as crawled:
        start(reader, "2026-11-19", crawled)
        page.locator("#facts").get_by_text("2026-11-19 00:00 → 11-20 00:00 UTC, fires 11-20 09:00").wait_for()
        reader.shot("walk-2-running")
    state(page, "succeeded").wait_for()
    task(page, "crawl_processed", "succeeded").wait_for()
    assert page.evaluate("window.loaded") == "once", "the page follows without being loaded again"
    reader.shot("walk-2-succeeded")
    hand.click(page.locator("#tasks").get_by_role("link", name="convert", exact=True))
    hand.click(page.get_by_text("Outputs", exact=True))
    shown = json.loads(page.locator("details[open] pre").inner_text())
    there = sum(1 for found in project.client("s3").get_paginator("list_objects_v2").paginate(
        Bucket="cdr-processed", Prefix="processed_cdrs/") for one in found["Contents"] if "/day=19/" in one["Key"])
    assert shown["files"] == there > 0 and shown["rows"] == shown["input_rows"] > 0
    end(reader, "2", clicks=5, keys=10)


def test_3_what_another_folder_deploys_is_marked_in_the_grid(reader, project, server, tmp_path):
    """They deploy it, unchanged, to a server."""
    page, hand = reader.page, reader.hand
    project.call("run", "report", "--date", "2026-11-10")
    shutil.copytree(project.folder / "pipelines", tmp_path / "pipelines")
    text = (tmp_path / "pipelines" / "report" / "pipeline.yaml").read_text()
    changed = text.replace("Counts the calls", "Counts and compares the calls")
    assert changed != text
    (tmp_path / "pipelines" / "report" / "pipeline.yaml").write_text(changed)
    token = json.loads(project.call("token", "create", "laptop", "--scope", "deploy", "--json").stdout)["token"]
    laptop = Elsewhere(project, server.address, token, tmp_path)
    version = re.search(r"report: version \d+ → (\d+)", laptop.call("deploy").stdout)[1]
    laptop.call("run", "report", "--date", "2026-11-11")
    hand.click(page.get_by_role("link", name="report", exact=True))
    page.get_by_text("Counts and compares the calls of a day.").wait_for()
    column(page, "2026-11-11").wait_for()
    assert column(page, "2026-11-11").locator("b").inner_text() == "mv"
    assert column(page, "2026-11-11").get_attribute("title").endswith(f"by manual, v{version}")
    reader.shot("walk-3-grid")
    hand.click(page.get_by_role("link", name="Source"))
    page.get_by_text(re.compile(f"Version {version}, deployed .* by token:laptop")).wait_for()
    page.locator(".source code").filter(has_text="Counts and compares").wait_for()
    end(reader, "3", clicks=2)


def test_4_a_mail_says_what_failed_and_how_to_run_it_again(reader, project, server):
    """At night something fails."""
    page, hand = reader.page, reader.hand
    broken(project, "2026-11-18")
    subject = f"[local] FAILED {CDR} 2026-11-18: convert"
    mail = until(lambda: dict(project.mails()).get(subject), 30, "the mail")
    reason = "AnalysisException: line 40: No field named partition_year."
    assert "convert (Glue job cdr-daily-etl) failed, attempt 3 of 3." in mail and reason in mail, mail
    command = re.search(r"trunkline (clear (\S+) --failed)", mail)
    # The run's name in the mail is its address.
    page.goto(f"{server.address}/runs/{command[2]}")
    page.locator("#tasks").get_by_text(reason).first.wait_for()
    reader.shot("walk-4-run")
    hand.click(page.locator("#tasks").get_by_role("link", name="convert", exact=True))
    page.locator(".failure pre").get_by_text(reason).first.wait_for()
    assert page.get_by_role("navigation", name="Attempts").get_by_role("link").count() == 3
    reader.shot("walk-4-task")
    # What the mail says to type mends it, and the page that is open sees it.
    project.call(*command[1].split(), "--yes")
    state(page, "succeeded").wait_for()
    end(reader, "4", clicks=1)


def test_8_a_mail_leads_to_its_run_and_back(reader, project):
    """They read what went out."""
    page, hand = reader.page, reader.hand
    subject = f"[local] FAILED {CDR} 2026-11-18: convert"
    sent = until(lambda: dict(project.mails()).get(subject), 30, "the mail")
    hand.click(page.get_by_role("navigation", name="Main").get_by_role("link", name="Mails"))
    reader.shot("walk-8-mails")
    hand.click(page.locator("#mails").get_by_role("link", name=subject).first)
    assert page.locator("pre.mail").inner_text().split() == sent.split()
    at = page.url
    reader.shot("walk-8-mail")
    hand.click(page.get_by_role("link", name="its run"))
    page.get_by_role("heading", name="2026-11-18").wait_for()
    hand.click(page.get_by_role("link", name="History"))
    hand.click(page.get_by_role("link", name="mail to").first)
    page.get_by_role("heading", name=subject).wait_for()
    assert page.url == at and page.locator("pre.mail").inner_text().split() == sent.split()
    end(reader, "8", clicks=5)


def test_5_the_failed_task_is_found_in_the_grid_and_cleared_with_what_follows(reader, project):
    """They open the grid, look for the run, clear the failed task and what follows it."""
    page, hand = reader.page, reader.hand
    broken(project, "2026-11-17")
    hand.click(page.get_by_role("link", name=CDR, exact=True))
    cell = page.get_by_role("gridcell", name="convert, 2026-11-17: failed, 3 attempts")
    cell.wait_for()
    reader.shot("walk-5-grid")
    hand.click(cell)
    hand.click(page.get_by_role("button", name="Clear", exact=True))
    dialog = page.get_by_role("dialog")
    lines = dialog.locator(".changes li")
    lines.first.wait_for()
    assert lines.all_inner_texts() == [
        "convert: failed → waiting", "crawl_processed: upstream_failed → waiting", "the run: failed → queued"]
    reader.shot("walk-5-preview")
    hand.click(dialog.get_by_role("button", name="Do it"))
    state(page, "succeeded").wait_for()
    hand.click(page.locator(".trail a").first)
    page.get_by_role("gridcell", name="crawl_processed, 2026-11-17: succeeded").wait_for()
    assert page.get_by_role("gridcell", name="crawl_raw, 2026-11-17: succeeded", exact=True).count() == 1, "one attempt"
    end(reader, "5", clicks=5)


def test_6_a_month_is_run_again_while_live_runs_go_first(reader, project):
    """They backfill last month; live runs go first."""
    page, hand = reader.page, reader.hand
    hold, live = (project.folder / f"hold-{month}" for month in ("2026-10", "2026-11"))
    hold.touch()
    hand.click(page.get_by_role("link", name="report", exact=True))
    hand.click(page.get_by_role("link", name="Backfill…"))
    hand.write(page.get_by_label("From"), "2026-10")
    hand.write(page.get_by_label("To", exact=True), "2026-10")
    page.locator("#preview").get_by_text("31 dates").wait_for()
    page.locator("#preview").get_by_text("report@2026-10-31").wait_for()
    reader.shot("walk-6-preview")
    hand.click(page.get_by_role("button", name="Begin"))
    page.wait_for_url("**/backfills/*")
    until(lambda: json.loads(project.call("backfills", "--json").stdout)[0]["running"] == 1, 30, "the first date")
    reader.shot("walk-6-begun")
    hand.click(page.locator(".trail a"))
    hand.click(page.get_by_role("link", name="Run…"))
    hand.write(page.get_by_label("Date", exact=True), "2026-11-18")
    page.locator("#preview").get_by_text("report@2026-11-18").wait_for()
    live.touch()
    with page.expect_response("**/events"):
        hand.click(page.get_by_role("button", name="Start"))
    task(page, "count", "running").wait_for()
    live.unlink()
    state(page, "succeeded").wait_for()
    [backfill] = json.loads(project.call("backfills", "--json").stdout)
    assert (backfill["state"], backfill["over"], backfill["total"]) == ("running", 0, 31), "the live run went first"
    hand.click(page.locator(".trail a").first)
    column(page, "2026-10-01").wait_for()
    assert [column(page, day).locator("b").inner_text()[0] for day in ("2026-10-01", "2026-11-18")] == ["b", "m"]
    reader.shot("walk-6-grid")
    hold.unlink()
    hand.click(page.get_by_role("link", name="Backfills"))
    hand.click(page.locator("#backfills").get_by_role("link", name="report"))
    page.locator("#facts").get_by_text("31 of 31").wait_for()
    end(reader, "6", clicks=12, keys=24)


def test_7_the_open_page_goes_on_after_its_server_was_killed(reader, project, server):
    """Servers crash, and no job is started twice."""
    page = reader.page
    before = len(project.ledger("StartJobRun"))
    with held(project) as crawled:
        start(reader, "2026-11-16", crawled)
        server.kill()
        reader.shot("walk-7-killed")
        server.begin()
    state(page, "succeeded").wait_for()
    assert page.evaluate("window.loaded") == "once"
    convert = page.locator("#tasks tr").filter(has=page.get_by_role("link", name="convert", exact=True))
    assert convert.locator(".number").inner_text() == "1"
    assert len(project.ledger("StartJobRun")) == before + 1
    # All that the browser had to say is that nobody answered for a while.
    assert {text for text in reader.complaints if "net::ERR_" not in text and "422" not in text} == set()
    reader.complaints.clear()
    end(reader, "7", clicks=3, keys=10)
