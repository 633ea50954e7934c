"""kill -9 at random moments of a job: see the benchmark, which runs here with fewer kills."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kill.py"


@pytest.mark.slow
def test_a_job_survives_kills_at_random_moments() -> None:
    result = subprocess.run(
        [sys.executable, SCRIPT, "--kills", "3", "--rows", "500", "--seed", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "| 500 | 3 |" in result.stdout
