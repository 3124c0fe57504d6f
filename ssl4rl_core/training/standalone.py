"""Evaluation of a model on its own, without a training run."""

from collections.abc import Sequence

from ssl4rl_core.plugins import registry
from ssl4rl_core.samples import Split
from ssl4rl_core.training.data import open_data
from ssl4rl_core.training.evaluate import Evaluator, Outcome, evaluate
from ssl4rl_core.training.models import load_model, need_training
from ssl4rl_core.training.progress import Display, quietly
from ssl4rl_core.training.prompts import Prompter
from ssl4rl_core.training.recipe import DataSettings, ModelSettings, TaskSettings
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
        limit: samples of each config, a fixed choice; None for all.
        max_tokens: longest completion.

    Raises:
        MissingExtra: the extra 'train' is not installed.
        UsageError: the model, the data, a task or the format does not exist.
    """
    need_training("evaluation")
    with quietly(verbose):
        answered_as = registry().format(response_format)
        mix = open_data(data, tasks)
        loaded = load_model(model)
        ends = loaded.model.generation_config.eos_token_id
        prompter = Prompter(loaded.processor, answered_as, registry(), ends=ends)
        judge = Judge(answered_as, registry(), prefill=prompter.prefill)
        evaluator = Evaluator(prompter, judge, batch_size, max_tokens, limit=limit, split=split)
        total = sum(len(evaluator.indices(mix.samples, config)) for config in mix.weights)
        scores: list[float] = []
        with (display or Display()).phase("evaluate", total) as advance:

            def each(outcome: Outcome) -> None:
                scores.append(outcome.verdict.score)
                advance(len(scores), f"accuracy {sum(scores) / len(scores):.3f}")

            return evaluate(loaded.model, mix.samples, list(mix.weights), evaluator, name=model.name, each=each)
