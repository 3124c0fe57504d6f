"""What pydantic found wrong, as the one line that our own errors have."""

import reprlib

from pydantic import ValidationError

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60


def first_problem(error: ValidationError, whole: str = "", *, value: bool = False) -> str:
    """The first thing that is wrong, "params.step: Input should be 90, 45 or 30".

    Args:
        whole: what to say for the place where the value as a whole is wrong; "" leaves the place out.
        value: also say what was given there.
    """
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"])) or whole
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden" and value:
        message = "there is no such field"
    elif value and first["loc"] and first["type"] != "missing":
        message = f"{message}, got {_SHORT.repr(first['input'])}"
    return f"{place}: {message}" if place else message


def class_problem(error: ValidationError) -> str:
    """The first thing that is wrong, by class and field: "ShadeParams.strips: Input should be at least 2, got 1"."""
    separator = "." if error.errors()[0]["loc"] else ": "
    return f"{error.title}{separator}{first_problem(error, value=True)}"
