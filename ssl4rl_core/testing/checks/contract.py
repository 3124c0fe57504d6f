"""Checks of what a task says of itself and hands out: docs, params, levels, prompt, skips, view, speed."""

import inspect
import re
import statistics
import time
from collections.abc import Iterator
from urllib.parse import urlencode

from pydantic import ValidationError

from ssl4rl_core.configs import TaskConfig, parse_config
from ssl4rl_core.errors import MissingExtra, TaskError, UsageError
from ssl4rl_core.rendering import IMAGE_MARK
from ssl4rl_core.samples import Item
from ssl4rl_core.sources import Source, View
from ssl4rl_core.tasks import Params, Skip, Task
from ssl4rl_core.testing.checks.outcome import Fault, NotRun
from ssl4rl_core.testing.checks.subject import MAX_SIDE, Subject
from ssl4rl_core.testing.generated import odd_source

FEW = 12
EMBEDDED = {"image": "embedded:photos", "graph": "networkx:karate"}
SLOWEST = 0.2
"""Seconds that a sample may take (median of a level): storing a picture as JPEG takes a hundredth of it."""
MAX_REASON = 80


def docs(subject: Subject) -> Iterator[Fault | str]:
    """The class says in its first line what it asks."""
    about = vars(type(subject.task)).get("__doc__")
    if not (about and about.strip()):
        yield Fault("a docstring that says what is asked: 'ssl4rl tasks' shows it", "none", subject.where())
    elif len(first := inspect.cleandoc(about).partition("\n")[0]) > 100:
        yield Fault("a first line of at most 100 characters", f"{len(first)}: {first[:60]!r}...", subject.where())


def params(subject: Subject) -> Iterator[Fault | str]:
    """Params are described, immutable, JSON, and refuse what they do not know."""
    kind = subject.task.params_type
    where = f"{kind.__name__}, module {kind.__module__}"
    for name, info in kind.model_fields.items():
        if not info.description:
            yield Fault(f"a description of param {name!r}: Field(..., description=...)", "none", where)
        if info.is_required():
            yield Fault(f"a default for param {name!r}", "none", where)
    for config in subject.configs:
        yield from _level_params(subject, config, where)


def _level_params(subject: Subject, config: TaskConfig, where: str) -> Iterator[Fault]:
    given, kind = config.params, type(config.params)
    try:
        hash(given)
    except TypeError as error:
        yield Fault("immutable values in params (a tuple, not a list)", str(error), f"{where}, level {config.level}")
    for name in kind.model_fields:
        try:
            setattr(given, name, getattr(given, name))
        except ValidationError:
            continue
        yield Fault("params that cannot be changed", f"{name} of level {config.level} was set", where)
        break
    again = kind.model_validate_json(given.model_dump_json())
    if again != given:
        yield Fault("the same params when read back from their JSON", f"{again!r} for {given!r}", where)
    # What a command line cannot say, None among it, is what the level has anyway.
    plain = {n: v for n, v in given.model_dump(mode="json").items() if not isinstance(v, list | dict | None)}
    spec = f"{subject.task.name}:{config.level}?{urlencode({name: _text(value) for name, value in plain.items()})}"
    try:
        parsed = parse_config(spec, _Only(subject.task)).params
        if parsed != given:
            yield Fault("the same params when named on the command line", f"{parsed!r} for {spec}", where)
    except UsageError as error:
        yield Fault("params that can be named on the command line", str(error), where)
    for name, wrong in [("no-such-param", 1), *((name, object()) for name in kind.model_fields)]:
        if _accepts(kind, {**given.model_dump(), name: wrong}):
            what = "an unknown param" if name == "no-such-param" else f"{wrong!r:.40} for {name!r}"
            yield Fault("that nonsense is refused", f"{what} was accepted", where)


def _accepts(kind: type[Params], values: dict[str, object]) -> bool:
    try:
        kind.model_validate(values)
    except ValidationError:
        return False
    return True


def _text(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value


class _Only:
    """All the tasks there are: one."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def task(self, name: str) -> Task:
        return self._task


def levels(subject: Subject) -> Iterator[Fault | str]:
    """Every level gives questions, and fails on none of the embedded data."""
    for config in subject.configs:
        subject.samples(config, FEW)
    if not subject.generated or subject.task.domain not in EMBEDDED:
        return
    try:
        embedded = Subject(subject.task, _embedded(EMBEDDED[subject.task.domain]), [c.level for c in subject.configs])
    except MissingExtra as missing:
        yield f"not asked about {EMBEDDED[subject.task.domain]}: {missing}"
        return
    for config in embedded.configs:
        for entry in embedded.entries[:FEW]:
            try:
                embedded.draw(config, (entry.position, 0))
            except Skip:
                continue
            except TaskError as error:
                yield Fault("a sample, or Skip", str(error), f"{embedded.source.name}, level {config.level}")
                break


def _embedded(spec: str) -> Source:
    from ssl4rl_core.plugins import registry

    return registry().source(spec)


def prompt(subject: Subject) -> Iterator[Fault | str]:
    """The prompt names every picture, and states the question only."""
    for config in subject.configs:
        for sample in subject.samples(config, FEW):
            content = sample.record.content()
            shown = sum(part["type"] == "image" for part in content)
            words = " ".join(part.get("text", "") for part in content)
            where = f"{subject.where('prompt')} (level {config.level}, item {sample.record.item!r})"
            if shown != len(sample.images):
                yield Fault(f"{len(sample.images)} {IMAGE_MARK} marks", str(shown), where)
            elif not words.strip():
                yield Fault("a question", "no text but pictures", where)
            elif found := re.search(r"</?(answer|think)>|\\boxed", subject.task.template(config.params)):
                expected = "the question only: how to answer is the response format's to say"
                yield Fault(expected, f"{found[0]} in the prompt", where)
            else:
                continue
            break


def skips(subject: Subject) -> Iterator[Fault | str]:
    """Reasons to skip are few, short and the same for all items."""
    try:
        odd = Subject(subject.task, odd_source(subject.task.domain), [config.level for config in subject.configs])
    except UsageError as error:
        for config in subject.configs:
            subject.samples(config, FEW)
            reasons = dict.fromkeys(subject.skipped[config.name], "")
            yield from _reason_faults(reasons, f"Skip in {subject.where('transform')} (level {config.level})")
        raise NotRun(f"no odd items to ask about: {error}") from error
    # All of it, whatever it belongs to: what is skipped matters here, and no question.
    entries = list(odd.source.index(odd.task.kind))
    for config in odd.configs:
        subject.samples(config, FEW)
        reasons = dict.fromkeys(subject.skipped[config.name], "")
        for entry in entries:
            try:
                odd.draw(config, (entry.position, 0))
            except Skip as skip:
                reasons[str(skip)] = entry.id
            except TaskError as error:
                yield Fault("a sample, or Skip", str(error), f"{subject.where('transform')} (level {config.level})")
                break
        yield from _reason_faults(reasons, f"Skip in {subject.where('transform')} (level {config.level})")


def _reason_faults(reasons: dict[str, str], where: str) -> Iterator[Fault]:
    alike: dict[str, str] = {}
    for reason, item in reasons.items():
        pattern = re.sub(r"[0-9]+", "#", reason)
        if not reason.strip() or len(reason) > MAX_REASON or "\n" in reason:
            yield Fault(f"a reason in one line of 1 to {MAX_REASON} characters", repr(reason[:120]), where)
        elif item and item in reason:
            yield Fault("a reason that does not name the item: it is counted", repr(reason), where)
        elif pattern in alike:
            yield Fault("one reason for all items", f"{alike[pattern]!r} and {reason!r}, counted apart", where)
            return
        alike[pattern] = reason


class _ClosedView(View):
    """A view that must not be looked at."""

    def another(self, *args: object, **kwargs: object) -> Item:
        raise _Looked

    def has_another(self, item: Item) -> bool:
        raise _Looked


class _Looked(Exception):
    pass


def view(subject: Subject) -> Iterator[Fault | str]:
    """A task that says it needs no view looks at none, so that it can be fed from a stream."""
    if subject.task.uses_view:
        return
    closed = _ClosedView(subject.source, subject.task.kind, subject.split, subject.splitter, max_side=MAX_SIDE)
    for config in subject.configs:
        for sample in subject.samples(config, FEW):
            try:
                subject.draw(config, subject.place(sample), view=closed)
            except (TaskError, Skip):
                where = f"{subject.where('transform')} (level {config.level})"
                yield Fault("uses_view = True, or no use of view", "uses_view is False, and view was used", where)
                return


def speed(subject: Subject) -> Iterator[Fault | str]:
    """A sample takes milliseconds."""
    medians = {}
    for config in subject.configs:
        seconds = []
        for sample in subject.samples(config, FEW):
            place = subject.place(sample)
            started = time.perf_counter()
            subject.draw(config, place)
            seconds.append(time.perf_counter() - started)
        medians[config.level] = statistics.median(seconds)
        if medians[config.level] > SLOWEST:
            came = f"{1000 * medians[config.level]:.0f} ms at level {config.level}"
            yield Fault(f"at most {1000 * SLOWEST:.0f} ms a sample", came, subject.where("transform"))
    yield ", ".join(f"{level} {1000 * median:.2g} ms" for level, median in medians.items())
