"""The page of the studies says what the kept results say, and nothing of results that were had otherwise."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
KEPT, PAGE = ROOT / "benchmarks" / "studies", ROOT / "docs" / "studies.md"

pytest.importorskip("trl", reason="the studies train")


def tables(tmp_path: Path, kept: Path) -> str:
    page = tmp_path / "studies.md"
    shutil.copy(PAGE, page)
    command = [sys.executable, "benchmarks/studies.py", "--tables", "--kept", kept, "--page", page]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    return page.read_text(encoding="utf-8")


def test_the_tables_of_the_page_are_those_of_the_kept_results(tmp_path):
    assert tables(tmp_path, KEPT) == PAGE.read_text(encoding="utf-8")


def test_results_of_other_settings_count_as_not_run(tmp_path):
    kept = tmp_path / "kept"
    shutil.copytree(KEPT, kept)
    changed = kept / "rotation-easy-seed-1.json"
    result = json.loads(changed.read_text())
    result["settings"]["recipe"]["grpo"]["learning_rate"] = 1.0
    changed.write_text(json.dumps(result))
    page = tables(tmp_path, kept)
    cells = 7  # that the run has a line in
    assert page.count("not run") == PAGE.read_text(encoding="utf-8").count("not run") + cells
