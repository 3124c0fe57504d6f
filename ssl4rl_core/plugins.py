"""Finding, loading and isolating plugins; the registry of what they bring.

Every plugin is loaded in its own `try` with a plugin manager of its own, so that one that fails is listed with its
error and stops nothing else. Built-in formats and sources come through the same entry points as anybody's.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pluggy
from pydantic import ValidationError

from ssl4rl_core import hookspecs
from ssl4rl_core.configs import is_close, query_values, suggestion
from ssl4rl_core.distributions import (
    CORE,
    ONLY_VARIABLE,
    PREFIX,
    chosen_entry_points,
    chosen_names,
    distribution_of,
    expected,
    field_of,
    installed,
    normal,
    requirements,
    why_left_out,
)
from ssl4rl_core.errors import Ssl4rlError, UsageError, one_line
from ssl4rl_core.exporters import Exporter
from ssl4rl_core.formats import ResponseFormat
from ssl4rl_core.hookspecs import GROUP
from ssl4rl_core.plugin_faults import check_hooks, params_problem
from ssl4rl_core.sources import Source
from ssl4rl_core.tasks import Task

T = TypeVar("T")
HERE = "(registered here)"
"""The distribution of tasks that `register` made known in this process, and in no other."""


@dataclass
class Plugin:
    """A plugin as it was found, what it brought, and why it was left out where it was."""

    name: str
    distribution: str
    version: str
    provides: list[str] = field(default_factory=list)
    error: str = ""


class Registry:
    """All tasks, sources, formats and exporters at hand, by name, and the plugins that brought them."""

    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}
        self.sources: dict[str, type[Source]] = {}
        self.formats: dict[str, ResponseFormat] = {}
        self.exporters: dict[str, Exporter] = {}
        self.plugins: list[Plugin] = []
        self.files: list[str] = []
        """Unpackaged plugins, as given to `load_file`; worker processes load them again."""
        self._commands: list[tuple[Plugin, pluggy.PluginManager]] = []
        self._origin: dict[tuple[str, str], str] = {}
        self._known: dict[str, dict[str, Any]] = {
            "task": self.tasks,
            "source": self.sources,
            "format": self.formats,
            "exporter": self.exporters,
        }

    def task(self, name: str) -> Task:
        """The task of this name.

        Raises:
            UsageError: there is none; the message says how to get it, or why its plugin failed to load.
        """
        if name not in self.tasks:
            if why := self.why_missing(name):
                raise UsageError(f"no task {name!r}: {why}")
            if name.startswith(PREFIX):
                raise UsageError(f"no task {name!r}: a task is named without {PREFIX}, {name.removeprefix(PREFIX)!r}")
        hint = f"; pip install {PREFIX}{name} may bring it, and 'ssl4rl plugins' shows what failed to load"
        # A misspelt name is nothing to install: anybody may own that name on a package index.
        return _find(self.tasks, "task", name, "" if is_close(name, self.tasks) else hint)

    def why_missing(self, task: str) -> str:
        """Why a task that is installed is not at hand, and what mends it; "" where nothing of its name is installed."""
        for plugin in self.plugins:
            if plugin.error and task in (plugin.name, plugin.distribution.removeprefix(PREFIX)):
                return f"plugin {plugin.distribution} failed to load: {plugin.error}"
        distribution = installed(PREFIX + task)
        why = why_left_out(distribution) if distribution else ""
        return f"{PREFIX}{task} is installed and not loaded: {why}" if why else ""

    def format(self, name: str) -> ResponseFormat:
        """The response format of this name, or UsageError."""
        return _find(self.formats, "format", name)

    def exporter(self, name: str) -> Exporter:
        """The exporter of this name, or UsageError."""
        return _find(self.exporters, "exporter", name)

    def source(self, spec: str) -> Source:
        """Open the source that `kind:where?option=value` names, or UsageError."""
        scheme, colon, rest = spec.partition(":")
        if not colon:
            raise UsageError(f"{spec!r} is not a source: write kind:where, for example folder:{spec or 'photos'}")
        where = rest.partition("?")[0]
        return _find(self.sources, "source", scheme).open(where, **query_values(spec))

    def load(self, entry_point: importlib.metadata.EntryPoint) -> Plugin:
        """Import a plugin and take in what it brings; a failure is kept in its `error`."""
        plugin = found_plugin(entry_point)
        try:
            with _guarded():
                if entry_point.dist:
                    _check_core_version(entry_point.dist)
                module = entry_point.load()
        except _PluginFailure as failure:
            plugin.error = str(failure)
            self.plugins.append(plugin)
        else:
            self.add_module(module, plugin)
        return plugin

    def add_module(self, module: ModuleType | object, plugin: Plugin) -> None:
        """Take in what a module's hooks bring, all of it or nothing; a failure is kept in `plugin.error`."""
        self.plugins.append(plugin)
        manager = pluggy.PluginManager(GROUP)
        try:
            with _guarded():
                manager.register(module)
                check_hooks(manager, module)
                manager.add_hookspecs(hookspecs)
                for task in _brought(manager, module, "ssl4rl_tasks"):
                    self.add_task(task, plugin)
                for source in _brought(manager, module, "ssl4rl_sources"):
                    _check_class(source, Source, "ssl4rl_sources")
                    self._add("source", source.scheme, source, plugin)
                for response_format in _brought(manager, module, "ssl4rl_formats"):
                    _check_class(response_format, ResponseFormat, "ssl4rl_formats")
                    self._add("format", response_format.name, response_format(), plugin)
                for exporter in _brought(manager, module, "ssl4rl_exporters"):
                    _check_class(exporter, Exporter, "ssl4rl_exporters")
                    self._add("exporter", exporter.name, exporter(), plugin)
        except _PluginFailure as failure:
            plugin.error = str(failure)
            self._forget(plugin)
        self._commands.append((plugin, manager))

    def add_task(self, task: type[Task], plugin: Plugin) -> None:
        """Register one task class, or raise Ssl4rlError with what is wrong with it."""
        _check_class(task, Task, "ssl4rl_tasks")
        if problems := task.problems():
            raise Ssl4rlError(f"{task.__name__}: " + "; ".join(problems))
        if plugin.distribution == HERE == self.origin("task", task.name):  # a notebook's cell was run again
            del self.tasks[task.name]
        self._add("task", task.name, task(), plugin)

    def add_commands(self, app: Any) -> None:
        """Let plugins add their commands to the command line, a `typer.Typer`; each plugin is asked once."""
        while self._commands:
            plugin, manager = self._commands.pop(0)
            if plugin.error:
                continue
            try:
                with _guarded():
                    _add_commands(app, manager, plugin)
            except _PluginFailure as failure:
                plugin.error = str(failure)

    def _add(self, what: str, name: str, value: object, plugin: Plugin) -> None:
        if name in self._known[what]:
            raise Ssl4rlError(f"{what} {name!r} is already registered by {self._origin[what, name]}")
        self._known[what][name] = value
        self._origin[what, name] = plugin.distribution
        plugin.provides.append(f"{what} {name}")

    def _forget(self, plugin: Plugin) -> None:
        """Take back what a plugin brought before it failed: half a plugin is worse than none."""
        for provided in plugin.provides:
            what, _, name = provided.partition(" ")
            del self._known[what][name], self._origin[what, name]
        plugin.provides.clear()

    def origin(self, what: str, name: str) -> str:
        """The distribution that brought e.g. ("task", "rotation")."""
        return self._origin.get((what, name), "")


@functools.cache
def registry() -> Registry:
    """The registry of this process, filled from installed plugins at the first call."""
    found = Registry()
    for entry_point in chosen_entry_points():
        found.load(entry_point)
    if chosen_names():
        found.plugins += left_out(found.plugins)
    return found


def left_out(found: Iterable[Plugin]) -> list[Plugin]:
    """The distributions that are expected to be a plugin and are not among those found, each with the reason.

    They are those that `SSL4RL_PLUGINS` names, or, where it names none, those that are named as a task's and have no
    entry point in the group.
    """
    there = {plugin.distribution for plugin in found}
    plugins = []
    for name, distribution in sorted(expected().items()):
        if name in there:
            continue
        version = field_of(distribution, "Version") if distribution else "-"
        why = why_left_out(distribution) if distribution else f"{ONLY_VARIABLE} names it, and it is not installed"
        if why:
            plugins.append(Plugin(name, name, version, error=why))
    return plugins


def found_plugin(entry_point: importlib.metadata.EntryPoint) -> Plugin:
    """The plugin behind an entry point, not loaded."""
    return Plugin(entry_point.name, distribution_of(entry_point), field_of(entry_point.dist, "Version"))


def register(task: type[Task]) -> None:
    """Make a task class known in this process, as a notebook would; registered again, it takes the place of the last.

    Raises:
        Ssl4rlError: the class is no task, or its name is an installed task's.
    """
    registry().add_task(task, Plugin(task.__module__, HERE, "-"))


def load_file(path: str | Path) -> None:
    """Load an unpackaged plugin, a single Python file.

    Raises:
        UsageError: there is no such file, or it fails to load.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"no plugin file {path}")
    if str(path.absolute()) in registry().files:
        return
    name = f"ssl4rl_file_{path.stem}_{hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"plugin {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    plugin = Plugin(path.stem, str(path), "-")
    try:
        with _guarded():
            spec.loader.exec_module(module)
        registry().add_module(module, plugin)
    except _PluginFailure as failure:
        plugin.error = str(failure)
    if plugin.error:
        raise UsageError(f"plugin {path}: {plugin.error}")
    registry().files.append(str(path.absolute()))


class _PluginFailure(Exception):
    pass


@contextlib.contextmanager
def _guarded() -> Iterator[None]:
    """Foreign code: whatever it raises becomes a message, and what it prints does not spoil our output."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except Ssl4rlError as error:
        raise _PluginFailure(str(error)) from error
    except ValidationError as error:
        raise _PluginFailure(params_problem(error)) from error
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # SystemExit, and the panic of an extension in Rust, are no Exception
        raise _PluginFailure(f"{type(error).__name__}: {one_line(error)}") from error


def _check_core_version(distribution: importlib.metadata.Distribution) -> None:
    installed = importlib.metadata.version(CORE)
    for wanted in requirements(distribution):
        if normal(wanted.name) == CORE and not wanted.specifier.contains(installed, prereleases=True):
            raise Ssl4rlError(f"it needs {CORE}{wanted.specifier}, and {installed} is installed: pip install -U {CORE}")


def _check_class(value: object, wanted: type, hook: str) -> None:
    if not (isinstance(value, type) and issubclass(value, wanted)):
        raise Ssl4rlError(f"{hook} must return {wanted.__name__} classes, got {value!r}")


def _add_commands(app: Any, manager: pluggy.PluginManager, plugin: Plugin) -> None:
    """Take over a plugin's commands once Typer has built them: one that it cannot build would stop all others."""
    import typer

    own = typer.Typer()
    manager.hook.ssl4rl_commands(app=own)
    if not own.registered_commands and not own.registered_groups:
        return
    names, taken = (set(typer.main.get_group(each).commands) for each in (own, app))
    if clash := names & taken:
        raise Ssl4rlError(f"command {min(clash)!r} is there already")
    app.registered_commands += own.registered_commands
    app.registered_groups += own.registered_groups
    plugin.provides += [f"command {name}" for name in sorted(names)]


def _brought(manager: pluggy.PluginManager, module: ModuleType | object, hook: str) -> list[Any]:
    """What a module's hook returned; nothing where it has no such hook."""
    if hook not in {caller.name for caller in manager.get_hookcallers(module) or ()}:
        return []
    results = getattr(manager.hook, hook)()
    # pluggy leaves None out.
    if not results or not all(isinstance(result, (list, tuple)) for result in results):
        raise Ssl4rlError(f"{hook} must return a list")
    return [value for result in results for value in result]


def _find(known: dict[str, T], what: str, name: str, hint: str = "") -> T:
    try:
        return known[name]
    except KeyError:
        raise UsageError(f"no {what} {name!r}{suggestion(name, known)}{hint}") from None
