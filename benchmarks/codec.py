"""The codec floor: decoding the files that samples come from, encoding the samples' pictures, and nothing else."""

import io
import itertools
import unittest.mock
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from data_builders import BuildOptions
from data_builders.encoding import encode
from data_builders.renderer import Renderer
from data_builders.sources.decoding import to_srgb
from ssl4rl_core import Sample, TaskConfig
from ssl4rl_core.sources import Source
from ssl4rl_core.tasks import Skip


@dataclass(frozen=True)
class Work:
    """What there is to decode and to encode for the samples of a config, in memory."""

    files: Sequence[bytes]
    """As often as a build decodes them: once an item, and once for each other item that a sample shows."""
    samples: Sequence[Sample]
    options: BuildOptions
    warped: Sequence[np.ndarray] = ()
    """For rotation by other angles than 90 degrees, the pictures of the samples as pixels of four bytes."""

    def do(self, *, pixels: bool = False) -> None:
        """Decode with the decoder, and encode with the encoder and settings, that a build uses.

        Args:
            pixels: also what no builder of the same pixels can leave out: colour profiles converted to sRGB, grey made
                RGB, and one OpenCV warp a picture where angles are no multiples of 90 degrees.
        """
        side = self.options.max_side
        for file in self.files:
            picture = Image.open(io.BytesIO(file))
            # As a build does: a JPEG at 1/2, 1/4 or 1/8 where that is enough, then bicubic with a box filter before it.
            picture.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=2)
            picture.load()
            if pixels:
                to_srgb(picture, picture.info.get("icc_profile"))
        if pixels and self.warped:
            self._warp()
        for sample in self.samples:
            for image in sample.images:
                encode(image, self.options.image_format, self.options.quality)

    def _warp(self) -> None:
        import cv2

        for pixels in self.warped:
            height, width = pixels.shape[:2]
            # Shrunk, so that it is read from within the picture alone, as the task does.
            turn = cv2.getRotationMatrix2D((width / 2, height / 2), 30, 0.7)
            cv2.warpAffine(pixels, turn, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def collect(source: Source, config: TaskConfig, options: BuildOptions) -> Work:
    """The work of a config: its samples are rendered once, and what Pillow opens for them is kept."""
    renderer, splitter, index = Renderer(source, options), options.splitter, source.index(config.task.kind)
    files: list[bytes] = []
    samples: list[Sample] = []
    open_picture = Image.open

    def recording(file: io.BytesIO, *arguments: Any, **settings: Any) -> Image.Image:
        files.append(file.getvalue())
        return open_picture(file, *arguments, **settings)

    with unittest.mock.patch("PIL.Image.open", recording):
        for entry in itertools.islice(index, options.limit or None):
            try:
                item = renderer.load(config.task.kind, entry)
            except Skip:
                continue
            samples += [each for each in renderer.samples(config, item, splitter(entry)) if isinstance(each, Sample)]
    turns = config.task.name == "rotation" and config.params.model_dump()["step"] != 90
    warped = [np.asarray(image.convert("RGBA")) for sample in samples for image in sample.images] if turns else []
    return Work(files, samples, options, warped)
