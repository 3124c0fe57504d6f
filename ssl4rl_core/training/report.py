"""One page about one run or several: what was learned, how it went, what the model says, and how to do it again."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssl4rl_core.errors import UsageError
from ssl4rl_core.pages import Picture, write_page
from ssl4rl_core.training.curves import ACCENT, PLAIN, Stages, accuracy_chart, steps_chart, window
from ssl4rl_core.training.findings import Finding, config_names, findings, mean
from ssl4rl_core.training.run_folder import STAGES, Completion, Result, Run, Series, read_runs

STAGE_NAMES = {"start": "start", "format": "after the format start", "end": "after GRPO"}
_EVALUATED = "as evaluated"  # the one stage of a run without training
_SAMPLES = 12
_LARGEST_PICTURE = 320
_HEALTH = {
    "completion_length": ("Length of a completion", "Tokens.", False),
    "frac_reward_zero_std": ("Groups without a signal", "Share of groups whose completions all earn the same.", True),
    "kl": ("Distance from the first model", "KL divergence.", False),
    "entropy": ("Entropy", "Of the next token, nats.", False),
    "seconds": ("Time of a step", "Seconds.", False),
}


def report(runs: Sequence[str | Path], out: str | Path | None = None) -> list[Finding]:
    """Write a self-contained HTML report about one run or several, and return what it says of each config.

    Args:
        runs: folders as `train` and `evaluate` leave them; several are shown over one another, with their mean.
        out: where the page goes; by default `report.html`, in the folder of the run where there is one.

    Raises:
        UsageError: a folder holds no run.
        Ssl4rlError: a run cannot be read.
        MissingExtra: matplotlib is not installed.
    """
    if not runs:
        raise UsageError("a report needs a run: name its folder, as in 'ssl4rl report runs/demo'")
    read = read_runs([Path(run) for run in runs])
    found = findings(read)
    write_page(
        report_path(runs, out),
        "report.html.j2",
        title=f"Report: {', '.join(run.name for run in read)}",
        runs=read,
        models=_models(read),
        findings=found,
        tables=[_table(finding, read) for finding in found],
        skipped=_skipped(read),
        overall=_overall(read),
        tasks=_tasks(read),
        smoothing=window(max((len(run.metrics) for run in read), default=0)),
        health=_health(read),
        samples=_samples(read),
        samples_of=next((run.name for run in read if run.completions), "") if len(read) > 1 else "",
        recipes=_distinct([(run.name, run.recipe) for run in read if run.recipe]),
        environments=_distinct([(run.name, _flat(run.environment)) for run in read if run.environment]),
        lost=sum(run.lost for run in read),
    )
    return found


def report_path(runs: Sequence[str | Path], out: str | Path | None) -> Path:
    """Where the report of these runs goes."""
    if out is not None:
        return Path(out)
    return Path(runs[0]) / "report.html" if len(runs) == 1 else Path("report.html")


def _models(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(result.model for run in runs for result in run.results if result.model))


def _table(finding: Finding, runs: Sequence[Run]) -> dict[str, Any]:
    """The rows of one config: every run at every stage, and the mean of a stage where there are several runs."""
    names = STAGE_NAMES if any(run.metrics for run in runs) else {**STAGE_NAMES, "end": _EVALUATED}
    rows = []
    for stage in STAGES:
        results = [(run.name, result) for run in runs if (result := run.result(finding.config, stage)) is not None]
        if len(results) > 1:
            rows.append(_mean_row(names[stage], [result for _, result in results]))
        rows += [_row(names[stage], name, result, "one" if len(results) > 1 else "single") for name, result in results]
    return {"finding": finding, "chance": rows[0]["chance"], "rows": rows}


def _row(stage: str, name: str, result: Result, kind: str) -> dict[str, Any]:
    return {**result.model_dump(), "stage": stage, "run": name, "kind": kind}


def _mean_row(stage: str, results: Sequence[Result]) -> dict[str, Any]:
    """The mean of several runs; its bar spans their accuracies, not a confidence interval."""
    accuracies = [result.accuracy for result in results]
    rates = [result.format_rate for result in results if result.format_rate is not None]
    seconds = [result.seconds for result in results if result.seconds is not None]
    return {
        "stage": stage,
        "run": f"mean of {len(results)} runs",
        "kind": "several",
        "n": _counts([result.n for result in results]),
        "accuracy": mean(accuracies),
        "low": min(accuracies),
        "high": max(accuracies),
        "chance": results[0].chance,
        "format_rate": mean(rates) if rates else None,
        "seconds": mean(seconds) if seconds else None,
    }


def _counts(counts: Sequence[int]) -> str:
    """Numbers of samples, not added up: the runs may have been asked the same ones."""
    return f"{len(counts)} × {counts[0]}" if len(set(counts)) == 1 else " + ".join(map(str, counts))  # noqa: RUF001


def _skipped(runs: Sequence[Run]) -> list[tuple[str, Any]]:
    """Why items were left out of training, and how many."""
    skipped = [run.config.get("skipped") for run in runs]
    return [line for counts in skipped if isinstance(counts, dict) for line in counts.items()]


def _chances(runs: Sequence[Run]) -> tuple[float, float] | None:
    chances = [result.chance for run in runs for result in run.results]
    return (min(chances), max(chances)) if chances else None


def _overall(runs: Sequence[Run]) -> list[dict[str, str]]:
    """The two rewards over all tasks: one chart each, never their sum."""
    return _rewards(runs, "", _chances(runs))


def _tasks(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """For each config its accuracy, and its own rewards where several configs are mixed."""
    configs = config_names(runs)
    tasks = []
    for config in configs:
        chance = next(result.chance for run in runs for result in run.results if result.config == config)
        charts = [_accuracy(config, chance, runs)]
        if len(configs) > 1:
            charts += _rewards(runs, f"/{config}", (chance, chance))
        tasks.append({"config": config, "charts": charts})
    return tasks


def _accuracy(config: str, chance: float, runs: Sequence[Run]) -> dict[str, str]:
    stages = [
        Stages(*(run.result(config, stage) for stage in STAGES), measured=run.series(f"eval/{config}/accuracy"))
        for run in runs
    ]
    last_step = max((run.metrics[-1]["step"] for run in runs if run.metrics), default=0.0)
    note = "Bars: 95 % intervals." if len(runs) == 1 else f"Faint: each run. Bold: the mean of {len(runs)}."
    return {"title": "Held-out accuracy", "note": note, "svg": accuracy_chart(stages, chance, last_step)}


def _rewards(runs: Sequence[Run], suffix: str, chance: tuple[float, float] | None) -> list[dict[str, str]]:
    answer = [run.series(f"rewards/answer{suffix}") for run in runs]
    formatted = [run.series(f"rewards/format{suffix}") for run in runs]
    charts = []
    if any(answer):
        svg = steps_chart(answer, chance=chance, colour=ACCENT)
        charts.append({"title": "Answer reward", "note": "Training samples; 0 where the format is broken.", "svg": svg})
    if any(formatted):
        svg = steps_chart(formatted, colour=PLAIN)
        charts.append({"title": "Format reward", "note": "Whether the answer stood in its place.", "svg": svg})
    return charts


def _health(runs: Sequence[Run]) -> list[dict[str, str]]:
    charts = []
    for key, (title, note, share) in _HEALTH.items():
        series: list[Series] = [run.series(key) for run in runs]
        if any(series):
            charts.append({"title": title, "note": note, "svg": steps_chart(series, share=share, colour=PLAIN)})
    return charts


def _samples(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The first recorded samples of each config, with what the first run's model said to each at every stage."""
    run = next((run for run in runs if run.completions), None)
    if run is None:
        return []
    said: dict[str, dict[tuple[str, str], dict[str, Completion]]] = {}
    for completion in run.completions:
        stages = said.setdefault(completion.config, {}).setdefault((completion.config, completion.sample), {})
        stages[completion.stage] = completion
    shown = max(2, _SAMPLES // len(said))
    return [_sample(run, stages) for samples in said.values() for stages in list(samples.values())[:shown]]


def _sample(run: Run, stages: dict[str, Completion]) -> dict[str, Any]:
    first = next(iter(stages.values()))
    pictures = [_picture(run.path, name) for name in first.images]
    texts = first.question.split("<image>")
    if len(texts) != len(pictures) + 1:  # a question that speaks of "<image>" itself
        texts = ["", *[""] * (len(pictures) - 1), first.question] if pictures else [first.question]
    parts: list[dict[str, Any]] = []
    for place, text in enumerate(texts):
        if place:
            parts.append({"image": pictures[place - 1]})
        if text.strip():
            parts.append({"text": text})
    completions = [
        {"stage": STAGE_NAMES[stage], "completion": said, "right": said.score >= 1, "partial": 0 < said.score < 1}
        for stage in STAGES
        if (said := stages.get(stage)) is not None
    ]
    return {
        "config": first.config,
        "id": first.sample,
        "parts": parts,
        "answer": first.answer_text,
        "completions": completions,
    }


def _picture(folder: Path, name: str) -> Picture | None:
    """A picture of the run's folder, decoded and encoded again so that nothing but pixels reaches the page."""
    from PIL import Image

    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        return None
    try:
        with Image.open(io.BytesIO(path.read_bytes()), formats=("PNG", "JPEG", "WEBP")) as image:
            image.thumbnail((_LARGEST_PICTURE, _LARGEST_PICTURE))
            return Picture.of(image)
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def _distinct(named: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Values with the names of the runs that share them."""
    values: list[Any] = []
    names: list[list[str]] = []
    for name, value in named:
        if value not in values:
            values.append(value)
            names.append([])
        names[values.index(value)].append(name)
    return [(", ".join(shared), value) for shared, value in zip(names, values, strict=True)]


def _flat(values: Any, name: str = "") -> list[tuple[str, str]]:
    """Nested values as lines: ("torch", "2.14")."""
    if not isinstance(values, dict):
        return [(name, str(values))]
    return [line for key, value in values.items() for line in _flat(value, key)]
