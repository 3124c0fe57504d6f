"""The runs that the studies compare: what each trains, and how one is done and its result kept.

All runs of a seed begin with the same random weights of a tiny Qwen2.5-VL, have a format start on their own tasks, and
train for the same number of steps on faces of 25 x 25 pixels; what is held out is whole faces. So runs differ in their
tasks and curriculum and in nothing else. Questions are put in few words: this model knows no language that a longer one
could be in, and every token costs time.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from supervised import SUPERVISED, supervised

from data_builders import LiveSamples
from ssl4rl_core import parse_configs, registry
from ssl4rl_core.answers import load_answer
from ssl4rl_core.atomic import write_named
from ssl4rl_core.testing.tiny import tiny_vlm
from ssl4rl_core.training.grpo import train
from ssl4rl_core.training.linear_probe import SEEDS, SHOTS
from ssl4rl_core.training.progress import Display
from ssl4rl_core.training.recipe import ModelSettings, Recipe
from ssl4rl_core.training.run_folder import Result, read_run
from ssl4rl_core.training.transfer import transfer

RUN_SEEDS = (0, 1, 2)
PROBES = ("faces", "digits")
MODEL = {"pixels": 56, "hidden": 96, "layers": 3}
ROTATIONS = {
    "easy": "rotation:easy",
    "medium": "rotation:medium?reference=false",
    "hard": "rotation:hard?reference=false",
}
"""The turned picture alone at all levels: they then differ in the number of angles."""
_EASY = {
    "rotation": ROTATIONS["easy"],
    "jigsaw": "jigsaw:easy",
    "contrastive": "contrastive:easy?size=56",
    "position": "position:easy",
}
PROMPTS = {
    **dict.fromkeys(ROTATIONS.values(), "<image>\nTurned by how many degrees?"),
    _EASY["jigsaw"]: "<image>\nWhich tiles belong where?",
    _EASY["contrastive"]: "<image><image>\nFrom one picture?",
    _EASY["position"]: "<image><image>\nA piece of which part?",
}

Method = Literal["grpo", "random", "supervised"]


@dataclass(frozen=True)
class Run:
    """One thing that is trained, for each seed.

    Attributes:
        tasks: those of PROMPTS, with even weights.
        method: "grpo"; "random" for the weights that all begin with; "supervised" for training those on the labels of
            the downstream task.
    """

    name: str
    tasks: tuple[str, ...] = ()
    curriculum: str = "uniform"
    method: Method = "grpo"


def _together(*names: str) -> Run:
    return Run("+".join(names), tuple(_EASY[name] for name in names))


DIFFICULTY = [Run(f"rotation-{level}", (spec,)) for level, spec in ROTATIONS.items()]
CURRICULUM = [Run(f"rotation-{kind}", tuple(ROTATIONS.values()), kind) for kind in ("uniform", "goldilocks")]
ALONE = [Run(f"{name}-easy", (spec,)) for name, spec in _EASY.items()]
MIXES = [*ALONE, _together("rotation", "position"), _together("rotation", "contrastive"), _together(*_EASY)]
RANDOM, LABELS = Run("random-weights", method="random"), Run("labels", method="supervised")
TRANSFER = [RANDOM, *ALONE, MIXES[-1], LABELS]
STUDIES: Mapping[str, Sequence[Run]] = {
    "difficulty": DIFFICULTY,
    "curriculum": CURRICULUM,
    "mixes": MIXES,
    "transfer": TRANSFER,
}


def runs_of(studies: Sequence[str]) -> list[Run]:
    """The runs of some studies, each once: several studies share one."""
    return list({run.name: run for study in studies for run in STUDIES[study]}.values())


def recipe(run: Run, seed: int, model: Path, out: Path, steps: int) -> Recipe:
    """What is trained, and asked of what is held out before and after."""
    tasks = [{"task": _small(spec), "prompt": PROMPTS[spec]} for spec in run.tasks]
    return Recipe.model_validate(
        {
            "model": {"name": str(model)},
            "data": {"source": "embedded:faces", "variants": 16, "test_fraction": 0.25},
            "tasks": tasks,
            "curriculum": run.curriculum,
            "format": "answer_only",
            "format_start": {"steps": 120, "learning_rate": 1e-3},
            "grpo": {
                "max_steps": steps,
                "per_device_train_batch_size": 128,  # 16 questions x 8 completions
                "num_generations": 8,
                "max_completion_length": 10,
                "learning_rate": 4e-4,
                "lr_scheduler_type": "linear",
                "warmup_steps": 10,
                "adam_beta2": 0.95,
                "max_grad_norm": 0.5,
                "beta": 0.0,
                "bf16": False,
                "gradient_checkpointing": False,
                "save_strategy": "no",
            },
            # Of every held-out face up to 8 questions of each task, whose answers differ.
            "evaluate": {"stages": ["format", "end"], "variants": 8, "balance": True, "batch_size": 76, "keep": 0},
            "output": str(out),
            "seed": seed,
        }
    )


def _small(spec: str) -> str:
    """The task, of pictures as small as the faces are."""
    return f"{spec}{'&' if '?' in spec else '?'}min_side=25"


def texts() -> set[str]:
    """All questions of all runs, for one tokenizer."""
    source, response_format = registry().source("embedded:faces"), registry().format("answer_only")
    configs = [
        replace(config, prompt=prompt)
        for spec, prompt in PROMPTS.items()
        for config in parse_configs([_small(spec)], registry())
    ]
    samples = LiveSamples(source, configs)
    records = [samples.sample(config, "train", 0).record for config in samples.configs]
    return {
        f"{record.question}\n{response_format.instruction(load_answer(record.answer).hint())}" for record in records
    }


@dataclass(frozen=True)
class Kept:
    """What is kept of a finished run: a few kilobytes of JSON, under its name and seed."""

    folder: Path
    run: Run
    seed: int
    steps: int

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / f"{self.run.name}-seed-{self.seed}.json"

    def settings(self) -> dict[str, Any]:
        """What the run depended on, as far as it is set here; a result with other settings is not this run's."""
        told: dict[str, Any] = {"run": self.run.name, "method": self.run.method, "seed": self.seed, "model": MODEL}
        told["labels"] = SUPERVISED if self.run.method == "supervised" else {"shots": SHOTS, "draws": [*SEEDS]}
        if self.run.tasks:
            settings = recipe(self.run, self.seed, Path("model"), Path("out"), self.steps)
            told["recipe"] = settings.model_dump(mode="json", exclude_defaults=True)
        return told

    def read(self) -> dict[str, Any] | None:
        """The result, or None where the run has not been done with these settings."""
        try:
            kept = json.loads(self.path.read_text())
        except FileNotFoundError:
            return None
        return kept if kept["settings"] == self.settings() else None

    def do(self, work: Path) -> None:
        """Do the run in a folder of its own, which is removed afterwards, and keep the result."""
        out = work / "run"
        shutil.rmtree(work, ignore_errors=True)
        model = tiny_vlm(work / "model", texts(), seed=self.seed, **MODEL)
        told: dict[str, Any] = {"settings": self.settings()}
        if self.run.method == "supervised":
            told["labels"] = [_told(supervised(ModelSettings(name=str(model)), name)) for name in PROBES]
        elif self.run.method == "random":
            told["before"] = _probed(model)
        else:
            train(recipe(self.run, self.seed, model, out, self.steps), display=Display(shown=False))
            told["results"] = [_told(result) for result in read_run(out, self.run.name).results]
            told |= {"before": _probed(out / "format"), "after": _probed(out / "model")}
        write_named(self.path, (json.dumps(told, indent=1) + "\n").encode())
        shutil.rmtree(work)


def _probed(model: Path) -> list[dict[str, Any]]:
    settings = ModelSettings(name=str(model))
    return [_told(result) for result in transfer([settings], PROBES, display=Display(shown=False))]


def _told(result: Result) -> dict[str, Any]:
    """A result without what tells a path, and how busy the machine was."""
    return result.model_dump(mode="json", exclude={"model", "seconds"}, exclude_defaults=True)
