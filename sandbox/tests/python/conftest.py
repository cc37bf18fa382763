"""Starts a sandbox for the tests and gives out boto3 clients whose every answer is checked.

`TRUNKLINE_BIN` names the trunkline program (run as `trunkline __sandbox`); `SANDBOX_BIN` names the
crate's example `serve` instead. One of them must be set.
"""

import json
import os
import pathlib
import signal
import subprocess
import time
import urllib.request

import boto3
import botocore.config
import pytest

import model_check

# Longer than any start takes on a busy machine; a start is some tens of milliseconds.
START_LIMIT = 30.0


class Sandbox:
    """A sandbox process on a folder."""

    def __init__(self, folder, *arguments):
        self.folder = pathlib.Path(folder)
        self.root = self.folder / "sandbox"
        self.arguments = arguments
        self.process = None
        self.endpoint = None
        self.start()

    def start(self):
        port_file = self.folder / "port"
        port_file.unlink(missing_ok=True)
        command = [*_program(), "--root", str(self.root), "--port-file", str(port_file), *self.arguments]
        log = open(self.folder / "sandbox.log", "ab")
        self.process = subprocess.Popen(command, stdout=log, stderr=log)
        log.close()
        wait_until(lambda: self._started(port_file), START_LIMIT, "the sandbox to answer")
        self.endpoint = f"http://127.0.0.1:{port_file.read_text().strip()}"

    def _started(self, port_file):
        if self.process.poll() is not None:
            raise AssertionError((self.folder / "sandbox.log").read_text())
        return port_file.exists()

    def kill(self):
        """Ends the process as a power cut of the process would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def restart(self):
        self.kill()
        self.start()

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self.kill()

    def client(self, service, check=True, **config):
        """A boto3 client with retries off, its answers checked against the model."""
        client = boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=config.pop("access_key", "AKIASANDBOXTEST"),
            aws_secret_access_key="secret",
            aws_session_token=config.pop("session_token", None),
            config=botocore.config.Config(
                retries={"total_max_attempts": config.pop("attempts", 1), "mode": "standard"}, **config
            ),
        )
        if check:
            client.meta.events.register("after-call.*.*", model_check.check)
        return client

    def own(self, path, body=None, method=None):
        """Calls one of the sandbox's own paths."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.endpoint}/_sandbox/{path}", data=data, method=method or ("GET" if data is None else "POST")
        )
        with urllib.request.urlopen(request) as response:
            return json.load(response)

    def faults(self, *rules):
        """Replaces the fault script."""
        return self.own("faults", list(rules), "PUT")

    def ledger(self, **wanted):
        query = "&".join(f"{name}={value}" for name, value in wanted.items())
        return self.own(f"ledger?{query}")

    @property
    def mails(self):
        return sorted((self.root / "mailbox").glob("*.eml"))


def _program():
    if program := os.environ.get("TRUNKLINE_BIN"):
        return [program, "__sandbox"]
    if program := os.environ.get("SANDBOX_BIN"):
        return [program]
    raise AssertionError("set TRUNKLINE_BIN to the trunkline program (or SANDBOX_BIN to the example `serve`)")


def wait_until(condition, limit, what):
    """Polls a condition; gives its first true value."""
    deadline = time.monotonic() + limit
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, f"waited {limit} s in vain for {what}"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory):
    """One sandbox for all tests that do not break it."""
    sandbox = Sandbox(tmp_path_factory.mktemp("shared"))
    yield sandbox
    sandbox.stop()


@pytest.fixture
def own_sandbox(tmp_path):
    """A sandbox for one test; extra arguments by calling it."""
    started = []

    def start(*arguments):
        started.append(Sandbox(tmp_path, *arguments))
        return started[-1]

    yield start
    for sandbox in started:
        sandbox.stop()


@pytest.fixture
def s3(sandbox):
    return sandbox.client("s3")


@pytest.fixture
def bucket(s3, request):
    """A bucket of the test's own."""
    name = request.node.name.lower().replace("_", "-").replace("[", "-").replace("]", "")[:50].strip("-") + "-bkt"
    s3.create_bucket(Bucket=name)
    return name
