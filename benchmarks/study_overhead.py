"""The study of what our part costs on top of bare TRL, several times over, kept like the other studies' results."""

import json
from dataclasses import dataclass
from pathlib import Path

from trainer_overhead import measure

from ssl4rl_core.atomic import write_named

REPEATS = 3


@dataclass(frozen=True)
class Overhead:
    """The figures of each repeat."""

    folder: Path

    @property
    def path(self) -> Path:
        """The file they are kept in."""
        return self.folder / "overhead.json"

    def read(self) -> list[dict[str, float]] | None:
        """The figures, or None where they have not been measured."""
        try:
            return json.loads(self.path.read_text())
        except FileNotFoundError:
            return None

    def do(self) -> None:
        """Measure and keep them. Nothing else should run beside it: both trainers are timed by the clock."""
        figures = [{key: round(value, 4) for key, value in measure().items()} for _ in range(REPEATS)]
        write_named(self.path, (json.dumps(figures, indent=1) + "\n").encode())
