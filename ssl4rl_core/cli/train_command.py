"""`ssl4rl train`."""

from pathlib import Path
from typing import Annotated

import typer

from ssl4rl_core.cli.app import app
from ssl4rl_core.cli.eval_command import show_results
from ssl4rl_core.cli.tables import JsonOption


@app.command("train")
def train(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.")],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe; may be repeated."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in the output folder.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Let TRL and transformers talk.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a model by GRPO on self-supervised tasks.

    Example: ssl4rl train recipes/demo-rotation.yaml --set grpo.max_steps=20
    """
    from ssl4rl_core.training.grpo import train as run
    from ssl4rl_core.training.recipe import load_recipe
    from ssl4rl_core.training.run_folder import read_run

    folder = run(load_recipe(recipe, changes or ()), resume=resume, overwrite=overwrite, verbose=verbose)
    show_results(read_run(folder, folder.name).results, as_json=as_json)
    if not as_json:
        typer.echo(f"run: {folder}    report: ssl4rl report {folder}")
