"""Pictures read many times over, so that starting and ending counts for as little as in a build of a real size."""

import itertools
from collections.abc import Iterable
from pathlib import Path


def linked(pictures: Iterable[Path], copies: int, folder: Path) -> Path:
    """Make `folder`, with so many links to each picture, and return it."""
    for copy, (number, picture) in itertools.product(range(copies), enumerate(pictures)):
        link = folder / f"{copy}" / f"{number:06d}{picture.suffix}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(picture.resolve())
    return folder
