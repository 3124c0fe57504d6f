"""What a task's tests need: the conformance kit in one line, data in memory, adversaries, probes, tiny models.

After `from ssl4rl_core.testing import conformance`, the line is `test_conformance = conformance(Shade)`.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssl4rl_core.sources import Source
    from ssl4rl_core.tasks import Task


def conformance(
    task: "type[Task]", *, source: "Source | None" = None, levels: Sequence[str] = ()
) -> Callable[..., None]:
    """A pytest function that runs the whole kit on a task, as one test a check: `test_conformance[determinism]`.

    The version check reads `digest.json` beside the test file, which `ssl4rl check NAME --record` writes.

    Args:
        task: the class.
        source: what to ask about; else generated data of the task's domain.
        levels: the levels to check; else all.
    """
    import pytest

    from ssl4rl_core.testing.checks import CHECKS, Check, Subject, run_check

    @functools.cache
    def subject(digests: Path) -> Subject:
        return Subject(task(), source, levels, digests)

    @pytest.mark.parametrize("check", CHECKS, ids=[check.name for check in CHECKS])
    def test_conformance(check: Check, request: Any) -> None:
        outcome = run_check(check, subject(request.path.with_name("digest.json")))
        if outcome.status == "failed":
            pytest.fail(f"{task.__name__}: {outcome}", pytrace=False)
        if outcome.status == "not run":
            pytest.skip(outcome.note)

    return test_conformance


__all__ = ["conformance"]
