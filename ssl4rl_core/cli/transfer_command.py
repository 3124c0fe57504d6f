"""`ssl4rl transfer`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssl4rl_core.cli.app import app
from ssl4rl_core.cli.eval_command import MaxPixels, MinPixels, write_results
from ssl4rl_core.cli.tables import JsonOption, show

if TYPE_CHECKING:
    from ssl4rl_core.training.transfer import Transfer


# What a public summary of arXiv 2510.16416 (alphaxiv.org/overview/2510.16416) says that post-training gains: in points
# or relative it does not say, and the paper's own tables were not at hand.
_PAPER = {"mmbench": "+7.39 %", "seedbench": "+8.94 %"}


@app.command("transfer")
def transfer(
    models: Annotated[
        list[str], typer.Option("--model", help="A folder, or a name on the Hub; the one before training first.")
    ],
    downstream: Annotated[
        list[str],
        typer.Option("--downstream", help="digits, faces, mmbench:FILE, seedbench:FILE, ...; may be repeated."),
    ],
    response_format: Annotated[
        str | None,
        typer.Option("--format", help="How questions are to be answered (think_answer); paper_choice is the paper's."),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Questions of each source.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=1, help="Questions at once (16).")] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", min=1, help="Longest completion (1024).")] = None,
    dtype: Annotated[str, typer.Option("--dtype", help="float32, bfloat16, float16 or auto.")] = "auto",
    min_pixels: MinPixels = None,
    max_pixels: MaxPixels = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Also write the results here.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Let transformers talk.")] = False,
    as_json: JsonOption = False,
) -> None:
    """What models are worth on downstream tasks that were never a reward, beside chance.

    `digits` and `faces` are a few-shot linear probe on frozen vision features; a source of questions is asked by
    multiple choice. The change is from the first model, item by item.

    Example: ssl4rl transfer --model runs/demo/format --model runs/demo/model --downstream faces --downstream digits
    """
    from ssl4rl_core.training.recipe import ModelSettings, checked
    from ssl4rl_core.training.transfer import Asking
    from ssl4rl_core.training.transfer import transfer as measure

    of_model = {"dtype": dtype, "min_pixels": min_pixels, "max_pixels": max_pixels}
    results = measure(
        [checked(ModelSettings, name=model, **of_model) for model in models],
        downstream,
        Asking(response_format, batch_size, max_tokens, limit),
        verbose=verbose,
    )
    if out is not None:
        asked = {"format": response_format, "limit": limit, "max_tokens": max_tokens}
        write_results(out, results, {"model": {"name": models, **of_model}, "downstream": downstream, **asked})
    show_transfer(results, as_json=as_json)


def show_transfer(results: "Sequence[Transfer]", *, as_json: bool) -> None:
    """Print results as a table, shares in percent and changes in points, or as JSON."""
    if as_json:
        show([result.model_dump(mode="json") for result in results], as_json=True)
        return
    rows = [
        {
            "downstream": f"{result.source}, {result.level}",
            "model": result.model,
            "n": result.n,
            "accuracy": f"{result.accuracy:.1%} ({result.low:.1%} to {result.high:.1%})",
            "chance": f"{result.chance:.1%}",
            "change": "" if result.change is None else _change(result.change, result.change_low, result.change_high),
        }
        for result in results
    ]
    changed = [result.source.partition(":")[0] if result.change is not None else "" for result in results]
    papers = [_PAPER.get(scheme, "") for scheme in changed]
    if any(papers):
        rows = [row | {"the paper's": paper} for row, paper in zip(rows, papers, strict=True)]
    show(rows, as_json=False, title="Shares with their 95 % intervals; changes, in points, from the first model")


def _change(*shares: float | None) -> str:
    change, low, high = (f"{100 * (share or 0.0):+.1f}" for share in shares)
    return f"{change} ({low} to {high})"
