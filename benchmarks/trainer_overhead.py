"""What the stream, the curriculum and the rewards cost on top of bare TRL: seconds a step, side by side.

    python benchmarks/trainer_overhead.py
    python benchmarks/trainer_overhead.py --pixels 224 --generations 8 --prompts 4 --steps 6

Both trainers get the same samples of `embedded:photos`, the same tiny model and the same settings. Bare TRL has its
prompts and pictures ready in memory and reward functions of two lines: the least that a script of one's own could do.
They take turns; of each trainer the median step over all rounds counts. Time outside generation and the model is what
our part takes of the step: looking up, rendering or reading the samples, and judging the completions.
"""

import json
import re
import statistics
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

TASK = "rotation:easy"


def main(
    steps: Annotated[int, typer.Option(min=4, help="Optimizer steps a round; the first two are not counted.")] = 10,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each trainer.")] = 3,
    prompts: Annotated[int, typer.Option(min=1, help="Prompts a batch.")] = 4,
    generations: Annotated[int, typer.Option(min=2, help="Completions a prompt.")] = 8,
    pixels: Annotated[int, typer.Option(help="Side of the pictures, a multiple of 28.")] = 224,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare a step of bare TRL with one of ours."""
    figures = measure(steps, rounds, prompts, generations, pixels)
    if as_json:
        print(json.dumps(figures))
        return
    both = f"bare TRL {figures['bare_seconds']:.3f} s a step, ssl4rl {figures['ssl4rl_seconds']:.3f} s"
    print(f"{both}: {figures['overhead_percent']:+.1f} %")
    print(f"of it the stream and the rewards: {figures['own_ms_a_prompt']:.2f} ms a prompt at {pixels} px")


def measure(
    steps: int = 10, rounds: int = 3, prompts: int = 4, generations: int = 8, pixels: int = 224
) -> dict[str, float]:
    """Seconds a step of both, what ours takes more in percent, and milliseconds a prompt for samples and rewards."""
    from ssl4rl_core.training.progress import quietly

    with tempfile.TemporaryDirectory() as name, quietly():
        bench = _Bench(Path(name), steps, prompts, generations, pixels)
        taken: dict[str, list[float]] = {"bare TRL": [], "ssl4rl": []}
        console = Console(stderr=True)
        for _ in track(range(rounds), "rounds", console=console, transient=True, disable=not console.is_terminal):
            taken["bare TRL"] += bench.bare()
            taken["ssl4rl"] += bench.streamed()
    bare, ours = (statistics.median(each) for each in taken.values())
    return {
        "bare_seconds": bare,
        "ssl4rl_seconds": ours,
        "overhead_percent": 100 * (ours / bare - 1),
        "own_ms_a_prompt": 1000 * statistics.median(bench.own) / prompts,
    }


class _Bench:
    """Both trainers on one build and one model."""

    def __init__(self, folder: Path, steps: int, prompts: int, generations: int, pixels: int) -> None:
        from data_builders import BuiltSamples, build
        from ssl4rl_core.testing.tiny import tiny_vlm

        self.folder, self.steps, self.prompts, self.generations = folder, steps, prompts, generations
        build([TASK], "embedded:photos", folder / "built", max_side=pixels, variants=4)
        self.samples = BuiltSamples(folder / "built")
        self.config = self.samples.configs[0]
        texts = [self.samples.sample(self.config, "train", 0).record.question]
        self.model = tiny_vlm(folder / "model", texts, pixels=pixels)
        self.own: list[float] = []
        """Seconds for samples and rewards in each step, with TRL's gathering of the rewards."""

    def _load(self) -> Any:
        from ssl4rl_core.training.models import load_model
        from ssl4rl_core.training.recipe import ModelSettings

        return load_model(ModelSettings(name=str(self.model)))

    def _settings(self) -> Any:
        from trl.trainer.grpo_config import GRPOConfig

        return GRPOConfig(
            output_dir=str(self.folder / "run"),
            max_steps=self.steps,
            per_device_train_batch_size=self.prompts * self.generations,
            num_generations=self.generations,
            max_completion_length=16,
            reward_weights=[1.0, 0.1],
            learning_rate=1e-6,
            save_strategy="no",
            logging_steps=1,
            report_to="none",
            disable_tqdm=True,
            bf16=False,
            gradient_checkpointing=False,
            shuffle_dataset=False,
            remove_unused_columns=False,
        )

    def bare(self) -> list[float]:
        """Seconds of each counted step of plain TRL."""
        from datasets import Dataset
        from trl.trainer.grpo_trainer import GRPOTrainer

        from ssl4rl_core import load

        rows = load(self.folder / "built", self.config, format="answer_only")
        count = min(len(rows), self.prompts * self.steps)
        ready = [rows[number] for number in range(count)]
        numbers = Dataset.from_dict({"number": list(range(count))})

        def look_up(batch: dict[str, list[int]]) -> dict[str, list[Any]]:
            names = "prompt", "images", "answer_text"
            return {name: [ready[number][name] for number in batch["number"]] for name in names}

        def answer(completions: list[Any], answer_text: list[str], **_: Any) -> list[float]:
            said = [re.search("<answer>(.*)</answer>", each[0]["content"]) for each in completions]
            return [float(bool(each) and each[1] == right) for each, right in zip(said, answer_text, strict=True)]

        def format(completions: list[Any], **_: Any) -> list[float]:
            return [float("<answer>" in each[0]["content"]) for each in completions]

        loaded, rewards = self._load(), [answer, format]
        return _timed(
            GRPOTrainer(
                model=loaded.model,
                args=self._settings(),
                processing_class=loaded.processor,
                reward_funcs=rewards,  # pyright: ignore[reportArgumentType]
                train_dataset=numbers.with_transform(look_up),
            )
        )

    def streamed(self) -> list[float]:
        """Seconds of each counted step of ours; `own` takes in what our code had of them."""
        from ssl4rl_core import registry
        from ssl4rl_core.training.curriculum import Goldilocks
        from ssl4rl_core.training.prompts import Prompter
        from ssl4rl_core.training.rewards import Judge, reward_functions
        from ssl4rl_core.training.stream import Stream
        from ssl4rl_core.training.trainer import StreamedTrainer

        loaded = self._load()
        prompter = Prompter(loaded.processor, registry().format("answer_only"), registry())
        stream = Stream(self.samples, {self.config: 1.0})
        rewards = reward_functions(Judge(prompter.response_format, registry()), prompter.decode)
        trainer = StreamedTrainer(
            model=loaded.model,
            args=self._settings(),
            processing_class=loaded.processor,
            reward_funcs=rewards,
            stream=stream,
            curriculum=Goldilocks({self.config: 1.0}, {self.config: "rotation"}),
            prompter=prompter,
        )
        seconds = _timed(trainer)
        lines = [line for line in trainer.state.log_history if "step_time" in line]
        self.own += [line["stream_seconds"] + line["reward_seconds"] for line in lines[2:]]
        return seconds


def _timed(trainer: Any) -> list[float]:
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return [line["step_time"] for line in trainer.state.log_history if "step_time" in line][2:]


if __name__ == "__main__":
    typer.run(main)
