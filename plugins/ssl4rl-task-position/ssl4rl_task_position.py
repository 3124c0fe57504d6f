"""Position: which part of a picture does a crop come from?

After C. Doersch et al., "Unsupervised Visual Representation Learning by Context Prediction" (arXiv 1505.05192), in the
form of arXiv 2510.16416.
"""

import math
from typing import TYPE_CHECKING, Literal, Self

from pydantic import model_validator

from ssl4rl_core import Choice, Draft, Field, ImageItem, ImageParams, Skip, Task, hookimpl
from ssl4rl_core.images import Box, grid, is_flat

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    from ssl4rl_core import View

SMALLEST = 8
DRAWS = 64
PLACES = {
    2: ("top-left", "top-right", "bottom-left", "bottom-right"),
    3: (
        *("top-left", "top-center", "top-right"),
        *("middle-left", "middle-center", "middle-right"),
        *("bottom-left", "bottom-center", "bottom-right"),
    ),
}


class PositionParams(ImageParams):
    grid: Literal[2, 3] = Field(default=2, description="rows and columns that the picture is divided into")
    min_area: float = Field(
        default=0.2, ge=0.2, le=0.8, description="least share of its part's area that the crop shows"
    )
    max_area: float = Field(
        default=0.8, ge=0.2, le=0.8, description="largest share of its part's area that the crop shows"
    )
    augment: bool = Field(default=False, description="mirror the crop and change its colours, at random")

    @model_validator(mode="after")
    def _areas_are_a_range(self) -> Self:
        if self.min_area > self.max_area:
            raise ValueError(f"min_area {self.min_area} is above max_area {self.max_area}")
        return self


class Position(Task[ImageItem, PositionParams]):
    """Which part of the picture does the crop come from?"""

    name, version = "position", 1
    levels = {
        "easy": PositionParams(min_area=0.5),
        "medium": PositionParams(grid=3),
        "hard": PositionParams(grid=3, augment=True),
        "paper": PositionParams(),
    }
    prompt = (
        "<image><image>\nThe first picture is divided into {grid} rows and {grid} columns of equal parts. "
        "The second picture shows a piece of one of these parts. Of which one?"
    )

    def transform(self, item: ImageItem, params: PositionParams, rng: "np.random.Generator", view: "View") -> Draft:
        if min(item.image.size) < SMALLEST * params.grid:
            raise Skip("parts too small")
        picture, cells = grid(item.image, params.grid, params.grid)
        # Asked of all parts, not of the one drawn: else some answers would be skipped more often than others.
        if any(is_flat(picture, cell) for cell in cells):
            raise Skip("a part of one colour")
        place = int(rng.integers(len(cells)))
        crop = picture.crop(_piece(picture, cells[place], params, rng))
        if params.augment:
            crop = _augmented(crop, rng)
        places = PLACES[params.grid]
        return Draft(answer=Choice(places[place], options=places), images=[picture, crop])

    def chance(self, params: PositionParams) -> float:
        return 1 / params.grid**2


def _piece(image: "Image", cell: Box, params: PositionParams, rng: "np.random.Generator") -> Box:
    """A box in the cell of a random share of its area, at most twice as wide or half as wide as the cell's shape.

    It has more than one colour: a blank piece of a page with margins could be of any part.
    """
    left, top, right, bottom = cell
    area = rng.uniform(params.min_area, params.max_area)
    limit = math.log(min(2, 1 / area))
    shape = math.exp(rng.uniform(-limit, limit))
    width, height = round((right - left) * math.sqrt(area * shape)), round((bottom - top) * math.sqrt(area / shape))
    # Neither size nor part is drawn again: what shows little would be the answer less often, or be known by size.
    for _ in range(DRAWS):
        x, y = left + int(rng.integers(right - left - width + 1)), top + int(rng.integers(bottom - top - height + 1))
        if not is_flat(image, (x, y, x + width, y + height)):
            break
    return x, y, x + width, y + height


def _augmented(crop: "Image", rng: "np.random.Generator") -> "Image":
    from PIL import ImageEnhance, ImageOps

    if rng.random() < 0.5:
        crop = ImageOps.mirror(crop)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        crop = enhance(crop).enhance(rng.uniform(0.5, 1.5))
    return ImageOps.grayscale(crop).convert("RGB") if rng.random() < 0.2 else crop


@hookimpl
def ssl4rl_tasks() -> list[type[Task]]:
    return [Position]
