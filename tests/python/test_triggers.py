"""Objects in S3 that make runs: once each, whatever the queue does, and never lost."""

import contextlib
import hashlib
import itertools
import json
import os
import random
import re
import signal
import subprocess
import urllib.request

import pytest

from project import Project
from waiting import until

ONE_EACH = """
name: one_each
max_active_runs: 50
triggers:
  - s3:
      queue: "{{ vars.queue }}"
      bucket: raw
      prefix: connect/ctr/
      suffix: .json
      exclude: connect/ctr/configs/
    params: { key: "{{ trigger.objects[0].key }}", size: "{{ trigger.objects[0].size }}" }
params:
  key: { type: string, default: unknown }
  size: { type: integer, default: 0 }
tasks:
  tell:
    type: command
    command: [python3, -c, "import sys; print(sys.argv[1:])", "{{ params.key }}", "{{ trigger.type }}"]
"""

BATCHED = """
name: batched
max_active_runs: 5
triggers:
  - s3: { queue: events, prefix: batch/ }
    batch: { max: 4, window: 3s }
    params: { objects: "{{ trigger.objects }}" }
params:
  objects: { type: array, default: [] }
tasks:
  each:
    type: command
    for_each: "{{ params.objects }}"
    command: [python3, -c, "import sys; print(sys.argv[1])", "{{ item.key }}"]
"""

BULK = """
name: bulk
max_active_runs: 3
triggers:
  - s3: { queue: many, prefix: bulk/ }
    batch: { max: 500, window: 2s }
tasks: { take: { type: noop, outputs: { count: "{{ trigger.objects | length }}" } } }
"""

TEMPLATE = """
Resources:
  Raw:
    Type: AWS::S3::Bucket
    Properties:
      BucketName: raw
      NotificationConfiguration:
        QueueConfigurations:
          - Event: s3:ObjectCreated:*
            Queue: !GetAtt Events.Arn
  Events:
    Type: AWS::SQS::Queue
    Properties:
      QueueName: events
      VisibilityTimeout: 2
      RedrivePolicy: { deadLetterTargetArn: !GetAtt Dead.Arn, maxReceiveCount: 3 }
  Many:
    Type: AWS::SQS::Queue
    Properties:
      QueueName: many
      VisibilityTimeout: 5
      RedrivePolicy: { deadLetterTargetArn: !GetAtt Dead.Arn, maxReceiveCount: 3 }
  Dead: { Type: AWS::SQS::Queue, Properties: { QueueName: dead } }
"""

# Each of the many notifications is sent twice or three times.
MANY = int(os.environ.get("TRUNKLINE_TEST_EVENTS", "10000"))


@pytest.fixture(scope="module")
def project(binary, environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("triggers")
    (folder / "trunkline.yaml").write_text("environments:\n  local: { vars: { queue: events } }\n")
    for name, text in {"one_each": ONE_EACH, "batched": BATCHED, "bulk": BULK}.items():
        home = folder / "pipelines" / name
        home.mkdir(parents=True)
        (home / "pipeline.yaml").write_text(text)
    (folder / "pipelines" / "one_each" / "aws.yaml").write_text(TEMPLATE)
    made = Project(binary, environment, folder)
    # Makes bucket and queues in the sandbox; nothing is wrong with them.
    made.call("check", "one_each")
    made.call("deploy")
    yield made
    made.stop()


NUMBERS = itertools.count()


@contextlib.contextmanager
def serving(project, **variables):
    path = project.folder / f"serve-{next(NUMBERS)}.log"
    log = open(path, "wb")
    server = subprocess.Popen(
        [str(project.binary), "serve", "--bind", "127.0.0.1:0"], cwd=project.folder,
        env=project.environment | variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
    )
    server.log = path
    try:
        yield server
    finally:
        if server.poll() is None:
            server.send_signal(signal.SIGTERM)
        server.wait(60)
        log.close()
        print(path.read_text()[-4000:])


@pytest.fixture
def s3(project):
    return project.client("s3")


@pytest.fixture
def sqs(project):
    return project.client("sqs")


def url_of(sqs, name):
    return sqs.get_queue_url(QueueName=name)["QueueUrl"]


def depth(sqs, name):
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    told = sqs.get_queue_attributes(QueueUrl=url_of(sqs, name), AttributeNames=names)["Attributes"]
    return sum(int(told[name]) for name in names)


def runs(project, pipeline, limit=10_000):
    return json.loads(project.call("runs", pipeline, "--limit", limit, "--json").stdout)


def keys(project, pipeline="one_each"):
    return sorted(run["params"]["key"] for run in runs(project, pipeline))


def triggers(project):
    return json.loads(project.call("triggers", "--json").stdout)


def queue(project, name):
    return next(one for one in triggers(project)["queues"] if one["queue"].endswith(f"/{name}"))


def ended(project, pipeline, count):
    found = runs(project, pipeline)
    return len(found) >= count and all(run["state"] == "succeeded" for run in found) and found


def notification(key, number, bucket="raw"):
    return json.dumps({"Records": [{
        "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "us-east-1",
        "eventTime": "2026-11-19T05:10:11.123Z", "eventName": "ObjectCreated:Put",
        "s3": {
            "s3SchemaVersion": "1.0", "configurationId": "c", "bucket": {"name": bucket},
            "object": {
                "key": key, "size": 7, "eTag": hashlib.md5(key.encode()).hexdigest(), "sequencer": f"{number:018X}",
            },
        },
    }]})


def send(sqs, name, bodies):
    queue_url = url_of(sqs, name)
    for start in range(0, len(bodies), 10):
        entries = [{"Id": str(place), "MessageBody": body} for place, body in enumerate(bodies[start:start + 10])]
        answer = sqs.send_message_batch(QueueUrl=queue_url, Entries=entries)
        assert not answer.get("Failed"), answer


def test_each_object_makes_one_run(project, s3, sqs):
    odd = ["connect/ctr/a+b.json", "connect/ctr/x%3Ay.json", "connect/ctr/with space.json", "connect/ctr/grüße/ä.json"]
    for key in [*odd, "connect/ctr/configs/agentjsonpath.json", "connect/ctr/a.csv", "other/a.json"]:
        s3.put_object(Bucket="raw", Key=key, Body=b"content")
    with serving(project):
        until(lambda: ended(project, "one_each", len(odd)), 120, "a run for each object")
        until(lambda: depth(sqs, "events") == 0, 60, "every message to be deleted")
    found = runs(project, "one_each")
    assert keys(project) == sorted(odd), "neither configs nor other suffixes and prefixes"
    assert {run["params"]["size"] for run in found} == {7} and {run["trigger"] for run in found} == {"s3"}
    shown = project.call("show", found[0]["id"]).stdout
    assert f"trigger  1 object: s3://raw/{found[0]['params']['key']}" in shown
    told = json.loads(project.call("show", found[0]["id"], "--json").stdout)["told"]
    assert told["objects"][0]["bucket"] == "raw" and told["objects"][0]["etag"]
    assert "'s3'" in project.call("logs", found[0]["id"], "tell").stdout
    assert queue(project, "events")["unmatched"] == 3
    # The very same object again is another event; the same event again is not.
    before = len(found)
    with serving(project):
        s3.put_object(Bucket="raw", Key=odd[0], Body=b"content")
        until(lambda: ended(project, "one_each", before + 1), 60, "the run of the new version")


def test_repetitions_in_any_order_make_no_second_run(project, sqs):
    before = len(runs(project, "one_each"))
    bodies = [notification(f"connect/ctr/dup/{number}.json", number) for number in range(30)] * 10
    random.Random(7).shuffle(bodies)
    with serving(project), serving(project):
        send(sqs, "events", bodies)
        until(lambda: depth(sqs, "events") == 0, 120, "every message to be deleted")
        until(lambda: ended(project, "one_each", before + 30), 120, "the runs")
        # Redelivered long after it was deleted.
        send(sqs, "events", bodies[:5])
        until(lambda: depth(sqs, "events") == 0, 60, "the late ones to be deleted")
    expected = sorted(f"connect/ctr/dup/{number}.json" for number in range(30))
    assert [key for key in keys(project) if "/dup/" in key] == expected


def test_a_batch_is_one_run(project, s3):
    with serving(project):
        for number in range(6):
            s3.put_object(Bucket="raw", Key=f"batch/{number}", Body=b"x")
        found = until(lambda: ended(project, "batched", 2), 120, "a full batch and the rest after its window")
    taken = sorted((len(run["params"]["objects"]) for run in found), reverse=True)
    assert (sum(taken), taken[0], len(taken)) == (6, 4, 2)
    objects = sorted(one["key"] for run in found for one in run["params"]["objects"])
    assert objects == [f"batch/{number}" for number in range(6)]


def test_events_wait_while_their_pipeline_is_paused(project, s3, sqs):
    before = len(runs(project, "one_each"))
    project.call("pause", "one_each")
    with serving(project):
        for number in range(3):
            s3.put_object(Bucket="raw", Key=f"connect/ctr/paused/{number}.json", Body=b"x")

        def waits():
            rows = triggers(project)["pipelines"]
            return next(row for row in rows if row["pipeline"] == "one_each")["waiting"] == 3

        until(waits, 60, "three events to wait")
        until(lambda: depth(sqs, "events") == 0, 60, "their messages to be deleted")
        assert len(runs(project, "one_each")) == before
        shown = project.call("triggers", "one_each").stdout
        assert "3 events waiting" in shown and "s3://raw/connect/ctr/paused/1.json" in shown and "paused" in shown
        project.call("resume", "one_each")
        until(lambda: ended(project, "one_each", before + 3), 60, "the runs after the resume")
    assert not next(row for row in triggers(project)["pipelines"] if row["pipeline"] == "one_each")["waiting"]


def test_what_cannot_be_read_ends_in_the_dead_letter_queue_and_is_seen(project, sqs):
    before = (depth(sqs, "dead"), queue(project, "events")["poison"])
    bad = ["this is no JSON", json.dumps({"Records": [{"eventSource": "aws:sqs"}]}), json.dumps({"hello": 1})]
    test = json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "raw"})
    with serving(project) as server:
        send(sqs, "events", [*bad, test])
        until(lambda: depth(sqs, "dead") == before[0] + 3, 120, "the poison to be moved")
        until(lambda: depth(sqs, "events") == 0, 60, "the test event to be deleted")
        seen = until(lambda: queue(project, "events")["poison"] == before[1] + 3 and queue(project, "events"), 60, "the count")
    assert seen["last_poison"]["reason"].startswith("it is no notification of S3")
    assert seen["dead_letter_queue"].endswith(":dead") and seen["trouble"] is None
    log = server.log.read_text()
    assert "cannot be read" in log and "is left to the queue" in log
    said = project.call("triggers").stdout
    assert "aws/events" in said and "it is no notification of S3" in said


def test_a_server_that_dies_between_commit_and_delete_loses_and_doubles_nothing(project, sqs):
    before = len(runs(project, "one_each"))
    bodies = [notification(f"connect/ctr/killed/{number}.json", number) for number in range(20)]
    send(sqs, "events", bodies)
    with serving(project, TRUNKLINE_CRASH_AT="before_delete") as killed:
        assert killed.wait(120) == -signal.SIGKILL
    assert len(runs(project, "one_each")) > before, "the commit came first"
    assert depth(sqs, "events") > 0, "nothing was deleted"
    with serving(project):
        until(lambda: depth(sqs, "events") == 0, 60, "every message to be deleted")
        until(lambda: ended(project, "one_each", before + 20), 60, "the runs")
    expected = sorted(f"connect/ctr/killed/{number}.json" for number in range(20))
    assert [key for key in keys(project) if "/killed/" in key] == expected


def test_ten_thousand_notifications_with_repetitions_disorder_and_poison(project, sqs):
    dice = random.Random(3)
    distinct = [notification(f"bulk/{number}", number) for number in range(MANY // 2)]
    poison = [f"poison {number}" for number in range(20)]
    bodies = distinct + dice.choices(distinct, k=MANY - len(distinct) - len(poison)) + poison
    dice.shuffle(bodies)
    dead = depth(sqs, "dead")
    send(sqs, "many", bodies)
    with serving(project), serving(project):
        until(lambda: depth(sqs, "many") == 0, 240, "every message to be read")
        until(lambda: depth(sqs, "dead") == dead + len(poison), 60, "the poison to be moved")

        def all_ran():
            waiting = next(row for row in triggers(project)["pipelines"] if row["pipeline"] == "bulk")["waiting"]
            return not waiting and ended(project, "bulk", 1)

        found = until(all_ran, 120, "every batch to run")
    seen = []
    for run in found:
        seen += [one["key"] for one in json.loads(project.call("show", run["id"], "--json").stdout)["told"]["objects"]]
    assert sorted(seen) == sorted(f"bulk/{number}" for number in range(len(distinct))), "each in one run"
    assert queue(project, "many")["poison"] == len(poison)


def test_the_api_and_metrics_tell_the_same(project):
    with serving(project) as server:
        base = until(lambda: re.search(r"API (http://127\.0\.0\.1:\d+)", server.log.read_text()), 30, "the address")[1]
        token = json.loads(project.call("token", "create", "triggers", "--scope", "read", "--json").stdout)["token"]

        def get(path):
            request = urllib.request.Request(base + path, headers={"Authorization": f"Bearer {token}"})
            try:
                with urllib.request.urlopen(request) as answer:
                    return answer.read().decode()
            except OSError:
                return None

        listed = json.loads(until(lambda: get("/api/v1/triggers"), 60, "the API"))
        assert {row["pipeline"] for row in listed["pipelines"]} == {"one_each", "batched", "bulk"}
        assert json.loads(get("/api/v1/triggers/one_each"))["on"] == ["s3://raw/connect/ctr/*.json"]
        metrics = get("/metrics")
    assert 'trunkline_trigger_poison{queue="aws/many"} 20' in metrics
    assert 'trunkline_trigger_messages_total{queue="aws/events"}' in metrics


def test_permissions_and_a_queue_without_redrive_policy_are_told(project, sqs, tmp_path):
    policy = json.loads(project.call("iam-policy", "one_each").stdout)
    actions = {action for statement in policy["Statement"] for action in statement["Action"]}
    wanted = {"ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility", "GetQueueAttributes"}
    assert {f"sqs:{action}" for action in wanted} <= actions
    sqs.create_queue(QueueName="careless")
    home = project.folder / "pipelines" / "one_each" / "pipeline.yaml"
    text = home.read_text()
    for name, said in [("careless", "has no redrive policy"), ("nowhere", "does not exist")]:
        home.write_text(text.replace('"{{ vars.queue }}"', name))
        told = project.call("check", "one_each", code=2)
        assert f"queue {name}" in told.stdout and said in told.stdout, told.stdout
    home.write_text(text)


FAMILY = {
    "crawl": """
name: crawl
data_interval: day
start_date: 2026-01-01
params: { mood: { type: string, default: good } }
tasks: { go: { type: command, command: [python3, -c, "import sys; sys.exit(sys.argv[1] == 'bad')", "{{ params.mood }}"] } }
""",
    "load": """
name: load
data_interval: day
start_date: 2026-01-01
triggers: [{ pipeline: crawl, params: { after: "{{ trigger.run.name }}" } }]
params: { after: { type: string, default: nothing } }
tasks: { go: { type: noop, outputs: { day: "{{ ds }}", by: "{{ trigger.pipeline }}" } } }
""",
    "alarm": """
name: alarm
triggers: [{ pipeline: { name: crawl, on: failure } }]
tasks: { go: { type: noop, outputs: { key: "{{ trigger.run.key }}" } } }
""",
}


def test_a_pipeline_runs_when_another_one_ended(binary, environment, tmp_path):
    made = Project.deployed(binary, environment, tmp_path, FAMILY)

    def shown(run):
        return json.loads(made.call("show", run, "--json").stdout)

    try:
        with serving(made):
            made.call("run", "crawl", "--date", "2026-11-18")
            made.call("run", "crawl", "--date", "2026-11-19", "-p", "mood=bad", code=1)
            until(lambda: ended(made, "load", 1) and ended(made, "alarm", 1), 60, "both to run")
            run = shown("load@2026-11-18")
            assert (run["trigger"], run["created_by"]) == ("pipeline", "pipeline:crawl@2026-11-18")
            assert run["params"] == {"after": "crawl@2026-11-18"}
            assert run["tasks"][0]["outputs"] == {"day": "2026-11-18", "by": "crawl"}
            assert run["data_interval_start"] == "2026-11-18T00:00:00Z" and run["told"]["run"]["state"] == "succeeded"
            assert shown("alarm@latest")["tasks"][0]["outputs"] == {"key": "2026-11-19"}
            assert "trigger  crawl@2026-11-18 succeeded" in made.call("show", "load@2026-11-18").stdout
            # The same day again has its run already; the one that failed has not.
            made.call("clear", "crawl@2026-11-18", "--yes")
            made.call("run", "crawl", "--date", "2026-11-17")
            until(lambda: ended(made, "load", 2), 60, "the run of the other day")
        assert sorted(run["run_key"] for run in runs(made, "load")) == ["2026-11-17", "2026-11-18"]
        assert shown("load@2026-11-18")["generation"] == 1
        assert not json.loads(made.call("triggers", "load", "--json").stdout)["waiting"]
        for name, other, said in [("load", "crwl", "a trigger names unknown pipeline `crwl`"),
                                  ("crawl", "load", "pipelines run each other in a circle: crawl → load → crawl")]:
            home = tmp_path / "pipelines" / name / "pipeline.yaml"
            text = home.read_text()
            home.write_text(re.sub(r"(?m)^triggers:.*\n", "", text) + f"triggers: [{{ pipeline: {other} }}]\n")
            told = made.call("validate", code=2)
            assert said in told.stdout + told.stderr
            home.write_text(text)
    finally:
        made.stop()


def test_mistakes_are_told_with_their_place(project, tmp_path):
    (tmp_path / "trunkline.yaml").write_text("environments:\n  local: {}\n")
    home = tmp_path / "pipelines" / "p"
    home.mkdir(parents=True)
    made = Project(project.binary, project.environment, tmp_path)
    for trigger, extra, said in [
        ("s3: { prefix: a/ }", "", "an `s3` trigger needs `queue`"),
        ("s3: { queue: q }", "data_interval: day", "covers no data interval"),
        ("s3: { queue: q }\n    params: { kye: x }", "params: { key: { type: string, default: a } }", "there is no param `kye`"),
        ("s3: { queue: q }", "params: { key: { type: string } }", "has no default, and the trigger gives it no value"),
        ('s3: { queue: "{{ vars.nothing }}" }', "", "has no var `nothing`"),
        ('s3: { queue: "{{ ds }}" }', "", "only `vars` are known here"),
        ("s3: { queue: q }\n    batch: { max: 5 }", "", "`batch` needs `window`"),
        ("dataset: x", "", "no task updates dataset `x`"),
    ]:
        text = f"name: p\n{extra}\ntriggers:\n  - {trigger}\ntasks: {{ a: {{ type: noop }} }}\n"
        (home / "pipeline.yaml").write_text(text)
        told = made.call("validate", code=2)
        assert said in told.stdout + told.stderr and "pipeline.yaml:" in told.stdout + told.stderr, told.stderr
    text = 'name: p\ntasks: { a: { type: noop, outputs: { n: "{{ trigger.objects }}" } } }\n'
    (home / "pipeline.yaml").write_text(text)
    told = made.call("validate", code=2)
    assert "there is no field of `trigger` `objects`" in told.stdout + told.stderr
