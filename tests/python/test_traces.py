"""Traces of runs, taken by a receiver of the test's own that speaks OpenTelemetry's protocol."""

import collections
import datetime
import json
import signal

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from project import Project
from test_api import serving
from test_notices import receiver
from waiting import until

TRACES = "/v1/traces"
DAY = "2026-11-19"
RUN = f"daily@{DAY}"
PIPELINE = """
name: daily
schedule: "0 9 * * *"
data_interval: day
owner: someone
defaults: { retries: 1, retry_delay: 1s }
tasks:
  extract: { type: command, command: [sh, -c, "sleep 0.3"] }
  convert:
    type: command
    depends_on: extract
    command: [sh, -c, "test -e {{ vars.root }}/repaired || { echo cannot convert >&2; exit 3; }"]
  repair: { type: noop, depends_on: extract, when: "{{ params.repair }}" }
  report: { type: noop, depends_on: convert }
params: { repair: { type: boolean, default: false } }
"""
ELEMENTS = """
name: daily
data_interval: day
tasks:
  each:
    type: command
    for_each: "{{ ['a', 'b'] }}"
    command: [sh, -c, "exit 0"]
"""

Span = collections.namedtuple("Span", "trace id parent name start end status attributes")


def value_of(value):
    return getattr(value, value.WhichOneof("value"))


def decoded(body):
    """The spans of a request, and what its resource says."""
    request, spans, about = ExportTraceServiceRequest.FromString(body), [], {}
    for resource in request.resource_spans:
        about |= {entry.key: value_of(entry.value) for entry in resource.resource.attributes}
        for scope in resource.scope_spans:
            assert scope.scope.name == "trunkline"
            for span in scope.spans:
                attributes = {entry.key: value_of(entry.value) for entry in span.attributes}
                spans.append(Span(span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), span.name,
                                  span.start_time_unix_nano, span.end_time_unix_nano, span.status, attributes))
    return spans, about


def spans_of(receiver):
    """All spans by name, one of each id: what a store of traces would have."""
    by_id = {span.id: span for _, body in receiver.of(TRACES) for span in decoded(body)[0]}
    return sorted(by_id.values(), key=lambda span: span.start)


def named(spans, name, parent=None):
    [found] = [span for span in spans if span.name == name and parent in (None, span.parent)]
    return found


def nanoseconds(text):
    moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment.timestamp() * 1e9


def near(span_time, text):
    return abs(span_time - nanoseconds(text)) < 2e6


@pytest.fixture
def make(binary, environment, tmp_path, receiver):
    """Makes a project of one pipeline whose traces go to the receiver, or wherever else is said."""
    made = []

    def make(pipeline=PIPELINE, **variables):
        wanted = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "TRUNKLINE_LOG": "warn,trunkline=info"} | variables
        project = Project.deployed(binary, environment | wanted, tmp_path, {"daily": pipeline})
        made.append(project)
        return project

    yield make
    for project in made:
        project.stop()


def test_a_run_is_a_trace_and_each_generation_a_tree_in_it(make, receiver):
    project = make(OTEL_EXPORTER_OTLP_HEADERS="api-key=word%20of%20mine", OTEL_RESOURCE_ATTRIBUTES="deployment=x")
    project.call("run", "daily", "--date", DAY, code=1)
    [(headers, body)] = receiver.of(TRACES)
    assert headers["content-type"] == "application/x-protobuf" and headers["api-key"] == "word of mine"
    spans, about = decoded(body)
    assert (about["service.name"], about["deployment"]) == ("trunkline", "x") and about["service.version"]

    shown = json.loads(project.call("show", RUN, "--json").stdout)
    assert {span.trace for span in spans} == {shown["id"].replace("-", "")}
    [root] = [span for span in spans if not span.parent]
    assert (root.name, root.status.code) == (RUN, Status.STATUS_CODE_ERROR)
    assert root.status.message == "failed: convert"
    said = {name.removeprefix("trunkline."): value for name, value in root.attributes.items()}
    expected = {
        "pipeline": "daily", "run": RUN, "run_id": shown["id"], "run_key": DAY, "generation": 1, "version": 1,
        "environment": "local", "state": "failed", "owner": "someone",
        "data_interval.start": f"{DAY}T00:00:00Z", "data_interval.end": "2026-11-20T00:00:00Z",
    }
    assert expected.items() <= said.items(), said
    assert near(root.start, shown["started_at"]) and near(root.end, shown["ended_at"])

    tasks = {row["task"]: row for row in shown["tasks"]}
    for name, state in {"extract": "succeeded", "convert": "failed", "repair": "skipped", "report": "upstream_failed"}.items():
        task = named(spans, name)
        assert task.parent == root.id and task.attributes["trunkline.state"] == state
        assert near(task.end, tasks[name]["ended_at"])
        assert root.start <= task.start <= task.end <= root.end
        failed = task.status.code == Status.STATUS_CODE_ERROR
        assert failed == (name == "convert"), task
    assert named(spans, "extract").end - named(spans, "extract").start > 0.3e9
    assert named(spans, "repair").attributes["trunkline.reason"]

    convert = named(spans, "convert")
    tries = [named(spans, f"convert #{number}", convert.id) for number in (1, 2)]
    stored = [attempt for attempt in shown["attempt_list"] if attempt["task"] == "convert"]
    for span, attempt in zip(tries, stored, strict=True):
        assert near(span.start, attempt["intent_at"]) and near(span.end, attempt["ended_at"])
        assert span.status.code == Status.STATUS_CODE_ERROR and span.status.message == attempt["failure"]["message"]
        assert span.attributes["error.type"] == attempt["failure"]["class"] == "failed"
        assert span.attributes["trunkline.attempt"] == attempt["number"]
        assert span.attributes["trunkline.operator"] == "command"
        assert span.attributes["trunkline.external_id"] == attempt["external_id"]
        assert span.attributes["trunkline.reattached"] is False
    assert tries[1].start - tries[0].end > 0.9e9, "the pause before the second try is a gap"
    assert "cannot convert" in convert.status.message and b"repaired" not in body, "no request is exported"

    (project.folder / "repaired").touch()
    project.call("clear", RUN, "--failed", "--yes")
    assert len(receiver.of(TRACES)) == 2
    second, _ = decoded(receiver.of(TRACES)[1][1])
    assert {span.trace for span in second} == {root.trace} and not {span.id for span in second} & {span.id for span in spans}
    [again] = [span for span in second if not span.parent]
    assert (again.name, again.status.code) == (RUN, Status.STATUS_CODE_UNSET)
    assert (again.attributes["trunkline.generation"], again.attributes["trunkline.state"]) == (2, "succeeded")
    assert again.start >= root.end
    assert {span.name for span in second} == {RUN, "convert", "convert #3", "report", "report #1"}


def test_elements_lie_below_their_task(make, receiver):
    project = make(ELEMENTS, OTEL_SERVICE_NAME="etl")
    project.call("run", "daily", "--date", DAY)
    [(_, body)] = receiver.of(TRACES)
    spans, about = decoded(body)
    assert about["service.name"] == "etl"
    each = named(spans, "each")
    for name in ("each[0]", "each[1]"):
        assert named(spans, name).parent == each.id
        assert named(spans, f"{name} #1").parent == named(spans, name).id
    assert len(spans) == 6


def test_a_receiver_that_is_busy_is_asked_again(make, receiver):
    project = make(ELEMENTS)
    receiver.answers[TRACES] = (503, {})
    with serving(project) as server:
        assert f"traces go to {receiver.endpoint}{TRACES}" in server.log.read_text()
        project.call("run", "daily", "--date", DAY)
        until(lambda: receiver.of(TRACES), 30, "the first try")
        receiver.answers.clear()
        until(lambda: len(receiver.of(TRACES)) > 1, 30, "another try")
        first, *_, last = [body for _, body in receiver.of(TRACES)]
        assert first == last, "the same spans, whichever try is taken"
        assert [span.name for span in spans_of(receiver)].count(RUN) == 1


def test_a_server_that_ends_takes_its_traces_out_first(make, receiver):
    project = make(ELEMENTS)
    receiver.answers[TRACES] = (503, {})
    with serving(project) as server:
        project.call("run", "daily", "--date", DAY)
        # The next pause lasts four seconds, and more than that is between the second and the fourth try.
        until(lambda: len(receiver.of(TRACES)) >= 3, 30, "three tries")
        tried = len(receiver.of(TRACES))
        receiver.answers.clear()
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(timeout=30)
        assert len(receiver.of(TRACES)) > tried
        assert "traces are not exported" not in server.log.read_text()


def test_runs_do_not_depend_on_it(make, receiver):
    project = make(ELEMENTS)
    receiver.answers[TRACES] = (400, {})
    with serving(project) as server:
        for day in ("2026-11-01", "2026-11-02", "2026-11-03"):
            project.call("run", "daily", "--date", day)
        until(lambda: len(receiver.of(TRACES)) >= 3, 30, "the traces")
        until(lambda: "traces are not exported" in server.log.read_text(), 30, "the warning")
        assert len(receiver.of(TRACES)) == 3, "what is refused for good is not repeated"
        receiver.answers.clear()
        project.call("run", "daily", "--date", "2026-11-04")
        until(lambda: "traces are exported again; 3 runs have none" in server.log.read_text(), 30, "the good news")
        assert server.log.read_text().count("traces are not exported") == 1
    project.environment = project.environment | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    project.call("run", "daily", "--date", "2026-11-05")


def test_who_wants_none_gets_none_and_who_cannot_have_them_is_told(make, receiver):
    project = make(ELEMENTS, OTEL_SDK_DISABLED="true")
    with serving(project) as server:
        project.call("run", "daily", "--date", DAY)
        assert "traces" not in server.log.read_text()
    wanted = project.environment
    project.environment = wanted | {"OTEL_SDK_DISABLED": "", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    with serving(project) as server:
        project.call("run", "daily", "--date", "2026-11-18")
        assert "OTEL_EXPORTER_OTLP_PROTOCOL is `grpc`" in server.log.read_text()
    assert not receiver.of(TRACES)
