"""The folder of a run as it is written: whole files under their final names, and a line of metrics a step."""

import importlib.metadata
import io
import json
import platform
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ssl4rl_core.atomic import write_whole
from ssl4rl_core.errors import UsageError
from ssl4rl_core.plugins import registry
from ssl4rl_core.training.evaluate import Outcome, group
from ssl4rl_core.training.recipe import Recipe
from ssl4rl_core.training.run_folder import Result, read_run
from ssl4rl_core.verification import near_miss

if TYPE_CHECKING:
    from PIL.Image import Image

_RECORDS = ("recipe.yaml", "environment.json", "results.json", "metrics.jsonl", "samples.jsonl", "failures.jsonl")
_FILES = (*_RECORDS, "report.html")
_FOLDERS = ("base", "checkpoints", "format", "model", "pictures", "vllm")
_PACKAGES = (
    "ssl4rl-core",
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "deepspeed",
    "vllm",
    "numpy",
    "pillow",
)
_PICTURE_SIDE = 512
_FAILURES = 4
_LENGTH = ("grpo.max_steps", "grpo.num_train_epochs")
# What a full disk or a full GPU makes one change, after hours; nothing is learned otherwise by it.
_ROOM = (
    "evaluate.batch_size",
    "grpo.gradient_checkpointing",
    "grpo.save_steps",
    "grpo.save_total_limit",
    "grpo.vllm_gpu_memory_utilization",
)
_MAY_CHANGE = (*_LENGTH, *_ROOM, "output")
"""What a resumed run may do otherwise than it began."""


class RunWriter:
    """Writes a run. Only one process of a distributed run may have `active` set. Nothing is written before `begin`.

    Args:
        processes: that train; 0 where none will.

    Raises:
        UsageError: the folder holds another run; or a resumed run began with another recipe or on another number of
            processes, or has ended.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        resume: bool = False,
        overwrite: bool = False,
        active: bool = True,
        processes: int = 0,
    ) -> None:
        self.path = Path(recipe.output)
        self.recipe, self.active, self._processes = recipe, active, processes
        self.results: list[Result] = []
        self.skipped: Mapping[str, int] = {}
        self._lines: list[dict[str, Any]] = []
        self._failures: list[dict[str, Any]] = []
        self._resumed = resume
        if resume:
            self._take_up()
        elif overwrite and (lost := [name for name in _FOLDERS if self._holds_the_model(name)]):
            raise UsageError(
                f"model {recipe.model.name} lies in {self.path / lost[0]}, which --overwrite replaces: choose another "
                "output"
            )
        elif active and not overwrite and (present := self._present()):
            raise UsageError(
                f"{self.path} holds a run already ({present[0]}): choose another output, or say --resume or --overwrite"
            )

    def _holds_the_model(self, name: str) -> bool:
        return Path(self.recipe.model.name).resolve().is_relative_to((self.path / name).resolve())

    def _present(self) -> list[str]:
        return [name for name in (*_FILES, *_FOLDERS) if (self.path / name).exists()]

    def begin(self) -> None:
        """Make the folder, without the run that was there; a resumed run keeps it, and may have another length."""
        if not self.active:
            return
        if not self._resumed:
            self._clear()
            self._write("environment.json", _json({**environment(), "processes": self._processes}))
        self._write("recipe.yaml", self.recipe.to_yaml())
        if self.results:
            self.write_results()

    def _clear(self) -> None:
        for name in self._present():
            where = self.path / name
            if where.is_dir():
                shutil.rmtree(where)
            else:
                where.unlink()
        self.path.mkdir(parents=True, exist_ok=True)

    def go_on_after(self, step: int) -> None:
        """Of a resumed run, keep the metrics up to the step of the checkpoint that training goes on from.

        Later steps are made anew, or not at all; and a line that a kill cut short would spoil the next.
        """
        if self.active and (self.path / "metrics.jsonl").is_file():
            lines = read_run(self.path, self.path.name).metrics
            self._write("metrics.jsonl", _json_lines([line for line in lines if line["step"] <= step]))

    def _take_up(self) -> None:
        recipe = self.path / "recipe.yaml"
        if not recipe.is_file():
            raise UsageError(f"{self.path} holds no run to resume")
        begun, now = yaml.safe_load(recipe.read_text(encoding="utf-8")), self.recipe.model_dump(mode="json")
        if changed := [key for key in _changed(begun, now) if key not in _MAY_CHANGE]:
            raise UsageError(f"{self.path} was begun with another recipe ({', '.join(changed)}): choose another output")
        self._check_processes()
        if (self.path / "results.json").is_file():
            run = read_run(self.path, self.path.name)
            self.results = list(run.results)
            self._lines = [completion.model_dump() for completion in run.completions]
        if self.has("end"):
            raise UsageError(f"the run in {self.path} has ended: there is nothing to resume")

    def _check_processes(self) -> None:
        """The recipe gives a batch by the process: on fewer it would be smaller, of samples that were had before."""
        where = self.path / "environment.json"
        began = json.loads(where.read_text(encoding="utf-8")).get("processes") if where.is_file() else None
        if self._processes and began and began != self._processes:
            raise UsageError(
                f"{self.path} was begun on {began} processes, and would go on with {self._processes}, in batches of "
                f"another size: start {began} of them, or choose another output"
            )

    def has(self, stage: str) -> bool:
        """Whether a stage has been evaluated."""
        return any(result.stage == stage for result in self.results)

    def add_results(self, results: Sequence[Result]) -> None:
        """Take in a stage's results and write all there are."""
        self.results += results
        self._write("samples.jsonl", _json_lines(self._lines))
        # Of the last stage alone: what went wrong before it is no longer so.
        self._write("failures.jsonl", _json_lines(self._failures))
        self._failures = []
        self.write_results()

    def write_results(self) -> None:
        """Write results.json, the schema of DESIGN section 5."""
        runs = [result.model_dump(mode="json") for result in self.results]
        config = {**self.recipe.model_dump(mode="json"), "skipped": dict(self.skipped)}
        self._write("results.json", _json({"runs": runs, "config": config}))

    def keep(self, stage: str, outcome: Outcome) -> None:
        """Keep a sample with its pictures and what the model said to it at this stage."""
        self._lines.append(self._line(stage, outcome))

    def keep_failure(self, stage: str, outcome: Outcome) -> None:
        """Keep a sample that was not answered right: of each config the first few that went wrong in each way."""
        record, verdict = outcome.sample.record, outcome.verdict
        way = group(record, verdict)
        kept = Counter((line["config"], line["group"]) for line in self._failures)
        if way != "right" and kept[outcome.config, way] < _FAILURES:
            self._failures.append({**self._line(stage, outcome), "group": way})

    def _line(self, stage: str, outcome: Outcome) -> dict[str, Any]:
        record, verdict = outcome.sample.record, outcome.verdict
        name = f"{outcome.config}-{outcome.index}"
        images = [f"pictures/{name}-{number}.png" for number in range(len(outcome.sample.images))]
        for image, where in zip(outcome.sample.images, images, strict=True):
            self._write_picture(where, image)
        return {
            "sample": name,
            "config": outcome.config,
            "stage": stage,
            "question": record.question,
            "answer_text": record.answer_text,
            "completion": outcome.completion,
            "score": verdict.score,
            "format_ok": verdict.format_ok,
            "near": near_miss(record, verdict, registry()),
            "images": images,
        }

    def log(self, metrics: Mapping[str, float]) -> None:
        """Append a step's metrics."""
        if self.active:
            with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(metrics) + "\n")

    def _write_picture(self, name: str, image: "Image") -> None:
        where = self.path / name
        if not self.active or where.exists():
            return
        where.parent.mkdir(exist_ok=True)
        small = image.copy()
        small.thumbnail((_PICTURE_SIDE, _PICTURE_SIDE))
        buffer = io.BytesIO()
        small.save(buffer, "PNG")
        write_whole(where, buffer.getvalue())

    def _write(self, name: str, text: str) -> None:
        if self.active:
            write_whole(self.path / name, text.encode("utf-8"))


def environment() -> dict[str, Any]:
    """Versions and the device of this process."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    versions = {name: version for name in _PACKAGES if (version := _version(name))}
    return {"python": platform.python_version(), "system": platform.system(), "device": device, "packages": versions}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _json_lines(values: Sequence[object]) -> str:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


def _changed(begun: Any, now: Any, key: str = "") -> list[str]:
    if isinstance(begun, dict) and isinstance(now, dict):
        names = sorted(begun.keys() | now.keys())
        return [
            found
            for name in names
            for found in _changed(begun.get(name), now.get(name), f"{key}.{name}" if key else name)
        ]
    return [] if begun == now else [key]
