"""Loading each plugin in a process of its own, with a time limit: what hangs, crashes or takes seconds gets a name."""

import contextlib
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ssl4rl_core.distributions import chosen_entry_points
from ssl4rl_core.hookspecs import GROUP
from ssl4rl_core.plugins import Plugin, Registry, found_plugin

LIMIT = 20.0
"""Seconds that a plugin may take to load before it counts as hanging."""
SLOW = 1.0
"""Seconds above which a plugin is slow: every command waits for it."""


@dataclass(frozen=True)
class Probed:
    """A plugin as it loads when it is alone, and the seconds that took, those of Python and core left out."""

    plugin: Plugin
    seconds: float

    @property
    def slow(self) -> bool:
        """Whether every command is noticeably slower for it."""
        return self.seconds > SLOW


def probe_plugins(limit: float = LIMIT) -> Iterator[Probed]:
    """Load the plugins that `SSL4RL_PLUGINS` lets through one after another, each in a new process.

    Nothing of them is loaded in this one. A plugin that is not done after `limit` seconds is killed, with all processes
    that it has started, and its error says so.
    """
    for entry_point in chosen_entry_points():
        yield _probe(found_plugin(entry_point), limit)


def _probe(plugin: Plugin, limit: float) -> Probed:
    with tempfile.TemporaryDirectory() as folder:
        result, said = Path(folder) / "result.json", Path(folder) / "stderr"
        # A file, since a pipe would stay open for as long as any process that the plugin has started.
        with said.open("wb") as errors:
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, plugin.distribution, plugin.name, str(result)],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
        try:
            child.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            plugin.error = f"still loading after {limit:g} seconds: it hangs, or does at import what belongs in a task"
            return Probed(plugin, limit)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        if not result.is_file():
            last = said.read_bytes().decode(errors="replace").strip().rpartition("\n")[2]
            plugin.error = f"it ended the process with exit code {child.returncode}: {last or 'it said nothing'}"
            return Probed(plugin, 0.0)
        found = json.loads(result.read_text(encoding="utf-8"))
    plugin.provides, plugin.error = found["provides"], found["error"]
    return Probed(plugin, found["seconds"])


def _load_alone(distribution: str, name: str) -> dict[str, object]:
    named = importlib.metadata.entry_points(group=GROUP, name=name)
    entry_point = next(each for each in named if found_plugin(each).distribution == distribution)
    started = time.perf_counter()
    plugin = Registry().load(entry_point)
    return {"seconds": time.perf_counter() - started, "provides": plugin.provides, "error": plugin.error}


if __name__ == "__main__":
    distribution, name, result = sys.argv[1:]
    found = _load_alone(distribution, name)
    Path(result).write_text(json.dumps(found), encoding="utf-8")
    # Threads and exit handlers of the plugin are not waited for.
    os._exit(0)
