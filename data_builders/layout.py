"""The composite layout: all pictures of a sample in one, numbered, for models that take only one picture."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from ssl4rl_core.answers import canonical_json
from ssl4rl_core.rendering import IMAGE_MARK
from ssl4rl_core.samples import Sample

if TYPE_CHECKING:
    from PIL.Image import Image

Layout = Literal["separate", "composite"]

_LONGEST_ROW = 4
_PAPER, _INK = (255, 255, 255), (0, 0, 0)


def composite(sample: Sample) -> Sample:
    """The sample with its pictures drawn into one, and a prompt that speaks of that one.

    The picture comes first. Marks at the head of the prompt vanish, since "the first picture" is now picture 1; a mark
    within the text becomes "[picture 3]". A sample of one picture, or of none, is left as it is.
    """
    if len(sample.images) < 2:
        return sample
    parts = _one_picture(sample.record.content(), len(sample.images))
    question = "".join(part.get("text", IMAGE_MARK) for part in parts)
    record = sample.record.model_copy(update={"parts": canonical_json(parts), "question": question})
    return Sample(record, (side_by_side(sample.images),))


def _one_picture(parts: list[dict[str, str]], count: int) -> list[dict[str, str]]:
    head = f"\nThe image holds {count} pictures, numbered 1 to {count}.\n"
    return [{"type": "image"}, {"type": "text", "text": head + without_marks(parts)}]


def without_marks(parts: list[dict[str, str]]) -> str:
    """A prompt's text where its pictures stand elsewhere: marks at its head vanish, others become "[picture 3]"."""
    text, number = "", 0
    for part in parts:
        if part["type"] == "text":
            text += part["text"]
            continue
        number += 1
        # A mark at the head stands for the picture as a whole, not for a word in a sentence.
        text += f"[picture {number}]" if text.strip() else ""
    return text.lstrip() if number else text


def side_by_side(images: "Sequence[Image]") -> "Image":
    """RGB pictures at their own size on white, up to four a row, or in a square where there are more.

    Above each stands its number, in a margin of its own, so that nothing of it is covered.
    """
    from PIL import Image, ImageDraw, ImageFont

    columns = len(images) if len(images) <= _LONGEST_ROW else math.ceil(math.sqrt(len(images)))
    width, height = max(image.width for image in images), max(image.height for image in images)
    margin = min(max(round(0.1 * min(width, height)), 14), 40)
    gap = margin // 2
    rows = math.ceil(len(images) / columns)
    drawn = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + margin) + gap), _PAPER)
    draw = ImageDraw.Draw(drawn)
    font = ImageFont.load_default(size=round(0.8 * margin))
    for position, image in enumerate(images):
        row, column = divmod(position, columns)
        left, top = gap + column * (width + gap), row * (height + margin)
        draw.text((left + width // 2, top + margin // 2), str(position + 1), _INK, font, anchor="mm")
        drawn.paste(image, (left + (width - image.width) // 2, top + margin))
    return drawn
