"""Time and memory of building the three graph tasks, as `ssl4rl build` does it.

    python benchmarks/graph_build.py triples:../shared/data/FB15k-237 --workers 2
    python benchmarks/graph_build.py triples:../shared/data/WN18RR --workers 1

Prints samples, samples a second of wall time and of processor time (all workers' together: what the wall time would be
on that many idle cores), and the peak resident memory of the largest process.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

from data_builders.builder import build
from data_builders.reader import BuiltSamples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="as for ssl4rl build")
    parser.add_argument("--task", action="append", help="default: neighbor, attribute-mask and link, three levels each")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--limit", type=int, help="items of each kind, default all")
    parser.add_argument("--out", type=Path, help="keep the build here; default: a temporary folder")
    arguments = parser.parse_args()
    tasks = arguments.task or ["neighbor", "attribute-mask", "link"]
    options = {"limit": arguments.limit} if arguments.limit else {}
    with tempfile.TemporaryDirectory() as folder:
        out = arguments.out or Path(folder) / "build"
        start = time.perf_counter()
        build(tasks, arguments.source, out, workers=arguments.workers, **options)
        wall = time.perf_counter() - start
        built = BuiltSamples(out)
        samples = sum(built.size(config, split) for config in built.configs for split in ("train", "test"))
    processes = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    busy = sum(usage.ru_utime + usage.ru_stime for usage in processes)
    peak = max(usage.ru_maxrss for usage in processes) / 2**20
    print(f"{samples:,} samples in {wall:.0f} s: {samples / wall:.0f} a second with {arguments.workers} workers")
    print(
        f"{busy:.0f} s of processor time: {samples / busy:.0f} samples a second and core; peak {peak:.2f} GiB a process"
    )


if __name__ == "__main__":
    main()
