"""What the end-to-end tests share: the program, a project of their own, a sandbox of their own.

The program under test is named by TRUNKLINE_BIN. Every test works in a temporary folder;
nothing is written into the checkout. How many call records the large test uses is
TRUNKLINE_TEST_CDRS.
"""

import os
import pathlib
import shutil

import pytest

from browser import chromium
from project import Project
from sandbox import Sandbox

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# Whatever the developer's shell says about AWS, a database or a collector must not reach a test.
PRIVATE = ("AWS_", "TRUNKLINE_", "DATABASE_URL", "CDR_", "WAREHOUSE_", "EVENTS_", "CTR_", "FACILITY_", "OTEL_")


# Where root's private Postgres keeps its data: its account cannot go into the folders of the tests.
ROOT_HOMES = pathlib.Path("/var/lib/trunkline")


@pytest.fixture(scope="module", autouse=True)
def no_data_is_left(tmp_path_factory):
    """Some 50 MB each, which a full run multiplies by hundreds. What still runs keeps its files."""
    yield
    base = str(tmp_path_factory.getbasetemp())
    for named in ROOT_HOMES.glob("*/project"):
        if named.read_text().startswith(base) and not (named.parent / "data" / "postmaster.pid").exists():
            shutil.rmtree(named.parent, ignore_errors=True)


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture(scope="session")
def binary():
    named = os.environ.get("TRUNKLINE_BIN")
    if not named or not os.access(named, os.X_OK):
        pytest.exit("TRUNKLINE_BIN must name the built program; scripts/test sets it", returncode=4)
    return pathlib.Path(named).resolve()


@pytest.fixture(scope="session")
def environment():
    """The environment of every process that a test starts."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PRIVATE)}
    return kept | {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_COLOR": "1",
        "TZ": "UTC",
    }


@pytest.fixture(scope="session")
def pipeline_folder():
    return REPOSITORY / "pipelines" / "daily_cdr_etl"


@pytest.fixture(scope="session")
def sample(pipeline_folder):
    """The committed sample: a folder laid out as the raw bucket."""
    return pipeline_folder / "sample"


@pytest.fixture(scope="module")
def sandbox(binary, environment, tmp_path_factory):
    """A sandbox without an orchestrator."""
    with Sandbox(binary, environment, tmp_path_factory.mktemp("sandbox")) as running:
        yield running


@pytest.fixture(scope="module")
def project(binary, environment, tmp_path_factory):
    """A project with the shipped pipeline, in a folder of its own; its background process
    is stopped at the end."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(REPOSITORY / "trunkline.yaml", folder)
    shutil.copytree(REPOSITORY / "pipelines" / "daily_cdr_etl", folder / "pipelines" / "daily_cdr_etl")
    made = Project(binary, environment, folder)
    yield made
    made.stop()
