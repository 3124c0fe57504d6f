"""Tables for people, JSON for machines."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

_UNCUT = 10_000

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def show(rows: Sequence[Mapping[str, Any]], *, as_json: bool, title: str = "", empty: str = "none") -> None:
    """Print rows that all have the same keys, as a table or as a JSON list."""
    if as_json:
        print(json.dumps(list(rows), indent=2, ensure_ascii=False))
        return
    console = table_console()
    if not rows:
        console.print(empty)
        return
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in rows[0]:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    console.print(table)


def text_console(*, stderr: bool = False) -> Console:
    """A console that prints text as it is, in lines as long as they are: no bracket is markup, and `:key:` no emoji."""
    return Console(stderr=stderr, soft_wrap=True, highlight=False, markup=False, emoji=False)


def table_console() -> Console:
    """A console that folds nothing in a pipe, where whoever reads looks for whole lines."""
    piped = not Console().is_terminal and "COLUMNS" not in os.environ
    return Console(width=_UNCUT if piped else None, highlight=False, markup=False, emoji=False)


def chance_text(chance: float | None) -> str:
    """A chance level in percent; where the data decides it, each sample states its own."""
    return "by sample" if chance is None else f"{100 * chance:.3g} %"


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else ", ".join(value) if isinstance(value, list) else str(value)
