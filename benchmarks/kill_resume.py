"""SIGKILL at a random moment to a random process of a build, then the same command again: are the bytes the same?

    python benchmarks/kill_resume.py --rounds 200 --seed 0

Each round builds into a new folder, with an empty cache of indexes. The moments are spread evenly over the processor
time that an undisturbed build takes, start-up included, which does not vary with how busy the machine is; the victim is
drawn from the build's whole process tree. After the kill no
process of the build may stay behind, or hang; the same command is then run to its end, and every file is compared with
the undisturbed build's. Exits with 1 where anything differs. Linux only: processes are found in /proc.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ssl4rl_core.cli.tables import JsonOption, show

TASKS = ["rotation:paper", "jigsaw:paper", "position:paper"]
# A dead parent's workers look for it five times a second; on a busy machine that takes a while.
_LINGERING_SECONDS = 30
_HANGING_SECONDS = 300
_LOOKING_SECONDS = 0.05


class Process(NamedTuple):
    """A process of a build's tree."""

    pid: int
    part: str
    """What it is there: "parent", "worker" or "tracker" (multiprocessing's own)."""
    seconds: float
    """Processor time, that of its ended children included."""


@dataclass
class Tally:
    """What happened in all rounds so far."""

    kills: int = 0
    by_victim: Counter[str] = field(default_factory=Counter)
    by_phase: Counter[str] = field(default_factory=Counter)
    finished_alone: int = 0
    """Builds that got over the kill of one of their processes, and ended well by themselves."""
    resumes_needed: int = 0
    faults: list[str] = field(default_factory=list)
    """Files that differ, processes that stayed behind or hang, resumes that failed: empty where all is well."""


class Build:
    """One command line that builds from a folder of pictures into `out`, in a session of its own."""

    def __init__(self, pictures: Path, folder: Path, workers: int, shard_size: int) -> None:
        self.out = folder / "out"
        tasks = [word for task in TASKS for word in ("--task", task)]
        self._command = [sys.executable, "-m", "ssl4rl_core.cli", "build", *tasks, "--source", f"folder:{pictures}"]
        self._command += ["--out", str(self.out), "--workers", str(workers), "--shard-size", str(shard_size)]
        self._environment = {**os.environ, "SSL4RL_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )

    def wait(self, seconds: float) -> int | None:
        """The exit code, or None where it still runs after so many seconds."""
        assert self._process is not None
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def processes(self) -> list[Process]:
        """Those of the session that live, whoever their parent is by now."""
        assert self._process is not None
        return sorted(_session(self._process.pid))

    def run(self) -> int | None:
        """Run to the end: the exit code, or None where it hangs."""
        self.start()
        return self.wait(_HANGING_SECONDS)

    def end(self) -> bool:
        """Kill whatever still runs after a while; whether nothing did."""
        deadline = time.monotonic() + _LINGERING_SECONDS
        while living := self.processes():
            if time.monotonic() > deadline:
                for process in living:
                    os.kill(process.pid, signal.SIGKILL)
                return False
            time.sleep(_LOOKING_SECONDS)
        return True

    def phase(self, shards: int) -> str:
        """How far it is, by what is in its folder; `shards` is how many there will be."""
        if not (self.out / "plan.json").exists():
            return "before the plan"
        if (self.out / "manifest.json").exists():
            return "after the manifest"
        done = len(list(self.out.glob("*/*.json")))
        return "before the first shard" if not done else "among the shards" if done < shards else "after the last shard"

    def said(self) -> str:
        """The last line of what it printed."""
        return (self._log.read_text(errors="replace").strip().splitlines() or [""])[-1]


def _session(session: int) -> Iterator[Process]:
    """The living processes of a session; see proc(5) for the fields of stat."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # After the name, which may hold anything, comes field 3.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) != session or fields[0] in "ZX":
                continue
            words = (entry / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        pid = int(entry.name)
        part = "parent" if pid == session else "tracker" if b"resource_tracker" in words else "worker"
        yield Process(pid, part, sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK"))


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file under a folder, by its name there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def strike(build: Build, moment: float, shards: int, rng: random.Random, tally: Tally) -> bool:
    """Run a build and kill one of its processes once they took `moment` seconds; False where it had ended by then."""
    build.start()
    living = build.processes()
    while sum(process.seconds for process in living) < moment or not living:
        if build.wait(_LOOKING_SECONDS) is not None:
            return False
        living = build.processes()
    phase, victim = build.phase(shards), rng.choice(living)
    os.kill(victim.pid, signal.SIGKILL)
    tally.kills += 1
    tally.by_victim[victim.part] += 1
    tally.by_phase[phase] += 1
    code = build.wait(_HANGING_SECONDS)
    if code is None:
        tally.faults.append(f"the build hangs after the kill of its {victim.part} {phase}")
    if not build.end():
        tally.faults.append(f"processes stayed behind after the kill of the {victim.part} {phase}")
    if code == 0:
        tally.finished_alone += 1
    else:
        tally.resumes_needed += 1
    return True


def faults(build: Build, undisturbed: dict[str, str]) -> list[str]:
    """Run a build to its end: what of it is not as in the undisturbed one."""
    code = build.run()
    ended = [] if code == 0 else [f"the resume ended with {code}: {build.said()}"]
    found = hashes(build.out)
    different = [path for path in sorted(undisturbed | found) if undisturbed.get(path) != found.get(path)]
    return ended + [f"{path} is not as in an undisturbed build" for path in different]


def write_pictures(folder: Path, count: int) -> None:
    """So many small pictures of soft random patches."""
    folder.mkdir()
    patches = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    for number, pixels in enumerate(patches):
        Image.fromarray(pixels).resize((64, 64)).save(folder / f"{number:05d}.png")


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Builds that are killed and resumed.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the moments and the victims.")] = 0,
    again: Annotated[int, typer.Option(min=0, help="More kills a round, each of a resumed build.")] = 0,
    pictures: Annotated[int, typer.Option(min=1, help="Pictures of 64 x 64 pixels to build from.")] = 300,
    shard_size: Annotated[int, typer.Option(min=1, help="Items a shard.")] = 10,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 2,
    folder: Annotated[Path | None, typer.Option(help="Where to work; default: the folder for temporary files.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Kill a build at random moments, resume it, and compare its bytes with an undisturbed build's."""
    rng, tally = random.Random(seed), Tally()
    with tempfile.TemporaryDirectory(prefix="kill-resume-", dir=folder) as name:
        root = Path(name)
        write_pictures(root / "pictures", pictures)

        def new_build() -> Build:
            inside = Path(tempfile.mkdtemp(dir=root))
            return Build(root / "pictures", inside, workers, shard_size)

        seconds, undisturbed = measure(new_build())
        shards = sum(path.count("/") and path.endswith(".json") for path in undisturbed)
        for number in track(rng.sample(range(rounds), rounds)):
            known = len(tally.faults)
            moment = seconds * (number + rng.random()) / rounds
            while not strike(build := new_build(), moment, shards, rng, tally):
                moment *= rng.random()  # it was faster than the one that was measured
            for _ in range(again):
                strike(build, rng.uniform(0, seconds), shards, rng, tally)
            tally.faults += [f"round {number}: {fault}" for fault in faults(build, undisturbed)]
            for fault in tally.faults[known:]:
                print(fault, file=sys.stderr)
            shutil.rmtree(build.out.parent)
    report(tally, seconds, as_json=as_json)
    raise typer.Exit(1 if tally.faults else 0)


def measure(build: Build) -> tuple[float, dict[str, str]]:
    """Seconds of processor time that an undisturbed build takes, and the hashes of what it writes."""
    before = _children_seconds()
    if (code := build.run()) != 0:
        raise SystemExit(f"an undisturbed build ended with {code}: {build.said()}")
    return _children_seconds() - before, hashes(build.out)


def _children_seconds() -> float:
    times = os.times()
    return times.children_user + times.children_system


def track(numbers: Sequence[int]) -> Iterator[int]:
    """The numbers, with a progress bar for people."""
    console = Console(stderr=True)
    columns = (TextColumn("killing and resuming"), BarColumn(), MofNCompleteColumn(), TextColumn("left"))
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bar:
        yield from bar.track(numbers)


def report(tally: Tally, seconds: float, *, as_json: bool) -> None:
    """Print what happened."""
    if as_json:
        print(json.dumps({"build_seconds": round(seconds, 2), **vars(tally)}, indent=2))
        return
    for title, counts in (("victim", tally.by_victim), ("moment", tally.by_phase)):
        show([{title: name, "kills": count} for name, count in counts.most_common()], as_json=False)
    print(f"\n{tally.kills} kills of builds that take {seconds:.1f} s of processor time undisturbed")
    print(f"{tally.finished_alone} builds ended well by themselves, {tally.resumes_needed} needed the resume")
    print(f"{len(tally.faults)} files or processes not as they should be")
    for fault in tally.faults:
        print(f"  {fault}")


if __name__ == "__main__":
    typer.run(main)
