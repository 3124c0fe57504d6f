"""`ssl4rl formats`: how a model can be asked to answer."""

from typing import Any

from ssl4rl_core.answers import Angle
from ssl4rl_core.cli.app import app
from ssl4rl_core.cli.tables import JsonOption, show
from ssl4rl_core.plugins import Registry, registry


@app.command("formats")
def formats(as_json: JsonOption = False) -> None:
    """List the response formats, with what each asks for and a completion that obeys it.

    Example: [bold]ssl4rl formats --json[/bold]
    """
    show(list_formats(registry()), as_json=as_json)


def list_formats(found: Registry) -> list[dict[str, Any]]:
    """Every format in a line: name, its instruction and a right completion for a question about an angle."""
    answer = Angle(90, step=90)
    return [
        {
            "name": name,
            "asks": response_format.instruction(answer.hint()),
            "completion": response_format.wrap(answer.text(), "The sky is on the left."),
        }
        for name, response_format in sorted(found.formats.items())
    ]
