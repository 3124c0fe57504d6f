"""Position: the answer is the part that the crop was cut from, and the crop's size and shape do not tell it."""

import math
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageOps
from pydantic import ValidationError
from ssl4rl_task_position import PLACES, Position, PositionParams

from ssl4rl_core import Sample, Skip, Splitter, parse_config, registry, render
from ssl4rl_core.testing import conformance
from ssl4rl_core.testing.memory import MemorySource, synthetic_picture, synthetic_source

test_conformance = conformance(Position)

LEVELS = ["easy", "medium", "hard", "paper"]
ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "center", "right")


def samples(spec: str, count: int = 60, source: MemorySource | None = None) -> list[Sample]:
    source = source or synthetic_source()
    config, view = parse_config(f"position:{spec}", registry()), source.view("image", "train", Splitter(0))
    entries = source.index("image")
    places = [divmod(number, len(entries)) for number in range(count)]
    return [render(config, source.load("image", entries[place]), view, variant=variant) for variant, place in places]


def found_at(crop: np.ndarray, whole: np.ndarray) -> tuple[int, int]:
    """Row and column of the only place in `whole` that holds exactly `crop`."""
    height, width = crop.shape[:2]
    starts = np.argwhere((whole[: whole.shape[0] - height + 1, : whole.shape[1] - width + 1] == crop[0, 0]).all(-1))
    found = [(y, x) for y, x in starts if np.array_equal(whole[y : y + height, x : x + width], crop)]
    assert len(found) == 1
    return found[0]


def part_of(centre_y: float, centre_x: float, whole: np.ndarray, grid: int) -> str:
    rows, columns = (ROWS, COLUMNS) if grid == 3 else (ROWS[::2], COLUMNS[::2])
    return f"{rows[int(centre_y / whole.shape[0] * grid)]}-{columns[int(centre_x / whole.shape[1] * grid)]}"


@pytest.mark.parametrize(("spec", "grid"), [("easy", 2), ("paper", 2), ("medium", 3)])
def test_the_crop_lies_inside_the_part_that_the_answer_names(spec: str, grid: int):
    for sample in samples(spec, 60, synthetic_source(3, width=97, height=74)):
        whole, crop = map(np.asarray, sample.images)
        assert whole.shape[0] % grid == whole.shape[1] % grid == 0
        y, x = found_at(crop, whole)
        corners = {part_of(y, x, whole, grid), part_of(y + crop.shape[0] - 1, x + crop.shape[1] - 1, whole, grid)}
        assert corners == {sample.record.answer_text}


def test_an_augmented_crop_still_comes_from_the_part_that_the_answer_names():
    cv2 = pytest.importorskip("cv2", reason="finds recoloured crops with OpenCV: pip install opencv-python-headless")
    # Dark, so that brightening the crop cuts nothing off.
    source = MemorySource({str(seed): Image.fromarray(np.asarray(synthetic_picture(seed)) // 2) for seed in range(4)})
    mirrored = grey = 0
    for sample in samples("hard", 60, source):
        whole, crop = sample.images
        scores = []
        for number, shown in enumerate((crop, ImageOps.mirror(crop))):
            heat = cv2.matchTemplate(
                *(np.asarray(image.convert("L")) for image in (whole, shown)), cv2.TM_CCOEFF_NORMED
            )
            _, best, _, (x, y) = cv2.minMaxLoc(heat)
            scores.append((best, number, y + crop.height / 2, x + crop.width / 2))
        best, number, y, x = max(scores)
        assert best > 0.8
        assert part_of(y, x, np.asarray(whole), 3) == sample.record.answer_text
        mirrored += number
        red, green, blue = crop.split()
        grey += red.tobytes() == green.tobytes() == blue.tobytes()
    assert 15 < mirrored < 45
    assert 3 < grey < 25


@pytest.mark.parametrize(("spec", "low", "high"), [("easy", 0.5, 0.8), ("paper", 0.2, 0.8), ("medium", 0.2, 0.8)])
def test_the_crop_shows_the_share_of_its_part_that_was_asked_for(spec: str, low: float, high: float):
    shares, shapes = [], []
    for sample in samples(spec, 200, synthetic_source(2, width=606, height=402)):
        whole, crop = sample.images
        grid = 3 if spec == "medium" else 2
        width, height = crop.width / (whole.width / grid), crop.height / (whole.height / grid)
        shares.append(width * height)
        shapes.append(width / height)
    assert low - 0.01 <= min(shares) < low + 0.05 and high - 0.05 < max(shares) <= high + 0.01
    assert 0.45 < min(shapes) < 0.85 and 1.2 < max(shapes) < 2.2


@pytest.mark.parametrize("spec", LEVELS)
def test_the_size_of_the_crop_is_the_same_for_every_part_on_average(spec: str):
    rendered = samples(spec, 800, synthetic_source(1, width=60, height=48))
    sizes: dict[str, list[tuple[int, int]]] = {}
    for sample in rendered:
        sizes.setdefault(sample.record.answer_text, []).append(sample.images[1].size)
    everything = np.array([size for part in sizes.values() for size in part])
    assert set(sizes) == set(PLACES[Position.levels[spec].grid])
    for part in sizes.values():
        error = everything.std(0) / math.sqrt(len(part))
        assert np.all(np.abs(np.mean(part, 0) - everything.mean(0)) < 4 * error)


def test_every_part_is_equally_likely():
    counts = Counter(sample.record.answer_text for sample in samples("medium", 900))
    # Chi-square with 8 degrees of freedom is above 32 once in 10,000 draws.
    assert sum((counts[place] - 100) ** 2 / 100 for place in PLACES[3]) < 32


def test_levels():
    assert list(Position.levels) == LEVELS
    assert Position.levels["paper"] == PositionParams(grid=2, min_area=0.2, max_area=0.8, augment=False, min_side=28)
    assert Position.levels["easy"] != Position.levels["paper"]
    for level in LEVELS:
        (sample,) = samples(level, 1)
        assert f"{Position.levels[level].grid} rows" in sample.record.question
        assert sample.record.question.count("<image>") == len(sample.images) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"grid": 4},
        {"min_area": 0.1},
        {"max_area": 0.9},
        {"min_area": 0.7, "max_area": 0.3},
        {"augment": "some"},
        {"x": 1},
    ],
)
def test_params_that_cannot_be_are_refused(wrong: dict):
    with pytest.raises(ValidationError):
        PositionParams(**wrong)


@pytest.mark.parametrize("spec", LEVELS)
def test_of_a_page_with_margins_something_is_shown(spec: str):
    page = Image.new("RGB", (300, 300), "white")
    page.paste(synthetic_picture(0, 140, 140), (80, 80))
    crops = [sample.images[1] for sample in samples(spec, 80, MemorySource({"a": page}))]
    assert all(crop.getcolors(maxcolors=1) is None for crop in crops)


def with_a_white_corner() -> Image.Image:
    picture = synthetic_picture(0)
    picture.paste((255, 255, 255), (0, 0, 80, 60))
    return picture


@pytest.mark.parametrize(
    ("spec", "picture", "reason"),
    [
        ("easy", Image.new("RGB", (64, 64), (9, 9, 9)), "a part of one colour"),
        ("easy", with_a_white_corner(), "a part of one colour"),
        ("medium?min_side=1", synthetic_picture(0, 200, 23), "parts too small"),
        ("easy", synthetic_picture(0, 27, 200), "picture smaller than min_side"),
    ],
)
def test_pictures_that_cannot_be_asked_about_are_skipped(spec: str, picture: Image.Image, reason: str):
    # In every variant: a reason that depended on the answer would make some answers rarer.
    source, skipped = MemorySource({"a": picture}), 0
    config, view = parse_config(f"position:{spec}", registry()), source.view("image", "train", Splitter(0))
    for variant in range(8):
        with pytest.raises(Skip, match=reason):
            render(config, source.load("image", source.index("image")[0]), view, variant=variant)
        skipped += 1
    assert skipped == 8


def test_small_faces_are_large_enough():
    for level in LEVELS:
        for sample in samples(f"{level}?min_side=24", 20, synthetic_source(1, width=25, height=25)):
            assert min(sample.images[1].size) >= 2
