"""`ssl4rl train`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ssl4rl_core.cli.app import app
from ssl4rl_core.cli.eval_command import show_results
from ssl4rl_core.cli.tables import JsonOption, show
from ssl4rl_core.errors import Stopped
from ssl4rl_core.training.recipe import Recipe, load_recipe


@app.command("train")
def train(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.")],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe; may be repeated."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in the output folder.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Train nothing: say what would be done and what is missing (exit code 1).")
    ] = False,
    processes: Annotated[
        int, typer.Option(min=1, help="GPUs to reckon with in a dry run; training itself asks accelerate.")
    ] = 1,
    verbose: Annotated[bool, typer.Option("--verbose", help="Let TRL and transformers talk.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a model by GRPO on self-supervised tasks.

    Example: ssl4rl train recipes/demo-rotation.yaml --set grpo.max_steps=20

    First look: ssl4rl train recipes/paper-qwen2.5-vl-3b.yaml --dry-run --processes 8
    """
    if dry_run:
        _dry_run(load_recipe(recipe, changes or ()), processes, resume, overwrite, as_json)
        return
    from ssl4rl_core.training.grpo import train as run
    from ssl4rl_core.training.run_folder import read_run

    loaded = load_recipe(recipe, changes or ())
    try:
        folder = run(loaded, resume=resume, overwrite=overwrite, verbose=verbose)
    except KeyboardInterrupt:
        raise Stopped("interrupted: the same command with --resume goes on from the last checkpoint") from None
    from accelerate import PartialState

    if not PartialState().is_main_process:
        return
    show_results(read_run(folder, folder.name).results, as_json=as_json)
    if not as_json:
        typer.echo(f"run: {folder}    report: ssl4rl report {folder}")


def _dry_run(recipe: Recipe, processes: int, resume: bool, overwrite: bool, as_json: bool) -> None:
    from ssl4rl_core.training.forecast import forecast
    from ssl4rl_core.training.progress import quietly

    with quietly():
        figures, missing = forecast(recipe, processes=processes, resume=resume, overwrite=overwrite)
    rows = [{"what": name, "value": value, "from": comes_from} for name, value, comes_from in figures]
    if as_json:
        typer.echo(json.dumps({"figures": rows, "missing": missing}, indent=2))
    else:
        show(rows, as_json=False)
        said = ["missing here:", *(f"  {each}" for each in missing)] if missing else ["nothing is missing"]
        typer.echo("\n".join(said))
    if missing:
        raise typer.Exit(1)
