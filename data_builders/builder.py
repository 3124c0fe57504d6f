"""Building: plan first, then the units that are not done yet, then the card and the manifest."""

import contextlib
import os
import pickle
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from data_builders.atomic import is_partial, remove_partials, write_whole
from data_builders.engines import Job, Progress, Report
from data_builders.engines.local import run_here, run_in_processes
from data_builders.manifest import MANIFEST, PLAN, Manifest, make_manifest, read_plan
from data_builders.plan import BuildOptions, Plan, as_configs, make_plan
from data_builders.shards import read_sidecars
from data_builders.units import Worker
from ssl4rl_core.configs import TaskConfig
from ssl4rl_core.errors import Ssl4rlError, UsageError
from ssl4rl_core.plugins import load_file, registry
from ssl4rl_core.sources import Source

try:
    import fcntl
except ImportError:  # Windows has none; there, two builds into one folder are not told apart
    fcntl = None


def build(
    tasks: Sequence[str | TaskConfig],
    source: str | Source,
    out: str | Path,
    *,
    workers: int = 1,
    progress: Report | None = None,
    plugin_files: Iterable[str | Path] = (),
    **options: Any,
) -> Manifest:
    """Build a dataset into the folder `out`, or finish one that was begun there with the same arguments.

    Args:
        tasks: specs such as "rotation" (easy, medium and hard) or "jigsaw:hard?gap=0.1", or configs.
        source: a spec such as "folder:photos", or an open source.
        workers: processes. The bytes written do not depend on it. With more than one, a script must be importable: put
            what it does under `if __name__ == "__main__":`.
        progress: called now and then with how far this run is.
        plugin_files: unpackaged plugins to load, in every worker too.
        options: fields of `BuildOptions`.

    Raises:
        UsageError: an argument is wrong, or `out` holds something else or a build of another plan.
        TaskError: a task's own code failed on an item.
        Ssl4rlError: the source or a worker failed, or the output cannot be written.
    """
    for path in plugin_files:
        load_file(path)
    checked = BuildOptions.checked(options)
    configs = _configs(tasks, workers)
    opened = registry().source(source) if isinstance(source, str) else source
    out = Path(out)
    plan = make_plan(opened, configs, checked)
    report = progress or _say_nothing
    with _writing_to(out), _locked(out):
        _begin(out, plan)
        remove_partials(out)
        units = [unit for unit in plan.units if read_sidecars(out, plan, unit) is None]
        if units and workers == 1:
            run_here(Worker(plan, out, opened, configs), units, report)
        elif units:
            job = Job(plan, out, _portable(source, opened), tuple(registry().files))
            run_in_processes(job, units, workers, report)
        return _finish(out, plan, configs)


def _configs(tasks: Sequence[str | TaskConfig], workers: int) -> list[TaskConfig]:
    if not tasks:
        raise UsageError("no task to build: name one, such as rotation or rotation:hard")
    if workers < 1:
        raise UsageError(f"workers must be 1 or more, got {workers}")
    configs = as_configs(tasks)
    for config in configs:
        name = config.task.name
        known = registry().tasks.get(name) is config.task and registry().origin("task", name) != "(registered here)"
        if workers > 1 and not known:
            raise UsageError(
                f"task {name} is known in this process only: build with workers=1, or put it into a file and name "
                "that in plugin_files"
            )
    return configs


def _portable(source: str | Source, opened: Source) -> str | bytes:
    """The source for other processes: as it is open here, so that nothing is scanned again, or else its spec."""
    try:
        return pickle.dumps(opened)
    except Exception as error:  # whatever a foreign source raises when it is pickled
        if isinstance(source, str):
            return source
        raise UsageError(f"source {source.name} cannot be sent to worker processes ({error}): use workers=1") from error


def _begin(out: Path, plan: Plan) -> None:
    """Write the plan, or find the same one there."""
    begun = read_plan(out)
    if begun is None:
        # Killed while it wrote its plan, a build has left nothing but that.
        if not all(is_partial(path) for path in out.iterdir()):
            raise UsageError(f"{out} is not empty and holds no build: choose a new folder")
        write_whole(out / PLAN, plan.model_dump_json(indent=1).encode() + b"\n")
    elif differences := begun.differences(plan):
        listed = "\n  ".join(differences)
        raise UsageError(f"{out} holds a build of another plan: choose a new folder, or mend\n  {listed}")
    for config in plan.configs:
        (out / config["name"]).mkdir(exist_ok=True)


def _finish(out: Path, plan: Plan, configs: list[TaskConfig]) -> Manifest:
    from data_builders.card import dataset_card

    sidecars = []
    for unit in plan.units:
        written = read_sidecars(out, plan, unit)
        if written is None:
            raise Ssl4rlError(
                f"shards {unit.name} in {out} vanished after they were written: run the same command again"
            )
        sidecars += written
    manifest = make_manifest(plan, sidecars)
    write_whole(out / "README.md", dataset_card(manifest, configs).encode())
    write_whole(out / MANIFEST, manifest.model_dump_json(indent=1).encode() + b"\n")
    return manifest


@contextlib.contextmanager
def _writing_to(out: Path) -> Iterator[None]:
    """The folder, made where it is missing; what the disk refuses becomes one line."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        yield
    except FileExistsError:
        raise UsageError(f"{out} is a file: name a folder") from None
    except OSError as error:
        where = error.filename or out
        raise Ssl4rlError(
            f"cannot write {where}: {error.strerror or error}; with that mended, run the same command again to resume"
        ) from error


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Keep other builds out of the folder. The lock is on the folder itself, so it leaves no file and dies with us."""
    if fcntl is None:
        yield
        return
    folder = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another build is writing to {out}: wait for it, or choose a new folder") from None
        yield
    finally:
        os.close(folder)


def _say_nothing(progress: Progress) -> None:
    pass
