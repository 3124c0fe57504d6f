"""Evaluation of a model on its own, without a training run."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ssl4rl_core.errors import Ssl4rlError, UsageError
from ssl4rl_core.plugins import registry
from ssl4rl_core.samples import Split
from ssl4rl_core.training.data import open_data, share_held_out
from ssl4rl_core.training.endpoint import Asker, Endpoint
from ssl4rl_core.training.evaluate import Evaluator, Scored, check_any, chosen, evaluate, summary
from ssl4rl_core.training.models import load_model, need_training
from ssl4rl_core.training.progress import Advance, Display, quietly
from ssl4rl_core.training.prompts import Prompter
from ssl4rl_core.training.recipe import DataSettings, ModelSettings, TaskSettings, load_recipe
from ssl4rl_core.training.rewards import Judge
from ssl4rl_core.training.run_folder import Result


def evaluate_model(
    model: ModelSettings,
    data: DataSettings,
    tasks: Sequence[TaskSettings] = (),
    *,
    response_format: str = "think_answer",
    split: Split = "test",
    limit: int | None = None,
    batch_size: int = 16,
    max_tokens: int = 1024,
    verbose: bool = False,
    display: Display | None = None,
) -> list[Result]:
    """Accuracy of a model on tasks: one result a config, beside chance, with a 95 % interval; greedy decoding.

    Args:
        limit: samples of each config, a fixed choice, of whole items where they are balanced; None for all.
        max_tokens: longest completion.

    Raises:
        MissingExtra: the extra 'train' is not installed.
        UsageError: the model, the data, a task or the format does not exist, or what is asked about as held out was
            trained on by the run that the model is of.
    """
    need_training("evaluation")
    if split == "test":
        for asked in [data, *(task.data for task in tasks if task.data is not None)]:
            _check_held_out(model.name, asked)
    with quietly(verbose):
        answered_as = registry().format(response_format)
        mix = open_data(data, tasks)
        for config in mix.weights:
            check_any(mix.samples, config, split)
        loaded = load_model(model)
        ends = loaded.model.generation_config.eos_token_id
        prompter = Prompter(loaded.processor, answered_as, registry(), ends=ends)
        judge = Judge(answered_as, registry(), prefill=prompter.prefill)
        evaluator = Evaluator(prompter, judge, batch_size, max_tokens, limit=limit, split=split)
        total = sum(len(evaluator.indices(mix.samples, config)) for config in mix.weights)
        with (display or Display()).phase("evaluate", total) as advance:
            seen = _progress(advance)
            return evaluate(
                loaded.model,
                mix.samples,
                list(mix.weights),
                evaluator,
                name=model.name,
                each=lambda outcome: seen(outcome.verdict.score),
            )


def _check_held_out(model: str, asked: DataSettings) -> None:
    """Raise UsageError where a model of a run is to be asked about items of its source that the run did not hold out.

    What is held out by a smaller share is held out by a larger one too.
    """
    folder = Path(model).resolve().parent
    recipe = (folder.parent if folder.name == "checkpoints" else folder) / "recipe.yaml"
    if not recipe.is_file():
        return
    try:
        share = None if asked.source is None else share_held_out(load_recipe(recipe), asked.source)
    except Ssl4rlError:
        return  # nothing that a run of this version left, or its build is gone, or there is no such source
    if share is not None and asked.test_fraction > share:
        raise UsageError(
            f"{model} was trained on {asked.source} with {share:g} of it held out, and {asked.test_fraction:g} would "
            f"be asked about: take --test-fraction {share:g}, or --split train"
        )


class Served(NamedTuple):
    """What came of asking an endpoint.

    Attributes:
        results: one a config, of the requests that were answered.
        failed: requests that were not, by kind of failure.
        first_said: what the endpoint said to the first of each kind.
    """

    results: list[Result]
    failed: dict[str, int]
    first_said: dict[str, str]


def evaluate_endpoint(
    endpoint: Endpoint,
    data: DataSettings,
    tasks: Sequence[TaskSettings] = (),
    *,
    response_format: str = "think_answer",
    prefill: str = "",
    split: Split = "test",
    limit: int | None = None,
    display: Display | None = None,
) -> Served:
    """As `evaluate_model`, of a model that an endpoint serves: the same questions, scores and intervals.

    A request that fails for good is left out and counted.

    Args:
        prefill: what the served model's chat template writes on its behalf, such as `<think>`.

    Raises:
        MissingExtra: the extra 'serve' is not installed.
        Ssl4rlError: the endpoint refuses, fails many times in a row, or answers nothing at all.
        UsageError: the data, a task or the format does not exist.
    """
    answered_as = registry().format(response_format)
    mix = open_data(data, tasks)
    for config in mix.weights:
        check_any(mix.samples, config, split)
    numbers = {config: chosen(mix.samples, config, split, limit) for config in mix.weights}
    asker = Asker(endpoint, Judge(answered_as, registry(), prefill=prefill))
    results = []
    with (display or Display()).phase("evaluate", sum(map(len, numbers.values()))) as advance:
        seen = _progress(advance)

        def each(scored: Scored) -> None:
            seen(scored.verdict.score)

        for config in mix.weights:
            started = time.perf_counter()
            if scored := asker.ask(mix.samples, config, split, numbers[config], each):
                results.append(summary(scored, model=endpoint.model, seconds=time.perf_counter() - started))
    if not results:
        if not asker.failed:
            raise UsageError(f"none of the {split} samples of {', '.join(mix.weights)} can be asked")
        raise Ssl4rlError(f"endpoint {endpoint.name} answered nothing: {failures(asker.failed, asker.first_said)}")
    return Served(results, dict(asker.failed), dict(asker.first_said))


def failures(failed: dict[str, int], first_said: dict[str, str]) -> str:
    """Failed requests in words, by kind: "status 500 (2 times, first: overloaded)"."""
    return ", ".join(
        f"{kind} ({count} times" + (f", first: {said}" if (said := first_said.get(kind)) else "") + ")"
        for kind, count in failed.items()
    )


def _progress(advance: Advance) -> Callable[[float], None]:
    """What takes in a score and shows how many there are, their mean, and how fast they come."""
    scores: list[float] = []
    started = time.perf_counter()

    def seen(score: float) -> None:
        scores.append(score)
        rate = len(scores) / max(time.perf_counter() - started, 1e-9)
        advance(len(scores), f"accuracy {sum(scores) / len(scores):.3f}, {rate:.1f}/s")

    return seen
