"""`ssl4rl score`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ssl4rl_core.cli.app import app
from ssl4rl_core.cli.eval_command import show_results
from ssl4rl_core.cli.tables import JsonOption, text_console
from ssl4rl_core.errors import Ssl4rlError
from ssl4rl_core.plugins import registry

_NAMED = 5


@app.command("score")
def score(
    file: Annotated[Path, typer.Argument(metavar="FILE.jsonl", help="Completions, one JSON object a line.")],
    data: Annotated[Path | None, typer.Option("--data", metavar="DIR", help="The build that was answered.")] = None,
    response_format: Annotated[str, typer.Option("--format", help="The format that was asked for.")] = "think_answer",
    prefill: Annotated[
        str, typer.Option("--prefill", help="What a template wrote for the model, such as <think>.")
    ] = "",
    model: Annotated[str, typer.Option("--model", help="Name of what made the completions, for the results.")] = "",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.jsonl", help="Write the score of every line.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Score completions that any other system made.

    A line holds `completion`, and `config`, `item` and `variant` of its sample, or its whole `record`.

    Example: ssl4rl score answers.jsonl --data builds/photos
    """
    from data_builders.reader import BuiltSamples
    from ssl4rl_core.atomic import write_named
    from ssl4rl_core.training.rewards import Judge
    from ssl4rl_core.training.score import score as score_file
    from ssl4rl_core.training.score import score_rows

    judge = Judge(registry().format(response_format), registry(), prefill=prefill)
    samples = BuiltSamples(data) if data is not None else None
    scores = score_file(file, judge, samples, model=model)
    if out is not None:
        rows = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in score_rows(scores))
        # A completion may hold half a character, which UTF-8 has no place for; JSON has.
        write_named(out, rows.encode("utf-8", "backslashreplace"))
    errors = text_console(stderr=True)
    for problem in scores.problems[:_NAMED]:
        errors.print(f"{file}, line {problem.line}: {problem.reason}", style="yellow")
    if scores.problems:
        errors.print(f"{len(scores.problems)} of {len(scores.problems) + len(scores.lines)} lines were not scored")
    if not scores.lines:
        raise Ssl4rlError(f"nothing in {file} could be scored")
    show_results(scores.results, as_json=as_json)
