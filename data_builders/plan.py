"""The plan of a build: all that its bytes depend on, and the units of work that anyone can do alone."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import ssl4rl_core
from data_builders.encoding import ImageFormat, canary
from data_builders.layout import Layout
from ssl4rl_core.configs import TaskConfig, parse_configs, suggestion
from ssl4rl_core.distributions import CORE, installed, normal, requirements
from ssl4rl_core.errors import UsageError
from ssl4rl_core.plugins import registry
from ssl4rl_core.pydantic_errors import first_problem
from ssl4rl_core.samples import Split
from ssl4rl_core.sources import Entry, Source, Splitter

_LIBRARIES = (
    *("numpy", "pillow"),
    *("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"),
)


class BuildOptions(BaseModel):
    """What a build's bytes depend on, besides source and tasks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, ge=0, description="Another seed asks other questions of the same items.")
    limit: int = Field(default=0, ge=0, description="Ask of the source's first so many items; 0 for all.")
    variants: int = Field(default=1, ge=1, le=1000, description="Samples an item, each drawn anew.")
    balance: bool = Field(
        default=False,
        description="Keep only variants whose answer the item does not have yet: rotation by 90 degrees with "
        "4 variants then asks of each item each angle once. Needs variants up to the number of answers.",
    )
    max_side: int = Field(default=512, ge=1, description="Scale pictures down to this longer side, pixels.")
    image_format: ImageFormat = Field(default="jpeg", description="How pictures are stored.")
    quality: int = Field(default=90, ge=1, le=100, description="Quality of jpeg and webp.")
    layout: Layout = Field(
        default="separate", description="composite: all pictures of a sample in one, numbered, for one-picture models."
    )
    shard_size: int = Field(default=1000, ge=1, description="Items a shard.")
    test_fraction: float = Field(default=0.1, ge=0, le=1, description="Share of the items held out as test split.")
    on_error: Literal["stop", "skip"] = Field(
        default="stop", description="When a task's own code fails on an item: end the build, or count it and go on."
    )
    license: str = Field(default="", description="SPDX identifier of the pictures' licence, where the source has none.")

    @property
    def splitter(self) -> Splitter:
        """The splitter that these options ask for."""
        return Splitter(self.test_fraction)

    @classmethod
    def checked(cls, options: Mapping[str, Any]) -> "BuildOptions":
        """The options, or UsageError naming the one that is wrong."""
        try:
            return cls(**options)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"]))
            if first["type"] == "extra_forbidden":
                raise UsageError(f"no build option {name!r}{suggestion(name, cls.model_fields)}") from error
            raise UsageError(f"build option {first_problem(error, value=True)}") from error


class Unit(BaseModel):
    """A range of items of one split: one shard for each config that asks for this kind of item."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    split: Split
    shard: int
    shards: int
    """How many the split has."""
    first: int
    last: int
    """Positions in the source's index, both included; the other split's entries between them are not its items."""
    items: int

    @property
    def name(self) -> str:
        """The shard's name without its extension: "train-00000-of-00012"."""
        return f"{self.split}-{self.shard:05d}-of-{self.shards:05d}"

    def entries(self, source: Source, splitter: Splitter) -> Iterator[Entry]:
        """The unit's items, in order."""
        index = source.index(self.kind)
        for position in range(self.first, self.last + 1):
            entry = index[position]
            if splitter(entry) == self.split:
                yield entry


class Plan(BaseModel):
    """Equal plans give equal bytes, whatever machine, engine or number of workers carries them out.

    So far as the fingerprint tells sources apart, that is: it need not read every byte (see `Source.fingerprint`), and
    pictures that others of the same sizes have replaced may go unnoticed. After that, build into a new folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ssl4rl: str
    source: str
    fingerprint: str
    license: str
    options: BuildOptions
    configs: list[dict[str, Any]]
    """`TaskConfig.describe()` of each, and its item kind."""
    libraries: dict[str, str]
    canary: str
    units: list[Unit]

    def configs_of(self, kind: str) -> list[str]:
        """Names of the configs that ask for a kind of item."""
        return [config["name"] for config in self.configs if config["kind"] == kind]

    def differences(self, other: "Plan") -> list[str]:
        """What `other` does otherwise, one line each: "options.seed: 0 here, 1 now"."""
        return list(_differences(self.model_dump(mode="json"), other.model_dump(mode="json")))


def as_configs(tasks: Iterable[str | TaskConfig]) -> list[TaskConfig]:
    """The configs that specs and configs name.

    Raises:
        UsageError: a spec is wrong, two mean the same config, or one is at a level that its task does not have.
    """
    configs = parse_configs(tasks, registry())
    for config in configs:
        level_of(config)
    return configs


def level_of(config: TaskConfig) -> str:
    """The task's level that a config is at, or whose params it changes: "hard" of "hard-gap-0-1".

    Raises:
        UsageError: it is named after none of them, so that no spec would name it.
    """
    task = config.task
    # The longest: "hard-crop" may be a level of its own.
    named = sorted((level for level in task.levels if f"{config.level}-".startswith(f"{level}-")), key=len)
    if not named:
        raise UsageError(
            f"task {task.name} has no level {config.level!r}: {', '.join(task.levels)}; other params are named as in "
            f"{task.name}:{next(iter(task.levels))}?param=value"
        )
    return named[-1]


def make_plan(source: Source, configs: Sequence[TaskConfig], options: BuildOptions) -> Plan:
    """Plan a build: one pass over the source's index, nothing is read of its content but for the fingerprint.

    Raises:
        UsageError: the source does not hand out what a task asks for, or holds no items.
    """
    kinds = sorted({config.task.kind for config in configs})
    for config in configs:
        source.check_serves(config.task)
    license = options.license or source.license
    return Plan(
        ssl4rl=ssl4rl_core.__version__,
        source=source.name + source.published_options,
        fingerprint=source.fingerprint(),
        license=license,
        # However it was given: one plan, and a command that rebuilds it with no more than the source's published name.
        options=options.model_copy(update={"license": license}),
        configs=[{**config.describe(), "kind": config.task.kind} for config in configs],
        libraries=_libraries(configs),
        canary=canary(options.image_format, options.quality),
        units=[unit for kind in kinds for unit in _units(source, kind, options)],
    )


def _units(source: Source, kind: str, options: BuildOptions) -> list[Unit]:
    index, splitter = source.index(kind), options.splitter
    asked = min(len(index), options.limit or len(index))
    if not asked:
        raise UsageError(f"{source.name} holds no {kind} items")
    ranges: dict[Split, list[list[int]]] = {"train": [], "test": []}
    for entry in itertools.islice(index, asked):
        of_split = ranges[splitter(entry)]
        if not of_split or of_split[-1][2] == options.shard_size:
            of_split.append([entry.position, entry.position, 0])
        of_split[-1][1] = entry.position
        of_split[-1][2] += 1
    return [
        Unit(kind=kind, split=split, shard=shard, shards=len(of_split), first=first, last=last, items=items)
        for split, of_split in ranges.items()
        for shard, (first, last, items) in enumerate(of_split)
    ]


def _libraries(configs: Iterable[TaskConfig]) -> dict[str, str]:
    """Versions of what draws the pictures: ours, and what the tasks' distributions ask for."""
    names = set(_LIBRARIES)
    for config in configs:
        # None: a plugin file, or a task registered in this process.
        if distribution := installed(registry().origin("task", config.task.name)):
            names.update(normal(required.name) for required in requirements(distribution))
    found = {name: installed(name) for name in sorted(names - {CORE})}
    return {name: distribution.version for name, distribution in found.items() if distribution}


def _differences(here: Any, now: Any, where: str = "") -> Iterator[str]:
    if isinstance(here, dict) and isinstance(now, dict):
        # Source and options first: where they differ, what is said of each config follows from it.
        for key in sorted(here.keys() | now.keys(), key=lambda key: (key == "configs", key)):
            yield from _differences(here.get(key), now.get(key), f"{where}.{key}" if where else key)
    elif isinstance(here, list) and isinstance(now, list):
        if where == "configs":
            named_here, named_now = ({config["name"]: config for config in configs} for configs in (here, now))
            for name in sorted(named_here.keys() ^ named_now.keys()):
                yield f"{where}.{name}: " + (
                    "built with, not asked for now" if name in named_here else "not built with, asked for now"
                )
            for name in sorted(named_here.keys() & named_now.keys()):
                yield from _differences(named_here[name], named_now[name], f"{where}.{name}")
            if named_here == named_now and here != now:
                yield "configs: in another order"
        elif here != now:
            yield f"{where}: {len(here)} here, {len(now)} now"
    elif here != now:
        yield f"{where}: {_short(here)} here, {_short(now)} now"


def _short(value: Any) -> str:
    if value is None:
        return "nothing"
    return "something" if isinstance(value, (dict, list)) else repr(value)[:80]
