"""Checks that a sample is a pure function: of the item, the task, its params and the generator it is given."""

import sys
from collections.abc import Iterator
from types import ModuleType

from ssl4rl_core.configs import TaskConfig
from ssl4rl_core.testing.checks.elsewhere import render_elsewhere
from ssl4rl_core.testing.checks.outcome import Fault, NotRun
from ssl4rl_core.testing.checks.subject import Place, Subject, difference, trace
from ssl4rl_core.testing.checks.world import changed, global_state, world

FEW = 12
# The order in which worlds are drawn in again: in no step that a task that counts its calls could fall into.
_WORLDS = (1, 0, 0, 1, 0, 1, 1, 0, 0, 1, 1, 0, 1, 0, 0, 1)


def determinism(subject: Subject) -> Iterator[Fault | str]:
    """The same samples again: in another order, by another instance, in another process."""
    first: dict[tuple[str, Place], dict[str, str]] = {}
    for config in subject.configs:
        for place in _places(subject, config):
            first[config.level, place] = _drawn(subject, config, place)
    configs = {config.level: config for config in subject.configs}
    backwards = list(reversed(first))
    fresh = type(subject.task)()
    for level, place in backwards:
        with world(0, *_modules(subject)):
            again = trace(subject.draw(configs[level], place, task=fresh))
        if came := difference(first[level, place], again):
            yield Fault("the same sample in any order", came, _where(subject, level, place))
            return
    try:
        elsewhere = render_elsewhere(subject, backwards)
    except NotRun as reason:
        yield f"in this process alone: {reason}"
        return
    for (level, place), again in zip(backwards, elsewhere, strict=True):
        if came := difference(first[level, place], again):
            expected = "the same sample in another process, where sets and hash() have another order"
            yield Fault(expected, came, _where(subject, level, place))
            return


def purity(subject: Subject) -> Iterator[Fault | str]:
    """No global random state, no clock, and the item is left as it was."""
    for config in subject.configs:
        for place in _places(subject, config):
            where = _where(subject, config.level, place)
            before = global_state()
            subject.draw(config, place)
            if touched := changed(before, global_state()):
                came = f"the global state of {' and '.join(touched)} changed"
                yield Fault("all chance from the rng that transform is given", came, where)
                return
            if not subject.untouched(place[0]):
                yield Fault("the item's picture left as it was: copy it first", "its pixels changed", where)
                return
            if came := _worlds_differ(subject, config, place):
                expected = "the same sample whatever the clock and the global random state say"
                yield Fault(expected, came, where)
                return


def _worlds_differ(subject: Subject, config: TaskConfig, place: Place) -> str:
    """How a sample differs between two worlds; "" too where it differs in one: that is for determinism to say."""
    drawn = {other: _drawn(subject, config, place, other) for other in (0, 1)}
    came = difference(drawn[0], drawn[1])
    if came and any(difference(drawn[other], _drawn(subject, config, place, other)) for other in _WORLDS):
        return ""
    return came


def _places(subject: Subject, config: TaskConfig) -> list[Place]:
    return [subject.place(sample) for sample in subject.samples(config, FEW)]


def _drawn(subject: Subject, config: TaskConfig, place: Place, seed: int = 0) -> dict[str, str]:
    with world(seed, *_modules(subject)):
        return trace(subject.draw(config, place))


def _modules(subject: Subject) -> list[ModuleType]:
    """The task's own module, where it may have imported the clock by name."""
    module = sys.modules.get(type(subject.task).__module__)
    return [module] if module else []


def _where(subject: Subject, level: str, place: Place) -> str:
    return f"{subject.where('transform')} (level {level}, item {subject.item(place[0]).id!r}, variant {place[1]})"
