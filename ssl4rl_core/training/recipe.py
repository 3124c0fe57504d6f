"""A recipe: all that a training run depends on, as YAML. Every mistake is one line naming file, line and key."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from ssl4rl_core.configs import suggestion
from ssl4rl_core.errors import UsageError
from ssl4rl_core.training.yaml_keys import Key, Places, read_keys

Stage = Literal["start", "format", "end"]


class Settings(BaseModel):
    """A block of a recipe; unknown keys are refused, and one with nothing behind it is as if it were not there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _takes_nothing_for_the_default(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        return {key: value for key, value in fields.items() if value is not None or key not in cls.model_fields}


class ModelSettings(Settings):
    """Any transformers model that chats: one that sees pictures, or a causal language model for tasks of text."""

    name: str = Field(description="a folder, or a name on the Hub")
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = Field(
        default="float32",
        description="of the weights; float32 with grpo.bf16 is mixed precision; bfloat16 halves the memory, and is for "
        "an adapter's base, or DeepSpeed or FSDP: trained without these it rounds small updates away",
    )
    attn_implementation: str | None = Field(
        default=None, description="sdpa, flash_attention_2, eager; default: the model's"
    )
    min_pixels: int | None = Field(
        default=None, ge=1, description="the processor enlarges smaller pictures to this area"
    )
    max_pixels: int | None = Field(default=None, ge=1, description="the processor shrinks larger pictures to this area")


class DataSettings(Settings):
    """Where samples come from: a build's folder, or a source they are rendered from when they are asked for."""

    build: str | None = Field(default=None, description="folder that `ssl4rl build` made")
    source: str | None = Field(default=None, description="kind:where?option=value; samples are rendered on the fly")
    seed: int = Field(default=0, ge=0, description="seed of the samples (source only)")
    variants: int = Field(default=1, ge=1, description="samples made of each item (source only)")
    balance: bool = Field(
        default=False, description="of an item's variants, only those with an answer not had yet (source only)"
    )
    test_fraction: float = Field(default=0.1, ge=0, lt=1, description="share of held-out items (source only)")
    max_side: int | None = Field(
        default=None, ge=1, description="longer side pictures are brought to; default: a build's"
    )
    layout: Literal["separate", "composite"] = Field(
        default="separate",
        description="composite: all pictures of a sample in one, for models that take one (source only)",
    )

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        if (self.build is None) == (self.source is None):
            raise ValueError("give either build or source")
        fields = type(self).model_fields.items()
        other = [name for name, field in fields if name != "build" and getattr(self, name) != field.default]
        if self.build is not None and other:
            raise ValueError(f"{', '.join(other)}: a build has fixed that already; leave it out")
        return self


class TaskSettings(Settings):
    """A task of the mix. In YAML a plain string means weight 1."""

    task: str = Field(description="NAME[:LEVEL][?param=value&...], or a config of the build such as rotation-easy")
    weight: float = Field(default=1.0, gt=0, description="share in the stream, relative to the other tasks'")
    prompt: str | None = Field(
        default=None,
        description="a template in place of the task's own: <image> for each picture, {name} for a param or what else "
        "the task fills in; it states the question only (source only)",
    )
    data: DataSettings | None = Field(default=None, description="of this task, where the mix is of pictures and graphs")

    @field_validator("prompt")
    @classmethod
    def _asks_something(cls, value: str | None) -> str | None:
        if value is not None and not value.replace("<image>", "").strip():
            raise ValueError("a prompt without words asks nothing: write a question, or leave it out")
        return value


def _by_name(value: Any) -> Any:
    """Tasks as YAML gives them: one or a list, each a string or a block."""
    tasks = value if isinstance(value, list) else [value]
    return [{"task": task} if isinstance(task, str) else task for task in tasks]


class RewardSettings(Settings):
    """Weights of the two rewards."""

    answer: float = Field(default=1.0, ge=0)
    format: float = Field(default=0.1, ge=0)


class PhaseSettings(Settings):
    """A part of the training with weights of its own."""

    until: float = Field(gt=0, le=1, description="where it ends, as a share of the training")
    tasks: list[TaskSettings] = Field(min_length=1, description="of the recipe's tasks, with their weights in it")

    @field_validator("tasks", mode="before")
    @classmethod
    def _tasks_by_name(cls, value: Any) -> Any:
        return _by_name(value)

    @model_validator(mode="after")
    def _has_tasks_by_name(self) -> Self:
        for key in ("data", "prompt"):
            if any(getattr(task, key) is not None for task in self.tasks):
                raise ValueError(f"a phase's tasks are those of the recipe: leave their {key} out")
        return self


class CurriculumSettings(Settings):
    """Which levels are drawn when. In YAML a plain string means its kind."""

    kind: Literal["uniform", "schedule", "goldilocks"] = Field(
        default="uniform",
        description="uniform: the tasks' weights throughout; schedule: phases; goldilocks: of each task the levels in "
        "proportion to p (1 - p) of their running accuracy",
    )
    floor: float = Field(default=0.2, ge=0, le=1, description="share of a task that goes by weight alone (goldilocks)")
    window: int = Field(default=64, ge=1, description="groups that the running accuracy looks back on (goldilocks)")
    phases: list[PhaseSettings] = Field(default=[], description="one after another; then the tasks' weights (schedule)")

    @model_validator(mode="after")
    def _is_of_its_kind(self) -> Self:
        if (self.kind == "schedule") != bool(self.phases):
            raise ValueError("phases belong to kind schedule, and it needs one at least")
        ends = [phase.until for phase in self.phases]
        if ends != sorted(set(ends)):
            raise ValueError("phases: each must end later than the one before")
        usual = type(self).model_fields
        if self.kind != "goldilocks" and (self.floor, self.window) != (usual["floor"].default, usual["window"].default):
            raise ValueError("floor and window belong to kind goldilocks")
        return self


class FormatStart(Settings):
    """A short supervised start on the form of an answer alone: what it is taught to answer is drawn by lot."""

    steps: int = Field(default=80, ge=1)
    batch: int = Field(default=32, ge=1, description="samples a step")
    learning_rate: float = Field(default=1e-5, gt=0, description="of AdamW; 1e-3 for tiny random models")


class DownstreamSettings(Settings):
    """A task that is only evaluated, on a source of its own. In YAML a plain string means the source of the data."""

    task: str = Field(description="NAME[:LEVEL][?param=value&...]")
    source: str | None = Field(default=None, description="kind:where?option=value; default: data.source")


class EvaluateSettings(Settings):
    """Accuracy on held-out samples, with greedy decoding.

    `variants: 4` with `balance: true` asks of every held-out item each of four answers once.
    """

    stages: list[Stage] = Field(default=["start", "format", "end"], description="when to evaluate")
    limit: int | None = Field(default=None, ge=1, description="samples of each config, a fixed choice; default: all")
    variants: int | None = Field(
        default=None, ge=1, description="samples made of each held-out item; default: as in data (source only)"
    )
    balance: bool | None = Field(default=None, description="default: as in data (source only)")
    batch_size: int = Field(default=32, ge=1)
    max_tokens: int | None = Field(default=None, ge=1, description="default: grpo.max_completion_length")
    keep: int = Field(default=8, ge=0, description="samples whose completions are kept for the report")
    downstream: list[DownstreamSettings] = Field(
        default=[], description="evaluated at the same stages, never trained on"
    )

    @field_validator("downstream", mode="before")
    @classmethod
    def _downstream_by_name(cls, value: Any) -> Any:
        return _by_name(value)


class Recipe(Settings):
    """A training run. `load_recipe` reads one from YAML; in Python the fields are given as they are."""

    model: ModelSettings
    data: DataSettings
    tasks: list[TaskSettings] = Field(default=[], description="default: every config of the build")
    format: str = Field(
        default="think_answer", description="how the model is asked to answer; `ssl4rl formats` lists them"
    )
    curriculum: CurriculumSettings = CurriculumSettings()
    rewards: RewardSettings = RewardSettings()
    format_start: FormatStart | None = None
    max_prompt_tokens: int | None = Field(default=None, ge=1, description="samples with longer prompts are passed over")
    grpo: dict[str, Any] = Field(default={}, description="any field of trl.GRPOConfig")
    peft: dict[str, Any] | None = Field(default=None, description="any field of peft.LoraConfig; default: no adapter")
    evaluate: EvaluateSettings = EvaluateSettings()
    output: str = Field(description="folder of the run")
    seed: int = Field(default=0, ge=0, description="of the stream, the format start and the sampling of completions")
    _places: Places = Places()

    @field_validator("model", mode="before")
    @classmethod
    def _model_by_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("tasks", mode="before")
    @classmethod
    def _tasks_by_name(cls, value: Any) -> Any:
        return _by_name(value)

    @field_validator("curriculum", mode="before")
    @classmethod
    def _curriculum_by_kind(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _has_tasks(self) -> Self:
        if self.data.source is not None and not self.tasks:
            raise ValueError("tasks: name at least one where data is a source")
        if self.rewards.answer == self.rewards.format == 0:
            raise ValueError("rewards: one of the weights must be above 0")
        if self.data.source is None and any(each.source is None for each in self.evaluate.downstream):
            raise ValueError("evaluate.downstream: name the source of each task where data is a build")
        return self

    @model_validator(mode="after")
    def _asks_builds_as_they_are(self) -> Self:
        for number, task in enumerate(self.tasks):
            if task.prompt is not None and (task.data or self.data).build is not None:
                message = "a build has fixed its questions already; leave the prompt out, or render from a source"
                raise PydanticCustomError("of_a_key", message, {"key": ("tasks", number, "prompt")})
        builds = [each.build for each in [task.data or self.data for task in self.tasks] or [self.data] if each.build]
        given = [key for key in ("variants", "balance") if getattr(self.evaluate, key) is not None]
        if builds and given:
            message = "the build {build} has fixed variants and balance already; leave this out"
            raise PydanticCustomError("of_a_key", message, {"key": ("evaluate", given[0]), "build": builds[0]})
        return self

    @model_validator(mode="after")
    def _holds_out_alike(self) -> Self:
        shares: dict[str, float] = {}
        for number, data in enumerate(task.data or self.data for task in self.tasks):
            if data.source and shares.setdefault(data.source, data.test_fraction) != data.test_fraction:
                message = "tasks of one source hold out other shares, so that one trains on what another is asked"
                raise PydanticCustomError("of_a_key", message, {"key": ("tasks", number, "data")})
        return self

    def where(self, *key: str | int) -> str:
        """Where a key stands, as errors begin: "demo.yaml, line 12, grpo.max_steps"."""
        return self._places.where(key)

    def stands(self, *key: str | int) -> str:
        """Where a key was set: "line 12", "--set" or "default"."""
        return self._places.stands(key)

    def to_yaml(self) -> str:
        """The recipe with every default written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


SettingsT = TypeVar("SettingsT", bound=Settings)


def checked(block: type[SettingsT], **fields: Any) -> SettingsT:
    """A block of a recipe on its own, as a command line gives it; UsageError for a value that does not fit."""
    try:
        return block(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"--{str(key).replace('_', '-')}: " for key in first["loc"])
        raise UsageError(where + _message(first)) from error


def load_recipe(path: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file, with `changes` such as "grpo.max_steps=20" made to it.

    Raises:
        UsageError: the file cannot be read, a key is unknown or doubled, or a value does not fit.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read recipe {path}: {getattr(error, 'strerror', None) or error}") from error
    return parse_recipe(text, str(path), changes)


def parse_recipe(text: str, name: str = "recipe", changes: Sequence[str] = ()) -> Recipe:
    """As `load_recipe`, from YAML text; `name` is what errors call it."""
    fields, places = read_keys(text, name)
    for change in changes:
        _change(fields, places, change)
    try:
        recipe = Recipe.model_validate(fields)
    except ValidationError as error:
        # A misspelt key is an unknown and a missing one; the first says more.
        first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
        # What is found wrong with the recipe as a whole may still belong to one key.
        key = first.get("ctx", {}).get("key", ()) if first["type"] == "of_a_key" else first["loc"]
        raise UsageError(f"{places.where(key)}: {_message(first)}") from error
    recipe._places = places
    return recipe


def _change(fields: dict[str, Any], places: Places, change: str) -> None:
    """Make one change, "grpo.max_steps=20", its value read as YAML."""
    dotted, equals, text = change.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        raise UsageError(f"--set {change}: write KEY=VALUE, for example grpo.max_steps=20")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"--set {dotted}: {text!r} is not a YAML value") from error
    block = fields
    for key in keys[:-1]:
        inner = block.get(key)
        if key == "model" and isinstance(inner, str):
            inner = {"name": inner}
        if inner is None:
            inner = {}
        if not isinstance(inner, dict):
            raise UsageError(f"--set {dotted}: {key} holds no keys")
        block[key] = dict(inner)
        block = block[key]
    block[keys[-1]] = value
    places.set_by_hand(tuple(keys))


def _message(error: Mapping[str, Any]) -> str:
    """What is wrong, in the words of a user of recipes."""
    if error["type"] == "extra_forbidden":
        key = str(error["loc"][-1])
        return f"there is no such key{suggestion(key, _known(error['loc'][:-1]))}"
    if error["type"] == "missing":
        return "this key is missing, or has nothing behind it"
    if error["type"] in ("model_type", "dict_type"):
        return f"a block of keys belongs here, not {'nothing' if error['input'] is None else repr(error['input'])}"
    return error["msg"].removeprefix("Value error, ")


def _known(block: Iterable[str | int]) -> list[str]:
    """The keys of the block at this place."""
    model: Any = Recipe
    for key in block:
        if isinstance(key, str):
            model = _blocks()[key]
    return list(model.model_fields)


@functools.cache
def _blocks() -> dict[str, type[Settings]]:
    return {
        "model": ModelSettings,
        "data": DataSettings,
        "tasks": TaskSettings,
        "downstream": DownstreamSettings,
        "rewards": RewardSettings,
        "curriculum": CurriculumSettings,
        "phases": PhaseSettings,
        "format_start": FormatStart,
        "evaluate": EvaluateSettings,
    }


def checked_fields(cls: type, values: Mapping[str, Any], recipe: Recipe, block: Key) -> dict[str, Any]:
    """The values of a block that goes to somebody else's dataclass, each brought to its field's type.

    YAML reads `1e-6` as text, and a dataclass checks nothing: both are mended here.

    Raises:
        UsageError: the dataclass has no such field, or the value does not fit it.
    """
    import dataclasses
    import typing

    from pydantic import TypeAdapter

    known = [field.name for field in dataclasses.fields(cls) if field.init]
    types = typing.get_type_hints(cls)
    checked = {}
    for key, value in values.items():
        where = recipe.where(*block, key)
        if key not in known:
            raise UsageError(f"{where}: {cls.__name__} has no field {key!r}{_close(key, known)}")
        try:
            checked[key] = TypeAdapter(types[key]).validate_python(value)
        except ValidationError as error:
            raise UsageError(f"{where}: {error.errors()[0]['msg']}, got {value!r}") from error
    return checked


def _close(key: str, known: Sequence[str]) -> str:
    """A suggestion, without the whole list where nothing is near: GRPOConfig has two hundred fields."""
    text = suggestion(key, known)
    return text if "did you mean" in text else ""
