"""What a recipe would do, without doing it: batches, steps, tokens, memory, and what is missing on this machine."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from ssl4rl_core.configs import check_rewards, parse_configs
from ssl4rl_core.errors import Ssl4rlError, UsageError
from ssl4rl_core.plugins import registry
from ssl4rl_core.training.curriculum import make_curriculum
from ssl4rl_core.training.data import (
    Mix,
    check_prompts,
    first_samples,
    open_data,
    open_downstream,
    open_held_out,
)
from ssl4rl_core.training.grpo import not_both
from ssl4rl_core.training.models import model_without_weights, need_training
from ssl4rl_core.training.recipe import DataSettings, Recipe, TaskSettings, checked_fields
from ssl4rl_core.training.run_writer import RunWriter
from ssl4rl_core.training.stream import batches_of_a_pass
from ssl4rl_core.training.yaml_keys import Key

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "auto": 2}


class Figure(NamedTuple):
    """One line of a forecast, and the lines of the recipe that it comes from."""

    name: str
    value: str
    comes_from: str


class Forecast(NamedTuple):
    """What would be done, and what keeps it from being done here, one line each."""

    figures: list[Figure]
    missing: list[str]


def forecast(recipe: Recipe, *, processes: int = 1, resume: bool = False, overwrite: bool = False) -> Forecast:
    """Work out a run from its recipe; nothing is trained, written or, but for a model's configuration, downloaded.

    Args:
        processes: that would train, one a GPU.
        resume, overwrite: as `train` would be called.

    Raises:
        MissingExtra: the extra 'train' is not installed.
        UsageError: the recipe names what does not exist or cannot be.
    """
    not_both(resume, overwrite)
    need_training("a forecast of training")
    from ssl4rl_core.training.settings import missing_here

    registry().format(recipe.format)
    batches = _Batches(recipe, processes)
    _check_settings(recipe, batches)
    if recipe.data.source is not None:
        parse_configs([task.task for task in recipe.tasks], registry())
    missing: list[str] = []
    mix = _opened(recipe, missing)
    parameters = _parameters(recipe, missing)
    missing += missing_here(recipe)
    try:
        RunWriter(recipe, resume=resume, overwrite=overwrite)
    except UsageError as error:
        missing.append(f"the output folder ({recipe.where('output')}): {error}")
    figures = [
        *_setting(recipe, mix),
        *batches.figures(),
        *batches.lengths(mix),
        *_memory(recipe, batches, parameters),
        *_disk(recipe, batches, parameters, mix),
    ]
    return Forecast(figures, missing)


class _Batches:
    """The sizes that follow from `grpo` and the number of processes, as TRL works them out."""

    def __init__(self, recipe: Recipe, processes: int) -> None:
        from trl.trainer.grpo_config import GRPOConfig

        self.recipe, self.processes = recipe, processes
        self._given = checked_fields(GRPOConfig, recipe.grpo, recipe, ("grpo",))
        self._usual = GRPOConfig
        self.generations: int = self.of("num_generations")
        self.slice: int = processes * self.of("per_device_train_batch_size")
        self.accumulated: int = self.of("gradient_accumulation_steps")
        self.slices: int = self.of("steps_per_generation") or self.accumulated
        self.completions = self.slice * self.slices
        if self.of("generation_batch_size"):
            self.completions = self.of("generation_batch_size")
            self.slices = max(self.completions // self.slice, 1)
        if self.completions % self.generations or self.completions % self.slice:
            keys = "per_device_train_batch_size", "steps_per_generation", "num_generations"
            raise UsageError(
                f"{recipe.where('grpo', 'num_generations')}: a batch of {self.completions} completions "
                f"({processes} processes x {self.slice // processes} x {self.slices}) does not divide into slices of "
                f"{self.slice} and groups of {self.generations}: change {', '.join(keys)} or --processes"
            )

    def of(self, field: str) -> Any:
        """A field of GRPOConfig, at TRL's default where the recipe has none."""
        return self._given.get(field, getattr(self._usual, field, None))

    def figures(self) -> Iterator[Figure]:
        """Learning rate, KL, and the sizes of batches."""
        from ssl4rl_core.training.settings import rounds_updates_away

        rate = self.of("learning_rate")
        yield self._figure("learning rate", f"{rate:g}", "learning_rate")
        if rounds_updates_away(self.recipe, rate):
            lost = "16-bit weights round most updates away, except under DeepSpeed or FSDP"
            yield Figure("warning", lost, self.recipe.stands("model", "dtype"))
        yield self._figure("KL coefficient", f"{self.of('beta'):g}", "beta")
        yield self._figure("completions a prompt", str(self.generations), "num_generations")
        sizes = "per_device_train_batch_size", "steps_per_generation"
        formula = f"{self.processes} x {self.slice // self.processes} x {self.slices}"
        yield self._figure("completions a batch", f"{self.completions:,} = {formula}", *sizes)
        yield self._figure("prompts a batch", f"{self.completions // self.generations:,}", *sizes, "num_generations")
        update = self.slice * self.accumulated
        sizes = "per_device_train_batch_size", "gradient_accumulation_steps"
        prompts = f"{update / self.generations:,g} prompts x {self.generations}"
        yield self._figure("completions an update", f"{update:,} = {prompts}", *sizes)

    def lengths(self, mix: Mix | None) -> Iterator[Figure]:
        """Updates, completions and tokens of the whole training, as far as the data say."""
        updates, keys = self.updates(mix), ("max_steps" if self.of("max_steps") > 0 else "num_train_epochs",)
        limit = self.recipe.max_prompt_tokens
        says = self.recipe.stands("max_prompt_tokens")
        yield Figure("tokens of a prompt", f"at most {limit:,}" if limit else "not limited", says)
        longest = self.of("max_completion_length")
        yield self._figure("tokens of a completion", f"at most {longest:,}", "max_completion_length")
        if not updates:
            epochs = f"{self.of('num_train_epochs'):g} passes over the data"
            yield self._figure("updates", f"{epochs}, which are not here", *keys)
            return
        completions = updates * self.slice * self.accumulated // self.of("num_iterations")
        yield self._figure("updates", f"{updates:,}", *keys)
        yield self._figure("completions", f"{completions:,}", *keys, "per_device_train_batch_size")
        yield self._figure("tokens generated", f"at most {completions * longest:,}", *keys, "max_completion_length")

    def updates(self, mix: Mix | None) -> int:
        """As the trainer counts them, for a number of epochs too; 0 where these are of data that are missing."""
        if self.of("max_steps") > 0:
            return self.of("max_steps")
        if mix is None:
            return 0
        samples = sum(mix.samples.size(config, "train") for config in mix.weights)
        passes = self.slices * self.of("num_iterations")
        batches = batches_of_a_pass(samples, self.completions // self.generations, passes, self.accumulated)
        return math.ceil(batches * passes // self.accumulated * self.of("num_train_epochs"))

    def checkpoints(self, mix: Mix | None) -> tuple[int | None, bool]:
        """How many there are at most at one time, None for as many as updates that are not known have; and whether one
        of them is there only until the next is whole.
        """
        strategy, every, updates = str(self.of("save_strategy")), self.of("save_steps"), self.updates(mix)
        if strategy == "no":
            return 0, False
        if strategy == "epoch":
            saved = math.ceil(self.of("num_train_epochs")) if self.of("max_steps") <= 0 else None
        else:  # the last update is saved in any case
            saved = math.ceil(1 / every if 0 < every < 1 else updates / (every or updates)) if updates else None
        limit = self.of("save_total_limit") or 0
        if limit <= 0 or (saved is not None and saved <= limit):
            return saved, False
        return limit + 1, True

    def _figure(self, name: str, value: str, *fields: str) -> Figure:
        return Figure(name, value, ", ".join(dict.fromkeys(self.recipe.stands("grpo", field) for field in fields)))


def _check_settings(recipe: Recipe, batches: _Batches) -> None:
    """See that TRL takes what the recipe sets, were there as many processes here, and the GPUs that are asked for."""
    from ssl4rl_core.training.settings import grpo_config, of_a_gpu

    here = {"per_device_train_batch_size": batches.slice, **dict.fromkeys(of_a_gpu(recipe), False)}
    grpo_config(recipe.model_copy(update={"grpo": {**recipe.grpo, **here}}))


def _setting(recipe: Recipe, mix: Mix | None) -> Iterator[Figure]:
    data_stand = recipe.stands("data", _kind(recipe.data))
    yield Figure("model", recipe.model.name, recipe.stands("model", "name"))
    yield Figure("data", str(recipe.data.build or recipe.data.source), data_stand)
    for number, task in enumerate(recipe.tasks):
        weight = "" if task.weight == 1 else f", weight {task.weight:g}"
        yield Figure("task", task.task + weight, recipe.stands("tasks", number))
        if task.prompt is not None:
            yield Figure("prompt", repr(task.prompt), recipe.stands("tasks", number, "prompt"))
    if mix is not None:
        yield from _samples(mix, data_stand)
    yield Figure("curriculum", recipe.curriculum.kind, recipe.stands("curriculum"))
    yield Figure("format", recipe.format, recipe.stands("format"))
    rewards = f"{recipe.rewards.answer:g} x answer + {recipe.rewards.format:g} x format"
    yield Figure("reward", rewards, recipe.stands("rewards"))


def _samples(mix: Mix, says: str) -> Iterator[Figure]:
    total = sum(mix.weights.values())
    for config, weight in mix.weights.items():
        train, test = mix.samples.size(config, "train"), mix.samples.size(config, "test")
        share = f"{100 * weight / total:.3g} % of the stream"
        yield Figure("samples", f"{config}: {train:,} train, {test:,} held out; {share}", says)


def _opened(recipe: Recipe, missing: list[str]) -> Mix | None:
    """The data of the recipe, or None, and what keeps them from being opened."""
    try:
        mix = open_data(recipe.data, recipe.tasks)
        evaluated = [open_held_out(recipe, mix), *open_downstream(recipe, recipe.evaluate.downstream)]
    except Ssl4rlError as error:
        missing += _unopened(recipe) or [f"data ({recipe.where('data')}): {error}"]
        return None
    check_rewards(mix.weights)
    check_prompts(recipe, mix.samples)
    tasks = {config: sample.record.task for config, sample in first_samples(mix).items()}
    make_curriculum(recipe, mix.weights, tasks)
    for each in evaluated if recipe.evaluate.stages else ():
        first_samples(each, "test")
    return mix


def _unopened(recipe: Recipe) -> list[str]:
    """All data of the recipe that cannot be opened, each with the places that name it."""
    groups: dict[Key, tuple[DataSettings, list[TaskSettings]]] = {}
    for number, task in enumerate(recipe.tasks):
        block: Key = ("tasks", number, "data") if task.data else ("data",)
        groups.setdefault(block, (task.data or recipe.data, []))[1].append(task)
    places: dict[str, list[str]] = {}
    for block, (data, tasks) in (groups or {("data",): (recipe.data, [])}).items():
        with _noted(places, recipe.where(*block, _kind(data))):
            open_data(data, tasks)
    for number, task in enumerate(recipe.evaluate.downstream):
        named = ("evaluate", "downstream", number, "source") if task.source else ("data", _kind(recipe.data))
        with _noted(places, recipe.where(*named)):
            open_downstream(recipe, [task])
    return [f"data ({'; '.join(found)}): {error}" for error, found in places.items()]


@contextmanager
def _noted(places: dict[str, list[str]], where: str) -> Iterator[None]:
    """Note what cannot be opened: once, however many places it stands in."""
    try:
        yield
    except Ssl4rlError as error:
        found = places.setdefault(str(error), [])
        if where not in found:
            found.append(where)


def _kind(data: DataSettings) -> str:
    """The key that names the data."""
    return "source" if data.build is None else "build"


class _Parameters(NamedTuple):
    all: int
    trained: int


def _parameters(recipe: Recipe, missing: list[str]) -> _Parameters | None:
    """Counted on a model without memory, from its configuration alone."""
    from ssl4rl_core.training.settings import lora_config, with_adapter

    lora_config(recipe)  # what is wrong with it is wrong without the model, too
    try:
        model = model_without_weights(recipe.model)
    except UsageError as error:
        missing.append(f"model ({recipe.where('model', 'name')}): {error}")
        return None
    weights = list(with_adapter(model, recipe).parameters())
    return _Parameters(
        sum(each.numel() for each in weights), sum(each.numel() for each in weights if each.requires_grad)
    )


def _memory(recipe: Recipe, batches: _Batches, parameters: _Parameters | None) -> Iterator[Figure]:
    """Of one process that holds the whole model: what is there before the first activation."""
    dtype = recipe.model.dtype
    says = recipe.stands("model", "dtype")
    if parameters is None:
        yield Figure("memory", "not known without the model's configuration", recipe.stands("model", "name"))
        return
    count = f"{parameters.all:,}, of which {parameters.trained:,} are trained"
    yield Figure("parameters", count, recipe.stands("peft") if recipe.peft else recipe.stands("model", "name"))
    frozen = parameters.all - parameters.trained
    # An adapter is kept in float32, whatever the model's weights are.
    of_trained = 4 if recipe.peft else _BYTES[dtype]
    weights = frozen * _BYTES[dtype] + parameters.trained * of_trained
    optimizer = 3 * parameters.trained * of_trained  # the gradient, and AdamW's two moments
    reference = 0 if recipe.peft or not batches.of("beta") else weights
    total = _gib(weights + optimizer + reference)
    parts = f"weights {_gib(weights)}, gradients and AdamW {_gib(optimizer)}, reference {_gib(reference)}"
    yield Figure("memory a process", f"{total} GiB and activations ({parts})", says)
    if batches.of("use_vllm") and batches.of("vllm_mode") == "colocate":
        share = f"{100 * batches.of('vllm_gpu_memory_utilization'):g} % of each GPU"
        yield Figure("memory of vLLM", share, recipe.stands("grpo", "vllm_gpu_memory_utilization"))


def _disk(recipe: Recipe, batches: _Batches, parameters: _Parameters | None, mix: Mix | None) -> Iterator[Figure]:
    """What the run's folder takes: checkpoints, the trained model, and the one after the format start."""
    if parameters is None:
        return
    whole = parameters.all * _BYTES[recipe.model.dtype]
    saved = 4 * parameters.trained if recipe.peft else whole  # an adapter alone
    checkpoint = saved if batches.of("save_only_model") else 3 * saved  # with AdamW's two moments
    count, passing = batches.checkpoints(mix)
    formatted = whole if recipe.format_start else 0
    parts = f"{'adapter' if recipe.peft else 'model'} {_size(saved)}"
    parts += f", after the format start {_size(formatted)}" if formatted else ""
    says = ", ".join(
        dict.fromkeys(recipe.stands("grpo", key) for key in ("save_strategy", "save_steps", "save_total_limit"))
    )
    if count is None:
        yield Figure("disk", f"about {_size(checkpoint)} a checkpoint, all of them kept; {parts}", says)
        return
    until = ", one of them until the next is whole" if passing else ""
    total = count * checkpoint + saved + formatted
    checkpoints = f"{count:,} x {_size(checkpoint)}{until}" if count else "none"
    yield Figure("disk", f"about {_size(total)} (checkpoints {checkpoints}; {parts})", says)


def _size(size: float) -> str:
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f}"
