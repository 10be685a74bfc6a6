"""The reports of users that this machine has: the check of each ends well."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SHARED
from tests.journeys import SCRIPTS

CHECKS = sorted((SHARED / "reports").glob("*/check.sh"))


@pytest.mark.slow
@pytest.mark.reports
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.parent.name)
def test_report(check: Path):
    environment = os.environ | {"LP": str(SCRIPTS.parent), "PY": sys.executable}
    ended = subprocess.run(["bash", check], env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, f"status {ended.returncode}\n{ended.stdout}{ended.stderr}"
