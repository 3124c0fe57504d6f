"""`ssl4rl build`: a dataset of questions from a source."""

import contextlib
import shlex
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import TextColumn

import data_builders
from data_builders.builder import Engine, Interrupted
from data_builders.encoding import ImageFormat
from data_builders.layout import Layout
from data_builders.output import open_output
from data_builders.plan import BuildOptions
from ssl4rl_core.bars import rate, samples_bar
from ssl4rl_core.cli.app import app
from ssl4rl_core.cli.inspect_command import summary
from ssl4rl_core.cli.tables import JsonOption, show, text_console
from ssl4rl_core.errors import Stopped

_USUAL = BuildOptions()


def _option(name: str, **settings: Any) -> Any:
    """A flag for a field of `BuildOptions`, which says what it means and what it is by default."""
    field = BuildOptions.model_fields[name]
    return typer.Option(f"--{name.replace('_', '-')}", help=field.description, **settings)


@app.command("build")
def build(
    context: typer.Context,
    task: Annotated[
        list[str],
        typer.Option(metavar="NAME[:LEVEL][?param=value&...]", help="May be repeated; no level: easy, medium, hard."),
    ],
    source: Annotated[str, typer.Option(metavar="KIND:WHERE", help="Where the items come from; see 'ssl4rl sources'.")],
    out: Annotated[
        str,
        typer.Option(
            metavar="DIR|URL",
            help="A new folder, or one where this build was begun. Or an address that fsspec writes to, such as "
            "s3://bucket/photos: it is read after download, or through datasets.load_dataset.",
        ),
    ],
    workers: Annotated[int, typer.Option(min=1, help="Processes. The output does not depend on it.")] = 1,
    engine: Annotated[
        Engine, typer.Option(help="What runs the workers: processes here, or Ray. The output does not depend on it.")
    ] = "local",
    ray_address: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            help="The Ray cluster, or else RAY_ADDRESS; without one, Ray is started on this machine and ended again.",
        ),
    ] = "",
    seed: Annotated[int, _option("seed")] = _USUAL.seed,
    limit: Annotated[int, _option("limit", metavar="ITEMS")] = _USUAL.limit,
    variants: Annotated[int, _option("variants")] = _USUAL.variants,
    balance: Annotated[bool, _option("balance")] = _USUAL.balance,
    max_side: Annotated[int, _option("max_side", metavar="PX")] = _USUAL.max_side,
    image_format: Annotated[ImageFormat, _option("image_format")] = _USUAL.image_format,
    quality: Annotated[int, _option("quality")] = _USUAL.quality,
    layout: Annotated[Layout, _option("layout")] = _USUAL.layout,
    shard_size: Annotated[int, _option("shard_size", metavar="ITEMS")] = _USUAL.shard_size,
    test_fraction: Annotated[float, _option("test_fraction")] = _USUAL.test_fraction,
    on_error: Annotated[Literal["stop", "skip"], _option("on_error")] = _USUAL.on_error,
    license: Annotated[str, _option("license", metavar="SPDX")] = _USUAL.license,
    as_json: JsonOption = False,
) -> None:
    """Build a dataset of questions with checkable answers.

    [bold]ssl4rl build --task rotation --task jigsaw:hard --source folder:photos --out data/photos --workers 8[/bold]

    Run again after an interruption, the same command finishes what is missing. The same command always writes the same
    bytes, on any number of workers and by either engine. A worker that dies is replaced. Where a file of the source is
    gone or changed since the build was planned, it stops: put the file back and run it again.
    """
    options = {name: value for name, value in locals().items() if name in BuildOptions.model_fields}
    console = text_console(stderr=True)
    try:
        # Standard output is for the summary: Ray prints there when a worker dies, and plugins may.
        with _bar(console) as progress, contextlib.redirect_stdout(sys.stderr):
            manifest = data_builders.build(
                task, source, out, workers=workers, engine=engine, ray_address=ray_address, progress=progress, **options
            )
    except Interrupted as interrupted:
        raise Stopped(f"{interrupted}:\n  {shlex.join(['ssl4rl', *context.obj])}") from None
    show(summary(manifest.lines(), as_json=as_json), as_json=as_json)
    if not any(total.samples for total in manifest.totals):
        console.print("error: no sample could be made; 'left out' counts the items by reason", style="red")
        raise typer.Exit(1)
    if not as_json:
        where = open_output(out).where
        hint = "" if "://" in where else f"; what is in it: ssl4rl inspect {shlex.quote(where)}"
        text_console().print(f"\nbuilt in {where}{hint}")


@contextlib.contextmanager
def _bar(console: Console) -> Iterator[Callable[[data_builders.Progress], None]]:
    """A bar of items, with the samples made of them; it is moved by what is given."""
    with samples_bar(console, TextColumn("items"), TextColumn("{task.fields[samples]}")) as bar:
        step = bar.add_task("building", total=None, samples=0, rate="?")

        def advance(now: data_builders.Progress) -> None:
            speed = rate(bar, now.samples)
            bar.update(step, completed=now.items, total=now.of_items, samples=now.samples, rate=speed)

        yield advance
