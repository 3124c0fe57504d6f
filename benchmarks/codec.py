"""The codec floor: decoding the files that samples come from, encoding the samples' pictures, and nothing else."""

import io
import unittest.mock
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from data_builders import BuildOptions
from data_builders.encoding import encode
from data_builders.renderer import Renderer
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

    def do(self) -> None:
        """Decode with the decoder, and encode with the encoder and settings, that a build uses."""
        side = self.options.max_side
        for file in self.files:
            picture = Image.open(io.BytesIO(file))
            # As a build does: a JPEG at 1/2, 1/4 or 1/8 where that is enough, then bicubic with a box filter before it.
            picture.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=2)
            picture.load()
        for sample in self.samples:
            for image in sample.images:
                encode(image, self.options.image_format, self.options.quality)


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
        for position in range(min(len(index), options.limit or len(index))):
            entry = index[position]
            try:
                item = renderer.load(config.task.kind, entry)
            except Skip:
                continue
            samples += [each for each in renderer.samples(config, item, splitter(entry)) if isinstance(each, Sample)]
    return Work(files, samples, options)
