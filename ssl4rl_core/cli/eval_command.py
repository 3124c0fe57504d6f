"""`ssl4rl eval`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssl4rl_core.cli.app import app
from ssl4rl_core.cli.tables import JsonOption, show
from ssl4rl_core.errors import UsageError
from ssl4rl_core.samples import Split

if TYPE_CHECKING:
    from ssl4rl_core.training.run_folder import Result


@app.command("eval")
def evaluate(
    model: Annotated[str, typer.Option("--model", help="A folder, or a name on the Hub.")],
    data: Annotated[str | None, typer.Option("--data", metavar="DIR", help="A build.")] = None,
    source: Annotated[str | None, typer.Option("--source", help="A source to render samples from, kind:where.")] = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option("--task", help="NAME[:LEVEL][?param=value]; may be repeated. Default: the build's."),
    ] = None,
    response_format: Annotated[
        str, typer.Option("--format", help="How the model is asked to answer.")
    ] = "think_answer",
    split: Annotated[Split, typer.Option("--split", help="Which items to ask about.")] = "test",
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Samples of each config.")] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Samples at once.")] = 16,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Longest completion.")] = 1024,
    dtype: Annotated[str, typer.Option("--dtype", help="float32, bfloat16, float16 or auto.")] = "auto",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the samples of a source.")] = 0,
    variants: Annotated[int, typer.Option("--variants", min=1, help="Samples an item of a source.")] = 1,
    balance: Annotated[bool, typer.Option("--balance", help="Each answer at most once an item of a source.")] = False,
    test_fraction: Annotated[float, typer.Option("--test-fraction", help="Held-out share of a source.")] = 0.1,
    max_side: Annotated[
        int | None, typer.Option("--max-side", min=1, help="Longer side of pictures of a source.")
    ] = None,
    layout: Annotated[str, typer.Option("--layout", help="separate or composite pictures of a source.")] = "separate",
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Also write the results here.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Let transformers talk.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Held-out accuracy of a model, beside chance.

    Example: ssl4rl eval --model runs/demo/model --data builds/photos --task rotation:easy
    """
    from ssl4rl_core.training.recipe import DataSettings, ModelSettings, TaskSettings, checked
    from ssl4rl_core.training.standalone import evaluate_model

    if (data is None) == (source is None):
        raise UsageError("say what to ask about: --data DIR for a build, or --source KIND:WHERE with --task NAME")
    if source and not tasks:
        raise UsageError(f"say what to ask of {source}: --task NAME, one or more")
    where: dict[str, object] = {"build": data} if data else {}
    if source:
        where |= {"source": source, "seed": seed, "variants": variants, "balance": balance}
        where |= {"test_fraction": test_fraction, "max_side": max_side, "layout": layout}
    results = evaluate_model(
        checked(ModelSettings, name=model, dtype=dtype),
        checked(DataSettings, **where),
        [checked(TaskSettings, task=task) for task in tasks or ()],
        response_format=response_format,
        split=split,
        limit=limit,
        batch_size=batch_size,
        max_tokens=max_tokens,
        verbose=verbose,
    )
    if out is not None:
        write_results(out, results)
    show_results(results, as_json=as_json)


def show_results(results: "Sequence[Result]", *, as_json: bool) -> None:
    """Print results as a table, shares in percent, or as JSON."""
    if as_json:
        show([result.model_dump(mode="json") for result in results], as_json=True)
        return
    rows = [
        {
            "task": result.task,
            "level": result.level,
            "stage": result.stage,
            "n": result.n,
            "accuracy": f"{result.accuracy:.1%}",
            "95 % interval": f"{result.low:.1%} to {result.high:.1%}",
            "chance": f"{result.chance:.1%}",
            "format": "" if result.format_rate is None else f"{result.format_rate:.1%}",
            "use": f"downstream, {result.source}" if result.downstream else "reward",
        }
        for result in results
    ]
    show(rows, as_json=False)


def write_results(path: Path, results: "Sequence[Result]") -> None:
    """Write results as results.json of a run."""
    from data_builders.atomic import write_named

    rows = [result.model_dump(mode="json") for result in results]
    write_named(path, (json.dumps({"runs": rows, "config": {}}, indent=2, ensure_ascii=False) + "\n").encode())
