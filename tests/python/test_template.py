"""The templates are CloudFormation, not only what the sandbox takes for it: AWS's own linter
reads them."""

import subprocess
import sys

import pytest

from conftest import REPOSITORY

TEMPLATES = sorted(REPOSITORY.glob("pipelines/*/aws.yaml"))


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.parent.name)
def test_cloudformation_accepts_the_template(template):
    linter = [sys.executable, "-c", "import cfnlint.runner; cfnlint.runner.main()"]
    strict = ["--non-zero-exit-code", "informational"]
    done = subprocess.run([*linter, *strict, str(template)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_are_templates():
    assert TEMPLATES
