"""The progress bars of commands: of those that go through samples, and of those that go through files."""

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


def samples_bar(console: Console, *columns: ProgressColumn) -> Progress:
    """A bar that ends "... samples, 12 a second left 0:00:07", and is shown on terminals only.

    Its task needs a description and a field `rate`, which is "?" at first and then what `rate` says.

    Args:
        columns: what stands between the count and "samples", where what is counted are not samples.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        *columns,
        TextColumn("samples, {task.fields[rate]} a second"),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def bytes_bar(console: Console) -> Progress:
    """A bar in bytes, shown on terminals only. Its task needs a description."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def rate(bar: Progress, done: float) -> str:
    """Samples a second since the bar's first task began, to three digits; "?" before it did."""
    elapsed = bar.tasks[0].elapsed
    if not elapsed:
        return "?"
    return f"{done / elapsed:,.0f}" if done / elapsed >= 100 else f"{done / elapsed:.3g}"
