"""Contrastive: the answer says whether both views were cut from one picture, and a view depends on its sample alone."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from ssl4rl_task_contrastive import Contrastive, ContrastiveParams

from ssl4rl_core import Sample, Skip, Splitter, parse_config, registry, render
from ssl4rl_core.testing import conformance
from ssl4rl_core.testing.memory import MemorySource, synthetic_picture, synthetic_source

test_conformance = conformance(Contrastive)

LEVELS = ["easy", "medium", "hard", "paper"]


def samples(spec: str, count: int = 40, source: MemorySource | None = None, item: int | None = None) -> list[Sample]:
    source = source or synthetic_source()
    config, view = parse_config(f"contrastive:{spec}", registry()), source.view("image", "train", Splitter(0))
    entries = source.index("image")
    chosen = range(len(entries)) if item is None else [item]
    places = [(number // len(chosen), chosen[number % len(chosen)]) for number in range(count)]
    return [render(config, source.load("image", entries[place]), view, variant=variant) for variant, place in places]


def stripes(across: bool) -> Image.Image:
    """Black and white stripes, across the picture or down it: augmentations change all of it but their direction."""
    rows, columns = np.mgrid[:120, :160]
    return Image.fromarray(
        np.repeat((((rows if across else columns) // 6) % 2 * 255)[..., None], 3, 2).astype(np.uint8)
    )


def pattern(view: Image.Image) -> str:
    values = np.asarray(view.convert("L")).astype(float)
    down, across = np.abs(np.diff(values, axis=0)).mean(), np.abs(np.diff(values, axis=1)).mean()
    return "across" if down > 4 * across else "down" if across > 4 * down else "neither"


@pytest.mark.parametrize("level", LEVELS)
def test_the_answer_is_yes_where_both_views_show_the_same_picture(level: str):
    source = MemorySource({"across": stripes(True), "down": stripes(False)})
    seen = Counter()
    for sample in samples(level, 60, source):
        first, second = map(pattern, sample.images)
        assert first == sample.record.item
        assert (first == second) == (sample.record.answer_text == "yes")
        seen[sample.record.answer_text] += 1
    assert min(seen["yes"], seen["no"]) > 10


def test_a_negative_is_of_the_same_folder_unless_any_will_do():
    source = MemorySource(
        {"a/across": stripes(True), "a/down": stripes(False), **{f"b/{n}": synthetic_picture(n) for n in range(6)}}
    )
    nearby = [s for s in samples("medium", 60, source, item=0) if s.record.answer_text == "no"]
    anywhere = [s for s in samples("paper", 60, source, item=0) if s.record.answer_text == "no"]
    assert {pattern(sample.images[1]) for sample in nearby} == {"down"}
    assert "neither" in {pattern(sample.images[1]) for sample in anywhere}


def test_the_two_views_of_a_picture_differ():
    for sample in samples("easy", 20):
        first, second = sample.images
        assert first.tobytes() != second.tobytes()


@pytest.mark.parametrize(("spec", "side"), [("easy", 224), ("hard", 224), ("easy?size=96", 96)])
def test_views_have_one_size_whatever_the_pictures(spec: str, side: int):
    source = MemorySource({"wide": synthetic_picture(0, 300, 60), "tall": synthetic_picture(1, 40, 200)})
    assert {image.size for sample in samples(spec, 20, source) for image in sample.images} == {(side, side)}


def test_levels():
    assert list(Contrastive.levels) == LEVELS
    assert Contrastive.levels["paper"] == ContrastiveParams(
        strength="weak", min_area=0.08, negative="any", size=224, min_side=28
    )
    assert Contrastive.levels["easy"] != Contrastive.levels["paper"]
    assert Contrastive.uses_view


def test_small_pictures_among_the_others_do_not_make_yes_more_likely():
    source = MemorySource(
        {
            "a": synthetic_picture(0),
            "b": synthetic_picture(1),
            **{f"small-{n}": synthetic_picture(n, 20, 20) for n in range(6)},
        }
    )
    answers = Counter(sample.record.answer_text for sample in samples("easy?size=28", 100, source, item=0))
    assert 30 < answers["yes"] < 70


def test_a_picture_among_icons_of_its_own_folder_is_compared_with_one_of_another_folder():
    icons = {f"a/icon-{n}": synthetic_picture(n, 20, 20) for n in range(3)}
    source = MemorySource({"a/photo": synthetic_picture(0), **icons, "b/photo": synthetic_picture(1)})
    answers = Counter(sample.record.answer_text for sample in samples("easy", 100, source, item=0))
    assert 30 < answers["yes"] < 70


@pytest.mark.parametrize(
    "wrong", [{"strength": "mild"}, {"min_area": 0.5}, {"min_area": 0}, {"negative": "far"}, {"size": 8}, {"views": 2}]
)
def test_params_that_cannot_be_are_refused(wrong: dict):
    with pytest.raises(ValidationError):
        ContrastiveParams(**wrong)


@pytest.mark.parametrize(
    ("spec", "pictures", "reason"),
    [
        ("easy", [Image.new("RGB", (64, 64))], "picture too small or of one colour"),
        ("easy?min_side=4", [synthetic_picture(0, 12, 60)], "picture too small or of one colour"),
        ("easy", [synthetic_picture(0, 27, 200)], "picture smaller than min_side"),
        ("easy", [synthetic_picture(0)], "no other item in its split"),
        ("easy", [synthetic_picture(0), Image.new("RGB", (64, 64))], "no other picture that views can be cut from"),
    ],
)
def test_pictures_that_cannot_be_asked_about_are_skipped(spec: str, pictures: list[Image.Image], reason: str):
    source = MemorySource({str(number): picture for number, picture in enumerate(pictures)})
    with pytest.raises(Skip, match=reason):
        samples(spec, 20, source, item=0)


def test_small_faces_are_large_enough():
    rendered = samples("hard?min_side=24", 8, synthetic_source(3, width=25, height=25))
    assert {image.size for sample in rendered for image in sample.images} == {(224, 224)}


def test_a_picture_alone_in_its_split_is_never_asked_about():
    source = MemorySource({"alone": synthetic_picture(0)})
    view = source.view("image", "train", Splitter(0.0))
    item = source.load("image", source.index("image")[0])
    config = parse_config("contrastive:easy", registry())
    for variant in range(8):  # else it would be asked about where the answer is yes, and only there
        with pytest.raises(Skip, match="no other item in its split"):
            render(config, item, view, variant=variant)
