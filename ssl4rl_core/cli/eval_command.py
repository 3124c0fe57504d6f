"""`ssl4rl eval`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from ssl4rl_core.cli.app import app
from ssl4rl_core.cli.tables import JsonOption, show, text_console
from ssl4rl_core.errors import UsageError
from ssl4rl_core.samples import Split

if TYPE_CHECKING:
    from ssl4rl_core.training.recipe import DataSettings
    from ssl4rl_core.training.run_folder import Result

# Options that belong to one way of asking have no default here: where they are given to another, that is an error.
Downstream = Annotated[
    list[str] | None,
    typer.Option("--downstream", help="In place of data: digits, faces, mmbench:FILE, ...; may be repeated."),
]
Before = Annotated[
    str | None, typer.Option("--before", metavar="MODEL", help="Tell the change from this model (downstream).")
]
Endpoint = Annotated[
    str | None,
    typer.Option("--endpoint", metavar="URL", help="Ask a served model: any server with OpenAI's chat completions."),
]
Concurrency = Annotated[int | None, typer.Option("--concurrency", min=1, help="Requests at once (endpoint; 16).")]
Timeout = Annotated[float | None, typer.Option("--timeout", min=0.1, help="Seconds for one try (endpoint; 300).")]
Retries = Annotated[int | None, typer.Option("--retries", min=0, help="Tries after the first (endpoint; 4).")]
Prefill = Annotated[
    str | None, typer.Option("--prefill", help="What the served template writes for the model, such as <think>.")
]
Request = Annotated[
    list[str] | None,
    typer.Option("--request", metavar="KEY=VALUE", help="A field of every request (endpoint); null leaves one out."),
]
BatchSize = Annotated[int | None, typer.Option("--batch-size", min=1, help="Samples at once (local model; 16).")]
Dtype = Annotated[str | None, typer.Option("--dtype", help="float32, bfloat16, float16 or auto (local model; auto).")]
MinPixels = Annotated[
    int | None, typer.Option("--min-pixels", min=1, help="Smaller pictures are enlarged to this area (local model).")
]
MaxPixels = Annotated[
    int | None, typer.Option("--max-pixels", min=1, help="Larger pictures are shrunk to this area (local model).")
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Seed of the samples of a source (0).")]
Variants = Annotated[int | None, typer.Option("--variants", min=1, help="Samples an item of a source (1).")]
Balance = Annotated[bool | None, typer.Option("--balance", help="Each answer at most once an item of a source.")]
TestFraction = Annotated[float | None, typer.Option("--test-fraction", help="Held-out share of a source (0.1).")]
MaxSide = Annotated[int | None, typer.Option("--max-side", min=1, help="Longer side of pictures of a source.")]
Layout = Annotated[str | None, typer.Option("--layout", help="separate (default) or composite pictures of a source.")]


@app.command("eval")
def evaluate(
    model: Annotated[str, typer.Option("--model", help="A folder, a name on the Hub, or what the endpoint calls it.")],
    data: Annotated[str | None, typer.Option("--data", metavar="DIR", help="A build.")] = None,
    source: Annotated[str | None, typer.Option("--source", help="A source to render samples from, kind:where.")] = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option("--task", help="NAME[:LEVEL][?param=value]; may be repeated. Default: the build's."),
    ] = None,
    downstream: Downstream = None,
    before: Before = None,
    response_format: Annotated[
        str | None, typer.Option("--format", help="How the model is asked to answer (think_answer).")
    ] = None,
    split: Annotated[Split | None, typer.Option("--split", help="Which items to ask about (test).")] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Samples of each config, or questions downstream.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", min=1, help="Longest completion (1024).")] = None,
    endpoint: Endpoint = None,
    concurrency: Concurrency = None,
    timeout: Timeout = None,
    retries: Retries = None,
    prefill: Prefill = None,
    request: Request = None,
    batch_size: BatchSize = None,
    dtype: Dtype = None,
    min_pixels: MinPixels = None,
    max_pixels: MaxPixels = None,
    seed: Seed = None,
    variants: Variants = None,
    balance: Balance = None,
    test_fraction: TestFraction = None,
    max_side: MaxSide = None,
    layout: Layout = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Also write the results here.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Let transformers talk.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Held-out accuracy of a model, beside chance: on samples of a build or a source, or on downstream tasks.

    A served model's key is taken from OPENAI_API_KEY.

    Example: ssl4rl eval --model runs/demo/model --data builds/photos --task rotation:easy

    Example: ssl4rl eval --endpoint http://localhost:8000/v1 --model NAME --data builds/photos

    Example: ssl4rl eval --model runs/demo/model --before runs/demo/format --downstream faces --downstream mmbench:FILE
    """
    of_source = {"seed": seed, "variants": variants, "balance": balance}
    of_source |= {"test_fraction": test_fraction, "max_side": max_side, "layout": layout}
    served = {"concurrency": concurrency, "timeout": timeout, "retries": retries}
    of_model = {"dtype": dtype, "min_pixels": min_pixels, "max_pixels": max_pixels}
    of_endpoint = {**served, "prefill": prefill, "request": request or None}
    if downstream:
        of_data = {"data": data, "source": source, "task": tasks or None, "split": split, **of_source}
        _refuse(of_data, "--downstream brings questions and labels of its own: leave it out")
        _refuse(
            {"endpoint": endpoint, **of_endpoint}, "--downstream takes a model from a folder or the Hub: leave it out"
        )
        # Not above, because commands are listed in the order of their import.
        from ssl4rl_core.cli.transfer_command import transfer

        transfer(
            [model] if before is None else [before, model],
            downstream,
            response_format=response_format,
            limit=limit,
            batch_size=batch_size,
            max_tokens=max_tokens,
            dtype=dtype or "auto",
            min_pixels=min_pixels,
            max_pixels=max_pixels,
            out=out,
            verbose=verbose,
            as_json=as_json,
        )
        return
    _refuse({"before": before}, "this belongs to downstream tasks, and none is given: name one with --downstream NAME")
    where, max_tokens = _where(data, source, tasks, of_source), max_tokens or 1024
    asked = {"response_format": response_format or "think_answer", "split": split or "test", "limit": limit}
    settings = {"name": model, **_given(of_model)}
    if endpoint is None:
        _refuse(of_endpoint, "this belongs to an endpoint, and none is given: name one with --endpoint URL")
        asked_here = {**asked, "batch_size": batch_size or 16, "max_tokens": max_tokens, "verbose": verbose}
        results, failed = _ask_model(settings, where, tasks, asked_here), None
    else:
        local = {"batch_size": batch_size, **of_model}
        _refuse(local, "this belongs to a local model, and --endpoint asks a served one: leave it out")
        fields = {**_given(served), "max_tokens": max_tokens, "request": _fields(request or ())}
        results, failed = _ask_endpoint(model, endpoint, where, tasks, {**asked, "prefill": prefill or ""}, fields)
    if out is not None:
        config = {"model": settings, "data": where.model_dump(mode="json", exclude_none=True), "tasks": tasks or None}
        config |= {"format": asked["response_format"], "split": asked["split"], "limit": limit}
        config |= {"prefill": prefill, "request": request or None}
        config |= {"max_tokens": max_tokens, "failed": failed or None}
        write_results(out, results, config)
    show_results(results, as_json=as_json)


def _ask_model(
    model: Mapping[str, Any],
    where: "DataSettings",
    tasks: Sequence[str] | None,
    asked: Mapping[str, Any],
) -> "list[Result]":
    from ssl4rl_core.training.recipe import ModelSettings, TaskSettings, checked
    from ssl4rl_core.training.standalone import evaluate_model

    settings = checked(ModelSettings, **{"dtype": "auto", **model})
    named = [checked(TaskSettings, task=task) for task in tasks or ()]
    return evaluate_model(settings, where, named, **asked)


def _ask_endpoint(
    model: str,
    url: str,
    where: "DataSettings",
    tasks: Sequence[str] | None,
    asked: Mapping[str, Any],
    fields: Mapping[str, Any],
) -> "tuple[list[Result], dict[str, int]]":
    from ssl4rl_core.training.endpoint import Endpoint
    from ssl4rl_core.training.recipe import TaskSettings, checked
    from ssl4rl_core.training.standalone import evaluate_endpoint, failures

    named = [checked(TaskSettings, task=task) for task in tasks or ()]
    served = evaluate_endpoint(Endpoint(url, model, **fields), where, named, **asked)
    if count := sum(served.failed.values()):
        total = count + sum(result.n for result in served.results)
        errors = text_console(stderr=True)
        text = f"{count} of {total} requests failed and are left out: {failures(served.failed, served.first_said)}"
        errors.print(text, style="yellow")
    return served.results, served.failed


def _where(
    data: str | None, source: str | None, tasks: Sequence[str] | None, of_source: Mapping[str, object]
) -> "DataSettings":
    from ssl4rl_core.training.recipe import DataSettings, checked

    if (data is None) == (source is None):
        raise UsageError(
            "say what to ask about: --data DIR for a build, --source KIND:WHERE with --task NAME, or --downstream NAME"
        )
    if data is not None:
        _refuse(of_source, f"the build {data} has fixed that already: leave it out, or render from a --source")
        return checked(DataSettings, build=data)
    if not tasks:
        raise UsageError(f"say what to ask of {source}: --task NAME, one or more")
    return checked(DataSettings, source=source, **_given(of_source))


def _given(options: Mapping[str, object]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _refuse(options: Mapping[str, object], why: str) -> None:
    """Raise UsageError where one of these was given."""
    if given := _given(options):
        raise UsageError(f"{', '.join('--' + name.replace('_', '-') for name in given)}: {why}")


def _fields(requests: Sequence[str]) -> dict[str, Any]:
    """Fields of a request from KEY=VALUE, the value read as YAML."""
    fields = {}
    for request in requests:
        key, equals, text = request.partition("=")
        if not key or not equals:
            raise UsageError(f"--request {request}: write KEY=VALUE, for example top_p=0.9")
        if key in ("model", "messages", "stream"):
            raise UsageError(f"--request {key}: that is not to be changed here")
        try:
            fields[key] = yaml.safe_load(text)
            json.dumps(fields[key], allow_nan=False)
        except (yaml.YAMLError, TypeError, ValueError) as error:
            raise UsageError(f"--request {key}: {text!r} is not a value of JSON") from error
    return fields


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


def write_results(path: Path, results: "Sequence[Result]", config: Mapping[str, object]) -> None:
    """Write results as results.json of a run, and what was asked, by which a report tells runs apart."""
    from ssl4rl_core.atomic import write_named

    rows = [result.model_dump(mode="json") for result in results]
    text = json.dumps({"runs": rows, "config": _given(config)}, indent=2, ensure_ascii=False)
    write_named(path, (text + "\n").encode())
