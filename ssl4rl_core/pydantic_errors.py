"""What pydantic found wrong, as the one line that our own errors have."""

from pydantic import ValidationError


def first_problem(error: ValidationError, whole: str = "") -> str:
    """The first thing that is wrong, "params.step: Input should be 90, 45 or 30".

    Args:
        whole: what to say for the place where the value as a whole is wrong; "" leaves the place out.
    """
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"])) or whole
    message = first["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
