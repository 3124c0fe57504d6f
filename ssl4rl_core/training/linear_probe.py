"""What a model's eyes can tell apart: a few-shot linear probe on its frozen vision features.

The usual measure of a representation that was learnt without labels (Alain and Bengio, arXiv 1610.01644; few-shot as
in Radford et al., arXiv 2103.00020): features are fixed, and a linear classifier learns from a few labelled pictures.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ssl4rl_core.configs import suggestion
from ssl4rl_core.errors import MissingExtra, UsageError
from ssl4rl_core.intervals import interval
from ssl4rl_core.training.models import Loaded
from ssl4rl_core.training.progress import Advance

if TYPE_CHECKING:
    from PIL.Image import Image

SEEDS = (0, 1, 2)
"""Of the draws of labelled pictures: fixed, so that every model learns from the same ones."""
SHOTS = 10
"""Labelled pictures a class."""


@dataclass(frozen=True)
class LabelledPictures:
    """Pictures, and the class of each."""

    images: "Sequence[Image]"
    labels: np.ndarray
    """Numbers of classes, of shape (pictures,)."""


@dataclass(frozen=True)
class ProbeScore:
    """How a probe did on the pictures it had not learnt from.

    Attributes:
        scores: by picture, the share of the draws it was held out of that got it right, in [0, 1].
        by_draw: accuracy of each draw of labelled pictures.
        low, high: 95 % interval of the accuracy, by the bootstrap over pictures; how far apart the draws lie is not in
            it.
        chance: what always naming the most frequent class earns.
    """

    scores: Mapping[str, float]
    accuracy: float
    by_draw: tuple[float, ...]
    low: float
    high: float
    chance: float


def labelled_pictures(name: str) -> LabelledPictures:
    """`digits`: 1,797 handwritten digits, ten classes; `faces`: 100 faces and 100 patches of background.

    Both come with packages of the extra 'embedded': UCI's digits with scikit-learn, the subset of Labeled Faces in the
    Wild with scikit-image.

    Raises:
        UsageError: there is no set of that name.
        MissingExtra: the package is not installed.
    """
    if name not in DATASETS:
        raise UsageError(f"no labelled pictures {name!r}{suggestion(name, DATASETS)}")
    try:
        return DATASETS[name]()
    except ImportError as error:
        raise MissingExtra(f"downstream {name}", "embedded", error) from error


def _digits() -> LabelledPictures:
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    return LabelledPictures(_pictures(digits.images / 16), np.asarray(digits.target))


def _faces() -> LabelledPictures:
    from skimage.data import lfw_subset

    pixels = lfw_subset()
    # The first hundred are faces, as its description says.
    return LabelledPictures(_pictures(pixels), (np.arange(len(pixels)) < 100).astype(int))


def _pictures(grey: np.ndarray) -> "list[Image]":
    """RGB pictures of grey levels in [0, 1], of shape (pictures, height, width)."""
    from PIL import Image

    return [Image.fromarray(pixels).convert("RGB") for pixels in np.rint(grey * 255).astype(np.uint8)]


DATASETS: dict[str, Callable[[], LabelledPictures]] = {"digits": _digits, "faces": _faces}


def vision_features(
    loaded: Loaded, images: "Sequence[Image]", *, batch_size: int = 64, advance: Advance = lambda done, text: None
) -> np.ndarray:
    """Features of pictures as the language model gets to see them, averaged over each picture's tokens.

    Args:
        advance: called after each batch with how many pictures are done.

    Returns:
        float32 of shape (pictures, width of the language model).

    Raises:
        UsageError: the model sees no pictures.
    """
    import torch

    processor = getattr(loaded.processor, "image_processor", None)
    if processor is None or not hasattr(loaded.model, "get_image_features"):
        raise UsageError("a linear probe needs vision features, and the model sees no pictures: use a VLM")
    found: list[np.ndarray] = []
    with torch.no_grad():
        for start in range(0, len(images), batch_size):
            inputs = processor(images=list(images[start : start + batch_size]), return_tensors="pt")
            output = loaded.model.get_image_features(
                **{key: each.to(loaded.model.device) for key, each in inputs.items()}
            )
            # One tensor of shape (tokens, width) a picture, or all of them in one.
            tokens: Any = getattr(output, "pooler_output", output)
            found += [picture.reshape(-1, picture.shape[-1]).float().mean(0).cpu().numpy() for picture in tokens]
            advance(len(found), "")
    return np.stack(found)


def probe(features: np.ndarray, labels: np.ndarray, *, shots: int = SHOTS, seeds: Sequence[int] = SEEDS) -> ProbeScore:
    """Logistic regression on standardised features of `shots` pictures a class, scored on all the others.

    The same labels, shots and seeds give the same pictures to learn from, whatever the features.

    Raises:
        UsageError: a class has too few pictures.
        MissingExtra: scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise MissingExtra("a linear probe", "embedded", error) from error

    classes, counts = np.unique(labels, return_counts=True)
    if counts.min() <= shots:
        raise UsageError(f"{shots} shots leave nothing to test: the smallest class has {counts.min()} pictures")
    right: list[list[float]] = [[] for _ in labels]
    by_draw = []
    for seed in seeds:
        shown = _draw(labels, classes, shots, seed)
        held_out = np.setdiff1d(np.arange(len(labels)), shown)
        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        classifier.fit(features[shown], labels[shown])
        hits = classifier.predict(features[held_out]) == labels[held_out]
        by_draw.append(float(hits.mean()))
        for picture, hit in zip(held_out, hits, strict=True):
            right[picture].append(float(hit))
    each = [(str(picture), hit) for picture, hits in enumerate(right) for hit in hits]
    low, high = interval([hit for _, hit in each], [picture for picture, _ in each])
    return ProbeScore(
        scores={str(picture): statistics.fmean(hits) for picture, hits in enumerate(right) if hits},
        accuracy=statistics.fmean(hit for _, hit in each),
        by_draw=tuple(by_draw),
        low=low,
        high=high,
        chance=float((counts - shots).max() / (counts - shots).sum()),
    )


def _draw(labels: np.ndarray, classes: np.ndarray, shots: int, seed: int) -> np.ndarray:
    """Numbers of `shots` pictures of each class."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.permutation(np.flatnonzero(labels == number))[:shots] for number in classes])
