"""Jigsaw: put the shuffled tiles of a picture back in order.

After M. Noroozi and P. Favaro, "Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles"
(arXiv 1603.09246), in the form of arXiv 2510.16416; partial credit with a discount after "Visual Jigsaw Post-Training
Improves MLLMs" (arXiv 2509.25190).
"""

from typing import TYPE_CHECKING, Literal

from ssl4rl_core import Draft, Field, ImageItem, ImageParams, Permutation, Skip, Task, hookimpl
from ssl4rl_core.images import Box, grid

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    from ssl4rl_core import View

SMALLEST = 8
GAP_COLOUR = (128, 128, 128)


class JigsawParams(ImageParams):
    rows: int = Field(default=2, ge=2, le=6, description="rows of tiles")
    columns: int = Field(default=2, ge=2, le=6, description="columns of tiles")
    form: Literal["composite", "tiles"] = Field(
        default="composite", description="one shuffled picture, or a picture a tile"
    )
    gap: float = Field(default=0, ge=0, le=1, description="grey space between the tiles of a composite, in tile sides")
    inset: float = Field(default=0, ge=0, le=0.5, description="share of each side that a tile loses, split at random")
    partial: bool = Field(default=False, description="score the share of places that are right, else all or nothing")
    discount: float = Field(default=1, ge=0, le=1, description="factor on partial credit unless all places are right")


class Jigsaw(Task[ImageItem, JigsawParams]):
    """Which tile belongs at each place of the picture?"""

    name, version = "jigsaw", 1
    levels = {
        "easy": JigsawParams(gap=0.04, partial=True, discount=0.2),
        "medium": JigsawParams(rows=3, columns=3, gap=0.04, inset=0.05, partial=True, discount=0.2),
        "hard": JigsawParams(rows=4, columns=4, gap=0.04, inset=0.1, partial=True, discount=0.2),
        "paper": JigsawParams(),
    }

    def prompt(self, params: JigsawParams) -> str:
        count = params.rows * params.columns
        cut = "A picture was cut into {rows} rows and {columns} columns of tiles, and the tiles were shuffled"
        if params.form == "tiles":
            shown = "".join(f"Tile {number}: <image>\n" for number in range(1, count + 1)) + cut + ". "
        else:
            shown = (
                f"<image>\n{cut} as shown. The tiles shown are numbered 1 to {count}, row by row from the top left. "
            )
        return shown + (
            "For each place of the original picture, row by row from the top left, "
            "which is the number of the tile that belongs there?"
        )

    def transform(self, item: ImageItem, params: JigsawParams, rng: "np.random.Generator", view: "View") -> Draft:
        if item.image.width < SMALLEST * params.columns or item.image.height < SMALLEST * params.rows:
            raise Skip("tiles too small")
        picture, cells = grid(item.image, params.rows, params.columns)
        tiles = [picture.crop(_inset(cell, params.inset, rng)) for cell in cells]
        if _look_the_same(tiles):
            raise Skip("tiles that look the same")
        order = rng.permutation(len(tiles)) + 1
        shuffled = [tiles[place] for place in order.argsort()]
        images = shuffled if params.form == "tiles" else [_composite(shuffled, params)]
        return Draft(answer=Permutation(order.tolist(), params.partial, params.discount), images=images)

    def chance(self, params: JigsawParams) -> float:
        return Permutation(range(1, params.rows * params.columns + 1), params.partial, params.discount).chance()


def _inset(cell: Box, inset: float, rng: "np.random.Generator") -> Box:
    """A part of the cell, `inset` shorter each way, at a random place in it."""
    left, top, right, bottom = cell
    lost_x, lost_y = round((right - left) * inset), round((bottom - top) * inset)
    x, y = left + int(rng.integers(lost_x + 1)), top + int(rng.integers(lost_y + 1))
    return x, y, x + right - left - lost_x, y + bottom - top - lost_y


def _look_the_same(tiles: "list[Image]") -> bool:
    """Whether two tiles are equal."""
    from PIL.Image import Resampling

    # A few pixels tell most tiles apart, in a fraction of the time that all of them take.
    few = {tile.resize((SMALLEST, SMALLEST), Resampling.NEAREST).tobytes() for tile in tiles}
    return len(few) < len(tiles) and len({tile.tobytes() for tile in tiles}) < len(tiles)


def _composite(tiles: "list[Image]", params: JigsawParams) -> "Image":
    from PIL import Image

    width, height = tiles[0].size
    gap = round(params.gap * min(width, height))
    size = (params.columns * (width + gap) - gap, params.rows * (height + gap) - gap)
    composite = Image.new("RGB", size, GAP_COLOUR)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, params.columns)
        composite.paste(tile, (column * (width + gap), row * (height + gap)))
    return composite


@hookimpl
def ssl4rl_tasks() -> list[type[Task]]:
    return [Jigsaw]
