"""Rotation: the answer is how far the picture was turned, and nothing but the picture tells it."""

import math

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from ssl4rl_task_rotation import Rotation, RotationParams

from ssl4rl_core import Sample, Skip, Splitter, parse_config, registry, render
from ssl4rl_core.testing import conformance
from ssl4rl_core.testing.guessing import constant_guess, uniform_guess
from ssl4rl_core.testing.memory import MemorySource, synthetic_picture, synthetic_source

test_conformance = conformance(Rotation)

BEYOND_LEVELS = ["medium?step=30", "medium?step=45&reference=false", "easy?partial=true"]
ALL = ["easy", "medium", "hard", "paper", *BEYOND_LEVELS]


def samples(spec: str, count: int = 60, source: MemorySource | None = None) -> list[Sample]:
    source = source or synthetic_source()
    config, view = parse_config(f"rotation:{spec}", registry()), source.view("image", "train", Splitter(0))
    entries = source.index("image")
    places = [divmod(number, len(entries)) for number in range(count)]
    return [render(config, source.load("image", entries[place]), view, variant=variant) for variant, place in places]


def degrees(sample: Sample) -> int:
    return int(sample.record.answer_text)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(float)


def test_quarter_turns_are_counter_clockwise_and_exact():
    seen = set()
    for sample in samples("paper"):
        first, turned = map(np.asarray, sample.images)
        assert np.array_equal(turned, np.rot90(first, degrees(sample) // 90))
        seen.add(degrees(sample))
    assert seen == {0, 90, 180, 270}


def test_a_single_picture_is_the_turned_one():
    source = synthetic_source(1, width=90, height=64)
    square = np.asarray(synthetic_picture(0, 90, 64))[:, 13:77]
    for sample in samples("easy", 20, source):
        (turned,) = map(np.asarray, sample.images)
        assert np.array_equal(turned, np.rot90(square, degrees(sample) // 90))


@pytest.mark.parametrize("spec", ["medium", "hard", "medium?step=30"])
def test_finer_turns_are_counter_clockwise(spec: str):
    # A red spot to the right of the centre stands, after d degrees, in the direction d on a clock run backwards.
    picture = Image.new("RGB", (201, 161), (90, 120, 150))
    picture.paste((255, 0, 0), (130, 76, 140, 85))
    for sample in samples(spec, 80, MemorySource({"spot": picture})):
        turned = pixels(sample.images[-1])
        y, x = np.nonzero(turned[..., 0] - turned[..., 1] > 100)
        middle = (turned.shape[0] - 1) / 2
        direction = math.degrees(math.atan2(middle - y.mean(), x.mean() - middle))
        assert abs((direction - degrees(sample) + 180) % 360 - 180) < 2


@pytest.mark.parametrize("spec", ["medium", "hard"])
def test_turning_back_by_the_answer_and_by_no_other_angle_gives_the_first_picture(spec: str):
    for sample in samples(spec, 16):
        first, turned = sample.images
        side = first.width // 4
        middle = (side, side, 3 * side, 3 * side)
        step = Rotation.levels[spec].step
        apart = {
            angle: np.abs(
                pixels(turned.rotate(-angle, Image.Resampling.BILINEAR).crop(middle)) - pixels(first.crop(middle))
            ).mean()
            for angle in range(0, 360, step)
        }
        assert min(apart, key=lambda angle: apart[angle]) == degrees(sample)


@pytest.mark.parametrize("spec", ALL)
def test_sizes_are_the_same_for_every_angle_and_nothing_is_filled_in(spec: str):
    source = synthetic_source(1, width=131, height=97)
    rendered = samples(spec, 80, source)
    assert len({degrees(sample) for sample in rendered}) > 3
    (sizes,) = {tuple(image.size for image in sample.images) for sample in rendered}
    assert len(set(sizes)) == 1 and sizes[0][0] == sizes[0][1]
    # Synthetic pictures hold nothing below 60, so a filled corner would be darker.
    assert min(np.asarray(image).min() for sample in rendered for image in sample.images) >= 60


def test_finer_turns_keep_the_largest_square_that_is_inside_at_every_angle():
    (sample,) = samples("medium", 1, synthetic_source(1, width=400, height=300))
    assert 300 / math.sqrt(2) - 3 <= sample.images[0].width <= 300 / math.sqrt(2)


def test_no_angle_is_an_exact_copy_where_turns_are_fine():
    unturned = [sample for sample in samples("medium", 120) if degrees(sample) == 0]
    assert unturned
    for sample in unturned:
        first, turned = map(pixels, sample.images)
        assert 0 < np.abs(first - turned).mean() < 12


def test_levels():
    assert list(Rotation.levels) == ["easy", "medium", "hard", "paper"]
    assert Rotation.levels["paper"] == RotationParams(step=90, reference=True, partial=False, min_side=28)
    assert Rotation.levels["easy"] != Rotation.levels["paper"]
    for level in Rotation.levels:
        (sample,) = samples(level, 1)
        assert f"multiple of {Rotation.levels[level].step} degrees" in sample.record.question


@pytest.mark.parametrize("spec", BEYOND_LEVELS)
def test_chance_is_what_guessers_reach(spec: str):
    rendered = samples(spec, 400, synthetic_source(8, width=40, height=36))
    chance = rendered[0].record.chance
    margin = 4 * math.sqrt(chance * (1 - chance) / 400)
    assert abs(constant_guess(rendered) - chance) < margin
    assert abs(uniform_guess(rendered) - chance) < margin


@pytest.mark.parametrize(
    "wrong", [{"step": 60}, {"step": "ninety"}, {"reference": "perhaps"}, {"min_side": 0}, {"angle": 90}]
)
def test_params_that_cannot_be_are_refused(wrong: dict):
    with pytest.raises(ValidationError):
        RotationParams(**wrong)


def chessboard(corner: int = 0) -> Image.Image:
    fields = np.indices((8, 8)).sum(axis=0) % 2 * 255
    fields[0, 0] = corner
    return Image.fromarray(fields.astype(np.uint8)).resize((64, 64), Image.Resampling.NEAREST).convert("RGB")


def test_one_field_more_tells_how_a_chessboard_stands():
    first, turned = samples("paper", 1, MemorySource({"a": chessboard(corner=128)}))[0].images
    assert first.size == turned.size == (64, 64)


@pytest.mark.parametrize(
    ("spec", "picture", "reason"),
    [
        ("easy", Image.new("RGB", (64, 64), (9, 9, 9)), "picture of one colour"),
        ("paper", chessboard(), "picture that a half turn does not change"),
        ("hard", chessboard(), "picture that a half turn does not change"),
        ("medium?min_side=1", synthetic_picture(0, 10, 12), "picture too small to turn"),
        ("easy", synthetic_picture(0, 27, 200), "picture smaller than min_side"),
    ],
)
def test_pictures_that_cannot_be_asked_about_are_skipped(spec: str, picture: Image.Image, reason: str):
    with pytest.raises(Skip, match=reason):
        samples(spec, 1, MemorySource({"a": picture}))


def test_small_faces_are_large_enough():
    for spec in ("easy?min_side=24", "hard?min_side=24"):
        assert samples(spec, 4, synthetic_source(1, width=25, height=25))[0].images[0].width >= 16
