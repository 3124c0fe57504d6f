"""The hooks a plugin may implement, and nothing else. Entry-point group: `ssl4rl`."""

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import typer

    from ssl4rl_core.exporters import Exporter
    from ssl4rl_core.formats import ResponseFormat
    from ssl4rl_core.sources import Source
    from ssl4rl_core.tasks import Task

GROUP = "ssl4rl"
"""The entry-point group, and what pluggy's marks carry."""

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def ssl4rl_tasks() -> "list[type[Task]]":  # pyright: ignore[reportReturnType]
    """Task classes to register."""


@hookspec
def ssl4rl_sources() -> "list[type[Source]]":  # pyright: ignore[reportReturnType]
    """Source classes to register, each under its `scheme`."""


@hookspec
def ssl4rl_formats() -> "list[type[ResponseFormat]]":  # pyright: ignore[reportReturnType]
    """Response formats to register."""


@hookspec
def ssl4rl_exporters() -> "list[type[Exporter]]":  # pyright: ignore[reportReturnType]
    """Exporter classes to register, each under its `name`."""


@hookspec
def ssl4rl_commands(app: "typer.Typer") -> None:
    """Add commands to the `ssl4rl` command line."""
