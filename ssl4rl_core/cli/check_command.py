"""`ssl4rl check`: whether a task keeps to what a task must keep to."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ssl4rl_core.cli.app import app
from ssl4rl_core.cli.tables import JsonOption, table_console, text_console
from ssl4rl_core.configs import whole_task
from ssl4rl_core.errors import UsageError
from ssl4rl_core.plugins import load_file, registry
from ssl4rl_core.testing.checks import CHECKS, Outcome, Subject, check_task, digest_file, record

_STYLES = {"passed": "green", "failed": "red", "not run": "yellow"}


@app.command("check")
def check_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The task, as 'ssl4rl tasks' lists it.")],
    plugin: Annotated[
        list[str] | None, typer.Option("--plugin", metavar="FILE.py", help="Load this unpackaged plugin first.")
    ] = None,
    source: Annotated[
        str, typer.Option("--source", metavar="KIND:WHERE", help="Ask about this instead of generated data.")
    ] = "",
    level: Annotated[
        list[str] | None, typer.Option("--level", help="Check this level; may be repeated. Default: all.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="CHECK", help="Make this check; may be repeated.")
    ] = None,
    record_digest: Annotated[
        bool, typer.Option("--record", help="Record what this version's samples are, in tests/digest.json.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check a task: determinism, purity, params, prompts, answers, chance, its verifier and more.

    Exit code 1 where a check fails. In a task's tests, ssl4rl_core.testing.conformance does the same.

    Example: [bold]ssl4rl check shade --plugin shade.py[/bold]
    """
    for path in plugin or ():
        load_file(path)
    found = registry()
    task = whole_task(name, found, "check", level_option=True)
    if unknown := set(only or ()) - {check.name for check in CHECKS}:
        raise UsageError(f"no check {min(unknown)!r}: there are {', '.join(check.name for check in CHECKS)}")
    asked = found.source(source) if source else None
    subject = Subject(task, asked, level or (), digest_file(type(task)))
    if record_digest:
        text_console().print(f"recorded in {_shown(record(subject))}")
        return
    checks = [check for check in CHECKS if not only or check.name in only]
    outcomes = []
    with Console(stderr=True).status("") as status:
        for number, check in enumerate(checks, start=1):
            status.update(f"{number} of {len(checks)}: {check.about}")
            outcomes += check_task(subject, [check])
    if as_json:
        print(json.dumps([dataclasses.asdict(outcome) for outcome in outcomes], indent=2, ensure_ascii=False))
    else:
        _show(outcomes)
    if any(outcome.status == "failed" for outcome in outcomes):
        raise typer.Exit(1)


def _show(outcomes: list[Outcome]) -> None:
    console = table_console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("check", "", "what it is about"):
        table.add_column(column, overflow="fold")
    for outcome in outcomes:
        style = _STYLES[outcome.status]
        note = f"\n({outcome.note})" if outcome.note else ""
        table.add_row(outcome.check, Text(outcome.status, style), outcome.about + note)
    console.print(table)
    for outcome in outcomes:
        for fault in outcome.faults:
            console.print()
            console.print(outcome.check, style="bold red")
            console.print(str(fault), soft_wrap=True)


def _shown(path: Path) -> str:
    """The path as it is seen from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
