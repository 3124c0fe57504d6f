"""The local engine: processes on this machine."""

import contextlib
import functools
import itertools
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import RawArray, RawValue
from typing import Any

from data_builders.engines import TRIES, Job, Progress, Report
from data_builders.plan import Unit
from data_builders.units import Worker
from ssl4rl_core.errors import Ssl4rlError

_REPORT_SECONDS = 0.2
# What the parent tells its workers: to end at their next item, or at once.
_END, _EXIT = 1, 2


def run_here(worker: Worker, units: Sequence[Unit], report: Report) -> None:
    """Do the units one after another in this process."""
    of_items = sum(unit.items for unit in units)
    items = samples = 0
    for unit in units:
        before = items, samples

        def tick(done: int, made: int, before: tuple[int, int] = before) -> None:
            nonlocal items, samples
            items, samples = before[0] + done, before[1] + made
            report(Progress(items, of_items, samples))

        worker.do(unit, tick)


def run_in_processes(job: Job, units: Sequence[Unit], workers: int, report: Report) -> None:
    """Do the units in `workers` processes, which die with this one.

    When a worker dies, all start anew, and what was not finished is done again.

    Raises:
        Ssl4rlError: what a worker raised, or that several died over the same unit. Units that others had begun are left
            undone.
    """
    board = _Board(job, units)
    waiting = dict(enumerate(units))
    deaths = Counter[int]()
    while waiting:
        for number in _run_until_a_death(waiting, board, workers, report):
            deaths[number] += 1
            if deaths[number] == TRIES:
                raise Ssl4rlError(_gave_up(units[number] if number >= 0 else None))


def _gave_up(unit: Unit | None) -> str:
    if unit is None:
        return (
            f"{TRIES} worker processes died before they began (is what the script does under if __name__ == "
            "'__main__'? or were they killed, or out of memory?): mend that and run it again"
        )
    return (
        f"{TRIES} worker processes died while doing {unit.name} (killed, or out of memory?): run the same command "
        "again to resume, perhaps with fewer --workers"
    )


class _Board:
    """Memory that all processes share. Without locks: a process killed while it holds one would stop all the others."""

    def __init__(self, job: Job, units: Sequence[Unit]) -> None:
        # Not among a new process's arguments: they go through a pipe, and where the process is killed before it has
        # read them, a pipe that is full lets multiprocessing wait for ever.
        self.job = RawArray("c", pickle.dumps(job))
        self._of_items = sum(unit.items for unit in units)
        self.items, self.samples = RawArray("Q", len(units)), RawArray("Q", len(units))
        self.owners = RawArray("Q", len(units))
        """The process that is at a unit; 0 where none is."""

    def progress(self) -> Progress:
        return Progress(sum(self.items), self._of_items, sum(self.samples))

    def take_off(self, processes: dict[int, BaseProcess]) -> list[int]:
        """The units that dead processes were at, [-1] for none, as far as can be told which died and which were ended.

        All of these processes have ended; the pool ends by SIGTERM those that outlived another, we by exit code 0.
        """
        begun = {number: owner for number, owner in enumerate(self.owners) if owner}
        died = [n for n, owner in begun.items() if _exit_code(processes, owner) not in (0, -signal.SIGTERM)]
        for number in begun:
            self.owners[number] = 0
        return died or list(begun) or [-1]


def _exit_code(processes: dict[int, BaseProcess], pid: int) -> int | None:
    return processes[pid].exitcode if pid in processes else None


def _run_until_a_death(waiting: dict[int, Unit], board: _Board, workers: int, report: Report) -> list[int]:
    """Do what is waiting, and take off what is done; the units that workers were at as they died, if any did."""
    context = multiprocessing.get_context("spawn")  # the same on all systems, and safe where this process has threads
    stop = RawValue("b", 0)
    pool = ProcessPoolExecutor(min(workers, len(waiting)), context, initializer=_begin, initargs=(board, stop))
    queue = iter(list(waiting.items()))
    processes: dict[int, BaseProcess] = {}
    try:
        with _interrupts_for_us_alone():
            running = {pool.submit(_do, *each): each[0] for each in itertools.islice(queue, 2 * workers)}
        while running:
            processes |= {each.pid: each for each in multiprocessing.active_children() if each.pid is not None}
            finished, _ = wait(running, timeout=_REPORT_SECONDS, return_when=FIRST_COMPLETED)
            for future in sorted(finished, key=lambda future: future.exception() is not None):
                future.result()
                del waiting[running.pop(future)]
            running |= {pool.submit(_do, *each): each[0] for each in itertools.islice(queue, len(finished))}
            report(board.progress())
        return []
    except BrokenProcessPool:
        # A broken pool terminates its workers, but was seen to wait for ever for one that it had missed.
        stop.value = _EXIT
    finally:
        stop.value = max(stop.value, _END)
        # Nobody may still be writing when the output is tidied and its lock given up.
        pool.shutdown(wait=True, cancel_futures=True)
    return board.take_off(processes)


@contextlib.contextmanager
def _interrupts_for_us_alone() -> Iterator[None]:
    """Hold Ctrl-C back from processes that are started meanwhile, for good: it is sent to them too, and to us after."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Stopped(Exception):
    """The parent gave up: what it raised is the error to show."""


_state: dict[str, Any] = {}


def _begin(board: _Board, stop: Any) -> None:
    """In a new worker process. Must not fail, since a pool says of that only that it broke."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=_die_with_parent, args=(stop,), daemon=True).start()
    _state.update(board=board, stop=stop)


def _die_with_parent(stop: Any) -> None:
    parent = multiprocessing.parent_process()
    while parent is not None and stop.value != _EXIT:
        if multiprocessing.connection.wait([parent.sentinel], timeout=_REPORT_SECONDS):
            break
    os._exit(0)


@functools.cache
def _worker() -> Worker:
    return pickle.loads(_state["board"].job.raw).worker()


def _do(number: int, unit: Unit) -> None:
    board = _state["board"]

    def tick(items: int, samples: int) -> None:
        board.items[number], board.samples[number] = items, samples
        if _state["stop"].value:
            raise _Stopped

    board.owners[number] = os.getpid()
    _worker().do(unit, tick)
    board.owners[number] = 0
