"""`ssl4rl preview`: a page of samples, before anything is built."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ssl4rl_core.cli.app import app
from ssl4rl_core.cli.tables import text_console
from ssl4rl_core.preview import preview
from ssl4rl_core.samples import Split


@app.command("preview")
def preview_command(
    task: Annotated[str, typer.Argument(metavar="TASK[:LEVEL]", help="The task, as in rotation:hard.")],
    source: Annotated[str, typer.Option("--source", metavar="KIND:WHERE", help="What to ask about: folder:photos.")],
    out: Annotated[Path, typer.Option("--out", help="The page to write.")] = Path("preview.html"),
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Samples a level.")] = 6,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Picks the items and seeds the samples.")] = 0,
    level: Annotated[str, typer.Option("--level", help="A level, or all: easy, medium and hard.")] = "",
    split: Annotated[Split, typer.Option("--split", help="Which items to ask about.")] = "train",
    response_format: Annotated[
        str, typer.Option("--format", help="How to answer: see ssl4rl formats.")
    ] = "think_answer",
    max_side: Annotated[int, typer.Option("--max-side", min=1, help="Bring longer sides to this, pixels.")] = 512,
    show_answers: Annotated[bool, typer.Option("--show-answers", help="Open the answers.")] = False,
) -> None:
    """Write an HTML page of samples with their answers.

    Example: [bold]ssl4rl preview rotation --level all --source folder:photos --out rotation.html[/bold]
    """
    with Console(stderr=True).status("rendering samples"):
        previews = preview(
            task,
            source,
            out,
            count=count,
            seed=seed,
            level=level,
            split=split,
            response_format=response_format,
            max_side=max_side,
            show_answers=show_answers,
        )
    console = text_console()
    for each in previews:
        skipped = ", ".join(f"{number} x {reason}" for reason, number in each.skipped.most_common())
        console.print(f"{each.config.name}: {len(each.samples)} samples, skipped: {skipped or 'none'}")
    console.print(str(out))
