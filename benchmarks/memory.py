"""Whether a build's memory stays flat: peak resident memory by number of items.

    python benchmarks/memory.py --items 1000 --items 10000 --items 100000 --items 1000000

The items are generated: pictures of 8 x 8 pixels, no two alike, in tar files of a temporary folder, read as
`webdataset:`. Each build runs in a process of its own, which indexes the tar files, plans, renders and writes. A
million items take about 10 GB of disk.
"""

import multiprocessing
import resource
import sys
import tarfile
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from data_builders import build
from ssl4rl_core.cli.tables import JsonOption, show

SIZES = [1_000, 10_000, 100_000, 1_000_000]
SIDE = 8
ITEMS_A_TAR = 10_000


def write_pictures(folder: Path, items: int) -> None:
    """Tar files of noise as PPM, which costs nothing to encode."""
    rng, header = np.random.default_rng(0), f"P6 {SIDE} {SIDE} 255\n".encode()
    for first in range(0, items, ITEMS_A_TAR):
        with tarfile.open(folder / f"{first:09d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for number in range(first, min(items, first + ITEMS_A_TAR)):
                data = header + rng.bytes(3 * SIDE * SIDE)
                member = tarfile.TarInfo(f"{number:09d}.ppm")
                member.size = len(data)
                tar.addfile(member, BytesIO(data))


def measure(folder: Path, task: str) -> tuple[int, float, float]:
    """Build in this process: samples, seconds, and the process's peak resident memory, MiB."""
    start = time.perf_counter()
    manifest = build([task], f"webdataset:{folder}/*.tar", folder / "build")
    seconds = time.perf_counter() - start
    # Kibibytes, but on macOS bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return sum(shard.samples for shard in manifest.shards), seconds, peak


def main(
    items: Annotated[list[int], typer.Option(help="May be repeated.")] = SIZES,
    task: Annotated[str, typer.Option(help="What to build.")] = f"rotation:easy?min_side={SIDE}",
    as_json: JsonOption = False,
) -> None:
    """Measure the peak memory of builds of more and more items."""
    measured: list[tuple[int, float, float]] = []
    for count in items:
        with tempfile.TemporaryDirectory() as folder, Console(stderr=True).status(f"building {count:,} items"):
            write_pictures(Path(folder), count)
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                measured.append(pool.submit(measure, Path(folder), task).result())
    rows = [
        {
            "samples": samples,
            "seconds": round(seconds, 1),
            "per second": round(samples / seconds),
            "peak MiB": round(peak, 1),
            "of the first": round(peak / measured[0][2], 3),
        }
        for samples, seconds, peak in measured
    ]
    show(rows, as_json=as_json, title=f"{task}, pictures of {SIDE} x {SIDE} pixels, one process")


if __name__ == "__main__":
    typer.run(main)
