"""`ssl4rl plugins`: what was found, what it brings, and what failed to load."""

from typing import Any

from ssl4rl_core.cli.app import app
from ssl4rl_core.cli.tables import JsonOption, show
from ssl4rl_core.plugins import Registry, registry


@app.command("plugins")
def plugins(as_json: JsonOption = False) -> None:
    """List every plugin with what it provides, or the error that keeps it out.

    Example: [bold]ssl4rl plugins --json[/bold]
    """
    show(list_plugins(registry()), as_json=as_json)


def list_plugins(found: Registry) -> list[dict[str, Any]]:
    """Every plugin in a line: name, distribution, version, what it provides, its error or ""."""
    return [
        {
            "plugin": plugin.name,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "provides": plugin.provides,
            "error": plugin.error,
        }
        for plugin in found.plugins
    ]
