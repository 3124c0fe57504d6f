"""The short form of `benchmarks/kill_resume.py`: builds that are killed at random moments, resumed, and compared."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "kill_resume.py"


@pytest.mark.skipif(sys.platform != "linux", reason="finds a build's processes in /proc")
def test_builds_killed_at_random_moments_resume_to_the_same_bytes():
    words = ["--rounds", "3", "--again", "1", "--pictures", "40", "--seed", "1", "--json"]
    done = subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["faults"] == []
    assert 3 <= told["kills"] <= 6
    assert sum(told["by_victim"].values()) == told["kills"]
