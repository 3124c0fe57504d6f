"""Timing that a busy machine does not spoil: what is compared takes turns in one run, and the fastest round counts."""

import os
import random
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
    """Least processor and wall time of each run; of runs that take unlike long, the short ones catch the fast moments.

    The runs take turns, so that a busy machine slows them alike, in another order each round, so that none always finds
    the memory and the caches as the same other left them.
    """
    taken: list[list[Taken]] = [[] for _ in runs]
    shuffling = random.Random(0)
    for _ in range(rounds):
        for turn in shuffling.sample(range(len(runs)), len(runs)):
            wall, cpu = time.perf_counter(), time.process_time()
            runs[turn]()
            taken[turn].append(Taken(time.process_time() - cpu, time.perf_counter() - wall))
    return [Taken(min(each.cpu for each in times), min(each.wall for each in times)) for times in taken]
