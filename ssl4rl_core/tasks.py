"""The contract of a task: what an author subclasses (`Task`, `Params`) and returns (`Draft`, or raises `Skip`)."""

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field

from ssl4rl_core.answers import Answer
from ssl4rl_core.samples import Item

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    from ssl4rl_core.sources import View

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


class Skip(Exception):
    """This item cannot become a question; the reason is counted, so keep it free of names and numbers of the item."""


class SourceChanged(Skip):
    """An item is no longer what the source's fingerprint vouches for. A build stops there, unless told to count it."""


class Params(BaseModel):
    """The settings of a task: immutable, validated, JSON. Every field has a default and a description."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class ImageParams(Params):
    """Settings that every image task has. Core skips pictures under `min_side` before the task sees them."""

    min_side: int = Field(default=28, ge=1, description="skip pictures whose shorter side is below this, pixels")


class GraphParams(Params):
    """Settings that every graph task has: how much of the graph is shown, and how it is put into words."""

    form: Literal["edges", "adjacency", "prose"] = Field(default="edges", description="how the graph is written")
    neighbours: int = Field(default=6, ge=0, le=64, description="edges shown at most of each node asked about")
    text_chars: int = Field(default=160, ge=8, le=2000, description="characters shown at most of a text asked about")
    context_chars: int = Field(default=60, ge=0, le=2000, description="characters shown at most of any other text")
    max_tokens: int = Field(default=768, ge=64, le=32768, description="tokens, estimated, of the graph at most")


@dataclass(frozen=True)
class Draft:
    """What `transform` returns: the answer, pictures in the order of the `<image>` marks, values for the prompt."""

    answer: Answer
    images: "list[Image]" = field(default_factory=list)
    fields: Mapping[str, str | int | float] = field(default_factory=dict)
    chance: float | None = None
    """Where the data decides it, as the share of the most frequent class; else `Task.chance` does."""


ItemT = TypeVar("ItemT", bound=Item)
ParamsT = TypeVar("ParamsT", bound=Params)


class Task(Generic[ItemT, ParamsT]):
    """A self-supervised task: `class Rotation(Task[ImageItem, RotationParams])`.

    A subclass sets `name`, `version`, `levels` and `prompt`, and defines `transform` and `chance`; it overrides
    `verify` only where the answer's own scoring does not serve. Bump `version` whenever a sample or a score changes.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    levels: ClassVar[Mapping[str, Any]]
    """Params by level name. `easy`, `medium` and `hard` are what "all levels" means; others are chosen by name."""
    uses_view: ClassVar[bool] = False
    """Whether `transform` looks at `view`; a task that does not can be fed from a stream."""
    reward: ClassVar[bool] = True
    """Whether it may be trained on. A downstream task, whose answers are labels, says False: it only ever evaluates."""
    answer_types: ClassVar[tuple[type[Answer], ...]] = ()
    """Answer types of the task's own, beyond the built-in ones."""
    item_type: ClassVar[type[Item]]
    params_type: ClassVar[type[Params]]

    prompt: Any
    """The template: a string, or a method of params that returns one. `{name}` takes a field of params or draft,
    `<image>` stands for the next picture. It states the question only; the response format says how to answer."""

    @abstractmethod
    def transform(self, item: ItemT, params: ParamsT, rng: "np.random.Generator", view: "View") -> Draft:
        """Make a question of `item`: a pure function of its arguments, all chance from `rng`.

        Raises:
            Skip: no question can be made of this item.
        """
        raise TypeError(f"{type(self).__name__} defines no transform")

    @abstractmethod
    def chance(self, params: ParamsT) -> float | None:
        """The expected score, in [0, 1], of the best guesser who does not look at the content.

        None where it depends on the data: then each draft states it.
        """
        raise TypeError(f"{type(self).__name__} defines no chance")

    def verify(self, answer: Answer, text: str) -> float:
        """The score, in [0, 1], of what a completion gave as its answer."""
        return answer.score_text(text)

    def template(self, params: ParamsT) -> str:
        """The prompt's template for these params."""
        return self.prompt if isinstance(self.prompt, str) else self.prompt(params)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in getattr(cls, "__orig_bases__", ()):
            types = get_args(base)
            if get_origin(base) is Task and not any(isinstance(argument, TypeVar) for argument in types):
                cls.item_type, cls.params_type = types

    @classmethod
    def problems(cls) -> list[str]:
        """What keeps this class from being a task, one line each; empty when nothing does."""
        found = []
        if not NAME.fullmatch(getattr(cls, "name", "")):
            found.append("name must be lower-case words joined by hyphens")
        if not isinstance(getattr(cls, "version", None), int) or cls.version < 1:
            found.append("version must be an integer of 1 or more")
        if not hasattr(cls, "item_type"):
            found.append("must derive from Task[ItemType, ParamsType]")
        else:
            found += _level_problems(getattr(cls, "levels", None), cls.params_type)
        if not hasattr(cls, "prompt"):
            found.append("prompt is missing")
        found += [f"{method} is not defined" for method in ("transform", "chance") if method not in _defined(cls)]
        return found

    @property
    def kind(self) -> str:
        """The kind of item it asks a source for: "image", "node", "edge"."""
        return self.item_type.kind

    @property
    def domain(self) -> str:
        """ "image" or "graph"."""
        return self.item_type.domain


def _level_problems(levels: Any, params_type: type[Params]) -> Iterator[str]:
    wanted = params_type.__name__
    if not isinstance(levels, Mapping) or not levels:
        yield f"levels must be a non-empty dict of names to {wanted}"
        return
    for level, params in levels.items():
        if not isinstance(level, str) or not NAME.fullmatch(level):
            yield f"level {level!r}: its name must be lower-case words joined by hyphens"
        if not isinstance(params, params_type):
            yield f"level {level!r} must be {wanted}(...), got {params!r:.80}"


def _defined(cls: type) -> set[str]:
    return {name for base in cls.__mro__ if base is not Task for name in vars(base)}
