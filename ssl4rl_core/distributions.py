"""The installed distributions that bring plugins, and those that are named as one and bring none."""

import contextlib
import importlib.metadata
import os
from importlib.metadata import Distribution, EntryPoint

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ssl4rl_core.hookspecs import GROUP

CORE = "ssl4rl-core"
PREFIX = "ssl4rl-task-"
"""What the name of a task's distribution begins with."""
ONLY_VARIABLE = "SSL4RL_PLUGINS"


def chosen_entry_points() -> list[EntryPoint]:
    """The entry points to load, built-in ones first: all of the group, or those that `SSL4RL_PLUGINS` names."""
    only = chosen_names()
    entry_points = sorted(importlib.metadata.entry_points(group=GROUP), key=_built_in_first)
    return [each for each in entry_points if not only or distribution_of(each) in only | {CORE}]


def chosen_names() -> set[str]:
    """The distributions that `SSL4RL_PLUGINS` names; none where it chooses nothing."""
    return {normal(name) for name in os.environ.get(ONLY_VARIABLE, "").split(",") if name.strip()}


def expected() -> dict[str, Distribution | None]:
    """The distributions that somebody expects to be a plugin, None for one that is not installed.

    They are those that `SSL4RL_PLUGINS` names; where it names none, all that are named as a task's, for which the
    metadata of everything that is installed is read.
    """
    if only := chosen_names():
        return {name: installed(name) for name in only}
    found: dict[str, Distribution | None] = {}
    for distribution in importlib.metadata.distributions():
        name = normal(field_of(distribution, "Name"))
        if name.startswith(PREFIX):
            found.setdefault(name, distribution)  # the first on sys.path is the one that is used
    return found


def installed(name: str) -> Distribution | None:
    """The installed distribution of this name."""
    try:
        return importlib.metadata.distribution(name)
    except (importlib.metadata.PackageNotFoundError, ValueError):  # ValueError: no name at all
        return None


def why_left_out(distribution: Distribution) -> str:
    """Why an installed distribution is no plugin here, and what mends it; "" where it is one."""
    name, only = normal(field_of(distribution, "Name")), chosen_names()
    entry_points = distribution.entry_points
    if entry_points.select(group=GROUP):
        return f"{ONLY_VARIABLE} leaves it out" if only and name not in only | {CORE} else ""
    modules = [each.module for each in entry_points if each.group.startswith(GROUP)]
    line = f'{name.removeprefix(PREFIX)} = "{modules[0] if modules else name.replace("-", "_")}"'
    others = f", only in {', '.join(sorted(entry_points.groups))}" if entry_points else ""
    return (
        f"it has no entry point in the group {GROUP}{others}: write {line} under "
        f"[project.entry-points.{GROUP}] in its pyproject.toml, and install it again"
    )


def requirements(distribution: Distribution) -> list[Requirement]:
    """What a distribution asks for on this machine, without its extras; a line that cannot be read is passed over."""
    found = []
    for line in distribution.requires or ():
        with contextlib.suppress(InvalidRequirement):
            found.append(Requirement(line))
    return [each for each in found if each.marker is None or each.marker.evaluate({"extra": ""})]


def distribution_of(entry_point: EntryPoint) -> str:
    """The name of the distribution that an entry point belongs to."""
    return normal(field_of(entry_point.dist, "Name"))


def field_of(distribution: Distribution | None, field: str) -> str:
    """A field of the distribution's metadata; "?" where an installation is so broken that none can be read."""
    try:
        values = distribution.metadata.get_all(field) if distribution else None
    except UnicodeDecodeError:  # written by an old tool, in the encoding of its day
        return "?"
    return values[0] if values else "?"


def normal(name: str) -> str:
    """A distribution's name as package indexes compare it: "My_Plugin" is "my-plugin"."""
    return canonicalize_name(name.strip())


def _built_in_first(entry_point: EntryPoint) -> tuple[bool, str, str]:
    name = distribution_of(entry_point)
    return name != CORE, name, entry_point.name
