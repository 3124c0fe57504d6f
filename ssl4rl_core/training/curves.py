"""Curves of a report, as inline SVG: one quantity a chart, and the chance line wherever accuracy is one of them."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ssl4rl_core.errors import MissingExtra
from ssl4rl_core.pages import percent
from ssl4rl_core.training.run_folder import Result, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACCENT, PLAIN, FAINT = "#3346c4", "#3b434d", "#868e99"
_WIDTH, _HEIGHT = 4.2, 2.5  # inches; a third of a page on a desk, its full width on a telephone
_MOST_DOTS = 600
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text, in the page's own font
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "axes.edgecolor": "#c9ced5",
    "axes.labelcolor": FAINT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "xtick.color": "#c9ced5",
    "xtick.labelcolor": FAINT,
    "ytick.color": "#ffffff00",
    "ytick.labelcolor": FAINT,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#eceef1",
    "grid.linewidth": 0.8,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.axisbelow": True,
}


@dataclass(frozen=True)
class Stages:
    """Held-out accuracy of one run: results before and after training, and what was measured on the way."""

    start: Result | None
    format: Result | None
    end: Result | None
    measured: Series


def smoothed(values: Sequence[float]) -> list[float]:
    """The centred running mean over `window(len(values))` values; at the ends, over those that are there."""
    reach = window(len(values)) // 2
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    spans = [(max(0, place - reach), min(len(values), place + reach + 1)) for place in range(len(values))]
    return [(sums[end] - sums[begin]) / (end - begin) for begin, end in spans]


def window(count: int) -> int:
    """How many logged steps a smoothed line takes the mean of: an odd number, a twentieth of all or so."""
    return 2 * (count // 40) + 1


def steps_chart(
    runs: Sequence[Series], *, share: bool = True, chance: tuple[float, float] | None = None, colour: str = ACCENT
) -> str:
    """A quantity over the steps: dots and a smoothed line for one run, for several a faint line each and their mean.

    Args:
        share: the quantity is a share in [0, 1], shown in per cent.
        chance: the chance level, lowest and highest where tasks with several are mixed.

    Returns:
        An `<svg>` element.
    """
    runs = [series for series in runs if series]
    with _chart(share) as (axes, svg):
        axes.set_xlim(0, 1.02 * max((series[-1][0] for series in runs), default=1.0))
        lines = [([step for step, _ in series], smoothed([value for _, value in series])) for series in runs]
        if len(runs) == 1:
            # Of a long run not every dot, or the page grows heavy; the line is drawn through all.
            steps, values = zip(*runs[0][:: 1 + len(runs[0]) // _MOST_DOTS], strict=True)
            axes.plot(steps, values, ".", color=colour, alpha=0.35, markersize=4, markeredgewidth=0)
            mean_steps, mean_values = lines[0]
        else:
            for steps, values in lines:
                axes.plot(steps, values, color=colour, alpha=0.28, linewidth=1)
            mean_steps, mean_values = _mean_line(lines)
        axes.plot(mean_steps, mean_values, color=colour, linewidth=2, solid_capstyle="round")
        if mean_values:
            _label_end(axes, mean_steps[-1], mean_values[-1], share, colour)
        if chance is not None:
            _draw_chance(axes, chance)
    return svg[0]


def accuracy_chart(runs: Sequence[Stages], chance: float, last_step: float) -> str:
    """Held-out accuracy before, during and after training, each with its 95 % interval, and the chance line.

    Returns:
        An `<svg>` element.
    """
    with _chart(share=True) as (axes, svg):
        begin = -0.15 * max(last_step, 1.0) if any(run.start and run.format for run in runs) else 0.0
        single = len(runs) == 1
        places = {"start": begin if begin else 0.0, "format": 0.0, "end": max(last_step, 1.0)}
        lines = []
        for run in runs:
            results = {stage: getattr(run, stage) for stage in places}
            stages = [(places[stage], result) for stage, result in results.items() if result is not None]
            points = sorted([(place, result.accuracy) for place, result in stages] + _between(run.measured, places))
            lines.append(tuple(map(list, zip(*points, strict=True))) if points else ([], []))
            axes.plot(*lines[-1], color=ACCENT, alpha=1 if single else 0.28, linewidth=1.6 if single else 1)
            for place, result in stages:
                axes.plot([place, place], [result.low, result.high], color=ACCENT, alpha=0.5 if single else 0.2)
                axes.plot([place], [result.accuracy], "o", color=ACCENT, markersize=5 if single else 3)
        mean_steps, mean_values = lines[0] if single else _mean_line([line for line in lines if line[0]])
        if not single:
            axes.plot(mean_steps, mean_values, color=ACCENT, linewidth=2)
        if mean_values:
            _label_end(axes, mean_steps[-1], mean_values[-1], True, ACCENT)
        _name_stages(axes, runs, places, begin)
        _draw_chance(axes, (chance, chance))
    return svg[0]


def _between(measured: Series, places: dict[str, float]) -> Series:
    """What was measured on the way; the ends are the results'."""
    return [(step, value) for step, value in measured if 0 < step < places["end"]]


def _name_stages(axes: "Axes", runs: Sequence[Stages], places: dict[str, float], begin: float) -> None:
    names = {"start": "start", "format": "format\nstart"} if begin else {}
    for stage, text in names.items():
        highest = max((result.high for run in runs if (result := getattr(run, stage))), default=0.0)
        axes.annotate(
            text, (places[stage], highest), (0, 5), textcoords="offset points", ha="center", va="bottom", color=FAINT
        )


def _mean_line(lines: Sequence[tuple[list[float], list[float]]]) -> tuple[list[float], list[float]]:
    """The mean of several lines over the steps that all of them span."""
    import numpy as np

    if not lines:
        return [], []
    begin, end = max(steps[0] for steps, _ in lines), min(steps[-1] for steps, _ in lines)
    shared = sorted({step for steps, _ in lines for step in steps if begin <= step <= end})
    if not shared:
        return [], []
    return shared, np.mean([np.interp(shared, steps, values) for steps, values in lines], axis=0).tolist()


def _draw_chance(axes: "Axes", chance: tuple[float, float]) -> None:
    low, high = chance
    if low == high:
        axes.axhline(low, color=PLAIN, linewidth=1, linestyle=(0, (4, 3)), zorder=1.5)
        text = f"chance {percent(low, exact=True)}"
    else:
        axes.axhspan(low, high, color=FAINT, alpha=0.18, linewidth=0)
        text = f"chance {percent(low, exact=True)} to {percent(high, exact=True)}"
    axes.annotate(
        text, (1, low), (0, -3), xycoords=("axes fraction", "data"), textcoords="offset points",
        ha="right", va="top", color=PLAIN, fontsize=8.5,
    )  # fmt: skip


def _label_end(axes: "Axes", step: float, value: float, share: bool, colour: str) -> None:
    text = percent(value) if share else f"{value:.3g}"
    axes.annotate(
        text, (step, value), (6, 0), textcoords="offset points", va="center", color=colour, fontweight="bold",
        annotation_clip=False,
    )  # fmt: skip


@contextmanager
def _chart(share: bool) -> Iterator[tuple["Axes", list[str]]]:
    """Axes to draw on; when the block ends, the list holds the chart as SVG."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
        from matplotlib.ticker import FuncFormatter, MaxNLocator
    except ImportError as error:
        raise MissingExtra("'ssl4rl report'", "train", error) from error
    svg: list[str] = []
    with mpl.rc_context({**_STYLE, "svg.hashsalt": "ssl4rl"}):
        figure = Figure(figsize=(_WIDTH, _HEIGHT))
        axes: Any = figure.add_axes((0.125, 0.13, 0.755, 0.83))
        yield axes, svg
        if share:
            axes.set_ylim(-0.02, 1.04)
            axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
        else:
            axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:.0f}" if step else "step 0"))
        svg.append(_svg(figure))


def _svg(figure: Any) -> str:
    import io

    written = io.StringIO()
    figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    text = written.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Several charts stand in one page: what no other element refers to needs no id.
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    return re.sub(r' (?:width|height)="[0-9.]+pt"', "", text, count=2)
