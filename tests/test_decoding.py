"""Odd picture files come out right or are skipped with a reason; nothing else leaks."""

import struct
import threading
import tracemalloc
import warnings
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from data_builders.sources.decoding import decode
from ssl4rl_core import Skip

RED, BLUE = (200, 30, 20), (10, 40, 220)


def encoded(image: Image.Image, format: str, **options) -> bytes:
    file = BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def halves(width: int = 64, height: int = 32) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(BLUE, (width // 2, 0, width, height))
    return image


def photograph(side: int = 512) -> Image.Image:
    """Smooth waves with some detail, as a photograph has."""
    y, x = np.mgrid[0:side, 0:side] / side
    waves = [np.sin(9 * x + 5 * y), np.cos(23 * y * x), np.sin(40 * x) * np.cos(31 * y)]
    return Image.fromarray(np.stack([127 + 120 * wave for wave in waves], axis=-1).astype(np.uint8))


def png_header(width: int, height: int) -> bytes:
    """A PNG that declares its size and holds next to nothing."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def near(image: Image.Image, place: tuple[int, int], colour: tuple[int, int, int], tolerance: int = 6) -> bool:
    assert image.mode == "RGB"
    pixel = image.getpixel(place)
    assert isinstance(pixel, tuple)
    return all(abs(got - wanted) <= tolerance for got, wanted in zip(pixel, colour, strict=True))


def test_a_plain_picture_is_what_pillow_decodes():
    data = encoded(photograph(), "JPEG", quality=90)
    image = decode(data)
    assert type(image) is Image.Image
    assert image.tobytes() == Image.open(BytesIO(data)).convert("RGB").tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "TIFF", "PNG", "WEBP"])
def test_exif_orientation_is_applied_and_dropped(format, orientation):
    # Where the stored picture's upper left corner belongs once upright, after EXIF 2.3 table 6.
    corner = {1: (0, 0), 2: (1, 0), 3: (1, 1), 4: (0, 1), 5: (0, 0), 6: (1, 0), 7: (1, 1), 8: (0, 1)}[orientation]
    stored = Image.new("RGB", (64, 32), BLUE)
    stored.paste(RED, (0, 0, 32, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = "taken at home"
    image = decode(encoded(stored, format, exif=exif, **({"lossless": True} if format == "WEBP" else {})))
    assert image.size == ((64, 32) if orientation < 5 else (32, 64))
    place = (corner[0] * (image.width - 1), corner[1] * (image.height - 1))
    assert near(image, place, RED)
    assert not image.info
    assert not image.getexif()
    assert b"taken at home" not in encoded(image, "PNG") + encoded(image, "JPEG")


def test_broken_exif_leaves_the_picture_usable():
    assert near(
        decode(encoded(halves(), "JPEG", exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff", quality=95)), (4, 4), RED, 12
    )


def test_cmyk_and_inverted_adobe_cmyk_come_out_in_their_colours():
    cmyk = halves().convert("CMYK")
    assert near(decode(encoded(cmyk, "TIFF")), (4, 4), RED)
    # Pillow writes JPEG CMYK as Adobe does: inverted, with an Adobe marker.
    data = encoded(cmyk, "JPEG", quality=95)
    assert b"Adobe" in data
    image = decode(data)
    assert near(image, (4, 4), RED, 12)
    assert near(image, (60, 4), BLUE, 12)


def test_sixteen_bits_are_scaled_not_clipped():
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(1, 256).repeat(4, axis=0)
    for format in ("PNG", "TIFF"):
        image = decode(encoded(Image.fromarray(ramp), format))
        levels = np.asarray(image)[0, :, 0].astype(int)
        assert np.abs(levels - np.arange(256)).max() <= 1


def test_floats_between_0_and_1_are_scaled_and_others_skipped():
    ramp = np.linspace(0, 1, 256, dtype=np.float32).reshape(1, 256)
    assert np.abs(np.asarray(decode(encoded(Image.fromarray(ramp), "TIFF")))[0, :, 0] - np.arange(256.0)).max() <= 1
    for other in (ramp * 300, ramp - 0.5, ramp * np.nan):
        with pytest.raises(Skip, match="pixel format not supported"):
            decode(encoded(Image.fromarray(other), "TIFF"))


def test_transparency_is_laid_on_white():
    clear = halves().convert("RGBA")
    clear.paste((0, 0, 0, 0), (0, 0, 32, 32))
    clear.paste((0, 0, 0, 128), (32, 0, 48, 32))
    image = decode(encoded(clear, "PNG"))
    assert near(image, (4, 4), (255, 255, 255))
    assert near(image, (40, 4), (127, 127, 127))
    assert near(image, (60, 4), BLUE)
    palette = halves().quantize(4)
    index = palette.getpixel((4, 4))
    for format in ("PNG", "GIF"):
        image = decode(encoded(palette, format, transparency=index))
        assert near(image, (4, 4), (255, 255, 255))
        assert near(image, (60, 4), BLUE)
    per_colour = decode(encoded(palette, "PNG", transparency=bytes(0 if each == index else 255 for each in range(4))))
    assert near(per_colour, (4, 4), (255, 255, 255))
    assert near(per_colour, (60, 4), BLUE)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P"])
def test_other_modes_become_rgb(mode):
    image = decode(encoded(Image.new("L", (8, 8), 255).convert(mode), "PNG"))
    assert near(image, (4, 4), (255, 255, 255))


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_an_animation_gives_its_first_frame(format):
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, BLUE, (0, 0, 0))]
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:])
    assert near(decode(data), (8, 8), RED)


def test_a_profile_is_applied_and_dropped():
    # Red and blue exchanged: any colour tells whether the profile was used, and which way.
    profile = swapped_profile()
    for mode in ("RGB", "RGBA"):
        image = decode(encoded(halves().convert(mode), "PNG", icc_profile=profile))
        assert near(image, (4, 4), (RED[2], RED[1], RED[0]), 8)
        assert "icc_profile" not in image.info
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert decode(encoded(halves(), "PNG", icc_profile=srgb)).tobytes() == halves().tobytes()
    for useless in (b"no profile", srgb[:200]):
        assert near(decode(encoded(halves(), "PNG", icc_profile=useless)), (4, 4), RED)
    grey = Image.new("L", (8, 8), 128)
    assert near(decode(encoded(grey, "PNG", icc_profile=srgb)), (4, 4), (128, 128, 128))


def swapped_profile() -> bytes:
    """sRGB with the primaries of red and blue exchanged in its table of tags."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    data = data.replace(b"rXYZ", b"tmp ").replace(b"bXYZ", b"rXYZ").replace(b"tmp ", b"bXYZ")
    return bytes(data)


def test_one_pixel_and_one_line():
    assert decode(encoded(Image.new("RGB", (1, 1), RED), "PNG")).getpixel((0, 0)) == RED
    assert decode(encoded(Image.new("RGB", (3000, 1), RED), "PNG"), max_side=100).size == (100, 1)


def test_max_side_bounds_the_longer_side_and_never_enlarges():
    for size in ((640, 427), (427, 640), (1001, 333)):
        data = encoded(photograph(1024).crop((0, 0, *size)), "JPEG")
        image = decode(data, max_side=100)
        assert max(image.size) == 100
        assert abs(min(image.size) - 100 * min(size) / max(size)) <= 0.5
        assert decode(data, max_side=5000).size == size


def test_reduced_decoding_keeps_the_quality():
    data = encoded(photograph(1200), "JPEG", quality=95)
    for side in (64, 224, 300):
        full = Image.open(BytesIO(data)).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
        error = np.asarray(decode(data, max_side=side), dtype=float) - np.asarray(full, dtype=float)
        assert np.sqrt((error**2).mean()) < 2


def test_reduced_decoding_needs_less_memory(monkeypatch):
    drafts = []
    original = Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize", lambda self, *a, **k: drafts.append(self.size) or original(self, *a, **k)
    )
    decode(encoded(photograph(2000), "JPEG"), max_side=200)
    assert drafts == [(500, 500)]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"just some text\n" * 100, "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n", "not a picture"),
        (encoded(photograph(), "JPEG")[:5000], "truncated picture"),
        (encoded(photograph(), "PNG")[:5000], "truncated picture"),
        (png_header(64, 64), "truncated picture"),
        (png_header(30_000, 30_000), "picture too large"),
        (png_header(15_000, 15_000), "picture too large"),
        (png_header(0, 10), "not a picture"),
    ],
    ids=["empty", "text", "postscript", "jpeg-cut", "png-cut", "png-empty", "bomb", "small-bomb", "no-width"],
)
def test_what_cannot_be_used_is_skipped_by_reason(data, reason):
    with pytest.raises(Skip, match=f"^{reason}$"):
        decode(data)


def test_a_header_bomb_allocates_nothing():
    tracemalloc.start()
    try:
        with pytest.raises(Skip):
            decode(png_header(30_000, 30_000), max_side=100)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_any_damage_gives_a_picture_or_a_skip(capfd):
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    small = photograph(40)
    originals = [encoded(small, format, exif=exif) for format in ("JPEG", "PNG", "WEBP", "TIFF")]
    originals += [encoded(small, "GIF"), encoded(small, "BMP"), encoded(small, "TIFF", compression="tiff_lzw")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for original in originals:
            for _ in range(60):
                data = bytearray(original)
                for place in rng.integers(0, min(len(data), 600), size=4):
                    data[place] = rng.integers(256)
                try:
                    assert decode(bytes(data), max_side=32).mode == "RGB"
                except Skip as skip:
                    assert len(str(skip)) < 40
    # libtiff, a C library, writes of damaged compressed files by itself; nothing else may.
    lines = "".join(capfd.readouterr()).splitlines()
    assert [line for line in lines if not line.startswith(("tempfile.tif", "LZWDecode"))] == []


def test_threads_agree_and_leave_the_warning_filters_as_they_were():
    files = [encoded(photograph(200 + 10 * each), "JPEG", icc_profile=swapped_profile()) for each in range(6)]
    wanted = [decode(data).tobytes() for data in files]
    filters, limit = list(warnings.filters), Image.MAX_IMAGE_PIXELS
    wrong = []

    def work(offset: int) -> None:
        for step in range(24):
            which = (offset + step) % len(files)
            if decode(files[which]).tobytes() != wanted[which]:
                wrong.append(which)

    threads = [threading.Thread(target=work, args=(each,)) for each in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert list(warnings.filters) == filters
    assert limit == Image.MAX_IMAGE_PIXELS


def test_real_photographs_are_read_as_pillow_reads_them():
    folder = Path(__file__).parents[2] / "shared/data/images"
    if not folder.is_dir():
        pytest.skip("../shared/data/images is absent")
    for path in sorted(folder.iterdir())[:20]:
        image = decode(path.read_bytes())
        with Image.open(path) as original:
            assert image.size == original.size
            if "icc_profile" not in original.info:
                assert image.tobytes() == original.convert("RGB").tobytes()
