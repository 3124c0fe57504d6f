"""What the tests of training share: toy tasks, pictures to ask about, and models of a few thousand weights."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl4rl_core import register, registry
from tests.training_toys import TEXTS, Few, Pair, Shade, Word


@pytest.fixture(scope="session")
def toy_tasks() -> None:
    """The toy tasks, registered."""
    for task in (Shade, Pair, Word, Few):
        if task.name not in registry().tasks:
            register(task)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 16 pictures of 28 x 28 pixels."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(16):
        pixels = rng.integers(60, 255, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((28, 28)).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that sees pictures."""
    from ssl4rl_core.testing.tiny import tiny_vlm

    return tiny_vlm(tmp_path_factory.mktemp("vlm"), TEXTS, pixels=28, hidden=32, layers=1)


@pytest.fixture(scope="session")
def lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of text alone."""
    from ssl4rl_core.testing.tiny import tiny_lm

    return tiny_lm(tmp_path_factory.mktemp("lm"), TEXTS, hidden=32, layers=1)
