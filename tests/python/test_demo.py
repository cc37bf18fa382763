"""The tours that `demo` gives: each command that they type succeeds, and what is shown is there."""

import subprocess

from project import Project


def told(binary, environment, folder, *options):
    done = subprocess.run([str(binary), "demo", "--folder", str(folder), *options], env=environment, cwd=folder.parent,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    print(done.stderr)
    assert done.returncode == 0, done.stderr
    return done.stderr + done.stdout


def test_the_tour_breaks_mends_and_kills_and_nothing_is_started_twice(binary, environment, tmp_path):
    text = told(binary, environment, tmp_path / "demo", "--count", "60")
    for expected in ("FAILED daily_cdr_etl 2026-10-06: convert", "killed with SIGKILL", "No start was accepted twice."):
        assert expected in text, text


def test_all_shipped_pipelines_run_on_generated_data(binary, environment, tmp_path):
    folder = tmp_path / "all"
    text = told(binary, environment, folder, "--all", "--count", "120")
    for expected in ("CDR report 2026-10: ", "fact_sales_order", "rejected_order", "warehouse_refresh@"):
        assert expected in text, text
    project = Project(binary, environment, folder)
    try:
        shipped = {path.parent.name for path in folder.glob("pipelines/*/pipeline.yaml")}
        ran = project.psql("select distinct pipeline, state from run")
        assert dict(line.split("|") for line in ran.splitlines()) == {name: "succeeded" for name in shipped}
    finally:
        project.stop()
