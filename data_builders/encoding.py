"""Pictures as files: how they are encoded, and whether this machine's libraries still encode them the same."""

import hashlib
import io
from typing import TYPE_CHECKING, Any, Literal

from ssl4rl_core.tasks import Skip

if TYPE_CHECKING:
    from PIL.Image import Image

# Pillow is the codec, here and for decoding: OpenCV, on the same libjpeg-turbo, takes 9 % less to decode a photograph
# (1.19 against 1.30 ms, 500 x 375 pixels) and 7 % less to encode it (0.63 against 0.68 ms), which would not pay for a
# second reader of foreign bytes that neither limits formats nor knows colour profiles.
ImageFormat = Literal["jpeg", "png", "webp"]
EXTENSIONS: dict[ImageFormat, str] = {"jpeg": "jpg", "png": "png", "webp": "webp"}
# The largest side that the file format can hold, pixels.
_LARGEST_SIDE = {"jpeg": 65500, "png": 2**31 - 1, "webp": 16383}
# Pillow would copy these from `image.info` unless told otherwise; what is published carries no metadata.
_NO_METADATA: dict[ImageFormat, dict[str, Any]] = {
    "jpeg": {"comment": b""},
    "png": {"icc_profile": None, "transparency": None},
    "webp": {"icc_profile": b"", "exif": b"", "xmp": b""},
}


def encode(image: "Image", image_format: ImageFormat, quality: int) -> bytes:
    """An RGB picture as the bytes of a file, without metadata. `quality` (1 to 100) does not apply to png.

    Raises:
        Skip: the picture is larger than the format can hold.
    """
    if max(image.size) > _LARGEST_SIDE[image_format]:
        raise Skip(f"picture too large for {image_format}")
    # Level 1 takes a quarter of the time of Pillow's default and a tenth more bytes (photographs).
    settings: dict[str, Any] = {"compress_level": 1} if image_format == "png" else {"quality": quality}
    file = io.BytesIO()
    image.save(file, image_format, **settings, **_NO_METADATA[image_format])
    return file.getvalue()


def canary(image_format: ImageFormat, quality: int) -> str:
    """A digest of a fixed picture after decoding, scaling and encoding: another one where the libraries differ."""
    import numpy as np
    from PIL import Image

    from data_builders.layout import side_by_side

    rows, columns = np.mgrid[0:96, 0:128]
    pixels = np.stack([rows * 2, columns * 2 - rows // 2, (rows * columns) % 251], axis=-1).astype(np.uint8)
    jpeg = io.BytesIO(encode(Image.fromarray(pixels), "jpeg", quality))
    with Image.open(jpeg) as decoded:
        decoded.draft("RGB", (64, 48))
        scaled = decoded.resize((50, 40), Image.Resampling.LANCZOS)
    return hashlib.sha256(encode(side_by_side([scaled, scaled]), image_format, quality)).hexdigest()[:16]
