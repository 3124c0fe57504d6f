"""What is wrong with a plugin's own code, in words that its author can act on: hooks, and values of params."""

import functools
import inspect
import traceback
from pathlib import Path

import pluggy
from pydantic import ValidationError

from ssl4rl_core import hookspecs
from ssl4rl_core.configs import suggestion
from ssl4rl_core.errors import Ssl4rlError
from ssl4rl_core.pydantic_errors import class_problem, first_problem


@functools.cache
def _hooks() -> dict[str, list[str]]:
    """The hooks there are, and the arguments that each may take."""
    functions = {name: each for name, each in vars(hookspecs).items() if name.startswith(f"{hookspecs.GROUP}_")}
    return {name: list(inspect.signature(function).parameters) for name, function in functions.items()}


def check_hooks(manager: pluggy.PluginManager, module: object) -> None:
    """See that a registered module has hooks, and only such as there are; call it before the specs are added.

    Raises:
        Ssl4rlError: it has none, a misspelt one, or one with an argument that it is not given.
    """
    callers = manager.get_hookcallers(module)
    if not callers:
        raise Ssl4rlError("it implements no hook: mark one with @ssl4rl_core.hookimpl")
    for caller in callers:
        if caller.name not in _hooks():
            if all(implementation.optionalhook for implementation in caller.get_hookimpls()):
                continue
            raise Ssl4rlError(f"there is no hook {caller.name!r}{suggestion(caller.name, _hooks())}")
        given = _hooks()[caller.name]
        for implementation in caller.get_hookimpls():
            for argument in implementation.argnames:
                if argument not in given:
                    mend = f"takes {' and '.join(given)}" if given else "takes no arguments"
                    raise Ssl4rlError(f"hook {caller.name} {mend}, and is written with {argument!r}")


def params_problem(error: ValidationError) -> str:
    """What is wrong with values that the code gave to a class of pydantic's, with the task whose body it is, and where.

    "task shade: strips: Input should be less than or equal to 8, got 9 (ssl4rl_task_shade.py, line 23)"
    """
    task = ""
    place: traceback.FrameSummary | None = None
    frames = traceback.walk_tb(error.__traceback__)
    for (frame, _), summary in zip(frames, traceback.extract_tb(error.__traceback__), strict=True):
        if frame.f_globals.get("__name__", "").partition(".")[0] in ("pydantic", "ssl4rl_core", "importlib", "pluggy"):
            continue
        place = summary
        if "__qualname__" in frame.f_locals:  # the body of a class
            task = str(frame.f_locals.get("name") or summary.name)
    problem = f"task {task}: {first_problem(error, value=True)}" if task else class_problem(error)
    return f"{problem} ({Path(place.filename).name}, line {place.lineno})" if place else problem
