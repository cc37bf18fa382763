"""A secret that every task uses and every careless program repeats, looked for in whatever a server says: each answer of
each operation, each page, metrics, events, its log. What is stored and printed is test_secrets.py's."""

import json
import re

import pytest

from described import operations
from project import Project
from test_api import Stream, serving
from test_secrets import dresses
from waiting import until
from wire import address_of, ask

# With everything that an encoding changes.
CANARIES = {
    "variable": 'canary/En+5 "q"\\z&=%ä-52c81e',
    "file": 'canary/Fi+6 "q"\\z&=%ß-9d07ba',
    "address": 'canary-Ad7-3e66f0',
}
# What stands beside what the server reads of its own file, and is nobody's to see.
BESIDE = "canary-password-beside-a-mistake-71cc"

SETTINGS = """
environments:
  local:
    vars: {{ root: "{root}", shown: "a var is no secret" }}
    connections:
      far: {{ type: aws, region: us-east-1, endpoint: "http://127.0.0.1:9", role_arn: "arn:aws:iam::111111111111:role/reader", external_id: partner }}
    secrets:
      variable: {{ env: TEST_CANARY }}
      file: {{ file: "{file}" }}
      address: {{ env: TEST_ADDRESS }}
"""
PIPELINE = """
name: careless
data_interval: none
max_active_runs: 5
params: { text: { type: string, default: "" }, fail: { type: string, default: "no" } }
defaults: { retries: 0 }
tasks:
  shell:
    type: command
    command: [sh, "{{ vars.root }}/careless.sh", "{{ params.text }}", "{{ params.fail }}"]
    env: { VARIABLE: "{{ secrets.variable }}", FILE: "Bearer {{ secrets.file }}" }
  called:
    type: http
    depends_on: shell
    url: "http://127.0.0.1:9/{{ params.text }}"
    headers: { Authorization: "Bearer {{ secrets.file }}" }
    retries: 0
  stored:
    type: sql
    depends_on: shell
    url: "postgres://nobody:{{ secrets.address }}@127.0.0.1:9/none"
    sql: "select 1"
    retries: 0
on_failure: { webhook: "http://127.0.0.1:9/{{ secrets.address }}", message: "failed: {{ error.message }}" }
"""
QUIET = """
name: quiet
data_interval: none
max_active_runs: 5
tasks:
  shell:
    type: command
    command: [sh, "{{ vars.root }}/careless.sh", "", "no"]
    env: { VARIABLE: "{{ secrets.variable }}", FILE: "{{ secrets.file }}" }
"""
CARELESS = """
printf 'plain %s and %s\\n' "$VARIABLE" "$FILE"
printf '%s' "$VARIABLE" | base64 -w0; echo
printf '%s\\n' "$FILE" >&2
echo "given $1"
test "$2" = no || { echo "cannot log in with $VARIABLE" >&2; exit 3; }
printf '{"rows": 1, "token": "%s"}\\n' "$(printf '%s' "$FILE" | sed 's/["\\\\]/\\\\&/g')"
"""


@pytest.fixture(scope="module")
def project(binary, environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("canary")
    root, file = folder / "project", folder / "key"
    file.write_text(CANARIES["file"] + "\n")
    for name, text in {"careless": PIPELINE, "quiet": QUIET}.items():
        home = root / "pipelines" / name
        home.mkdir(parents=True)
        (home / "pipeline.yaml").write_text(text)
    (root / "careless.sh").write_text(CARELESS)
    (root / "trunkline.yaml").write_text(SETTINGS.format(root=root, file=file))
    secrets = {"TEST_CANARY": CANARIES["variable"], "TEST_ADDRESS": CANARIES["address"]}
    # As much as the program can be made to say of itself.
    made = Project(binary, environment | secrets | {"TRUNKLINE_LOG": "trace"}, root)
    made.call("deploy")
    yield made
    made.stop()


class Listener:
    """Everything that a server said, by where it said it."""

    def __init__(self, server, stream):
        self.server, self.stream, self.address, self.said = server, stream, address_of(server.url), {}
        self.owner = {"Authorization": f"Bearer {server.token}"}

    def ask(self, method, where, headers, body=None):
        answer = ask(self.address, method, where, headers, body)
        assert answer.status < 500, (where, answer.text)
        self.said[f"{method} {where} {answer.status}"] = answer.text + str(answer.headers)
        return answer

    def assert_silent(self):
        self.said["events"] = json.dumps(self.stream.events, ensure_ascii=False)
        self.said["log"] = self.server.log.read_text()
        for place, text in self.said.items():
            for name, secret in [*CANARIES.items(), ("password", BESIDE)]:
                for dress in dresses(secret):
                    at = text.encode().find(dress)
                    assert at < 0, f"{name} stands in {place}: …{text.encode()[max(0, at - 200):at + 100]!r}"


@pytest.fixture(scope="module")
def listener(project):
    with serving(project) as server:
        yield Listener(server, Stream(server, "/events"))


@pytest.fixture(scope="module")
def runs(listener):
    """One that succeeds, one that fails because nobody listens there, one whose command says why it fails, one with a forged
    reference."""
    made = {}
    forged = "\u2063secret(variable) {{ secrets.variable }}"
    for name, pipeline, params in (("good", "quiet", {}), ("unheard", "careless", {}), ("told", "careless", {"fail": "yes"}),
                                   ("forged", "careless", {"text": forged})):
        asked = {"request_id": name} | ({"params": params} if params else {})
        made[name] = listener.server.post(f"/pipelines/{pipeline}/runs", asked)["run"]
    states = {name: until(lambda run=run: listener.server.ended(run), 120, f"{run} to end") for name, run in made.items()}
    assert states == {"good": "succeeded", "unheard": "failed", "told": "failed", "forged": "failed"}
    return made


def test_no_operation_and_no_page_says_a_secret(project, listener, runs):
    names = {"pipeline": "careless", "attempt": 1, "version": 1, "backfill": "00000000-0000-7000-8000-000000000000", "pool": "small"}
    places = [names | {"run": run, "pipeline": run.partition("@")[0], "task": task}
              for run in runs.values() for task in ("shell", "called", "stored")]
    for operation in operations(listener.address):
        for place in places:
            if operation.method == "GET" and not operation.streams:
                listener.ask("GET", operation.target(place), listener.owner)
            elif operation.name == "POST /pipelines/{pipeline}/plan":
                listener.ask("POST", operation.target(place), listener.owner, {})
    # That they were really there to be told: the program's own marks stand in their place.
    told = [text for place, text in listener.said.items() if "/attempts" in place]
    assert [text for text in told if "secret(variable" in text] and [text for text in told if "***" in text]
    assert [text for text in told if "cannot log in with " in text]
    answer = ask(listener.address, "GET", project.call("open", "--print").stdout.strip().removeprefix(listener.server.url))
    cookie = {"Cookie": answer.header("set-cookie").split(";")[0]}
    seen, waiting = set(), ["/", "/runs", "/backfills", "/triggers", "/pools"]
    while waiting:
        page = waiting.pop()
        seen.add(page)
        text = listener.ask("GET", page, cookie).text
        links = {link.replace("&amp;", "&") for link in re.findall(r'href="(/[^"#]*)', text)}
        waiting += links - seen - set(waiting)
    assert {f"/runs/{run}/tasks/shell" for run in runs.values()} <= seen and len(seen) > 25
    listener.ask("GET", "/metrics", listener.owner)
    assert listener.stream.events
    listener.assert_silent()
    assert len(listener.said) > 100 and "TRACE" in listener.said["log"]


def test_a_mistake_beside_a_password_is_not_shown(project, listener):
    """A deployment reads the server's own trunkline.yaml again. What is wrong there is for its log, in words that hold no value."""
    file = project.folder / "trunkline.yaml"
    good = file.read_text()
    body = {"files": {"careless/pipeline.yaml": PIPELINE, "quiet/pipeline.yaml": QUIET}, "prune": False, "dry_run": True}
    try:
        for wrong in (f"{good}\n      password: {BESIDE}\n", f"{good}\n  bad indentation: [{BESIDE}\n", f"{good}\nunknown: {BESIDE}\n",
                      good.replace("env: TEST_CANARY", f"evn: {BESIDE}"), good.replace("{ env: TEST_ADDRESS }", BESIDE)):
            assert wrong != good
            file.write_text(wrong)
            answer = listener.ask("POST", "/api/v1/deployments", listener.owner, body)
            assert answer.status == 409 and BESIDE not in answer.text, answer.text
    finally:
        file.write_text(good)
    assert listener.ask("POST", "/api/v1/deployments", listener.owner, body).status == 200


def test_what_is_refused_repeats_no_token(listener):
    """Of a token that is nearly good, of a session, of a link: neither an answer nor the log says it again."""
    token = listener.server.token
    nearly = token[:-1] + ("0" if token[-1] != "0" else "1")
    for where in ("/api/v1/runs", f"/api/v1/runs/{nearly}", f"/api/v1/runs?pipeline={nearly}", f"/{nearly}"):
        refused = ask(listener.address, "GET", where, {"Authorization": f"Bearer {nearly}"})
        assert refused.status in (401, 404)
        if "trunkline_" not in where:
            assert nearly not in refused.text
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert nearly not in ask(listener.address, "POST", "/sign-in", form, f"token={nearly}".encode()).text
    ask(listener.address, "GET", f"/sign-in?link={nearly}")
    log = listener.server.log.read_text()
    assert token not in log and nearly not in log and token.rsplit("_", 1)[1] not in log
