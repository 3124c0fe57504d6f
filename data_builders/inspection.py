"""What a build holds, and whether it is still what was built."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from data_builders.encoding import EXTENSIONS
from data_builders.manifest import MANIFEST, PLAN, Manifest, make_manifest, read_manifest, read_plan
from data_builders.reader import ShardIndex, read_record
from data_builders.shards import MOST_ANSWERS, Sidecar
from ssl4rl_core.errors import Ssl4rlError


def inspect(directory: str | Path, *, verify: bool = False) -> list[dict[str, Any]]:
    """Each config and split of a build in a line: samples, bytes, shards, skips, chance, answers.

    Args:
        verify: also look for `problems`.

    Raises:
        UsageError: the folder holds no build.
        Ssl4rlError: the build is not finished, or is not what was built.
    """
    directory = Path(directory)
    manifest = read_manifest(directory)
    if verify and (found := list(problems(directory))):
        raise broken(directory, found)
    return manifest.lines()


def problems(directory: str | Path, advance: Callable[[int], None] = lambda size: None) -> Iterator[str]:
    """What is not as it was built, a line each: every file is read, hashes and counts are made anew.

    Plan, manifest and sidecars must agree; shards must have their hash and as many samples, of that config and split
    and with those answers, as was written down; no file may be missing and none too many, but for hidden ones beside
    the manifest.

    Args:
        advance: called with the bytes of each shard once it has been read.

    Raises:
        UsageError: the folder holds no build.
        Ssl4rlError: the build is not finished, or its manifest cannot be read.
    """
    directory = Path(directory)
    manifest = read_manifest(directory)
    yield from _disagreements(directory, manifest)
    wanted = {PLAN, MANIFEST, "README.md"} | {name for shard in manifest.shards for name in _files(shard)}
    found = set(_found(directory))
    yield from (f"{directory / name} is missing" for name in sorted(wanted - found))
    yield from (f"{directory / name} is none of the build's files" for name in sorted(found - wanted))
    extension = EXTENSIONS[manifest.plan.options.image_format]
    for shard in manifest.shards:
        path = directory / shard.config / shard.shard
        if f"{shard.config}/{shard.shard}.json" in found and _sidecar(path.with_suffix(".json")) != shard:
            yield f"{path}.json does not say what {MANIFEST} says of this shard"
        if shard.samples > 0 and f"{shard.config}/{shard.shard}.tar" in found:
            yield from _miscounts(path.with_suffix(".tar"), shard, extension)
        advance(shard.bytes)


def broken(directory: Path, found: list[str]) -> Ssl4rlError:
    """The error that tells of problems, in one line."""
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return Ssl4rlError(f"{directory} is not what was built: {found[0]}{more}")


def _disagreements(directory: Path, manifest: Manifest) -> Iterator[str]:
    plan = manifest.plan
    if read_plan(directory) != plan:
        yield f"{directory / PLAN} is not the plan that {MANIFEST} holds"
    planned = {(config, unit.name) for unit in plan.units for config in plan.configs_of(unit.kind)}
    named = Counter((shard.config, shard.shard) for shard in manifest.shards)
    if named != Counter(planned) or any(not shard.shard.startswith(shard.split) for shard in manifest.shards):
        yield f"{directory / MANIFEST} does not name each shard of its plan once"
    elif make_manifest(plan, manifest.shards) != manifest:
        yield f"{directory / MANIFEST} has totals that are not those of its shards"


def _files(shard: Sidecar) -> list[str]:
    name = f"{shard.config}/{shard.shard}"
    return [f"{name}.json", f"{name}.tar"] if shard.samples else [f"{name}.json"]


def _found(directory: Path) -> Iterator[str]:
    """All files, by their names in the folder, without what is hidden at the top: other programs keep things there."""
    for folder, _, files in os.walk(directory):
        for file in files:
            name = (Path(folder) / file).relative_to(directory).as_posix()
            if not name.startswith("."):
                yield name


def _sidecar(path: Path) -> Sidecar | None:
    try:
        return Sidecar.model_validate_json(path.read_bytes()) if path.is_file() else None
    except (OSError, ValidationError):
        return None


def _miscounts(path: Path, shard: Sidecar, extension: str) -> Iterator[str]:
    answers: Counter[str] = Counter()
    try:
        index = ShardIndex(path, shard, extension)
        for number in range(shard.samples):
            *pictures, record = index.read(number)
            answers[read_record(path, shard, record, len(pictures)).answer_text] += 1
    except Ssl4rlError as error:
        yield str(error)
        return
    if shard.answers != (answers if len(answers) <= MOST_ANSWERS else {}):
        yield f"{path} has other answers than {MANIFEST} says of it"
