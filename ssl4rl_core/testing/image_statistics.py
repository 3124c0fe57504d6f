"""Low-level statistics of a sample's pictures: what encoding, cropping and resampling leave behind.

A probe on them only warns: some of them are content (a sky is brighter than what lies under it), and a model never sees
the bytes. A transformation whose traces give its answer away still shows here.
"""

import io
from typing import TYPE_CHECKING

import numpy as np

from ssl4rl_core.samples import Sample

if TYPE_CHECKING:
    from PIL.Image import Image

GRID = 8
"""JPEG codes blocks of 8 x 8 pixels."""
MAX_PICTURES = 4
TRACES = ("bytes", "grid", "borders", "colour", "sharpness")
"""The statistics by what they are of; each feature's name begins with one of these and a colon."""


def image_statistics(sample: Sample) -> dict[str, float]:
    """Statistics of the first `MAX_PICTURES` pictures, and of the later ones their difference from the first's."""
    measured = [_measured(image) for image in sample.images[:MAX_PICTURES]]
    features = {}
    for number, statistics in enumerate(measured):
        for name, value in statistics.items():
            features[f"{name} of {number}"] = value
            if number:
                features[f"{name} of {number} to first"] = value - measured[0][name]
    return features


def _measured(image: "Image") -> dict[str, float]:
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    grey = pixels.mean(axis=2)
    found = {"bytes: a pixel": _jpeg_bytes(image) / grey.size}
    for name, channel in zip("rgb", np.moveaxis(pixels, 2, 0), strict=True):
        found |= {f"colour: mean {name}": float(channel.mean()), f"colour: spread {name}": float(channel.std())}
    found |= _borders(grey)
    # Where a picture is too small to have differences of differences, it has none.
    grey = np.pad(grey, [(0, max(0, 3 - side)) for side in grey.shape], mode="edge")
    across, down = np.abs(np.diff(grey, axis=1)), np.abs(np.diff(grey, axis=0))
    found |= {f"grid: column {phase}": value for phase, value in enumerate(_by_phase(across.mean(axis=0)))}
    found |= {f"grid: row {phase}": value for phase, value in enumerate(_by_phase(down.mean(axis=1)))}
    return found | _sharpness(grey, float(across.mean()), float(down.mean()))


def _jpeg_bytes(image: "Image") -> int:
    encoded = io.BytesIO()
    image.convert("RGB").save(encoded, "JPEG", quality=90)
    return encoded.tell()


def _borders(grey: np.ndarray) -> dict[str, float]:
    """Of the outermost line of each side: its step to the line inside, its spread, and how much of it is black."""
    found = {}
    turned = {"left": grey.T, "top": grey, "right": grey.T[::-1], "bottom": grey[::-1]}
    for side, lines in turned.items():
        found[f"borders: step {side}"] = float(np.abs(lines[0] - lines[min(1, len(lines) - 1)]).mean())
        found[f"borders: spread {side}"] = float(lines[0].std())
        found[f"borders: black {side}"] = float((lines[0] < 4).mean())
    return found


def _by_phase(profile: np.ndarray) -> list[float]:
    """The mean difference at each place in a block, relative to that at all."""
    phases = [profile[phase::GRID] for phase in range(GRID)]
    overall = max(float(profile.mean()), 1e-6) if len(profile) else 1.0
    return [float(values.mean()) / overall if len(values) else 1.0 for values in phases]


def _sharpness(grey: np.ndarray, across: float, down: float) -> dict[str, float]:
    """How fast grey changes, in each direction and from one pixel to the next but one."""
    falling, rising = (
        float(np.abs(step).mean()) for step in (grey[1:, 1:] - grey[:-1, :-1], grey[1:, :-1] - grey[:-1, 1:])
    )
    second = [float(np.abs(np.diff(grey, n=2, axis=axis)).mean()) for axis in (0, 1)]
    straight = max(across + down, 1e-6)
    return {
        "sharpness: across": across,
        "sharpness: down": down,
        "sharpness: across to down": across / straight,
        "sharpness: falling to rising": falling / max(falling + rising, 1e-6),
        "sharpness: diagonal": (falling + rising) / straight,
        "sharpness: second": sum(second) / straight,
        "sharpness: second across": second[1] / max(across, 1e-6),
        "sharpness: second down": second[0] / max(down, 1e-6),
    }
