"""Requests that are no HTTP, or two kinds of it at once: what a proxy in front could read otherwise than the server."""

import pathlib
import struct

import pytest

from attacked import attacked
from waiting import until
from wire import ANSWER_LIMIT_SECONDS, ask, connected, head, heard, spoken

PLAN = "/api/v1/pipelines/daily/plan"
# Headers of one request, and bytes of its head.
HEADERS_MAX, HEAD_MAX = 64, 16 * 1024
CHUNKS = "2\r\n{}\r\n0\r\n\r\n"

# Header lines, and the body that stands below them. The second request must never be answered: it stands where one
# of two readers sees a body.
TWO_READINGS = {
    "a length and chunks": ("Content-Length: 4\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
    "chunks and a length": ("Transfer-Encoding: chunked\r\nContent-Length: 6", "0\r\n\r\nX"),
    "a length and good chunks": (f"Content-Length: {len(CHUNKS)}\r\nTransfer-Encoding: chunked", CHUNKS),
    "chunks behind a bare line feed": ("Content-Length: 2\r\nX-A: b\nTransfer-Encoding: chunked", CHUNKS),
    "chunks behind a bare carriage return": ("Content-Length: 2\r\nX-A: b\rTransfer-Encoding: chunked", "{}"),
    "chunks of a fold": ("Content-Length: 2\r\nTransfer-Encoding:\r\n chunked", CHUNKS),
    "a length of a fold": ("X-A: b\r\n Content-Length: 2", "{}"),
    "two lengths": ("Content-Length: 2\r\nContent-Length: 40", "{}"),
    "a list of lengths": ("Content-Length: 2, 2", "{}"),
    "a length with a sign": ("Content-Length: +2", "{}"),
    "a length below nothing": ("Content-Length: -2", "{}"),
    "a hexadecimal length": ("Content-Length: 0x2", "{}"),
    "a length beyond all": ("Content-Length: 99999999999999999999999", "{}"),
    "a length beside a space": ("Content-Length : 2", "{}"),
    "a length with a tab in its name": ("Content\tLength: 2", "{}"),
    "chunks beside a space": ("Transfer-Encoding : chunked\r\nContent-Length: 2", CHUNKS),
    "other chunks": ("Transfer-Encoding: xchunked", CHUNKS),
    "chunks and then nothing of it": ("Transfer-Encoding: chunked, identity", CHUNKS),
    "no chunks": ("Transfer-Encoding: identity\r\nContent-Length: 2", "{}"),
    "chunks with a wish": ("Transfer-Encoding: chunked;q=1", CHUNKS),
    "chunks behind a control character": ("Transfer-Encoding: \x0bchunked\r\nContent-Length: 2", CHUNKS),
    "chunks twice told": ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", CHUNKS),
    "a chunk that ends in a line feed": ("Transfer-Encoding: chunked", "2\n{}\n0\n\n"),
    "an extension that ends in a line feed": ("Transfer-Encoding: chunked", "2;a\n{}\r\n0\r\n\r\n"),
    "a chunk below nothing": ("Transfer-Encoding: chunked", "-2\r\n{}\r\n0\r\n\r\n"),
    "a chunk beyond all": ("Transfer-Encoding: chunked", "fffffffffffffffff2\r\n{}\r\n0\r\n\r\n"),
    "a chunk with a prefix": ("Transfer-Encoding: chunked", "0x2\r\n{}\r\n0\r\n\r\n"),
    "a chunk longer than it says": ("Transfer-Encoding: chunked", "2\r\n{}XX0\r\n\r\n"),
    "a carriage return in a value": ("Content-Length: 2\r\nX-A: a\rb", "{}"),
    "a NUL in a value": ("Content-Length: 2\r\nX-A: a\0b", "{}"),
    "a name that is none": ("Content-Length: 2\r\nX A: b", "{}"),
    "no name": ("Content-Length: 2\r\n: b", "{}"),
    "no colon": ("Content-Length: 2\r\nX-A", "{}"),
}
# What is no request of HTTP 1 at all.
NO_REQUEST = {
    "an old request": b"GET /healthz\r\n\r\n",
    "a later HTTP": b"GET /healthz HTTP/3.0\r\nHost: 127.0.0.1\r\n\r\n",
    "a space in the address": b"GET /healthz /x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "carriage returns alone": b"GET /healthz HTTP/1.1\rHost: 127.0.0.1\r\r",
    "a control character in the address": b"GET /heal\x01thz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "bytes": bytes(range(256)) + b"\r\n\r\n",
    "a greeting of TLS": bytes.fromhex("1603010200010001fc0303") + bytes(505),
    "a greeting of SSH": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "a question to Postgres": struct.pack(">ii", 8, 80877103) + b"\r\n\r\n",
    "a command to redis": b"*1\r\n$4\r\nINFO\r\n\r\n",
}


@pytest.fixture(scope="module")
def target(binary, environment, tmp_path_factory):
    with attacked(binary, environment, tmp_path_factory.mktemp("wire")) as found:
        yield found
        found.assert_unharmed()


def ending(target):
    """A good request after which the server closes: what stands before it on the connection was answered by then."""
    return head("GET", "/healthz", [("Host", "127.0.0.1"), ("Connection", "close")])


def hidden(target):
    return head("GET", "/api/v1/status", [("Host", "127.0.0.1"), *target.owner.items()])


@pytest.mark.parametrize("shape", TWO_READINGS)
def test_a_request_with_two_readings_hides_no_other(target, shape):
    lines, body = TWO_READINGS[shape]
    good = [("Host", "127.0.0.1"), *target.owner.items(), ("Content-Type", "application/json")]
    first = head("POST", PLAN, good)[:-2] + lines.encode("latin-1") + b"\r\n\r\n" + body.encode()
    answers = spoken(target.address, first + hidden(target) + ending(target))
    assert not [answer for answer in answers if b'"replicas"' in answer.body], [answer.text for answer in answers]
    # Its own answer, if any; and then the connection ends, since nobody knows where the next request begins.
    assert len(answers) == 1 and answers[0].status in (200, 400, 501), [(answer.status, answer.text) for answer in answers]


def test_requests_that_are_good_follow_each_other(target):
    """What the tests above lean on: the second request is answered where the first one has one reading."""
    good = [("Host", "127.0.0.1"), *target.owner.items(), ("Content-Type", "application/json")]
    for lines, body in ((("Content-Length", "2"), b"{}"), (("Transfer-Encoding", "chunked"), CHUNKS.encode())):
        answers = spoken(target.address, head("POST", PLAN, [*good, lines]) + body + hidden(target) + ending(target))
        assert [answer.status for answer in answers] == [200, 200, 200]
        assert b'"replicas"' in answers[1].body
    # A body that nobody reads is no request either.
    inner = hidden(target)
    answers = spoken(target.address, head("GET", "/healthz", [("Host", "127.0.0.1"), ("Content-Length", str(len(inner)))]) + inner + ending(target))
    assert [(answer.status, answer.body) for answer in answers] == [(200, b"ok\n")] * 2


@pytest.mark.parametrize("shape", NO_REQUEST)
def test_what_is_no_request_ends_the_connection(target, shape):
    answers = spoken(target.address, NO_REQUEST[shape] + hidden(target))
    assert [answer.status for answer in answers] in ([], [400], [505]), [answer.text for answer in answers]


def test_a_head_is_limited_in_every_way(target):
    def asked(headers, path="/healthz"):
        return spoken(target.address, head("GET", path, [("Host", "127.0.0.1"), ("Connection", "close"), *headers]))

    assert [answer.status for answer in asked([(f"X-{index}", "y") for index in range(HEADERS_MAX - 2)])] == [200]
    for headers, path in (
        ([(f"X-{index}", "y") for index in range(HEADERS_MAX - 1)], "/healthz"),
        ([(f"X-{index}", "y") for index in range(100_000)], "/healthz"),
        ([("X-Long", "y" * HEAD_MAX)], "/healthz"),
        ([("X" * HEAD_MAX, "y")], "/healthz"),
        ([("Cookie", "a=b; " * 4_000)], "/healthz"),
        ([], "/healthz?" + "a" * 10_000_000),
    ):
        answers = asked(headers, path)
        # A client that goes on sending may hear nothing but that the connection is gone.
        assert [answer.status for answer in answers] in ([400], [414], [431], []), (len(headers), path[:20])
    # Without an end: refused as soon as it is too long, not when it is whole.
    with connected(target.address, seconds=5) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nX-Long: " + b"y" * (HEAD_MAX + 1024))
        assert b" 431 " in heard(connection).split(b"\r\n")[0]


def descriptors(target):
    return len(list(pathlib.Path(f"/proc/{target.server.process.pid}/fd").iterdir()))


def test_http_2_is_refused_and_leaves_nothing(target):
    """A greeting of HTTP/2 with a thousand streams that are taken back at once: refused before the first of them."""
    def frame(kind, flags, stream, payload=b""):
        return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload

    # :method GET, :scheme http, :path /, then RST_STREAM with CANCEL.
    streams = b"".join(frame(1, 5, number, b"\x82\x86\x84") + frame(3, 0, number, struct.pack(">I", 8)) for number in range(1, 2_001, 2))
    greeting = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0)
    before = descriptors(target)
    for _ in range(20):
        answers = spoken(target.address, greeting + streams)
        assert [answer.status for answer in answers] in ([], [400], [505]), answers
    assert target.ask("GET", "/healthz").status == 200
    until(lambda: descriptors(target) <= before, ANSWER_LIMIT_SECONDS, "the connections to be closed")


def test_methods_for_proxies_do_nothing(target):
    canary = "canary-of-trace"
    for method in ("TRACE", "TRACK", "DEBUG"):
        answer = ask(target.address, method, "/api/v1/status", target.owner | {"X-Canary": canary})
        assert answer.status == 405 and canary not in str(answer), method
    for to in ("evil.example.com:443", "127.0.0.1:22", f"127.0.0.1:{target.address[1]}"):
        asked = head("CONNECT", to, [("Host", to), *target.owner.items()]) + ending(target)
        answers = spoken(target.address, asked)
        assert answers[0].status in (400, 404, 405, 421), to
    for method, where in (("OPTIONS", "*"), ("OPTIONS", "/api/v1/runs"), ("PROPFIND", "/"), ("get", "/healthz"), ("PUT", "/assets/x/page.js")):
        answer = ask(target.address, method, where, target.owner | {"Origin": "https://evil.example.com", "Access-Control-Request-Method": "POST"})
        assert answer.status in (404, 405), (method, where)
        assert not [name for name, _ in answer.headers if name.startswith("access-control")]
