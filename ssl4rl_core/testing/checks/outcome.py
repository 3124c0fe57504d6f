"""What a check says: a fault with what was expected, what came and where to look, and the outcome as a whole."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from ssl4rl_core.testing.checks.subject import Subject


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a task."""

    expected: str
    came: str
    where: str

    def __str__(self) -> str:
        return f"expected: {self.expected}\n    came: {self.came}\n   where: {self.where}"


class NotRun(Exception):
    """The check cannot be made here; the message says why, and what would make it possible."""


class CannotRender(Exception):
    """No sample can be had of the task, so that checks of samples cannot run; one check reports the fault."""

    def __init__(self, check: str, fault: Fault) -> None:
        super().__init__(f"no samples to look at: see '{check}'")
        self.check, self.fault = check, fault


class Check(NamedTuple):
    """A named check: `run` yields the faults it finds, and may yield a note, a string, on what it measured."""

    name: str
    about: str
    run: "Callable[[Subject], Iterator[Fault | str]]"


@dataclass(frozen=True)
class Outcome:
    """What a check found."""

    check: str
    about: str
    status: Literal["passed", "failed", "not run"]
    note: str = ""
    faults: tuple[Fault, ...] = ()
    seconds: float = 0.0

    def __str__(self) -> str:
        return "\n\n".join([f"{self.check}: {self.about}", *map(str, self.faults)])
