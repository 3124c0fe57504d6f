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

ACCENT, PLAIN, FAINT, PAPER = "#3346c4", "#3b434d", "#868e99", "#ffffff"
_EDGE, _GRID = "#c9ced5", "#eceef1"
_WIDTH, _HEIGHT = 4.2, 2.5  # inches; a third of a page on a desk, its full width on a telephone
_PLOT = (0.125, 0.13, 0.755, 0.83)  # left, bottom, width and height, as shares of the chart's
_SHARES = (-0.02, 1.04)
_LABEL_HEIGHT = 10.5  # points
_MOST_DOTS = 600
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text, in the page's own font
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "axes.edgecolor": _EDGE,
    "axes.labelcolor": FAINT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "xtick.color": _EDGE,
    "xtick.labelcolor": FAINT,
    "ytick.color": "#ffffff00",
    "ytick.labelcolor": FAINT,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": _GRID,
    "grid.linewidth": 0.8,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.axisbelow": True,
}


COLOURS = (ACCENT, "#c2571a", "#14713d", "#8a3ea6", "#0e7c86", "#a3801a", "#b0305f", "#5b6b2f", "#6b7fd7", "#7a5230")
_VARIABLES = {
    **{colour: f"--curve-{number}" for number, colour in enumerate(COLOURS)},
    PLAIN: "--plain",
    FAINT: "--dim",
    PAPER: "--paper",
    _EDGE: "--edge",
    _GRID: "--grid",
}
"""What the page calls the colours, so that it can choose others for a dark screen."""


@dataclass(frozen=True)
class Curve:
    """A quantity over the steps in the runs of one recipe; of several runs their mean is drawn too."""

    runs: Sequence[Series]
    colour: str = ACCENT


@dataclass(frozen=True)
class Stages:
    """Held-out accuracy of one run: results before and after training."""

    start: Result | None
    format: Result | None
    end: Result | None


@dataclass(frozen=True)
class Accuracy:
    """Held-out accuracy in the runs of one recipe."""

    runs: Sequence[Stages]
    colour: str = ACCENT


def colour_of(number: int) -> str:
    """The colour of a recipe, or of a config in a batch, in a chart; after the last of them they begin again."""
    return COLOURS[number % len(COLOURS)]


def page_colour(number: int) -> str:
    """The same colour as the page's style sheet names it."""
    return f"var({_VARIABLES[colour_of(number)]})"


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


def steps_chart(curves: Sequence[Curve], *, share: bool = True, chance: tuple[float, float] | None = None) -> str:
    """A quantity over the steps: dots and a smoothed line for one run, for several a faint line each and their mean.

    Args:
        curves: one for each recipe.
        share: the quantity is a share in [0, 1], shown in per cent.
        chance: the chance level, lowest and highest where tasks with several are mixed.

    Returns:
        An `<svg>` element.
    """
    curves = [Curve([series for series in curve.runs if series], curve.colour) for curve in curves]
    alone = len(curves) == 1 and len(curves[0].runs) == 1
    with _chart(share) as (axes, svg):
        axes.set_xlim(0, 1.02 * max((series[-1][0] for curve in curves for series in curve.runs), default=1.0))
        ends = []
        for curve in curves:
            lines = [([step for step, _ in series], smoothed([each for _, each in series])) for series in curve.runs]
            if alone:
                # Of a long run not every dot, or the page grows heavy; the line is drawn through all.
                steps, values = zip(*curve.runs[0][:: 1 + len(curve.runs[0]) // _MOST_DOTS], strict=True)
                axes.plot(steps, values, ".", color=curve.colour, alpha=0.35, markersize=4, markeredgewidth=0)
            elif len(lines) > 1:
                for steps, values in lines:
                    axes.plot(steps, values, color=curve.colour, alpha=0.28, linewidth=1)
            ends += _draw_mean(axes, lines, curve.colour, 2)
        _label_ends(axes, ends, share)
        if chance is not None:
            _draw_chance(axes, chance)
    return svg[0]


def shares_chart(shares: Sequence[Series]) -> str:
    """What a batch is made of over the steps: the shares of the configs, in COLOURS, one upon the other up to 1.

    Returns:
        An `<svg>` element, without a legend.
    """
    import numpy as np

    with _chart(share=True) as (axes, svg):
        steps = sorted({step for series in shares for step, _ in series})
        heights = [np.interp(steps, [step for step, _ in each], [share for _, share in each]) for each in shares]
        axes.set_xlim(steps[0], max(steps[-1], steps[0] + 1))
        axes.stackplot(steps, heights, colors=COLOURS, edgecolor=PAPER, linewidth=0.6)
    return svg[0]


def accuracy_chart(groups: Sequence[Accuracy], chance: float, last_step: float) -> str:
    """Held-out accuracy before, during and after training, each with its 95 % interval, and the chance line.

    Returns:
        An `<svg>` element.
    """
    runs = [run for group in groups for run in group.runs]
    single = len(runs) == 1
    with _chart(share=True) as (axes, svg):
        begin = -0.15 * max(last_step, 1.0) if any(run.start and run.format for run in runs) else 0.0
        places = {"start": begin, "format": 0.0, "end": max(last_step, 1.0)}
        ends = []
        for group in groups:
            lines = [_draw_stages(axes, run, places, group.colour, 1 if single else 0.28) for run in group.runs]
            ends += _draw_mean(axes, [line for line in lines if line[0]], group.colour, 1.6 if single else 2)
        _label_ends(axes, ends, True)
        _name_stages(axes, runs, places, begin)
        _draw_chance(axes, (chance, chance))
    return svg[0]


Line = tuple[list[float], list[float]]


def _draw_stages(axes: "Axes", run: Stages, places: dict[str, float], colour: str, alpha: float) -> Line:
    """One run's accuracies with their intervals; returns the line through them."""
    results = {stage: getattr(run, stage) for stage in places}
    stages = [(places[stage], result) for stage, result in results.items() if result is not None]
    points = sorted((place, result.accuracy) for place, result in stages)
    steps, values = [step for step, _ in points], [value for _, value in points]
    axes.plot(steps, values, color=colour, alpha=alpha, linewidth=1)
    for place, result in stages:
        axes.plot([place, place], [result.low, result.high], color=colour, alpha=0.6 * max(alpha, 0.4))
        axes.plot([place], [result.accuracy], "o", color=colour, markersize=5 if alpha == 1 else 3)
    return steps, values


def _draw_mean(axes: "Axes", lines: Sequence[Line], colour: str, width: float) -> list[tuple[float, float, str]]:
    """The mean of several lines; returns where it ends, with its colour, or nothing where it has no points."""
    steps, values = lines[0] if len(lines) == 1 else mean_line(lines)
    if not values:
        return []
    axes.plot(steps, values, color=colour, linewidth=width, solid_capstyle="round")
    return [(steps[-1], values[-1], colour)]


def _name_stages(axes: "Axes", runs: Sequence[Stages], places: dict[str, float], begin: float) -> None:
    names = {"start": "start", "format": "format\nstart"} if begin else {}
    for stage, text in names.items():
        highest = max((result.high for run in runs if (result := getattr(run, stage))), default=0.0)
        axes.annotate(
            text, (places[stage], highest), (0, 5), textcoords="offset points", ha="center", va="bottom", color=FAINT
        )


def mean_line(lines: Sequence[Line]) -> Line:
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


def _label_ends(axes: "Axes", ends: Sequence[tuple[float, float, str]], share: bool) -> None:
    """The last value of each line beside it; where two would cover each other, the upper one moves up."""
    if share:
        axes.set_ylim(*_SHARES)
    bottom, top = axes.get_ylim()
    points = 72 * _HEIGHT * _PLOT[3] / (top - bottom or 1)  # of a font's, for one unit of the quantity
    lowest = float("-inf")
    for step, value, colour in sorted(ends, key=lambda end: end[1]):
        place = max(value * points, lowest)
        lowest = place + _LABEL_HEIGHT
        axes.annotate(
            percent(value) if share else f"{value:.3g}",
            (step, value), (6, place - value * points), textcoords="offset points", va="center", color=colour,
            fontweight="bold", annotation_clip=False,
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
        axes: Any = figure.add_axes(_PLOT)
        yield axes, svg
        if share:
            axes.set_ylim(*_SHARES)
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
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    return re.sub(r' (?:width|height)="[0-9.]+pt"', "", text, count=2)
