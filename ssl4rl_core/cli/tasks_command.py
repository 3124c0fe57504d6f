"""`ssl4rl tasks`: what can be asked, and at which levels."""

import inspect
import json
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python
from rich.console import Console

from ssl4rl_core.cli.app import app
from ssl4rl_core.cli.tables import JsonOption, chance_text, show, text_console
from ssl4rl_core.configs import param_text, whole_task
from ssl4rl_core.plugins import Registry, registry
from ssl4rl_core.tasks import Task


@app.command("tasks")
def tasks(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Show this task's params and levels.")] = "",
    as_json: JsonOption = False,
) -> None:
    """List the tasks at hand, or one task's params and levels.

    Example: [bold]ssl4rl tasks rotation[/bold]
    """
    found = registry()
    if name:
        _show_task(describe_task(found, name), as_json)
        return
    show(list_tasks(found), as_json=as_json, empty="no tasks: pip install ssl4rl-task-rotation brings one")
    broken = [plugin.distribution for plugin in found.plugins if plugin.error]
    if broken:
        note = f"left out, see 'ssl4rl plugins': {', '.join(broken)}"
        text_console(stderr=True).print(note, style="yellow")


def list_tasks(found: Registry) -> list[dict[str, Any]]:
    """Every task in a line: name, version, domain, levels, first line of its docstring, plugin."""
    return [
        {
            "name": task.name,
            "version": task.version,
            "domain": task.domain,
            "levels": list(task.levels),
            "question": _first_line(task),
            "plugin": found.origin("task", task.name),
        }
        for _, task in sorted(found.tasks.items())
    ]


def describe_task(found: Registry, name: str) -> dict[str, Any]:
    """One task whole, as JSON values: its params with type, range, default and description, and its levels with chance.

    Raises:
        UsageError: there is no such task, or a level of one is named.
    """
    task = whole_task(name, found, "tasks")
    line = next(line for line in list_tasks(found) if line["name"] == name)
    params = [
        {
            "param": param,
            "values": _values(info),
            "default": _default(info),
            "description": info.description or "",
        }
        for param, info in task.params_type.model_fields.items()
    ]
    levels = {
        level: {"chance": task.chance(params), "params": params.model_dump(mode="json")}
        for level, params in task.levels.items()
    }
    return {**line, "about": inspect.getdoc(type(task)) or "", "params": params, "levels": levels}


def _show_task(task: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(task, indent=2, ensure_ascii=False))
        return
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(f"{task['name']} {task['version']} ({task['domain']}), from {task['plugin']}", style="bold")
    console.print(task["about"])
    console.print()
    show(
        [{**param, "default": param_text(param["default"])} for param in task["params"]],
        as_json=False,
        empty="no params",
    )
    console.print()
    show(
        [
            {
                "level": level,
                "chance": chance_text(described["chance"]),
                **{param: param_text(value) for param, value in described["params"].items()},
            }
            for level, described in task["levels"].items()
        ],
        as_json=False,
    )


def _default(info: FieldInfo) -> Any:
    """A param's default as a JSON value: "required" where it has none, as `ssl4rl check` will say."""
    return "required" if info.is_required() else to_jsonable_python(info.get_default(call_default_factory=True))


def _first_line(task: Task) -> str:
    return (inspect.getdoc(type(task)) or "").partition("\n")[0]


def _values(info: FieldInfo) -> str:
    """The values a param takes, in words: "one of 90, 45", "a number, > 0, <= 1"."""
    if get_origin(info.annotation) is Literal:
        return "one of " + ", ".join(map(str, get_args(info.annotation)))
    words = {int: "an integer", float: "a number", bool: "true or false", str: "text"}
    kind = words.get(info.annotation, str(info.annotation)) if isinstance(info.annotation, type) else "see description"
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "multiple_of": "a multiple of"}
    limits = [(sign, getattr(rule, name, None)) for rule in info.metadata for name, sign in signs.items()]
    return ", ".join([kind, *(f"{sign} {limit}" for sign, limit in limits if limit is not None)])
