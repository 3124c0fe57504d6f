"""Opening what a recipe or a command names as its data: a build's shards, or a source rendered on the fly."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ssl4rl_core.configs import parse_config, parse_configs, suggestion
from ssl4rl_core.errors import UsageError
from ssl4rl_core.plugins import registry
from ssl4rl_core.samples import SampleSet
from ssl4rl_core.training.recipe import DataSettings, TaskSettings


class Mix(NamedTuple):
    """Samples, and the weight of each config to be drawn from them."""

    samples: SampleSet
    weights: dict[str, float]


def open_data(data: DataSettings, tasks: Sequence[TaskSettings]) -> Mix:
    """The samples of a recipe's tasks.

    Raises:
        UsageError: the build or the source cannot be opened, or does not have one of the tasks.
    """
    return _open_source(data, tasks) if data.source is not None else _open_build(str(data.build), tasks)


def _open_source(data: DataSettings, tasks: Sequence[TaskSettings]) -> Mix:
    from data_builders.live import LiveSamples

    weights: dict[str, float] = {}
    configs = []
    for task in tasks:
        found = parse_configs([task.task], registry())
        configs += found
        _share(weights, [config.name for config in found], task)
    options = data.model_dump(exclude={"build", "source"}, exclude_none=True)
    return Mix(LiveSamples(registry().source(str(data.source)), configs, **options), weights)


def _open_build(folder: str, tasks: Sequence[TaskSettings]) -> Mix:
    from data_builders.reader import BuiltSamples

    samples = BuiltSamples(Path(folder))
    weights: dict[str, float] = {}
    for task in tasks:
        _share(weights, _configs_of(task.task, samples.configs, folder), task)
    return Mix(samples, weights or dict.fromkeys(samples.configs, 1.0))


def _configs_of(spec: str, configs: Sequence[str], folder: str) -> list[str]:
    """The configs of a build that a spec means: a config, a task at a level, or a task at all its levels."""
    if spec in configs:
        return [spec]
    if "?" in spec:
        names = [parse_config(spec, registry()).name]
    elif ":" in spec:
        names = [spec.replace(":", "-", 1)]
    else:
        names = [config for config in configs if config.rpartition("-")[0] == spec]
    if not names or not set(names) <= set(configs):
        raise UsageError(f"the build {folder} has no {spec!r}{suggestion(spec.replace(':', '-'), configs)}")
    return names


def _share(weights: dict[str, float], names: Sequence[str], task: TaskSettings) -> None:
    """Split a task's weight evenly over its configs."""
    for name in names:
        if name in weights:
            raise UsageError(f"{name} is named twice among the tasks: name each task and level once")
        weights[name] = task.weight / len(names)
