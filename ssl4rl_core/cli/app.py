"""The command line's frame: global options, and how an error reaches the user."""

import importlib
import os
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

import ssl4rl_core
from ssl4rl_core.cli.tables import text_console
from ssl4rl_core.errors import Ssl4rlError, Stopped, one_line
from ssl4rl_core.plugins import load_file, registry

COMMANDS = (
    *("tasks", "plugins", "sources", "formats"),
    *("preview", "build", "inspect", "push", "export"),
    *("train", "eval", "score", "transfer", "report"),
    *("new", "check", "audit"),
)

app = typer.Typer(
    name="ssl4rl",
    help="Verifiable rewards for post-training, from unlabelled images and graphs.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"ssl4rl {ssl4rl_core.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    plugin: Annotated[
        list[str] | None,
        typer.Option("--plugin", metavar="FILE.py", help="Also load this unpackaged plugin; may be repeated."),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version, and no more.")
    ] = False,
) -> None:
    for path in plugin or ():
        load_file(path)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code: 0 ok, 1 failed, 2 used wrongly, 130 stopped by Ctrl-C."""
    for command in COMMANDS:
        importlib.import_module(f"ssl4rl_core.cli.{command}_command")
    debug = "--debug" in arguments or bool(os.environ.get("SSL4RL_DEBUG"))
    errors = text_console(stderr=True)
    try:
        files, command = _read_ahead(arguments)
        if command not in COMMANDS and not (command == "" and "--version" in arguments):
            for path in files:
                load_file(path)
            registry().add_commands(app)
        # Standalone mode would exit, and show a wrong option as a box of six lines.
        command_line = typer.main.get_command(app)
        # As context.obj a command has the whole line, where it has to say what to run again.
        result = command_line.main(list(arguments), prog_name="ssl4rl", standalone_mode=False, obj=list(arguments))
        if result == Stopped.exit_code:  # what Typer makes of Ctrl-C
            errors.print("interrupted")
        return result if isinstance(result, int) else 0
    except TyperException as error:
        # Without arguments the help has been printed already, and the message is empty.
        if message := error.format_message():
            hint = f"see '{_command_path(error)} --help'"
            errors.print(f"error: {message.rstrip('.')}; {hint}", style="red")
        return error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        errors.print("interrupted")
        return Stopped.exit_code
    except Stopped as stopped:
        errors.print(str(stopped))
        return stopped.exit_code
    except Ssl4rlError as error:
        if debug:
            raise
        errors.print(f"error: {error}", style="red")
        return error.exit_code
    except Exception as error:
        if debug:
            raise
        errors.print(f"error: {_unforeseen(error)}", style="red")
        return 1


def _read_ahead(arguments: Sequence[str]) -> tuple[list[str], str]:
    """The files that `--plugin` names before the command, and the command, "" where none is given.

    A command of ours needs no plugin to be known, and `ssl4rl plugins --probe` must run where one hangs.
    """
    files, rest = [], iter(arguments)
    for argument in rest:
        option, equals, value = argument.partition("=")
        if option == "--plugin":
            files.append(value if equals else next(rest, ""))
        elif not argument.startswith("-"):
            return files, argument
    return files, ""


def _unforeseen(error: Exception) -> str:
    """An error that no module of ours has put into words, in one line: what, where, and how to see more."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(where.filename).name}, line {where.lineno}"
    return (
        f"{type(error).__name__}: {one_line(error)} ({place}); 'ssl4rl --debug' before the command shows the way there"
    )


def _command_path(error: TyperException) -> str:
    """The command that an error of usage is about, "ssl4rl build"."""
    context = getattr(error, "ctx", None)
    return context.command_path if context else "ssl4rl"
