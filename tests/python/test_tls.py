"""TLS of the server's own, and HTTP/2 over it: with Python's TLS, the library `h2`, a browser and this program's own client."""

import contextlib
import datetime
import http.client
import ipaddress
import json
import re
import socket
import ssl
import subprocess

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from browser import CHROMIUM, Reader, chromium
from project import Project
from waiting import until

ANSWER_LIMIT_SECONDS = 60
NOTES = "name: notes\ntasks: { print: { type: command, command: [sh, -c, 'for i in 1 2 3 4 5 6 7 8 9 10; do echo $i; done'] } }\n"


def pair(folder, serial, key=None):
    """A certificate for this machine that vouches for itself, and its key, as files."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "trunkline")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    built = x509.CertificateBuilder(name, name, key.public_key(), serial, now - datetime.timedelta(days=1), now + datetime.timedelta(days=1))
    certificate = built.add_extension(names, False).add_extension(x509.BasicConstraints(ca=False, path_length=None), True).sign(key, hashes.SHA256())
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


@pytest.fixture(scope="module")
def project(binary, environment, tmp_path_factory):
    made = Project.deployed(binary, environment, tmp_path_factory.mktemp("tls"), {"notes": NOTES})
    pair(made.folder, 1)
    yield made
    made.stop()


@contextlib.contextmanager
def serving(project, *options):
    """Where a server listens, while it runs, and its token."""
    with (project.folder / "serve.log").open("w") as log:
        process = subprocess.Popen(
            [str(project.binary), "serve", "--bind", "127.0.0.1:0", *options], cwd=project.folder, env=project.environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)
    try:
        said = lambda: re.search(r"API (https?)://127\.0\.0\.1:(\d+),", (project.folder / "serve.log").read_text())
        found = until(said, ANSWER_LIMIT_SECONDS, "the API")
        yield found.group(1), int(found.group(2)), (project.folder / ".trunkline" / "api-token").read_text().strip()
    finally:
        process.terminate()
        process.wait(ANSWER_LIMIT_SECONDS)


@pytest.fixture(scope="module")
def server(project):
    with serving(project, "--tls-certificate", "certificate.pem", "--tls-key", "key.pem") as (scheme, port, token):
        assert scheme == "https"
        yield port, token


def spoken(project, port, *protocols):
    """A connection that trusts the project's certificate and nothing else."""
    context = ssl.create_default_context(cafile=project.folder / "certificate.pem")
    context.set_alpn_protocols(list(protocols))
    plain = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_LIMIT_SECONDS)
    return context.wrap_socket(plain, server_hostname="localhost")


class Http2:
    """A client of HTTP/2 that is told each frame to send."""

    def __init__(self, project, port):
        self.wire, self.port = spoken(project, port, "h2"), port
        assert self.wire.selected_alpn_protocol() == "h2"
        self.state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, validate_outbound_headers=False))
        self.state.initiate_connection()
        self.flush()
        self.answers = {}

    def flush(self):
        self.wire.sendall(self.state.data_to_send())

    def ask(self, path, *headers, method="GET", authority=None, body=None):
        stream = self.state.get_next_available_stream_id()
        authority = authority or f"localhost:{self.port}"
        lines = [(":method", method), (":scheme", "https"), (":authority", authority), (":path", path), *headers]
        self.state.send_headers(stream, lines, end_stream=body is None)
        if body is not None:
            self.state.send_data(stream, body, end_stream=True)
        self.answers[stream] = [None, b""]
        return stream

    def hear(self, done):
        """Reads until enough was heard, or the server closes."""
        while not done():
            data = self.wire.recv(65536)
            if not data:
                return False
            for event in self.state.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    self.answers[event.stream_id][0] = dict(event.headers)
                elif isinstance(event, h2.events.DataReceived):
                    self.answers[event.stream_id][1] += event.data
                    self.state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                    self.answers[event.stream_id].append(event)
                elif isinstance(event, h2.events.ConnectionTerminated):
                    self.terminated = event
                    return False
            self.flush()
        return True

    def answer(self, stream):
        assert self.hear(lambda: len(self.answers[stream]) > 2)
        headers, body, _ = self.answers[stream]
        return int(headers[b":status"]), headers, body


def test_both_protocols_give_the_same_answer(project, server):
    port, token = server
    context = ssl.create_default_context(cafile=project.folder / "certificate.pem")
    plain = http.client.HTTPSConnection("localhost", port, timeout=ANSWER_LIMIT_SECONDS, context=context)
    plain.request("GET", "/api/v1/pipelines/notes", headers={"Authorization": f"Bearer {token}"})
    first = plain.getresponse()
    told = json.loads(first.read())
    assert first.status == 200 and first.headers["strict-transport-security"]
    client = Http2(project, port)
    bearer = ("authorization", f"Bearer {token}")
    streams = [client.ask("/api/v1/pipelines/notes", bearer) for _ in range(20)]
    client.flush()
    for stream in streams:
        status, headers, body = client.answer(stream)
        assert status == 200 and json.loads(body) == told and b"strict-transport-security" in headers
    refused = client.ask("/api/v1/runs")
    client.flush()
    assert client.answer(refused)[0] == 401


def test_other_names_and_pages_of_other_sites_are_refused_over_http_2(project, server):
    port, token = server
    client = Http2(project, port)
    bearer = ("authorization", f"Bearer {token}")
    elsewhere = client.ask("/api/v1/runs", bearer, authority="evil.example.com")
    two_names = client.ask("/api/v1/runs", bearer, ("host", "evil.example.com"))
    client.flush()
    assert client.answer(elsewhere)[0] == 421
    assert client.answer(two_names)[0] in (400, 421)
    body = b"account=x&password=y"
    headers = [("content-type", "application/x-www-form-urlencoded"), ("content-length", str(len(body)))]
    own = client.ask("/sign-in", *headers, ("origin", f"https://localhost:{port}"), method="POST", body=body)
    other = client.ask("/sign-in", *headers, ("origin", "https://evil.example.com"), method="POST", body=body)
    client.flush()
    assert client.answer(own)[0] == 401, "a wrong password, on a page of this site"
    assert client.answer(other)[0] == 403


def test_requests_that_are_taken_back_at_once_end_the_connection_and_nothing_else(project, server):
    """CVE-2023-44487: streams that are opened and reset as fast as they can be written."""
    port, token = server
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            client = Http2(project, port)
            stack.callback(client.wire.close)
            with contextlib.suppress(OSError, h2.exceptions.ProtocolError):
                for _ in range(100):
                    for _ in range(100):
                        stream = client.ask("/api/v1/runs", ("authorization", f"Bearer {token}"))
                        client.state.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
                    client.flush()
            # Told to calm down, or hung up on; never answered ten thousand times.
            with contextlib.suppress(OSError):
                assert not client.hear(lambda: False)
                assert client.terminated.error_code == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM
        project.call("run", "notes")
        probe = Http2(project, port)
        stack.callback(probe.wire.close)
        stream = probe.ask("/healthz")
        probe.flush()
        assert probe.answer(stream)[0] == 200


def test_more_requests_at_once_than_are_allowed_are_turned_away(project, server):
    port, token = server
    client = Http2(project, port)
    stream = client.ask("/healthz")
    client.flush()
    assert client.answer(stream)[0] == 200
    most = client.state.remote_settings.max_concurrent_streams
    assert most == 32 and client.state.remote_settings.max_header_list_size == 16 * 1024
    # A head beyond the limit is refused, and the connection goes on or ends; the server does.
    big = client.ask("/healthz", ("x-big", "a" * 40_000))
    with contextlib.suppress(OSError, h2.exceptions.ProtocolError):
        client.flush()
        if client.hear(lambda: len(client.answers[big]) > 2):
            headers = client.answers[big][0]
            assert headers is None or headers[b":status"] in (b"431", b"400")


def test_a_connection_that_asks_nothing_ends_however_often_it_answers_pings(project, server):
    port, token = server
    following, idle = Http2(project, port), Http2(project, port)
    stream = following.ask("/api/v1/events", ("authorization", f"Bearer {token}"))
    following.flush()
    assert following.hear(lambda: following.answers[stream][0])
    asked = idle.ask("/healthz")
    idle.flush()
    assert idle.answer(asked)[0] == 200
    # It is told to go after ten seconds, with a ping that h2 does not expect of whoever says so.
    with contextlib.suppress(h2.exceptions.ProtocolError):
        idle.hear(lambda: False)
    assert idle.state.state_machine.state == h2.connection.ConnectionState.CLOSED
    with contextlib.suppress(OSError):
        while idle.wire.recv(4096):
            pass
    # Whoever follows events asks nothing either, and has been here longer.
    asked = following.ask("/healthz")
    following.flush()
    assert following.answer(asked)[0] == 200 and len(following.answers[stream]) == 2


def test_whoever_says_nothing_or_speaks_no_tls_is_hung_up_on(project, server):
    port, _ = server
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_LIMIT_SECONDS) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        said = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := plain.recv(4096):
                said += piece
        assert b"HTTP/" not in said
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_LIMIT_SECONDS) as silent:
        assert silent.recv(1) == b"", "nothing within ten seconds"
    with pytest.raises(ssl.SSLError):
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        old.set_ciphers("ALL:@SECLEVEL=0")
        with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_LIMIT_SECONDS) as plain:
            old.wrap_socket(plain, server_hostname="localhost")


def test_this_programs_commands_ask_over_tls(project, server):
    port, token = server
    trusting = Project(project.binary, project.environment | {
        "SSL_CERT_FILE": str(project.folder / "certificate.pem"), "TRUNKLINE_TOKEN": token}, project.folder)
    asked = json.loads(trusting.call("--server", f"https://localhost:{port}", "runs", "--json").stdout)
    assert asked["items"] if "items" in asked else asked
    distrusting = Project(project.binary, project.environment | {"TRUNKLINE_TOKEN": token}, project.folder)
    told = distrusting.call("--server", f"https://localhost:{port}", "runs", code=3).stderr
    assert "certificate" in told.lower()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_is_signed_in_with_a_cookie_of_this_server_alone(project, server):
    with chromium() as browser:
        reader = Reader(browser, project, ignore_https_errors=True)
        spoke = []
        reader.page.on("response", lambda answer: spoke.append(answer.url))
        reader.sign_in()
        assert spoke and all(url.startswith("https://") for url in spoke)
        protocols = reader.page.evaluate("performance.getEntriesByType('navigation').concat(performance.getEntriesByType('resource')).map((entry) => entry.nextHopProtocol)")
        assert set(protocols) == {"h2"}
        kept = reader.context.cookies()
        assert [cookie["name"] for cookie in kept] == ["__Host-trunkline"] and kept[0]["secure"] and kept[0]["httpOnly"]
        reader.close()


def test_a_new_certificate_is_taken_and_half_of_one_is_not(project, server):
    port, _ = server

    def serial():
        with spoken(project, port, "h2") as wire:
            return x509.load_der_x509_certificate(wire.getpeercert(binary_form=True)).serial_number

    first = serial()
    old = (project.folder / "key.pem").read_bytes()
    pair(project.folder, first + 1)
    def renewed():
        try:
            return serial() == first + 1
        except ssl.SSLError:
            return False
    until(renewed, ANSWER_LIMIT_SECONDS, "the new certificate")
    # A key that is of another certificate changes nothing, and is said.
    good = (project.folder / "key.pem").read_bytes()
    (project.folder / "key.pem").write_bytes(old)
    until(lambda: "the certificate of before stays" in (project.folder / "serve.log").read_text(), ANSWER_LIMIT_SECONDS, "a warning")
    assert serial() == first + 1
    (project.folder / "key.pem").write_bytes(good)


def test_what_is_wrong_with_certificates_is_said_before_anything_begins(project):
    (project.folder / "nonsense.pem").write_text("nonsense")
    for certificate, key, wanted in (
        ("missing.pem", "key.pem", "missing.pem cannot be read"),
        ("nonsense.pem", "key.pem", "nonsense.pem is no certificate in PEM form"),
        ("certificate.pem", "nonsense.pem", "nonsense.pem is no private key in PEM form"),
    ):
        told = project.call("serve", "--bind", "127.0.0.1:0", "--tls-certificate", certificate, "--tls-key", key, code=2).stderr
        assert wanted in told
    for options in (["--tls-certificate", "certificate.pem"], ["--tls-certificate", "c", "--tls-key", "k", "--behind-proxy"], ["--behind-proxy=everywhere"]):
        project.call("serve", "--bind", "127.0.0.1:0", *options, code=2)


def test_a_proxy_that_is_named_is_the_only_one_and_is_believed(project):
    """Wrong passwords of one client behind the proxy do not slow down another; somebody else cannot connect at all."""
    with serving(project, "--behind-proxy=127.0.0.2/32") as (scheme, port, _):
        assert scheme == "http"

        def tried(client, source="127.0.0.2"):
            with socket.create_connection(("127.0.0.1", port), ANSWER_LIMIT_SECONDS, (source, 0)) as plain:
                body = b"account=ana&password=wrong"
                lines = [f"POST /sign-in HTTP/1.1", "Host: localhost", f"X-Forwarded-For: 10.9.9.9, {client}", "Connection: close",
                         "Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(body)}"]
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    plain.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
                    return plain.recv(100).decode().split(" ")[1]

        assert [tried("203.0.113.1") for _ in range(6)] == ["401"] * 5 + ["429"]
        assert tried("203.0.113.2") == "401"
        with contextlib.suppress(IndexError, OSError):
            assert tried("203.0.113.3", "127.0.0.3") is None
