"""A task with an answer type of its own: how much of the picture is hidden?

    ssl4rl --plugin examples/extensions/hidden_share_task.py preview hidden-share --source embedded:photos

The built-in answers are exact or count what is right. `Percentage` gives half the score for a near miss.
"""

import re
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from ssl4rl_core import Answer, Draft, Field, ImageItem, ImageParams, Task, hookimpl

if TYPE_CHECKING:
    from ssl4rl_core import View

SHARES = range(10, 100, 10)
_PERCENT = re.compile(r"([0-9]{1,3})(?:\.0{1,6})?\s*+(?:%|percent)?", re.IGNORECASE)


class Percentage(Answer):
    """A multiple of 10 from 10 to 90; the next one to it scores a half."""

    kind: ClassVar[str] = "percentage"
    value: int = Field(ge=10, le=90, multiple_of=10)

    def text(self) -> str:
        return str(self.value)

    def parse(self, text: str) -> Self | None:
        found = _PERCENT.fullmatch(text.strip().rstrip("."))
        value = int(found[1]) if found else 0
        return self.model_copy(update={"value": value}) if value in SHARES else None

    def score(self, given: Self) -> float:
        return max(0.0, 1 - abs(given.value - self.value) / 20)

    def hint(self) -> str:
        return "one of " + ", ".join(map(str, SHARES))

    def chance(self) -> float:
        # Any answer but the outermost has both its neighbours: right once, near twice.
        return 2 / len(SHARES)

    def draw(self, rng: np.random.Generator) -> Self:
        return self.model_copy(update={"value": int(rng.choice(SHARES))})


class HiddenShareParams(ImageParams):
    bars: int = Field(default=1, ge=1, le=8, description="bars that the hidden part is divided into")


class HiddenShare(Task[ImageItem, HiddenShareParams]):
    """How many percent of the picture are covered?"""

    name, version = "hidden-share", 1
    levels = {"easy": HiddenShareParams(), "medium": HiddenShareParams(bars=3), "hard": HiddenShareParams(bars=6)}
    answer_types = (Percentage,)
    prompt = "<image>\nGrey bars cover a part of this picture. How many percent of it do they cover?"

    def transform(self, item: ImageItem, params: HiddenShareParams, rng: np.random.Generator, view: "View") -> Draft:
        from PIL import Image

        share = int(rng.choice(SHARES))
        pixels = np.array(item.image)
        width = pixels.shape[1]
        covered = round(width * share / 100)
        # Bars of random widths with random gaps between them, which sum to what they must.
        widths, gaps = (_parts(total, params.bars + more, rng) for total, more in ((covered, 0), (width - covered, 1)))
        left = 0
        for gap, bar in zip(gaps, widths, strict=False):
            pixels[:, left + gap : left + gap + bar] = 128
            left += gap + bar
        return Draft(images=[Image.fromarray(pixels)], answer=Percentage(value=share))

    def chance(self, params: HiddenShareParams) -> float:
        return 2 / len(SHARES)


def _parts(total: int, count: int, rng: np.random.Generator) -> list[int]:
    """`total` divided at random into `count` parts."""
    cuts = np.sort(rng.integers(0, total + 1, count - 1))
    return np.diff(cuts, prepend=0, append=total).tolist()


@hookimpl
def ssl4rl_tasks() -> list[type[Task]]:
    return [HiddenShare]
