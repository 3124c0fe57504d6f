"""Jigsaw: put the shuffled tiles of a picture back in order.

After M. Noroozi and P. Favaro, "Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles"
(arXiv 1603.09246), in the form of arXiv 2510.16416; partial credit with a discount after "Visual Jigsaw Post-Training
Improves MLLMs" (arXiv 2509.25190).
"""

from typing import TYPE_CHECKING, Literal

from ssl4rl_core import Draft, Field, ImageItem, ImageParams, Permutation, Skip, Task, hookimpl
from ssl4rl_core.images import Box, cells

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
        picture = item.image
        tiles = [_inset(cell, params.inset, rng) for cell in cells(picture, params.rows, params.columns)]
        if _look_the_same(picture, tiles):
            raise Skip("tiles that look the same")
        order = list(range(1, len(tiles) + 1))
        rng.shuffle(order)
        shuffled = [tiles[order.index(number)] for number in range(1, len(tiles) + 1)]
        apart = params.form == "tiles"
        images = [picture.crop(tile) for tile in shuffled] if apart else [_composite(picture, shuffled, params)]
        return Draft(answer=Permutation(order, params.partial, params.discount), images=images)

    def chance(self, params: JigsawParams) -> float:
        return Permutation(range(1, params.rows * params.columns + 1), params.partial, params.discount).chance()


def _inset(cell: Box, inset: float, rng: "np.random.Generator") -> Box:
    """A part of the cell, `inset` shorter each way, at a random place in it."""
    left, top, right, bottom = cell
    lost_x, lost_y = round((right - left) * inset), round((bottom - top) * inset)
    if not lost_x and not lost_y:
        return cell
    x, y = left + int(rng.integers(lost_x + 1)), top + int(rng.integers(lost_y + 1))
    return x, y, x + right - left - lost_x, y + bottom - top - lost_y


def _look_the_same(picture: "Image", tiles: list[Box]) -> bool:
    """Whether two tiles are equal."""
    # A few pixels of their diagonals tell most tiles apart, in a fraction of the time that all pixels take.
    pixels = picture.load()
    assert pixels is not None  # only a picture that was closed has none
    left, top, right, bottom = tiles[0]
    steps = [((right - left) * step // SMALLEST, (bottom - top) * step // SMALLEST) for step in range(SMALLEST)]
    few = {tuple([pixels[left + x, top + y] for x, y in steps]) for left, top, _, _ in tiles}
    return len(few) < len(tiles) and len({picture.crop(tile).tobytes() for tile in tiles}) < len(tiles)


def _composite(picture: "Image", tiles: list[Box], params: JigsawParams) -> "Image":
    """One picture of the tiles, in this order."""
    from PIL import Image

    left, top, right, bottom = tiles[0]
    width, height = right - left, bottom - top
    gap = round(params.gap * min(width, height))
    size = (params.columns * (width + gap) - gap, params.rows * (height + gap) - gap)
    # Without gaps the tiles cover it; begun from the picture, what stays where it was need not be moved.
    composite = Image.new("RGB", size, GAP_COLOUR) if gap else picture.crop((0, 0, *size))
    for number, tile in enumerate(tiles):
        row, column = divmod(number, params.columns)
        place = column * (width + gap), row * (height + gap)
        if gap or tile[:2] != place:
            composite.paste(picture.crop(tile), place)
    return composite


@hookimpl
def ssl4rl_tasks() -> list[type[Task]]:
    return [Jigsaw]
