"""The local engine: processes on this machine."""

import functools
import itertools
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.sharedctypes import RawArray, RawValue
from typing import Any

from data_builders.engines import Job, Progress, Report
from data_builders.plan import Unit
from data_builders.units import Worker
from ssl4rl_core.errors import Ssl4rlError

_REPORT_SECONDS = 0.2
# What the parent tells its workers: to end at their next item, or at once.
_END, _EXIT = 1, 2
# Libraries that start threads of their own would start that many in every process.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")


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

    Raises:
        Ssl4rlError: what a worker raised, or that one died. Units that others had begun are left undone.
    """
    context = multiprocessing.get_context("spawn")  # the same on all systems, and safe where this process has threads
    # Without locks: a process that is killed while it holds one would stop all the others.
    stop = RawValue("b", 0)
    done = RawArray("Q", 2 * len(units))
    pool = ProcessPoolExecutor(min(workers, len(units)), context, initializer=_begin, initargs=(job, stop, done))
    numbered = enumerate(units)
    of_items = sum(unit.items for unit in units)
    with pool:
        try:
            running = {pool.submit(_do, *each) for each in itertools.islice(numbered, 2 * workers)}
            while running:
                finished, running = wait(running, timeout=_REPORT_SECONDS, return_when=FIRST_COMPLETED)
                for future in finished:
                    future.result()
                running |= {pool.submit(_do, *each) for each in itertools.islice(numbered, len(finished))}
                report(Progress(sum(done[0::2]), of_items, sum(done[1::2])))
        except BrokenProcessPool as error:
            # A broken pool terminates its workers, but was seen to wait for ever for one that it had missed.
            stop.value = _EXIT
            raise Ssl4rlError(
                "a worker process died (killed, or out of memory?): run the same command again to resume, "
                "perhaps with fewer --workers"
            ) from error
        finally:
            stop.value = max(stop.value, _END)
            pool.shutdown(wait=False, cancel_futures=True)


class _Stopped(Exception):
    """The parent gave up: what it raised is the error to show."""


_state: dict[str, Any] = {}


def _begin(job: Job, stop: Any, done: Any) -> None:
    """In a new worker process. Must not fail, since a pool says of that only that it broke."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=_die_with_parent, args=(stop,), daemon=True).start()
    for variable in _THREADS:
        os.environ.setdefault(variable, "1")
    _state.update(job=job, stop=stop, done=done)


def _die_with_parent(stop: Any) -> None:
    parent = multiprocessing.parent_process()
    while parent is not None and stop.value != _EXIT:
        if multiprocessing.connection.wait([parent.sentinel], timeout=_REPORT_SECONDS):
            break
    os._exit(1)


@functools.cache
def _worker() -> Worker:
    return _state["job"].worker()


def _do(number: int, unit: Unit) -> None:
    def tick(items: int, samples: int) -> None:
        _state["done"][2 * number], _state["done"][2 * number + 1] = items, samples
        if _state["stop"].value:
            raise _Stopped

    _worker().do(unit, tick)
