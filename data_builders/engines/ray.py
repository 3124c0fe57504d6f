"""The Ray engine: the units of a plan as tasks of a Ray cluster."""

import contextlib
import functools
import logging
import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from data_builders.engines import TRIES, Job, Progress, Report
from data_builders.plan import Unit
from data_builders.units import Worker
from ssl4rl_core.errors import MissingExtra, Ssl4rlError, one_line

if TYPE_CHECKING:
    import ray

_REPORT_SECONDS = 1.0
_END_SECONDS = 10.0


def run_on_ray(job: Job, units: Sequence[Unit], workers: int, report: Report, address: str = "") -> None:
    """Do the units in up to `workers` Ray tasks at a time, and those again whose worker dies.

    The output, the files of the source and the plugin files must have the same paths on all of the cluster's machines.

    Args:
        address: of the cluster. Where it is empty, `RAY_ADDRESS` is used, or a Ray that this process has joined
            already, or else one is started on this machine and ended again.

    Raises:
        MissingExtra: ray is not installed.
        Ssl4rlError: there is no cluster at the address, what a worker raised, or that several died over the same
            unit.
    """
    with _cluster(address, workers):
        _run(job, units, workers, report)


def _run(job: Job, units: Sequence[Unit], workers: int, report: Report) -> None:
    import ray

    # In a list, a reference is handed on as it is: each process fetches the plan once, not once a unit.
    reference = [ray.put(job)]
    # Ray's own retries may be endless: those after a kill by its memory monitor do not count as such.
    do = ray.remote(max_retries=0, num_cpus=1)(_do)
    waiting, running = deque(units), dict["ray.ObjectRef", Unit]()
    deaths = Counter[Unit]()
    of_items, items, samples = sum(unit.items for unit in units), 0, 0
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                unit = waiting.popleft()
                running[do.remote(reference, unit)] = unit
            finished, _ = ray.wait(list(running), timeout=_REPORT_SECONDS)
            for each in finished:
                unit = running.pop(each)
                made = _result(each, unit)
                if made is None:
                    deaths[unit] += 1
                    _check_deaths(unit, deaths[unit])
                    waiting.appendleft(unit)
                else:
                    items, samples = items + unit.items, samples + made
            report(Progress(items, of_items, samples))
    finally:
        # What still runs ends by KeyboardInterrupt, and removes what it has half written.
        for each in running:
            ray.cancel(each)
        if running:
            ray.wait(list(running), num_returns=len(running), timeout=_END_SECONDS)


def _check_deaths(unit: Unit, deaths: int) -> None:
    if deaths == TRIES:
        raise Ssl4rlError(
            f"{TRIES} Ray workers died while doing {unit.name} (killed, or out of memory?): run the same command again "
            "to resume, perhaps with fewer --workers"
        )


@contextlib.contextmanager
def _cluster(address: str, workers: int) -> Iterator[None]:
    try:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray
    except ImportError as error:
        raise MissingExtra("the Ray engine", "ray", error) from error
    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS", "")
    # Quietly: what happens to workers is ours to tell.
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        if address:
            ray.init(address, **quiet)
        else:
            ray.init(num_cpus=workers, include_dashboard=False, **quiet)
    except Exception as error:  # ConnectionError, RuntimeError, ValueError: as the address is wrong
        where = f"no Ray cluster answers at {address!r}" if address else "Ray does not start on this machine"
        raise Ssl4rlError(f"{where}: {one_line(error)}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _result(reference: "ray.ObjectRef", unit: Unit) -> int | None:
    """The unit's samples; None where its worker died. Raises what the worker raised."""
    import ray
    from ray.exceptions import NodeDiedError, OutOfMemoryError, RayError, RayTaskError, WorkerCrashedError

    try:
        return ray.get(reference)
    except (WorkerCrashedError, OutOfMemoryError, NodeDiedError):
        return None
    except RayTaskError as error:
        raise error.cause from error
    except RayError as error:
        raise Ssl4rlError(
            f"Ray failed over {unit.name}: {one_line(error)}; run the same command again to resume"
        ) from error


@functools.lru_cache(maxsize=1)
def _worker(job: "ray.ObjectRef") -> Worker:
    import ray

    return ray.get(job).worker()


def _do(job: "list[ray.ObjectRef]", unit: Unit) -> int:
    """In a Ray worker: do a unit, and say how many samples it has."""
    counts = [0]

    def tick(items: int, samples: int) -> None:
        counts[0] = samples

    _worker(job[0]).do(unit, tick)
    return counts[0]
