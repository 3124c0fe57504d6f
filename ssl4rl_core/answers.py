"""Typed answers: how a right answer is written, read back from a completion, and scored.

An answer is immutable and JSON; `load_answer` makes it again from the record alone, so a completion can be scored
where neither the source nor the task's plugin is present. Reading is strict on purpose: exactly one answer, spelled in
any honest way, or None. Every reader is bounded in time by the length of its input.
"""

import functools
import json
import math
import re
from abc import abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from ssl4rl_core.errors import UsageError, one_line
from ssl4rl_core.spelling import bare, plain

if TYPE_CHECKING:
    import numpy as np

# Longer texts are no answer, unless the options are long: what a model says besides belongs outside the answer's tag.
MAX_ANSWER_CHARS = 500


class Answer(BaseModel):
    """A right answer. Subclasses set `kind`, the name it has in JSON, and say how it is written, read and scored.

    A constructor of a subclass takes its fields by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: ClassVar[str]

    @abstractmethod
    def text(self) -> str:
        """The canonical spelling: what a perfect completion says."""

    @abstractmethod
    def parse(self, text: str) -> Self | None:
        """The answer that `text` gives to the same question, or None when it is not exactly one answer."""

    @abstractmethod
    def score(self, given: Self) -> float:
        """The score of an answer given to this question, in [0, 1]."""

    @abstractmethod
    def hint(self) -> str:
        """What an answer may look like, as a noun phrase: "one of 0, 90, 180, 270"."""

    @abstractmethod
    def chance(self) -> float:
        """The expected score of the best guesser who does not look, when all answers are equally likely."""

    def draw(self, rng: "np.random.Generator") -> Self:
        """An answer to the same question, drawn evenly from all that there are, whatever the right one is.

        Raises:
            UsageError: answers of this kind cannot be listed.
        """
        raise UsageError(f"answers of kind {self.kind!r} cannot be drawn at random: define draw, or leave that out")

    def near(self, given: Self) -> str:
        """In what way a wrong answer is nearly right, in a few words for a report, or "" where it is not.

        It changes no score. A kind that has no part scores, or whose part scores come easily to a guesser, says what is
        near otherwise. Fewer than half of all wrong answers should be near, or the word means nothing.
        """
        return "part of the score" if 0 < self.score(given) < 1 else ""

    def score_text(self, text: str) -> float:
        """The score of `text` as an answer: 0 where it cannot be read."""
        given = self._read(text)
        return 0.0 if given is None else self.score(given)

    def near_text(self, text: str) -> str:
        """In what way `text` is nearly right, as `near` says it: "" where it cannot be read."""
        given = self._read(text)
        return "" if given is None else self.near(given)

    def _read(self, text: str) -> Self | None:
        text = text.strip()
        if not text or (len(text) > MAX_ANSWER_CHARS and len(text) > MAX_ANSWER_CHARS + len(self.hint())):
            return None
        return self.parse(text)

    def to_json(self) -> str:
        """The answer as canonical JSON text, with its kind."""
        return canonical_json({"kind": self.kind, **self.model_dump(mode="json")})


# Kept: with settings of its own, `json.dumps` makes an encoder at each call.
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_json(value: object) -> str:
    """JSON text that is the same for equal values: sorted keys, no blanks, no NaN."""
    return _CANONICAL.encode(value)


@functools.lru_cache(maxsize=1024)
def _by_plain(options: tuple[str, ...]) -> dict[str, str]:
    """The options by what they say when case and marks do not matter."""
    return {plain(option): option for option in options}


def _check_distinct(options: tuple[str, ...]) -> None:
    named = _by_plain(options)
    if len(options) < 2 or len(named) != len(options) or "" in named:
        raise ValueError(f"there must be two or more options, and they must differ in letters or digits: {options}")


class Choice(Answer):
    """One of several named options, for example `Choice("top-left", options=QUADRANTS)`.

    Case, hyphens, quotes and a leading "the" do not matter; naming two options does.
    """

    kind: ClassVar[str] = "choice"
    value: str
    options: tuple[str, ...]

    def __init__(self, value: str, options: Iterable[str]) -> None:
        super().__init__(value=value, options=tuple(options))  # pyright: ignore[reportCallIssue]

    @model_validator(mode="after")
    def _is_one_of_its_options(self) -> Self:
        _check_distinct(self.options)
        if self.value not in self.options:
            raise ValueError(f"{self.value!r} is not one of the options {self.options}")
        return self

    def text(self) -> str:
        return self.value

    def parse(self, text: str) -> Self | None:
        named, said = _by_plain(self.options), plain(text)
        option = named.get(said) or named.get(said.removeprefix("the "))
        return None if option is None else self.model_copy(update={"value": option})

    def score(self, given: Self) -> float:
        return float(given.value == self.value)

    def hint(self) -> str:
        return "one of " + ", ".join(self.options)

    def chance(self) -> float:
        return 1 / len(self.options)

    def draw(self, rng: "np.random.Generator") -> Self:
        return self.model_copy(update={"value": self.options[int(rng.integers(len(self.options)))]})


# Possessive: blanks that two parts could share would be tried in every division.
_ANGLE = re.compile(
    r"(?P<degrees>[-+]?[0-9]{1,3}(?:\.[0-9]{1,6})?)\s*+"
    r"(?:(?:[°º˚]|(?:\^\s*+)?\\(?:circ|degree)\b|deg\b\.?|degrees?\b)\s*+)?"
    r"(?:[,(]?\s*+(?P<turn>counter[- ]?clockwise|anti[- ]?clockwise|ccw|clockwise|cw))?",
    re.IGNORECASE,
)


class Angle(Answer):
    """An angle in degrees, counter-clockwise, a multiple of `step` in [0, 360).

    `90`, `90.0`, `90 degrees`, `-270` and `270° (clockwise)` are the same answer. Exact by default; with
    `partial` an answer d degrees off (the short way round the circle) scores 1 - d / 180, and a blind guess still no
    more than any other, since all multiples of the step are equally far on average.
    """

    kind: ClassVar[str] = "angle"
    degrees: int
    step: int
    partial: bool = False

    def __init__(self, degrees: int, step: int, partial: bool = False) -> None:
        super().__init__(degrees=degrees, step=step, partial=partial)  # pyright: ignore[reportCallIssue]

    @model_validator(mode="after")
    def _is_a_multiple_of_its_step(self) -> Self:
        if not 1 <= self.step <= 180 or 360 % self.step:
            raise ValueError(f"step must divide 360 and be at most 180, got {self.step}")
        if not 0 <= self.degrees < 360 or self.degrees % self.step:
            raise ValueError(f"{self.degrees} is not a multiple of {self.step} in [0, 360)")
        return self

    def text(self) -> str:
        return str(self.degrees)

    def parse(self, text: str) -> Self | None:
        found = _ANGLE.fullmatch(bare(text))
        if found is None:
            return None
        degrees = float(found["degrees"])
        if (found["turn"] or "").lower() in ("clockwise", "cw"):
            if found["degrees"].startswith("-"):
                return None  # it may mean either way round
            degrees = -degrees
        if abs(degrees) > 360 or degrees % self.step:
            return None
        return self.model_copy(update={"degrees": int(degrees % 360)})

    def score(self, given: Self) -> float:
        apart = self._apart(given)
        return 1 - apart / 180 if self.partial else float(apart == 0)

    def near(self, given: Self) -> str:
        """One step off, where there are six angles or more: of fewer, half the wrong ones are."""
        return "one step off" if self.step <= 60 and self._apart(given) == self.step else ""

    def _apart(self, given: Self) -> int:
        """Degrees between the two, the short way round."""
        apart = abs(given.degrees - self.degrees)
        return min(apart, 360 - apart)

    def hint(self) -> str:
        if 360 // self.step <= 12:
            return "one of " + ", ".join(str(degrees) for degrees in range(0, 360, self.step))
        return f"a multiple of {self.step} from 0 to {360 - self.step}"

    def chance(self) -> float:
        angles = range(0, 360, self.step)
        return sum(self.model_copy(update={"degrees": degrees}).score(self) for degrees in angles) / len(angles)

    def draw(self, rng: "np.random.Generator") -> Self:
        return self.model_copy(update={"degrees": self.step * int(rng.integers(360 // self.step))})


# Numbers and what may stand between two of them: "3 1", "3, 1", "3-1", "3 -> 1", "3 and 1"; but no "3 -1".
_NUMBERS = re.compile(r"[0-9]{1,3}(?:(?:-|\s*+(?:[,;|>→]|->)\s*+(?:and\s++)?|\s++(?:and\s++)?)[0-9]{1,3})+")


class Permutation(Answer):
    """An order of the numbers 1..n, for example `Permutation([3, 1, 2, 4])`, written `3 1 2 4`.

    Only a whole permutation is an answer. With `partial` the score is the share of places that are right, times
    `discount` unless all are.
    """

    kind: ClassVar[str] = "permutation"
    order: tuple[int, ...]
    partial: bool = False
    discount: float = 1.0

    def __init__(self, order: Iterable[int], partial: bool = False, discount: float = 1.0) -> None:
        super().__init__(order=tuple(order), partial=partial, discount=discount)  # pyright: ignore[reportCallIssue]

    @model_validator(mode="after")
    def _is_a_permutation(self) -> Self:
        if len(self.order) < 2 or sorted(self.order) != list(range(1, len(self.order) + 1)):
            raise ValueError(f"not a permutation of 1..n with n of 2 or more: {self.order}")
        if not 0 <= self.discount <= 1:
            raise ValueError(f"discount must be in [0, 1], got {self.discount}")
        return self

    def text(self) -> str:
        return " ".join(map(str, self.order))

    def parse(self, text: str) -> Self | None:
        text, count = bare(text), len(self.order)
        if text.isascii() and text.replace(" ", "").isdigit():
            numbers = list(text) if count <= 9 and len(text) == count and " " not in text else text.split()
        elif _NUMBERS.fullmatch(text):
            numbers = re.findall("[0-9]+", text)
        else:
            return None
        order = tuple(map(int, numbers))
        if len(order) != count or set(order) != set(self.order):
            return None
        return self.model_copy(update={"order": order})

    def score(self, given: Self) -> float:
        right = sum(a == b for a, b in zip(self.order, given.order, strict=True))
        if right == len(self.order):
            return 1.0
        return self.discount * right / len(self.order) if self.partial else 0.0

    def near(self, given: Self) -> str:
        """Two places swapped, of four or more: of fewer, half the wrong orders are."""
        misplaced = sum(a != b for a, b in zip(self.order, given.order, strict=True))
        return "two places swapped" if misplaced == 2 and len(self.order) >= 4 else ""

    def hint(self) -> str:
        count = len(self.order)
        return f"the numbers 1 to {count}, each once, separated by blanks"

    def chance(self) -> float:
        # A fixed guess is all right once in n!, and right at one place in n on average.
        all_right = 1 / math.factorial(len(self.order))
        if not self.partial:
            return all_right
        return all_right + self.discount * (1 / len(self.order) - all_right)

    def draw(self, rng: "np.random.Generator") -> Self:
        return self.model_copy(update={"order": tuple(int(place) + 1 for place in rng.permutation(len(self.order)))})


@functools.lru_cache(maxsize=1024)
def _between(options: tuple[str, ...]) -> re.Pattern[str]:
    """What separates options: commas, semicolons, line breaks, and blanks and "and" where no option holds them."""
    separators = [r"[,;\n]"]
    if not any(" " in name for name in _by_plain(options)):
        separators.append(r"\s")
    separators += [word for word in (r"\band\b", "&") if not any(re.search(word, o.casefold()) for o in options)]
    return re.compile("|".join(separators), re.IGNORECASE)


class Subset(Answer):
    """Some of several named options, for example `Subset(["A", "C"], options="ABCDEF")`, written `A, C`.

    The score is the share of the right options that were named less the share of the wrong ones that were (Youden's
    J: https://doi.org/10.1002/1097-0142(1950)3:1<32::AID-CNCR2820030106>3.0.CO;2-3), and never below 0: naming all
    or none earns nothing.
    """

    kind: ClassVar[str] = "subset"
    chosen: tuple[str, ...]
    options: tuple[str, ...]

    def __init__(self, chosen: Iterable[str], options: Iterable[str]) -> None:
        options, chosen = tuple(options), set(chosen)
        if unknown := chosen.difference(options):
            raise ValueError(f"{sorted(unknown)} are not among the options {options}")
        ordered = tuple(option for option in options if option in chosen)
        super().__init__(chosen=ordered, options=options)  # pyright: ignore[reportCallIssue]

    @model_validator(mode="after")
    def _is_some_of_its_options(self) -> Self:
        _check_distinct(self.options)
        if any(mark in option for option in self.options for mark in ",;\n"):
            raise ValueError(f"the options of a Subset hold no comma, semicolon or line break, got {self.options}")
        if not set(self.chosen) <= set(self.options) or len(set(self.chosen)) != len(self.chosen):
            raise ValueError(f"{self.chosen} is no subset of the options {self.options}")
        if not 0 < len(self.chosen) < len(self.options):
            raise ValueError("a Subset has one option or more, and not all of them")
        return self

    def text(self) -> str:
        return ", ".join(self.chosen)

    def parse(self, text: str) -> Self | None:
        named = _by_plain(self.options)
        pieces = [said for piece in _between(self.options).split(bare(text)) if (said := plain(piece))]
        if not pieces or len(set(pieces)) != len(pieces) or not named.keys() >= set(pieces):
            return None
        return self.model_copy(update={"chosen": tuple(option for name, option in named.items() if name in pieces)})

    def score(self, given: Self) -> float:
        return self._credit(len(set(given.chosen) & set(self.chosen)), len(given.chosen))

    def near(self, given: Self) -> str:
        """One option too many or too few, of four or more."""
        missing, wrong = set(self.chosen) - set(given.chosen), set(given.chosen) - set(self.chosen)
        if len(self.options) < 4 or len(missing) + len(wrong) != 1:
            return ""
        return "one option missing" if missing else "one option too many"

    def _credit(self, hits: int, named: int) -> float:
        right = len(self.chosen)
        return max(0.0, hits / right - (named - hits) / (len(self.options) - right))

    def hint(self) -> str:
        return "one or more of " + ", ".join(self.options) + ", separated by commas"

    def chance(self) -> float:
        # Whoever names a fixed number of options hits some of the right ones by the hypergeometric law.
        right, count = len(self.chosen), len(self.options)
        ways = math.comb(count, right)
        return max(
            sum(
                math.comb(named, hits) * math.comb(count - named, right - hits) * self._credit(hits, named)
                for hits in range(min(named, right) + 1)
            )
            / ways
            for named in range(1, count + 1)
        )

    def draw(self, rng: "np.random.Generator") -> Self:
        drawn = set(rng.permutation(len(self.options))[: len(self.chosen)].tolist())
        return self.model_copy(
            update={"chosen": tuple(option for place, option in enumerate(self.options) if place in drawn)}
        )


BUILT_IN: tuple[type[Answer], ...] = (Choice, Angle, Permutation, Subset)


def load_answer(text: str, extra_types: Iterable[type[Answer]] = ()) -> Answer:
    """The answer that `Answer.to_json` wrote; `extra_types` are a task's own.

    Raises:
        UsageError: the text is not the JSON of an answer of a known kind.
    """
    types = {answer_type.kind: answer_type for answer_type in (*BUILT_IN, *extra_types)}
    try:
        fields = json.loads(text)
        answer_type = types[fields.pop("kind")]
        # Pydantic hands the fields by name to a type's own constructor: its arguments must be named as they are.
        return answer_type.model_validate(fields)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError, ValidationError) as error:
        raise UsageError(
            f"not a recorded answer ({', '.join(sorted(types))}): {text[:200]!r} ({one_line(error)})"
        ) from error
