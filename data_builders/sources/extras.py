"""Which extra of ssl4rl-core a source needs: said where it is missing, and on the card of what was built of it."""

from ssl4rl_core.errors import MissingExtra

_EXTRAS = {"embedded": "embedded", "embedded:graphs": "graph", "networkx": "graph", "pyg": "graph"}
"""By scheme, or by scheme and place where those differ."""


def extra_of(spec: str) -> str:
    """The extra that the packages behind a source come with; empty where it needs none beyond the base install."""
    where = spec.partition("?")[0]
    return _EXTRAS.get(where) or _EXTRAS.get(where.partition(":")[0], "")


def missing(spec: str, cause: ImportError) -> MissingExtra:
    """The error where the packages behind a source are not installed."""
    return MissingExtra(spec, extra_of(spec), cause)
