"""What a run shows, in plain sentences: each figure beside its chance level and its interval."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from ssl4rl_core.pages import percent
from ssl4rl_core.training.recipe_groups import by_recipe
from ssl4rl_core.training.run_folder import STAGES, Result, Run
from ssl4rl_core.training.run_results import config_names, results_at


@dataclass(frozen=True)
class Finding:
    """What is known of one config: a short verdict, and the sentences behind it; `recipe` where there are several."""

    config: str
    verdict: str
    sentences: list[str]
    recipe: str = ""

    @property
    def name(self) -> str:
        """The config, and the recipe where there are several."""
        return f"{self.config}, {self.recipe}" if self.recipe else self.config


def findings(runs: Sequence[Run]) -> list[Finding]:
    """One finding for each config of the runs, and each recipe where they have several."""
    groups = by_recipe(runs)
    return [
        replace(_finding(config, group.runs), recipe=group.name if len(groups) > 1 else "")
        for config in config_names(runs)
        for group in groups
        if config in config_names(group.runs)
    ]


def _finding(config: str, runs: Sequence[Run]) -> Finding:
    at = {stage: results_at(stage, config, runs) for stage in STAGES}
    last = next((at[stage] for stage in reversed(STAGES) if at[stage]), [])
    before = at["format"] or at["start"]
    sentences = []
    downstream = any(result.downstream for results in at.values() for result in results)
    if downstream:
        sentences.append("Downstream: asked in evaluation alone, never a reward.")
    if at["end"]:
        when = "After training, held-out accuracy" if any(run.metrics for run in runs) else "Held-out accuracy"
        sentences.append(f"{when} is {_end(before, at['end'])}")
    elif last:
        sentences.append(
            f"Held-out accuracy is {_figure(last)}, where chance is {percent(last[0].chance, exact=True)}."
        )
    if any(map(_is_without_answers, last)):
        sentences.append(_without_answers(last))
    if at["format"] and not downstream:
        sentences.append(_format_start(at["start"], at["format"]))
    return Finding(config, _verdict(last), sentences)


def _verdict(results: Sequence[Result]) -> str:
    """Where the 95 % interval of every run lies, seen from chance; or that there is no answer to be right."""
    if results and all(map(_is_without_answers, results)):
        return "no answer in the right format"
    places = {_place(result) for result in results}
    if len(places) == 1:
        place = places.pop()
        return {1: "above chance", 0: "not distinguishable from chance", -1: "below chance"}[place]
    above = sum(_place(result) > 0 for result in results)
    return f"above chance in {above} of {len(results)} runs" if results else "no result"


def _place(result: Result) -> int:
    return 1 if result.low > result.chance else -1 if result.high < result.chance else 0


def _is_without_answers(result: Result) -> bool:
    """Whether no completion kept to the format, so that accuracy says nothing about the task."""
    return result.format_rate == 0 and result.accuracy == 0


def _without_answers(results: Sequence[Result]) -> str:
    """What that means, and what it may come from."""
    count = sum(map(_is_without_answers, results))
    runs = "" if len(results) == 1 else f" in {count} of {len(results)} runs"
    return (
        f"No completion kept to the format{runs}, so there was no answer to score: the model may not know the format, "
        "or its completions were cut off before the answer, at grpo.max_completion_length or --max-tokens."
    )


def _figure(results: Sequence[Result]) -> str:
    """An accuracy with how sure it is: the 95 % interval of one run, the spread of several."""
    accuracies = [result.accuracy for result in results]
    if len(results) == 1:
        return f"{percent(accuracies[0])} (95 % interval {percent(results[0].low)} to {percent(results[0].high)})"
    spread = f"{percent(min(accuracies))} to {percent(max(accuracies))}"
    return f"{percent(fmean(accuracies))} in the mean of {len(results)} runs ({spread})"


def _end(before: Sequence[Result], end: Sequence[Result]) -> str:
    chance, verdict = percent(end[0].chance, exact=True), _verdict(end)
    figure = f"{_figure(end)}{_since(before, end)}. Chance is {chance}"
    if all(map(_is_without_answers, end)):
        return f"{figure}."
    interval = "the interval" if len(end) == 1 else "the 95 % interval of every run"
    said = {
        "above chance": f"{interval} lies above it",
        "not distinguishable from chance": f"{interval} includes it, so this may be guessing",
        "below chance": f"{interval} lies below it",
    }
    where = said.get(verdict, f"the 95 % interval lies {verdict}")
    return f"{figure}: {where}."


def _since(before: Sequence[Result], end: Sequence[Result]) -> str:
    if not before:
        return ""
    was, now = (fmean([result.accuracy for result in results]) for results in (before, end))
    way = "up from" if now > was else "down from" if now < was else "as it was at"
    return f", {way} {percent(was)} before GRPO"


def _format_start(start: Sequence[Result], formatted: Sequence[Result]) -> str:
    """Whether the supervised start taught the format alone, as it must."""
    figure, chance = _figure(formatted), percent(formatted[0].chance, exact=True)
    if all(map(_is_without_answers, formatted)):
        did = "did not teach it:"
    elif any(_place(result) > 0 for result in formatted):
        did = "lifted accuracy above chance, so it taught more than the format:"
    elif all(_place(result) < 0 for result in formatted):
        did = "left accuracy below chance:"
    else:
        did = "left accuracy at chance:"
    return f"The start on the format {did} {figure}, where chance is {chance}{_format_rates(start, formatted)}."


def _format_rates(start: Sequence[Result], formatted: Sequence[Result]) -> str:
    before = [result.format_rate for result in start if result.format_rate is not None]
    after = [result.format_rate for result in formatted if result.format_rate is not None]
    if not after:
        return ""
    came = f", up from {percent(fmean(before))}" if before and fmean(before) < fmean(after) else ""
    return f"; {percent(fmean(after))} of the answers are in the right format{came}"
