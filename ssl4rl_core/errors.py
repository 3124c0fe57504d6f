"""The errors a user meets. Each message is one line: what is wrong, where, and what mends it."""

from pydantic import ValidationError

from ssl4rl_core.pydantic_errors import class_problem


class Ssl4rlError(Exception):
    """Something failed while running. The command line prints the message and exits with `exit_code`."""

    exit_code = 1


class UsageError(Ssl4rlError):
    """The call names something that does not exist or cannot be: a task, a source, an option, a recipe key."""

    exit_code = 2


class Stopped(Ssl4rlError):
    """The user stopped the command (Ctrl-C): says how to go on."""

    exit_code = 130


class MissingExtra(Ssl4rlError):
    """A package of an optional extra is not installed."""

    def __init__(self, what: str, extra: str, cause: ImportError | None = None) -> None:
        missing = f" ({cause.name} is missing)" if cause is not None and cause.name else ""
        super().__init__(f"{what} needs the extra '{extra}'{missing}: pip install 'ssl4rl-core[{extra}]'")

    def __reduce__(self) -> tuple[type[Ssl4rlError], tuple[object, ...]]:
        # From a worker process it comes as its message, which is all that these arguments were for.
        return Ssl4rlError, self.args


class TaskError(Ssl4rlError):
    """A plugin's own code failed: names the task, the item and the distribution it came from."""


def one_line(said: object) -> str:
    """What another library's error says, in one line: white space as single spaces, cut after 300 characters.

    Of what pydantic says the first thing that is wrong, and no address.
    """
    text = " ".join((class_problem(said) if isinstance(said, ValidationError) else str(said)).split())
    return text if len(text) <= 300 else f"{text[:300]} ..."
