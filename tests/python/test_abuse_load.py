"""Two thousand connections that are slow on purpose, all from one address, while a run goes on: the run takes no harm,
and whoever asks from elsewhere is answered."""

import collections
import contextlib
import errno
import pathlib
import resource
import selectors
import socket
import threading
import time

import pytest

from project import Project
from test_api import serving
from waiting import until
from wire import address_of, answers, ask, connected, head, heard

# By hand: connections of one address and of all, how long a head and a body may take.
OF_ONE_ADDRESS, OF_ALL, HEAD_SECONDS, BODY_SECONDS = 64, 1024, 10, 30
# What a busy machine may add to those.
SLACK_SECONDS = 4
SLOW, GOOD, PATIENT = "127.0.0.1", "127.0.0.2", "127.0.0.3"
CONNECTIONS = 2_000
# Bytes that a slow one says one by one.
SLOWLY = 200
# A person waits so long for an answer, at most.
ANSWER_SECONDS = 3

MANY = "name: many\ndata_interval: none\nmax_active_runs: 3\ntasks:\n" + "".join(
    f"  task_{index:02}: {{ type: command, command: [sleep, '0.3']{f', depends_on: task_{index - 4:02}' if index >= 4 else ''} }}\n"
    for index in range(20)
)


@pytest.fixture(scope="module", autouse=True)
def descriptors():
    """Each connection is a file."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS * 2 + 1_000
    if before[1] != resource.RLIM_INFINITY and before[1] < wanted:
        pytest.skip(f"this account may have {before[1]} files open, {wanted} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], wanted), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture(scope="module")
def project(binary, environment, tmp_path_factory):
    made = Project.deployed(binary, environment, tmp_path_factory.mktemp("load"), {"many": MANY})
    yield made
    made.stop()


@pytest.fixture(scope="module")
def server(project):
    with serving(project) as running:
        yield running


class Slow:
    """Connections that say what they have to say a byte a second, in the background; those that are ended come back."""

    def __init__(self, address, source, kinds, count):
        self.address, self.source, self.kinds, self.count = address, source, kinds, count
        self.selector, self.live, self.ended = selectors.DefaultSelector(), {}, 0
        self.missing, self.ending = collections.deque(range(count)), threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.thread.join()
        for connection in self.live:
            connection.close()

    def begin(self, number):
        connection = socket.socket()
        connection.setblocking(False)
        try:
            connection.bind((self.source, 0))
            if connection.connect_ex(self.address) not in (0, errno.EINPROGRESS):
                raise OSError
        except OSError:
            connection.close()
            self.missing.append(number)
            return
        says, reads = self.kinds[number % len(self.kinds)]
        self.live[connection] = [number, says, reads]
        self.selector.register(connection, selectors.EVENT_READ if reads else selectors.EVENT_WRITE)

    def end(self, connection):
        with contextlib.suppress(KeyError):
            self.selector.unregister(connection)
        self.missing.append(self.live.pop(connection)[0])
        self.ended += 1
        connection.close()

    def work(self):
        tick = 0.0
        # All at once in the beginning; later so many a second, because a machine has only so many ports.
        batch = self.count
        while not self.ending.is_set():
            for connection in [key.fileobj for key, _ in self.selector.select(0.1)]:
                self.attend(connection)
            if time.monotonic() < tick:
                continue
            for _ in range(min(batch, len(self.missing))):
                self.begin(self.missing.popleft())
            for connection in [one for one, (_, _, reads) in self.live.items() if reads]:
                self.say(connection)
            tick, batch = time.monotonic() + 1, 300

    def attend(self, connection):
        """Somebody said something, or the connection is there."""
        _, says, reads = self.live[connection]
        try:
            if not reads:
                # It asks for everything that happens, and takes nothing of it.
                connection.send(says)
                self.selector.unregister(connection)
            elif not connection.recv(65536):
                self.end(connection)
        except BlockingIOError:
            return
        except OSError:
            self.end(connection)

    def say(self, connection):
        """The first time all but the end, then a byte at a time; after that, blanks."""
        entry = self.live[connection]
        try:
            entry[1] = entry[1][connection.send(entry[1][:-SLOWLY] or entry[1][:1] or b" "):]
        except BlockingIOError:
            return
        except OSError:
            self.end(connection)


def slow_kinds(server):
    """A head that takes its time, a body that does, and somebody who follows events and never reads them."""
    good = [("Host", "127.0.0.1"), ("Authorization", f"Bearer {server.token}"), ("Content-Type", "application/json")]
    slow_head = head("GET", "/healthz", good)[:-2] + b"X-Slow: " + b"y" * SLOWLY
    slow_body = head("POST", "/api/v1/pipelines/many/plan", [*good, ("Content-Length", "4000")]) + b" " * SLOWLY
    return [(slow_head, True), (slow_body, True), (slow_body, True), (slow_head, True), (head("GET", "/api/v1/events", good), False)]


@pytest.fixture(scope="module")
def patient(server):
    """From an address of its own, before the others come: a slow head, a slow body, and one that asks now and then; when each
    of the slow ones ended, and how often the third was answered."""
    good = [("Host", "127.0.0.1"), ("Authorization", f"Bearer {server.token}"), ("Content-Type", "application/json")]
    address = address_of(server.url)
    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(connected(address, PATIENT)) for _ in range(3)]
        made[0].sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
        made[1].sendall(head("POST", "/api/v1/pipelines/many/plan", [*good, ("Content-Length", "4000")]) + b"{")
        ended, answered, begun, ending = {}, [], time.monotonic(), threading.Event()

        def watch():
            # One that asks again is kept, however long the others hold on.
            next_question = 0.0
            while not ending.wait(0.5) and len(ended) < 2:
                for number in {0, 1} - set(ended):
                    if is_over(made[number]):
                        ended[number] = time.monotonic() - begun
                if time.monotonic() >= next_question:
                    next_question = time.monotonic() + HEAD_SECONDS / 3
                    answered.append(is_answered(made[2], good))

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        yield ended, answered
        ending.set()
        thread.join()


def is_answered(connection, headers):
    try:
        connection.sendall(head("GET", "/healthz", headers))
        return connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False


def is_over(connection):
    """Says a byte more; whether the server has answered, or closed."""
    try:
        connection.send(b" ")
        connection.settimeout(0.05)
        connection.recv(65536)
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


@pytest.fixture(scope="module")
def flood(server, patient):
    with Slow(address_of(server.url), SLOW, slow_kinds(server), CONNECTIONS) as running:
        until(lambda: running.ended + len(running.live) >= CONNECTIONS, 60, "the slow ones")
        yield running


def held(server):
    """Connections that the server holds."""
    folder = pathlib.Path(f"/proc/{server.process.pid}/fd")
    port = f"{address_of(server.url)[1]:04X}"
    table = [line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {f"socket:[{row[9]}]" for row in table if row[1].endswith(f":{port}") and row[3] != "0A"}
    found = 0
    for file in folder.iterdir():
        with contextlib.suppress(OSError):
            found += str(file.readlink()) in inodes
    return found


def silence(project):
    """Seconds since the store heard of the server."""
    return float(project.psql("select extract(epoch from clock_timestamp() - heartbeat_at) from replica where role = 'serve'"))


def test_a_run_takes_no_harm(project, server, flood):
    """Made at the store, and carried out by the server that is being held up."""
    run = project.call("run", "many", "--detach").stdout.strip()
    worst = 0.0

    def over():
        nonlocal worst
        worst = max(worst, silence(project))
        state = project.psql(f"select state from run where run_key = '{run.split('@')[1]}'")
        return state if state in ("succeeded", "failed", "cancelled") else None

    begun = time.monotonic()
    assert until(over, 60, "the run") == "succeeded"
    # Without the others it takes about two seconds: five rows of four tasks.
    assert time.monotonic() - begun < 30
    # Over 30 its runs would go to another server; it says so every few seconds.
    assert worst < 15, f"the store heard nothing of the server for {worst} s"
    assert project.psql("select count(*) from replica where role = 'serve'") == "1"


def test_whoever_asks_from_elsewhere_is_answered(project, server, flood):
    address, owner = address_of(server.url), {"Authorization": f"Bearer {server.token}"}
    for number in range(30):
        begun = time.monotonic()
        with connected(address, GOOD, ANSWER_SECONDS) as connection:
            where = ("/healthz", "/api/v1/runs", "/sign-in", "/metrics", "/readyz")[number % 5]
            connection.sendall(head("GET", where, [("Host", "127.0.0.1"), ("Connection", "close"), *owner.items()]))
            assert [answer.status for answer in answers(heard(connection))] == [200], where
        assert time.monotonic() - begun < ANSWER_SECONDS, where
    made = ask(address, "POST", "/api/v1/pipelines/many/runs", owner, {"request_id": "from-elsewhere"}, GOOD).json()
    shown = f"/api/v1/runs/{made['detail']['id']}"
    until(lambda: ask(address, "GET", shown, owner, source=GOOD).json()["state"] == "succeeded", 60, "its run")
    # The slow ones were there all the time.
    assert len(flood.live) > CONNECTIONS / 2 or flood.ended > CONNECTIONS


def test_one_address_has_its_places_and_no_more(server, flood, patient):
    # The patient ones are of another address.
    until(lambda: held(server) <= OF_ONE_ADDRESS + 8, 5, "the places of one address to be kept to")
    assert held(server) < OF_ALL


def test_slow_heads_and_bodies_end(server, flood, patient):
    """As late as this test comes, they ended in their time."""
    ended, answered = patient
    until(lambda: len(ended) == 2, BODY_SECONDS + SLACK_SECONDS, "the slow head and the slow body to be ended")
    assert ended[0] <= HEAD_SECONDS + SLACK_SECONDS, ended
    # A body has longer than a head: lines are slow without anybody meaning harm.
    assert HEAD_SECONDS < ended[1] <= BODY_SECONDS + SLACK_SECONDS, ended
    assert len(answered) > BODY_SECONDS / HEAD_SECONDS and all(answered), "who asks on one connection again and again is kept"


def test_the_server_is_itself_again_when_they_are_gone(binary, environment, tmp_path):
    """A server of its own: nothing of them is left, and their address is served like any other."""
    made = Project.deployed(binary, environment, tmp_path, {"many": MANY})
    try:
        with serving(made) as server:
            server.get("/status")
            until(lambda: held(server) == 0, 20, "nobody to be connected")
            with Slow(address_of(server.url), SLOW, slow_kinds(server), 500) as slow:
                until(lambda: slow.ended + len(slow.live) >= 500, 60, "the slow ones")
            until(lambda: held(server) == 0, 20, "their connections to be given back")
            server.get("/status")
            text = server.request("GET", "/metrics")[2]
            assert "trunkline_event_clients 0" in text
            assert not server.died() and "panicked" not in server.log.read_text()
    finally:
        made.stop()
