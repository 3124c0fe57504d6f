"""Timing that a busy machine does not spoil: what is compared takes turns in one run, and the fastest round counts."""

import itertools
import os
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

# OpenCV reads it when it is loaded, which tasks do when they need it: figures are for one core.
os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")


class Taken(NamedTuple):
    """What a run took at its fastest, seconds."""

    cpu: float
    """Of this process; what its children took does not count."""
    wall: float


def fastest(rounds: int, runs: Sequence[Callable[[], object]]) -> list[Taken]:
    """Least processor and wall time of each run. The runs take turns, so that a busy machine slows them alike."""
    taken: list[list[Taken]] = [[] for _ in runs]
    for _, (run, times) in itertools.product(range(rounds), zip(runs, taken, strict=True)):
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        times.append(Taken(time.process_time() - cpu, time.perf_counter() - wall))
    return [Taken(min(each.cpu for each in times), min(each.wall for each in times)) for times in taken]
