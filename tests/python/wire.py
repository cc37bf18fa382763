"""HTTP as whoever attacks a server speaks it: bytes over a socket, from an address of choice, and whatever comes back."""

import contextlib
import dataclasses
import json
import re
import socket
import time
import urllib.parse

# No answer takes longer, on any machine, unless the server hangs.
ANSWER_LIMIT_SECONDS = 60
# More than any answer of these tests holds.
ANSWER_BYTES_MAX = 64 * 1024 * 1024


@dataclasses.dataclass
class Answer:
    """Status, headers in their order with names in small letters, and body."""

    status: int
    headers: list
    body: bytes

    def header(self, name):
        return next((value for known, value in self.headers if known == name), None)

    @property
    def text(self):
        return self.body.decode(errors="replace")

    def json(self):
        # Strict: a control character that is not escaped is refused.
        return json.loads(self.body)


def address_of(url):
    parts = urllib.parse.urlsplit(url)
    return parts.hostname, parts.port


def connected(address, source="127.0.0.1", seconds=ANSWER_LIMIT_SECONDS):
    return socket.create_connection(address, timeout=seconds, source_address=(source, 0))


def heard(connection):
    """What comes until the server closes; a server that closes while it is being sent something resets."""
    said, end = bytearray(), time.monotonic() + ANSWER_LIMIT_SECONDS
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            said += piece
            assert len(said) < ANSWER_BYTES_MAX and time.monotonic() < end, "an answer without an end"
    return bytes(said)


def spoken(address, data, source="127.0.0.1"):
    """Everything that the server says to these bytes, until it closes, as its answers."""
    with connected(address, source) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(data)
        return answers(heard(connection))


def answers(said):
    """The answers that stand one after the other on a connection."""
    found = []
    while said:
        head, end, said = said.partition(b"\r\n\r\n")
        assert end, f"half an answer: {head[:200]!r}"
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = [line.partition(":")[::2] for line in lines]
        headers = [(name.lower(), value.strip()) for name, value in pairs]
        answer = Answer(int(first.split(" ")[1]), headers, b"")
        if answer.header("transfer-encoding") == "chunked":
            answer.body, said = unchunked(said)
        elif answer.status >= 200:
            length = int(answer.header("content-length") or 0)
            answer.body, said = said[:length], said[length:]
        found.append(answer)
    return found


def unchunked(said):
    body = b""
    while True:
        size, _, said = said.partition(b"\r\n")
        length = int(size or b"0", 16)
        body, said = body + said[:length], said[length + 2:]
        if not length:
            return body, said


def head(method, target, headers=()):
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def ask(address, method, target, headers=None, body=None, source="127.0.0.1"):
    """One request on a connection of its own. A body that is not bytes is sent as JSON."""
    headers = {"Host": f"{address[0]}:{address[1]}", "Connection": "close"} | (headers or {})
    if body is not None and not isinstance(body, bytes):
        headers = {"Content-Type": "application/json"} | headers
        body = json.dumps(body).encode()
    if body is not None:
        headers = {"Content-Length": str(len(body))} | headers
    data = head(method, target, headers.items()) + (b"" if method == "HEAD" or body is None else body)
    with connected(address, source) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(data)
        said = heard(connection)
    if method == "HEAD":
        said = said.partition(b"\r\n\r\n")[0] + b"\r\ncontent-length: 0\r\n\r\n"
    found = answers(said)
    assert len(found) == 1, f"{method} {target}: {[answer.status for answer in found]}"
    return found[0]


def begun(address, data):
    """The status and headers of the first answer, which may go on for ever; the connection is closed."""
    with connected(address) as connection:
        connection.sendall(data)
        said = b""
        while b"\r\n\r\n" not in said:
            piece = connection.recv(4096)
            assert piece, f"no answer to {data[:200]!r}"
            said += piece
    first = said.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    # The headers alone, whatever they say about a body.
    return answers(re.sub(rb"(?i)(content-length|transfer-encoding)", rb"its-\1", first))[0]
