"""A task that gives its answer away by shapes, and pictures that it shows on."""

from collections.abc import Iterable

from ssl4rl_core import Angle, Draft, ImageItem, Params, Task
from ssl4rl_core.testing.memory import MemorySource, synthetic_picture

_SHAPES = ((48, 32), (32, 48), (50, 40), (30, 60))


class Turned(Task[ImageItem, Params]):
    """Rotation as it should not be: the whole picture is turned, and its shape with it."""

    name, version, levels, prompt = "turned", 1, {"easy": Params()}, "<image><image>\nBy how much?"

    def transform(self, item, params, rng, view):
        degrees = 90 * int(rng.integers(4))
        return Draft(Angle(degrees, step=90), [item.image, item.image.rotate(degrees, expand=True)])

    def chance(self, params):
        return 1 / 4


def oblong_pictures(ids: Iterable[str]) -> MemorySource:
    """A picture of each id, none of them square: a quarter turn shows in the shape."""
    pictures = {id: synthetic_picture(number, *_SHAPES[number % len(_SHAPES)]) for number, id in enumerate(ids)}
    return MemorySource(pictures, name="memory:shapes")
