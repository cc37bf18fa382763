"""Bodies that are too long, too deep, too many, not what they say they are; and definitions that are made to be
expensive. Each is refused, soon, and the server goes on."""

import contextlib
import gzip
import json
import select
import time

import pytest

from attacked import attacked
from described import operations
from project import Project
from test_api import serving
from wire import ANSWER_LIMIT_SECONDS, address_of, answers, ask, connected, head, heard, spoken

# By hand: the longest body of an operation, in bytes.
BODY_MAX, DEPLOYMENT_MAX, FORM_MAX = 256 * 1024, 16 * 1024 * 1024, 8 * 1024
STREAMED = 200 * 1024 * 1024
PLAN = "/api/v1/pipelines/daily/plan"


@pytest.fixture(scope="module")
def target(binary, environment, tmp_path_factory):
    with attacked(binary, environment, tmp_path_factory.mktemp("bodies")) as found:
        yield found
        found.assert_unharmed()


def padded(body, length):
    """The same JSON in so many bytes."""
    text = json.dumps(body).encode()
    return text[:-1] + b" " * (length - len(text)) + text[-1:]


def test_a_body_has_its_limit_to_the_byte(target):
    kind = {"Content-Type": "application/json"}
    for operation in operations(target.address):
        if operation.body is None:
            continue
        where, body = operation.target(target.names), operation.fitting_body()
        most = DEPLOYMENT_MAX if operation.name == "POST /deployments" else BODY_MAX
        fits = ask(target.address, operation.method, where, target.owner | kind, padded(body, most))
        assert fits.status in (200, 404, 409, 422), (operation.name, fits.text)
        over = ask(target.address, operation.method, where, target.owner | kind, padded(body, most + 1))
        assert over.status == 413 and over.json()["type"].endswith(":too-large"), operation.name
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for length, status in ((FORM_MAX, 401), (FORM_MAX + 1, 413)):
        assert ask(target.address, "POST", "/sign-in", form, b"token=" + b"x" * (length - 6)).status == status


def poured(address, first, piece, most):
    """Sends a head and then a body until the server has had enough: how much of it was sent, and what it said."""
    sent, said = 0, b""
    with connected(address) as connection:
        connection.sendall(first)
        connection.setblocking(False)
        end = time.monotonic() + ANSWER_LIMIT_SECONDS
        # A server that closes while it is sent something resets the connection, and its words may be lost.
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            while sent < most:
                assert time.monotonic() < end, "the server neither reads nor refuses"
                readable, writable, _ = select.select([connection], [connection], [], 1)
                if readable:
                    break
                if writable:
                    sent += connection.send(piece)
            connection.setblocking(True)
            said = heard(connection)
    return sent, answers(said)


@pytest.mark.parametrize("way", ["with its length", "in chunks"])
@pytest.mark.parametrize("where", [PLAN, "/api/v1/deployments", "/sign-in"])
@pytest.mark.parametrize("who", ["owner", "nobody"])
def test_a_long_body_is_refused_before_it_is_read(target, way, where, who):
    """200 MB that somebody pours: the server stops soon after the limit, whoever it is."""
    headers = [("Host", "127.0.0.1"), ("Content-Type", "application/json"), *(target.owner.items() if who == "owner" else ())]
    if way == "in chunks":
        headers.append(("Transfer-Encoding", "chunked"))
        piece = b"10000\r\n" + b" " * 65536 + b"\r\n"
    else:
        headers.append(("Content-Length", str(STREAMED)))
        piece = b" " * 65536
    sent, said = poured(target.address, head("POST", where, headers), piece, STREAMED)
    most = DEPLOYMENT_MAX if (who, where) == ("owner", "/api/v1/deployments") else BODY_MAX
    # What the buffers of both sides hold beside it.
    assert sent <= most + 16 * 1024 * 1024, f"{sent} bytes were taken"
    refusal = 401 if who == "nobody" and where != "/sign-in" else 413
    assert [answer.status for answer in said] in ([refusal], []), said


DEEP = 100_000
BODIES = {
    "deep lists": b'{"params": {"text": ' + b"[" * DEEP + b"]" * DEEP + b"}}",
    "deep lists without an end": b'{"params": {"text": ' + b"[" * DEEP,
    "deep objects": b'{"params": ' + b'{"a":' * 30_000 + b"1" + b"}" * 30_000 + b"}",
    "a long number": b'{"params": {"text": ' + b"9" * 200_000 + b"}}",
    "a number beyond all": b'{"params": {"text": 1e999999999}}',
    "a number that is none": b'{"params": {"text": NaN}}',
    "many names": json.dumps({"params": {f"p{index}": 1 for index in range(15_000)}}).encode(),
    "names that are not asked for": json.dumps({f"p{index}": 1 for index in range(15_000)}).encode(),
    "a long list": json.dumps({"params": {"text": [0] * 10_000}}).encode(),
    "a second body": b"{}{}",
    "nothing": b"",
    "no object": b"[]",
    "half an object": b'{"params": {"text": "a',
    "bytes that are no UTF-8": b'{"params": {"text": "\xff\xfe\xc0\xaf"}}',
    "UTF-16": '{"params": {}}'.encode("utf-16"),
    "a mark of byte order": b"\xef\xbb\xbf{}",
    "NUL bytes": b"\0" * 1000,
    "gzip": gzip.compress(b'{"params": {}}'),
    "a bomb of gzip": gzip.compress(bytes(50_000_000)),
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_a_body_that_is_none_is_refused(target, body, encoding):
    headers = target.owner | {"Content-Type": "application/json"} | ({"Content-Encoding": encoding} if encoding else {})
    begun = time.monotonic()
    answer = ask(target.address, "POST", PLAN, headers, BODIES[body])
    assert answer.status in (400, 415, 422) and answer.header("content-type") == "application/problem+json", answer.text
    # As long as reading it takes, not as long as it would take to do what it says.
    assert time.monotonic() - begun < 10
    assert len(answer.body) < 20_000, "a refusal repeats what was sent"


def test_long_lists_and_many_names_are_counted_first(target):
    for where, body in (
        ("/api/v1/runs/daily@2026-10-01/clear", {"tasks": ["extract"] * 10_000, "dry_run": True}),
        ("/api/v1/runs/clear", {"runs": "daily", "state": "succeeded", "tasks": ["x"] * 10_000, "dry_run": True}),
        ("/api/v1/runs/daily@2026-10-01/mark", {"mark": "failed", "tasks": [f"t{index}" for index in range(10_000)], "dry_run": True}),
        ("/api/v1/deployments", {"prune": False, "dry_run": True, "files": {str(index): "" for index in range(1_000_000)}}),
        ("/api/v1/deployments", {"prune": False, "dry_run": True, "files": {"/".join("a" * 200_000): ""}}),
        ("/api/v1/deployments", {"prune": False, "dry_run": True, "files": {"a/pipeline.yaml": "#" * 2_000_000}}),
    ):
        answer = target.ask("POST", where, body)
        assert answer.status == 422 and len(answer.body) < 20_000, (where, answer.text[:2_000])


def test_a_name_that_stands_twice_is_refused(target):
    """Two readers would take one each: a proxy the first, the server the last."""
    for where, body in (("/api/v1/pipelines/daily/pause", b'{"dry_run": true, "dry_run": false}'),
                        (PLAN, b'{"params": {"text": "a", "text": "b"}}'),
                        ("/api/v1/deployments", b'{"dry_run": true, "prune": false, "prune": true, "files": {"a/pipeline.yaml": ""}}')):
        try:
            assert target.ask("POST", where, body, Content_Type="application/json").status in (400, 422), where
        finally:
            target.ask("POST", "/api/v1/pipelines/daily/resume", {})


def test_a_length_that_is_wrong_begins_no_other_request(target):
    good = [("Host", "127.0.0.1"), *target.owner.items(), ("Content-Type", "application/json")]
    ending = head("GET", "/healthz", [("Host", "127.0.0.1"), ("Connection", "close")])
    # Too short: what is left over is no request.
    said = spoken(target.address, head("POST", PLAN, [*good, ("Content-Length", "2")]) + b'{}, "more": "of it"}\r\n\r\n' + ending)
    assert [answer.status for answer in said] == [200, 400]
    # Too long, and the client is gone: nothing is done with what came.
    paused = head("POST", "/api/v1/pipelines/daily/pause", [*good, ("Content-Length", "2000")]) + b"{}"
    with connected(target.address) as connection:
        connection.sendall(paused)
        connection.shutdown(1)
        assert not [answer for answer in answers(heard(connection)) if answer.status == 200]
    assert target.ask("GET", "/api/v1/pipelines/daily").json()["paused"] is False


# --- Definitions -----------------------------------------------------------------------------------------------


def one_task(template):
    return f"name: x\ndata_interval: none\ntasks:\n  a: {{ type: command, command: [echo, '{template}'] }}\n"


def anchors():
    rows = ["l0: &l0 [x, x, x, x, x, x, x, x, x]"]
    rows += [f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 9)}]" for level in range(1, 15)]
    return "\n".join([*rows, "name: x", "tasks: *l14"])


DEFINITIONS = {
    "lists in lists": "name: x\ntasks: " + "[" * DEEP + "]" * DEEP,
    "rows in rows": "- " * 400_000 + "a",
    "maps in maps": "name: x\ntasks: " + "{a: " * DEEP + "}" * DEEP,
    "a billion laughs": anchors(),
    "a tag that names a class": "name: !!python/object/apply:os.system ['id']\ntasks: { a: { type: noop } }",
    "many documents": "---\n" * 200_000,
    "many tasks": "name: x\ntasks:\n" + "".join(f"  k{index}: {{type: noop}}\n" for index in range(45_000)),
    "a circle of all": "name: x\ntasks:\n" + "".join(f"  t{index}: {{type: noop, depends_on: [t{(index + 1) % 5000}]}}\n" for index in range(5_000)),
    "a long chain": "name: x\ndata_interval: none\ntasks:\n  t0: {type: noop}\n" + "".join(
        f"  t{index}: {{type: noop, depends_on: t{index - 1}}}\n" for index in range(1, 5_000)),
    "a long schedule": "name: x\nschedule: '" + "*/1," * 200_000 + "1 * * * *'\ntasks: { a: { type: noop } }",
    "a schedule that never comes": "name: x\nschedule: '0 0 31 2 *'\ntasks: { a: { type: noop } }",
    "a long name": f"name: {'x' * 900_000}\ntasks: {{ a: {{ type: noop }} }}",
    "brackets in a template": one_task("{{ " + "(" * DEEP + "1" + ")" * DEEP + " }}"),
    "many templates": one_task("{{ ds }}" * 80_000),
    "braces": one_task("{{" * DEEP),
}
# What is deep as soon as it is read, though no bracket says so.
DEEP_TEMPLATES = {
    "no of no": one_task("{{ " + "not " * DEEP + "1 }}"),
    "minus of minus": one_task("{{ " + "-" * DEEP + "1 }}"),
    "ifs in ifs": one_task("{% if 1 %}" * 50_000 + "{% endif %}" * 50_000),
    "sets in sets": one_task("{% set a %}" * 40_000 + "{% endset %}" * 40_000),
    "loops in loops": one_task("{% for a in [1] %}" * 25_000 + "{% endfor %}" * 25_000),
    "filters around filters": one_task("{% filter abs %}" * 25_000 + "{% endfilter %}" * 25_000),
    "else after else": one_task("{% if 1 %}" + "{% elif 1 %}" * 50_000 + "{% endif %}"),
    "filters of filters": one_task("{{ 1" + "|abs" * DEEP + " }}"),
    "fields of fields": one_task("{{ vars" + ".a" * DEEP + " }}"),
    "a long sum": one_task("{{ 1" + "+1" * DEEP + " }}"),
    "a long and": one_task("{{ 1" + " and 1" * DEEP + " }}"),
    "calls of calls": one_task("{{ a" + "()" * DEEP + " }}"),
    "a long row of texts": one_task("{{ 1" + " ~ 1" * DEEP + " }}"),
    "if or else or else": one_task("{{ 1" + " if 1 else 1" * 50_000 + " }}"),
}
MISTAKES = {
    "tasks that are not there": "name: x\ndata_interval: none\ntasks:\n" + "".join(
        f"  t{index}: {{type: noop, depends_on: [u{index}]}}\n" for index in range(4_000)),
    "mistakes on one long line": "name: x\ntasks: {" + ",".join(f"k{index}: 1" for index in range(80_000)) + "}",
    "keys that are not there": "name: x\n" + "".join(f"k{index}: 1\n" for index in range(20_000)),
}
# What a deployment that a person makes takes, many times over; on a machine that does other things too.
DEFINITION_SECONDS = 5
# Thousands of mistakes, each with its place and a suggestion, in a build without optimisation.
MISTAKES_SECONDS = 30


@pytest.fixture(scope="module")
def project(binary, environment, tmp_path_factory):
    made = Project.deployed(binary, environment, tmp_path_factory.mktemp("definitions"), {"daily": one_task("x").replace("x", "daily", 1)})
    yield made
    made.stop()


def deployed(server, text, seconds=DEFINITION_SECONDS):
    """A preview of a deployment of this file; the server must answer soon, and go on."""
    headers = [("Host", "127.0.0.1"), ("Authorization", f"Bearer {server.token}"), ("Content-Type", "application/json"), ("Connection", "close")]
    body = json.dumps({"files": {"x/pipeline.yaml": text}, "prune": False, "dry_run": True}).encode()
    with connected(address_of(server.url), seconds=seconds) as connection:
        connection.sendall(head("POST", "/api/v1/deployments", [*headers, ("Content-Length", str(len(body)))]) + body)
        said = answers(heard(connection))
    assert said, server.log.read_text()[-2_000:]
    assert said[0].status in (200, 422), said[0].text[:2_000]
    server.get("/status")
    return said[0]


def test_definitions_that_cost_much_are_answered_soon(project):
    with serving(project) as server:
        for name, text in DEFINITIONS.items():
            print(name)
            answer = deployed(server, text)
            # What is refused says what is wrong with it, once.
            assert answer.status == 200 or answer.json()["diagnostics"] or answer.json()["detail"], name
            assert len(answer.body) < 5_000_000, (name, len(answer.body))


@pytest.mark.parametrize("name", DEEP_TEMPLATES)
def test_no_template_takes_the_server_down(project, name):
    with serving(project) as server:
        deployed(server, DEEP_TEMPLATES[name])


@pytest.mark.parametrize("name", MISTAKES)
def test_many_mistakes_are_told_soon(project, name):
    with serving(project) as server:
        assert deployed(server, MISTAKES[name], MISTAKES_SECONDS).json()["diagnostics"]
