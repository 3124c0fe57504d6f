"""Imports flow one way, as CONTRIBUTING's table of folders has it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ABOVE = ("ssl4rl_core.training", "ssl4rl_core.cli", "ssl4rl_core.testing")
FORBIDDEN = {
    "ssl4rl_core/*.py": ("data_builders", *ABOVE),
    "ssl4rl_core/pages/**/*.py": ("data_builders", *ABOVE),
    "ssl4rl_core/scaffold/**/*.py": ("data_builders", *ABOVE),
    "data_builders/**/*.py": ABOVE,
    "ssl4rl_core/training/**/*.py": ABOVE[1:],
    "ssl4rl_core/testing/**/*.py": ABOVE[:2],
    "plugins/*/ssl4rl_task_*.py": ("data_builders", *ABOVE),
}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{name.name}" for name in node.names)


@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_imports_flow_one_way(pattern: str):
    files = sorted(ROOT.glob(pattern))
    assert files
    against = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in files
        for name in imported(file)
        if f"{name}.".startswith(tuple(f"{each}." for each in FORBIDDEN[pattern]))
    ]
    assert not against
