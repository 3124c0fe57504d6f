"""`ssl4rl new`: a task of one's own, as a distribution that works from the start."""

from pathlib import Path
from typing import Annotated

import typer

from ssl4rl_core.cli.app import app
from ssl4rl_core.cli.tables import text_console
from ssl4rl_core.scaffold import SOURCES, Domain, module_name, new_task, task_name


@app.command("new")
def new_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the task: lower-case words joined by hyphens.")],
    domain: Annotated[Domain, typer.Option("--domain", help="What it asks about.")] = "image",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="The folder to make. Default: ssl4rl-task-NAME here.")
    ] = None,
    author: Annotated[str, typer.Option("--author", help="Your name, for pyproject.toml.")] = "",
) -> None:
    """Write a complete distribution ssl4rl-task-NAME around a small working task.

    Example: [bold]ssl4rl new shade --domain image[/bold]
    """
    folder = new_task(name, domain=domain, out=out or "", author=author)
    name = task_name(name)
    for line in (
        f"{folder} is a working task; make it yours in {module_name(name)}.py",
        "",
        "Next steps:",
        f"  pip install -e {folder}",
        f"  ssl4rl preview {name} --source {SOURCES[domain]}",
        f"  ssl4rl check {name}",
        f"  ssl4rl check {name} --record    # before you publish a version",
    ):
        text_console().print(line)
