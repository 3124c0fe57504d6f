"""What a run shows on the terminal: one bar a phase, with the figures that matter and the time left."""

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Advance = Callable[[int, str], None]
"""Called with how much is done, and a few words on how it goes."""


class Display:
    """Bars on a terminal; a line every tenth of the way where output goes to a file."""

    def __init__(self, console: Console | None = None, *, shown: bool = True) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._shown = shown

    def note(self, text: str) -> None:
        """Print a line."""
        if self._shown:
            self._console.print(text, markup=False, soft_wrap=True)

    @contextlib.contextmanager
    def phase(self, name: str, total: int) -> Iterator[Advance]:
        """Show a phase of `total` steps while the block runs."""
        if not self._shown:
            yield lambda done, text: None
        elif self._console.is_terminal:
            with self._bar() as bar:
                task = bar.add_task(name, total=total, text="")
                yield lambda done, text: bar.update(task, completed=done, text=text)
        else:
            yield self._lines(name, total)

    def _bar(self) -> Progress:
        columns = (
            TextColumn("{task.description:<16}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(compact=True),
        )
        return Progress(*columns, console=self._console)

    def _lines(self, name: str, total: int) -> Advance:
        tenths = -1

        def advance(done: int, text: str) -> None:
            nonlocal tenths
            if (reached := 10 * done // max(total, 1)) > tenths:
                tenths = reached
                self.note(f"{name} {done}/{total} {text}".rstrip())

        return advance


@contextlib.contextmanager
def quietly(verbose: bool = False) -> Iterator[None]:
    """Keep what transformers, TRL and accelerate say to errors while the block runs, unless `verbose`."""
    if verbose:
        yield
        return
    from transformers.utils import logging as transformers_logging

    talkers = ("accelerate", "datasets", "huggingface_hub", "peft", "trl", "torch")
    loggers = [logging.getLogger(name) for name in talkers]
    levels = [logger.level for logger in loggers]
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            transformers_logging.set_verbosity(verbosity)
            if bars:
                transformers_logging.enable_progress_bar()
