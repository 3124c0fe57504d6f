"""The blind probe finds answers that shapes, places and ids give away, and nothing else."""

import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ssl4rl_core import (
    Choice,
    Draft,
    ImageItem,
    Params,
    Permutation,
    Sample,
    Splitter,
    Task,
    TaskConfig,
    UsageError,
    render,
)
from ssl4rl_core.testing.memory import MemorySource, synthetic_picture
from ssl4rl_core.testing.probe import ProbeResult, blind_features, probe, probe_all, probe_rows
from tests.turned import Turned, oblong_pictures

pytest.importorskip("sklearn", reason="the probe is scikit-learn's: pip install 'ssl4rl-core[embedded]'")


class TurnedSquare(Turned):
    """The same with the square at the centre."""

    name = "turned-square"

    def transform(self, item, params, rng, view):
        square = item.image.crop((0, 0, min(item.image.size), min(item.image.size)))
        return super().transform(replace(item, image=square), params, rng, view)


class Options(Task[ImageItem, Params]):
    """The right option stands first more often than not."""

    name, version, levels, prompt = "options", 1, {"easy": Params()}, "Which? {options}"

    def transform(self, item, params, rng, view):
        names = [f"n{number}" for number in rng.choice(1000, 4, replace=False)]
        place = 0 if rng.random() < 0.3 else int(rng.integers(4))
        long = [name + "x" * (position == place) for position, name in enumerate(names)]
        return Draft(Choice(long[place], long), fields={"options": " ".join(long)})

    def chance(self, params):
        return 1 / 4


class Third(Task[ImageItem, Params]):
    """An order of three whose last place shows in the width of a picture."""

    name, version, levels, prompt = "third", 1, {"easy": Params()}, "<image> In which order?"

    def transform(self, item, params, rng, view):
        order = [int(number) + 1 for number in rng.permutation(3)]
        return Draft(Permutation(order), [Image.new("RGB", (100 + order[2], 100))])

    def chance(self, params):
        return 1 / 6


class Masks(Task[ImageItem, Params]):
    """Which of two random halves of the pixels is brighter? The picture decides, and nothing is drawn."""

    name, version, levels, prompt = "masks", 1, {"easy": Params()}, "<image> Which?"
    mask = 0

    def transform(self, item, params, rng, view):
        pixels = np.asarray(item.image.convert("L").resize((16, 16)), dtype=float).ravel()
        chosen = np.random.default_rng(self.mask).permutation(256) < 128
        brighter = "left" if pixels[chosen].mean() > pixels[~chosen].mean() else "right"
        return Draft(Choice(brighter, ["left", "right"]), [item.image])

    def chance(self, params):
        return 1 / 2


def samples(task: type[Task], count: int = 400, source: MemorySource | None = None) -> Iterator[Sample]:
    source = source or oblong_pictures(f"album-{n % 3}/{n}" for n in range(40))
    view = source.view("image", "train", Splitter(0))
    entries = source.index("image")
    config = TaskConfig(task(), "easy", task.levels["easy"])
    for number in range(count):
        item = source.load("image", entries[number % len(entries)])
        yield render(config, item, view, variant=number // len(entries))


def test_a_rotation_that_shows_in_the_shape_is_caught():
    result = probe(samples(Turned))
    assert not result.passes
    # A turn by 90 or 270 degrees shows in the shape, which of the two does not.
    assert 0.4 < result.score < 0.6
    assert result.n == 400 and result.config == "turned-easy"


def test_the_same_rotation_of_a_square_passes():
    result = probe(samples(TurnedSquare))
    assert result.passes
    assert result.score < result.chance + 0.05


def test_the_rotation_plugin_passes():
    rotation = pytest.importorskip("ssl4rl_task_rotation", reason="needs plugins/ssl4rl-task-rotation").Rotation
    assert probe(samples(rotation)).passes


def test_a_longer_right_option_is_caught_where_options_differ_between_samples():
    result = probe(samples(Options))
    assert not result.passes
    assert result.score > 0.9


def test_a_permutation_is_probed_place_by_place():
    result = probe(samples(Third))
    assert not result.passes
    # That of the last place: knowing it, the other two are still a toss-up.
    assert result.score > 0.95
    assert 0.3 < result.chance < 0.4


def test_significance_is_adjusted_for_the_number_of_configs():
    single = probe(samples(Third, 120))
    first, second = probe_all([samples(Third, 120), samples(TurnedSquare, 120)])
    assert first.p_value == pytest.approx(2 * single.p_value)
    assert second.p_value >= first.p_value


@pytest.mark.parametrize(
    ("score", "p_value", "passes"),
    [(0.50, 1e-4, False), (0.50, 0.002, True), (0.279, 1e-9, True), (0.281, 1e-9, False)],
)
def test_a_leak_is_both_sure_and_large(score: float, p_value: float, passes: bool):
    assert ProbeResult("rotation-easy", 2000, score, 0.25, p_value, (0.0, 1.0)).passes is passes


def test_the_same_samples_give_the_same_figures():
    assert probe(samples(TurnedSquare, 100)) == probe(samples(TurnedSquare, 100))


def test_what_cannot_be_probed_is_named():
    with pytest.raises(UsageError, match="5 or more unrelated items"):
        probe(samples(Turned, 40, MemorySource({"a": synthetic_picture(1), "b": synthetic_picture(2)})))
    with pytest.raises(UsageError, match="one config at a time, got turned-easy, turned-square-easy"):
        probe([*samples(Turned, 10), *samples(TurnedSquare, 10)])
    always = [replace(s, record=s.record.model_copy(update={"answer_text": "0"})) for s in samples(Turned, 20)]
    with pytest.raises(UsageError, match="always has the same answer"):
        probe(always)


def test_answers_that_the_picture_decides_are_no_leak(monkeypatch):
    sides = np.random.default_rng(1).integers(60, 140, (60, 2))
    source = MemorySource({f"p{n:03d}": synthetic_picture(n, *map(int, size)) for n, size in enumerate(sides)})
    for mask in range(8):
        monkeypatch.setattr(Masks, "mask", mask)
        assert probe(samples(Masks, 600, source)).passes


def test_a_leak_between_variants_is_found_in_few_pictures():
    few = oblong_pictures(f"{n}" for n in range(7))
    assert not probe(samples(Turned, 280, few)).passes
    assert probe(samples(TurnedSquare, 280, few)).passes


def test_thousands_of_samples_with_an_answer_that_occurs_once_are_probed():
    rng = np.random.default_rng(0)
    one = next(samples(Turned, 1)).record
    answers = ["once", *rng.choice(["a", "b"], 12_999).tolist()]
    records = [
        one.model_copy(update={"item": str(n), "group": str(n), "answer_text": answer})
        for n, answer in enumerate(answers)
    ]
    assert probe_rows(records, [{"x": float(number)} for number in rng.random(len(records))]).passes


def test_options_that_are_no_texts_are_read():
    sample = next(samples(Options, 1))
    answer = json.dumps({"kind": "which", "options": [30, 5], "value": 5})
    read = blind_features(replace(sample, record=sample.record.model_copy(update={"answer": answer})))
    assert (read["length of option 0"], read["length of option 1"]) == (2, 1)


def test_answers_that_nearly_never_repeat_are_probed_too():
    rng = np.random.default_rng(0)
    rare = [
        replace(s, record=s.record.model_copy(update={"answer_text": f"{rng.integers(10**6)}"}))
        for s in samples(TurnedSquare, 200)
    ]
    assert probe(rare).passes
