"""Picture files made clean: an upright 8-bit sRGB picture, whatever the bytes held, or a reason to skip them."""

import functools
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import numpy as np
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from ssl4rl_core.tasks import Skip

EXTENSIONS = (
    ".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".mpo", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff",
    ".webp",
)  # fmt: skip
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
"""Pillow also knows formats whose reader starts another program (EPS runs Ghostscript): those are never tried."""
MAX_PIXELS = 178_956_970
"""Pictures of more pixels are refused from their header alone; it is where Pillow too refuses by default."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF 2.3, tag 0x0112, to what makes the picture upright."""
_MODE_OF_PROFILE = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_DRAFT_GAP = 2
"""A JPEG is decoded at 1/2, 1/4 or 1/8 while that leaves this many times the pixels wanted a side. At 2, 85 photographs
brought to 64..448 pixels are within 43 dB PSNR or better of a full decode; at 1 some fall to 29 dB."""


def decode(data: bytes, *, max_side: int | None = None) -> Image.Image:
    """The picture in `data`: mode RGB, sRGB, upright, without metadata; the first frame of an animation.

    Transparency is laid on white, 16 bits are scaled to 8, CMYK is converted. The longer side is brought to `max_side`
    pixels where it is longer.

    Raises:
        Skip: "empty file", "not a picture", "truncated picture", "broken picture", "picture too large" or
            "pixel format not supported".
    """
    if not data:
        raise Skip("empty file")
    with _QUIET, _skipping(), Image.open(BytesIO(data), formats=FORMATS) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise Skip("picture too large")
        size, box = _fitted(picture.size, max_side), None
        if size != picture.size and (draft := picture.draft(None, (size[0] * _DRAFT_GAP, size[1] * _DRAFT_GAP))):
            box = draft[1]
        picture.load()
        profile, turn = picture.info.get("icc_profile"), _TURNS.get(_orientation(picture))
        image = _opaque(picture)
        if size != image.size:
            image = image.resize(size, Image.Resampling.BICUBIC, box=box, reducing_gap=2)
        image = to_srgb(image, profile)
        if turn is not None:
            image = image.transpose(turn)
        if image is picture:
            # A plain picture of the same pixels, which keeps nothing of the file; Pillow's public ways copy them.
            image = picture._new(picture.im)
        image.info.clear()
        return image


def fit(image: Image.Image, max_side: int | None) -> Image.Image:
    """The picture with its longer side brought to `max_side` pixels where it is longer; else the picture itself."""
    size = _fitted(image.size, max_side)
    return image if size == image.size else image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2)


def _fitted(size: tuple[int, int], max_side: int | None) -> tuple[int, int]:
    if max_side is None or max(size) <= max_side:
        return size
    scale = max_side / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _orientation(picture: Image.Image) -> int:
    try:
        return picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # EXIF is a foreign TIFF directory: broken ones raise nearly anything, and the pixels are fine.
        return 1


def _opaque(picture: Image.Image) -> Image.Image:
    """The loaded picture in mode L, RGB or CMYK, without transparency; itself where it is so already."""
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return _eight_bits(picture)
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        canvas = Image.new("RGB", picture.size, "white")
        canvas.paste(layer, mask=layer)
        return canvas
    if picture.mode in ("L", "RGB", "CMYK"):
        return picture
    try:
        return picture.convert("L" if picture.mode == "1" else "RGB")
    except ValueError as error:
        raise Skip("pixel format not supported") from error


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Grey of 16 bits, or of floats between 0 and 1, scaled to 8 bits; other ranges say not what white is."""
    pixels = np.asarray(picture)
    white = 1.0 if picture.mode == "F" else 65535.0
    # Written so that NaN fails too.
    if not (pixels.min() >= 0 and pixels.max() <= white):
        raise Skip("pixel format not supported")
    return Image.fromarray(np.rint(pixels * np.float32(255 / white)).astype(np.uint8))


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """An L, RGB or CMYK picture as RGB in sRGB: an RGB picture itself, its pixels changed where they have to be."""
    transform = _transform(profile, image.mode) if profile else None
    if transform is None and profile and image.mode == "L":
        # Grey in a file whose profile is for colour, as editors write it.
        image = image.convert("RGB")
        transform = _transform(profile, "RGB")
    if transform is not None:
        return transform.apply(image, image if image.mode == "RGB" else None)
    return image if image.mode == "RGB" else image.convert("RGB")


@functools.lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> "ImageCms.ImageCmsTransform | None":
    """From `mode` in this profile to sRGB; None where the profile is broken, is for another mode, or is sRGB itself."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        space: str = source.profile.xcolor_space  # pyright: ignore[reportAttributeAccessIssue] (a C type)
        if _MODE_OF_PROFILE.get(space.strip()) != mode:
            return None
        # A photograph rarely repeats the colour of the pixel before, which the cache is for: an eighth faster without.
        transform = ImageCms.buildTransform(
            source, ImageCms.createProfile("sRGB"), mode, "RGB", flags=ImageCms.Flags.NOCACHE
        )
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None
    return None if mode == "RGB" and _changes_nothing(transform) else transform


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether no colour of a 9 x 9 x 9 grid moves by more than 2 levels: most profiles are sRGB under some name."""
    levels = np.linspace(0, 255, 9).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(27, 27, 3)
    moved = np.asarray(transform.apply(Image.fromarray(grid)), dtype=int)
    return int(np.abs(moved - grid).max()) <= 2


@contextmanager
def _skipping() -> Iterator[None]:
    """What Pillow raises, as a reason to skip that names nothing of the item."""
    try:
        yield
    except Skip:
        raise
    except UnidentifiedImageError as error:
        raise Skip("not a picture") from error
    except (Image.DecompressionBombError, MemoryError) as error:
        raise Skip("picture too large") from error
    except Exception as error:  # Decoders fed with foreign bytes raise nearly anything.
        raise Skip("truncated picture" if "truncated" in str(error).lower() else "broken picture") from error


class _Quiet:
    """No warnings while any thread is inside: Pillow warns of odd files, and what matters of it is a Skip.

    `warnings.catch_warnings` alone would leave its filter behind when two threads leave in the order they came.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._caught = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._caught.__exit__(None, None, None)


_QUIET = _Quiet()
