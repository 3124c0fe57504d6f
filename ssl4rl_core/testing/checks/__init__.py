"""The conformance kit: what a task must keep to, check by check, each with a fault that says where to look.

`check_task` runs all of them; `ssl4rl check` prints what it finds, and `ssl4rl_core.testing.conformance` makes a test
of each.
"""

import time
from collections.abc import Iterable, Iterator

from ssl4rl_core.errors import one_line
from ssl4rl_core.testing.checks.answers import answers, hint, records, verification
from ssl4rl_core.testing.checks.contract import docs, levels, params, prompt, skips, speed, view
from ssl4rl_core.testing.checks.digests import digest_file, record, version
from ssl4rl_core.testing.checks.guesses import chance, hardening
from ssl4rl_core.testing.checks.outcome import CannotRender, Check, Fault, NotRun, Outcome
from ssl4rl_core.testing.checks.repeats import determinism, purity
from ssl4rl_core.testing.checks.subject import Subject

CHECKS: tuple[Check, ...] = tuple(
    Check(run.__name__, (run.__doc__ or "").rstrip("."), run)
    for run in (
        *(docs, params, levels, prompt, answers, hint, records, verification),
        *(determinism, purity, view, chance, hardening, skips, version, speed),
    )
)
"""In the order in which they are run: where there are no samples, the check that says why comes early."""


def check_task(subject: Subject, checks: Iterable[Check] = CHECKS) -> Iterator[Outcome]:
    """Run the checks one after another; whatever the task's own code raises is a fault of it."""
    for check in checks:
        yield run_check(check, subject)


def run_check(check: Check, subject: Subject) -> Outcome:
    """Run one check."""
    started = time.perf_counter()
    faults: list[Fault] = []
    notes: list[str] = []
    status = "passed"
    try:
        for found in check.run(subject):
            if isinstance(found, Fault):
                faults.append(found)
            else:
                notes.append(found)
    except NotRun as reason:
        status, notes = "not run", [str(reason)]
    except CannotRender as error:
        if error.check == check.name:
            faults.append(error.fault)
        else:
            status, notes = "not run", [str(error)]
    except Exception as error:
        came = f"{type(error).__name__}: {one_line(error)}"
        faults.append(Fault("no exception of the task's own code", came, subject.where()))
    seconds = time.perf_counter() - started
    return Outcome(check.name, check.about, "failed" if faults else status, "; ".join(notes), tuple(faults), seconds)


__all__ = [
    "CHECKS",
    "Check",
    "Fault",
    "Outcome",
    "Subject",
    "check_task",
    "digest_file",
    "record",
    "run_check",
]
