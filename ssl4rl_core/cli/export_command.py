"""`ssl4rl export`: a build as other files; a subcommand for each exporter, with a flag for each of its options."""

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.filesize import decimal
from typer.core import TyperGroup

from ssl4rl_core.bars import rate, samples_bar
from ssl4rl_core.cli.app import app
from ssl4rl_core.cli.tables import JsonOption, show
from ssl4rl_core.exporters import Exporter
from ssl4rl_core.plugins import Registry, registry
from ssl4rl_core.samples import Split


class _Exporters(TyperGroup):
    """Subcommands that are looked up when they are asked for: `--plugin FILE.py` may bring more."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(registry().exporters)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        own = typer.Typer(add_completion=False, rich_markup_mode="rich")
        own.command(cmd_name, help=inspect.getdoc(registry().exporter(cmd_name)))(_command(cmd_name))
        return typer.main.get_command(own)


exporters = typer.Typer(cls=_Exporters, invoke_without_command=True)
app.add_typer(exporters, name="export")


@exporters.callback()
def export(context: typer.Context, as_json: JsonOption = False) -> None:
    """Write a build as files for other programs: [bold]ssl4rl export verl data/photos --out data/photos-verl[/bold]

    Without an exporter's name it lists the exporters; what one takes: [bold]ssl4rl export verl --help[/bold]
    """
    if context.invoked_subcommand is None:
        show(list_exporters(registry()), as_json=as_json)


def list_exporters(found: Registry) -> list[dict[str, Any]]:
    """Every exporter in a line: name, first line of its docstring, options, plugin."""
    return [
        {
            "name": name,
            "writes": (inspect.getdoc(exporter) or "").partition("\n")[0],
            "options": [_flag(name, field.annotation) for name, field in exporter.options_type.model_fields.items()],
            "plugin": found.origin("exporter", name),
        }
        for name, exporter in sorted(found.exporters.items())
    ]


def _command(name: str) -> Any:
    """The function behind a subcommand: what all exporters take, and a flag for each of this one's options."""

    def command(
        directory: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that 'ssl4rl build' wrote.")],
        out: Annotated[Path, typer.Option(metavar="OUT", help="A new folder.")],
        task: Annotated[
            list[str] | None,
            typer.Option(metavar="CONFIG", help="A config, or a task with or without :LEVEL; may be repeated."),
        ] = None,
        split: Annotated[Split | None, typer.Option(help="Only this one.")] = None,
        as_json: JsonOption = False,
        **options: Any,
    ) -> None:
        _run(name, directory, out, tasks=task or (), splits=(split,) if split else (), as_json=as_json, **options)

    return _with_flags(command, registry().exporter(name))


def _with_flags(command: Any, exporter: Exporter) -> Any:
    """Typer reads flags off a signature, so the exporter's options take the place of `**options` there."""
    common = [each for each in inspect.signature(command).parameters.values() if each.name != "options"]
    flags = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.is_required() else field.get_default(call_default_factory=True),
            annotation=Annotated[field.annotation, typer.Option(_flag(name, field.annotation), help=field.description)],
        )
        for name, field in exporter.options_type.model_fields.items()
    ]
    command.__signature__ = inspect.Signature([*common, *flags])
    command.__annotations__ = {each.name: each.annotation for each in [*common, *flags]}
    return command


def _flag(option: str, annotation: Any) -> str:
    name = option.replace("_", "-")
    return f"--{name}/--no-{name}" if annotation is bool else f"--{name}"


def _run(name: str, directory: Path, out: Path, *, as_json: bool, **given: Any) -> None:
    import data_builders.exporters
    from data_builders.reader import BuiltSamples
    from data_builders.selection import Selection

    total = len(Selection(BuiltSamples(directory), given["tasks"], given["splits"]))
    with samples_bar(Console(stderr=True)) as bar:
        step = bar.add_task("exporting", total=total, rate="?")

        def advance(samples: int) -> None:
            bar.update(step, advance=samples, rate=rate(bar, bar.tasks[0].completed + samples))

        files = data_builders.exporters.export(name, directory, out, advance=advance, **given)
    rows = [{"file": str(file.path), "samples": file.samples, "bytes": file.path.stat().st_size} for file in files]
    if not as_json:
        rows = [{"file": row["file"], "samples": row["samples"] or "", "size": decimal(row["bytes"])} for row in rows]
    show(rows, as_json=as_json)
