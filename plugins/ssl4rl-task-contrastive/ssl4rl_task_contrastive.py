"""Contrastive: do two views, cut out and recoloured at random, come from the same picture?

After T. Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations" (arXiv 2002.05709), with
the augmentations of arXiv 2510.16416.
"""

import functools
import os
import random
from typing import TYPE_CHECKING, Any, Literal

from ssl4rl_core import Choice, Draft, Field, ImageItem, ImageParams, Skip, Task, hookimpl
from ssl4rl_core.images import is_flat

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    from ssl4rl_core import View

SMALLEST = 16
DRAWS, DRAWS_ANYWHERE = 32, 128


class ContrastiveParams(ImageParams):
    strength: Literal["weak", "strong"] = Field(
        default="weak", description="how much of the picture is cut away and changed"
    )
    min_area: float = Field(
        default=0.08, ge=0.02, le=0.3, description="least share of the picture's area that a view shows"
    )
    negative: Literal["nearby", "any"] = Field(
        default="nearby", description="other picture: of the same folder, or of any"
    )
    size: int = Field(default=224, ge=28, le=1024, description="side of the square views, pixels")


class Contrastive(Task[ImageItem, ContrastiveParams]):
    """Do two views come from the same picture?"""

    name, version = "contrastive", 1
    uses_view = True
    levels = {
        "easy": ContrastiveParams(min_area=0.3),
        "medium": ContrastiveParams(),
        "hard": ContrastiveParams(strength="strong"),
        "paper": ContrastiveParams(negative="any"),
    }
    prompt = (
        "<image><image>\nEach of these views was cut out of a photograph at random, and its colours were changed. "
        "Were both cut out of the same photograph?"
    )

    def transform(self, item: ImageItem, params: ContrastiveParams, rng: "np.random.Generator", view: "View") -> Draft:
        import numpy as np

        if not _can_be_cut(item.image, params):
            raise Skip("picture too small or of one colour")
        # Asked before the answer is drawn: else a picture that is alone in its split would only ever mean "yes".
        if not view.has_another(item):
            raise Skip("no other item in its split")
        same = bool(rng.integers(2))
        first = np.asarray(item.image)
        second = first if same else np.asarray(_another(item, params, rng, view))
        views = [_view(pixels, params, rng) for pixels in (first, second)]
        return Draft(answer=Choice("yes" if same else "no", options=("yes", "no")), images=views)

    def chance(self, params: ContrastiveParams) -> float:
        return 1 / 2


def _can_be_cut(image: "Image", params: ContrastiveParams) -> bool:
    return min(image.size) >= max(params.min_side, SMALLEST) and not is_flat(image)


def _another(item: ImageItem, params: ContrastiveParams, rng: "np.random.Generator", view: "View") -> "Image":
    # Draws again, and in the end from anywhere, instead of skipping: that would leave out samples whose answer is no.
    for draw in range(DRAWS + DRAWS_ANYWHERE):
        other = view.another(item, rng, nearby=params.negative == "nearby" and draw < DRAWS)
        if isinstance(other, ImageItem) and _can_be_cut(other.image, params):
            return other.image
    raise Skip("no other picture that views can be cut from")


def _view(pixels: "np.ndarray", params: ContrastiveParams, rng: "np.random.Generator") -> "Image":
    from PIL import Image

    augment = _augmentation(params.strength, params.min_area, params.size)
    # Both generators that albumentations draws from, so that a view depends on this sample's rng alone.
    augment.set_random_state(rng, random.Random(int(rng.integers(2**63))))
    return Image.fromarray(augment(image=pixels)["image"])


@functools.lru_cache(maxsize=16)
def _augmentation(strength: str, min_area: float, side: int) -> Any:
    # At import, albumentations would ask the network for its newest version.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations as A

    strong = strength == "strong"
    often, seldom = (0.8, 0.8) if strong else (0.5, 0.2)
    area = (min_area, 0.3 if strong else 1.0)
    changes = [
        A.RandomResizedCrop((side, side), scale=area, area_for_downscale="image"),
        A.HorizontalFlip(p=often),
        A.ColorJitter(brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, p=0.8),
        A.ToGray(p=seldom),
        A.GaussianBlur(p=often),
    ]
    if strong:
        changes += [A.Solarize(p=often), A.Equalize(p=often)]
    return A.Compose(changes)


@hookimpl
def ssl4rl_tasks() -> list[type[Task]]:
    return [Contrastive]
