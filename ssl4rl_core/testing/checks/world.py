"""The world around a pure function: global random generators and the clock, held still or changed on purpose."""

import contextlib
import datetime
import random
import sys
import time
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, ModuleType
from typing import Any
from unittest import mock

import numpy as np

_NOW = 1_700_000_000
# Seconds between two worlds: no multiple of a small number, and another second, minute, hour, half of the day, weekday,
# day, month and year.
_APART = 34_837_631


@contextlib.contextmanager
def world(seed: int = 0, *modules: ModuleType) -> Iterator[None]:
    """Seed every global random generator with `seed` and stop the clock at a time that goes with it; undone after.

    Args:
        modules: those that may have imported `datetime` or `time` functions by name.
    """
    now = _NOW + _APART * seed

    class Stopped(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> "Stopped":
            return cls.fromtimestamp(now, tz)

        @classmethod
        def utcnow(cls) -> "Stopped":
            return cls.fromtimestamp(now, datetime.UTC).replace(tzinfo=None)

    gmtime, localtime, asctime, strftime = time.gmtime, time.localtime, time.asctime, time.strftime

    def local(seconds: float | None = None) -> time.struct_time:
        return localtime(now if seconds is None else seconds)

    functions: dict[str, Callable[..., Any]] = {
        "time": lambda: float(now),
        "time_ns": lambda: now * 10**9,
        "gmtime": lambda seconds=None: gmtime(now if seconds is None else seconds),
        "localtime": local,
        "ctime": lambda seconds=None: asctime(local(seconds)),
        "asctime": lambda moment=None: asctime(local() if moment is None else moment),
        "strftime": lambda format, moment=None: strftime(format, local() if moment is None else moment),
    }
    replaced: dict[Any, Any] = {getattr(time, name): function for name, function in functions.items()}
    replaced[datetime.datetime] = Stopped
    with contextlib.ExitStack() as stack:
        stack.callback(_restore, global_state())
        for name, function in functions.items():
            stack.enter_context(mock.patch.object(time, name, function))
        stack.enter_context(mock.patch.object(datetime, "datetime", Stopped))
        for module in modules:
            for name, value in list(vars(module).items()):
                if isinstance(value, BuiltinFunctionType | type) and value in replaced:
                    stack.enter_context(mock.patch.object(module, name, replaced[value]))
        _seed(seed)
        yield


def global_state() -> dict[str, Any]:
    """The state of every global random generator that is loaded, by its module; equal where nothing was drawn."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    state: dict[str, Any] = {"random": random.getstate(), "numpy.random": (kind, np.asarray(keys).tobytes(), *rest)}
    if torch := sys.modules.get("torch"):
        state["torch"] = torch.get_rng_state().numpy().tobytes()
    return state


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """The modules whose global generator is no longer what it was; one that was loaded in between is not counted."""
    return [name for name in before if before[name] != after[name]]


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    if torch := sys.modules.get("torch"):
        torch.random.default_generator.manual_seed(seed)


def _restore(state: dict[str, Any]) -> None:
    random.setstate(state["random"])
    kind, keys, *rest = state["numpy.random"]
    np.random.set_state((kind, np.frombuffer(keys, dtype=np.uint32), *rest))
    if "torch" in state:
        torch = sys.modules["torch"]
        torch.set_rng_state(torch.frombuffer(bytearray(state["torch"]), dtype=torch.uint8))
