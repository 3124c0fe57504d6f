"""`ssl4rl plugins`: what was found, what it brings, and what failed to load."""

from typing import Annotated, Any

import typer
from rich.console import Console

from ssl4rl_core.cli.app import app
from ssl4rl_core.cli.tables import JsonOption, show
from ssl4rl_core.plugin_probe import LIMIT, probe_plugins
from ssl4rl_core.plugins import Plugin, Registry, left_out, registry


@app.command("plugins")
def plugins(
    probe: Annotated[
        bool, typer.Option("--probe", help="Load each in a process of its own: names one that hangs or is slow.")
    ] = False,
    limit: Annotated[
        float, typer.Option("--limit", min=0.1, help="With --probe: seconds that one may take to load.")
    ] = LIMIT,
    as_json: JsonOption = False,
) -> None:
    """List every plugin with what it provides, or the error that keeps it out.

    A distribution ssl4rl-task-NAME that has no entry point in the group ssl4rl is listed too.

    SSL4RL_PLUGINS=NAME,NAME loads only these distributions.

    Example: [bold]ssl4rl plugins --probe[/bold]
    """
    if not probe:
        found = registry()
        found.add_commands(app)
        show(list_plugins(found), as_json=as_json)
        return
    lines, found = [], []
    with Console(stderr=True).status("loading plugins, each in a process of its own") as status:
        for probed in probe_plugins(limit):
            found.append(probed.plugin)
            lines.append({**_line(probed.plugin), "seconds": round(probed.seconds, 3), "slow": probed.slow})
            status.update(f"{len(lines)} plugins loaded, each in a process of its own")
    lines += [{**_line(plugin), "seconds": 0.0, "slow": False} for plugin in left_out(found)]
    show(lines, as_json=as_json)


def list_plugins(found: Registry) -> list[dict[str, Any]]:
    """Every plugin in a line, one that is left out too: name, distribution, version, what it provides, error or ""."""
    return [_line(plugin) for plugin in (*found.plugins, *left_out(found.plugins))]


def _line(plugin: Plugin) -> dict[str, Any]:
    return {
        "plugin": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "provides": plugin.provides,
        "error": plugin.error,
    }
