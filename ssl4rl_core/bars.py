"""Progress bars, shown on terminals only: of what goes through samples, through files, or through a source."""

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


def bar(console: Console, *columns: ProgressColumn) -> Progress:
    """A bar behind its task's description and before these columns."""
    shown = (TextColumn("{task.description}"), BarColumn(), *columns)
    return Progress(*shown, console=console, transient=True, disable=not console.is_terminal)


def samples_bar(console: Console, *columns: ProgressColumn) -> Progress:
    """A bar that ends "... samples, 12 a second left 0:00:07".

    Its task needs a description and a field `rate`, which is "?" at first and then what `rate` says.

    Args:
        columns: what stands between the count and "samples", where what is counted are not samples.
    """
    pace = TextColumn("samples, {task.fields[rate]} a second")
    return bar(console, MofNCompleteColumn(), *columns, pace, TextColumn("left"), TimeRemainingColumn())


def bytes_bar(console: Console) -> Progress:
    """A bar in bytes. Its task needs a description."""
    return bar(console, DownloadColumn(), TransferSpeedColumn(), TextColumn("left"), TimeRemainingColumn())


def rate(progress: Progress, done: float) -> str:
    """Samples a second since the bar's first task began, to three digits; "?" before it did."""
    elapsed = progress.tasks[0].elapsed
    if not elapsed:
        return "?"
    return f"{done / elapsed:,.0f}" if done / elapsed >= 100 else f"{done / elapsed:.3g}"
