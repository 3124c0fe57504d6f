"""`train(recipe)`: from a recipe to a run folder, by GRPO, with held-out accuracy before and after."""

import contextlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ssl4rl_core.configs import check_rewards
from ssl4rl_core.errors import UsageError
from ssl4rl_core.plugins import registry
from ssl4rl_core.samples import Sample
from ssl4rl_core.tasks import Skip
from ssl4rl_core.training.curriculum import Curriculum, make_curriculum
from ssl4rl_core.training.data import (
    Mix,
    check_prompts,
    first_samples,
    open_data,
    open_downstream,
    open_held_out,
)
from ssl4rl_core.training.evaluate import Evaluator, Outcome, evaluate
from ssl4rl_core.training.format_start import start_on_format
from ssl4rl_core.training.model_folder import copied_for_vllm, partial_folder, save, settle
from ssl4rl_core.training.models import Loaded, is_adapter, load_model, model_without_weights, need_training
from ssl4rl_core.training.progress import Display, quietly
from ssl4rl_core.training.prompts import Prompter, check_prompt
from ssl4rl_core.training.recipe import Recipe, Stage
from ssl4rl_core.training.rewards import Judge, reward_functions
from ssl4rl_core.training.run_folder import Result
from ssl4rl_core.training.run_writer import RunWriter
from ssl4rl_core.training.stream import Reference, Stream


def train(
    recipe: Recipe,
    *,
    resume: bool = False,
    overwrite: bool = False,
    verbose: bool = False,
    display: Display | None = None,
) -> Path:
    """Train a model on a recipe's tasks and return the folder of the run.

    It holds recipe.yaml, environment.json, results.json, metrics.jsonl (a line a logged step), samples.jsonl and
    pictures/ (some held-out samples and what the model said to them at each stage), failures.jsonl (some that it got
    wrong at the last stage), model/ (the trained model or its adapter), format/ (the model after the format start),
    base/ (the model to begin with, if it came with an adapter and is needed) and checkpoints/.

    Under a distributed launcher every process calls this; the first one writes.

    Args:
        resume: go on from the last checkpoint of the run in the recipe's output.
        overwrite: replace the run that is there.
        verbose: let TRL and transformers talk.

    Raises:
        MissingExtra: the extra 'train' is not installed.
        UsageError: the recipe names what does not exist or cannot be, or `resume` and `overwrite` are both set; nothing
            has been trained then.
    """
    not_both(resume, overwrite)
    need_training("training")
    # TRL counts its users over the network; a run on somebody's private pictures is not ours to announce.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from accelerate import PartialState

    with quietly(verbose):
        # Told of the CPU: a process of several without a GPU would else take itself for the only one.
        processes = PartialState(cpu=bool(recipe.grpo.get("use_cpu")))
        main = processes.is_main_process
        writer = RunWriter(recipe, resume=resume, overwrite=overwrite, active=main, processes=processes.num_processes)
        run = _Run(recipe, display or Display(shown=main), resume, writer)
        run.check()
        processes.wait_for_everyone()  # nobody still reads what the first one now writes
        writer.begin()
        run.go()
        return writer.path


def not_both(resume: bool, overwrite: bool) -> None:
    """Raise UsageError where a run is to be gone on with and to be replaced."""
    if resume and overwrite:
        raise UsageError("--resume goes on with the run that is there, --overwrite replaces it: say one of both")


@dataclass
class _Run:
    """One training in progress. Parts are made when they are first needed: those that can be wrong come first."""

    recipe: Recipe
    display: Display
    resume: bool
    writer: RunWriter

    @cached_property
    def mix(self) -> Mix:
        return open_data(self.recipe.data, self.recipe.tasks)

    @cached_property
    def held_out(self) -> Mix:
        return open_held_out(self.recipe, self.mix)

    @cached_property
    def downstream(self) -> list[Mix]:
        return open_downstream(self.recipe, self.recipe.evaluate.downstream)

    @cached_property
    def first(self) -> dict[str, Sample]:
        """A training sample of each config."""
        return first_samples(self.mix)

    @cached_property
    def formatted(self) -> bool:
        """Whether the run that is resumed has had its format start."""
        return self.resume and (self._format_folder / "config.json").is_file()

    @cached_property
    def loaded(self) -> Loaded:
        settings = self.recipe.model
        if self.formatted:
            settings = settings.model_copy(update={"name": str(self._format_folder)})
        return load_model(settings)

    @cached_property
    def prompter(self) -> Prompter:
        options = self.recipe.grpo.get("chat_template_kwargs") or {}
        response_format = registry().format(self.recipe.format)
        ends = self.loaded.model.generation_config.eos_token_id
        return Prompter(self.loaded.processor, response_format, registry(), options, ends)

    @cached_property
    def judge(self) -> Judge:
        return Judge(self.prompter.response_format, registry(), prefill=self.prompter.prefill)

    @cached_property
    def evaluator(self) -> Evaluator:
        asked = self.recipe.evaluate
        max_tokens = asked.max_tokens or self.config.max_completion_length
        # Under FSDP and ZeRO 3 transformers has all processes generate in step, also where one has nothing to ask.
        shared = not self.shared_out
        return Evaluator(self.prompter, self.judge, asked.batch_size, max_tokens, limit=asked.limit, shared=shared)

    @cached_property
    def config(self) -> Any:
        from ssl4rl_core.training.settings import grpo_config

        return grpo_config(self.recipe)

    @cached_property
    def shared_out(self) -> bool:
        """Whether training leaves each process a part of the weights alone."""
        from ssl4rl_core.training.settings import shares_weights_out

        return shares_weights_out(self.config)

    @property
    def _format_folder(self) -> Path:
        return self.writer.path / "format"

    @property
    def _base_folder(self) -> Path:
        return self.writer.path / "base"

    @property
    def _trained_folder(self) -> Path:
        return self.writer.path / "model"

    def check(self) -> None:
        """Find what is wrong with the recipe before anything is written: settings, data, then the model."""
        from ssl4rl_core.training.settings import grpo_fields, lora_config, missing_here, with_adapter

        registry().format(self.recipe.format)
        grpo_fields(self.recipe)  # a misspelt one is named before what is missing
        for missing in missing_here(self.recipe):
            raise UsageError(f"missing here: {missing}")
        _ = self.config
        lora_config(self.recipe)
        check_rewards(self.mix.weights)
        check_prompts(self.recipe, self.mix.samples)
        mixed = len({bool(sample.images) for sample in self.first.values()}) > 1
        if mixed and self.config.log_multimodal and self.config.world_size > 1:
            raise UsageError(
                f"{self.recipe.where('grpo', 'log_multimodal')}: in a mix of pictures and text, processes would "
                "wait for pictures of one that has none: leave it out"
            )
        if mixed and self.shared_out:
            raise UsageError(
                "a mix of pictures and text cannot be trained under FSDP or ZeRO 3, where all processes must compute "
                "alike, and text leaves the vision part out: train without them, or one of both kinds alone"
            )
        self.curriculum()
        asked, evaluated = [*self.first.values()], [self.held_out, *self.downstream]
        if self.recipe.evaluate.stages:
            asked += [sample for mix in evaluated for sample in first_samples(mix, "test").values()]
        if self.recipe.peft is not None:
            with_adapter(model_without_weights(self.recipe.model), self.recipe)
        for sample in asked:
            check_prompt(self.loaded, self.prompter, self.recipe.model.name, sample)
        stream = self.stream(self.recipe.seed)
        for config in self.mix.weights:
            stream.sample(Reference(config, 0))  # one that is not too long

    def go(self) -> None:
        """All stages, in order."""
        from accelerate.utils import release_memory
        from transformers import set_seed

        set_seed(self.recipe.seed)
        self.warn()
        self.evaluate("start", self.loaded.model)
        if self.recipe.format_start is not None:
            if not self.formatted:
                self.start_on_format()
            self.evaluate("format", self.loaded.model)
        self.learn()
        # Reference model, optimizer and vLLM stand in circles, and would take room from the evaluation.
        release_memory()
        if self.shared_out:
            self.gather()
        self.evaluate("end", self.loaded.model)

    def warn(self) -> None:
        """Say what can be trained and will hardly be worth it."""
        from ssl4rl_core.training.settings import keeps_float32, rounds_updates_away

        if rounds_updates_away(self.recipe, self.config.learning_rate) and not keeps_float32(self.config):
            self.display.note(
                f"warning: {self.recipe.where('model', 'dtype')}: 16-bit weights round most updates away at a learning "
                f"rate of {self.config.learning_rate:g}: take float32, or start with DeepSpeed or FSDP, which keep "
                "float32 weights beside them"
            )

    def stream(self, seed: int) -> Stream:
        """The stream of training samples, which passes over prompts that are too long."""
        limit = self.recipe.max_prompt_tokens

        def check(sample: Sample) -> None:
            if limit is not None and self.prompter.tokens(self.prompter.conversation(sample)) > limit:
                raise Skip("prompt longer than max_prompt_tokens")

        return Stream(self.mix.samples, self.mix.weights, seed=seed, check=check if limit else None)

    def curriculum(self) -> Curriculum:
        """The curriculum at its beginning."""
        tasks = {config: sample.record.task for config, sample in self.first.items()}
        return make_curriculum(self.recipe, self.mix.weights, tasks)

    def evaluate(self, stage: Stage, model: Any) -> None:
        """Held-out accuracy at a stage, unless the recipe leaves it out or a resumed run has it."""
        if stage not in self.recipe.evaluate.stages or self.writer.has(stage):
            return
        mixes, kept = [self.held_out, *self.downstream], self._kept()
        total = sum(len(self.evaluator.indices(mix.samples, config)) for mix in mixes for config in mix.weights)
        scores: list[float] = []
        results: list[Result] = []
        with self.display.phase(f"evaluate {stage}", total) as advance:

            def each(outcome: Outcome) -> None:
                scores.append(outcome.verdict.score)
                advance(len(scores), f"accuracy {sum(scores) / len(scores):.3f}")
                if mix is self.held_out and outcome.index in kept[outcome.config]:
                    self.writer.keep(stage, outcome)
                if mix is self.held_out and self.recipe.evaluate.keep:
                    self.writer.keep_failure(stage, outcome)

            for mix in mixes:
                options: Any = {"name": self.recipe.model.name, "stage": stage, "each": each}
                options["downstream"] = mix is not self.held_out
                results += evaluate(model, mix.samples, list(mix.weights), self.evaluator, **options)
        self.writer.add_results(results)

    def _kept(self) -> dict[str, set[int]]:
        """Which held-out samples are kept for the report, by config."""
        samples, configs = self.held_out.samples, list(self.held_out.weights)
        share = -(-self.recipe.evaluate.keep // len(configs))
        return {config: _spread(self.evaluator.indices(samples, config), share) for config in configs}

    def start_on_format(self) -> None:
        """The supervised start, with an adapter of its own where the recipe trains one; the result is saved whole."""
        from ssl4rl_core.training.settings import with_adapter

        settings = self.recipe.format_start
        assert settings is not None
        model = with_adapter(self.loaded.model, self.recipe)
        with self.display.phase("format start", settings.steps) as advance:
            start_on_format(
                model,
                self.stream(self.recipe.seed + 1),
                self.prompter,
                registry(),
                settings,
                seed=self.recipe.seed,
                bf16=self.config.bf16,
                checkpointing=self.config.gradient_checkpointing,
                each=lambda step, loss: advance(step, f"loss {loss:.3f}"),
            )
        if self.recipe.peft is not None:
            model = model.merge_and_unload()
        self.loaded = self.loaded._replace(model=model)
        self._keep(self._format_folder)

    def _keep(self, folder: Path) -> None:
        """Save the model as it is, and have it named after that."""
        from accelerate import PartialState

        if self.writer.active:
            save(self.loaded, folder)
        PartialState().wait_for_everyone()
        # From where the model says it is TRL takes the reference of the KL term, PEFT the base of an adapter, and vLLM
        # the model.
        self.loaded.model.config.name_or_path = self.loaded.model.name_or_path = str(folder)

    def learn(self) -> None:
        """GRPO; the trained model is saved, and is the run's model from here on."""
        from transformers import PrinterCallback

        from ssl4rl_core.training.settings import lora_config
        from ssl4rl_core.training.trainer import StepLog, StreamedTrainer, last_checkpoint, of_all_processes

        stream, lora = self.stream(self.recipe.seed), lora_config(self.recipe)
        opened = lora is not None or self.config.beta or self.config.use_vllm  # by its name, see _keep
        if opened and is_adapter(self.recipe.model.name) and self.recipe.format_start is None:
            self._keep(self._base_folder)
        with self._opened_by_vllm():
            trainer = StreamedTrainer(
                model=self.loaded.model,
                args=self.config,
                processing_class=self.loaded.processor,
                reward_funcs=reward_functions(self.judge, self.prompter.decode),
                peft_config=lora,
                stream=stream,
                curriculum=self.curriculum(),
                prompter=self.prompter,
            )
        if lora is not None:
            lora.base_model_name_or_path = self.loaded.model.name_or_path
        trainer.remove_callback(PrinterCallback)
        checkpoint = None
        if self.resume:
            checkpoint, step = last_checkpoint(Path(self.config.output_dir), trainer.steps())
            if checkpoint is not None and self.config.save_only_model and step < trainer.steps():
                raise UsageError(
                    f"{checkpoint} has no optimizer ({self.recipe.where('grpo', 'save_only_model')}), so that training "
                    f"cannot go on from it: begin another run with it, by --set model.name={checkpoint} and an output"
                )
            self.writer.go_on_after(step)
        chance = self._chance()
        with self.display.phase("GRPO", trainer.steps()) as advance:
            trainer.add_callback(StepLog(self._logger(chance, advance)))
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        self.writer.skipped = of_all_processes(stream.skipped)
        self.writer.write_results()
        self.loaded = self.loaded._replace(model=trainer.trained())
        partial = partial_folder(self._trained_folder)
        if self.writer.active:
            shutil.rmtree(partial, ignore_errors=True)
        trainer.accelerator.wait_for_everyone()
        trainer.save_whole(partial)
        if self.writer.active:
            settle(partial, self._trained_folder)
        trainer.accelerator.wait_for_everyone()

    def gather(self) -> None:
        """Have the trained model whole again, as it was saved, in place of this process's part of it."""
        from accelerate.utils import release_memory

        del self.loaded
        release_memory()
        self.loaded = load_model(self.recipe.model.model_copy(update={"name": str(self._trained_folder)}))

    def _opened_by_vllm(self) -> contextlib.AbstractContextManager[None]:
        """While this lasts, whoever opens the model by its name finds the processor as it is here."""
        model, settings = self.loaded.model, self.recipe.model
        bounded = settings.min_pixels is not None or settings.max_pixels is not None
        kept = Path(model.name_or_path) in (self._format_folder, self._base_folder)
        if kept or not (self.config.use_vllm and bounded):
            return contextlib.nullcontext()
        return copied_for_vllm(self.loaded, self.writer.path / "vllm", writes=self.writer.active)

    def _logger(self, chance: float, advance: Callable[[int, str], None]) -> Callable[[dict[str, float]], None]:
        rewards: dict[str, float] = {}

        def each(metrics: dict[str, float]) -> None:
            self.writer.log(metrics)
            rewards.update(metrics)  # of several updates from one batch, only the first has any
            answer, kept = rewards.get("rewards/answer", 0.0), rewards.get("rewards/format", 0.0)
            advance(int(metrics["step"]), f"answer {answer:.3f} (chance {chance:.3f})  format {kept:.2f}")

        return each

    def _chance(self) -> float:
        """What a blind guesser would earn of the answer reward, over the mix."""
        total = sum(self.mix.weights.values())
        return sum(weight / total * self.first[config].record.chance for config, weight in self.mix.weights.items())


def _spread(indices: list[int], count: int) -> set[int]:
    """So many of the indices, evenly spread."""
    count = min(count, len(indices))
    return {indices[position * len(indices) // count] for position in range(count)}
