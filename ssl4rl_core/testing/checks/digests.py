"""The version check: a version's samples and scores are recorded, and when they change, another version is due."""

import contextlib
import hashlib
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ssl4rl_core.answers import BUILT_IN, canonical_json
from ssl4rl_core.configs import TaskConfig
from ssl4rl_core.distributions import CORE, installed, normal, requirements
from ssl4rl_core.errors import Ssl4rlError, UsageError
from ssl4rl_core.plugins import registry
from ssl4rl_core.samples import Sample
from ssl4rl_core.tasks import Task
from ssl4rl_core.testing.checks.outcome import CannotRender, Fault, NotRun
from ssl4rl_core.testing.checks.subject import Subject, trace

FILE = "digest.json"
FEW = 8
_DRAFT = f"or delete tests/{FILE} if this version was never published"
_DRAWING = (CORE, "numpy", "pillow")


def digest_file(task: type[Task]) -> Path | None:
    """Where the digests of a task's distribution are recorded: `tests/digest.json` beside its pyproject.toml.

    None where the task does not lie in such a folder: in a notebook, or installed from a wheel.
    """
    try:
        file = Path(inspect.getfile(task)).resolve()
    except (OSError, TypeError):
        return None
    roots = (folder for folder in file.parents[:3] if (folder / "pyproject.toml").is_file())
    return next((root / "tests" / FILE for root in roots), None)


def version(subject: Subject) -> Iterator[Fault | str]:
    """What this version's samples and scores are is what was recorded of it."""
    if not subject.generated:
        raise NotRun("digests are of the kit's own data: leave out the source")
    file, name = subject.digest_file, subject.task.name
    recorded = _read(file).get(name) if file else None
    if recorded is None:
        if file is None:
            raise NotRun("nothing is recorded: a record lies beside the task's pyproject.toml, and here is none")
        raise NotRun(f"nothing is recorded yet: before you publish, run 'ssl4rl check {name} --record'")
    where = f"{subject.where()}; recorded in tests/{FILE}"
    if recorded["version"] != subject.task.version:
        came = f"version {subject.task.version}"
        yield Fault(f"version {recorded['version']}, or a new record: ssl4rl check {name} --record", came, where)
        return
    now = _digests(subject)
    differing = [level for level, digest in now.items() if recorded["levels"].get(level, digest) != digest]
    missing = [level for level in now if level not in recorded["levels"]]
    if differing and (news := _news(recorded["libraries"], subject)):
        raise NotRun(f"recorded with other libraries ({news}), which draw otherwise")
    if differing:
        expected = f"the samples and scores of version {recorded['version']} as recorded"
        came = f"others at level {', '.join(differing)}: bump version, then 'ssl4rl check {name} --record', {_DRAFT}"
        yield Fault(expected, came, where)
    elif missing:
        yield Fault("a record of every level", f"none of {', '.join(missing)}: ssl4rl check {name} --record", where)


def record(subject: Subject) -> Path:
    """Write the digests of a task's version, of all levels, beside those of the distribution's other tasks.

    Raises:
        UsageError: other digests of this version are recorded already, or there is no place to record them.
        Ssl4rlError: the task cannot be rendered.
    """
    from ssl4rl_core.atomic import write_named

    file, name = subject.digest_file, subject.task.name
    if file is None:
        raise UsageError(f"task {name} does not lie in a folder with a pyproject.toml: there is no place to record")
    whole = Subject(subject.task, digest_file=file)
    try:
        now = _digests(whole)
    except CannotRender as error:
        raise Ssl4rlError(f"task {name} cannot be recorded: {error.fault.came} ({error.fault.where})") from error
    kept = _read(file)
    old = kept.get(name)
    if old and old["version"] == subject.task.version and not _news(old["libraries"], subject):
        changed = [level for level, digest in now.items() if old["levels"].get(level, digest) != digest]
        if changed:
            raise UsageError(
                f"samples or scores of {name} changed at level {', '.join(changed)}, and its version is still "
                f"{subject.task.version}: bump it, then record, {_DRAFT}"
            )
    kept[name] = {"version": subject.task.version, "libraries": _libraries(subject), "levels": now}
    write_named(file, (json.dumps(kept, indent=2, sort_keys=True) + "\n").encode())
    return file


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{file.name} is not JSON: {error}") from error


def _digests(subject: Subject) -> dict[str, str]:
    return {config.level: _digest(subject, config) for config in subject.configs}


def _digest(subject: Subject, config: TaskConfig) -> str:
    """A hash of some samples of a level, their pictures, and what a few texts score by the task's own code."""
    whole = hashlib.blake2b(digest_size=8)
    rng = np.random.Generator(np.random.PCG64(0))
    for sample in subject.samples(config, FEW):
        whole.update(canonical_json([trace(sample), _scores(subject, sample, rng)]).encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def _scores(subject: Subject, sample: Sample, rng: np.random.Generator) -> list[float]:
    """What a few texts score, where that is for the task's own code to say."""
    answer = subject.answer(sample)
    if type(subject.task).verify is Task.verify and type(answer) in BUILT_IN:
        return []
    texts = [sample.record.answer_text, "", "1", f"not {sample.record.answer_text}"]
    with contextlib.suppress(UsageError):  # answers that cannot be listed
        texts += [answer.draw(rng).text() for _ in range(4)]
    return [subject.task.verify(answer, text) for text in texts]


def _libraries(subject: Subject) -> dict[str, str]:
    """Versions of what may draw otherwise next year: core, numpy, Pillow, and what the task's distribution asks for."""
    own = installed(registry().origin("task", subject.task.name))
    names = {*_DRAWING, *(normal(required.name) for required in (requirements(own) if own else ()))}
    found = {name: installed(name) for name in sorted(names)}
    return {name: distribution.version for name, distribution in found.items() if distribution}


def _news(recorded: dict[str, str], subject: Subject) -> str:
    """The libraries that differ from those recorded, "pillow 11.0 then, 12.0 now", or ""."""
    now = _libraries(subject)
    return ", ".join(
        f"{name} {recorded.get(name, 'absent')} then, {now.get(name, 'absent')} now"
        for name in sorted(recorded.keys() | now.keys())
        if recorded.get(name) != now.get(name)
    )
