"""Datasets: tasks update them, and runs come of it: one for each interval, whatever happens in between."""

import json
import signal

import pytest

from project import Project
from test_triggers import ended, runs, serving
from waiting import until

FAMILY = {
    "one": """
name: one
data_interval: day
start_date: 2026-01-01
max_active_runs: 10
params: { mood: { type: string, default: good } }
tasks:
  load:
    type: command
    command: [python3, -c, "import sys; sys.exit(sys.argv[1] == 'bad')", "{{ params.mood }}"]
    when: "{{ params.mood != 'lazy' }}"
    outlets: "S3://{{ vars.bucket }}/one/"
""",
    "two": """
name: two
data_interval: day
start_date: 2026-01-01
max_active_runs: 10
tasks:
  each: { type: noop, for_each: [1, 2, 3], outlets: [warehouse/two, warehouse/other] }
""",
    "report": """
name: report
data_interval: day
start_date: 2026-01-01
max_active_runs: 10
triggers:
  - dataset: ["s3://{{ vars.bucket }}/one/", warehouse/two]
    params: { of: "{{ trigger.datasets | map(attribute='run') | join(' ') }}" }
params: { of: { type: string, default: nobody } }
tasks:
  go: { type: noop, outputs: { day: "{{ ds }}", first: "{{ trigger.datasets[0].name if trigger.datasets else '' }}" } }
""",
    "digest": """
name: digest
triggers: [{ dataset: { any: ["s3://{{ vars.bucket }}/one/", warehouse/other] } }]
tasks: { go: { type: noop, outputs: { count: "{{ trigger.datasets | length }}" } } }
""",
}


@pytest.fixture
def project(binary, environment, tmp_path):
    made = Project(binary, environment, tmp_path)
    for name, text in FAMILY.items():
        home = tmp_path / "pipelines" / name
        home.mkdir(parents=True)
        (home / "pipeline.yaml").write_text(text)
    (tmp_path / "trunkline.yaml").write_text("environments:\n  local: { vars: { bucket: lake } }\n")
    made.call("deploy")
    yield made
    made.stop()


def shown(project, run):
    return json.loads(project.call("show", run, "--json").stdout)


def waits(project, name):
    return json.loads(project.call("triggers", name, "--json").stdout)


def keys(project):
    return sorted(run["run_key"] for run in runs(project, "report"))


def test_all_datasets_of_a_day_make_the_run_of_that_day(project):
    assert "updates s3://lake/one/" in project.call("plan", "one", "--date", "2026-11-18").stdout
    with serving(project):
        project.call("run", "two", "--date", "2026-11-18")
        project.call("run", "one", "--date", "2026-11-17", "-p", "mood=bad", code=1)
        project.call("run", "one", "--date", "2026-11-16", "-p", "mood=lazy")
        until(lambda: ended(project, "digest", 1), 60, "a run for any of them")
        said = project.call("triggers", "report").stdout
        assert "s3://lake/one/ and warehouse/two; 1 event waiting" in said
        assert "warehouse/two by two@2026-11-18 each" in said
        assert "waits for s3://lake/one/ of 2026-11-18: never updated" in said
        assert "waits for s3://lake/one/ of 2026-11-18" in project.call("triggers").stdout
        assert keys(project) == []
        project.call("run", "one", "--date", "2026-11-18")
        until(lambda: ended(project, "report", 1), 60, "the run of the day")
        run = shown(project, "report@2026-11-18")
        assert (run["trigger"], run["params"]) == ("dataset", {"of": "one@2026-11-18 two@2026-11-18"})
        assert run["tasks"][0]["outputs"] == {"day": "2026-11-18", "first": "s3://lake/one/"}
        first = run["told"]["datasets"][0]
        assert (first["task"], first["pipeline"], first["key"]) == ("load", "one", "2026-11-18")
        assert first["data_interval_end"].startswith("2026-11-19T00:00:00") and first["at"]
        said = project.call("show", "report@2026-11-18").stdout
        assert "trigger  2 updates: s3://lake/one/ by one@2026-11-18 load, warehouse/two by two" in said
        # The day has its run: what is cleared updates again, and nothing comes of it.
        project.call("clear", "one@2026-11-18", "--yes")
        project.call("run", "two", "--date", "2026-11-19")
        said = until(lambda: (seen := waits(project, "report"))["waiting"] == 1 and seen, 60, "the cleared one to be settled")
        assert said["waits_for"].startswith("waits for s3://lake/one/ of 2026-11-19: updated last by one@2026-11-18 load, ")
        # A person says that it is done.
        project.call("run", "one", "--date", "2026-11-19", "-p", "mood=bad", code=1)
        project.call("mark", "one@2026-11-19", "succeeded", "--task", "load", "--yes")
        until(lambda: ended(project, "report", 2), 60, "the run of the day that was marked")
    assert keys(project) == ["2026-11-18", "2026-11-19"]
    assert shown(project, "report@2026-11-18")["generation"] == 1
    assert not waits(project, "report")["waiting"]


def test_updates_wait_for_a_server_and_while_their_pipeline_is_paused(project):
    with serving(project) as killed:
        project.call("run", "one", "--date", "2026-11-18")
        until(lambda: waits(project, "report")["waiting"] == 1, 60, "the first update")
        killed.send_signal(signal.SIGKILL)
        killed.wait(60)
    # Nobody is there when the day becomes complete.
    project.call("run", "two", "--date", "2026-11-18")
    assert waits(project, "report")["waiting"] == 2 and keys(project) == []
    project.call("pause", "digest")
    with serving(project), serving(project):
        until(lambda: ended(project, "report", 1), 60, "the run")
        project.call("pause", "report")
        for name, date in [("two", "2026-11-19"), ("one", "2026-11-19"), ("one", "2026-11-20"), ("two", "2026-11-20")]:
            project.call("run", name, "--date", date)
        seen = waits(project, "report")
        assert (seen["waiting"], seen["paused"], keys(project)) == (4, True, ["2026-11-18"])
        project.call("resume", "report")
        until(lambda: ended(project, "report", 3), 60, "the runs after the resume")
        before = len(runs(project, "digest"))
        several = waits(project, "digest")["waiting"]
        assert several > 1
        project.call("resume", "digest")
        until(lambda: ended(project, "digest", before + 1), 60, "the run of what came while it was paused")
    assert keys(project) == ["2026-11-18", "2026-11-19", "2026-11-20"]
    assert len(runs(project, "digest")) == before + 1, "several updates, one run"
    assert shown(project, "digest@latest")["tasks"][0]["outputs"]["count"] == several


MISTAKES = [
    ("report", "warehouse/two]", "warehouse/tow]", ["no task updates dataset `warehouse/tow`", "did you mean `warehouse/two`?"]),
    ("report", "/one/\", ware", "/one\", ware", ["no task updates dataset `s3://lake/one`", "did you mean `s3://lake/one/`?"]),
    ("report", "go: { type: noop,", "go: { type: noop, outlets: warehouse/two,",
     ["pipelines run each other in a circle: report → report", "`report` runs when `go` of `report` updates `warehouse/two`"]),
    ("two", "[warehouse/two,", "[warehouse/two, warehouse/two/,", ["`warehouse/two/` and `warehouse/two` would be two datasets"]),
    ("two", "warehouse/other]", "Warehouse]", ["cannot be the name of a dataset", "a name that is no URI holds only a-z"]),
    ("two", "warehouse/other]", "\"x/{{ ds }}\"]", ["only `vars` are known here"]),
    ("report", "warehouse/two]", "warehouse/two]\n    batch: { max: 2, window: 1m }", ["`batch` does not go with `dataset`"]),
    ("report", "params: { of:", "params: { off:", ["there is no param `off`"]),
    ("digest", "triggers: [", "triggers: [{ dataset: warehouse/other }, ", ["dataset `warehouse/other` is named by two triggers"]),
    ("digest", "{ any: [\"s3://{{ vars.bucket }}/one/\", warehouse/other] }", "[]", ["a `dataset` trigger needs a dataset"]),
    ("digest", "trigger.datasets", "trigger.objects", ["there is no field of `trigger` `objects`"]),
]


def test_mistakes_are_told_with_their_place(project):
    for name, old, new, said in MISTAKES:
        home = project.folder / "pipelines" / name / "pipeline.yaml"
        text = home.read_text()
        assert old in text
        home.write_text(text.replace(old, new, 1))
        told = project.call("validate", code=2)
        told = told.stdout + told.stderr
        assert f"{name}/pipeline.yaml:" in told and all(words in told for words in said), told
        home.write_text(text)
    project.call("validate")
