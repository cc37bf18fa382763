"""The web pages in a real browser: signing in, looking, starting, clearing; what texts must never do; what a
browser of another site must never be able to do."""

import json
import urllib.error
import urllib.request

import pytest

from browser import CHROMIUM, NARROW, WIDE, Reader, link, served
from delivered import deliver
from project import Project
from waiting import until

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

# What an attacker would write wherever a text is shown.
EVIL = '<img src=x onerror="window.hacked=1"><script>window.hacked=2</script>"&'

DAILY = """
name: daily
description: @EVIL@
owner: data
schedule: "30 2 * * *"
timezone: Europe/Berlin
data_interval: day
catchup: none
params:
  full: { type: boolean, default: false, description: @EVIL@ }
  limit: { type: integer, default: 10 }
tasks:
  extract:
    type: command
    env: { DAY: "{{ ds }}", ROOT: "{{ vars.root }}" }
    command: [sh, "{{ vars.root }}/extract.sh"]
  clean: { type: noop, depends_on: extract }
  load: { type: noop, depends_on: clean }
  report: { type: noop, depends_on: [load, extract] }
""".replace("@EVIL@", json.dumps(EVIL))
EXTRACT = """
echo "rows of $DAY <b>bold</b> <script>window.hacked=3</script>"
test ! -e "$ROOT/bad-$DAY" || { cat "$ROOT/evil" >&2; exit 3; }
"""
# What its YAML says too often, and a value that a task upstream does not leave.
MARKED = """
name: marked
schedule: "0 */6 * * *"
data_interval: day
catchup: none
tasks:
  first: { type: noop }
  second:
    type: command
    depends_on: first
    retries: 0
    env:
      DAY: "{{ ds }}"
      ROWS: "{{ tasks.first.outputs.rows }}"
    command: [sh, -c, 'echo "$ROWS"']
"""
LARGE = "name: large\ndata_interval: day\nschedule: '0 3 * * *'\ncatchup: none\ntasks:\n" + "".join(
    f"  task_{index:04}: {{ type: noop{f', depends_on: task_{index - 1:04}' if index % 40 else ''} }}\n" for index in range(400)
)


@pytest.fixture(scope="module")
def project(binary, environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    made = Project.deployed(binary, environment, folder, {"daily": DAILY, "large": LARGE, "marked": MARKED})
    (folder / "extract.sh").write_text(EXTRACT)
    (folder / "evil").write_text(EVIL)
    (folder / "bad-2026-11-19").touch()
    for day in ("2026-11-17", "2026-11-18"):
        made.call("run", "daily", "--date", day)
    made.call("run", "daily", "--date", "2026-11-19", code=1)
    made.call("run", "marked", "--date", "2026-11-19", code=1)
    made.call("clear", "daily@2026-11-17", "--task", "extract", "--yes")
    deliver(made, f"EVIL {EVIL}", f"Dear {EVIL}\nit failed.")
    deliver(made, "[local] FAILED daily: extract", "line one\n\nline three – ü", at="2026-11-20T10:48:00", number=2)
    (made.folder / ".trunkline" / "sandbox" / "mailbox" / "note <b>.txt").write_text("no mail")
    made.call("backfill", "large", "--from", "2026-11-01", "--to", "2026-11-05", "--yes")
    yield made
    made.stop()


@pytest.fixture(scope="module")
def server(project):
    with served(project) as address:
        yield address


@pytest.fixture
def reader(browser, project, server):
    one = Reader(browser, project)
    yield one
    one.close()


def http(url, method="GET", body=None, **headers):
    """Status, headers and text of an answer; nothing is followed."""
    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_):
            return None

    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {name.replace("_", "-"): value for name, value in headers.items()}, method=method)
    try:
        with urllib.request.build_opener(Stay).open(request, timeout=60) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


def cookie_of(project):
    status, headers, _ = http(link(project))
    assert status == 303
    return headers["set-cookie"].split(";")[0]


def test_nobody_sees_a_page_without_signing_in(reader, project, server):
    for path in ("/", "/pipelines", "/pipelines/daily", "/runs", "/runs/daily@2026-11-19", "/pipelines/nothing"):
        status, headers, text = http(server + path)
        assert (status, text) == (303, ""), path
        assert headers["location"].startswith("/sign-in"), path
    page = reader.page
    page.goto(f"{server}/runs/daily@2026-11-19/timeline")
    page.get_by_text("With a token").click()
    page.get_by_label("Token").fill("trunkline_0000000000000000_" + "0" * 64)
    page.get_by_role("button", name="Sign in").last.click()
    page.get_by_text("This token is unknown, revoked or expired.").wait_for()
    assert reader.complaints.pop().count("401") == 1
    token = project.call("token", "create", "reader", "--scope", "read").stdout.strip()
    page.get_by_text("With a token").click()
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").last.click()
    page.wait_for_url("**/runs/daily@2026-11-19/timeline")
    # Who may look sees no way to change anything, and the server would not do it either.
    assert page.locator("[data-do]").count() == 0
    page.goto(f"{server}/pipelines/daily/start")
    page.get_by_text("you may look at this pipeline, and start no runs of it").wait_for()
    assert reader.complaints.pop().count("403") == 1
    refused = page.evaluate("""async () => {
        const change = document.querySelector('meta[name=change]').content;
        const answer = await fetch('/api/v1/runs/daily@2026-11-19/clear', { method: 'POST', body: '{}',
          headers: { 'content-type': 'application/json', 'trunkline-change': change } });
        return answer.status;
    }""")
    assert refused == 403 and reader.complaints.pop()
    # A token that is taken back ends its sessions at once.
    project.call("token", "revoke", "reader")
    page.goto(f"{server}/runs")
    page.wait_for_url("**/sign-in?to=%2Fruns")


def test_a_link_is_good_once_and_signing_out_ends_it(reader, project, server):
    once = link(project)
    page = reader.page
    page.goto(once)
    page.get_by_role("heading", name="Pipelines").wait_for()
    status, _, text = http(once)
    assert status == 401 and "used already" in text
    kept = reader.context.cookies()
    assert all(cookie["httpOnly"] and cookie["sameSite"] == "Lax" for cookie in kept)
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")
    cookie = "; ".join(f"{one['name']}={one['value']}" for one in kept)
    assert http(f"{server}/pipelines", cookie=cookie)[0] == 303
    assert http(f"{server}/api/v1/pipelines", cookie=cookie)[0] == 401


def test_a_server_that_is_gone_is_told(project, server):
    address = project.folder / ".trunkline" / "api-url"
    kept = address.read_text()
    try:
        address.write_text("http://127.0.0.1:1")
        assert "no server answers at http://127.0.0.1:1 any more" in project.call("open", "--print", code=2).stderr
        address.unlink()
        assert "begin one with `trunkline serve`" in project.call("open", "--print", code=2).stderr
    finally:
        address.write_text(kept)


def test_other_sites_change_nothing_with_the_cookie(project, server):
    cookie = cookie_of(project)
    change = http(f"{server}/pipelines", cookie=cookie)[2].split('name="change" content="')[1].split('"')[0]
    pause = f"{server}/api/v1/pipelines/daily/pause"
    json_type = {"content_type": "application/json"}

    def sent(**headers):
        return http(pause, "POST", {"dry_run": True}, cookie=cookie, **json_type, **headers)[0]

    good = {"trunkline_change": change, "origin": server}
    assert sent(**good) == 200
    for wrong in (
        {},
        {"origin": server},
        {"trunkline_change": change, "origin": "https://evil.example.com"},
        {"trunkline_change": change, "origin": "null"},
        {"trunkline_change": change[:-1], "origin": server},
        {"trunkline_change": change, "sec_fetch_site": "cross-site", "origin": server},
        {"trunkline_change": change, "sec_fetch_site": "same-site", "origin": server},
    ):
        assert sent(**wrong) == 403, wrong
    # A form of another site, which needs no script.
    form = http(pause, "POST", b"dry_run=true", cookie=cookie, content_type="application/x-www-form-urlencoded", **good)
    assert form[0] == 415
    assert http(f"{server}/sign-out", "POST", b"", cookie=cookie, origin="https://evil.example.com")[0] == 403
    stolen = http(f"{server}/sign-in", "POST", b"token=x", origin="https://evil.example.com",
                  content_type="application/x-www-form-urlencoded")
    assert stolen[0] == 403
    assert http(f"{server}/pipelines", cookie=cookie, host="evil.example.com")[0] == 421
    # Nothing of it changed anything.
    assert json.loads(http(f"{server}/api/v1/pipelines/daily", cookie=cookie)[2])["paused"] is False


def test_pages_say_what_browsers_must_not_do(project, server):
    _, headers, _ = http(f"{server}/pipelines", cookie=cookie_of(project))
    policy = headers["content-security-policy"]
    for rule in ("default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'",
                 "base-uri 'none'", "form-action 'self'", "require-trusted-types-for 'script'"):
        assert rule in policy
    assert "unsafe" not in policy
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-opener-policy"] == "same-origin"


def test_from_all_pipelines_to_the_failed_task_and_clear_it(reader, project, server):
    page = reader.sign_in().page
    reader.shot("pipelines")
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="daily", exact=True))
    row.locator(".squares a").last.click()
    page.get_by_role("heading", name="2026-11-19").wait_for()
    reader.shot("run-failed")
    page.locator("#tasks").get_by_role("link", name="extract").click()
    page.locator(".failure pre").get_by_text("window.hacked").wait_for()
    page.locator(".log pre code").get_by_text("rows of 2026-11-19 <b>bold</b>").wait_for()
    page.get_by_placeholder("Search the output").fill("rows of")
    page.get_by_text("1 line").wait_for()
    reader.shot("task-failed")
    page.get_by_role("button", name="Clear", exact=True).click()
    page.get_by_role("button", name="Keep as it is").click()
    assert page.get_by_role("dialog").count() == 0, "a button asks once"
    loaded = page.evaluate("performance.getEntriesByType('resource').map((one) => one.name.split('/').pop())")
    assert len(loaded) == len(set(loaded)) and "page.js" in loaded, loaded
    # The cause is gone: what failed runs again, after a look at what that means.
    (project.folder / "bad-2026-11-19").unlink()
    page.locator(".trail a").last.click()
    page.get_by_role("button", name="Clear failed").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("extract: failed → waiting").wait_for()
    reader.shot("clear")
    dialog.get_by_label("Reason").fill("the file is whole now")
    dialog.get_by_role("button", name="Do it").click()
    # The page follows by itself, without being loaded again.
    page.locator("#facts .state[data-state=succeeded]").wait_for()
    page.get_by_role("link", name="History").click()
    page.get_by_text("token:local").first.wait_for()
    page.get_by_text("the file is whole now").first.wait_for()
    page.get_by_role("link", name="Timeline").click()
    page.locator(".line").first.wait_for()
    assert page.locator(".line").count() == 4
    reader.shot("timeline")
    assert page.evaluate("window.hacked") is None


def test_a_run_is_shown_before_it_starts(reader, project, server):
    page = reader.sign_in().page
    page.goto(f"{server}/pipelines/daily/start")
    page.get_by_label("Date", exact=True).fill("2026-11-16")
    preview = page.locator("#preview")
    preview.get_by_text("daily@2026-11-16").wait_for()
    preview.get_by_text("covers 2026-11-16 00:00 → 11-17 00:00 CET, fires 11-17 02:30").wait_for()
    page.get_by_label("limit").fill("many")
    preview.locator(".wrong").wait_for()
    assert "limit" in preview.inner_text()
    page.get_by_label("limit").fill("12")
    preview.get_by_text("daily@2026-11-16").wait_for()
    reader.shot("start")
    page.get_by_role("button", name="Start").click()
    page.get_by_role("heading", name="2026-11-16").wait_for()
    page.locator("#facts .state[data-state=succeeded]").wait_for()
    shown = json.loads(project.call("show", "daily@2026-11-16", "--json").stdout)
    assert shown["params"]["limit"] == 12 and shown["created_by"] == "token:local"
    # The same date again: the way is a clear, and the page says so.
    page.goto(f"{server}/pipelines/daily/start")
    page.get_by_label("Date", exact=True).fill("2026-11-16")
    preview.get_by_text("There is such a run already").wait_for()
    assert [text for text in reader.complaints if "422" not in text] == []
    reader.complaints.clear()


def test_the_grid_is_moved_in_and_cleared_by_keys(reader, project, server):
    page = reader.sign_in().page
    page.goto(f"{server}/pipelines/large")
    page.locator(".grid-cell[data-state=succeeded]").first.wait_for()
    reader.shot("grid-large")
    # 400 tasks, and only those that can be seen are in the page.
    assert page.locator(".grid-row").count() < 80
    page.get_by_placeholder("Filter tasks").fill("task_039")
    until(lambda: page.locator(".grid-row:not([hidden])").count() == 10, 10, "ten tasks")
    page.locator(".grid-cell[tabindex='0']").focus()
    page.keyboard.press("Home")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "task_0390, 2026-11-01: succeeded"
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Shift+ArrowRight")
    assert page.locator(".grid-cell[aria-selected=true]").count() == 4
    page.keyboard.press("c")
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("large@2026-11-02 task_0391: succeeded → waiting").wait_for()
    reader.shot("grid-clear")
    dialog.get_by_role("button", name="Do it").click()
    dialog.wait_for(state="detached")
    until(lambda: page.locator(".grid-cell[data-mark='2']").count() >= 4, 60, "the marks of second attempts")
    page.keyboard.press("Escape")
    page.locator(".grid-cell[tabindex='0']").focus()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="task_039").wait_for()


def test_a_backfill_is_shown_before_it_begins(reader, project, server):
    page = reader.sign_in().page
    page.goto(f"{server}/pipelines/daily/backfill")
    page.get_by_label("From").fill("2026-11-12")
    page.get_by_label("To", exact=True).fill("2026-11-10")
    preview = page.locator("#preview")
    preview.locator(".wrong").wait_for()
    page.get_by_label("To", exact=True).fill("2026-11-13")
    preview.get_by_text("2 dates").wait_for()
    preview.get_by_text("daily@2026-11-12").wait_for()
    reader.shot("backfill")
    page.get_by_label("Reason").fill("they were forgotten")
    page.get_by_role("button", name="Begin").click()
    page.get_by_text("they were forgotten").wait_for()
    page.locator("#dates .state[data-state=succeeded]").nth(1).wait_for()
    page.locator("#facts").get_by_text("done").wait_for()
    reader.shot("backfill-done")
    assert page.locator("[data-do]").count() == 0
    shown = json.loads(project.call("backfills", "--json").stdout)[0]
    assert (shown["reason"], shown["state"], shown["over"]) == ("they were forgotten", "done", 2)
    assert [text for text in reader.complaints if "422" not in text] == []
    reader.complaints.clear()


def test_attempts_of_all_generations_are_tabs_with_addresses(reader, project, server):
    page = reader.sign_in().page
    here = f"{server}/runs/daily@2026-11-17/tasks/extract"
    page.goto(here)
    generations = page.get_by_role("navigation", name="Generations")
    attempts = page.get_by_role("navigation", name="Attempts")

    def chosen(of):
        return [link.get_attribute("href").rsplit("?")[1] for link in of.locator("[aria-current]").all()]

    assert (chosen(generations), chosen(attempts)) == (["generation=2"], ["attempt=2"])
    page.locator(".log pre code").get_by_text("rows of 2026-11-17").wait_for()
    # By keys, and again after a reload: what is looked at stands in the address.
    generations.get_by_role("link", name="Generation 1").focus()
    page.keyboard.press("Enter")
    page.wait_for_url(f"{here}?generation=1")
    assert (chosen(generations), chosen(attempts)) == (["generation=1"], ["attempt=1"])
    attempts.get_by_role("link", name="Attempt 1").click()
    page.reload()
    assert (page.url, chosen(generations), chosen(attempts)) == (f"{here}?attempt=1", ["generation=1"], ["attempt=1"])
    reader.shot("task-generations")
    page.evaluate("window.loaded = 'once'")
    with page.context.new_page() as newest:
        newest.goto(here)
        newest.locator(".log pre code").get_by_text("rows of 2026-11-17").wait_for()
        newest.get_by_text("Request", exact=True).click()
        asked = newest.locator("#attempt").get_attribute("data-key")
        project.call("clear", "daily@2026-11-17", "--task", "extract", "--yes")
        # Who looks at what is newest sees the next attempt begin, with its own output.
        newest.locator("nav[aria-label=Attempts] [aria-current]").get_by_text("Attempt 3").wait_for()
        newest.locator(f"#attempt:not([data-key='{asked}'])").wait_for()
        newest.locator(".log pre code").get_by_text("rows of 2026-11-17").wait_for()
        assert newest.locator(".log").get_attribute("data-log").endswith("/attempts/3/log")
    # Who looks at another one stays there, and learns of the new one.
    generations.get_by_role("link", name="Generation 3").wait_for()
    assert (chosen(generations), chosen(attempts)) == (["generation=1"], ["attempt=1"])
    assert page.locator(".log").get_attribute("data-log").endswith("/attempts/1/log") and page.evaluate("window.loaded") == "once"
    for wrong in ("attempt=9", "generation=9", "attempt=0"):
        page.goto(f"{here}?{wrong}")
        page.locator(".refused .code").get_by_text("404").wait_for()
    reader.complaints[:] = [text for text in reader.complaints if "404" not in text]
    # One generation needs no tabs for it; without attempts there are none at all.
    page.goto(f"{server}/runs/daily@2026-11-18/tasks/extract")
    assert generations.count() == 0 and attempts.get_by_role("link").count() == 1


def test_from_a_failed_task_to_the_line_that_is_to_blame(reader, project, server):
    page = reader.sign_in().page
    page.goto(f"{server}/runs/marked@2026-11-19/tasks/second")
    lines = MARKED.splitlines()
    blamed = lines.index('      ROWS: "{{ tasks.first.outputs.rows }}"') + 1
    page.locator("#facts").get_by_role("link", name=f"v1, line {blamed}").click()
    page.wait_for_url(f"**/pipelines/marked/source?version=1&run=marked%402026-11-19&task=second#L{blamed}")
    line = page.locator(f"#L{blamed}")
    assert line.get_attribute("data-said") == "error" and line.inner_text().strip() == lines[blamed - 1].strip()
    said = page.locator(f"#L{blamed} + .note")
    assert said.inner_text().startswith("✕ error setting `env.ROWS`: ")
    first = lines.index("  second:") + 1
    marked = [int(one.get_attribute("id")[1:]) for one in page.locator(".source code[data-task]").all()]
    assert marked == list(range(first, len(lines) + 1))
    page.locator(".marked-lines").get_by_text(f"lines {first} to {len(lines)}").wait_for()
    shown = page.evaluate(f"document.getElementById('L{blamed}').getBoundingClientRect().top")
    assert 0 <= shown < 900
    # What deserves a look stands beside its line, whoever looks.
    page.goto(f"{server}/pipelines/marked/source")
    warned = lines.index("data_interval: day") + 1
    assert page.locator(f"#L{warned} + .note").inner_text().startswith("! warning the schedule fires more than once")
    assert page.locator("[data-task], [data-said=error]").count() == 0
    # Words that stand as code beside a line are no line: they would take its number.
    counted = page.evaluate("[...document.querySelectorAll('.source code')].filter((one) => getComputedStyle(one).counterIncrement !== 'none').map((one) => one.id)")
    assert page.locator(".note code").count() == 1 and counted == [f"L{number}" for number in range(1, len(lines) + 1)]
    version = json.loads(http(f"{server}/api/v1/pipelines/marked/versions/1", cookie=cookie_of(project))[2])
    assert [(one["line"], one["severity"]) for one in version["warnings"]] == [(warned, "warning")]
    # A task that the service failed is marked as a whole, in the service's words.
    page.goto(f"{server}/pipelines/daily/source?run=daily@2026-11-19&task=extract")
    note = page.locator(f"#L{DAILY.splitlines().index('  extract:') + 1} + .note")
    assert EVIL in note.inner_text() if note.count() else page.locator(".note").count() == 0
    assert page.evaluate("window.hacked") is None
    # Lines of another version would be other lines.
    page.goto(f"{server}/pipelines/daily/source?run=marked@2026-11-19&task=second")
    assert page.locator("[data-task], .note").count() == 0


def test_mails_are_read_as_their_receivers_see_them(reader, project, server):
    page = reader.sign_in().page
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Mails").click()
    rows = page.locator("#mails tbody tr")
    assert rows.locator("a").all_inner_texts() == ["[local] FAILED daily: extract", f"EVIL {EVIL}"]
    page.get_by_text("note <b>.txt in the mailbox is no mail: its name does not end in .eml.").wait_for()
    rows.last.get_by_role("link").click()
    page.get_by_role("heading", name="EVIL").wait_for()
    assert page.locator("pre.mail").inner_text() == f"Dear {EVIL}\nit failed.\n"
    assert page.evaluate("window.hacked") is None
    for name in ("gone", "..%2Fmailbox%2Fgone", "..%2F..%2Fapi-token", "%2Fetc%2Fpasswd", "note%20%3Cb%3E"):
        page.goto(f"{server}/mails/{name}")
        page.get_by_text("in the mailbox").wait_for()
    assert len(reader.complaints) == 5 and all("404" in text for text in reader.complaints)
    reader.complaints.clear()


def test_runs_and_their_lists_show_one_clock(reader, project, server):
    page = reader.sign_in().page
    page.goto(f"{server}/runs?pipeline=daily")
    listed = page.locator("#runs tbody tr").first.locator("time").inner_text()
    assert listed.endswith(" CET"), listed
    page.goto(f"{server}/pipelines/daily/schedule")
    page.get_by_text("Fires at 02:30: 30 2 * * * (Europe/Berlin).").wait_for()
    widths = page.evaluate("[...document.querySelectorAll('table.fires')].map((one) => [...one.querySelectorAll('th')].map((th) => th.offsetWidth).join())")
    assert len(set(widths)) == 1 and len(widths) == 2, widths


PAGES = ["/deployments", "/mails", "/mails/20261120T104800.000Z-2-ops-example-com", "/runs/daily@2026-11-17/tasks/extract",
         "/runs/daily@2026-11-17/tasks/extract?generation=1", "/runs/marked@2026-11-19/tasks/second",
         "/pipelines/marked/source?run=marked@2026-11-19&task=second", "/pipelines/marked/source", "/accounts", "/audit", "/me", "/backfills", "/pipelines/daily/backfill", "/triggers", "/pools", "/pipelines", "/pipelines/daily", "/pipelines/daily/graph", "/pipelines/daily/schedule", "/pipelines/daily/source",
         "/pipelines/daily/start", "/runs", "/runs?state=failed", "/runs/daily@2026-11-18", "/runs/daily@2026-11-18/timeline",
         "/runs/daily@2026-11-18/history", "/runs/daily@2026-11-18/tasks/extract", "/pipelines/large", "/runs/nothing@1"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_every_page_is_for_everybody(browser, project, server, scheme, size):
    # Scripts of the tests run beside the pages' own, which the pages' policy is not about.
    reader = Reader(browser, project, viewport=size, color_scheme=scheme, bypass_csp=True).sign_in()
    for path in PAGES:
        reader.page.goto(server + path)
        if path in ("/pipelines/daily", "/pipelines/large"):
            reader.page.locator(".grid-cell").first.wait_for()
        reader.shot(f"{path.strip('/').replace('/', '-').replace('?', '-')[:60]}-{scheme}-{size['width']}")
        reader.assert_accessible()
        over = reader.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert over <= 0, f"{path} is {over} px too wide"
        assert reader.page.evaluate("window.hacked") is None
    assert all("404" in text for text in reader.complaints), reader.complaints
    reader.complaints.clear()
    reader.close()
