"""Opening what a recipe or a command names as its data: a build's shards, or a source rendered on the fly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from ssl4rl_core.configs import parse_configs
from ssl4rl_core.errors import UsageError
from ssl4rl_core.plugins import registry
from ssl4rl_core.samples import BalancedSet, Sample, SampleSet, Split
from ssl4rl_core.training.recipe import DataSettings, DownstreamSettings, Recipe, TaskSettings
from ssl4rl_core.training.stream import Reference, Stream


class Mix(NamedTuple):
    """Samples, and the weight of each config to be drawn from them."""

    samples: SampleSet
    weights: dict[str, float]


@dataclass(frozen=True)
class JoinedSamples:
    """Several sample sets as one: each config's own."""

    sets: Mapping[str, SampleSet]

    @property
    def configs(self) -> list[str]:
        """Names of the configs of all."""
        return list(self.sets)

    def size(self, config: str, split: Split) -> int:
        """How many samples of a config there are in a split."""
        return self.sets[config].size(config, split)

    def sample(self, config: str, split: Split, index: int) -> Sample:
        """Sample `index` of a config in a split; raises as its set does."""
        return self.sets[config].sample(config, split, index)

    def balanced(self, config: str, split: Split, index: int) -> range:
        """As its set has it, where it has."""
        samples = self.sets[config]
        return samples.balanced(config, split, index) if isinstance(samples, BalancedSet) else range(index, index + 1)


def open_data(data: DataSettings, tasks: Sequence[TaskSettings], **changes: Any) -> Mix:
    """The samples of a recipe's tasks, from `data` or from a task's own.

    Args:
        changes: fields to be set anew in the settings of every source.

    Raises:
        UsageError: a build or a source cannot be opened, does not have one of its tasks, or is a build and is to be
            asked in other words.
    """
    groups: dict[DataSettings, list[TaskSettings]] = {}
    for task in tasks:
        groups.setdefault(task.data or data, []).append(task)
    # Frozen, so it hashes, whatever pyright knows of it.
    groups = groups or {data: []}  # pyright: ignore[reportUnhashable]
    mixes = [_open(of, named, changes) for of, named in groups.items()]
    if len(mixes) == 1:
        return mixes[0]
    sets: dict[str, SampleSet] = {}
    weights: dict[str, float] = {}
    for mix in mixes:
        if doubled := mix.weights.keys() & weights.keys():
            raise UsageError(f"{min(doubled)} is named twice among the tasks: name each task and level once")
        sets |= dict.fromkeys(mix.weights, mix.samples)
        weights |= mix.weights
    return Mix(JoinedSamples(sets), weights)


def _open(data: DataSettings, tasks: Sequence[TaskSettings], changes: Mapping[str, Any]) -> Mix:
    if data.source is None:
        return _open_build(str(data.build), tasks)
    return _open_source(data.model_copy(update=changes), tasks)


def open_held_out(recipe: Recipe, trained: Mix) -> Mix:
    """What a recipe evaluates of its own tasks: `trained`, or as many variants of it as `evaluate` says."""
    asked = {"variants": recipe.evaluate.variants, "balance": recipe.evaluate.balance}
    changes = {key: value for key, value in asked.items() if value is not None}
    return open_data(recipe.data, recipe.tasks, **changes) if changes else trained


def share_held_out(recipe: Recipe, source: str) -> float | None:
    """What share of a source a recipe that trains on it, or on a build of it, holds out; None where it does neither.

    Raises:
        UsageError: a build or the source cannot be opened.
    """
    from data_builders.manifest import read_manifest

    trained = [task.data or recipe.data for task in recipe.tasks] or [recipe.data]
    for data in trained:
        if data.source == source:
            return data.test_fraction
    for data in trained:
        if data.build is not None:
            plan = read_manifest(Path(data.build)).plan
            if plan.fingerprint == registry().source(source).fingerprint():
                return plan.options.test_fraction
    return None


def open_downstream(recipe: Recipe, tasks: Sequence[DownstreamSettings]) -> list[Mix]:
    """The samples of tasks that are only evaluated, each from its own source; one sample an item.

    Of a source that the recipe trains on, or on a build of it, what is held out there is asked about.

    Raises:
        UsageError: a source or a task does not exist, or the same one is named twice.
    """
    seen: set[tuple[str, str]] = set()
    mixes = []
    for task in tasks:
        source = str(task.source or recipe.data.source)
        share = share_held_out(recipe, source)
        changes = {"build": None, "source": source, "variants": 1, "balance": False}
        changes |= {} if share is None else {"test_fraction": share}
        mix = open_data(recipe.data.model_copy(update=changes), [TaskSettings(task=task.task)])
        named = {(source, config) for config in mix.weights}
        if named & seen:
            raise UsageError(f"evaluate.downstream names {task.task} of one source twice")
        seen |= named
        mixes.append(mix)
    return mixes


def first_samples(mix: Mix, split: Split = "train") -> dict[str, Sample]:
    """Of each config the first sample that can be had.

    Raises:
        UsageError: a config has none in the split, or none that can be used.
    """
    stream = Stream(mix.samples, mix.weights, split=split)
    return {config: stream.sample(Reference(config, 0)) for config in mix.weights}


def check_prompts(recipe: Recipe, samples: SampleSet) -> None:
    """See that each prompt of a recipe's can be filled in, by rendering one sample of every config it is for.

    Args:
        samples: of the recipe's tasks, as `open_data` gives them.

    Raises:
        UsageError: one does not fit; names line and key.
    """
    for number, task in enumerate(recipe.tasks):
        if task.prompt is None:
            continue
        for config in parse_configs([task.task], registry()):
            try:
                Stream(samples, {config.name: 1.0}).sample(Reference(config.name, 0))
            except UsageError as error:  # a PromptError, or there is no item to try it on
                raise UsageError(f"{recipe.where('tasks', number, 'prompt')}: {error}") from error


def _open_source(data: DataSettings, tasks: Sequence[TaskSettings]) -> Mix:
    from data_builders.live import LiveSamples

    if not tasks:
        raise UsageError("name at least one task where data is a source")
    weights: dict[str, float] = {}
    configs = []
    for task in tasks:
        found = [replace(config, prompt=task.prompt) for config in parse_configs([task.task], registry())]
        configs += found
        _share(weights, [config.name for config in found], task)
    options = data.model_dump(exclude={"build", "source"}, exclude_none=True)
    return Mix(LiveSamples(registry().source(str(data.source)), configs, **options), weights)


def _open_build(folder: str, tasks: Sequence[TaskSettings]) -> Mix:
    from data_builders.reader import BuiltSamples
    from data_builders.selection import configs_named

    samples = BuiltSamples(Path(folder))
    weights: dict[str, float] = {}
    for task in tasks:
        if task.prompt is not None:
            raise UsageError(f"the build {folder} has fixed its questions already: leave out the prompt of {task.task}")
        _share(weights, configs_named(samples, task.task), task)
    return Mix(samples, weights or dict.fromkeys(samples.configs, 1.0))


def _share(weights: dict[str, float], names: Sequence[str], task: TaskSettings) -> None:
    """Split a task's weight evenly over its configs."""
    for name in names:
        if name in weights:
            raise UsageError(f"{name} is named twice among the tasks: name each task and level once")
        weights[name] = task.weight / len(names)
