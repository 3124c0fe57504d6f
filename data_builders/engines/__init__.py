"""Engines carry out the units of a plan; which one did leaves no trace in the output."""

import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from data_builders.output import Output
from data_builders.plan import Plan
from data_builders.units import Worker
from ssl4rl_core.configs import TaskConfig
from ssl4rl_core.errors import Ssl4rlError
from ssl4rl_core.plugins import load_file, registry
from ssl4rl_core.sources import Source

TRIES = 3
"""How many workers may die over one unit before the build ends."""
# Libraries that start threads of their own would start that many in every process.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")


class Progress(NamedTuple):
    """How far this run of a build is; units that an earlier run finished do not count."""

    items: int
    of_items: int
    samples: int


Report = Callable[[Progress], None]


def _settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("SSL4RL_")}


@dataclass(frozen=True)
class Job:
    """A build in words that another process understands, which finds the tasks itself."""

    plan: Plan
    output: Output
    source: bytes
    """The open source, pickled, to be read once the plugins are loaded; empty where it does not pickle."""
    spec: str
    """What the source was opened from; empty where it was opened by the caller."""
    plugin_files: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=_settings)
    """Our environment variables, for processes that do not inherit them."""

    def worker(self) -> Worker:
        """A worker in this process.

        Raises:
            Ssl4rlError: the source or a plugin cannot be opened here, or is another one here.
        """
        os.environ.update(self.settings)
        for variable in _THREADS:
            os.environ.setdefault(variable, "1")
        for path in self.plugin_files:
            load_file(path)
        return Worker(self.plan, self.output, self._open(), [_config(described) for described in self.plan.configs])

    def _open(self) -> Source:
        try:
            if self.source:
                # Not data: bytes that the parent process made of its own object a moment ago.
                return pickle.loads(self.source)
        except Ssl4rlError:
            # Its index lies in the cache of another machine.
            if not self.spec:
                raise
        source = registry().source(self.spec)
        if source.fingerprint() != self.plan.fingerprint:
            raise Ssl4rlError(f"source {source.name} holds other items here than where the build was planned")
        return source


def _config(described: dict[str, Any]) -> TaskConfig:
    task = registry().task(described["task"])
    return TaskConfig(task, described["level"], task.params_type.model_validate(described["params"]))
