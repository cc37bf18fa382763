"""A server with something in it that is worth attacking: a pipeline, a run that has ended, one that asks, a backfill."""

import contextlib
import json

from delivered import deliver
from project import Project
from test_api import serving
from waiting import until
from wire import address_of, ask

DAILY = """
name: daily
schedule: "0 9 * * *"
data_interval: day
catchup: none
max_active_runs: 3
params: { text: { type: string, default: "" } }
tasks:
  extract:
    type: command
    env: { TEXT: "{{ params.text }}" }
    command: [sh, -c, 'printf "%s\\n" "$TEXT"']
  load: { type: noop, depends_on: extract }
"""
BY_HAND = """
name: by_hand
data_interval: none
max_active_runs: 5
tasks:
  ask: { type: approval, message: "Go on?" }
"""
RUN = "daily@2026-10-01"
# What the server says of itself if a request brought it down.
BROKEN = ("panicked at", "stack backtrace", "RUST_BACKTRACE", "overflowed its stack", ".rs:", "syntax error at or near")


class Attacked:
    """The project, its server, and names of things that exist, by parameter of a path."""

    def __init__(self, project, server, backfill):
        self.project, self.server = project, server
        self.address = address_of(server.url)
        self.owner = {"Authorization": f"Bearer {server.token}"}
        self.names = {"pipeline": "daily", "run": RUN, "task": "extract", "attempt": 1, "version": 1,
                      "backfill": backfill, "pool": "small", "account": "ana", "token": "robot",
                      "mail": deliver(project, "by_hand", "a secret of by_hand")}

    def ask(self, method, target, body=None, **headers):
        """A request with the rights of the project's owner."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return ask(self.address, method, target, self.owner | headers, body)

    def token(self, name, scope):
        """The words of a new token."""
        made = self.project.call("token", "create", name, "--scope", scope, "--expires", "1d", "--json")
        return json.loads(made.stdout)["token"]

    def signed_in(self, token):
        """The cookie of a browser that signed in with a token."""
        answer = ask(self.address, "POST", "/sign-in", {"Content-Type": "application/x-www-form-urlencoded"},
                     f"token={token}".encode())
        assert answer.status == 303, answer.text
        return answer.header("set-cookie").split(";")[0]

    def assert_unharmed(self):
        """It lives, it answers, it knows what it knew, and it wrote of no mistake of its own."""
        assert not self.server.died(), self.server.log.read_text()[-5_000:]
        assert self.ask("GET", f"/api/v1/runs/{RUN}").json()["run"] == RUN
        log = self.server.log.read_text()
        assert not [word for word in BROKEN if word in log], log[-5_000:]


@contextlib.contextmanager
def attacked(binary, environment, folder):
    project = Project.deployed(binary, environment, folder, {"daily": DAILY, "by_hand": BY_HAND})
    try:
        with serving(project) as server:
            server.post("/pipelines/daily/runs", {"date": "2026-10-01"})
            until(lambda: server.ended(RUN), 60, "the run")
            made = server.post("/pipelines/daily/backfills", {"from": "2026-09-01", "to": "2026-09-01"})
            until(lambda: server.get(f"/backfills/{made['id']}")["state"] == "done", 60, "the backfill")
            server.post("/accounts", {"account": "ana", "roles": {"": "viewer"}})
            server.post("/tokens", {"name": "robot", "scope": "read"})
            yield Attacked(project, server, made["id"])
    finally:
        project.stop()
