"""The charts of a report: which quantities are drawn, of the whole mix and of each config, under which titles."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ssl4rl_core.training.curves import (
    ACCENT,
    PLAIN,
    Accuracy,
    Curve,
    Stages,
    accuracy_chart,
    colour_of,
    mean_line,
    page_colour,
    shares_chart,
    steps_chart,
)
from ssl4rl_core.training.recipe_groups import RecipeGroup
from ssl4rl_core.training.run_folder import STAGES, Run, Series
from ssl4rl_core.training.run_results import results_of, runs_of, trained_configs

Legend = list[tuple[str, str]]
"""Names and the colours that stand for them."""


@dataclass(frozen=True)
class Chart:
    """A chart as the page shows it."""

    title: str
    note: str
    svg: str
    legend: Legend = field(default_factory=list)


@dataclass(frozen=True)
class Quantity:
    """A metric worth a chart: its key in metrics.jsonl, and whether it is a share in [0, 1], shown in per cent."""

    key: str
    title: str
    note: str
    share: bool = False
    colour: str = PLAIN


REWARD = Quantity("rewards/answer", "Answer reward", "Training samples; 0 where the format is broken.", True, ACCENT)
OF_TASKS = (
    REWARD,
    Quantity("rewards/format", "Format reward", "Whether the answer stood in its place.", True),
    Quantity("frac_reward_zero_std", "Groups without a signal", "Their completions all earn the same.", True),
    Quantity("completion_length", "Length of a completion", "Tokens."),
)
"""What is known of the whole mix, and under KEY/CONFIG of each config."""

HEALTH = (
    Quantity("kl", "Distance from the first model", "KL divergence."),
    Quantity("entropy", "Entropy", "Of the next token, nats."),
    Quantity("sampling_logp_difference", "Distance of vLLM from the trainer", "Of log probabilities, a token."),
    Quantity("seconds", "Time of a step", "Seconds."),
    Quantity("stream_seconds", "Time for samples", "Seconds of a step in which they are read or rendered."),
    Quantity("reward_seconds", "Time for rewards", "Seconds of a step: judging, and waiting for other processes."),
)


def legend(groups: Sequence[RecipeGroup]) -> Legend:
    """The recipes' colours; empty where there is one recipe only."""
    return _legend([group.name for group in groups]) if len(groups) > 1 else []


def overall_charts(groups: Sequence[RecipeGroup]) -> list[Chart]:
    """The two rewards over the whole mix, one chart each and never their sum; and what its batches were made of."""
    chances = [result.chance for run in runs_of(groups) for result in run.results if not result.downstream]
    return [
        *_quantities(groups, OF_TASKS, "", (min(chances), max(chances)) if chances else None),
        *(chart for group in groups if (chart := _shares(group, named=len(groups) > 1)) is not None),
    ]


def task_charts(groups: Sequence[RecipeGroup]) -> list[tuple[str, list[Chart]]]:
    """For each config of the training its accuracy, and its own curves where several configs are mixed."""
    runs = runs_of(groups)
    configs = trained_configs(runs)
    charted = []
    for config in configs:
        results = results_of(config, runs)
        chance = results[0].chance if results else None
        charts = [] if chance is None else [_accuracy(config, chance, groups)]
        if len(configs) > 1:
            charts += _quantities(groups, OF_TASKS, f"/{config}", None if chance is None else (chance, chance))
        if charts:
            charted.append((config, charts))
    return charted


def health_charts(groups: Sequence[RecipeGroup]) -> list[Chart]:
    """How training went, whatever it taught."""
    return _quantities(groups, HEALTH, "", None)


def _legend(names: Sequence[str]) -> Legend:
    return [(name, page_colour(number)) for number, name in enumerate(names)]


def _accuracy(config: str, chance: float, groups: Sequence[RecipeGroup]) -> Chart:
    runs = runs_of(groups)
    accuracies = [
        Accuracy([_stages(run, config) for run in group.runs], colour_of(number)) for number, group in enumerate(groups)
    ]
    last_step = max((run.metrics[-1]["step"] for run in runs if run.metrics), default=0.0)
    of = f"the mean of {len(runs)}" if len(groups) == 1 else "the mean of each recipe"
    note = "Bars: 95 % intervals." if len(runs) == 1 else f"Faint: each run. Bold: {of}."
    return Chart("Held-out accuracy", note, accuracy_chart(accuracies, chance, last_step))


def _stages(run: Run, config: str) -> Stages:
    return Stages(*(run.result(config, stage) for stage in STAGES))


def _quantities(
    groups: Sequence[RecipeGroup], quantities: Sequence[Quantity], suffix: str, chance: tuple[float, float] | None
) -> list[Chart]:
    charts = []
    for quantity in quantities:
        curves = []
        for number, group in enumerate(groups):
            colour = quantity.colour if len(groups) == 1 else colour_of(number)
            curves.append(Curve([run.series(quantity.key + suffix) for run in group.runs], colour))
        if any(any(curve.runs) for curve in curves):
            beside = chance if quantity is REWARD else None
            charts.append(
                Chart(quantity.title, quantity.note, steps_chart(curves, share=quantity.share, chance=beside))
            )
    return charts


def _shares(group: RecipeGroup, *, named: bool) -> Chart | None:
    """The shares of the configs in the batches of a recipe, where they are not the same throughout."""
    shares: dict[str, Series] = {}
    for config in trained_configs(group.runs):
        lines = [series for run in group.runs if (series := run.series(f"share/{config}"))]
        if lines:
            steps, values = mean_line([([step for step, _ in line], [value for _, value in line]) for line in lines])
            shares[config] = list(zip(steps, values, strict=True))
    if not any(len({round(value, 6) for _, value in series}) > 1 for series in shares.values()):
        return None
    title = f"Shares of a batch, {group.name}" if named else "Shares of a batch"
    note = "As the curriculum divided it, by config."
    return Chart(title, note, shares_chart(list(shares.values())), _legend(list(shares)))
