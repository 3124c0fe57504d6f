"""The `ssl4rl` command: one file a command, each a thin shell over a function that Python users call too."""

import sys

from ssl4rl_core.cli.app import app, run


def main() -> None:
    """Entry point of the `ssl4rl` command."""
    sys.exit(run(sys.argv[1:]))


__all__ = ["app", "main", "run"]
