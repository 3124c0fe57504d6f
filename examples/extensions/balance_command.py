"""A command of one's own: how often each answer is the right one in a build.

ssl4rl --plugin examples/extensions/balance_command.py balance runs/photos
"""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from ssl4rl_core import hookimpl


def balance(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="What 'ssl4rl build' left.")],
    most: Annotated[int, typer.Option(min=1, help="Answers to show of each config.")] = 5,
) -> None:
    """Show the most frequent right answers of each config: none should stand out.

    Example: [bold]ssl4rl balance runs/photos --most 3[/bold]
    """
    from data_builders import BuiltSamples

    samples = BuiltSamples(directory)
    for config in samples.configs:
        size = samples.size(config, "train")
        answers = Counter(samples.stored(config, "train", index).record.answer_text for index in range(size))
        shares = ", ".join(f"{answer} {count / size:.0%}" for answer, count in answers.most_common(most))
        typer.echo(f"{config}: {shares or 'no samples'}")


@hookimpl
def ssl4rl_commands(app: typer.Typer) -> None:
    app.command("balance")(balance)
