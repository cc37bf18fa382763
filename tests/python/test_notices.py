"""Where notices go besides SNS: a server of the test's own takes them."""

import contextlib
import hashlib
import hmac
import http.server
import json
import re
import subprocess
import threading
import urllib.request

import pytest

from project import Project
from waiting import until

PIPELINE = """
name: daily
schedule: "0 9 * * *"
data_interval: day
owner: someone
tasks:
  work: { type: command, command: [sh, -c, 'echo "a <b> & c" >&2; exit 3'] }
on_failure:
  - webhook: "{{ secrets.hook }}"
    headers: { Authorization: "Bearer {{ secrets.token }}" }
    signed_with: "{{ secrets.key }}"
  - slack: "{{ secrets.chat }}"
    subject: "{{ ds }} failed at {{ error.task }}"
"""

SECRETS = {"HOOK_PATH": "/hooks/very-secret-path", "TOKEN": "token-nobody-may-see", "SIGNING_KEY": "key-nobody-may-see"}


class Receiver:
    """Takes POSTs, keeps them, answers what it was told to."""

    def __init__(self):
        self.received, self.answers, lock = [], {}, threading.Lock()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                with lock:
                    receiver.received.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                    status, headers = receiver.answers.get(self.path, (200, {}))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"

    def of(self, path):
        return [(headers, body) for found, headers, body in self.received if found == path]


@pytest.fixture
def receiver():
    receiver = Receiver()
    thread = threading.Thread(target=receiver.server.serve_forever)
    thread.start()
    yield receiver
    receiver.server.shutdown()
    thread.join()
    receiver.server.server_close()


@contextlib.contextmanager
def project_of(binary, environment, folder, pipeline):
    (folder / "trunkline.yaml").write_text(
        "environments:\n  local:\n    connections: { aws: { sandbox: true } }\n    secrets:\n"
        "      hook: { env: HOOK }\n      chat: { env: CHAT }\n      token: { env: TOKEN }\n      key: { env: SIGNING_KEY }\n"
    )
    home = folder / "pipelines" / "daily"
    home.mkdir(parents=True)
    (home / "pipeline.yaml").write_text(pipeline)
    made = Project(binary, environment, folder)
    yield made
    made.stop()


@pytest.fixture
def project(binary, environment, tmp_path, receiver):
    secrets = {
        "HOOK": receiver.endpoint + SECRETS["HOOK_PATH"], "CHAT": receiver.endpoint + "/services/also-secret",
        "TOKEN": SECRETS["TOKEN"], "SIGNING_KEY": SECRETS["SIGNING_KEY"], "TRUNKLINE_LOG": "info",
    }
    with project_of(binary, environment | secrets, tmp_path, PIPELINE) as made:
        yield made


def notices(project, run):
    return json.loads(project.call("show", run, "--json").stdout)["notices"]


def test_a_webhook_and_a_chat_hear_of_a_failure(project, receiver):
    done = project.call("run", "daily", "--date", "2026-11-19", code=1)
    [(headers, body)] = receiver.of("/hooks/very-secret-path")
    said = json.loads(body)
    assert (said["version"], said["event"], said["run"]) == (1, "failure", "daily@2026-11-19")
    assert said["subject"] == "[local] FAILED daily 2026-11-19: work"
    assert "a <b> & c" in said["text"] and "trunkline clear daily@2026-11-19 --failed" in said["text"]
    assert said["attributes"] == {"pipeline": "daily", "env": "local", "owner": "someone", "severity": "error"}
    assert headers["authorization"] == "Bearer token-nobody-may-see"
    assert headers["content-type"] == "application/json"
    assert headers["idempotency-key"] == said["id"] and said["id"].endswith(":g1:failure:0")
    signed = headers["x-trunkline-timestamp"].encode() + b"." + body
    expected = hmac.new(SECRETS["SIGNING_KEY"].encode(), signed, hashlib.sha256).hexdigest()
    assert headers["x-trunkline-signature"] == f"sha256={expected}"

    [(headers, body)] = receiver.of("/services/also-secret")
    chat = json.loads(body)
    assert chat["text"].startswith("*2026-11-19 failed at work*") and "a &lt;b&gt; &amp; c" in chat["text"]
    assert chat["blocks"][0]["text"]["text"] == "2026-11-19 failed at work"
    assert "authorization" not in headers
    assert [(notice["notice"], notice["state"]) for notice in notices(project, "daily@2026-11-19")] == [
        ("failure 1", "sent"), ("failure 2", "sent")]

    # Nothing of the secrets is stored, printed or logged.
    shown = done.stdout + done.stderr + project.call("show", "daily@2026-11-19", "--requests").stdout
    stored = b"".join(path.read_bytes() for path in project.folder.rglob("*") if path.is_file())
    for secret in ("very-secret-path", "also-secret", "token-nobody-may-see", "key-nobody-may-see"):
        assert secret not in shown, secret
        assert secret.encode() not in stored, secret


def test_what_the_other_side_says_decides_about_the_next_try(project, receiver):
    receiver.answers = {
        SECRETS["HOOK_PATH"]: (429, {"Retry-After": "3600"}),
        "/services/also-secret": (404, {}),
    }
    project.call("run", "daily", "--date", "2026-11-19", code=1)
    hook, chat = notices(project, "daily@2026-11-19")
    assert hook["state"] == "pending" and "answered with status 429" in hook["error"], hook
    assert chat["state"] == "dead" and "status 404; it is not sent again" in chat["error"], chat
    assert "127.0.0.1" in chat["error"] and "also-secret" not in chat["error"]
    shown = project.call("show", "daily@2026-11-19").stdout
    assert "given up" in shown and "status 404" in shown
    assert len(receiver.of("/services/also-secret")) == 1


def test_a_notice_without_its_secret_says_which(binary, environment, tmp_path, receiver):
    with project_of(binary, environment | {"HOOK": receiver.endpoint, "TOKEN": "x", "SIGNING_KEY": "y"}, tmp_path, PIPELINE) as project:
        project.call("run", "daily", "--date", "2026-11-19", code=1)
        hook, chat = notices(project, "daily@2026-11-19")
        assert hook["state"] == "sent"
        assert chat["state"] == "pending" and "CHAT is not set" in chat["error"], chat


def test_scripted_tests_show_where_notices_go(project):
    (project.folder / "pipelines" / "daily" / "tests.yaml").write_text("""
cases:
  it fails:
    date: 2026-11-19
    answers: { work: { fails: boom } }
    expect:
      run: failed
      notices:
        - { on: failure, to: secret(hook), contains: boom }
        - { on: failure, to: secret(chat), subject: 2026-11-19 failed at work }
""")
    project.call("test")


def test_an_address_is_subscribed_to_the_topics_of_the_notices(binary, environment, tmp_path):
    topics = [f"arn:aws:sns:us-east-1:000000000000:{name}" for name in ("good", "bad")]
    pipeline = PIPELINE.split("on_failure:")[0] + (
        f"on_success: [{{ sns: '{topics[0]}' }}]\non_failure: [{{ sns: '{topics[1]}' }}, {{ sns: '{topics[0]}' }}]\n")
    with project_of(binary, environment, tmp_path, pipeline) as project:
        (tmp_path / "pipelines" / "daily" / "aws.yaml").write_text(
            "Resources:\n  Good: { Type: AWS::SNS::Topic, Properties: { TopicName: good } }\n"
            "  Bad: { Type: AWS::SNS::Topic, Properties: { TopicName: bad } }\n")
        assert "name@example.com" in project.call("subscribe", "nobody", code=2).stderr
        listed = project.call("subscribe", "a@example.com", "--dry-run").stdout
        assert listed.count("would be asked for") == 2, listed
        assert project.call("subscribe", "a@example.com", "daily").stdout.count("subscribed") == 2
        said = json.loads(project.call("subscribe", "a@example.com", "--json").stdout)
        assert sorted(row["topic"] for row in said["topics"]) == sorted(topics), "again is the same"
        project.call("run", "daily", "--date", "2026-11-19", code=1)
        assert [subject for subject, _ in project.mails()] == ["[local] FAILED daily 2026-11-19: work"] * 2


def test_a_link_opens_the_object_for_whoever_has_it(binary, environment, tmp_path):
    topic = "arn:aws:sns:us-east-1:000000000000:daily"
    link = "links: [{ label: Daily report, s3: 's3://reports/of {{ ds }}.csv', expires: 2d }]"
    pipeline = f"""
name: daily
schedule: "0 9 * * *"
data_interval: day
tasks: {{ work: {{ type: noop }} }}
on_success:
  - {{ sns: '{topic}', {link} }}
  - {{ sns: '{topic}', {link}, message: "see {{{{ links.daily_report }}}} until {{{{ links.daily_report_until }}}}{{{{ links.console }}}}" }}
"""
    with project_of(binary, environment, tmp_path, pipeline) as project:
        (tmp_path / "pipelines" / "daily" / "aws.yaml").write_text(
            "Resources:\n  Reports: { Type: AWS::S3::Bucket, Properties: { BucketName: reports } }\n"
            "  Topic:\n    Type: AWS::SNS::Topic\n    Properties:\n      TopicName: daily\n"
            "      Subscription: [{ Protocol: email, Endpoint: ops@example.com }]\n")
        project.call("check", "daily")
        project.client("s3").put_object(Bucket="reports", Key="of 2026-11-19.csv", Body=b"a,b\n1,2\n")
        project.call("run", "daily", "--date", "2026-11-19")
        bodies = [body.replace("\r\n", "\n") for _, body in project.mails()]
        standard, own = sorted(bodies, key=lambda body: body.startswith("see "))
        for body in (standard, own):
            [url] = re.findall(r"http://\S+", body)
            assert "X-Amz-Expires=172800" in url, url
            with urllib.request.urlopen(url) as answer:
                assert answer.read() == b"a,b\n1,2\n"
        assert re.search(r"Daily report  http://\S+\n      good until \d\d-\d\d \d\d:\d\d UTC\n", standard), standard
        assert re.search(r"until \d\d-\d\d \d\d:\d\d UTC$", own.strip()), own
        policy = json.loads(project.call("iam-policy", "daily").stdout)
        assert {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::reports/of 2026-11-19.csv"]} in [
            {**statement, "Resource": [re.sub(r"\d{4}-\d\d-\d\d", "2026-11-19", one) for one in statement["Resource"]]}
            for statement in policy["Statement"]]


def test_many_failures_at_once_are_one_mail_after_the_first_five(binary, environment, tmp_path, receiver):
    # Ten minutes are half a minute here, a minute is three seconds.
    made_for = environment | {
        "HOOK": receiver.endpoint + SECRETS["HOOK_PATH"], "CHAT": receiver.endpoint + "/services/also-secret",
        "TOKEN": "t", "SIGNING_KEY": "k", "TRUNKLINE_TIME_RATIO": "0.05",
    }
    pipeline = PIPELINE.replace("data_interval: day", "data_interval: day\nmax_active_runs: 50")
    with project_of(binary, made_for, tmp_path, pipeline) as project:
        project.call("deploy")
        server = subprocess.Popen(
            [str(binary), "serve"], cwd=tmp_path, env=made_for, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until(lambda: project.status()["replicas"], 60, "the server")
            dates = [f"2026-11-{day:02}" for day in range(1, 16)]
            for date in dates:
                project.call("run", "daily", "--date", date, "--detach")
            told = lambda: [notice["state"] for date in dates for notice in notices(project, f"daily@{date}")]
            until(lambda: told() == ["sent"] * 30, 90, "all notices")
        finally:
            server.kill()
            server.wait()
    said = [json.loads(body) for _, body in receiver.of(SECRETS["HOOK_PATH"])]
    singles = [one for one in said if one["run"]]
    crowds = [one for one in said if not one["run"]]
    assert len(singles) >= 5 and crowds, [one["subject"] for one in said]
    counts = [int(re.match(r"\[local\] (\d+) FAILED: daily 2026-11-\d\d to 2026-11-\d\d$", one["subject"])[1]) for one in crowds]
    assert len(singles) + sum(counts) == 15, (len(singles), counts)
    assert "work: " in crowds[0]["text"] and "trunkline clear daily --from 2026-11-" in crowds[0]["text"]
    assert crowds[0]["attributes"]["pipeline"] == "daily" and len(receiver.of("/services/also-secret")) == len(said)
