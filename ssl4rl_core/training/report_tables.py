"""The tables of a report: held-out accuracy, transfer, what became of the answers, and recipes side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from ssl4rl_core.training.curves import page_colour
from ssl4rl_core.training.recipe_groups import Difference, RecipeGroup, differences
from ssl4rl_core.training.run_folder import GROUPS, STAGE_NAMES, STAGES, Result, Run
from ssl4rl_core.training.run_results import config_names, results_at, results_of, runs_of

_EVALUATED = "as evaluated"  # the one stage of a run without training


@dataclass(frozen=True)
class Measured:
    """An accuracy: of one run with its 95 % interval, of several their mean and the span of the runs.

    Attributes:
        n: questions; not added up over runs, which may have been asked the same ones.
    """

    accuracy: float
    low: float
    high: float
    chance: float
    n: str
    format_rate: float | None
    seconds: float | None


@dataclass(frozen=True)
class Line:
    """A run, or the runs of a recipe together: what has a row in a table.

    Attributes:
        kind: "single", "several" (of a recipe, their mean) or "one" (of several).
        colour: the recipe's on the page; "" where there is one recipe only.
    """

    name: str
    kind: str
    runs: list[Run]
    colour: str


@dataclass(frozen=True)
class AccuracyRow:
    """A line's run at a stage."""

    stage: str
    line: Line
    measured: Measured


@dataclass(frozen=True)
class AccuracyTable:
    """Held-out accuracy of a config."""

    config: str
    rows: list[AccuracyRow]


@dataclass(frozen=True)
class TransferRow:
    """A downstream config at every stage, in the order of STAGES.

    Attributes:
        change: from before GRPO to after it: "+12 points".
        apart: whether the two 95 % intervals do not overlap, in words; "" where there is nothing to compare.
    """

    line: Line
    stages: list[Measured | None]
    change: str
    apart: str


@dataclass(frozen=True)
class TransferTable:
    """What became of a task that was never a reward."""

    config: str
    chance: float
    n: str
    rows: list[TransferRow]


@dataclass(frozen=True)
class Outcomes:
    """What became of the answers to a config at the last stage: (group, count) in the order of GROUPS."""

    config: str
    recipe: str
    counts: list[tuple[str, int]]

    @property
    def total(self) -> int:
        return sum(count for _, count in self.counts)


@dataclass(frozen=True)
class Comparison:
    """Recipes side by side: what sets them apart, and the accuracy that each ends with.

    Attributes:
        runs: names of the runs of each recipe.
        accuracies: of each config its chance level, and what each recipe measured at its last stage.
        steps: logged by each recipe's first run.
        seconds: of a step, the median of that run.
    """

    runs: list[list[str]]
    differences: list[Difference]
    accuracies: list[tuple[str, float, list[Measured | None]]]
    steps: list[str]
    seconds: list[str]


def measured(results: Sequence[Result]) -> Measured | None:
    """What results of one config and stage, one a run, say together."""
    if not results:
        return None
    accuracies = [result.accuracy for result in results]
    rates = [result.format_rate for result in results if result.format_rate is not None]
    seconds = [result.seconds for result in results if result.seconds is not None]
    one = len(results) == 1
    return Measured(
        accuracy=fmean(accuracies),
        low=results[0].low if one else min(accuracies),
        high=results[0].high if one else max(accuracies),
        chance=results[0].chance,
        n=_counts([result.n for result in results]),
        format_rate=fmean(rates) if rates else None,
        seconds=fmean(seconds) if seconds else None,
    )


def accuracy_tables(groups: Sequence[RecipeGroup]) -> list[AccuracyTable]:
    """Every run at every stage, and the mean of a stage where a recipe has several runs; downstream tasks aside."""
    runs = runs_of(groups)
    lines = _lines(groups)
    names = STAGE_NAMES if any(run.metrics for run in runs) else {**STAGE_NAMES, "end": _EVALUATED}
    configs = [config for config in config_names(runs) if not _is_downstream(config, runs)]
    return [
        AccuracyTable(
            config,
            [
                AccuracyRow(names[stage], line, found)
                for stage in STAGES
                for line in lines
                if (found := measured(results_at(stage, config, line.runs))) is not None
            ],
        )
        for config in configs
    ]


def transfer_tables(groups: Sequence[RecipeGroup]) -> list[TransferTable]:
    """Downstream tasks before and after; a table for each."""
    runs = runs_of(groups)
    tables = []
    for config in config_names(runs):
        if not _is_downstream(config, runs):
            continue
        rows = [
            TransferRow(
                line, [measured(results_at(stage, config, line.runs)) for stage in STAGES], *_change(config, line.runs)
            )
            for line in _lines(groups)
            if config in config_names(line.runs)
        ]
        first = results_of(config, runs)[0]
        tables.append(TransferTable(config, first.chance, str(first.n), rows))
    return tables


def outcome_rows(groups: Sequence[RecipeGroup]) -> list[Outcomes]:
    """What became of the answers of all runs of a recipe, for each config that counted them."""
    rows = []
    for config in config_names(runs_of(groups)):
        for group in groups:
            counted = [last.outcomes for run in group.runs if (last := _last(config, run)) and last.outcomes]
            counts = [(name, sum(counts.get(name, 0) for counts in counted)) for name in GROUPS]
            if counted:
                rows.append(Outcomes(config, group.name if len(groups) > 1 else "", counts))
    return rows


def comparison(groups: Sequence[RecipeGroup]) -> Comparison | None:
    """The recipes side by side; None where there is one only."""
    if len(groups) < 2:
        return None
    accuracies = []
    for config in config_names(runs_of(groups)):
        cells = [measured([last for run in group.runs if (last := _last(config, run))]) for group in groups]
        accuracies.append((config, next(cell.chance for cell in cells if cell), cells))
    firsts = [group.runs[0] for group in groups]
    return Comparison(
        runs=[[run.name for run in group.runs] for group in groups],
        differences=differences(groups),
        accuracies=accuracies,
        steps=[f"{run.metrics[-1]['step']:g}" if run.metrics else "" for run in firsts],
        seconds=[_seconds(run) for run in firsts],
    )


def _lines(groups: Sequence[RecipeGroup]) -> list[Line]:
    lines = []
    for number, group in enumerate(groups):
        several, colour = len(group.runs) > 1, page_colour(number) if len(groups) > 1 else ""
        if several:
            name = f"{group.name}, mean of {len(group.runs)}" if colour else f"mean of {len(group.runs)} runs"
            lines.append(Line(name, "several", group.runs, colour))
        lines += [Line(run.name, "one" if several else "single", [run], colour) for run in group.runs]
    return lines


def _last(config: str, run: Run) -> Result | None:
    return next((result for stage in reversed(STAGES) if (result := run.result(config, stage))), None)


def _is_downstream(config: str, runs: Sequence[Run]) -> bool:
    return any(result.downstream for result in results_of(config, runs))


def _change(config: str, runs: Sequence[Run]) -> tuple[str, str]:
    """How accuracy changed over GRPO, in points, and whether that is more than chance would do."""
    pairs = [
        (before, after)
        for run in runs
        if (after := run.result(config, "end"))
        and (before := run.result(config, "format") or run.result(config, "start"))
    ]
    if not pairs:
        return "", ""
    changes = [100 * (after.accuracy - before.accuracy) for before, after in pairs]
    apart = sum(after.low > before.high or after.high < before.low for before, after in pairs)
    if len(pairs) == 1:
        return f"{changes[0]:+.1f} points", "intervals apart" if apart else "intervals overlap"
    span = f"{fmean(changes):+.1f} points ({min(changes):+.1f} to {max(changes):+.1f})"
    return span, f"intervals apart in {apart} of {len(pairs)}"


def _counts(counts: Sequence[int]) -> str:
    if len(counts) == 1:
        return str(counts[0])
    return f"{len(counts)} × {counts[0]}" if len(set(counts)) == 1 else " + ".join(map(str, counts))  # noqa: RUF001


def _seconds(run: Run) -> str:
    seconds = sorted(value for _, value in run.series("seconds"))
    return f"{seconds[len(seconds) // 2]:.3g}" if seconds else ""
