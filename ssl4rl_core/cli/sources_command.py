"""`ssl4rl sources`: where pictures and graphs can come from, and what one source holds."""

import inspect
from typing import Annotated, Any

import typer

from ssl4rl_core.cli.app import app
from ssl4rl_core.cli.tables import JsonOption, show, text_console
from ssl4rl_core.plugins import Registry, registry
from ssl4rl_core.sources import Source, Splitter


@app.command("sources")
def sources(
    spec: Annotated[
        str, typer.Argument(metavar="[SPEC]", help="Describe this source, or a kind of source: folder:photos, folder.")
    ] = "",
    test_fraction: Annotated[
        float, typer.Option("--test-fraction", min=0, max=1, help="Part of the groups that is held out.")
    ] = 0.1,
    as_json: JsonOption = False,
) -> None:
    """List the kinds of sources, or what one source holds: [bold]ssl4rl sources folder:photos[/bold]"""
    found = registry()
    if not spec:
        show(list_sources(found), as_json=as_json)
    elif spec in found.sources and not as_json:
        text_console().print(inspect.getdoc(found.sources[spec]) or "")
    else:
        lines = describe_source(found.source(spec), Splitter(test_fraction))
        if not as_json:
            lines = [{**line, "fingerprint": line["fingerprint"][:16]} for line in lines]
        show(lines, as_json=as_json)


def list_sources(found: Registry) -> list[dict[str, Any]]:
    """Every kind of source in a line: scheme, an example, kinds of items, first line of its docstring, plugin."""
    return [
        {
            "scheme": scheme,
            "example": source.example,
            "items": list(source.kinds),
            "reads": (inspect.getdoc(source) or "").partition("\n")[0],
            "plugin": found.origin("source", scheme),
        }
        for scheme, source in sorted(found.sources.items())
    ]


def describe_source(source: Source, splitter: Splitter) -> list[dict[str, Any]]:
    """A line for each kind of item: how many there are, in all and in each split, fingerprint and license."""
    fingerprint = source.fingerprint()
    lines = []
    for kind in source.kinds:
        index = source.index(kind)
        test = sum(splitter(entry) == "test" for entry in index)
        lines.append(
            {
                "source": source.name,
                "kind": kind,
                "items": len(index),
                "train": len(index) - test,
                "test": test,
                "license": source.license or "unknown",
                "fingerprint": fingerprint,
            }
        )
    return lines
