"""Jigsaw: the answer puts the picture together again, and no tile keeps a mark of its place."""

import math
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from ssl4rl_task_jigsaw import GAP_COLOUR, Jigsaw, JigsawParams

from ssl4rl_core import Permutation, Sample, Skip, Splitter, parse_config, registry, render
from ssl4rl_core.answers import load_answer
from ssl4rl_core.testing import conformance
from ssl4rl_core.testing.guessing import constant_guess, uniform_guess
from ssl4rl_core.testing.memory import MemorySource, synthetic_picture, synthetic_source

test_conformance = conformance(Jigsaw)

BEYOND_LEVELS = ["paper?form=tiles", "medium?form=tiles", "easy?rows=3&columns=2&discount=1"]
ALL = ["easy", "medium", "hard", "paper", *BEYOND_LEVELS]


def samples(spec: str, count: int = 40, source: MemorySource | None = None) -> list[Sample]:
    source = source or synthetic_source()
    config, view = parse_config(f"jigsaw:{spec}", registry()), source.view("image", "train", Splitter(0))
    entries = source.index("image")
    places = [divmod(number, len(entries)) for number in range(count)]
    return [render(config, source.load("image", entries[place]), view, variant=variant) for variant, place in places]


def order(sample: Sample) -> tuple[int, ...]:
    answer = load_answer(sample.record.answer)
    assert isinstance(answer, Permutation)
    return answer.order


def shown_tiles(sample: Sample, rows: int, columns: int, gap: int = 0) -> list[np.ndarray]:
    """The tiles as they are numbered: pictures in turn, or parts of the composite in reading order."""
    first, *others = sample.images
    if others:
        return [np.asarray(image) for image in sample.images]
    whole = np.asarray(first)
    height, width = (whole.shape[0] + gap) // rows, (whole.shape[1] + gap) // columns
    return [
        whole[row * height : row * height + height - gap, column * width : column * width + width - gap]
        for row in range(rows)
        for column in range(columns)
    ]


@pytest.mark.parametrize(
    ("spec", "rows", "columns"),
    [
        ("paper", 2, 2),
        ("paper?rows=3&columns=4", 3, 4),
        ("paper?rows=6&columns=6", 6, 6),
        ("paper?form=tiles&rows=3", 3, 2),
    ],
)
def test_the_answer_puts_the_picture_together_again(spec: str, rows: int, columns: int):
    picture = synthetic_picture(3, 24 * columns, 20 * rows)
    for sample in samples(spec, 12, MemorySource({"a": picture})):
        tiles = shown_tiles(sample, rows, columns)
        placed = [tiles[number - 1] for number in order(sample)]
        rebuilt = np.vstack([np.hstack(placed[row * columns : (row + 1) * columns]) for row in range(rows)])
        assert np.array_equal(rebuilt, np.asarray(picture))


def test_tiles_are_equal_where_the_picture_does_not_divide():
    picture = synthetic_picture(4, 100, 83)
    (sample,) = samples("medium?form=tiles&inset=0", 1, MemorySource({"a": picture}))
    assert {image.size for image in sample.images} == {(33, 27)}
    first = np.asarray(sample.images[order(sample)[0] - 1])
    assert np.array_equal(first, np.asarray(picture)[1:28, 0:33])


def test_an_inset_takes_a_part_of_each_tile_at_a_random_place():
    picture = synthetic_picture(5, 120, 80)
    offsets = Counter()
    for sample in samples("paper?form=tiles&inset=0.2", 30, MemorySource({"a": picture})):
        assert {image.size for image in sample.images} == {(48, 32)}
        cell = np.asarray(picture)[:40, :60]
        tile = np.asarray(sample.images[order(sample)[0] - 1])
        found = [(x, y) for x in range(13) for y in range(9) if np.array_equal(tile, cell[y : y + 32, x : x + 48])]
        assert len(found) == 1
        offsets.update(found)
    assert len(offsets) > 15


def test_a_gap_is_grey_and_grows_with_the_tiles():
    small, large = samples("paper?gap=0.1", 1), samples("paper?gap=0.1", 1, synthetic_source(1, width=320, height=240))
    assert small[0].images[0].size == (166, 126)
    assert large[0].images[0].size == (332, 252)
    assert np.all(np.asarray(small[0].images[0])[:, 80:86] == GAP_COLOUR)
    tiles = shown_tiles(small[0], 2, 2, gap=6)
    whole = np.asarray(synthetic_picture(0))
    assert np.array_equal(tiles[order(small[0])[3] - 1], whole[60:, 80:])


@pytest.mark.parametrize("spec", ALL)
def test_sizes_are_the_same_for_every_order(spec: str):
    rendered = samples(spec, 30, synthetic_source(1, width=131, height=97))
    assert len({order(sample) for sample in rendered}) > 5
    assert len({tuple(image.size for image in sample.images) for sample in rendered}) == 1


def test_every_order_is_equally_likely():
    counts = Counter(order(sample) for sample in samples("paper", 1200, synthetic_source(8, width=32, height=32)))
    assert len(counts) == 24 and counts[1, 2, 3, 4] > 0
    # Chi-square with 23 degrees of freedom is above 60 once in 30,000 draws.
    assert sum((count - 50) ** 2 / 50 for count in counts.values()) < 60


def test_levels():
    assert list(Jigsaw.levels) == ["easy", "medium", "hard", "paper"]
    paper = Jigsaw.levels["paper"]
    assert (paper.rows, paper.columns, paper.gap, paper.inset, paper.partial, paper.min_side) == (2, 2, 0, 0, False, 28)
    assert Jigsaw.levels["easy"] != paper
    chances = [samples(level, 1)[0].record.chance for level in ("easy", "medium", "hard")]
    assert chances == sorted(chances, reverse=True)


def test_the_question_says_how_tiles_are_numbered():
    (composite,), (tiles,) = samples("medium", 1), samples("medium?form=tiles", 1)
    assert "3 rows and 3 columns" in composite.record.question and "numbered 1 to 9" in composite.record.question
    assert composite.record.question.count("<image>") == 1
    assert "Tile 9: <image>" in tiles.record.question and tiles.record.question.count("<image>") == 9


@pytest.mark.parametrize("spec", BEYOND_LEVELS)
def test_chance_is_what_guessers_reach(spec: str):
    rendered = samples(spec, 400, synthetic_source(8, width=40, height=36))
    chance = rendered[0].record.chance
    margin = 4 * math.sqrt(chance * (1 - chance) / 400)
    assert abs(constant_guess(rendered) - chance) < margin
    assert abs(uniform_guess(rendered) - chance) < margin


@pytest.mark.parametrize(
    "wrong",
    [{"rows": 1}, {"columns": 7}, {"form": "pile"}, {"gap": -0.1}, {"inset": 0.6}, {"discount": 1.1}, {"tiles": 4}],
)
def test_params_that_cannot_be_are_refused(wrong: dict):
    with pytest.raises(ValidationError):
        JigsawParams(**wrong)


def half_white() -> Image.Image:
    picture = synthetic_picture(0)
    picture.paste((255, 255, 255), (0, 0, 160, 60))
    return picture


@pytest.mark.parametrize(
    ("spec", "picture", "reason"),
    [
        ("easy", Image.new("RGB", (64, 64), (9, 9, 9)), "tiles that look the same"),
        ("easy", half_white(), "tiles that look the same"),
        ("hard", synthetic_picture(0, 300, 30), "tiles too small"),
        ("easy", synthetic_picture(0, 27, 200), "picture smaller than min_side"),
    ],
)
def test_pictures_that_cannot_be_asked_about_are_skipped(spec: str, picture: Image.Image, reason: str):
    with pytest.raises(Skip, match=reason):
        samples(spec, 1, MemorySource({"a": picture}))


def test_small_faces_are_large_enough():
    assert samples("easy?min_side=24", 1, synthetic_source(1, width=25, height=25))[0].images[0].width >= 24
