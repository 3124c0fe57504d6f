"""Fills the reference of recipes from the classes that validate them: a table a block."""

import re
import types
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from ssl4rl_core.training.recipe import Recipe, Settings

if TYPE_CHECKING:
    from mkdocs.structure.pages import Page

MARK = "<!-- recipe keys -->"


def on_page_markdown(markdown: str, *, page: "Page", config: Any, files: Any) -> str | None:
    """Put a table of each block's keys in the place of the mark."""
    return markdown.replace(MARK, "\n".join(_tables(Recipe, ""))) if MARK in markdown else None


def _tables(block: type[Settings], name: str) -> list[str]:
    """The table of a block, and after it those of the blocks inside it."""
    lines = [f"## {f'`{name}`' if name else 'The whole'}", "", _about(block), "", "| key | takes | |", "|---|---|---|"]
    inner: list[str] = []
    for key, field in block.model_fields.items():
        takes = ", ".join(filter(None, (_values(field.annotation), _default(field))))
        cells = (f"`{key}`", takes, _plain(field.description or ""))
        lines.append(f"| {' | '.join(cells)} |")
        within = _block(field.annotation)
        # A phase's tasks are the recipe's, and have a table already.
        if within is not None and not (name and key == "tasks") and not (name == "tasks" and key == "data"):
            inner += _tables(within, f"{name}.{key}" if name else key)
    return [*lines, "", *inner]


def _plain(text: str) -> str:
    """Text whose brackets and bars are only that."""
    return re.sub(r"([\[\]|])", r"\\\1", text).replace("<", "&lt;")


def _about(block: type[Settings]) -> str:
    return " ".join((block.__doc__ or "").split())


def _block(annotation: Any) -> type[Settings] | None:
    """The block that a key holds, one or a list of it."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return annotation
    return next((block for each in get_args(annotation) if (block := _block(each))), None)


def _values(annotation: Any) -> str:
    if _block(annotation) is not None:
        return "blocks" if get_origin(annotation) is list else "a block"
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if get_origin(annotation) is list:
        return f"a list: {_values(get_args(annotation)[0])}"
    if get_origin(annotation) in (Union, types.UnionType):
        return " or ".join(_values(each) for each in get_args(annotation) if each is not type(None))
    if get_origin(annotation) is dict:
        return "a block"
    return {int: "an integer", float: "a number", bool: "true or false", str: "text"}[annotation]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Settings) or value in (None, [], {}):
        return ""
    words = {True: "true", False: "false"}
    shown = ", ".join(value) if isinstance(value, list) else words[value] if isinstance(value, bool) else value
    return f"default `{shown}`"
