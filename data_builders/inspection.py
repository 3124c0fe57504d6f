"""What a build holds, and whether it is still what was built."""

from pathlib import Path
from typing import Any

from data_builders.manifest import Totals, read_manifest
from data_builders.reader import sha256
from ssl4rl_core.errors import Ssl4rlError


def inspect(directory: str | Path, *, verify: bool = False) -> list[dict[str, Any]]:
    """Each config and split of a build in a line: samples, bytes, shards, skips, chance, answers.

    Args:
        verify: also read every shard and compare its hash with the manifest.

    Raises:
        UsageError: the folder holds no build.
        Ssl4rlError: the build is not finished, or a shard is not what was built.
    """
    directory = Path(directory)
    manifest = read_manifest(directory)
    if verify:
        paths = {directory / shard.config / f"{shard.shard}.tar": shard.sha256 for shard in manifest.shards}
        bad = [path for path, wanted in paths.items() if sha256(path) != wanted]
        if bad:
            more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
            raise Ssl4rlError(f"{bad[0]}{more}: not what was built (wrong hash, or missing); build into a new folder")
    return [_line(total, manifest.config(total.config)["chance"]) for total in manifest.totals]


def _line(total: Totals, chance: float) -> dict[str, Any]:
    return {**total.model_dump(mode="json"), "chance": chance}
