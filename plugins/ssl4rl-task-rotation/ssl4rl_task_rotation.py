"""Rotation: by how many degrees was a picture turned?

After S. Gidaris et al., "Unsupervised Representation Learning by Predicting Image Rotations" (arXiv 1803.07728), in the
form of arXiv 2510.16416. What is shown is a square that lies inside the picture at every angle, so that neither shape
nor corners tell the angle.
"""

import math
from typing import TYPE_CHECKING, Literal

from ssl4rl_core import Angle, Draft, Field, ImageItem, ImageParams, Skip, Task, hookimpl
from ssl4rl_core.images import centre_crop, is_flat

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    from ssl4rl_core import View

SMALLEST = 8


class RotationParams(ImageParams):
    step: Literal[90, 45, 30, 15] = Field(default=90, description="the angle is a multiple of this, degrees")
    reference: bool = Field(
        default=True, description="show the original before the turned picture, else the turned one alone"
    )
    partial: bool = Field(default=False, description="give an answer d degrees off 1 - d / 180 instead of 0")


class Rotation(Task[ImageItem, RotationParams]):
    """By how many degrees was the picture turned?"""

    name, version = "rotation", 1
    levels = {
        "easy": RotationParams(step=90, reference=False),
        "medium": RotationParams(step=45),
        "hard": RotationParams(step=15),
        "paper": RotationParams(step=90),
    }

    def prompt(self, params: RotationParams) -> str:
        turned = "turned counter-clockwise by a multiple of {step} degrees, possibly 0. By how many degrees?"
        if params.reference:
            return "<image><image>\nThe second picture is the first one, " + turned
        return "<image>\nThis picture was upright and has been " + turned

    def transform(self, item: ImageItem, params: RotationParams, rng: "np.random.Generator", view: "View") -> Draft:
        degrees = int(rng.integers(360 // params.step)) * params.step
        side = min(item.image.size)
        square = centre_crop(item.image, side, side)
        if is_flat(square):
            raise Skip("picture of one colour")
        if _same_upside_down(square):
            raise Skip("picture that a half turn does not change")
        angles = [0, degrees] if params.reference else [degrees]
        if params.step == 90:
            pictures = [_quarter_turned(square, angle // 90) for angle in angles]
        else:
            pictures = _turned(square, angles, rng)
        return Draft(answer=Angle(degrees, params.step, params.partial), images=pictures)

    def chance(self, params: RotationParams) -> float:
        return Angle(0, params.step, params.partial).chance()


def _same_upside_down(square: "Image") -> bool:
    """Whether a half turn changes nothing, as of a chessboard: then no angle can be told from that and 180 degrees."""
    from PIL.Image import Transpose

    last = square.width - 1
    # A few pixels tell nearly every picture from its half turn; to look at all takes copies of them.
    few = [(last * step // SMALLEST, last * step * step // SMALLEST**2) for step in range(SMALLEST)]
    if any(square.getpixel((x, y)) != square.getpixel((last - x, last - y)) for x, y in few):
        return False
    return square.tobytes() == square.transpose(Transpose.ROTATE_180).tobytes()


def _quarter_turned(square: "Image", turns: int) -> "Image":
    from PIL.Image import Transpose

    if turns == 0:
        return square
    return square.transpose((Transpose.ROTATE_90, Transpose.ROTATE_180, Transpose.ROTATE_270)[turns - 1])


def _turned(square: "Image", angles: list[int], rng: "np.random.Generator") -> "list[Image]":
    """The square turned by each angle, cut to the upright square that is inside at every angle.

    Each is read at a random shift below a pixel: else multiples of 90 degrees would meet the source's pixels exactly,
    and be sharper than all other angles.
    """
    import cv2
    import numpy as np
    from PIL import Image

    # Four bytes a pixel, as Pillow keeps them: OpenCV takes half the time that three take, to the same colours.
    pixels = np.frombuffer(square.tobytes("raw", "RGBX"), np.uint8).reshape(square.height, square.width, 4)
    middle = (square.width - 1) / 2
    # Its corners, shifted by up to half a pixel each way, stay within the circle through the outermost pixels.
    side = math.floor((middle - math.sqrt(0.5)) * math.sqrt(2)) + 1
    if side < SMALLEST:
        raise Skip("picture too small to turn")
    pictures = []
    for angle in angles:
        cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        # From a pixel shown to the place it is read from: turned clockwise about the centre, y pointing down.
        turn = np.array([[cosine, -sine], [sine, cosine]])
        shift = middle + rng.uniform(-0.5, 0.5, 2) - turn @ np.full(2, (side - 1) / 2)
        matrix = np.column_stack([turn, shift])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        turned = cv2.warpAffine(pixels, matrix, (side, side), flags=flags)
        pictures.append(Image.frombytes("RGB", (side, side), turned.data, "raw", "RGBX"))
    return pictures


@hookimpl
def ssl4rl_tasks() -> list[type[Task]]:
    return [Rotation]
