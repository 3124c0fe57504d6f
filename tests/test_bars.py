"""The samples bar, as a terminal shows it from its first frame to its last."""

import io

from rich.console import Console
from rich.progress import TextColumn

from ssl4rl_core.bars import rate, samples_bar


def terminal() -> tuple[io.StringIO, Console]:
    file = io.StringIO()
    return file, Console(file=file, force_terminal=True, width=120, no_color=True)


def test_it_shows_before_a_sample_is_done_and_gets_a_rate_after():
    file, console = terminal()
    with samples_bar(console) as bar:
        step = bar.add_task("exporting", total=4000, rate="?")
        bar.refresh()
        assert "0/4000 samples, ? a second left" in file.getvalue()
        bar.tasks[0].start_time = bar.get_time() - 2
        bar.update(step, advance=3000, rate=rate(bar, 3000))
        bar.refresh()
    assert "exporting" in file.getvalue()
    assert "3000/4000 samples, 1,500 a second left" in file.getvalue()


def test_columns_stand_before_the_samples_where_items_are_counted():
    file, console = terminal()
    with samples_bar(console, TextColumn("items"), TextColumn("{task.fields[samples]}")) as bar:
        bar.add_task("building", total=8, samples=24, rate="1.5")
        bar.refresh()
    assert "0/8 items 24 samples, 1.5 a second" in file.getvalue()


def test_the_rate_has_three_digits():
    with samples_bar(terminal()[1]) as bar:
        bar.add_task("auditing", rate="?")
        bar.tasks[0].start_time, bar.tasks[0].stop_time = 0, 100
        assert [rate(bar, done) for done in (5, 1234, 123456, 12345678)] == ["0.05", "12.3", "1,235", "123,457"]
        bar.tasks[0].start_time = None
        assert rate(bar, 5) == "?"


def test_nothing_is_written_where_there_is_no_terminal():
    file = io.StringIO()
    with samples_bar(Console(file=file, force_terminal=False)) as bar:
        bar.add_task("exporting", total=4, rate="?")
    assert not file.getvalue()
