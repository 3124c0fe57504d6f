"""An index for sources that hold what they know of their items in memory, and whose items lie in no folders."""

from collections.abc import Callable, Iterator, Sequence

from ssl4rl_core.sources import Entry


class FlatIndex:
    """So many entries, each made when it is asked for by its position."""

    def __init__(self, count: int, entry: Callable[[int], Entry]) -> None:
        self._count, self._entry = count, entry

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, position: int, /) -> Entry:
        if not 0 <= position < self._count:
            raise IndexError(f"no entry {position} among {self._count}")
        return self._entry(position)

    def __iter__(self) -> Iterator[Entry]:
        return map(self._entry, range(self._count))

    def neighbours(self, position: int, /) -> Sequence[int]:
        """All of them."""
        return range(self._count)
