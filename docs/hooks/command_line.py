"""Fills the command-line reference from the commands themselves, a plugin's too."""

import importlib
import re
from typing import TYPE_CHECKING, Any

import typer
from typer.cli import get_docs_for_click

from ssl4rl_core import registry
from ssl4rl_core.cli.app import COMMANDS, app

if TYPE_CHECKING:
    from mkdocs.structure.pages import Page

MARK = "<!-- commands -->"
# rich's marks for bold; on a page a command is code.
_BOLD = re.compile(r"\[bold\](.*?)\[/bold\]", re.DOTALL)
# Every command has a heading, which says more than typer's line of 45 characters.
_LISTING = re.compile(r"\*\*Commands\*\*:\n\n(?:\* .*\n)+")
_CODE = re.compile(r"(```.*?```|`[^`]*`)", re.DOTALL)


def on_page_markdown(markdown: str, *, page: "Page", config: Any, files: Any) -> str | None:
    """Put every command's help in the place of the mark."""
    return markdown.replace(MARK, commands()) if MARK in markdown else None


def commands() -> str:
    """The help of all commands as Markdown; subcommands stand one heading below theirs."""
    for command in COMMANDS:
        importlib.import_module(f"ssl4rl_core.cli.{command}_command")
    registry().add_commands(app)
    group = typer.main.get_command(app)
    text = get_docs_for_click(obj=group, ctx=typer.Context(group, info_name="ssl4rl"), name="ssl4rl")
    marked = _BOLD.sub(r"`\1`", _LISTING.sub("", text.partition("\n")[2]))
    # Outside of code, the brackets of NAME[:LEVEL][?param=value] would be a link.
    return "".join(
        part if _CODE.fullmatch(part) else part.replace("[", r"\[").replace("<", "&lt;") for part in _CODE.split(marked)
    )
