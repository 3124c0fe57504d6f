"""The upper bound of the transfer study: the same eyes, trained on the labels of the downstream task itself.

The vision part of the model and a linear layer on the mean of its tokens learn by cross entropy from four fifths of the
labelled pictures, and are asked about the last fifth; so every picture is asked about once, by a model that never saw
it. A probe gets ten labels a class and frozen features: what lies between the two is what labels would still bring.
"""

import statistics
from collections.abc import Sequence

import numpy as np

from ssl4rl_core.intervals import interval
from ssl4rl_core.training.linear_probe import labelled_pictures
from ssl4rl_core.training.models import Loaded, load_model
from ssl4rl_core.training.progress import quietly
from ssl4rl_core.training.recipe import ModelSettings
from ssl4rl_core.training.transfer import Transfer

FOLDS = 5
STEPS = 200
BATCH = 64
LEARNING_RATE = 1e-3


SUPERVISED = {"folds": FOLDS, "steps": STEPS, "batch": BATCH, "learning_rate": LEARNING_RATE}
"""What a result depends on besides the weights that it begins with."""


def supervised(model: ModelSettings, name: str) -> Transfer:
    """Accuracy on `digits` or `faces` after training on all labels of the other folds; the model's weights seed it."""
    import torch

    with quietly():
        pictures = labelled_pictures(name)
        loaded = load_model(model)
        inputs = loaded.processor.image_processor(images=list(pictures.images), return_tensors="pt")
        labels = torch.from_numpy(np.asarray(pictures.labels, dtype=np.int64))
        fold = np.random.default_rng(0).permutation(len(labels)) % FOLDS
        scores = np.zeros(len(labels))
        for held_out in range(FOLDS):
            loaded = load_model(model)  # from the same weights for each fold
            right = _learn(loaded, inputs, labels, np.flatnonzero(fold != held_out), np.flatnonzero(fold == held_out))
            scores[fold == held_out] = right
    low, high = interval(scores.tolist(), [str(picture) for picture in range(len(scores))])
    return Transfer(
        task="supervised",
        level="all labels",
        stage="end",
        n=len(scores),
        accuracy=statistics.fmean(scores.tolist()),
        low=low,
        high=high,
        chance=float(np.bincount(pictures.labels).max() / len(labels)),
        source=name,
        downstream=True,
    )


def _learn(loaded: Loaded, inputs: dict, labels, shown: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Train on the pictures shown; for each of those asked, whether it is named right."""
    import torch

    rows = inputs["image_grid_thw"].prod(dim=1).tolist()
    patches = torch.split(inputs["pixel_values"], rows)

    def features(numbers: Sequence[int]) -> torch.Tensor:
        output = loaded.model.get_image_features(
            pixel_values=torch.cat([patches[number] for number in numbers]),
            image_grid_thw=inputs["image_grid_thw"][list(numbers)],
        )
        return torch.stack([tokens.mean(0) for tokens in getattr(output, "pooler_output", output)])

    rng = np.random.default_rng(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        with torch.no_grad():
            width = features(shown[:1].tolist()).shape[1]
        head = torch.nn.Linear(width, int(labels.max()) + 1)
    weights = [*loaded.model.model.visual.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=LEARNING_RATE, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, STEPS)
    for _ in range(STEPS):
        numbers = rng.choice(shown, size=min(BATCH, len(shown)), replace=False)
        loss = torch.nn.functional.cross_entropy(head(features(numbers.tolist())), labels[numbers])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 0.5)
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        named = torch.cat([head(features(part.tolist())).argmax(1) for part in np.array_split(asked, 8) if len(part)])
    return (named == labels[asked]).numpy()
