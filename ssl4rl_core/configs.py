"""A task with its settings, as users name it: `NAME[:LEVEL][?param=value&...]`."""

import difflib
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args, get_origin
from urllib.parse import parse_qsl

from pydantic import ValidationError

from ssl4rl_core.answers import canonical_json
from ssl4rl_core.errors import UsageError
from ssl4rl_core.pydantic_errors import first_problem
from ssl4rl_core.tasks import Params, Task

ALL_LEVELS = ("easy", "medium", "hard")


class FindsTasks(Protocol):
    """What is needed of a registry here."""

    def task(self, name: str) -> Task: ...


@dataclass(frozen=True)
class TaskConfig:
    """A task at a level. `name` is its folder in a build and its config on the Hub: "rotation-easy"."""

    task: Task
    level: str
    params: Params
    prompt: str | None = None
    """A template in place of the task's own: the same pictures and answers, asked about in other words."""

    @property
    def name(self) -> str:
        return f"{self.task.name}-{self.level}"

    @property
    def template(self) -> str:
        """The prompt's template: the task's own, unless another is given."""
        return self.task.template(self.params) if self.prompt is None else self.prompt

    # Kept, because every sample asks for them.
    @functools.cached_property
    def params_json(self) -> str:
        """The params as canonical JSON."""
        return canonical_json(self.params.model_dump(mode="json"))

    @functools.cached_property
    def chance(self) -> float | None:
        """`Task.chance` of these params."""
        return self.task.chance(self.params)

    @functools.cached_property
    def filled(self) -> dict[int, tuple[str, str]]:
        """Prompts that params alone fill in, with their parts as JSON, by number of images: kept here by rendering."""
        return {}

    def describe(self) -> dict[str, Any]:
        """What makes its samples what they are, as JSON values, from which a build's workers make it anew.

        Raises:
            UsageError: its prompt is not the task's own.
        """
        if self.prompt is not None:
            raise UsageError(f"a build asks in a task's own words: leave out the prompt given for {self.name}")
        return {
            "name": self.name,
            "task": self.task.name,
            "version": self.task.version,
            "level": self.level,
            "params": self.params.model_dump(mode="json"),
            "chance": self.chance,
        }


def parse_configs(specs: Iterable[str | TaskConfig], tasks: FindsTasks) -> list[TaskConfig]:
    """The configs that task specs name; a spec without a level means easy, medium and hard. Configs stay as they are.

    Raises:
        UsageError: a task, level or param is not known, a value does not fit, or two specs mean the same config.
    """
    named = [[spec] if isinstance(spec, TaskConfig) else _parse(spec, tasks) for spec in specs]
    configs = [config for each in named for config in each]
    names = [config.name for config in configs]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{name} is named twice: name each task and level once")
    return configs


def parse_config(spec: str, tasks: FindsTasks) -> TaskConfig:
    """The one config that `spec` names; a spec without a level means easy, or the task's first level."""
    name, _, rest = spec.partition("?")
    if ":" not in name:
        levels = tasks.task(name).levels
        level = "easy" if "easy" in levels else next(iter(levels))
        spec = f"{name}:{level}" + (f"?{rest}" if rest else "")
    return _parse(spec, tasks)[0]


def whole_task(name: str, tasks: FindsTasks, command: str, *, level_option: bool = False) -> Task:
    """The task that `ssl4rl COMMAND NAME` goes through level by level.

    Args:
        level_option: whether the command's `--level` picks one.

    Raises:
        UsageError: there is no such task, or the name has a level or params; the message says what to run.
    """
    bare, _, level = name.partition("?")[0].partition(":")
    task = tasks.task(bare)
    if bare == name:
        return task
    alone = f", with --level {level} for that one alone" if level_option and level in task.levels else ""
    raise UsageError(
        f"{command} goes through all levels of a task, and takes no {name!r}: run 'ssl4rl {command} {bare}'{alone}"
    )


def _parse(spec: str, tasks: FindsTasks) -> list[TaskConfig]:
    name, _, level = spec.partition("?")[0].partition(":")
    task = tasks.task(name)
    if level and level not in task.levels:
        raise UsageError(f"task {name} has no level {level!r}: {', '.join(task.levels)}")
    levels = [level] if level else [each for each in ALL_LEVELS if each in task.levels] or list(task.levels)
    changes = _changes(task, spec)
    return [_config(task, each, changes, spec) for each in levels]


def check_rewards(configs: Iterable[str]) -> None:
    """See that each config is of a task that may be trained on; UsageError for a downstream task."""
    from ssl4rl_core.plugins import registry  # which needs this module

    for config in configs:
        # The longest name: one task's may begin with another's.
        names = [name for name in registry().tasks if config.startswith(f"{name}-")]
        if names and not registry().task(name := max(names, key=len)).reward:
            raise UsageError(
                f"{name} is a downstream task and never a reward: name it under evaluate.downstream instead"
            )


def query_values(spec: str, *, strict: bool = False) -> dict[str, str]:
    """What stands behind the `?` of a task's or a source's spec, `key=value&...`.

    Raises:
        UsageError: a key is given twice.
        ValueError: `strict`, and something there is no `key=value`.
    """
    query = spec.partition("?")[2]
    pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=strict and bool(query))
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise UsageError(f"{spec!r} gives {key} twice: give it once")
    return dict(pairs)


def _changes(task: Task, spec: str) -> dict[str, str]:
    try:
        changes = query_values(spec, strict=True)
    except ValueError as error:
        raise UsageError(f"{spec!r} is not NAME[:LEVEL][?param=value&...]: {error}") from error
    for param in changes:
        if param not in task.params_type.model_fields:
            raise UsageError(
                f"task {task.name} has no param {param!r}{suggestion(param, task.params_type.model_fields)}"
            )
    return changes


def _config(task: Task, level: str, changes: Mapping[str, str], spec: str) -> TaskConfig:
    params = task.levels[level]
    if not changes:
        return TaskConfig(task, level, params)
    try:
        given = {param: _given(type(params), param, text) for param, text in changes.items()}
        changed = type(params).model_validate({**params.model_dump(), **given})
    except ValidationError as error:
        raise UsageError(f"{spec!r}: {first_problem(error, whole='params')}") from error
    # Only what differs from the level is named, so that one setting has one name.
    before = params.model_dump(mode="json")
    kept = {key: value for key, value in changed.model_dump(mode="json").items() if value != before[key]}
    suffix = "".join(f"-{key}-{_slug(value)}" for key, value in sorted(kept.items())).replace("_", "-")
    return TaskConfig(task, level + suffix, changed)


def _given(params_type: type[Params], param: str, text: str) -> object:
    """A param as a command line gives it. Pydantic reads numbers and booleans from text, but no Literal of them."""
    annotation = params_type.model_fields[param].annotation
    values = get_args(annotation) if get_origin(annotation) is Literal else ()
    return next((value for value in values if str(value) == text), text)


def param_text(value: object) -> str:
    """A param's value, of JSON, as it stands in a task's spec."""
    return value if isinstance(value, str) else canonical_json(value)


def _slug(value: object) -> str:
    return "".join(c if c.isalnum() else "-" for c in str(value).lower())


def is_close(name: str, known: Iterable[str]) -> bool:
    """Whether an unknown name is likely a known one misspelt."""
    return bool(difflib.get_close_matches(name, list(known), n=1))


def suggestion(name: str, known: Iterable[str]) -> str:
    """What to try instead of an unknown name: "; did you mean x?", or all there are."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f": there are {', '.join(known) or 'none'}"
