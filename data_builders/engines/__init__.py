"""Engines carry out the units of a plan; which one did leaves no trace in the output."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from data_builders.plan import Plan
from data_builders.units import Worker
from ssl4rl_core.configs import TaskConfig
from ssl4rl_core.plugins import load_file, registry
from ssl4rl_core.sources import Source


class Progress(NamedTuple):
    """How far this run of a build is; units that an earlier run finished do not count."""

    items: int
    of_items: int
    samples: int


Report = Callable[[Progress], None]


@dataclass(frozen=True)
class Job:
    """A build in words that another process understands, which finds the tasks itself."""

    plan: Plan
    out: Path
    source: str | bytes
    """An open source, pickled, to be read once the plugins are loaded; or a spec, where it does not pickle."""
    plugin_files: tuple[str, ...] = ()

    def worker(self) -> Worker:
        """A worker in this process."""
        for path in self.plugin_files:
            load_file(path)
        # Not data: bytes that the parent process made of its own object a moment ago.
        source: Source = registry().source(self.source) if isinstance(self.source, str) else pickle.loads(self.source)
        return Worker(self.plan, self.out, source, [_config(described) for described in self.plan.configs])


def _config(described: dict[str, Any]) -> TaskConfig:
    task = registry().task(described["task"])
    return TaskConfig(task, described["level"], task.params_type.model_validate(described["params"]))
