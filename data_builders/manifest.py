"""The manifest: written last, it makes a folder of shards a finished build."""

from collections import Counter
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from data_builders.plan import Plan
from data_builders.shards import MOST_ANSWERS, Sidecar
from ssl4rl_core.errors import Ssl4rlError, UsageError
from ssl4rl_core.samples import Split

MANIFEST, PLAN = "manifest.json", "plan.json"


class Totals(BaseModel):
    """A config's shards of one split taken together."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: str
    split: Split
    samples: int
    bytes: int
    shards: int
    """Tars, without those that would be empty."""
    skips: dict[str, int]
    answers: dict[str, int]
    """Samples by right answer; empty where more than 64 differ."""


class Manifest(BaseModel):
    """A finished build: its plan, what every shard holds, and the totals."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan: Plan
    totals: list[Totals]
    shards: list[Sidecar]

    @model_validator(mode="after")
    def _is_of_its_plan(self) -> Self:
        known = {str(config.get("name", "")) for config in self.plan.configs}
        if unknown := {each.config for each in (*self.totals, *self.shards)} - known or {""} & known:
            raise ValueError(f"{min(unknown)!r} is no config of the plan")
        return self

    def config(self, name: str) -> dict[str, Any]:
        """A config as `TaskConfig.describe` gave it."""
        return next(config for config in self.plan.configs if config["name"] == name)

    def lines(self) -> list[dict[str, Any]]:
        """Each config and split in a line: its totals, and what chance scores."""
        return [
            {**total.model_dump(mode="json"), "chance": self.config(total.config)["chance"]} for total in self.totals
        ]


def make_manifest(plan: Plan, sidecars: list[Sidecar]) -> Manifest:
    """The manifest of a plan all of whose units are done."""
    splits: dict[tuple[str, Split], list[Sidecar]] = {}
    for sidecar in sidecars:
        splits.setdefault((sidecar.config, sidecar.split), []).append(sidecar)
    order = [config["name"] for config in plan.configs]
    totals = [_total(shards) for shards in splits.values()]
    return Manifest(
        plan=plan,
        totals=sorted(totals, key=lambda total: (order.index(total.config), total.split == "test")),
        shards=sidecars,
    )


def _total(shards: list[Sidecar]) -> Totals:
    filled = [shard for shard in shards if shard.samples]
    skips, answers = Counter[str](), Counter[str]()
    for shard in shards:
        skips.update(shard.skips)
        answers.update(shard.answers)
    countable = len(answers) <= MOST_ANSWERS and all(shard.answers for shard in filled)
    return Totals(
        config=shards[0].config,
        split=shards[0].split,
        samples=sum(shard.samples for shard in filled),
        bytes=sum(shard.bytes for shard in filled),
        shards=len(filled),
        skips=dict(sorted(skips.items())),
        answers=dict(sorted(answers.items())) if countable else {},
    )


def read_plan(directory: Path) -> Plan | None:
    """The plan of a build that was begun in a folder, or None. Raises as `parse_plan` does."""
    try:
        return parse_plan((directory / PLAN).read_bytes(), str(directory))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Ssl4rlError(f"cannot read {directory / PLAN}: {error.strerror or error}") from error


def parse_plan(text: bytes, where: str) -> Plan:
    """The plan in `text`, which lies at `where`.

    Raises:
        Ssl4rlError: it cannot be read.
    """
    try:
        return Plan.model_validate_json(text)
    except ValidationError as error:
        raise Ssl4rlError(
            f"{PLAN} in {where} is not a plan of this version of ssl4rl: build into a new folder"
        ) from error


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a finished build.

    Raises:
        UsageError: the folder holds no build.
        Ssl4rlError: the build is not finished, or its manifest cannot be read.
    """
    try:
        return Manifest.model_validate_json((directory / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        if (directory / PLAN).is_file():
            raise Ssl4rlError(
                f"the build in {directory} is not finished: run the 'ssl4rl build' command that began it again"
            ) from None
        raise UsageError(f"no build in {directory}: it has no {MANIFEST}; 'ssl4rl build' makes one") from None
    except (ValidationError, OSError) as error:
        raise Ssl4rlError(f"{directory / MANIFEST} is not a manifest of this version of ssl4rl") from error
