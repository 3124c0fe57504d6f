"""Building: plan first, then the units that are not done yet, then the card and the manifest."""

import contextlib
import functools
import pickle
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from data_builders.engines import Job, Progress, Report
from data_builders.engines.local import run_here, run_in_processes
from data_builders.engines.ray import run_on_ray
from data_builders.manifest import MANIFEST, PLAN, Manifest, make_manifest, parse_plan
from data_builders.output import RESUME, Output, open_output
from data_builders.plan import BuildOptions, Plan, as_configs, make_plan
from data_builders.shards import finished_units
from data_builders.units import Worker
from ssl4rl_core.configs import TaskConfig
from ssl4rl_core.errors import Ssl4rlError, UsageError, one_line
from ssl4rl_core.plugins import HERE, load_file, registry
from ssl4rl_core.rendering import check_sides
from ssl4rl_core.sources import Source

Engine = Literal["local", "ray"]


class Interrupted(KeyboardInterrupt):
    """A build was interrupted (Ctrl-C). Nothing is half written; the message says how far it came."""


def build(
    tasks: Sequence[str | TaskConfig],
    source: str | Source,
    out: str | Path,
    *,
    workers: int = 1,
    engine: Engine = "local",
    ray_address: str = "",
    progress: Report | None = None,
    plugin_files: Iterable[str | Path] = (),
    **options: Any,
) -> Manifest:
    """Build a dataset at `out`, or finish one that was begun there with the same arguments.

    Args:
        tasks: specs such as "rotation" (easy, medium and hard) or "jigsaw:hard?gap=0.1", or configs.
        source: a spec such as "folder:photos", or an open source.
        out: a folder, or an address that fsspec writes to, such as "s3://bucket/photos": whole shards are uploaded, and
            what is done there is not done again.
        workers: processes. The bytes written do not depend on it. With more than one, a script must be importable: put
            what it does under `if __name__ == "__main__":`.
        engine: "local" for processes on this machine, "ray" for a Ray cluster. The bytes do not depend on it either.
        ray_address: the cluster; by default `RAY_ADDRESS`, or else a Ray that runs on this machine while we build.
        progress: called now and then with how far this run is.
        plugin_files: unpackaged plugins to load, in every worker too.
        options: fields of `BuildOptions`.

    Raises:
        UsageError: an argument is wrong, `out` holds something else or a build of another plan, or another build is
            writing there.
        TaskError: a task's own code failed on an item.
        Ssl4rlError: the source changed or failed, workers died again and again, or the output cannot be written.
        Interrupted: by Ctrl-C.
    """
    for path in plugin_files:
        load_file(path)
    checked = BuildOptions.checked(options)
    if ray_address and engine == "local":
        raise UsageError(
            f"the local engine takes no Ray address ({ray_address}): choose the engine ray, or leave it out"
        )
    alone = engine == "local" and workers == 1
    configs = _configs(tasks, workers, engine, alone)
    for config in configs:
        check_sides(config, checked.max_side)
    output = _output(out, alone)
    opened = registry().source(source) if isinstance(source, str) else source
    plan = make_plan(opened, configs, checked)
    with _writing_to(output), output.lock():
        _begin(output, plan)
        output.tidy()
        finished = finished_units(output, plan)
        units = [unit for unit, done in zip(plan.units, finished, strict=True) if done is None]
        report = progress or _say_nothing
        try:
            if units and alone:
                run_here(Worker(plan, output, opened, configs), units, report)
            elif units:
                run = functools.partial(run_on_ray, address=ray_address) if engine == "ray" else run_in_processes
                run(_job(plan, output, source, opened), units, workers, report)
        except KeyboardInterrupt:
            raise Interrupted(_how_far(output, plan)) from None
        finally:
            output.tidy()
        return _finish(output, plan, configs)


def _configs(tasks: Sequence[str | TaskConfig], workers: int, engine: str, alone: bool) -> list[TaskConfig]:
    if not tasks:
        raise UsageError("no task to build: name one, such as rotation or rotation:hard")
    if workers < 1:
        raise UsageError(f"workers must be 1 or more, got {workers}")
    if engine not in get_args(Engine):
        raise UsageError(f"no engine {engine!r}: there are {' and '.join(get_args(Engine))}")
    configs = as_configs(tasks)
    for config in configs:
        name = config.task.name
        known = registry().tasks.get(name) is config.task and registry().origin("task", name) != HERE
        if not alone and not known:
            raise UsageError(
                f"task {name} is known in this process only: build with workers=1 and the local engine, or put it "
                "into a file and name that in plugin_files"
            )
    return configs


def _output(out: str | Path, alone: bool) -> Output:
    output = open_output(out)
    if output.in_this_process and not alone:
        raise UsageError(f"{output.where} lies in this process only: build with workers=1 and the local engine")
    return output


def _job(plan: Plan, output: Output, source: str | Source, opened: Source) -> Job:
    """The build for other processes: with the source as it is open here, so that nothing is scanned again."""
    spec = source if isinstance(source, str) else ""
    try:
        pickled = pickle.dumps(opened)
    except Exception as error:  # whatever a foreign source raises when it is pickled
        if not spec:
            raise UsageError(
                f"source {opened.name} cannot be sent to worker processes ({one_line(error)}): use workers=1"
            ) from error
        pickled = b""
    return Job(plan, output, pickled, spec, tuple(registry().files))


def _begin(output: Output, plan: Plan) -> None:
    """Write the plan, or find the same one there."""
    begun = output.read([PLAN]).get(PLAN)
    if begun is None:
        if not output.is_new():
            raise UsageError(f"{output.where} is not empty and holds no build: choose a new folder")
        output.write(PLAN, plan.model_dump_json(indent=1).encode() + b"\n")
    elif differences := parse_plan(begun, output.where).differences(plan):
        listed = "\n  ".join(differences)
        raise UsageError(f"{output.where} holds a build of another plan: choose a new folder, or mend\n  {listed}")


def _finish(output: Output, plan: Plan, configs: list[TaskConfig]) -> Manifest:
    from data_builders.card import dataset_card

    sidecars = []
    for unit, written in zip(plan.units, finished_units(output, plan), strict=True):
        if written is None:
            raise Ssl4rlError(
                f"shards {unit.name} are not in {output.where}, though they were written: run the same command again, "
                "and see that all workers write to the same place"
            )
        sidecars += written
    manifest = make_manifest(plan, sidecars)
    output.write("README.md", dataset_card(manifest, configs).encode())
    output.write(MANIFEST, manifest.model_dump_json(indent=1).encode() + b"\n")
    return manifest


def _how_far(output: Output, plan: Plan) -> str:
    done = sum(unit is not None for unit in finished_units(output, plan))
    return (
        f"interrupted: {done} of {len(plan.units)} units of work are done in {output.where}; run the same command "
        "again to finish what is missing"
    )


@contextlib.contextmanager
def _writing_to(output: Output) -> Iterator[None]:
    """What the disk refuses becomes one line."""
    try:
        yield
    except OSError as error:
        where = error.filename or output.where
        raise Ssl4rlError(f"cannot write {where}: {error.strerror or error}; {RESUME}") from error


def _say_nothing(progress: Progress) -> None:
    pass
