"""Part of a build: the configs that a user names, and the splits."""

from collections.abc import Iterable, Sequence

from data_builders.reader import BuiltSamples
from ssl4rl_core.configs import ALL_LEVELS, parse_configs, suggestion
from ssl4rl_core.errors import UsageError
from ssl4rl_core.exporters import StoredSample
from ssl4rl_core.plugins import registry
from ssl4rl_core.samples import Sample, Split

SPLITS: tuple[Split, ...] = ("train", "test")


def configs_named(samples: BuiltSamples, spec: str) -> list[str]:
    """The configs of a build that a spec means: a config, a task at a level, or a task at easy, medium and hard.

    Raises:
        UsageError: there is none.
    """
    configs = samples.configs
    if spec in configs:
        return [spec]
    if "?" in spec:
        names = [config.name for config in parse_configs([spec], registry()) if config.name in configs]
    elif ":" in spec:
        names = [name for name in [spec.replace(":", "-", 1)] if name in configs]
    else:
        of_task = {each["name"]: each["level"] for each in samples.manifest.plan.configs if each["task"] == spec}
        # A level's name begins with that of the level that was changed.
        usual = [name for name, level in of_task.items() if level.partition("-")[0] in ALL_LEVELS]
        names = usual or list(of_task)
    if not names:
        # A task is meant by its name alone, though misspelt, and not the level that is spelt most like it.
        tasks = () if ":" in spec else {each["task"] for each in samples.manifest.plan.configs}
        close = suggestion(spec.replace(":", "-"), {*configs, *tasks})
        raise UsageError(f"the build {samples.directory} has no {spec!r}{close}")
    return names


class Selection:
    """The samples of some configs and splits of a build, as `StoredSamples`.

    Args:
        specs: of the configs; none means all.
        splits: none means both.

    Raises:
        UsageError: a spec names nothing in the build, or there are no samples.
    """

    def __init__(self, samples: BuiltSamples, specs: Iterable[str] = (), splits: Sequence[Split] = ()) -> None:
        self._samples, self._splits = samples, splits or SPLITS
        named = {name for spec in specs for name in configs_named(samples, spec)} or set(samples.configs)
        self.configs = [name for name in samples.configs if name in named]
        """Names of the configs, in the order they were built with."""
        if not len(self):
            raise UsageError(
                f"the build {samples.directory} has no {' or '.join(self._splits)} samples of {', '.join(self.configs)}"
            )

    @property
    def license(self) -> str:
        """SPDX identifier of the data, empty where it was not stated."""
        return self._samples.manifest.plan.license

    def __len__(self) -> int:
        """How many samples there are in all."""
        return sum(self.size(config, split) for config in self.configs for split in SPLITS)

    def size(self, config: str, split: Split) -> int:
        """How many samples of a config there are in a split; 0 in one that was not selected."""
        return self._samples.size(config, split) if split in self._splits else 0

    def sample(self, config: str, split: Split, index: int) -> Sample:
        """As `BuiltSamples.sample`."""
        return self._samples.sample(config, split, index)

    def stored(self, config: str, split: Split, index: int) -> StoredSample:
        """As `BuiltSamples.stored`."""
        return self._samples.stored(config, split, index)
