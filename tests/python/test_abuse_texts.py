"""What an attacker writes into every text that the server takes: into the path, the query and the body of every
operation and the address of every page; and then what becomes of the texts that were kept."""

import json
import re
import urllib.parse

import pytest

from attacked import RUN, attacked
from described import kind, operations, resolved, words
from project import Project
from waiting import until
from wire import ask, begun, head

# A product that no page shows for another reason.
PRODUCT = str(7919 * 7907)
TEXTS = {
    "sql": "'; drop table run; select pg_sleep(30); --",
    "sql that is true": "' or '1'='1' /*",
    "sql with a number": "1) union select token from api_token --",
    "sql of a pattern": "%_\\%",
    "template": "{{ 7919*7907 }}${7919*7907}#{7919*7907}<%= 7919*7907 %>",
    "template of a loop": "{% for a in range(100000000) %}{{ a }}{% endfor %}",
    "template of a secret": "\u2063secret(manager) {{ secrets.manager }} {{ vars }}",
    "path": "../../../../../../etc/passwd",
    "path, escaped": "..%2f..%2f..%2f..%2fetc%2fpasswd",
    "path, escaped twice": "..%252f..%252fetc%252fpasswd",
    "path of Windows": "..\\..\\..\\..\\etc\\passwd",
    "whole path": "/etc/passwd",
    "address": "file:///etc/passwd",
    "address of metadata": "http://169.254.169.254/latest/meta-data/",
    "command": "$(cat /etc/passwd)`cat /etc/passwd`; cat /etc/passwd | cat",
    "header": "a\r\nX-Injected: yes\r\nSet-Cookie: injected=yes\r\n\r\n<html>",
    "header, escaped": "a%0d%0aX-Injected: yes%0d%0aSet-Cookie: injected=yes",
    "header in other letters": "a\u560d\u560aX-Injected: yes\u560d\u560aSet-Cookie: injected=yes",
    "event": "a\n\nid: 1.1\ndata: {\"injected\": true}\n\n",
    "html": "<script>injected()</script><img src=x onerror=injected()>\"'><svg/onload=injected()>",
    "link": "javascript:injected()",
    "terminal": "\x1b[2J\x1b]0;injected\x07\x1b]8;;http://evil.example.com\x07link\x1b[31m",
    "terminal of one byte": "\x9b2J\x9d0;injected\x9c",
    "direction": "\u202egnissap \u2066abc\u2069 \u200f\u061c",
    "nothing to see": "\u200b\u2060\ufeff\u00ad\u034f",
    "right to left": "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "picture": "\U0001f469\u200d\U0001f469\u200d\U0001f467\U0001f3f4\U000e0067\U000e0062",
    "accents": "Z" + "\u0310\u0317\u0338" * 500,
    "edges": "\ufffe\uffff\U0010ffff\ud7ff\ue000",
    "nul": "a\0b",
    "long": "a" * 6_000,
    "number": "99999999999999999999999999",
    "formula": "=cmd|' /C calc'!A0",
    "format": "%s%n%x{0}{}",
    "nothing": "",
    "space": " \t",
    "record": '{"$ne": null}',
    "regex": "(a+)+$" + "a" * 60,
}
# Bytes of an address that stand for no text, or for one in a forbidden way.
RAW = ["%ff", "%c0%ae%c0%ae%c0%af", "%ed%a0%80", "%", "%zz", "%u002e", "%f4%90%80%80", "%00", "a%00b", "%0d%0a", "%2e%2e", "%2f", ";a=b", "*", "~"]
# How JSON writes half of a pair, and other escapes that are none.
ESCAPES = [r"\ud800", r"\udc00\ud800", r"a\uDFFFb", r"\u", r"\x41", r"\u00", r"\uD83D\u0041", "\t", "\x01", r"\u0000"]
# What an answer must never hold: somebody else's file, a product, what a database or a program says when it breaks.
NEVER = ["root:x:", "root:*:", PRODUCT, "syntax error", "pg_", "panicked", "stack backtrace", "RUST_BACKTRACE", "/rustc/", ".cargo/", "sqlx"]


@pytest.fixture(scope="module")
def target(binary, environment, tmp_path_factory):
    with attacked(binary, environment, tmp_path_factory.mktemp("texts")) as found:
        yield found
        found.assert_unharmed()


def assert_answer(answer, what, *, html=False):
    assert answer.status < 500, (what, answer.text)
    names = [name for name, _ in answer.headers]
    assert len(names) == len(set(names)) and not {"set-cookie", "x-injected"} & set(names), (what, answer.headers)
    assert answer.header("x-content-type-options") == "nosniff", what
    if html:
        assert answer.status == 303 or answer.header("content-type") == "text/html; charset=utf-8", what
        assert not re.search(r"<script>|<img|<svg/|[\"']javascript:", answer.text), (what, answer.text)
        assert "script-src 'self'" in answer.header("content-security-policy") or answer.status == 303
    else:
        wanted = "application/json" if answer.status == 200 else "application/problem+json"
        assert answer.header("content-type") == wanted, (what, answer.headers)
        answer.json()
    # What was sent may be repeated to whoever sent it; what it would lead to may not.
    sent = json.dumps(TEXTS, ensure_ascii=False)
    for word in NEVER:
        assert word not in answer.text or word in sent, (what, word, answer.text)


def places(target, operation):
    """Every text of an operation, as a function from a text to a request with it."""
    for name, schema in operation.parameters["path"].items():
        if kind(schema, operation.schemas) == "string":
            yield name, lambda text, name=name: (operation.target(target.names | {name: text}), operation.fitting_body())
    for name in operation.parameters["query"]:
        yield name, lambda text, name=name: (operation.target(target.names, {name: text}), operation.fitting_body())
    for name, schema in operation.fields().items():
        def within(text, name=name, schema=schema):
            return operation.target(target.names), operation.fitting_body() | {name: spread(text, schema, operation.schemas)}

        if kind(schema, operation.schemas) in ("string", "array", "object"):
            yield name, within


def spread(text, schema, schemas):
    """The text wherever a value of this kind may hold one."""
    match kind(schema, schemas):
        case "array":
            return [spread(text, resolved(schema, schemas)["items"], schemas)]
        case "object":
            return {text: text, "text": text, f"{text}/pipeline.yaml": f"name: {text}\ntasks: {{}}\n"}
        case _:
            return text


@pytest.mark.parametrize("text", TEXTS)
def test_every_operation_takes_every_text_as_a_text(target, text):
    tried = 0
    for operation in operations(target.address):
        for name, request in places(target, operation):
            where, body = request(TEXTS[text])
            what = (text, operation.name, name)
            if operation.streams:
                # A path that happens to lead to a run begins a stream; none of these does.
                answer = begun(target.address, head("GET", where, [("Host", "127.0.0.1"), *target.owner.items()]))
                assert answer.status in (400, 404), what
            else:
                assert_answer(target.ask(operation.method, where, body), what)
            tried += 1
    assert tried > 80


def test_every_operation_takes_every_address(target):
    """Bytes in a path and in a query that are no text."""
    for operation in operations(target.address):
        if operation.streams:
            continue
        for raw in RAW:
            paths = [re.sub(r"\{" + name + r"\}", raw, operation.path) for name in operation.parameters["path"]]
            paths = [re.sub(r"\{(\w+)\}", lambda found: str(target.names.get(found.group(1), "nothing")), path) for path in paths]
            queries = [f"{operation.target(target.names)}?{name}={raw}" for name in operation.parameters["query"]]
            for where in [*paths, *queries, f"{operation.target(target.names)}?{raw}={raw}"]:
                assert_answer(target.ask(operation.method, where, operation.fitting_body()), where)


def test_every_text_of_a_body_is_whole(target):
    """Halves of pairs and escapes that are none, which JSON can write and no text can hold."""
    tried = 0
    for operation in operations(target.address):
        for name, schema in operation.fields().items():
            if kind(schema, operation.schemas) != "string" or words(schema, operation.schemas):
                continue
            for escape in ESCAPES:
                body = json.dumps(operation.fitting_body() | {name: "@"}).replace('"@"', f'"{escape}"').encode()
                answer = target.ask(operation.method, operation.target(target.names), body, Content_Type="application/json")
                assert answer.status in (400, 422), (operation.name, name, escape, answer.text)
                assert_answer(answer, (operation.name, name, escape))
                tried += 1
    assert tried > 200


PAGES = ["/pipelines/{}", "/pipelines/{}/graph", "/pipelines/{}/source", "/pipelines/{}/schedule", "/pipelines/{}/start", "/pipelines/{}/backfill",
         "/backfills/{}", "/runs/{}", "/runs/{}/timeline", "/runs/{}/history", "/runs/{}/tasks/extract", f"/runs/{RUN}/tasks/{{}}",
         "/?to={}", "/pipelines?cursor={}", "/runs?pipeline={}", "/runs?state={}", "/runs?cursor={}", f"/runs/{RUN}?task={{}}",
         f"/runs/{RUN}/history?cursor={{}}", f"/runs/{RUN}/tasks/extract?attempt={{}}", "/backfills?cursor={}", "/pipelines/daily/source?version={}",
         "/pipelines/daily/start?date={}", "/pipelines/daily/schedule?from={}", "/sign-in?to={}", "/sign-in?link={}", "/sign-in?{}=x"]


@pytest.fixture(scope="module")
def cookie(target):
    return target.signed_in(target.token("browser", "deploy"))


@pytest.mark.parametrize("page", PAGES)
def test_every_page_takes_every_text_as_a_text(target, cookie, page):
    for name, text in TEXTS.items():
        for headers in ({"Cookie": cookie}, {}):
            answer = ask(target.address, "GET", page.format(urllib.parse.quote(text, safe="")), headers)
            # A path that is too short is another one, or none.
            if answer.status != 404 or answer.header("content-type") != "application/problem+json":
                assert_answer(answer, (page, name), html=True)


def test_sign_in_takes_every_text_as_a_text(target):
    kind_of_form = {"Content-Type": "application/x-www-form-urlencoded"}
    for name, text in TEXTS.items():
        for field in ("token", "to", text):
            form = urllib.parse.urlencode({"token": "x", "to": "/", field: text}).encode()
            answer = ask(target.address, "POST", "/sign-in", kind_of_form, form)
            assert answer.status in (401, 413), (name, field)
            assert_answer(answer, (name, field), html=True)


def test_every_header_that_is_read_is_taken_as_a_text(target):
    latin = {name: text.encode().decode("latin-1") for name, text in TEXTS.items() if not set(text) & set("\r\n\0\x1b\x07") and len(text) < 5_000}
    for name, text in latin.items():
        for header in ("Authorization", "Cookie", "Origin", "Sec-Fetch-Site", "trunkline-change", "Content-Type", "Last-Event-ID", "Accept",
                       "traceparent", "X-Request-Id", "User-Agent"):
            headers = {header: text} if header in ("Authorization", "Cookie") else target.owner | {header: text}
            answer = ask(target.address, "POST", "/api/v1/pipelines/daily/plan", {"Content-Type": "application/json"} | headers, b"{}")
            assert_answer(answer, (header, name))
        if text.strip():
            stream = [("Host", "127.0.0.1"), *target.owner.items(), ("Last-Event-ID", text)]
            assert begun(target.address, head("GET", "/api/v1/events", stream)).status in ((422,) if text.isascii() else (200, 422)), name


# --- Texts that are kept ---------------------------------------------------------------------------------------

# What a terminal, or an eye, takes for something else than a text: escapes, controls of one byte, changes of direction.
MISLEADING = {
    "escapes": re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"),
    "controls of one byte": re.compile("[\x80-\x9f]"),
    "changes of direction": re.compile("[\u202a-\u202e\u2066-\u2069]"),
}
KEPT = {name: text for name, text in TEXTS.items() if name not in ("nul", "long", "nothing", "space", "edges")}
DATES = {name: f"2026-0{6 + number // 30}-{number % 30 + 1:02}" for number, name in enumerate(KEPT)}


@pytest.fixture(scope="module")
def kept(target):
    """Each text as a reason, as a param, as what a command printed."""
    for number, (name, text) in enumerate(KEPT.items()):
        for word in ("pause", "resume"):
            assert target.ask("POST", f"/api/v1/pipelines/by_hand/{word}", {"reason": text}).status == 200
        made = target.ask("POST", "/api/v1/pipelines/daily/runs", {"date": DATES[name], "params": {"text": text}})
        assert made.status == 200, made.text
        mark = {"mark": ("failed", "succeeded")[number % 2], "tasks": ["load"], "reason": text}
        assert target.ask("POST", f"/api/v1/runs/{RUN}/mark", mark).status == 200
    until(lambda: all(target.server.ended(f"daily@{date}") for date in DATES.values()), 120, "the runs")


def test_texts_that_are_kept_come_back_as_texts(target, cookie, kept):
    history = target.ask("GET", f"/api/v1/runs/{RUN}/history?limit=200").json()["items"]
    reasons = " ".join(change["reason"] or "" for row in history for change in row["changes"])
    assert PRODUCT not in reasons and "{{ 7919*7907 }}" in reasons and "drop table run" in reasons
    runs = [RUN, *(f"daily@{date}" for date in DATES.values())]
    for run in runs:
        for where in ("", "/attempts", "/history", "/why", "/tasks/extract/attempts/1/log"):
            assert_answer(target.ask("GET", f"/api/v1/runs/{run}{where}"), (run, where))
        for page in ("", "/timeline", "/history", "/tasks/extract"):
            assert_answer(ask(target.address, "GET", f"/runs/{run}{page}", {"Cookie": cookie}), (run, page), html=True)
    for name in ("pipelines", "pipelines/by_hand", "pipelines/daily", "runs?limit=200"):
        assert_answer(target.ask("GET", f"/api/v1/{name}"), name)
        assert_answer(ask(target.address, "GET", f"/{name.split('?')[0]}", {"Cookie": cookie}), name, html=True)
    metrics = target.ask("GET", "/metrics").text
    assert "injected" not in metrics and metrics.endswith("# EOF\n")
    # Each param arrived as it was sent: nothing of it was executed, cut or changed on the way.
    for name, date in DATES.items():
        assert target.ask("GET", f"/api/v1/runs/daily@{date}").json()["params"]["text"] == KEPT[name], name


@pytest.fixture(scope="module")
def shown(target, kept):
    """What commands print of the texts, at the store and through the server."""
    remote = Project(target.project.binary, target.project.environment | {"TRUNKLINE_TOKEN": target.server.token}, target.project.folder)
    odd = [f"daily@{DATES[name]}" for name in ("terminal", "terminal of one byte", "direction", "header")]
    commands = [["runs", "daily"], ["show", RUN], ["why", RUN, "load"], ["status"], *(["show", run] for run in odd),
                *(["logs", run, "extract"] for run in odd)]
    done = [(command, asked) for command in commands
            for asked in (target.project.call(*command), remote.call("--server", target.server.url, *command))]
    return [(command, asked.stdout + asked.stderr) for command, asked in done]


@pytest.mark.parametrize("what", MISLEADING)
def test_what_a_terminal_shows_says_nothing_to_it(shown, what):
    """Whoever may write a reason, or what a command prints, must not write on the screen of whoever reads it."""
    assert any("gnissap" in text for _, text in shown) and any("link" in text for _, text in shown)
    found = [(command, MISLEADING[what].search(text)) for command, text in shown]
    assert [(command, seen.group()) for command, seen in found if seen] == []
